"""The fine-tuning job: settings to a run folder with a trained model, its metrics and everything to repeat it."""

import dataclasses
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..attack.recipe import Recipe
from ..attack.recipes import without_of
from ..data.collate import Classify, encode
from ..data.load import Examples, load
from ..data.tasks import TASKS
from ..errors import RunError, SettingError
from ..evaluate.clean import evaluate, make_batches
from ..methods import method
from ..model import world
from ..model.load import fast_bf16, load_classifier, load_tokenizer, longest_text
from ..settings import parse
from . import folder as run_folder
from .folder import WRITE_ERRORS, reason
from .mix_options import Mix
from .online import FOLDER as ADVERSARIAL
from .online import Online, sampler
from .options import FineTune
from .partners import Term
from .trainer import PARTIAL, AdversarialTrainer


class Interrupted(RunError):
    """Ctrl-C: the run stopped at a step boundary with a checkpoint."""


@dataclass(frozen=True)
class Data:
    """Training and held-out examples of a run."""

    train: Examples
    held_out: Examples | None

    @property
    def notes(self) -> list[str]:
        """What was inferred, for people to check."""
        named = [("train", self.train), *([("eval", self.held_out)] if self.held_out else [])]
        return [f"{name}: {note}" for name, examples in named for note in examples.notes]


def load_data(settings: FineTune | Mix) -> Data:
    """The examples the settings name; DataError says what is wrong with which row."""
    columns = tuple(part.strip() for part in settings.text.split(",")) if settings.text else None
    train = load(settings.data, text=columns, label=settings.label, limit=settings.limit)
    has_dev = settings.data == "demo" or (settings.data in TASKS and "dev" in TASKS[settings.data].splits)
    source = settings.eval_data or (settings.data if has_dev else None)
    if source is None:
        return Data(train, None)
    return Data(train, load(source, split="dev", text=columns, label=settings.label, like=train))


