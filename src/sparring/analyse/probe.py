"""The probe: a linear classifier of words by their activations, with an elastic-net penalty.

    minimise over W, b      mean cross-entropy of softmax(x W + b)  +  l1 |W|_1  +  l2 |W|_F^2  (or l2 |W|_F)

NeuroX (Dalvi et al., AAAI 2019) adds the second form, the Frobenius norm itself, and lets Adam step across zero, so
that no weight is exactly 0. Here the penalty is met by its proximal operator, which makes weights exactly 0, in SpaRSA
(Wright, Nowak and Figueiredo, 2009): gradient steps over all words, their length from the last two gradients (Barzilai
and Borwein), accepted if they lie below the largest of the last few values. The problem is convex and no batch is
drawn: the answer depends on the data alone.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .features import Features
from .options import L2Norm

_MEMORY = 5
"""Values that a step is compared with."""
_DECREASE = 1e-4
"""Share of the step's square that the value must fall by."""
_WINDOW = 10
"""Passes over which an end of progress is judged."""


@dataclass(frozen=True)
class Penalty:
    """Elastic net on the weights W (d, C); the bias is free."""

    l1: float
    l2: float
    l2_norm: L2Norm = "squared"
    """"squared": l2 times the sum of squares; "unsquared": l2 times its root, as NeuroX's code has it."""

    def value(self, weight: Tensor) -> float:
        """What is added to the loss."""
        square = float(weight.double().square().sum())
        return self.l1 * float(weight.double().abs().sum()) + self.l2 * (
            square if self.l2_norm == "squared" else square**0.5
        )

    def nearest(self, weight: Tensor, step: float) -> Tensor:
        """The proximal operator: argmin over V of |V - W|^2 / 2 + step * penalty(V)."""
        sparse = F.softshrink(weight, step * self.l1)
        if self.l2_norm == "squared":
            return sparse / (1 + 2 * step * self.l2)
        norm = float(sparse.double().norm())
        return sparse * (max(0.0, 1 - step * self.l2 / norm) if norm else 0.0)


class Probe(NamedTuple):
    """A fitted probe."""

    weight: Tensor
    """(d, C) float32."""
    bias: Tensor
    """(C,)."""
    passes: int = 0
    """Forward-and-backward passes over the words that it took."""
    loss: float = float("nan")
    """Mean cross-entropy and penalty on the words it was fitted to."""

    def answers(self, features: Features) -> Tensor:
        """(n,) the likeliest tag number of each word, on the CPU."""
        return torch.cat([(x @ self.weight + self.bias).argmax(1).cpu() for x, _ in features])

    def correct(self, features: Features) -> Tensor:
        """(n,) bool: which words it is right about."""
        return self.answers(features) == features.tags

    def masked(self, kept: Tensor) -> "Probe":
        """The probe with all neurons zeroed but those `kept` (d,) bool: NeuroX's ablation, nothing is fitted again."""
        return self._replace(weight=self.weight * kept.to(self.weight)[:, None])


def fit(
    features: Features,
    classes: int,
    penalty: Penalty,
    *,
    start: Probe | None = None,
    passes: int = 500,
    tolerance: float = 1e-3,
    progress: Callable[[int], None] | None = None,
) -> Probe:
    """The probe with the least loss on these words.

    start: another probe of the same shape to begin from (default: zero weights). passes: at most so many passes over
    the words. tolerance: stop when ten passes have lowered the value by less than this share of it.
    """
    device = torch.device(features.device)
    weight = torch.zeros(features.width, classes, device=device) if start is None else start.weight.clone()
    bias = torch.zeros(classes, device=device) if start is None else start.bias.clone()
    value, g_weight, g_bias = _loss(features, weight, bias)
    value += penalty.value(weight)
    best = (value, weight, bias)
    recent, history, used = deque([value], _MEMORY), [value], 1
    length = 1.0 / max(1.0, float(features.width) ** 0.5)
    while used < passes:
        ceiling = max(recent)
        while True:
            new_weight = penalty.nearest(weight - length * g_weight, length)
            new_bias = bias - length * g_bias
            new_value, new_g_weight, new_g_bias = _loss(features, new_weight, new_bias)
            new_value += penalty.value(new_weight)
            used += 1
            s_weight, s_bias = new_weight - weight, new_bias - bias
            moved = _dot(s_weight, s_weight) + _dot(s_bias, s_bias)
            if new_value <= ceiling - _DECREASE / (2 * length) * moved or used >= passes or moved == 0:
                break
            length /= 4
        curved = _dot(s_weight, new_g_weight - g_weight) + _dot(s_bias, new_g_bias - g_bias)
        weight, bias, value, g_weight, g_bias = new_weight, new_bias, new_value, new_g_weight, new_g_bias
        length = min(max(moved / curved, 1e-6), 1e6) if curved > 0 else length * 2
        if value < best[0]:
            best = (value, weight, bias)
        recent.append(value)
        history.append(best[0])
        if progress:
            progress(used)
        if moved == 0 or (
            len(history) > _WINDOW and history[-1 - _WINDOW] - history[-1] < tolerance * abs(history[-1])
        ):
            break
    return Probe(best[1], best[2], used, best[0])


def path(
    features: Features,
    classes: int,
    penalties: Sequence[Penalty],
    *,
    start: Probe | None = None,
    passes: int = 500,
    tolerance: float = 1e-3,
    progress: Callable[[int], None] | None = None,
) -> list[Probe]:
    """One probe a penalty, each begun from the one before: put the strongest penalty first.

    progress: called with the passes so far, as if every probe but the last had taken all it may.
    """
    found: list[Probe] = []
    for penalty in penalties:
        before = len(found) * passes
        tick = None if progress is None else (lambda done, before=before: progress(before + done))
        start = fit(features, classes, penalty, start=start, passes=passes, tolerance=tolerance, progress=tick)
        found.append(start)
    return found


def _loss(features: Features, weight: Tensor, bias: Tensor) -> tuple[float, Tensor, Tensor]:
    """Mean cross-entropy over the words, and its gradients."""
    total, count = 0.0, len(features)
    g_weight, g_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    for x, tags in features:
        logs = F.log_softmax(torch.addmm(bias, x, weight), dim=1)
        total -= float(logs.gather(1, tags[:, None]).double().sum())
        residual = logs.exp_()
        residual[torch.arange(len(tags), device=x.device), tags] -= 1
        g_weight.addmm_(x.T, residual)
        g_bias += residual.sum(0)
    return total / count, g_weight / count, g_bias / count


def _dot(one: Tensor, two: Tensor) -> float:
    return float((one.double() * two.double()).sum())
