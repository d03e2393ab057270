"""Projected gradient descent on word embeddings. Madry et al., ICLR 2018; on text as in the FreeLB code.

delta ~ U(-1, 1) * noise / sqrt(n D)
repeat `steps` times:
    delta = project(delta + step_size * g / |g|_2),  g = d loss(x + delta) / d delta     |delta|_2 <= radius, sentence
L = loss(x + delta)                                  the clean sentence is never seen, only the last delta counts

Differs: the start is projected too (the authors let it leave the ball), so radius 0 is plain training.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..data.batch import Batch
from ..model.view import Dropout, ModelView
from ..objective import task_loss
from ..perturb.ball import L2Ball
from ..perturb.draws import ball_uniform
from ..perturb.inner import ascend
from ..settings import Size, setting
from .base import LossMethod


@dataclass(frozen=True, kw_only=True)
class PGD(LossMethod):
    """Multi-step L2 adversary; trains on the last perturbation only."""

    name = "pgd"
    neutral: ClassVar = {"radius": 0.0}
    printed: ClassVar = {"radius": 0.6, "steps": 2, "step_size": 0.1, "noise": 1.0}  # SST-2, RoBERTa-large
    cost = "(steps + 1)F + steps b + 1B"

    radius: Size = setting("0.1x", "largest L2 norm of one sentence's perturbation", low=0)
    steps: int = setting(3, "ascent steps", low=1)
    step_size: Size = setting("0.05x", "L2 length of one ascent step", low=0)
    noise: Size = setting("0.02x", "size of the random start: its L2 norm is about noise / sqrt(3)", low=0)
    dropout: Dropout = setting("fresh", "dropout masks: fresh in every pass, shared by all, or off_inner")

    def losses(self, view: ModelView, batch: Batch) -> dict[str, Tensor]:
        """The task loss at the perturbation found."""
        ball = L2Ball(view.size(self.radius), parts=batch.segments)

        def harm(delta: Tensor) -> Tensor:
            return task_loss(view.probe(batch, delta), batch, "sum")

        start = ball.project(ball_uniform(batch, view.zeros(batch), view.size(self.noise), "start"))
        delta = ascend(harm, start, ball, steps=self.steps, step_size=view.size(self.step_size))
        return {"adversarial": task_loss(view.logits(batch, delta), batch)}
