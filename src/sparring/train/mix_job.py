"""The folder that an adapter mixture grows in, and the stages of its making. See mix.py for their order."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from ..adapters.adapter import Adapter, adapter_of, attach, put_head, read_adapter, save_adapter
from ..adapters.base import Base, head_of
from ..adapters.calibrate import calibrate
from ..adapters.gates import Gate
from ..adapters.mixture import AdapterMixture, Combine
from ..attack.outcome import Outcome
from ..attack.records import Record
from ..attack.run import attack
from ..attack.victim import ModelVictim
from ..data.collate import Classify, encode
from ..data.load import Examples
from ..errors import DataError, RunError, SettingError
from ..evaluate.clean import evaluate, make_batches
from ..methods.standard import Standard
from ..model import world
from ..model.load import load_classifier, load_tokenizer, longest_text
from ..settings import parse
from . import folder as run_folder
from .finetune import described, training_arguments
from .job import Interrupted, StepLog, interruptible, precision_of
from .mix_data import attacked_examples, recipe_of, rows_to_attack, training_data
from .mix_options import Mix
from .options import check_frozen
from .trainer import AdversarialTrainer

CLEAN, ATTACKS, TRAINING, STAGES = "clean", "attacks", "training", "stages.json"
KEPT_BACK = 10
"""Every so manieth row that an attack broke is kept back for calibration."""

Report = Callable[[str], None]
Progress = Callable[[str, int, int, str], None]
"""Called with (what is going on, done, all, a note)."""


@dataclass(eq=False)
class Job:
    """A folder that a mixture grows in."""

    settings: Mix
    folder: Path
    data: Examples
    held_out: Examples
    tokenizer: Any
    reference: Base
    length: int
    report: Report
    progress: Progress
    stages: dict[str, dict[str, Any]] = field(init=False)
    """What each stage cost, by its name."""

    def __post_init__(self) -> None:
        path = self.folder / STAGES
        self.stages = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self._attacked: dict[str, tuple[Examples, Examples]] = {}

    def book(self, stage: str, **found: Any) -> None:
        """Keep what a stage came to."""
        self.stages[stage] = self.stages.get(stage, {}) | found
        run_folder.write_json(self.folder / STAGES, self.stages)

    @classmethod
    def begin(
        cls,
        settings: Mix,
        report: Report,
        progress: Progress,
    ) -> "Job":
        """A new folder, or the one of an earlier call with the same settings. Nothing is written before all fits."""
        _alone()
        folder, settings = Path(settings.output), settings.anywhere()
        precision_of(settings.precision)
        for name in settings.known_attacks:
            recipe_of(settings, name)  # says now what an attack lacks
        data, held_out = training_data(settings)
        check_frozen(settings.frozen_columns, len(data.texts[0]))
        for examples, what in ((data, "train"), (held_out, "held out")):
            for note in examples.notes:
                report(f"{what}: {note}")
        tokenizer = load_tokenizer(settings.model)
        model = load_classifier(settings.model, data.label_names, tokenizer, seed=settings.seed)
        length = longest_text(model, tokenizer, settings.max_length)
        reference = Base.of(model, settings.model, seed=settings.seed)
        job = cls(settings, folder, data, held_out, tokenizer, reference, length, report, progress)
        if (folder / run_folder.RUN).exists():
            job._check_same()
            return job
        job._check_shape(model)
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        models = len(settings.known_attacks) + 1 if "model-soup" in settings.compared else 0
        run_folder.open_new(folder, needed_bytes=(4 + 9 * bool(models) + 2 * models) * weights)
        run_folder.write_yaml(folder / run_folder.RUN, job._description())
        return job

    @classmethod
    def again(cls, folder: Path, mixture: AdapterMixture, report: Report, progress: Progress) -> "Job":
        """A finished folder, and the mixture in it, to be added to. Its base may have moved, its gate been changed."""
        _alone()
        found = run_folder.read_run(folder)["settings"]
        if mixture.names[0] != CLEAN or mixture.combine != "mixup":
            raise RunError(f"{folder} holds what a mixture is compared with, not a mixture; name the mixture's folder")
        if not (folder / run_folder.METRICS).is_file():
            raise RunError(
                f"the mixture in {folder} is not finished; go on with the `sparring mix train` that began it"
            )
        now: dict[str, Any] = {"output": str(folder), "model": mixture.reference.name}
        now |= {"head": mixture.head, "space": mixture.space, "gate": mixture.gate.name}
        now |= {"temperature": mixture.gate.temperature, "constant": mixture.gate.constant}
        try:
            settings = replace(parse(Mix, found), **now)
        except SettingError as error:
            raise RunError(f"{folder / run_folder.RUN} is damaged: {error}") from error
        data, held_out = training_data(settings)
        tokenizer = load_tokenizer(str(folder))
        length = longest_text(mixture, tokenizer, settings.max_length)
        job = cls(settings, folder, data, held_out, tokenizer, mixture.reference, length, report, progress)
        job._check_data()
        return job

    # the stages

    def adapter(
        self, name: str, rows: Sequence[dict[str, Any]], *, head_from: Adapter | None = None, attack: str | None = None
    ) -> Adapter:
        """A trained adapter: read if an earlier call finished it. head_from: whose head is used under "shared"."""
        place, own = self.place(name), self.settings
        if (place / "adapter").is_dir():
            return read_adapter(place / "adapter")
        head = head_from.head if head_from is not None and own.head == "shared" else None
        model = self.base()
        if head is not None:
            put_head(model, head)
        model = attach(model, own.shape, seed=own.seed, head="trained" if head is None else "frozen")
        trained = self.fit(model, rows, name, epochs=own.epochs if attack is None else own.attack_epochs)
        found = adapter_of(trained, own.shape, base=self.reference, attack=attack)
        save_adapter(found, place / "adapter")
        shutil.rmtree(place / run_folder.CHECKPOINTS, ignore_errors=True)
        return found

    def attacked(self, name: str, clean: Adapter) -> tuple[Examples, Examples]:
        """Training rows as an attack on the clean adapter broke them: for training, and those kept back."""
        if name in self._attacked:
            return self._attacked[name]
        outcomes = self._outcomes(name, clean)
        broken = [o for o in outcomes if o.status == "success"]
        self.book(f"attack {name}", broken=len(broken))
        if not broken:
            raise DataError(
                f"{name} broke none of {len(outcomes)} training rows, so there is nothing to learn from; "
                "choose another attack, or begin anew with more --attack-rows or --budget and another --output"
            )
        kept = broken[KEPT_BACK - 1 :: KEPT_BACK]
        used = [o for number, o in enumerate(broken, 1) if number % KEPT_BACK]
        missing = sorted(set(map(int, self.data.labels)) - {o.label for o in used})
        if missing and self.settings.train_on == "adversarial":
            label = self.data.label_names[missing[0]]
            raise DataError(
                f"{name} broke no row of the class {label!r}: an adapter trained on what is left would never answer "
                "it; begin anew with another --output and more --attack-rows, or --train-on both for clean rows too"
            )
        found = attacked_examples(self.data, used, name), attacked_examples(self.data, kept, name)
        self._attacked[name] = found
        return found

    def calibrate(self, mixture: AdapterMixture, kept_back: Sequence[Examples]) -> None:
        """Entropies of all adapters on held-out rows and on those kept back of the known attacks.

        Only minmax_ratio needs them; for other gates they are there to be looked at, if there are any.
        """
        began = time.monotonic()
        parts = [self.held_out, *kept_back]
        texts = [fields for part in parts for fields in part.texts]
        labels = [int(label) for part in parts for label in part.labels]
        batches = make_batches(
            self.tokenizer, texts, labels, max_length=self.length, batch_size=64, device=mixture.device
        )
        try:
            mixture.calibration = calibrate(
                mixture, batches, progress=lambda done: self.progress("calibration", done, len(texts), "")
            )
        except DataError:
            if mixture.gate.name == "minmax_ratio":
                raise
        self.book("calibration", rows=len(texts), seconds=round(time.monotonic() - began, 2))

    def finish(self, mixture: AdapterMixture) -> dict[str, Any]:
        """Score on the held-out rows and write metrics.json."""
        texts, labels = self.held_out.texts, self.held_out.labels
        batches = list(
            make_batches(self.tokenizer, texts, labels, max_length=self.length, batch_size=64, device=mixture.device)
        )
        alone = self.mixture({CLEAN: self.clean(mixture)}, combine="logits")
        self.progress("held-out rows", 0, len(texts), "")
        metrics = {
            "adapters": {
                name: {"attack": mixture.attacks[name], "bytes": _bytes(self.folder / "adapters" / name)}
                for name in mixture.names
            },
            "trainable_parameters": sum(x.numel() for x in mixture.adapter(CLEAN).tensors.values()),
            "stages": self.stages,
            "eval": evaluate(mixture, batches, self.data.metric),
            "eval_clean_adapter": evaluate(alone, batches, self.data.metric),
        }
        run_folder.write_json(self.folder / run_folder.METRICS, metrics)
        for place in (self.folder / TRAINING).iterdir():  # what it made lies in adapters/ and baselines/ now
            shutil.rmtree(place / "adapter", ignore_errors=True)
            shutil.rmtree(place / "model", ignore_errors=True)
        return metrics

    # what they are made of

    def place(self, name: str) -> Path:
        """Where a training keeps its files."""
        return self.folder / TRAINING / name

    def base(self) -> nn.Module:
        """A fresh base model, its new head always the same."""
        found = load_classifier(self.settings.model, self.data.label_names, self.tokenizer, seed=self.settings.seed)
        return found.to(_device())

    def clean(self, mixture: AdapterMixture) -> Adapter:
        """The clean adapter of a mixture, together with the head: that which all share is no part of it there."""
        found = mixture.adapter(CLEAN)
        if found.head is not None:
            return found
        return replace(found, head={n: mixture.base.get_parameter(n).detach().clone() for n in head_of(mixture.base)})

    def mixture(self, adapters: dict[str, Adapter], *, combine: Combine = "mixup") -> AdapterMixture:
        """Adapters on a fresh base."""
        own = self.settings
        gate = Gate(name=own.gate, temperature=own.temperature, constant=own.constant)
        return AdapterMixture(
            self.base(),
            adapters,
            gate=gate,
            space=own.space,
            head=own.head,
            combine=combine,
            reference=self.reference,
        )

    def fit(
        self,
        model: nn.Module,
        rows: Sequence[dict[str, Any]],
        name: str,
        *,
        epochs: float,
        learning_rate: float | None = None,
    ) -> nn.Module:
        """Train what is trainable, from the latest checkpoint of an earlier call; the model."""
        own, place = self.settings, self.place(name)
        place.mkdir(parents=True, exist_ok=True)
        tuning = own.fine_tuning(place, epochs=epochs, learning_rate=learning_rate or own.learning_rate)
        set_seed(own.seed)
        trainer = AdversarialTrainer(
            model=model,
            args=training_arguments(tuning, precision_of(own.precision), len(rows)),
            train_dataset=list(rows),
            data_collator=Classify(self.tokenizer),
            processing_class=self.tokenizer,
            method=Standard(),
            callbacks=[StepLog(place / run_folder.LOG), _Ticks(self.progress, name)],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoints = place / run_folder.CHECKPOINTS
        latest = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
        run_folder.cut_log(place / run_folder.LOG, int(latest.rsplit("-", 1)[1]) if latest else 0)
        with interruptible(trainer) as interrupted:
            trainer.train(resume_from_checkpoint=latest)
        seconds = trainer.seconds
        if interrupted():
            raise Interrupted(
                f"stopped while {name} was trained, at step {trainer.state.global_step} of {trainer.state.max_steps}; "
                "the same command goes on from there"
            )
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self.book(
            name,
            rows=len(rows),
            steps=trainer.state.global_step,
            trainable_parameters=trainable,
            seconds=round(seconds, 2),
            **({"resumed_from": Path(latest).name} if latest else {}),
        )
        return model

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The clean training rows, encoded."""
        return encode(self.tokenizer, self.data, self.length)

    def rows_of(self, broken: Examples) -> list[dict[str, Any]]:
        """The rows that an attack's adapter is trained on."""
        attacked = encode(self.tokenizer, broken, self.length)
        return attacked if self.settings.train_on == "adversarial" else [*self.rows, *attacked]

    def attacked_rows(self, name: str, clean: Adapter) -> list[dict[str, Any]]:
        """Training rows as an attack broke them, alone, encoded."""
        return encode(self.tokenizer, self.attacked(name, clean)[0], self.length)

    def _outcomes(self, name: str, clean: Adapter) -> list[Outcome]:
        own = self.settings
        known = recipe_of(own, name)
        victim = ModelVictim(self.mixture({CLEAN: clean}, combine="logits"), self.tokenizer, max_length=self.length)
        rows = rows_to_attack(len(self.data.texts), own.attack_rows, own.seed)
        texts = [self.data.texts[row] for row in rows]
        examples = replace(
            self.data, texts=tuple(texts), labels=tuple(int(self.data.labels[row]) for row in rows), notes=()
        )
        head = {"victim": _hash(clean), "data": self.data.digest, "rows": len(rows), "budget": own.budget}
        record = Record(self.folder / ATTACKS, name, {**head, **known.bound(victim).identity()})
        begun = record.paths() and record.read()
        if begun and len(begun) == len(rows):
            self.book(f"attack {name}", rows=len(rows))
            return [begun[row] for row in sorted(begun)]
        self.report(f"attacking {len(rows)} training rows with {name}")
        began = time.monotonic()
        results = attack(
            victim,
            examples,
            known,
            budget=own.budget,
            seed=own.seed,
            frozen=own.frozen_columns,
            record=record,
            progress=lambda done, total, broken: self.progress(f"attack {name}", done, total, f"{broken} broken"),
        )
        seconds = time.monotonic() - began + self.stages.get(f"attack {name}", {}).get("seconds", 0.0)
        self.book(f"attack {name}", rows=len(rows), seconds=round(seconds, 2))
        return list(results.outcomes)

    def _description(self) -> dict[str, Any]:
        sources = {"train": self.data, "eval": self.held_out}
        return {
            "settings": asdict(self.settings),
            "method": {"name": "adpmixup", "gate": self.settings.gate, "adapter": self.settings.adapter},
            "data": described(sources),
            "labels": list(self.data.label_names),
            "fields": len(self.data.texts[0]),
            "metric": self.data.metric,
            "base": asdict(self.reference),
            "versions": run_folder.versions(),
            "precision": precision_of(self.settings.precision),
        }

    def _check_same(self) -> None:
        """A folder is gone on with by the settings it began with."""
        run = run_folder.read_run(self.folder)
        before, now = asdict(Mix()) | run["settings"], asdict(self.settings)
        changed = [name for name in now if name != "output" and now[name] != before.get(name)]
        if changed:
            name = changed[0]
            raise RunError(
                f"{self.folder} began with {name}={before.get(name)!r}, not {now[name]!r}; go on with that, or choose "
                "another --output"
            )
        precision = precision_of(self.settings.precision)
        if run.get("precision") != precision:
            raise RunError(
                f"{self.folder} was begun in {run.get('precision')}, and this machine would go on in {precision}"
            )
        if (self.folder / run_folder.METRICS).exists():
            raise RunError(f"the mixture in {self.folder} is finished; add to it with `sparring mix add`")
        self._check_data()

    def _check_shape(self, model: nn.Module) -> None:
        """Whether the base takes such adapters and heads, found out before anything is trained. Uses the model up."""
        own = self.settings
        probe = adapter_of(attach(model, own.shape, seed=own.seed), own.shape, base=self.reference)
        self.mixture({CLEAN: probe, "probe": probe})

    def _check_data(self) -> None:
        before = run_folder.read_run(self.folder)
        for name, examples in (("train", self.data), ("eval", self.held_out)):
            if before["data"].get(name, {}).get("sha256") != examples.digest:
                raise RunError(f"{examples.origin} has changed since {self.folder} was begun")
        recorded = before.get("base", {}).get("sha256")
        if recorded != self.reference.sha256:
            raise RunError(
                f"the base model {self.settings.model} is not the one that {self.folder} was begun with: its weights "
                f"have the hash {self.reference.sha256[:16]}, recorded is {str(recorded)[:16]}"
            )


def _alone() -> None:
    if world.announced_size() > 1:
        raise SettingError("a mixture is made in one process; start it without torchrun")


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _hash(adapter: Adapter) -> str:
    """Of the weights of an adapter and its head."""
    found = hashlib.sha256()
    for name, value in sorted({**adapter.tensors, **(adapter.head or {})}.items()):
        found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Ticks(TrainerCallback):  # type: ignore[misc]
    """Steps and loss of a training, for a bar."""

    def __init__(self, progress: Progress, stage: str) -> None:
        self.progress, self.stage, self.note = progress, stage, ""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after each step."""
        self.progress(f"training {self.stage}", state.global_step, state.max_steps, self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Called by the Trainer when there is something to log."""
        self.note = f"loss {logs['loss']:.3f}" if logs and "loss" in logs else self.note
