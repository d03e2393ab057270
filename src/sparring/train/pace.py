"""How fast a run goes, and how near that is to the bound that its passes set.

The bound of a step is that of docs/cost.md: (F + b + 2B) / 3 plain steps, where F forwards, b backwards to the input
and B full backwards are the method's passes. A plain step is a forward and a backward over each micro-batch, and one
update, as measured in the run itself. What a step takes beyond that is draws, projections, and waiting for text.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..data.batch import Batch
from ..methods.base import GradientMethod, Method
from ..methods.cost import counted
from ..methods.standard import Standard

if TYPE_CHECKING:
    from .trainer import AdversarialTrainer

_TIMED = 5  # updates
_UNITS = {"F": 1, "b": 1, "B": 2}


def plain_steps(method: Method) -> float:
    """Passes of one step of a method, by its own cost line, in plain steps of one forward and one full backward."""
    return sum(count * _UNITS[kind] for kind, count in counted(method).items()) / 3


class Pace:
    """A clock that runs during steps, without evaluation and checkpoints in between."""

    def __init__(self, tokens_per_step: int, device: torch.device) -> None:
        self.tokens_per_step, self.device = tokens_per_step, device
        self.plain: float | None = None
        """Seconds of a plain forward and backward over one micro-batch; None until measured."""
        self.update: float | None = None
        """Seconds of clipping and the optimiser's step; None until measured."""
        self._recent, self._steps = 0.0, 0
        self._passes, self._updates = 0.0, 0.0
        self._bounded = True
        self._began: float | None = None
        self._update_began: float | None = None
        self._updates_seen = 0

    def measure(self, plain_pass: Callable[[], object], *, rounds: int = 3) -> None:
        """Time a plain pass: the fastest of some after one to warm up, for a machine only ever makes it slower."""
        times = []
        for _ in range(rounds + 1):
            self.settle()
            began = time.perf_counter()
            plain_pass()
            self.settle()
            times.append(time.perf_counter() - began)
        self.plain = min(times[1:])

    def start(self) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    def before_update(self) -> None:
        """The gradients of a step are there. The first updates of a run are timed, after one to warm up."""
        if self._updates_seen <= _TIMED:
            self.settle()
            self._update_began = time.perf_counter()

    def after_update(self) -> None:
        """The optimiser has made its step."""
        if self._update_began is None:
            return
        self.settle()
        took = time.perf_counter() - self._update_began
        self._update_began = None
        if self._updates_seen:
            self.update = took if self.update is None else min(self.update, took)
        self._updates_seen += 1

    def leave_out(self, seconds: float) -> None:
        """Time inside a step that is no part of it."""
        if self._began is not None:
            self._began += seconds

    def stop(self, method: Method, micro_batches: int) -> None:
        """A step of a method has ended."""
        if self._began is None:
            return
        took = time.perf_counter() - self._began
        self._began = None
        self._recent += took
        self._steps += 1
        self._passes += micro_batches * plain_steps(method)
        self._updates += 1
        self._bounded &= isinstance(method, GradientMethod)

    def settle(self) -> None:
        """Wait for what a GPU has yet to do."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def report(self) -> dict[str, float]:
        """Tokens per second and the share of the bound since the last report; nothing if there was no step.

        Without the share where a method made its updates itself: they are not timed, and the bound would be too low.
        """
        if not self._steps:
            return {}
        found = {"tokens_per_second": round(self.tokens_per_step * self._steps / self._recent, 1)}
        if self._bounded and self.plain is not None and self.update is not None:
            bound = self._passes * self.plain + self._updates * self.update
            found["share_of_bound"] = round(bound / self._recent, 4)
        self._recent, self._passes, self._updates, self._steps = 0.0, 0.0, 0.0, 0
        self._bounded = True
        return found


def measure_plain_pass(pace: Pace, trainer: "AdversarialTrainer", batch: Batch) -> None:
    """How long a plain pass takes here: before anything is drawn for the step, whose gradients it leaves empty."""
    began, plain, engine = time.perf_counter(), Standard(), trainer.engine
    apart, passes = replace(batch), engine.view.passes  # what a view remembers of a batch is not that of the step's

    with _gradients_within_reach(trainer):
        pace.measure(lambda: plain.accumulate(engine.view, apart, engine, 1.0))
    engine.clear()
    engine.view.passes = passes
    pace.leave_out(time.perf_counter() - began)


@contextmanager
def _gradients_within_reach(trainer: "AdversarialTrainer") -> Iterator[None]:
    """Passes inside leave their gradients where `engine.clear` finds them, and the process's own as far as can be."""
    if not trainer.is_distributed_loading_by_transformers:
        with trainer.engine.no_sync():
            yield
        return
    # FSDP keeps gradients whose reduction waits for a later micro-batch in buffers of its own, and the Trainer has
    # already told it to wait: reduce them at once, then wait again
    trainer.model.set_requires_gradient_sync(True)
    try:
        yield
    finally:
        if not trainer.accelerator.sync_gradients:
            if trainer.model.config.distributed_config.dp_replicate_size > 1:
                trainer.model.set_requires_all_reduce(False)
            else:
                trainer.model.set_requires_gradient_sync(False)
