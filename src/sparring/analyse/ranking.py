"""The order of neurons by what they weigh in a probe (Dalvi et al., AAAI 2019; NeuroX).

For every share p = 0, 1, ..., 100 % and every tag, the fewest neurons that carry p of the tag's absolute weight, the
one that crosses p included; the neurons that are new at p follow those of smaller shares. NeuroX leaves the order of
neurons of one share to Python's sets. Here the larger weight comes first, so that the order is always the same.
"""

from dataclasses import dataclass

import numpy as np

STRIDE = 100
"""Shares between 0 and 1 that are gone through."""


@dataclass(frozen=True)
class Ranking:
    """All neurons, the one that weighs most first."""

    order: np.ndarray
    """(D,) int64."""
    share: np.ndarray
    """(D,) float64, ascending: the share p at which each neuron of the order came in; above 1 for those without any
    weight."""


def prefix(weights: np.ndarray, share: float) -> np.ndarray:
    """The fewest neurons whose absolute weights (D,) add up to `share` of all, by weight, at least one.

    Of equal weights the later neuron comes first, as in the reversed sort of the reference.
    """
    order, mass = _by_weight(weights)
    return order[: _count(mass, share)]


def rank(weight: np.ndarray) -> Ranking:
    """The ranking of the neurons of W (D, C)."""
    neurons, _ = weight.shape
    sorted_tags = [_by_weight(column) for column in weight.T]
    strength = np.abs(weight).max(1)
    order: list[int] = []
    share = np.full(neurons, 2.0)
    placed = np.zeros(neurons, dtype=bool)
    for stride in range(STRIDE + 1):
        p = stride / STRIDE
        found = np.zeros(neurons, dtype=bool)
        for by_weight, mass in sorted_tags:
            if mass[-1] > 0:
                found[by_weight[: _count(mass, p)]] = True
        new = np.flatnonzero(found & ~placed & (strength > 0))
        new = new[np.lexsort((new, -strength[new]))]
        placed[new] = True
        share[new] = p
        order += new.tolist()
    order += np.flatnonzero(~placed).tolist()
    return Ranking(np.array(order, dtype=np.int64), share[order])


def serves(weight: np.ndarray, share: float) -> np.ndarray:
    """(D, C) bool: whether a neuron of W (D, C) is in a tag's prefix of this share."""
    found = np.zeros(weight.shape, dtype=bool)
    for tag, column in enumerate(weight.T):
        if np.abs(column).max() > 0:
            found[prefix(column, share), tag] = True
    return found & (weight != 0)


def _by_weight(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Neurons by falling absolute weight, and the cumulative sum of those weights in float64."""
    size = np.abs(weights.astype(np.float64))
    order = np.argsort(size, kind="stable")[::-1]
    return order, np.cumsum(size[order])


def _count(mass: np.ndarray, share: float) -> int:
    """How many it takes to reach `share` of the mass; a rounding error below counts as reached."""
    return min(int(np.searchsorted(mass, share * mass[-1] * (1 - 1e-12))) + 1, len(mass))
