"""Charmer (Abad Rocamora et al. 2024): single characters, put in, exchanged or deleted where it harms most."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from ..errors import SettingError
from .constrain import Constraint, allowed, editable
from .engine import Search
from .game import Game, pick
from .text import Text
from .transform import Transform
from .transform.characters import graphemes, well_spaced

if TYPE_CHECKING:
    from .victim import Victim

ALPHABET = " " + string.ascii_lowercase + string.digits + string.punctuation
"""Where no corpus is given: the space and the printable ASCII characters without capitals."""


def alphabet_of(texts: Iterable[str]) -> str:
    """All printable characters that occur in some texts, sorted: the alphabet of Charmer's scripts."""
    return "".join(sorted({character for text in texts for character in text if character.isprintable()}))


@dataclass(frozen=True)
class Place:
    """Where one character can be put in or exchanged."""

    index: int
    """Number of the word."""
    start: int
    """Offsets in what the slot holds; start = end where a character is put in."""
    end: int
    joins: int = -1
    """Number of the word after the space that is exchanged, which joins the two; -1 for a place inside a word."""


class AnyCharacter:
    """Every text that differs from a text by one character, as far as slots can say so.

    Places are those inside words and at their borders, and single spaces between two words: for words parted by single
    spaces all 2 |S| + 1 of a string S. Out of reach are punctuation, wider gaps, and emptying a word. A space put in
    splits the word, and its slot holds both parts; a space deleted or exchanged puts both words into the first slot.

    alphabet: what may be put in; deleting comes on top. pruthi: the constraints of Pruthi et al. (2019) as Jones et al.
    (2020) have them (Charmer's options): the first and the last character stay, words of fewer than 4 characters stay,
    and no word is edited twice.
    """

    def __init__(self, alphabet: str = ALPHABET, *, pruthi: bool = False) -> None:
        if not alphabet:
            raise SettingError("the alphabet is empty; give characters that may be put in")
        self.alphabet = tuple(dict.fromkeys(alphabet))
        self.pruthi = pruthi
        self.identity = "".join(self.alphabet)
        self.name = f"any of {len(self.alphabet)} characters" + (", inside words of 4 or more, once" if pruthi else "")

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """All texts with one character of word `index` put in, exchanged or deleted."""
        return self.fill(text, self.places(text, [index]))
        yield

    def bound(self, victim: "Victim") -> Self:
        """The same: nothing of the victim is needed."""
        return self

    def places(self, text: Text, words: Sequence[int]) -> list[Place]:
        """Where the text can be edited, in reading order; both words at a joint must be among `words`."""
        found: list[Place] = []
        free = set(words)
        present = [i for i in range(len(text)) if text.slots[i]]
        for index, after in zip(present, [*present, -1][1:], strict=True):
            if index not in free:
                continue
            units = graphemes(text.slots[index])
            ends = np.cumsum([0, *(len(unit) for unit in units)]).tolist()
            if self.pruthi:
                if len(units) >= 4 and text.slots[index] == text.original[index]:
                    inner = list(zip(ends[1:-1], [*ends[2:-1], -1], strict=True))
                    for start, end in inner:
                        found += [Place(index, start, start)] + ([Place(index, start, end)] if end >= 0 else [])
                continue
            for start, end in pairwise(ends):
                found += [Place(index, start, start), Place(index, start, end)]
            found.append(Place(index, ends[-1], ends[-1]))
            if after in free and text.field_of(after) == text.field_of(index):
                (field, _, stop), (_, start, _) = text.spans[index], text.spans[after]
                if text.fields[field][stop:start] == " ":
                    found.append(Place(index, ends[-1], ends[-1], after))
        return found

    def probe(self, text: Text, place: Place) -> Text:
        """The text with a blank at a place, or without the blank that stands there: how much the place matters."""
        there = " " if place.joins >= 0 else text.slots[place.index][place.start : place.end]
        return _put(text, place, "" if there == " " else " ")

    def fill(self, text: Text, places: Iterable[Place]) -> list[Text]:
        """Every character of the alphabet, and none, at each of some places; no duplicates, not the text itself."""
        found: dict[Text, None] = {}
        for place in places:
            for character in ("", *self.alphabet):
                if place.joins >= 0 and character == " ":
                    continue
                new = _put(text, place, character)
                if new != text and well_spaced(new.slots[place.index]):
                    found[new] = None
        return list(found)


def _put(text: Text, place: Place, character: str) -> Text:
    word = text.slots[place.index]
    if place.joins >= 0:
        return text.edit({place.index: word + character + text.slots[place.joins], place.joins: ""})
    return text.replace(place.index, word[: place.start] + character + word[place.end :])


def charmer(
    game: Game, transform: Transform, constraints: Sequence[Constraint], *, edits: int = 10, positions: int = 20
) -> Search[Text | None]:
    """Edit one character after the other, each the most harmful by the margin of the scores.

    For each edit the places are ranked by what a blank does there, and every character is tried at the best few. The
    best edit is made even if it harms less than none, as the authors do. 10 edits and 20 positions are those of the
    authors' scripts; their program's defaults are 1 and 5.

    transform: an `AnyCharacter`, which says where, and with what. Raises SettingError for another.
    """
    if not isinstance(transform, AnyCharacter):
        raise SettingError(f"charmer searches characters: give it AnyCharacter(...), not {transform.name!r}")
    words = editable(constraints, game.original)
    current = game.original
    for _ in range(edits):
        places = transform.places(current, words)
        if not places:
            break
        probes = yield from game.ask([transform.probe(current, place) for place in places])
        ranked = np.argsort(-probes.margin, kind="stable")[:positions]
        candidates = transform.fill(current, [places[rank] for rank in ranked])
        candidates = yield from allowed(constraints, game.original, current, candidates)
        if not candidates:
            break
        answers = yield from game.ask(candidates)
        if answers.broken.any():
            return candidates[pick(answers.margin, answers.broken)]
        current = candidates[pick(answers.margin)]
    return current if current.changed else None
