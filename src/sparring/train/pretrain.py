"""The pre-training job: a corpus to a run folder with a language model, its metrics and everything to repeat it.

From scratch (the tokenizer is trained too) or continual, masked or causal, with any method as the adversary.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from ..data.ahead import Prepare, Steps, masked_of, next_of
from ..data.batch import Batch
from ..data.corpus import Corpus
from ..data.masking import Masking, MaskingRate
from ..data.packing import Lanes
from ..data.vocabulary import train_tokenizer
from ..errors import DataError, RunError, SettingError
from ..methods import method
from ..methods.base import Method
from ..model import world
from ..model.language import FAMILIES, load_language_model, new_language_model, shape_of
from ..model.load import load_tokenizer, longest_text
from ..settings import parse
from . import folder as run_folder
from .curriculum import Curriculum, first_step_after
from .curve import draw_curve
from .follow_up import FollowUp
from .held_out import HeldOut, held_out_batches
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
from .layers import freeze_embeddings
from .pretrain_options import TRAINED, Pretrain, plain_share
from .sharded import check_processes, shard
from .stream import Stream, lanes_of
from .trainer import AdversarialTrainer

TOKENIZER = "tokenizer"
"""Folder inside a run's with the tokenizer, which is there before the model is."""
_FAMILY_TOKENIZER = {"roberta": "bpe", "gpt2": "bpe"}

