"""Made-up activations: the tag of a word is decided by a few known neurons, the others are noise."""

import numpy as np

from sparring.analyse.activations import Activations
from sparring.analyse.corpus import Corpus

PLANTED = (17, 203, 411, 640, 998)


def planted(folder, *, words=1500, neurons=1000, shuffled=False, seed=0):
    """(Activations, Corpus): a word's tag is the largest of the neurons PLANTED; five words a sentence."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(words, neurons)).astype(np.float16)
    tags = values[:, PLANTED].argmax(1)
    if shuffled:
        tags = rng.permutation(tags)
    np.save(folder / "planted.npy", values)
    spelled = rng.integers(0, 300, size=words)
    sentences = [tuple(f"w{spelled[i + j]}" for j in range(5)) for i in range(0, words, 5)]
    labels = [tuple("ABCDE"[tags[i + j]] for j in range(5)) for i in range(0, words, 5)]
    corpus = Corpus("made-up", "upos", tuple(sentences), tuple(labels), "0" * 64)
    return Activations(folder / "planted.npy", 4, neurons // 4), corpus
