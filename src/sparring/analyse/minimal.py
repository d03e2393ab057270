"""The minimal neuron set: the fewest neurons of a ranking that a probe can do with, and how sure that number is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000


@dataclass(frozen=True)
class Curve:
    """Which held-out words probes on the first n neurons of a ranking are right about."""

    sizes: np.ndarray
    """(P,) int64 ascending, the last one all neurons."""
    correct: np.ndarray
    """(P, words) bool."""
    tolerance: float

    @property
    def accuracies(self) -> np.ndarray:
        """(P,) float64."""
        found: np.ndarray = self.correct.mean(1)
        return found

    @property
    def minimal(self) -> int:
        """Place of the smallest size from which on nothing that was tried lies more than the tolerance below all."""
        return _first(_enough(self.accuracies[:, None], self.tolerance))[0]


def search(correct_with: Callable[[int], np.ndarray], oracle: np.ndarray, neurons: int, tolerance: float) -> Curve:
    """Sizes 1, 2, 4, ... until the tolerance is met, then halving between the last two.

    correct_with: which held-out words (n,) a probe fitted anew to the first so many neurons is right about.
    oracle: the same with all neurons. tolerance: how far below its accuracy is enough, in shares.
    """
    tried = {neurons: oracle}

    def enough(size: int) -> bool:
        return bool(tried[size].mean() >= oracle.mean() - tolerance - 1e-12)

    low, high = 0, 1
    while high < neurons:
        tried[high] = correct_with(high)
        if enough(high):
            break
        low, high = high, high * 2
    high = min(high, neurons)
    while high - low > 1:
        middle = (low + high) // 2
        tried[middle] = correct_with(middle)
        low, high = (low, middle) if enough(middle) else (middle, high)
    sizes = sorted(tried)
    return Curve(np.array(sizes), np.stack([tried[size] for size in sizes]), tolerance)


def bootstrap(curve: Curve, sentences: np.ndarray, seed: int) -> dict[str, list[float]]:
    """95 % percentile intervals of {"size", "accuracy"} over held-out words; the probes stay as they are.

    sentences: (words,) int64, the sentence of each word: words of a sentence are drawn together, as they are not
    independent. Between sizes that were tried accuracy is taken to be linear in log size.
    """
    _, which = np.unique(sentences, return_inverse=True)
    groups = int(which.max()) + 1
    if groups < 2:
        whole = [float(curve.accuracies[-1])] * 2
        return {"size": [int(curve.sizes[curve.minimal])] * 2, "accuracy": whole}
    right = np.stack([np.bincount(which, weights=row, minlength=groups) for row in curve.correct], axis=1)
    words = np.bincount(which, minlength=groups)

    def statistic(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        accuracy = right[drawn].sum(-2) / words[drawn].sum(-1)[..., None]
        return np.stack([_size(curve.sizes, accuracy, curve.tolerance), accuracy[..., -1]])

    found = stats.bootstrap(
        (np.arange(groups),),
        statistic,
        n_resamples=RESAMPLES,
        batch=50,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    (size_low, low), (size_high, high) = found.low, found.high
    return {"size": [int(np.floor(size_low)), int(np.ceil(size_high))], "accuracy": [float(low), float(high)]}


def _enough(accuracies: np.ndarray, tolerance: float) -> np.ndarray:
    """(P, R) bool of accuracies (P, R)."""
    return accuracies >= accuracies[-1] - tolerance - 1e-12


def _first(enough: np.ndarray) -> np.ndarray:
    """(R,) the place of the first size after the last that is not enough; the last size always is."""
    places = np.arange(len(enough))[:, None]
    found: np.ndarray = np.where(~enough, places, -1).max(0) + 1
    return found


def _size(sizes: np.ndarray, accuracies: np.ndarray, tolerance: float) -> np.ndarray:
    """(...) the size at which accuracies (..., P) come within the tolerance of the last one for good."""
    flat = accuracies.reshape(-1, len(sizes)).T
    first = _first(_enough(flat, tolerance))
    before, run = np.maximum(first - 1, 0), np.arange(flat.shape[1])
    rise = flat[first, run] - flat[before, run]
    wanted = flat[-1] - tolerance - flat[before, run]
    part = np.where(first > before, np.clip(wanted / np.where(rise > 0, rise, 1.0), 0, 1), 0.0)
    logs = np.log(sizes)
    found: np.ndarray = np.exp(logs[before] + part * (logs[first] - logs[before]))
    return found.reshape(accuracies.shape[:-1])
