"""Random word operations. EDA: Wei and Zou, EMNLP-IJCNLP 2019 (arXiv:1901.11196).

Each makes one text out of a text with n = max(1, round(alpha * words)) edits, drawn from the generator that it is
given, or None where nothing can be changed. As there, words that are exchanged or that lend a synonym are no stop
words.
Differs: a text from which no word was deleted by chance loses one, because an unchanged copy adds nothing.
"""

from collections.abc import Callable

import numpy as np

from ..attack.engine import Search
from ..attack.stopwords import STOPWORDS
from ..attack.text import Text
from ..attack.transform import Transform

Operation = Callable[[Text, Transform, float, np.random.Generator], Search[Text | None]]


def synonym(text: Text, synonyms: Transform, alpha: float, random: np.random.Generator) -> Search[Text | None]:
    """n words become a random one of their synonyms."""
    left = _edits(text, alpha)
    for index in _shuffled(text, random):
        if not left:
            break
        candidates = yield from synonyms.candidates(text, index)
        if candidates:
            text = candidates[int(random.integers(len(candidates)))]
            left -= 1
    return text if text.changed else None


def insert(text: Text, synonyms: Transform, alpha: float, random: np.random.Generator) -> Search[Text | None]:
    """n times a random synonym of a random word comes before a random word."""
    left, start = _edits(text, alpha), text
    for index in _shuffled(text, random):
        if not left:
            break
        candidates = yield from synonyms.candidates(start, index)
        if candidates:
            new = candidates[int(random.integers(len(candidates)))].slots[index]
            place = int(random.choice(start.editable))
            text = text.replace(place, f"{new} {text.slots[place]}")
            left -= 1
    return text if text.changed else None


def swap(text: Text, synonyms: Transform, alpha: float, random: np.random.Generator) -> Search[Text | None]:
    """n times two words of one field change places."""
    for _ in range(_edits(text, alpha)):
        one = int(random.choice(text.editable)) if text.editable else 0
        others = [
            i for i in text.editable if text.field_of(i) == text.field_of(one) and text.slots[i] != text.slots[one]
        ]
        if others:
            other = int(random.choice(others))
            text = text.edit({one: text.slots[other], other: text.slots[one]})
    return text if text.changed else None
    yield


def delete(text: Text, synonyms: Transform, alpha: float, random: np.random.Generator) -> Search[Text | None]:
    """Each word goes with probability alpha; at least one goes, and at least one of each field stays."""
    start, gone = text, [i for i in text.editable if random.random() < alpha]
    for index in gone or [int(random.choice(text.editable))] if text.editable else []:
        field = [i for i in range(len(start)) if start.field_of(i) == start.field_of(index) and text.slots[i]]
        if len(field) > 1:
            text = text.delete(index)
    return text if text.changed else None
    yield


def mixed(text: Text, synonyms: Transform, alpha: float, random: np.random.Generator) -> Search[Text | None]:
    """One of the four, at random."""
    operations = (synonym, insert, swap, delete)
    return (yield from operations[int(random.integers(4))](text, synonyms, alpha, random))


OPERATIONS: dict[str, Operation] = {
    "synonym": synonym,
    "insert": insert,
    "swap": swap,
    "delete": delete,
    "random": mixed,
}
"""By the names that `sparring augment` knows."""


def _edits(text: Text, alpha: float) -> int:
    return max(1, round(alpha * len(text.editable)))


def _shuffled(text: Text, random: np.random.Generator) -> list[int]:
    words = [i for i in text.editable if text.original[i].lower() not in STOPWORDS]
    return [words[int(i)] for i in random.permutation(len(words))]
