"""What a training method is: a rule that turns one batch into one update of the weights.

Three strengths, each a special case of the next. A method is a subclass of the weakest that can express it:
`LossMethod` (a loss), `GradientMethod` (gradients for a micro-batch), `Method` (a whole iteration).
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import SettingError
from ..model.view import Dropout, ModelView, Site
from ..settings import nearest, parse, validate
from .cost import counted

Logs = dict[str, Tensor]


class Engine(Protocol):
    """The only things a method may ask of the trainer."""

    memory: dict[str, Tensor]
    """Tensors that survive the step; they are in every checkpoint."""
    modules: nn.ModuleDict
    """The method's own trained modules (`Method.modules`), on the model's device."""

    @property
    def step(self) -> int:
        """Number of this optimiser step, from 0."""
        ...

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of the whole run."""
        ...

    @property
    def learning_rate(self) -> float:
        """The learning rate of this step."""
        ...

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate that the schedule scales."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss` to every parameter's `.grad`, and set `view.armed` to None."""

    def update(self) -> None:
        """Clip, make one optimiser step, clear the gradients. The learning-rate schedule does not move."""

    def no_sync(self) -> AbstractContextManager[Any]:
        """Gradients of forward and backward passes inside stay on this process until a backward outside it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A training method: frozen settings and one iteration. Units, ranges and help stand at each setting."""

    name: ClassVar[str]
    """What it is called on the command line."""
    neutral: ClassVar[Mapping[str, Any]]
    """Settings at which the method is plain training (FGM: of twice the loss), bit for bit when dropout is off."""
    printed: ClassVar[Mapping[str, Any]] = {}
    """The constants of the paper or of the authors' own scripts and logs, where the defaults differ from them."""
    cost: ClassVar[str] = ""
    """Passes of one step: F forwards, b backwards to the input, B full backwards."""
    accumulates: ClassVar[bool] = True
    """Whether gradients of several micro-batches may be added up before the update."""
    tokens: ClassVar[bool] = True
    """Whether it works where tokens are scored rather than sentences, as in pre-training."""

    @property
    def site(self) -> Site:
        """Where it perturbs; methods that offer a choice have a setting of this name."""
        return "word"

    @property
    def dropout(self) -> Dropout:
        """How dropout masks relate between its passes; methods with several passes have a setting of this name."""
        return "fresh"

    @property
    def passes(self) -> int:
        """Forward passes of one step, of both players; by these methods are made equal in cost."""
        return counted(self)["F"]

    def __post_init__(self) -> None:
        validate(self)

    @classmethod
    def of(cls, preset: str = "default", /, **settings: Any) -> Self:
        """From a preset ("default", which acts, or "printed", the paper's constants) and settings that override it."""
        if preset not in ("default", "printed"):
            raise SettingError(f"preset {preset!r} is unknown; {nearest(preset, ('default', 'printed'))}")
        if preset == "printed" and not cls.printed:
            raise SettingError(
                f"{cls.name} has no printed preset: its defaults are the printed constants, or none are known; use "
                "preset default"
            )
        return parse(cls, {**(cls.printed if preset == "printed" else {}), **settings})

    def view(self, model: nn.Module) -> ModelView:
        """The model as this method wants to see it."""
        return ModelView(model, site=self.site, dropout=self.dropout)

    def modules(self, view: ModelView) -> dict[str, nn.Module]:
        """Modules of the method's own that train along with the model and are absent from the saved model."""
        return {}

    @abstractmethod
    def train_on(self, view: ModelView, micro_batches: Sequence[Batch], engine: Engine) -> Logs:
        """Do exactly one optimisation iteration on a batch given in one or more parts; return scalars worth logging."""

    def after_update(self, view: ModelView, engine: Engine) -> None:  # noqa: B027
        """What follows the weights, such as a moving average; called once after every update."""

    def settings(self) -> dict[str, Any]:
        """The settings as plain values, for records."""
        return dataclasses.asdict(self)


class GradientMethod(Method):
    """Methods that add to `p.grad` for each micro-batch and then make one ordinary update."""

    @abstractmethod
    def accumulate(self, view: ModelView, batch: Batch, engine: Engine, weight: float) -> Logs:
        """Add `weight` times this micro-batch's gradient to `p.grad`; return its loss terms, unweighted."""

    def train_on(self, view: ModelView, micro_batches: Sequence[Batch], engine: Engine) -> Logs:
        """All micro-batches, then one update. A micro-batch weighs its share of the scored rows."""
        total = sum(len(batch.targets) for batch in micro_batches)
        logs: Logs = {}
        for i, batch in enumerate(micro_batches):
            share = len(batch.targets) / max(total, 1)
            with engine.no_sync() if i < len(micro_batches) - 1 else nullcontext():
                for term, value in self.accumulate(view, batch, engine, share).items():
                    logs[term] = logs.get(term, torch.zeros((), device=value.device)) + share * value
        engine.update()
        self.after_update(view, engine)
        return logs


class LossMethod(GradientMethod):
    """Methods that are nothing but a scalar loss."""

    @abstractmethod
    def losses(self, view: ModelView, batch: Batch) -> dict[str, Tensor]:
        """Named terms, already weighted; their sum is what is minimised."""

    def accumulate(self, view: ModelView, batch: Batch, engine: Engine, weight: float) -> Logs:
        """Back-propagate the sum of the losses."""
        return backward_sum(self.losses(view, batch), engine, weight)


def backward_sum(terms: dict[str, Tensor], engine: Engine, weight: float) -> Logs:
    """Back-propagate `weight` times the sum of the terms; return the terms as constants."""
    engine.backward(weight * torch.stack(list(terms.values())).sum())
    return {name: term.detach() for name, term in terms.items()}


def only(micro_batches: Sequence[Batch], method: str) -> Batch:
    """The single micro-batch, for methods whose algorithm updates the weights several times on one batch."""
    if len(micro_batches) != 1:
        raise SettingError(
            f"{method} cannot accumulate gradients: it updates the weights several times on the same batch, and got "
            f"{len(micro_batches)} micro-batches; set gradient_accumulation_steps=1 and use a smaller batch, or "
            "activation checkpointing to save memory"
        )
    return micro_batches[0]