Report = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""Called with (what is going on, done, all)."""


@dataclass(frozen=True)
class Text:
    """Training and held-out corpus of a run."""

    train: Corpus
    held_out: Corpus | None

    @property
    def described(self) -> dict[str, dict[str, Any]]:
        """As run.yaml names it."""
        named = {"train": self.train, **({"eval": self.held_out} if self.held_out else {})}
        return {
            name: {"origin": c.origin, "bytes": c.size, "digest": c.digest, "notes": list(c.notes)}
            for name, c in named.items()
        }


def open_text(settings: Pretrain) -> Text:
    """The corpora that the settings name; DataError says what is wrong with which file."""
    corpus = Corpus.open(settings.corpus, field=settings.field, bad=settings.bad_lines)
    if settings.eval_corpus is not None:
        return Text(corpus, Corpus.open(settings.eval_corpus, field=settings.field, bad=settings.bad_lines))
    if not settings.hold_out:
        return Text(corpus, None)
    return Text(corpus.without_every(settings.hold_out), corpus.only_every(settings.hold_out))


def pretrain(
    settings: Pretrain,
    *,
    resume: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    report: Report = lambda line: None,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Train, save and score as the settings say; return what metrics.json holds.

    resume: continue the run in `settings.output` from its latest checkpoint, to the same weights bit for bit.
    report: receives sentences for people: what was inferred, what is used by default.
    progress: called while a tokenizer is trained, minimal pairs are scored and fine-tuned models are attacked.
    Raises a SparringError before anything is written if something does not fit; Interrupted after Ctrl-C, when the
    latest checkpoint has been written.
    """
    output = Path(settings.output)
    begun = run_folder.read_run(output, job=run_folder.PRETRAINING) if resume else {}
    if resume:
        check_same_settings(settings, Pretrain(), begun, output)
    elif world.announced_rank() == 0:
        run_folder.check_free(output)
    precision = precision_of(settings.precision)
    trained_by = method(settings.method, settings.preset, **settings.settings)
    if not trained_by.tokens:
        raise SettingError(f"method {trained_by.name} works on sentences, and in pre-training tokens are scored")
    MaskingRate.parse(settings.masking)
    _check_parts(settings, trained_by)
    follow_up = FollowUp.of(settings)
    text = open_text(settings)
    for note in (*text.train.notes, *([] if resume else _without_effect(settings))):
        report(note)
    tokenizer = _tokenizer(settings, text.train, output if resume else None, report, progress)
    told = Told(text, report)
    told.now()
    set_seed(settings.seed)
    model = _model(settings, tokenizer, report)
    follow_up.check(model, tokenizer)
    args = training_arguments(settings, precision)
    source = _steps(settings, text.train, tokenizer)
    if few := _too_few(text.train, settings.batch_size * settings.accumulation * world.announced_size()):
        report(few)
    stream = Stream(
        source,
        length=settings.length,
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        steps=settings.steps,
    )
    with nullcontext() if resume else new_folder(output, model, settings.keep):
        digests = {name: known["digest"] for name, known in text.described.items()}
        checkpoint = resume_point(output, begun, digests, precision) if resume else None
        if settings.fsdp:
            model = shard(model, output, checkpoint)
        trainer = AdversarialTrainer(
            model=model,
            args=args,
            processing_class=tokenizer,
            method=trained_by,
            adversary_from=_first_adversarial_step(settings),
            weight_ramp=settings.weight_ramp,
            perturb_special=settings.perturb_special,
            layer_decay=settings.layer_decay,
            stream=stream,
            keep_shards=settings.fsdp,
            callbacks=[StepLog(output / run_folder.LOG), told, *callbacks],
        )
        trainer.remove_callback(PrinterCallback)
        if trainer.engine.view.packing is None:
            report(
                f"{model.config.model_type}: documents of a block see each other, this architecture cannot part them"
            )
        held_out = HeldOut(trainer, _held_out(settings, text, tokenizer, report), _every(settings))
        trainer.add_callback(held_out)
        if not resume and world.rank() == 0:
            with run_folder.writing(output):
                tokenizer.save_pretrained(str(output / TOKENIZER))
            run_folder.write_yaml(
                output / run_folder.RUN, _description(settings, precision, trained_by.settings(), text)
            )
    with closing(source), interruptible(trainer) as interrupted:
        trainer.train(resume_from_checkpoint=checkpoint)
    if interrupted():
        raise Interrupted(_stopped(f"at step {trainer.state.global_step} of {settings.steps}", output))
    seconds = trainer.seconds
    save_model(trainer, output)
    metrics: dict[str, Any] = {
        "train_seconds": round(seconds, 2),
        "steps": trainer.state.global_step,
        "tokens": trainer.state.global_step * stream.tokens * world.size(),
        "forward_passes": trainer.engine.view.passes,
        "precision": precision,
        **({"resumed_from": Path(checkpoint).name} if checkpoint else {}),
        **told.in_all(),
        **held_out.final(),
        **follow_up.scores(trainer, tokenizer, text.held_out, report, progress),
    }
    if world.rank() == 0:
        try:
            if not draw_curve(output, adversary_from=_first_adversarial_step(settings)):
                report("no picture of the learning curve: pip install 'sparring[plot]'")
        except RunError as error:
            report(f"no picture of the learning curve: {error}")
    try:
        tuned = follow_up.finetune(report, callbacks, progress)
    except (Interrupted, KeyboardInterrupt) as error:  # the latter in an attack
        raise Interrupted(_stopped("while fine-tuning", output)) from error
    if failed := metrics.pop("not_scored", {}) | tuned.pop("not_scored", {}):
        tuned["not_scored"] = failed
    metrics |= tuned
    if trainer.args.should_save:
        run_folder.write_json(output / run_folder.METRICS, metrics)
    return metrics


# what a run is made of


def _check_parts(settings: Pretrain, trained_by: Method) -> None:
    """What can be refused before a tokenizer is trained, which takes long."""
    if settings.model is None and settings.model_config is None:
        shape_of(settings.objective, settings.family, settings.size or "mini", settings.length)
    if settings.fsdp:
        check_processes(world.announced_size())
    Curriculum(start=plain_share(settings.curriculum), ramp=settings.weight_ramp).check(trained_by)


