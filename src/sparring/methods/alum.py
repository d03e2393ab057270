"""ALUM. Liu et al., 2020 (arXiv:2004.08994), Algorithm 1: virtual adversarial training at any stage.

delta ~ N(0, noise^2 I)
repeat `steps` times:
    delta = project(delta + step_size * g / |g|_inf),  g = d KL(p(x) || p(x + delta)) / d delta    |delta|_inf <= radius
L = loss(x) + weight * symKL(p(x + delta), p(x))

variant "paper" is this. Two states of the released code do something else (docs/methods/alum.md):
"released" (the tip) scales every token of delta + step_size * g to |.|_inf = 1, whatever the radius; "first_release"
forgets the start and returns step_size * g / |g|_inf per token. Both hold the target of each KL and, in the tip, the
embeddings of the adversarial pass constant; `detached` does the latter, or not, under any variant.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..data.batch import Batch
from ..model.view import Dropout, ModelView, Site
from ..objective import kl, symmetric_kl, task_loss
from ..perturb.ball import LinfBall, unit_linf
from ..perturb.draws import normal
from ..perturb.inner import gradient_of
from ..settings import Size, setting
from .base import LossMethod


@dataclass(frozen=True, kw_only=True)
class ALUM(LossMethod):
    """Adversarial training for large neural language models."""

    name = "alum"
    neutral: ClassVar = {"weight": 0.0}
    printed: ClassVar = {"radius": 1e-5, "step_size": 1e-3, "noise": 1e-5, "weight": 1.0}
    cost = "(steps + 2)F + steps b + 2B"

    radius: Size = setting(
        "0.05x", "largest change of one coordinate; 0.05x allows a token 0.05 of the mean norm", low=0
    )
    steps: int = setting(1, "ascent steps", low=1)
    step_size: Size = setting(
        "0.5x", "largest change of one coordinate in a step; far above the radius nearly a sign", low=0
    )
    noise: Size = setting("0.01x", "standard deviation of the random start, per coordinate", above=0)
    weight: float = setting(1.0, "weight of the symmetric KL; the authors' pre-training script uses 10", low=0)
    variant: Literal["paper", "released", "first_release"] = setting(
        "paper", "algorithm: the paper's or a released one"
    )
    detached: Literal["variant", "always", "never"] = setting(
        "variant",
        "the adversarial pass does not train the embeddings: always, never, or under released alone (variant)",
    )
    site: Site = setting("hidden", "where it acts: hidden (input of the first layer, as the authors' code) or word")
    dropout: Dropout = setting("fresh", "dropout masks: fresh in every pass (as the authors), shared, or off_inner")

    @property
    def passes(self) -> int:
        """One more where the reference of the inner player is a pass of its own."""
        return super().passes + (self.dropout == "off_inner")

    def losses(self, view: ModelView, batch: Batch) -> dict[str, Tensor]:
        """Task loss and smoothness under the adversary."""
        clean, step_size = view.logits(batch), view.size(self.step_size, "linf")
        ball, reference = LinfBall(view.size(self.radius, "linf")), view.reference(batch, clean)
        released = self.variant != "paper"

        def harm(delta: Tensor) -> Tensor:
            return kl(reference, view.probe(batch, delta), "mean" if released else "sum")

        delta = view.size(self.noise, "linf") * normal(batch, view.zeros(batch), "start")
        for _ in range(self.steps):
            g = gradient_of(harm, delta)
            if self.variant == "released":
                delta = unit_linf(delta + step_size * g, "token")  # called a projection there; no radius enters
            elif self.variant == "first_release":
                delta = step_size * unit_linf(g, "token")
            else:
                delta = ball.project(delta + step_size * unit_linf(g, "sentence", batch.segments))
        detached = self.detached == "always" or (self.detached == "variant" and self.variant == "released")
        adversarial = view.logits(batch, delta, detached=detached)
        smooth = symmetric_kl(adversarial, clean, detach_targets=released)
        return {"task": task_loss(clean, batch), "smooth": self.weight * smooth}
