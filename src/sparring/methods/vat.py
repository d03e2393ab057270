"""Virtual adversarial training. Miyato et al., TPAMI 2018 (arXiv:1704.03976); on text Miyato, Dai, Goodfellow 2017.

d ~ N(0, I), scaled to |d|_2 = 1 over the sentence
repeat `power_steps` times:
    d = g / |g|_2,  g = d KL(p(x) || p(x + probe_size d)) / d d        power iteration towards the steepest direction
L = loss(x) + weight * KL(p(x) || p(x + radius d))                     p(x) is held constant; the penalty needs no label
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..data.batch import Batch
from ..model.view import Dropout, ModelView
from ..objective import kl, task_loss
from ..perturb.ball import unit_l2
from ..perturb.draws import normal
from ..perturb.inner import gradient_of
from ..settings import Size, setting
from .base import LossMethod


@dataclass(frozen=True, kw_only=True)
class VAT(LossMethod):
    """Local distributional smoothness in the direction of greatest change."""

    name = "vat"
    neutral: ClassVar = {"weight": 0.0}
    printed: ClassVar = {"radius": 5.0, "probe_size": 0.1, "weight": 1.0}  # the authors' text code
    cost = "(power_steps + 2)F + power_steps b + 2B"

    radius: Size = setting("0.3x", "L2 norm of one sentence's perturbation", low=0)
    probe_size: Size = setting(
        0.1, "L2 length at which the divergence is probed; half precision needs 0.01 or more", above=0
    )
    power_steps: int = setting(1, "power iterations", low=1)
    weight: float = setting(1.0, "weight of the divergence", low=0)
    dropout: Dropout = setting("fresh", "dropout masks: fresh in every pass, shared by all, or off_inner")

    @property
    def passes(self) -> int:
        """One more where the reference of the inner player is a pass of its own."""
        return super().passes + (self.dropout == "off_inner")

    def losses(self, view: ModelView, batch: Batch) -> dict[str, Tensor]:
        """Task loss and virtual adversarial loss."""
        clean, probe_size = view.logits(batch), view.size(self.probe_size)
        reference = view.reference(batch, clean)

        def harm(delta: Tensor) -> Tensor:
            return kl(reference, view.probe(batch, delta), "sum")

        d = unit_l2(normal(batch, view.zeros(batch), "start"), "sentence", batch.segments)
        for _ in range(self.power_steps):
            d = unit_l2(gradient_of(harm, probe_size * d), "sentence", batch.segments)
        adversarial = view.logits(batch, view.size(self.radius) * d)
        return {"task": task_loss(clean, batch), "smooth": self.weight * kl(clean.detach(), adversarial)}