def finetune(
    settings: FineTune,
    *,
    resume: bool = False,
    callbacks: list[TrainerCallback] | None = None,
    report: Callable[[str], None] = lambda line: None,
    attack_progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, Any]:
    """Train, save and evaluate as the settings say; return what metrics.json holds.

    resume: continue the run in `settings.output` from its latest checkpoint.
    report: receives sentences for people: what was inferred, what is used by default.
    attack_progress: called with (rows, all, broken) while training rows are attacked.
    Raises a SparringError before anything is written if something does not fit; Interrupted after Ctrl-C, when the
    latest checkpoint has been written.
    """
    output = Path(settings.output)
    if resume:
        _check_same_run(settings, output)
    precision = precision_of(settings.precision)
    trained_by = method(settings.method, settings.preset, **settings.settings)
    recipe = _recipe(settings)
    data = load_data(settings)
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
            seed=settings.seed,
            term=Term(settings.adversarial_weight, settings.adversarial_loss),
            progress=attack_progress,
        )
        for kind, names in (("off", recipe.off), ("stands in", recipe.stand_ins)):
            for name in names:
                report(f"{recipe.name}: {kind}: {name}")
    with nullcontext() if resume else _new_folder(output, model, settings.keep):
        trainer = AdversarialTrainer(
            model=model,
            args=training_arguments(settings, precision, len(rows)),
            train_dataset=rows,
            data_collator=Classify(tokenizer),
            processing_class=tokenizer,
            method=trained_by,
            adversary_from=settings.adversary_from,
            perturb_special=settings.perturb_special,
            online=online,
            callbacks=[StepLog(output / run_folder.LOG), *(callbacks or [])],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = _resume_point(output, data, precision) if resume else None
        if not resume and world.rank() == 0:
            run_folder.write_yaml(
                output / run_folder.RUN,
                _description(settings, precision, trained_by.settings(), data)
                | ({"online": recipe.describe()} if recipe is not None else {}),
            )
    started = time.monotonic()
    with interruptible(trainer) as interrupted:
        trainer.train(resume_from_checkpoint=checkpoint)
    if interrupted():
        raise Interrupted(
            f"stopped at step {trainer.state.global_step} of {trainer.state.max_steps}; the checkpoint is in {output}. "
            f"Continue with: sparring train --output {output} --resume"
        )
    seconds = time.monotonic() - started
    _save_model(trainer, output, data.train.label_names)
    metrics = {
        "train_seconds": round(seconds, 2),
        "steps": trainer.state.global_step,
        "forward_passes": trainer.engine.view.passes,
        "precision": precision,
        **({"online": _online_metrics(online, trainer, seconds)} if online is not None else {}),
        **({"resumed_from": Path(checkpoint).name} if checkpoint else {}),  # time and passes count from there
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
    """What the attacks on training rows found and cost. The share of time is that of this call."""
    reports = online.reports()
    return {
        "attack": online.recipe.name,
        "seconds": round(sum(report["seconds"] for report in reports), 2),
        "share_of_time": round(trainer.online_seconds / max(seconds, 1e-9), 4),
        "epochs": reports,
    }


def _save_model(trainer: AdversarialTrainer, output: Path, label_names: tuple[str, ...]) -> None:
    """Model, tokenizer and labels, written beside and moved: config.json, which marks a model as whole, comes last."""
    partial = output / PARTIAL
    try:
        trainer.save_model(str(partial))
        if trainer.args.should_save:
            run_folder.write_json(partial / "labels.json", list(label_names))
            for path in sorted(partial.iterdir(), key=lambda p: p.name.endswith("config.json")):
                path.replace(output / path.name)
            partial.rmdir()
    except WRITE_ERRORS as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"cannot write the model to {output}: {reason(error)}") from error


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
    return TrainingArguments(
        output_dir=str(Path(settings.output) / run_folder.CHECKPOINTS),
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup * total),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        label_smoothing_factor=settings.label_smoothing,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        torch_compile=settings.compile,
        activation_checkpointing=settings.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.activation_checkpointing else None,
        save_strategy="steps" if settings.save_every else "epoch",
        save_steps=settings.save_every or 500,
        save_total_limit=settings.keep,
        logging_steps=max(1, total // 50),
        logging_first_step=True,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        ddp_timeout=7 * 86_400 if settings.online != "none" else 1_800,  # shares of an attack take unequal time
    )


def _steps_per_epoch(settings: FineTune, rows: int) -> int:
    # TrainingArguments only starts the process group later
    return max(1, math.ceil(rows / (settings.batch_size * world.announced_size() * settings.accumulation)))


def precision_of(asked: str) -> str:
    """fp32, bf16 or fp16; SettingError for one that this machine has not got."""
    gpu = torch.cuda.is_available()
    if asked == "auto":
        return "bf16" if fast_bf16() else "fp32"
    if asked == "fp16" and not gpu:
        raise SettingError("precision fp16 needs a GPU; on this machine use bf16 or fp32")
    if asked == "bf16" and gpu and not fast_bf16():
        raise SettingError("this GPU has no bf16; use precision fp16 or fp32")
    return asked


@contextmanager
def _new_folder(output: Path, model: torch.nn.Module, keep: int) -> Iterator[None]:
    """The run's folder, gone again if what is done inside the block fails."""
    first = world.announced_rank() == 0  # the process group is started inside the block
    if first:
        size = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
        # weights, two Adam moments and the method's memory for each checkpoint, one more while it is being written
        run_folder.open_new(output, needed_bytes=size * (1 + 4 * (keep + 1)))
    try:
        yield
    except BaseException:
        if first:
            shutil.rmtree(output, ignore_errors=True)
        raise


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


def _check_same_run(settings: FineTune, output: Path) -> None:
    """A run resumes with the settings it began with, or the result would be of neither."""
    before = dataclasses.asdict(FineTune()) | run_folder.read_run(output).get("settings", {})  # a setting may be new
    now = dataclasses.asdict(settings)
    changed = [name for name in now if name != "output" and now[name] != before.get(name)]
    if changed:
        name = changed[0]
        raise RunError(
            f"{output} began with {name}={before.get(name)!r}, not {now[name]!r}; resume without it, or start another "
            "run with another --output"
        )
    if (output / run_folder.METRICS).exists():
        raise RunError(f"the run in {output} is finished; there is nothing to resume")


def _resume_point(output: Path, data: Data, precision: str) -> str | None:
    before = run_folder.read_run(output)
    for name, examples in (("train", data.train), ("eval", data.held_out)):
        if examples and before["data"].get(name, {}).get("sha256") != examples.digest:
            raise RunError(f"{examples.origin} has changed since the run in {output} began; it cannot be resumed")
    if before.get("processes") != world.size():
        raise RunError(f"the run in {output} began with {before.get('processes')} processes, not {world.size()}")
    if before.get("precision") != precision:
        raise RunError(
            f"the run in {output} began in {before.get('precision')}, and this machine would continue in {precision}"
        )
    checkpoints = output / run_folder.CHECKPOINTS
    latest = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if world.rank() == 0:
        run_folder.cut_log(output / run_folder.LOG, int(latest.rsplit("-", 1)[1]) if latest else 0)
    return latest


def settings_of(output: Path) -> FineTune:
    """The settings a run began with, for `--resume` without repeating them."""
    try:
        return parse(FineTune, run_folder.read_run(output)["settings"])
    except SettingError as error:
        raise RunError(f"{output / run_folder.RUN} is damaged: {error}") from error


@contextmanager
def interruptible(trainer: AdversarialTrainer) -> Iterator[Callable[[], bool]]:
    """Ctrl-C inside the block ends the run after the current step, with a checkpoint; a second one at once."""
    callback = _Stop(trainer)
    trainer.add_callback(callback)

    def on_signal(number: int, frame: Any) -> None:
        if trainer.stop_asked:
            raise KeyboardInterrupt
        trainer.stop_asked = True

    try:
        before = signal.signal(signal.SIGINT, on_signal)
    except ValueError:  # not in the main thread: Ctrl-C is somebody else's business
        yield lambda: False
        return
    try:
        yield lambda: callback.stopped
    finally:
        signal.signal(signal.SIGINT, before)


class _Stop(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: AdversarialTrainer) -> None:
        self.trainer, self.stopped = trainer, False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.stop_agreed and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True


class StepLog(TrainerCallback):  # type: ignore[misc]
    """log.jsonl: one line a log step, as it happens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the Trainer when there is something to log."""
        if state.is_world_process_zero and logs:
            run_folder.append_line(self.path, {"step": state.global_step, **logs})
