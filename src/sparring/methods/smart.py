"""SMART. Jiang et al., ACL 2020 (arXiv:1911.03437): smoothness-inducing regularisation and Bregman proximal steps.

delta ~ N(0, noise^2 I)
repeat `steps` times:
    delta = project(delta + step_size * g / |g|_inf),  g = d symKL(p(x + delta), p(x)) / d delta   |delta|_inf <= radius
L       = loss(x) + weight * symKL(p(x + delta), p(x)) + proximal * symKL(p(x), teacher(x))
teacher = momentum * teacher + (1 - momentum) * weights           after every update; momentum 0: the last iterate

variant "paper" is this. "released" scales every token of delta + step_size * g to |.|_inf = 1 whatever the radius,
climbs a surrogate of the KL, and has neither proximal term nor teacher: they are in no released code.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..data.batch import Batch
from ..model.view import Dropout, ModelView, Site
from ..model.weights import copies, replaced, settle, trainable
from ..objective import symmetric_kl, task_loss
from ..perturb.ball import LinfBall, unit_linf
from ..perturb.draws import normal
from ..perturb.inner import gradient_of
from ..settings import Size, setting
from .base import Engine, GradientMethod, Logs, backward_sum


@dataclass(frozen=True, kw_only=True)
class SMART(GradientMethod):
    """Smoothness-inducing adversarial regularisation with a momentum teacher."""

    name = "smart"
    neutral: ClassVar = {"weight": 0.0, "proximal": 0.0}
    printed: ClassVar = {"radius": 1e-5, "step_size": 1e-3, "noise": 1e-5, "weight": 1.0}
    cost = "(steps + 3)F + steps b + 2B"

    radius: Size = setting(
        "0.05x", "largest change of one coordinate; 0.05x allows a token 0.05 of the mean norm", low=0
    )
    steps: int = setting(1, "ascent steps", low=1)
    step_size: Size = setting(
        "0.5x", "largest change of one coordinate in a step; far above the radius nearly a sign", low=0
    )
    noise: Size = setting("0.01x", "standard deviation of the random start, per coordinate", above=0)
    weight: float = setting(1.0, "weight of the smoothness term", low=0)
    proximal: float = setting(
        1.0, "weight of the Bregman divergence from the teacher; 0 switches the teacher off", low=0
    )
    momentum: float = setting(0.99, "share of the old teacher kept at an update, early in training", low=0, high=1)
    late_momentum: float = setting(0.999, "the same, after `early` of the updates", low=0, high=1)
    early: float = setting(0.1, "share of all updates that counts as early", low=0, high=1)
    variant: Literal["paper", "released"] = setting("paper", "perturbation: the paper's ball or the released code")
    site: Site = setting("hidden", "where it acts: hidden (input of the first layer, as the authors' code) or word")
    dropout: Dropout = setting("fresh", "dropout masks: fresh in every pass (as the authors), shared, or off_inner")

    @property
    def passes(self) -> int:
        """One fewer without the teacher, one more where the reference of the inner player is a pass of its own."""
        return super().passes - (not self._has_teacher) + (self.dropout == "off_inner")

    @property
    def _has_teacher(self) -> bool:
        return bool(self.proximal) and self.variant == "paper"

    def accumulate(self, view: ModelView, batch: Batch, engine: Engine, weight: float) -> Logs:
        """Task loss, smoothness and proximal term."""
        teacher = self._teacher_logits(view, batch, engine) if self._has_teacher else None
        clean = view.logits(batch)
        adversarial = view.logits(batch, self._perturbation(view, batch, view.reference(batch, clean)))
        terms = {
            "task": task_loss(clean, batch),
            "smooth": self.weight * symmetric_kl(adversarial, clean, detach_targets=self.variant == "released"),
        }
        if teacher is not None:
            terms["proximal"] = self.proximal * symmetric_kl(clean, teacher)
        return backward_sum(terms, engine, weight)

    def after_update(self, view: ModelView, engine: Engine) -> None:
        """Move the teacher towards the new weights."""
        keep = self.momentum if engine.step < self.early * engine.total_steps else self.late_momentum
        if "teacher.0" in engine.memory:
            with torch.no_grad():
                for i, w in enumerate(trainable(view.model)):
                    engine.memory[f"teacher.{i}"].lerp_(w.detach(), 1 - keep)

    def _perturbation(self, view: ModelView, batch: Batch, reference: Tensor) -> Tensor:
        ball, step_size = LinfBall(view.size(self.radius, "linf")), view.size(self.step_size, "linf")
        released = self.variant == "released"

        def harm(delta: Tensor) -> Tensor:
            noisy = view.probe(batch, delta)
            return _surrogate(noisy, reference) if released else symmetric_kl(noisy, reference, "sum")

        delta = view.size(self.noise, "linf") * normal(batch, view.zeros(batch), "start")
        for _ in range(self.steps):
            g = gradient_of(harm, delta)
            if released:
                delta = unit_linf(delta + step_size * g, "token")  # called a projection there; no radius enters
            else:
                delta = ball.project(delta + step_size * unit_linf(g, "sentence", batch.segments))
        return delta

    def _teacher_logits(self, view: ModelView, batch: Batch, engine: Engine) -> Tensor:
        weights = trainable(view.model)
        if "teacher.0" not in engine.memory:
            engine.memory |= {f"teacher.{i}": w for i, w in enumerate(copies(weights))}
        with torch.no_grad(), replaced(weights, [engine.memory[f"teacher.{i}"] for i in range(len(weights))]):
            logits = view.probe(batch)
            settle(view.model)  # or the next forward would still use the teacher's gathered weights
        return logits


def _surrogate(p: Tensor, q: Tensor) -> Tensor:
    """`stable_kl` of the released code: 2 sum p (logit p - logit q), gradient through p alone. Not a KL."""
    if p.shape[-1] == 1:
        return (p.float() - q.float()).pow(2).sum()
    p, q = p.float().softmax(-1), q.float().softmax(-1)
    rp, rq = (-(1 / (x.detach() + 1e-6) - 1 + 1e-6).log() for x in (p, q))
    return 2 * (p * (rp - rq)).sum()
