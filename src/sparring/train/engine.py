"""What a method may ask of the Trainer: gradients, updates, and memory that checkpoints keep."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer

from ..data.batch import make_key
from ..errors import RunError
from ..model import world
from .sharded import local, shard_of

if TYPE_CHECKING:
    from .trainer import AdversarialTrainer


class TrainerEngine:
    """What a method may ask of the trainer (see `methods.base.Engine`)."""

    def __init__(self, trainer: "AdversarialTrainer") -> None:
        self.trainer = trainer
        self.view = trainer.method.view(trainer.model)
        self.wrapped: nn.Module = trainer.model
        self.memory: dict[str, Tensor] = {"mean_norm": torch.tensor(self.view.mean_norm(), dtype=torch.float64)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(make_key(trainer.args.seed, "modules"))  # the same start on every process
            self.modules = nn.ModuleDict(trainer.method.modules(self.view)).to(trainer.args.device)
        self.norm: Any = None
        self.skipped_steps = 0

    @property
    def step(self) -> int:
        """Number of this optimiser step, from 0."""
        return int(self.trainer.state.global_step)

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of the whole run."""
        return int(self.trainer.state.max_steps)

    @property
    def learning_rate(self) -> float:
        """The learning rate of this step."""
        return float(self.trainer.optimizer.param_groups[0]["lr"])

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate that the schedule scales."""
        return float(self.trainer.optimizer.param_groups[0].get("initial_lr", self.learning_rate))

    def backward(self, loss: Tensor) -> None:
        """Add gradients; fp16's loss scale is accelerate's business."""
        self.view.armed = None
        self.trainer.accelerator.backward(loss)

    def update(self) -> None:
        """Clip, step, clear. The schedule stays where it is: the Trainer moves it once a step."""
        trainer = self.trainer
        self.average_module_gradients()
        norm = trainer._clip_grad_norm(self.wrapped) if trainer.args.max_grad_norm > 0 else None
        self.norm = Trainer._get_grad_norm(trainer, self.wrapped, norm)
        self.drop_if_not_finite(self.norm)
        trainer.optimizer.step()
        self.clear()

    def no_sync(self) -> AbstractContextManager[Any]:
        """Keep gradients on this process."""
        trainer = self.trainer
        if trainer.is_distributed_loading_by_transformers and trainer.accelerator.sync_gradients:
            return trainer._defer_fsdp_gradient_reduction()
        return trainer.accelerator.no_sync(self.wrapped) if world.size() > 1 else nullcontext()

    def clear(self) -> None:
        """Gradients of the model and of the method's modules become None."""
        self.wrapped.zero_grad()
        self.modules.zero_grad()

    def drop_if_not_finite(self, norm: Any) -> None:
        """Throw the gradients away if their norm is not finite; an optimiser leaves weights without gradient alone."""
        if self.trainer.accelerator.scaler is None and not math.isfinite(float(norm)):  # fp16's scaler does it itself
            self.clear()
            self.skipped_steps += 1

    def average_module_gradients(self) -> None:
        """The method's modules are outside the data-parallel wrapper: one more reduction, of their gradients."""
        world.average([p.grad for p in self.modules.parameters() if p.grad is not None])

    def save(self, folder: Path) -> None:
        """Memory and modules, as safetensors; where the weights are sharded, one file a process with its share."""
        if not (self.trainer.args.should_save or self._sharded):
            return
        tensors = {f"memory.{name}": local(x).contiguous() for name, x in self.memory.items()}
        tensors |= {f"shape.{name}": torch.tensor(x.shape) for name, x in self.memory.items() if local(x) is not x}
        tensors |= {f"modules.{name}": x.contiguous() for name, x in self.modules.state_dict().items()}
        save_file(tensors, folder / self._file)

    def load(self, folder: Path) -> None:
        """What `save` wrote. RunError if the checkpoint has none."""
        path = folder / self._file
        if not path.is_file():
            raise RunError(
                f"{folder} has no {path.name}; it was not written by AdversarialTrainer and cannot resume here"
            )
        tensors = {name: x.to(self.trainer.args.device) for name, x in load_file(path).items()}
        memory, shapes, modules = (_under(kind, tensors) for kind in ("memory.", "shape.", "modules."))
        for name, shape in shapes.items():  # whole ones are in no share of the weights
            memory[name] = shard_of(memory[name], shape.tolist(), self.trainer.model)
        self.memory = memory
        self.view.set_mean_norm(float(memory["mean_norm"]))
        self.modules.load_state_dict(modules)

    @property
    def _sharded(self) -> bool:
        return bool(self.trainer.is_fsdp_enabled or self.trainer.is_distributed_loading_by_transformers)

    @property
    def _file(self) -> str:
        return f"method-{world.rank()}.safetensors" if self._sharded else "method.safetensors"


def _under(kind: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(kind): x for name, x in tensors.items() if name.startswith(kind)}
