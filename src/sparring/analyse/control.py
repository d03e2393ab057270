"""The control task (Hewitt and Liang, EMNLP 2019): how much can the probe learn by heart?"""

from collections.abc import Sequence

import numpy as np

from ..data.batch import make_key


def control_tags(words: Sequence[str], tags: np.ndarray, seed: int) -> np.ndarray:
    """(n,) int64 tags of n words: one for each word type, drawn from the distribution of `tags` (n,).

    The draw is keyed by the word, so that it is the same in every model and every part of a corpus.
    """
    edges = np.cumsum(np.bincount(tags)) / len(tags)
    types = {word: make_key(seed, "control task", word) / 2**63 for word in dict.fromkeys(words)}
    drawn = np.searchsorted(edges, [types[word] for word in words], side="right")
    found: np.ndarray = np.minimum(drawn, len(edges) - 1)
    return found
