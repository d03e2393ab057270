"""Contrastive adversarial training. Pan et al., AAAI 2022 (arXiv:2107.10137): perturb the embedding matrix V.

G = d loss(x; V) / d V                   one row a word type: the gradients of all its occurrences, summed
R = radius * sign(G)                     norm "row_l2": each row over its length; "global_l2": the whole over its length
L = (1 - weight) / 2 * (loss(x; V) + loss(x; V + R)) + weight * NT-Xent(z(x; V), z(x; V + R))
z = projection of the last layer's [CLS] vector; the projection trains along and is thrown away

No weight is touched: G is the gradient of delta scattered over the token ids, and the perturbed pass takes
delta = R[ids]. These are the same numbers, and a tied output layer, an adapter or a sharded table is left alone.
Differs: there is no authors' code; a public third-party one steps down the loss instead of up. Ours goes up. With
several processes G is summed and the negatives are gathered over all of them; micro-batches stay apart.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..data.batch import Batch
from ..errors import SettingError
from ..model import world
from ..model.view import Dropout, ModelView
from ..objective import nt_xent, task_loss
from ..perturb.ball import unit_l2
from ..settings import Size, setting
from .base import Engine, GradientMethod, Logs, backward_sum


@dataclass(frozen=True, kw_only=True)
class CAT(GradientMethod):
    """Adversarial embedding matrix and contrastive loss."""

    name = "cat"
    neutral: ClassVar = {"radius": 0.0, "weight": 0.0}
    cost = "2F + 1b + 2B"
    tokens = False

    radius: Size = setting(
        "0.04x", "size of R: per coordinate (sign), per row (row_l2) or of the whole (global_l2)", low=0
    )
    norm: Literal["sign", "row_l2", "global_l2"] = setting("sign", "how the matrix gradient becomes a perturbation")
    weight: float = setting(0.02, "share of the contrastive loss, 0 to 1", low=0, high=1)
    temperature: float = setting(0.1, "temperature of the contrastive loss", above=0)
    projection: int = setting(300, "width of the projected sentence vectors", low=1)
    gather: bool = setting(True, "sum G and contrast over all processes, not each on its own")
    dropout: Dropout = setting("fresh", "dropout masks of the two passes: fresh, shared, off_inner (acts like fresh)")

    def modules(self, view: ModelView) -> dict[str, nn.Module]:
        """The projection: H -> H -> ReLU -> `projection`."""
        width = view.hidden_width
        return {"projection": nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, self.projection))}

    def accumulate(self, view: ModelView, batch: Batch, engine: Engine, weight: float) -> Logs:
        """Clean and adversarial task loss and the contrast between their sentence vectors."""
        if batch.scored.dim() != 1:
            raise SettingError("cat contrasts one vector a sentence; use another method for token-level targets")
        nothing, half = view.zeros(batch).requires_grad_(), (1 - self.weight) / 2
        logits, clean = view.encode(batch, nothing)
        task = task_loss(logits, batch)
        # `weight` makes the processes' means add up to the mean of the whole batch; the sign does not care
        (gradient,) = torch.autograd.grad(weight * task, nothing, retain_graph=True)
        bad_logits, bad = view.encode(batch, self._perturbation(view, batch, gradient))
        project = engine.modules["projection"]
        dtype = next(project.parameters()).dtype  # float32 or wider, whatever the model is stored in
        own = torch.stack([project(vectors[batch.scored].to(dtype)) for vectors in (clean, bad)])  # (2, N, projection)
        everyone, first = world.gather_rows(own.transpose(0, 1)) if self.gather else (own.transpose(0, 1), 0)
        contrast = nt_xent(own, everyone.transpose(0, 1), first, self.temperature)
        terms = {
            "task": half * task,
            "adversarial": half * task_loss(bad_logits, batch),
            "contrast": self.weight * contrast,
        }
        return backward_sum(terms, engine, weight)

    def _perturbation(self, view: ModelView, batch: Batch, gradient: Tensor) -> Tensor:
        """R[ids] (B, L, D) from the gradient of delta (B, L, D)."""
        ids, gradient = batch.inputs["input_ids"], view.finite(batch, gradient)
        types, place = torch.unique(ids, return_inverse=True)  # only the rows that occur: the others have no gradient
        together = self.gather and world.size() > 1
        if together:
            types, place = torch.arange(view.vocabulary, device=ids.device), ids
        rows = gradient.new_zeros(len(types), gradient.shape[-1])
        rows.index_add_(0, place.flatten(), gradient.flatten(0, 1))
        return matrix_perturbation(
            world.total(rows) if together else rows, view.size(self.radius, self._unit), self.norm
        )[place]

    @property
    def _unit(self) -> Literal["l2", "linf"]:
        return "linf" if self.norm == "sign" else "l2"


def matrix_perturbation(gradient: Tensor, radius: float, norm: Literal["sign", "row_l2", "global_l2"]) -> Tensor:
    """R (V, D) from the gradient of the embedding matrix (V, D); rows without gradient stay zero."""
    if norm == "sign":
        return radius * gradient.sign()
    return radius * unit_l2(gradient, "token" if norm == "row_l2" else "sentence")
