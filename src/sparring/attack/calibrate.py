"""The attacker who knows about confidence: a victim's logits divided by a temperature before the search sees them.

Scores of a very confident victim are all 0 or 1, and a search that follows them is blind, though no answer has changed
(Raina et al., ACL 2024). A temperature gives the search its sight back.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from .victim import Victim

RANGE = (1.0, 10_000.0)
"""Temperatures that are looked at. Below 1 scores become sharper, which can only blind a search; a victim that is
always right would have 0."""


def temperature_of(log_probabilities: np.ndarray, gold: Sequence[int]) -> float:
    """The temperature T that minimises the mean negative log-likelihood of the gold labels under softmax(logits / T).

    log_probabilities: (N, C), at T = 1; logits differ from them by a constant a row. gold: N class numbers.
    """
    rows, columns = np.arange(len(gold)), np.asarray(gold)
    shifted = log_probabilities - log_probabilities.max(axis=1, keepdims=True)

    def loss(log_temperature: float) -> float:
        scaled = shifted / math.exp(log_temperature)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, columns]).mean())

    low, high = math.log(RANGE[0]), math.log(RANGE[1])
    grid = np.linspace(low, high, 61)  # the loss is flat far from its minimum: begin in the right valley
    start = int(np.argmin([loss(x) for x in grid]))
    bounds = (grid[max(0, start - 1)], grid[min(len(grid) - 1, start + 1)])
    return float(math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def calibrated(victim: Victim, texts: Sequence[tuple[str, ...]], gold: Sequence[int]) -> float:
    """The best temperature of a victim on labelled texts."""
    answers = victim.exact.answer(list(dict.fromkeys(texts)))
    known = dict(zip(dict.fromkeys(texts), answers, strict=True))
    return temperature_of(np.stack([known[text] for text in texts]), gold)
