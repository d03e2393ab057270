"""The fine-tuning job: settings to a run folder with a trained model, its metrics and everything to repeat it."""

import dataclasses
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from ..attack.recipe import Recipe
from ..attack.recipes import without_of
from ..data.collate import Classify, encode
from ..data.load import Examples
from ..errors import RunError, SettingError
from ..evaluate.clean import evaluate, make_batches
from ..methods import method
from ..model import world
from ..model.load import load_classifier, load_tokenizer, longest_text
from ..settings import parse
from . import folder as run_folder
from .data import Data, load_data
from .job import (
    Interrupted,
    StepLog,
    check_same_settings,
    interruptible,
    new_folder,
    precision_of,
    resume_point,
    save_model,
    trainer_arguments,
)
from .online import FOLDER as ADVERSARIAL
from .online import Online, sampler
from .options import FineTune, check_frozen, columns_of
from .partners import Term
from .sharded import check_processes, shard
from .trainer import AdversarialTrainer


def finetune(
    settings: FineTune,
    *,
    data: Data | None = None,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    report: Callable[[str], None] = lambda line: None,
    attack_progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, Any]:
    """Train, save and evaluate as the settings say; return what metrics.json holds.

    data: what `load_data` made of these settings, where it was called before.
    resume: continue the run in `settings.output` from its latest checkpoint.
    report: receives sentences for people: what was inferred, what is used by default.
    attack_progress: called with (rows, all, broken) while training rows are attacked.
    Raises a SparringError before anything is written if something does not fit; Interrupted after Ctrl-C, when the
    latest checkpoint has been written.
    """
    output = Path(settings.output)
    if resume:
        check_same_settings(settings, FineTune(), run_folder.read_run(output), output)
    precision = precision_of(settings.precision)
    trained_by = method(settings.method, settings.preset, **settings.settings)
    if settings.fsdp:
        check_processes(world.announced_size())
    recipe = _recipe(settings)
    data = data or load_data(settings)
    if recipe is not None:
        check_frozen(columns_of(settings.frozen), len(data.train.texts[0]))
    for note in data.notes:
        report(note)
    tokenizer = load_tokenizer(settings.model)
    set_seed(settings.seed)
    model: Any = load_classifier(
        settings.model, data.train.label_names, tokenizer, adapter=settings.adapter, seed=settings.seed
    )
    length = longest_text(model, tokenizer, settings.max_length)
    if length < settings.max_length:
        report(f"texts are cut to {length} tokens: {settings.model} reads no more")
    rows = encode(tokenizer, data.train, length)
    if settings.max_steps > 0:
        _check_reached(settings, settings.max_steps / _steps_per_epoch(settings, len(rows)))
    online = None
    if recipe is not None:
        online = Online(
            recipe=recipe,
            examples=data.train,
            tokenizer=tokenizer,
            folder=output / ADVERSARIAL,
            max_length=length,
            share=settings.share,
            every=settings.every,
            clean_epochs=settings.clean_epochs,
            query_budget=settings.query_budget,
            frozen=columns_of(settings.frozen),
            seed=settings.seed,
            term=Term(settings.adversarial_weight, settings.adversarial_loss),
            progress=attack_progress,
        )
        for kind, names in (("off", recipe.off), ("stands in", recipe.stand_ins)):
            for name in names:
                report(f"{recipe.name}: {kind}: {name}")
    args = training_arguments(settings, precision, len(rows))
    with nullcontext() if resume else new_folder(output, model, settings.keep):
        checkpoint = resume_point(output, run_folder.read_run(output), _digests(data), precision) if resume else None
        if settings.fsdp:
            model = shard(model, output, checkpoint)
        trainer = AdversarialTrainer(
            model=model,
            args=args,
            train_dataset=rows,
            data_collator=Classify(tokenizer),
            processing_class=tokenizer,
            method=trained_by,
            adversary_from=settings.adversary_from,
            perturb_special=settings.perturb_special,
            online=online,
            keep_shards=settings.fsdp,
            callbacks=[StepLog(output / run_folder.LOG), *(callbacks or [])],
        )
        trainer.remove_callback(PrinterCallback)
        if not resume and world.rank() == 0:
            run_folder.write_yaml(
                output / run_folder.RUN,
                _description(settings, precision, trained_by.settings(), data)
                | ({"online": recipe.describe()} if recipe is not None else {}),
            )
    with interruptible(trainer) as interrupted:
        trainer.train(resume_from_checkpoint=checkpoint)
    if interrupted():
        raise Interrupted(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; the checkpoint is in {output}. "
            f"Continue with: sparring train --output {output} --resume"
        )
    seconds = trainer.seconds
    save_model(trainer, output, data.train.label_names)
    metrics = {
        "train_seconds": round(seconds, 2),
        "steps": trainer.state.global_step,
        "forward_passes": trainer.engine.view.passes,
        "precision": precision,
        **({"online": _online_metrics(online, trainer, seconds)} if online is not None else {}),
        **({"resumed_from": Path(checkpoint).name} if checkpoint else {}),
        **({"eval": _evaluate(trainer, tokenizer, settings, data.held_out)} if data.held_out else {}),
    }
    if trainer.args.should_save:
        run_folder.write_json(output / run_folder.METRICS, metrics)
    return metrics


