"""Norm balls a perturbation lives in: which way is up, and how to come back inside.

Every tensor is (batch, length, hidden). A norm is taken per token (over hidden) or per sentence (over length and
hidden). Perturbations are zero on padding, so padding never enters a norm. Each document of a packed row is a sentence
of its own where `parts` says which tokens are whose: (B, L) numbers, as `Batch.segments` has them.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..data.batch import same_document

Scope = Literal["token", "sentence"]
_AXES: dict[str, tuple[int, ...]] = {"token": (-1,), "sentence": (-2, -1)}
_TINY = 1e-30  # below any gradient worth the name; keeps 0 / 0 from being NaN; never a hyper-parameter


class Ball(Protocol):
    """The perturbations of at most a given size. A radius of infinity bounds nothing."""

    def direction(self, gradient: Tensor) -> Tensor:
        """Steepest ascent: the step of unit size that gains most; zero where the gradient is zero."""
        ...

    def project(self, delta: Tensor) -> Tensor:
        """Nearest point of the ball; a point already inside comes back unchanged."""
        ...


@dataclass(frozen=True)
class L2Ball:
    """|delta|_2 <= radius for every token or every sentence."""

    radius: float
    per: Scope = "sentence"
    parts: Tensor | None = None

    def direction(self, gradient: Tensor) -> Tensor:
        """gradient / |gradient|_2."""
        return unit_l2(gradient, self.per, self.parts)

    def project(self, delta: Tensor) -> Tensor:
        """Shorten what is too long."""
        size = _length(delta, self.per, self.parts)
        return delta * (self.radius / size.clamp(min=_TINY)).clamp(max=1.0)


@dataclass(frozen=True)
class LinfBall:
    """|delta_i| <= radius for every coordinate."""

    radius: float

    def direction(self, gradient: Tensor) -> Tensor:
        """sign(gradient); NaN and infinity become NaN, so that the view drops the sentence instead of half of it."""
        return gradient.sign() + 0.0 * gradient

    def project(self, delta: Tensor) -> Tensor:
        """Clip every coordinate."""
        return delta.clamp(-self.radius, self.radius)


def unit_l2(x: Tensor, per: Scope, parts: Tensor | None = None) -> Tensor:
    """x / |x|_2; zero stays zero. Divides by the largest entry first, so tiny gradients neither vanish nor overflow."""
    x = unit_linf(x, per, parts)
    return x / _length(x, per, parts).clamp(min=0.5)  # the norm is 0, or at least 1 by construction


def unit_linf(x: Tensor, per: Scope, parts: Tensor | None = None) -> Tensor:
    """x / |x|_inf, the gradient scaled so that its largest entry is one (not its sign); zero stays zero."""
    return x / _largest(x, per, parts).clamp(min=_TINY)


def rescale_linf(x: Tensor, radius: float, per: Scope, parts: Tensor | None = None) -> Tensor:
    """x shrunk as a whole until its largest entry is at most `radius`: keeps the direction, unlike a clip."""
    return x * (radius / _largest(x, per, parts).clamp(min=_TINY)).clamp(max=1.0)


def _largest(x: Tensor, per: Scope, parts: Tensor | None) -> Tensor:
    """|x|_inf of the token or sentence that each token belongs to, (B, 1 or L, 1)."""
    if per == "token" or parts is None:
        return x.abs().amax(dim=_AXES[per], keepdim=True)
    return torch.where(same_document(parts), x.abs().amax(-1).unsqueeze(1), 0.0).amax(-1, keepdim=True)


def _length(x: Tensor, per: Scope, parts: Tensor | None) -> Tensor:
    """|x|_2 of the token or sentence that each token belongs to, (B, 1 or L, 1)."""
    if per == "token" or parts is None:
        return x.norm(dim=_AXES[per], keepdim=True)
    return torch.where(same_document(parts), x.square().sum(-1).unsqueeze(1), 0.0).sum(-1, keepdim=True).sqrt()
