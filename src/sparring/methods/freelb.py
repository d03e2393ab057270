"""FreeLB. Zhu et al., ICLR 2020 (arXiv:1909.11764), Algorithm 1: ascent steps whose weight gradients are all kept.

delta ~ U(-1, 1) * noise / sqrt(n D)
repeat `steps` times:
    add (1/steps) d loss(x + delta) / d weights       <- the 'free' part: the same backward as the next line
    delta = project(delta + step_size * g / |g|_2)    |delta|_2 <= radius over the sentence; radius 0: no bound

radius 0, more steps and dropout "fresh" is FreeLB++ (Li et al., EMNLP 2021); |delta| <= noise + (steps - 1) step_size.
Differs: `steps` counts all passes, as in the authors' Hugging Face script; their fairseq script counts one fewer.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batch import Batch
from ..model.view import Dropout, ModelView
from ..objective import task_loss
from ..perturb.ball import L2Ball
from ..perturb.draws import ball_uniform
from ..settings import Size, setting
from .base import Engine, GradientMethod, Logs


@dataclass(frozen=True, kw_only=True)
class FreeLB(GradientMethod):
    """Free large-batch adversarial training; with radius 0 it is FreeLB++."""

    name = "freelb"
    neutral: ClassVar = {"steps": 1, "noise": 0.0}
    printed: ClassVar = {"radius": 0.0, "steps": 2, "step_size": 0.1, "noise": 0.6}  # SST-2, ALBERT-xxlarge
    cost = "steps F + steps B"

    radius: Size = setting(0.0, "largest L2 norm of one sentence's perturbation; 0 means unbounded (FreeLB++)", low=0)
    steps: int = setting(3, "passes, each forward and backward", low=1)
    step_size: Size = setting("0.05x", "L2 length of one ascent step", low=0)
    noise: Size = setting("0.05x", "size of the random start: its L2 norm is about noise / sqrt(3)", low=0)
    dropout: Dropout = setting("shared", "dropout masks: shared by all passes (as the authors), or fresh in each")

    def accumulate(self, view: ModelView, batch: Batch, engine: Engine, weight: float) -> Logs:
        """Add the mean gradient over the steps. The last backward alone synchronises processes."""
        ball, step_size = L2Ball(view.size(self.radius) or inf, parts=batch.segments), view.size(self.step_size)
        delta = ball_uniform(batch, view.zeros(batch), view.size(self.noise), "start")
        losses: list[Tensor] = []
        for step in range(self.steps):
            delta = delta.detach().requires_grad_()
            with engine.no_sync() if step < self.steps - 1 else nullcontext():
                loss = task_loss(view.logits(batch, delta), batch)
                engine.backward(weight / self.steps * loss)  # fills p.grad and delta.grad together
            losses.append(loss.detach())
            if step < self.steps - 1 and delta.grad is not None:
                delta = ball.project(delta.detach() + step_size * ball.direction(delta.grad))
        return {"adversarial": torch.stack(losses).mean()}
