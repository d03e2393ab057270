"""Fast gradient method on word embeddings. Miyato, Dai, Goodfellow, ICLR 2017 (arXiv:1605.07725).

g     = d loss(x) / d x                   from the clean pass itself: one extra backward, no extra forward
delta = radius * g / |g|_2                norm over the whole sentence (norm="linf": radius * sign(g), FGSM)
L     = loss(x) + weight * loss(x + delta)

Differs: the authors normalise embeddings by word frequency so that the model cannot outgrow a fixed radius; a
pre-trained table stays as it is here, and a radius such as "1x" is relative to its mean norm.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batch import Batch
from ..model.view import Dropout, ModelView, Norm
from ..objective import task_loss
from ..perturb.ball import L2Ball, LinfBall
from ..settings import Size, setting
from .base import LossMethod


@dataclass(frozen=True, kw_only=True)
class FGM(LossMethod):
    """Fast gradient (sign) method."""

    name = "fgm"
    neutral: ClassVar = {"radius": 0.0}  # of twice the loss: the clean sentence is then counted two times
    printed: ClassVar = {"radius": 5.0}
    cost = "2F + 1b + 2B"

    radius: Size = setting("0.2x", "size of the perturbation: L2 per sentence, or per coordinate for linf", low=0)
    norm: Norm = setting("l2", "l2: gradient of unit length (FGM); linf: its sign (FGSM)")
    weight: float = setting(1.0, "weight of the adversarial loss beside the clean one", low=0)
    dropout: Dropout = setting("fresh", "dropout masks of the two passes: fresh, shared, off_inner (acts like fresh)")

    def losses(self, view: ModelView, batch: Batch) -> dict[str, Tensor]:
        """Clean and adversarial task loss."""
        radius = view.size(self.radius, self.norm)
        ball = L2Ball(radius, parts=batch.segments) if self.norm == "l2" else LinfBall(radius)
        nothing = view.zeros(batch).requires_grad_()
        clean = task_loss(view.logits(batch, nothing), batch)
        (gradient,) = torch.autograd.grad(clean, nothing, retain_graph=True)
        delta = radius * ball.direction(gradient)
        adversarial = task_loss(view.logits(batch, delta), batch)
        return {"task": clean, "adversarial": self.weight * adversarial}
