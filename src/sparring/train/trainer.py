"""AdversarialTrainer: a transformers.Trainer whose step belongs to a method.

The one override that matters is `training_step`; the others give a step what it needs (the number of rows in it, over
micro-batches and processes) and keep what must survive it (loss terms, the method's memory, whole checkpoints).
"""

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import has_length, rotate_checkpoints

from ..data.batch import IGNORED, Batch, make_key
from ..errors import DataError, RunError
from ..methods.base import GradientMethod, Logs, Method
from ..methods.standard import Standard
from ..model import world
from .check import check_arguments, warn_if_vanishing
from .curriculum import Curriculum
from .engine import TrainerEngine
from .folder import WRITE_ERRORS, reason
from .layers import parameter_groups
from .online import Online
from .order import ByLength, lengths_of
from .pace import Pace, measure_plain_pass
from .partners import PARTNER, Collate, Rows, count, shares, together
from .sharded import check_loaded_from, load_optimizer, save_optimizer
from .stream import Stream

PARTIAL = ".partial"  # a checkpoint is written in here and then renamed, so that a half-written one is never found
COST = "cost.json"  # in a checkpoint: what it took to get there


class AdversarialTrainer(Trainer):  # type: ignore[misc]
    """`Trainer` with an adversary: `AdversarialTrainer(..., method=ALUM()).train()`.

    method: what one optimisation step is.
    adversary_from: optimiser step at which the adversary enters, or a share of all steps if below 1; plain training
        before it.
    weight_ramp: share of all steps over which the method's `weight` rises to its setting once the adversary is in.
    perturb_special: whether special tokens such as [CLS] may be perturbed (needs `processing_class` if not).
    online: attacks on the training rows with the model as it is by then; `train_dataset` must have the rows of its
        examples, encoded, in their order.
    keep_shards: of a model that transformers has sharded over the processes, checkpoints hold the optimiser's state;
        set `save_only_model=True`, and to resume load the model from the checkpoint.
    stream: micro-batches of a corpus in place of a `train_dataset`; its place is in every checkpoint. Give `max_steps`.
    layer_decay: the learning rate of a layer as a share of that of the layer above.

    Everything else is `transformers.Trainer`. Raises SettingError for settings that a method cannot work with.
    """

    optimizer: Any

    def __init__(
        self,
        *args: Any,
        method: Method | None = None,
        adversary_from: float = 0,
        weight_ramp: float = 0,
        perturb_special: bool = True,
        online: Online | None = None,
        stream: Stream | None = None,
        keep_shards: bool = False,
        layer_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.method: Method = method or Standard()
        super().__init__(*args, **kwargs)
        self.online, self.stream, self.layer_decay = online, stream, layer_decay
        self.keep_shards = keep_shards
        self.curriculum = Curriculum(adversary_from, weight_ramp)
        check_arguments(self, perturb_special)
        if online is not None:
            self.train_dataset: Any = Rows(self.train_dataset)
            self.data_collator: Any = Collate(self.data_collator)
            self.args.remove_unused_columns = False  # it would remove the adversarial rows
        self.args.logging_nan_inf_filter = False  # a NaN loss is shown, not replaced by the last good one
        tokenizer = self.processing_class
        self._unperturbed: list[int] = [] if perturb_special else list(tokenizer.all_special_ids)
        self.engine = TrainerEngine(self)
        self._plain = Standard()
        self.stop_asked = self.stop_agreed = False
        self._terms: Logs = {}
        self._steps_since_log = 0
        self._held: list[Batch] = []
        self._micro, self._checked_size = 0, False
        self._shares: list[tuple[int, float]] = []
        self._partner_shares: list[float | None] = []
        self._began, self._seconds_before, self.online_seconds = time.monotonic(), 0.0, 0.0
        self.pace: Pace | None = None
        if stream is not None:
            self.args.ignore_data_skip = True  # the stream goes on where it stood; there is nothing to skip
            self.pace = Pace(stream.tokens * world.size(), self.args.device)
        self.add_callback(_AfterUpdate(self))
        shutil.rmtree(Path(self.args.output_dir) / PARTIAL, ignore_errors=True)

    # one step

    def get_train_dataloader(self) -> Any:
        """The stream if there is one, else the Trainer's."""
        return super().get_train_dataloader() if self.stream is None else self.stream

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The Trainer's; for `group_by_length` one whose order a resumed run repeats."""
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not has_length(rows):
            return super()._get_train_sampler(train_dataset)
        step = self._train_batch_size * self.args.gradient_accumulation_steps * world.size()
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return ByLength(lengths_of(rows), step, seed)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One micro-batch: gradients; a method that makes its own updates holds them until the last and runs there."""
        model.train()
        if callable(getattr(self.optimizer, "train", None)):
            self.optimizer.train()
        inputs = dict(self._prepare_inputs(inputs))
        partners = inputs.pop(PARTNER, None)
        batch, share = self._batch(inputs)
        extra = self._partner_shares[self._micro] if self._partner_shares else None
        engine, step = self.engine, self.state.global_step
        engine.wrapped = engine.view.training_forward = model
        if self.pace is not None and self.pace.plain is None:
            measure_plain_pass(self.pace, self, batch)
        # Dropout draws from the global generator: start it from the step, so that a resumed run draws the same masks.
        torch.manual_seed(make_key(self.args.seed, "dropout", step, self._micro, world.rank()))
        if step == 0 and self._micro == 0:
            engine.view.check(batch)
        self._micro += 1
        method = self._method_at(step)
        adversarial = self.online.term.batch(partners, batch, self._unperturbed) if self.online else None
        loss = torch.zeros((), device=batch.real.device)
        if isinstance(method, GradientMethod):
            with engine.no_sync() if extra is not None else nullcontext():
                logs = method.accumulate(engine.view, batch, engine, share)
            self._note(logs, share)
            self._check_size(method, batch)
            if self.online is not None and extra is not None:
                term = self.online.term
                more = term.accumulate(method, engine.view, batch, adversarial, engine, extra)
                self._note(more, term.weight * extra)
                loss = term.weight * extra * torch.stack(list(more.values())).sum()
        else:
            self._held.append(batch if extra is None else together(batch, adversarial, engine.view))
            if not self.accelerator.sync_gradients:
                return torch.zeros((), device=batch.real.device)
            held, self._held = self._held, []
            logs, share = method.train_on(engine.view, held, engine), 1.0
            self._note(logs, share)
            self._check_size(method, held[-1])
        if self.accelerator.sync_gradients:
            engine.average_module_gradients()
            self._steps_since_log += 1
            if self.pace is not None:
                self.pace.before_update()
        return loss + share * torch.stack(list(logs.values())).sum()

    def _check_size(self, method: Method, batch: Batch) -> None:
        """Once: whether what the adversary did to the batch just passed did anything."""
        if not self._checked_size and method is not self._plain:
            self._checked_size = True
            half = torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else None
            warn_if_vanishing(method, self.engine.view, batch, half)

    def _method_at(self, step: int) -> Method:
        return self.curriculum.method_at(step, self.state.max_steps, self.method, self._plain)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """The micro-batches of one step, and for each the rows that are data and their share of the whole step."""
        if self.pace is not None:
            self.pace.start()
        try:
            samples = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        except DataError:
            self._save_before_leaving()
            raise
        real = [self._real_rows(i, samples) for i in range(len(samples))]
        scored = [_targets(batch, rows, self._loss_shifts_labels) for batch, rows in zip(samples, real, strict=True)]
        extra = [count(batch, rows) for batch, rows in zip(samples, real, strict=True)] if self._uses_partners else []
        wanted = torch.tensor([float(sum(scored)), float(self.stop_asked), float(sum(extra))], device=device)
        total, stop, adversarial = world.total(wanted).tolist()  # all processes stop after the same step
        self.stop_agreed = stop > 0
        # Data-parallel wrappers average over processes: times their number, shares add up to one over all of them.
        self._shares = [(rows, n * world.size() / max(total, 1)) for rows, n in zip(real, scored, strict=True)]
        self._partner_shares = shares(extra, adversarial)
        self._micro = 0
        return samples, None

    def _save_before_leaving(self) -> None:
        """The text broke off between two steps: those that were made are kept. One process cannot do it for others."""
        step = self.state.global_step
        there = (Path(self._get_output_dir(None)) / f"checkpoint-{step}").is_dir()
        if self.stream is not None and step and world.size() == 1 and not there:
            self._save_checkpoint(self.model, None)

    @property
    def _uses_partners(self) -> bool:
        return self.online is not None and self.online.term.weight > 0

    def _real_rows(self, micro: int, samples: list[Any]) -> int:
        """Rows of a micro-batch that are data: accelerate fills the last one of an epoch up with rows seen before."""
        rows = len(samples[micro]["input_ids"])
        state = self.accelerator.gradient_state
        last = micro == len(samples) - 1 and state.in_dataloader and state.end_of_dataloader
        if world.size() == 1 or not last or self.args.dataloader_drop_last or state.remainder <= 0:
            return rows
        return min(max(state.remainder - world.rank() * self._train_batch_size, 0), rows)

    def _batch(self, inputs: dict[str, Any]) -> tuple[Batch, float]:
        rows, share = self._shares[self._micro] if self._shares else (len(inputs["input_ids"]), 1.0)
        batch = Batch.from_inputs(
            inputs,
            key=make_key(self.args.seed, self.state.global_step),
            first_row=self._first_row(),
            unperturbed=self._unperturbed,
            smoothing=self.args.label_smoothing_factor,
            shift=self._loss_shifts_labels,
        )
        return (batch if rows == len(batch) else batch.first(rows)), share

    def _first_row(self) -> int:
        if self.stream is not None:
            return self.stream.first_row(self._micro)
        return (self._micro * world.size() + world.rank()) * self._train_batch_size

    # attacks on the training rows

    def enter_epoch(self, batches: int) -> None:
        """What an epoch of so many micro-batches begins with: its adversarial rows."""
        if self.online is None:
            return
        steps = max(1, math.ceil(batches / self.args.gradient_accumulation_steps))
        epoch, done = divmod(self.state.global_step, steps)
        model = self.accelerator.unwrap_model(self.model)
        self.train_dataset.partners, report = self.online.enter(epoch, model, middle=done > 0)
        if report is None:
            return
        if report["made_now"]:
            self.online_seconds += report["seconds"]
        elif self.state.global_step == self._initial_global_step:
            return  # the run that was interrupted here has logged it
        names = ("epoch", "rows", "adversarial", "success_rate", "queries_mean", "seconds")
        self.log(
            {f"online_{name}": report[name] for name in names if report[name] is not None}
            | {"online_share_of_time": self.online_seconds / max(self.seconds, 1e-9)}
        )

    @property
    def seconds(self) -> float:
        """Of training up to now; of a resumed run also those up to the checkpoint it went on from."""
        return self._seconds_before + time.monotonic() - self._began

    # gradients

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """The norm that was clipped; gradients that are not finite never reach the weights."""
        if self.engine.norm is not None:  # the method made its own updates: what is left is no gradient at all
            norm, self.engine.norm = self.engine.norm, None
            return norm
        norm = super()._get_grad_norm(model, grad_norm)
        self.engine.drop_if_not_finite(norm)
        return norm

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The Trainer's, with the method's own modules in a group of their own, and layers in groups if they differ."""
        created = self.optimizer is None
        if created and self.layer_decay < 1:
            kind, given = self.get_optimizer_cls_and_kwargs(self.args, model or self.model)
            groups = parameter_groups(
                model or self.model,
                learning_rate=self.args.learning_rate,
                weight_decay=self.args.weight_decay,
                layer_decay=self.layer_decay,
            )
            self.optimizer = kind(groups, **given)
        optimizer = super().create_optimizer(model)
        if created and len(self.engine.modules):
            optimizer.add_param_group({"params": list(self.engine.modules.parameters()), "weight_decay": 0.0})
        return optimizer

    # what is logged

    def _note(self, logs: Logs, share: float) -> None:
        for name, value in logs.items():
            self._terms[name] = self._terms.get(name, torch.zeros_like(value)) + share * value
        if self.engine.view.skipped is not None:
            skipped = self.engine.view.skipped.sum()
            self._terms["skipped"] = self._terms.get("skipped", torch.zeros_like(skipped)) + skipped

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The Trainer's log with each loss term, and the sentences and steps skipped because they were not finite."""
        if "loss" in logs and self._terms:
            for name, value in sorted(self._terms.items()):
                mean = world.total(value.float()).item()
                if name == "skipped":
                    logs["skipped_perturbations"] = mean
                else:
                    logs[f"loss_{name}"] = mean / world.size() / max(self._steps_since_log, 1)
            logs["skipped_steps"] = self.engine.skipped_steps
            self._terms, self._steps_since_log, self.engine.skipped_steps = {}, 0, 0
            if self.pace is not None:
                logs |= self.pace.report()
            self._tr_loss.zero_()  # the Trainer subtracts it from itself, and NaN - NaN is NaN for ever after
        if self.stream is not None:
            self.state.epoch = self.stream.source.epoch  # of the corpus; the run is one epoch to the Trainer
        super().log(logs, start_time)

    # checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        folder = super()._get_output_dir(trial)
        return os.path.join(folder, PARTIAL) if getattr(self, "_saving", False) else folder  # noqa: PTH118

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Written beside and renamed: a checkpoint is there whole or not at all."""
        run = Path(self._get_output_dir(trial))
        name = f"checkpoint-{self.state.global_step}"
        if self.state.best_global_step and (best := run / f"checkpoint-{self.state.best_global_step}").is_dir():
            self.state.best_model_checkpoint = str(best)
        self._saving = True
        try:
            super()._save_checkpoint(model, trial)
            (run / PARTIAL / name).mkdir(parents=True, exist_ok=True)  # the first process may be behind
            self.engine.save(run / PARTIAL / name)
            if self.args.should_save:
                self._save_cost(run / PARTIAL / name / COST)
            if self.stream is not None:
                self.stream.save(run / PARTIAL / name)
            if self.keep_shards:
                save_optimizer(self.optimizer, self.lr_scheduler, run / PARTIAL / name)
            if self.args.should_save and self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(run / name)
                self.state.save_to_json(str(run / PARTIAL / name / "trainer_state.json"))
        except WRITE_ERRORS as error:
            shutil.rmtree(run / PARTIAL, ignore_errors=True)
            raise RunError(
                f"cannot write the checkpoint {run / name}: {reason(error)}; make room and go on from the one "
                "before with --resume"
            ) from error
        finally:
            self._saving = False
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            shutil.rmtree(run / name, ignore_errors=True)
            (run / PARTIAL / name).rename(run / name)
            shutil.rmtree(run / PARTIAL, ignore_errors=True)
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(run / name)
            rotate_checkpoints(
                output_dir=str(run),
                save_total_limit=self.args.save_total_limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=False,
            )
        self.accelerator.wait_for_everyone()

    def _save_cost(self, path: Path) -> None:
        spent = {
            "seconds": self.seconds,
            "online_seconds": self.online_seconds,
            "forward_passes": self.engine.view.passes,
        }
        path.write_text(json.dumps(spent), encoding="utf-8")

    def _load_cost(self, path: Path) -> None:
        try:
            spent = json.loads(path.read_text(encoding="utf-8"))
            self._seconds_before, self.online_seconds = float(spent["seconds"]), float(spent["online_seconds"])
            self.engine.view.passes = int(spent["forward_passes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} does not say what the run had cost by then; delete {path.parent} and resume from the "
                "checkpoint before it, or begin again"
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle, and nothing of ours reads it.
        (Path(output_dir or self.args.output_dir) / "training_args.bin").unlink(missing_ok=True)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.keep_shards:
            load_optimizer(self.optimizer, self.lr_scheduler, Path(checkpoint))
        else:
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if not self.keep_shards:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:  # weights that are sharded over processes are loaded before that
            check_loaded_from(self.model, Path(resume_from_checkpoint))
        self.engine.load(Path(resume_from_checkpoint))
        self._load_cost(Path(resume_from_checkpoint) / COST)
        if self.stream is not None:
            self.stream.load(Path(resume_from_checkpoint))


class _AfterUpdate(TrainerCallback):  # type: ignore[misc]
    """Before an epoch, and between an update and the next checkpoint, for state that follows the weights."""

    def __init__(self, trainer: AdversarialTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer before the first epoch."""
        self.trainer._began = time.monotonic()

    def on_epoch_begin(
        self, args: TrainingArguments, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Called by the Trainer before it fetches the first batch of an epoch."""
        if self.trainer.online is not None:
            self.trainer.enter_epoch(len(train_dataloader))

    def on_optimizer_step(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after `optimizer.step()`."""
        if self.trainer.pace is not None:
            self.trainer.pace.after_update()
        self.trainer.method.after_update(self.trainer.engine.view, self.trainer.engine)
        self.trainer.engine.modules.zero_grad()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after an update, before it logs, scores or saves."""
        trainer = self.trainer
        if trainer.pace is not None:
            if control.should_log:  # what a GPU has yet to do belongs to the steps, not to the log
                trainer.pace.settle()
            trainer.pace.stop(trainer._method_at(state.global_step - 1), args.gradient_accumulation_steps)


def _targets(inputs: dict[str, Any], rows: int, shifted: bool) -> int:
    """How many targets the first `rows` sentences of a collator's dict have."""
    labels = inputs["labels"][:rows]
    if labels.is_floating_point():
        return int((~labels.isnan()).sum())
    return int((labels[..., 1:] if shifted and labels.dim() == 2 else labels).ne(IGNORED).sum())
