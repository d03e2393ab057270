"""What a training method's adversary does to a model, beside random noise of the same size.

A perturbation that moves nothing trains nothing: the divergence it causes should stand well above that of noise.
"""

import dataclasses
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..adapters.load import load_trained
from ..data.batch import Batch, make_key
from ..methods import method
from ..methods.base import Method
from ..methods.loop import LoopEngine
from ..methods.mat import MAT
from ..model.view import ModelView, evaluating
from ..objective import kl, task_loss
from ..perturb.draws import normal
from ..train.folder import read_run
from .run import run_batches


@dataclasses.dataclass(frozen=True)
class Effect:
    """Means over sentences; divergences KL(clean || perturbed) in nats, losses relative to the clean loss."""

    divergence: float
    loss_change: float
    random_divergence: float
    random_loss_change: float
    size: float
    """Mean L2 norm of one perturbed token, in units of the mean token norm at the site."""


def effect(trained_by: Method, model: nn.Module, batches: Iterable[Batch]) -> Effect:
    """The method's own perturbation of every batch, measured on the model in eval mode; weights stay as they are."""
    view = trained_by.view(model)
    sums = torch.zeros(5, dtype=torch.float64)
    count = 0
    try:
        with evaluating(model):
            for i, batch in enumerate(batches):
                batch = dataclasses.replace(batch, key=make_key("effect", i))
                delta = _perturbation(trained_by, view, batch)
                sums += len(batch) * torch.tensor(_measure(view, batch, delta), dtype=torch.float64)
                count += len(batch)
    finally:
        view.remove()
    return Effect(*(sums / max(count, 1)).tolist())


def effect_of_run(folder: Path, *, limit: int | None = None) -> dict[str, float]:
    """The effect of the method a run was trained by, on the run's model and held-out data."""
    description = read_run(folder)
    settings = dict(description["method"])
    model, tokenizer = load_trained(folder)
    batches, _ = run_batches(folder, description, model, tokenizer, limit=limit)
    return dataclasses.asdict(effect(method(settings.pop("name"), "default", **settings), model, batches))


def _perturbation(trained_by: Method, view: ModelView, batch: Batch) -> Tensor:
    """What the last outer pass of a step was perturbed with; zero for a method without perturbation."""
    view.latest = None
    if isinstance(trained_by, MAT):
        return trained_by.sample_delta(view, batch)
    engine = _Still(trained_by, view)
    trained_by.train_on(view, [batch], engine)
    return view.zeros(batch) if view.latest is None else view.latest * batch.perturbable.unsqueeze(-1)


def _measure(view: ModelView, batch: Batch, delta: Tensor) -> tuple[float, ...]:
    noise = normal(batch, delta, "effect")
    noise = noise * delta.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    with torch.no_grad():
        clean, bad, random = (view.probe(batch, x) for x in (None, delta, noise))
        loss = task_loss(clean, batch)
        tokens = delta.norm(dim=-1)[batch.perturbable].mean() / view.mean_norm()
        values = (
            kl(clean, bad),
            task_loss(bad, batch) - loss,
            kl(clean, random),
            task_loss(random, batch) - loss,
            tokens,
        )
    return tuple(float(x) for x in values)


class _Still(LoopEngine):
    """An engine that changes nothing: backward only as far as a method needs it, no update."""

    def __init__(self, trained_by: Method, view: ModelView) -> None:
        super().__init__(trained_by, view, torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.0))

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        self._view.model.zero_grad()

    def no_sync(self) -> Any:
        return nullcontext()