def _recipe(settings: FineTune) -> Recipe | None:
    """The attack on the training rows, its resources loaded; None for a run without one."""
    if settings.online == "none":
        return None
    _check_reached(settings, settings.epochs if settings.max_steps < 0 else math.inf)
    options: dict[str, Any] = {
        "without": without_of(settings.without),
        "masked_lm": settings.masked_lm,
        "seed": settings.seed,
    }
    if settings.synonyms != "auto":
        options["synonyms"] = settings.synonyms
    return sampler(settings.online, **options)


def _check_reached(settings: FineTune, epochs: float) -> None:
    """SettingError when so many epochs end before the first attack."""
    if settings.online != "none" and epochs <= settings.clean_epochs:
        raise SettingError(
            f"online={settings.online} would never attack: the run has {epochs:g} epochs, and "
            f"{settings.clean_epochs} are clean; use more epochs, or fewer clean_epochs"
        )


def _online_metrics(online: Online, trainer: AdversarialTrainer, seconds: float) -> dict[str, Any]:
    """What the attacks on training rows found and cost."""
    reports = online.reports()
    return {
        "attack": online.recipe.name,
        "seconds": round(sum(report["seconds"] for report in reports), 2),
        "share_of_time": round(trainer.online_seconds / max(seconds, 1e-9), 4),
        "epochs": reports,
    }


def _evaluate(trainer: AdversarialTrainer, tokenizer: Any, settings: FineTune, examples: Examples) -> dict[str, float]:
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)  # float32, as it was saved
    length = longest_text(model, tokenizer, settings.max_length)
    batches = make_batches(
        tokenizer, examples.texts, examples.labels, max_length=length, batch_size=64, device=model.device
    )
    return evaluate(model, batches, examples.metric)


def training_arguments(settings: FineTune, precision: str, rows: int) -> TrainingArguments:
    """What the Trainer is told for so many rows."""
    epoch = _steps_per_epoch(settings, rows)
    total = settings.max_steps if settings.max_steps > 0 else math.ceil(settings.epochs * epoch)
    return trainer_arguments(
        settings,
        precision,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        warmup_steps=round(settings.warmup * total),
        label_smoothing_factor=settings.label_smoothing,
        train_sampling_strategy="group_by_length" if settings.group_by_length else "random",
        save_strategy="steps" if settings.save_every else "epoch",
        save_steps=settings.save_every or 500,
        save_only_model=settings.fsdp,  # the optimiser's state is written by `sharded`
        logging_steps=max(1, total // 50),
        ddp_timeout=7 * 86_400 if settings.online != "none" else 1_800,  # shares of an attack take unequal time
    )


def _steps_per_epoch(settings: FineTune, rows: int) -> int:
    # TrainingArguments only starts the process group later
    return max(1, math.ceil(rows / (settings.batch_size * world.announced_size() * settings.accumulation)))


def _description(settings: FineTune, precision: str, own: dict[str, Any], data: Data) -> dict[str, Any]:
    sources = {"train": data.train, **({"eval": data.held_out} if data.held_out else {})}
    return {
        "settings": dataclasses.asdict(settings),
        "method": {"name": settings.method, **own},
        "data": described(sources),
        "labels": list(data.train.label_names),
        "fields": len(data.train.texts[0]),
        "metric": data.train.metric,
        "versions": run_folder.versions(),
        "processes": world.size(),
        "precision": precision,
    }


def described(sources: dict[str, Examples]) -> dict[str, Any]:
    """Data as run.yaml names it."""
    return {
        name: {"origin": e.origin, "rows": len(e.texts), "sha256": e.digest, "notes": list(e.notes)}
        for name, e in sources.items()
    }


def _digests(data: Data) -> dict[str, str]:
    return {"train": data.train.digest, **({"eval": data.held_out.digest} if data.held_out else {})}


def settings_of(output: Path) -> FineTune:
    """The settings a run began with, for `--resume` without repeating them."""
    try:
        return parse(FineTune, run_folder.read_run(output)["settings"])
    except SettingError as error:
        raise RunError(f"{output / run_folder.RUN} is damaged: {error}") from error
