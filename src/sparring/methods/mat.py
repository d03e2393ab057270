"""MAT. Zhong, Chen, Wang, IJCAI 2023 (arXiv:2306.15826): both players sample instead of optimise.

1. delta: `delta_samples` times
       delta = project(delta + step_size * g / |g|_inf) + Langevin noise,  g = d symKL(p(x), p(x + delta)) / d delta
       mean  = mean_momentum * mean + (1 - mean_momentum) * delta
2. theta: `theta_samples` times, on the same batch
       theta = optimiser step on loss(x) + weight * symKL(p(x), p(x + mean of delta)), + Langevin noise
       mean  = mean_momentum * mean + (1 - mean_momentum) * theta
3. theta = backup_weight * theta before 2. + (1 - backup_weight) * mean of theta

Langevin noise of a step of size s: sqrt(2 s) * s * noise_ratio * N(0, I), as in the released code (theta: the
square root takes the current learning rate, the other factor its peak); exact sampling would take sqrt(2 s) alone.
The optimiser's moments are not rolled back. Buffers are never averaged.
variant "paper" starts 3. and the running mean from a true copy of theta and keeps delta in the ball after its noise;
"released" starts both from theta after its first update (the code's backup aliases the live weights) and lets the
noise leave the ball.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..data.batch import Batch
from ..model import world
from ..model.view import Dropout, ModelView, Site
from ..model.weights import copies, trainable, write
from ..objective import Reduction, symmetric_kl, task_loss
from ..perturb.ball import rescale_linf, unit_linf
from ..perturb.draws import generator, normal
from ..perturb.inner import gradient_of
from ..settings import Size, setting
from .base import Engine, Logs, Method, only


@dataclass(frozen=True, kw_only=True)
class MAT(Method):
    """Mixed-strategy adversarial training."""

    name = "mat"
    neutral: ClassVar = {
        "weight": 0.0,
        "theta_samples": 1,
        "mean_momentum": 0.0,
        "backup_weight": 0.0,
        "noise_ratio": 0.0,
    }
    printed: ClassVar = {
        "radius": 1e-5,
        "step_size": 1e-3,
        "noise": 1e-5,
        "noise_ratio": 0.1,
        "weight": 3.0,
        "delta_samples": 5,
        "theta_samples": 10,
        "mean_momentum": 0.3,
        "backup_weight": 0.3,
    }  # the authors' SST-2 log, BERT-base
    cost = "(1 + delta_samples + 2 theta_samples)F + delta_samples b + 2 theta_samples B, theta_samples updates"
    accumulates = False

    radius: Size = setting(
        "0.2x", "largest change of any coordinate of a sentence, which is shrunk as a whole to it", low=0
    )
    delta_samples: int = setting(5, "samples of the perturbation", low=1)
    theta_samples: int = setting(5, "samples of the weights: optimiser updates on each batch", low=1)
    step_size: Size = setting("1x", "largest change of one coordinate in one ascent step", low=0)
    noise: Size = setting("0.03x", "standard deviation of the random start, per coordinate", above=0)
    noise_ratio: float = setting(0.1, "Langevin noise, both players: times step * sqrt(2 step)", low=0)
    weight: float = setting(1.0, "weight of the symmetric KL", low=0)
    mean_momentum: float = setting(
        0.5, "share of the old running mean kept at each sample, both players", low=0, high=1
    )
    backup_weight: float = setting(0.5, "share of the weights before the step in the weights after it", low=0, high=1)
    variant: Literal["paper", "released"] = setting("paper", "a true copy of the weights, or the released aliasing")
    site: Site = setting("word", "where it acts: word (output of the word-embedding table, as the authors) or hidden")
    dropout: Dropout = setting("fresh", "dropout masks: fresh in every pass (as the authors), shared, or off_inner")

    def train_on(self, view: ModelView, micro_batches: Sequence[Batch], engine: Engine) -> Logs:
        """One batch: sample delta, sample theta, interpolate."""
        batch = only(micro_batches, "mat")
        delta = self.sample_delta(view, batch)
        weights = trainable(view.model)
        theta_noise = sqrt(2 * engine.learning_rate) * engine.peak_learning_rate * self.noise_ratio
        before = copies(weights)
        mean = [w.clone() for w in before]
        reduction: Reduction = "sum" if self.variant == "released" and batch.is_regression else "mean"
        for k in range(self.theta_samples):
            clean = view.logits(batch)
            task = task_loss(clean, batch)
            smooth = self.weight * symmetric_kl(clean, view.logits(batch, delta), reduction)
            engine.backward(task + smooth)
            engine.update()
            with torch.no_grad():
                if k == 0 and self.variant == "released":
                    before, mean = copies(weights), copies(weights)
                _add_noise(weights, theta_noise, batch.key, f"theta {k}")
                torch._foreach_lerp_(mean, [w.detach() for w in weights], 1 - self.mean_momentum)
        with torch.no_grad():
            write(weights, torch._foreach_lerp(before, mean, 1 - self.backup_weight))
        return {"task": task.detach(), "smooth": smooth.detach()}

    def sample_delta(self, view: ModelView, batch: Batch) -> Tensor:
        """Running mean of the sampled perturbations (B, L, D)."""
        with torch.no_grad():
            clean = view.probe(batch)
        radius, step_size = view.size(self.radius, "linf"), view.size(self.step_size, "linf")

        def harm(d: Tensor) -> Tensor:
            return symmetric_kl(clean, view.probe(batch, d), "sum")

        delta = mean = view.size(self.noise, "linf") * normal(batch, view.zeros(batch), "start")
        for k in range(self.delta_samples):
            step = step_size * unit_linf(gradient_of(harm, delta), "sentence", batch.segments)
            delta = rescale_linf(delta + step, radius, "sentence", batch.segments)
            if self.noise_ratio:
                delta = delta + sqrt(2 * step_size) * step_size * self.noise_ratio * normal(batch, delta, f"delta {k}")
                if self.variant == "paper":
                    delta = rescale_linf(delta, radius, "sentence", batch.segments)
            mean = torch.lerp(mean, delta, 1 - self.mean_momentum)
        return mean


def _add_noise(weights: Sequence[Tensor], scale: float, key: int, name: str) -> None:
    """The same noise on every process, or the replicas would drift apart; each shard of a weight its own."""
    if not scale:
        return
    sharded = any(hasattr(w, "to_local") for w in weights)
    source = generator(weights[0].device, key, f"{name} {world.rank()}" if sharded else name)
    for w in weights:
        local = w.to_local() if hasattr(w, "to_local") else w
        local.add_(torch.empty_like(local).normal_(generator=source), alpha=scale)
