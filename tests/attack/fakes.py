"""Victims whose weak spots are known."""

from collections.abc import Mapping, Sequence

import numpy as np

from sparring.attack.game import Game
from sparring.attack.text import WORD, Text


class Scores:
    """A service that scores texts with a function; it keeps what it was asked."""

    def __init__(self, function, *, name="victim", remembered=True):
        self.function, self.name, self.remembered = function, name, remembered
        self.items: list[tuple[str, ...]] = []

    def answer(self, items: Sequence[tuple[str, ...]]) -> list[np.ndarray]:
        self.items += items
        return [self.function(item) for item in items]


class BagOfWords:
    """Two classes; the logit of class 1 is the sum of the weights of the words (lower-cased), over all fields."""

    unknown = "[UNK]"
    doubt = 1e-3

    def __init__(self, weights: Mapping[str, float], bias: float = 0.0):
        self.weights, self.bias = dict(weights), bias
        self.quick = Scores(self.scores)
        self.exact = Scores(self.scores, name="exact", remembered=False)
        self.gradient = None

    def scores(self, fields: tuple[str, ...]) -> np.ndarray:
        words = [word.lower() for field in fields for word in WORD.findall(field)]
        logit = self.bias + sum(self.weights.get(word, 0.0) for word in words)
        return -np.logaddexp(0.0, [logit, -logit])


class Lexicon:
    """A transform: replacements from a dict."""

    name = "synonyms: a dict"

    def __init__(self, words: Mapping[str, Sequence[str]]):
        self.words = words

    def candidates(self, text: Text, index: int):
        return [text.replace(index, new) for new in self.words.get(text.slots[index], ())]
        yield

    def bound(self, victim):
        return self


def game(text: str | tuple[str, ...], gold: int, victim, *, frozen=(), **settings) -> Game:
    """A game that has been opened."""
    from sparring.attack.engine import alone

    fields = (text,) if isinstance(text, str) else text
    begun = Game(Text.of(*fields, frozen=frozen), gold, victim, **settings)
    alone(begun.open())
    return begun
