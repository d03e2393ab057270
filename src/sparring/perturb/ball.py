"""Norm balls a perturbation lives in: which way is up, and how to come back inside.

Every tensor is (batch, length, hidden). A norm is taken per token (over hidden) or per sentence (over length and
hidden). Perturbations are zero on padding, so padding never enters a norm. A row of packed documents is one
sentence: its norm is over all of them, and over the few places at its end that no document fills.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

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

    def direction(self, gradient: Tensor) -> Tensor:
        """gradient / |gradient|_2."""
        return unit_l2(gradient, self.per)

    def project(self, delta: Tensor) -> Tensor:
        """Shorten what is too long."""
        size = delta.norm(dim=_AXES[self.per], keepdim=True)
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


def unit_l2(x: Tensor, per: Scope) -> Tensor:
    """x / |x|_2; zero stays zero. Divides by the largest entry first, so tiny gradients neither vanish nor overflow."""
    x = unit_linf(x, per)
    return x / x.norm(dim=_AXES[per], keepdim=True).clamp(min=0.5)  # the norm is 0, or at least 1 by construction


def unit_linf(x: Tensor, per: Scope) -> Tensor:
    """x / |x|_inf, the gradient scaled so that its largest entry is one (not its sign); zero stays zero."""
    return x / x.abs().amax(dim=_AXES[per], keepdim=True).clamp(min=_TINY)


def rescale_linf(x: Tensor, radius: float, per: Scope) -> Tensor:
    """x shrunk as a whole until its largest entry is at most `radius`: keeps the direction, unlike a clip."""
    largest = x.abs().amax(dim=_AXES[per], keepdim=True)
    return x * (radius / largest.clamp(min=_TINY)).clamp(max=1.0)