def _without_effect(settings: Pretrain) -> list[str]:
    """Settings that were given and change nothing."""
    plain, left = Pretrain(), 1 - plain_share(settings.curriculum)
    idle: list[str] = []
    if settings.objective == "clm":
        idle += ["masking", "masking_unit"]
    if settings.model is not None or settings.tokenizer not in (None, *TRAINED):
        idle += ["vocab", "lower"]
    given = [name for name in idle if getattr(settings, name) != getattr(plain, name)]
    if settings.method == "standard" and left < 1:
        given.append("curriculum")
    said = [f"--{name.replace('_', '-')} changes nothing here" for name in given]
    if settings.weight_ramp > left + 1e-9:
        share = left / settings.weight_ramp
        said.append(f"the method's weight rises to {share:.0%} of its setting: the run ends before it is up")
    return said


def _tokenizer(settings: Pretrain, corpus: Corpus, run: Path | None, report: Report, progress: Progress) -> Any:
    """That of the run being resumed, of the model, or the one asked for, perhaps trained now."""
    if run is not None and (run / TOKENIZER).is_dir():
        return load_tokenizer(str(run / TOKENIZER))
    family = _family(settings)
    kind: Any = settings.tokenizer or settings.model or _FAMILY_TOKENIZER.get(family, "wordpiece")
    if kind not in TRAINED:
        return load_tokenizer(kind)
    report(f"training a {kind} tokenizer of {settings.entries} entries on the corpus")
    trained = train_tokenizer(
        corpus,
        kind=kind,
        size=settings.entries,
        lower=settings.lower,
        family=family,
        length=settings.length,
        progress=lambda done, total: progress("training the tokenizer", done, total or 0),
    )
    with tempfile.TemporaryDirectory() as folder:  # as a resumed run will read it
        trained.save_pretrained(folder)
        return load_tokenizer(folder)


