"""What the neurons of a minimal set do: where they are, which tags they serve, which words excite them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .features import CHUNK, Scale
from .ranking import Ranking, serves

LONGEST = 40
"""Characters of a word that are shown: a corpus from the web has addresses as words."""


def exclusive(weight: np.ndarray, ranking: Ranking, size: int) -> tuple[dict[str, float], np.ndarray]:
    """How many tags the neurons of a minimal set serve, and (size, C) bool which ones.

    weight: (D, C) of the probe that the ranking is of. A neuron serves a tag if it is among the fewest that carry p of
    the tag's weight, p being the share at which the set was complete. "mean_tags", "alone" (the share that serves one
    tag) are about that, and shrink with the set; "effective_tags" is not: the mean over neurons of e to the entropy of
    their absolute weights, 1 for a neuron with one tag's weight alone and C for one with the same weight for all.
    """
    chosen = ranking.order[:size]
    served = serves(weight, min(float(ranking.share[size - 1]), 1.0))[chosen]
    counts = served.sum(1)
    mass = np.abs(weight[chosen].astype(np.float64))
    shares = mass / np.maximum(mass.sum(1, keepdims=True), 1e-300)
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)
    return {
        "mean_tags": float(counts.mean()),
        "alone": float((counts == 1).mean()),
        "effective_tags": float(np.exp(entropy).mean()),
    }, served


def top_neurons(
    weight: np.ndarray,
    order: np.ndarray,
    served: np.ndarray,
    names: Sequence[str],
    width: int,
    table: np.ndarray,
    rows: np.ndarray,
    words: Sequence[str],
    scale: Scale,
    *,
    top: int,
    top_words: int,
) -> list[dict[str, Any]]:
    """The first neurons of `order` (D,) with their tags, the weightiest first, and the words that excite them.

    served: (size, C) bool. table: (words, D) activations; rows: (n,) those of `words` (n,). A neuron that weighs
    against its first tag is excited by low values. Every spelling of a word counts once, where it excites most;
    activations are in standard deviations from the mean. "sole": tags that no other neuron of the set serves.
    """
    chosen = order[: min(top, len(served))]
    if not len(chosen):
        return []
    values = np.concatenate(
        [table[rows[i : i + CHUNK]][:, chosen].astype(np.float32) for i in range(0, len(rows), CHUNK)]
    )
    values = (values - scale.mean[chosen]) / scale.deviation[chosen]
    sole = served & (served.sum(0) == 1)
    found = []
    for place, neuron in enumerate(chosen):
        own = weight[neuron]
        by_weight = np.argsort(-np.abs(own), kind="stable")
        strongest = float(own[by_weight[0]])
        direction = -1.0 if strongest < 0 else 1.0
        found.append(
            {
                "neuron": int(neuron),
                "layer": int(neuron) // width,
                "unit": int(neuron) % width,
                "tags": [names[tag] for tag in by_weight if served[place, tag]],
                "sole": [names[tag] for tag in by_weight if sole[place, tag]],
                "weight": strongest,
                "words": _exciting(values[:, place], direction, words, top_words),
            }
        )
    return found


def _exciting(values: np.ndarray, direction: float, words: Sequence[str], count: int) -> list[list[Any]]:
    best: dict[str, float] = {}
    for row in np.argsort(-direction * values, kind="stable"):
        if len(best) >= count:
            break
        best.setdefault(words[row], float(values[row]))
    return [[word if len(word) <= LONGEST else word[: LONGEST - 3] + "...", round(v, 3)] for word, v in best.items()]
