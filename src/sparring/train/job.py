"""What all training jobs share: the run's folder, resuming the same run, Ctrl-C at a step boundary, the log."""

import dataclasses
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from ..errors import Interrupted as Interrupted
from ..errors import RunError, SettingError
from ..model import world
from ..model.load import fast_bf16
from . import folder as run_folder
from .folder import WRITE_ERRORS, reason
from .options import FineTune
from .pretrain_options import Pretrain
from .trainer import PARTIAL, AdversarialTrainer


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


def trainer_arguments(settings: FineTune | Pretrain, precision: str, **own: Any) -> TrainingArguments:
    """What the Trainer is told by the settings that all training jobs have, and by a job's own."""
    return TrainingArguments(
        output_dir=str(Path(settings.output) / run_folder.CHECKPOINTS),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        torch_compile=settings.compile,
        activation_checkpointing=settings.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.activation_checkpointing else None,
        save_total_limit=settings.keep,
        logging_first_step=True,
        seed=settings.seed,
        data_seed=settings.seed,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        **own,
    )


@contextmanager
def new_folder(output: Path, model: torch.nn.Module, keep: int) -> Iterator[None]:
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


def save_model(trainer: AdversarialTrainer, output: Path, label_names: Sequence[str] | None = None) -> None:
    """Model, tokenizer and a classifier's labels, written beside and moved.

    config.json, which marks a model as whole, comes last. All processes wait for it.
    """
    partial = output / PARTIAL
    try:
        trainer.save_model(str(partial))
        if trainer.args.should_save:
            if label_names is not None:
                run_folder.write_json(partial / "labels.json", list(label_names))
            for path in sorted(partial.iterdir(), key=lambda p: p.name.endswith("config.json")):
                path.replace(output / path.name)
            partial.rmdir()
    except WRITE_ERRORS as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"cannot write the model to {output}: {reason(error)}; make room and go on from the last checkpoint with "
            "--resume"
        ) from error
    trainer.accelerator.wait_for_everyone()


FREE = ("output", "keep", "workers", "bad_lines")
"""What may change when a run is resumed: nothing of the result follows from it."""


def check_same_settings(settings: Any, defaults: Any, begun: dict[str, Any], output: Path) -> None:
    """A run resumes with the settings it began with, or the result would be of neither.

    defaults: a run may have begun before a setting existed. begun: what its run.yaml holds.
    """
    before = dataclasses.asdict(defaults) | begun.get("settings", {})
    now = dataclasses.asdict(settings)
    changed = [name for name in now if name not in FREE and now[name] != before.get(name)]
    if changed:
        name = changed[0]
        raise RunError(
            f"{output} began with {name}={before.get(name)!r}, not {now[name]!r}; resume without it, or start another "
            "run with another --output"
        )
    if (output / run_folder.METRICS).exists():
        raise RunError(f"the run in {output} is finished; there is nothing to resume")


def resume_point(output: Path, before: Mapping[str, Any], digests: Mapping[str, str], precision: str) -> str | None:
    """The latest checkpoint of a run, or None; its log is cut there. RunError if data or machine are others by now.

    before: what run.yaml holds. digests: of the data as it is now, by its name there.
    """
    for name, digest in digests.items():
        known = before["data"].get(name, {})
        if known.get("sha256", known.get("digest")) != digest:
            origin = known.get("origin", f"the {name} data")
            raise RunError(f"{origin} has changed since the run in {output} began; it cannot be resumed")
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