def _family(settings: Pretrain) -> Any:
    """Whose special tokens a tokenizer that is trained gets."""
    if settings.model_config is not None:
        path = Path(settings.model_config)
        with suppress(OSError, ValueError):  # what is wrong with it is said where the model is made
            content = json.loads((path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8"))
            if isinstance(content, dict) and content.get("model_type") in ("bert", "roberta", "gpt2"):
                return str(content["model_type"])
    return settings.family or FAMILIES[settings.objective][0]


def _model(settings: Pretrain, tokenizer: Any, report: Report) -> Any:
    model: nn.Module
    if settings.model is not None:
        model, notes = load_language_model(settings.model, settings.objective, tokenizer, seed=settings.seed)
        for note in notes:
            report(note)
    else:
        model = new_language_model(
            settings.objective,
            settings.family,
            settings.size or "mini",
            tokenizer,
            length=settings.length,
            seed=settings.seed,
            config=settings.model_config,
        )
    longest = longest_text(model, tokenizer, settings.length)
    if longest < settings.length:
        raise SettingError(
            f"Pretrain: setting 'length' is {settings.length}, and "
            f"{settings.model or settings.model_config or settings.tokenizer} reads at most {longest} tokens; use "
            f"--length {longest}"
        )
    if settings.freeze_embeddings:
        freeze_embeddings(model)
    return model


def _steps(settings: Pretrain, corpus: Corpus, tokenizer: Any) -> Steps:
    """The inputs of every step, of the rows that this process computes."""
    own = lanes_of(world.rank(), settings.batch_size, settings.accumulation)
    lanes = partial(
        Lanes,
        corpus,
        tokenizer,
        length=settings.length,
        all_lanes=len(own) * world.size(),
        seed=settings.seed,
        shuffle=settings.shuffle,
        style=_style(settings),
    )
    prepare: Prepare = next_of
    if settings.objective == "mlm":
        masking = Masking(tokenizer, settings.masking, unit=settings.masking_unit)
        prepare = partial(masked_of, masking, seed=settings.seed, total=settings.steps)
    return Steps(lanes, own, prepare, workers=settings.workers)


def _too_few(corpus: Corpus, rows: int) -> str:
    """What to say of a corpus with fewer documents than a step has rows, each of which reads documents of its own."""
    documents = sum(1 for _ in islice(corpus.reader(), rows))
    if documents >= rows:
        return ""
    return (
        f"{corpus.origin} has {documents} document{'s' if documents > 1 else ''}, and a step has {rows} rows: rows "
        "repeat each other. Part the text into paragraphs by empty lines, or make batches smaller"
    )


def _style(settings: Pretrain) -> Any:
    return "bert" if settings.objective == "mlm" else "causal"


def _held_out(settings: Pretrain, text: Text, tokenizer: Any, report: Report) -> list[Batch]:
    if text.held_out is None:
        return []
    try:
        return held_out_batches(
            text.held_out,
            tokenizer,
            causal=settings.objective == "clm",
            length=settings.length,
            blocks=settings.eval_blocks,
            batch_size=settings.batch_size,
        )
    except DataError as error:
        if settings.eval_corpus is not None:
            raise
        report(f"no held-out scores, too little text was held out: {error}")
        return []


def _first_adversarial_step(settings: Pretrain) -> int:
    return first_step_after(plain_share(settings.curriculum), settings.steps)


def _every(settings: Pretrain) -> int:
    return settings.eval_every or max(1, settings.steps // 20)


def training_arguments(settings: Pretrain, precision: str) -> TrainingArguments:
    """What the Trainer is told."""
    kinds = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
    return trainer_arguments(
        settings,
        precision,
        max_steps=settings.steps,
        lr_scheduler_type=kinds[settings.schedule],
        warmup_steps=round(settings.warmup * settings.steps),
        adam_beta2=settings.adam_beta2,
        optim="adamw_torch_fused",
        save_strategy="steps",
        save_steps=settings.save_every or max(1, settings.steps // 10),
        logging_steps=max(1, settings.steps // 100),
        ignore_data_skip=True,
        save_only_model=settings.fsdp,  # the optimiser's state is written by `sharded`
    )


# its folder


def _description(settings: Pretrain, precision: str, own: dict[str, Any], text: Text) -> dict[str, Any]:
    return {
        "job": run_folder.PRETRAINING,
        "settings": dataclasses.asdict(settings),
        "method": {"name": settings.method, **own},
        "data": text.described,
        "versions": run_folder.versions(),
        "processes": world.size(),
        "precision": precision,
    }


def settings_of(output: Path) -> Pretrain:
    """The settings a run began with, for `--resume` without repeating them."""
    try:
        return parse(Pretrain, run_folder.read_run(output, job=run_folder.PRETRAINING)["settings"])
    except SettingError as error:
        raise RunError(f"{output / run_folder.RUN} is damaged: {error}") from error


def _stopped(where: str, output: Path) -> str:
    return (
        f"stopped {where}; the checkpoint is in {output}. Continue with: sparring pretrain --output {output} --resume"
    )


class Told(TrainerCallback):  # type: ignore[misc]
    """Says once, as soon as it is known, that lines of the text are corrupt, and at the end how many there were."""

    def __init__(self, text: Text, report: Report) -> None:
        self.text, self.report, self.said = text, report, False

    def on_step_end(self, *args: Any, **given: Any) -> None:
        """Whether the text that was read so far had some."""
        self.now()

    def now(self) -> None:
        """Name the first ones, once."""
        if self.said or not (corpus := self.text.train).bad_count:
            return
        self.said = True
        self.report(f"corrupt lines of the corpus are skipped, {corpus.bad_count} so far; the first:")
        for line in corpus.bad_lines:
            self.report(f"  {line}")

    def in_all(self) -> dict[str, Any]:
        """How many lines of the corpus were left out, and the first of them; of a held-out file too."""
        named = {"corrupt_lines": (self.text.train, "the corpus")}
        if self.text.held_out is not None and self.text.held_out.origin != self.text.train.origin:
            named["eval_corrupt_lines"] = (self.text.held_out, "the held-out corpus")
        for corpus, what in named.values():
            if corpus.bad_count:
                self.report(
                    f"{corpus.bad_count} corrupt lines of {what} were skipped, the first: {corpus.bad_lines[0]}"
                )
        return {
            name: {"count": corpus.bad_count, "first": [str(line) for line in corpus.bad_lines]}
            for name, (corpus, _) in named.items()
        }
