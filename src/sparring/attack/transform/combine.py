"""Transforms put together, and many small searches run as one, so that what they ask is asked at once."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from ..constrain import Constraint, allowed
from ..engine import Ask, Search
from ..text import Text
from . import Transform

if TYPE_CHECKING:
    from ..victim import Victim

T = TypeVar("T")


class AnyOf:
    """The candidates of several transforms, in their order and without duplicates."""

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms
        self.name = " | ".join(transform.name for transform in transforms)

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Texts that any of the transforms makes; each transform is asked about the text as it is."""
        found = yield from together([transform.candidates(text, index) for transform in self.transforms])
        return list(dict.fromkeys(candidate for part in found for candidate in part))

    def bound(self, victim: "Victim") -> Self:
        """The same with every transform bound."""
        return type(self)(*(transform.bound(victim) for transform in self.transforms))


class InTurn(AnyOf):
    """Several transforms of one word, one after the other: a greedy search tries each on what the one before left.

    To a search that knows nothing of turns they are `AnyOf`.
    """

    def __init__(self, *transforms: Transform) -> None:
        super().__init__(*transforms)
        self.name = ", then ".join(transform.name for transform in transforms)


def allowed_candidates(
    transform: Transform, constraints: Sequence[Constraint], original: Text, text: Text, index: int
) -> Search[list[Text]]:
    """The candidates of one word that satisfy all constraints, in order; none for a word that is changed already.

    A candidate that swallows another changed word, as a merge can, is left out too.
    """
    candidates = yield from _untested(transform, text, index)
    return (yield from allowed(constraints, original, text, candidates))


def one_allowed(
    transform: Transform,
    constraints: Sequence[Constraint],
    original: Text,
    text: Text,
    index: int,
    random: np.random.Generator,
) -> Search[Text | None]:
    """One of `allowed_candidates`, each as likely; None if there is none.

    The first in a random order that the constraints allow: the others are never tested, which saves most of the time.
    """
    candidates = yield from _untested(transform, text, index)
    for place in random.permutation(len(candidates)):
        passed = yield from allowed(constraints, original, text, [candidates[int(place)]])
        if passed:
            return passed[0]
    return None


def _untested(transform: Transform, text: Text, index: int) -> Search[list[Text]]:
    changed = set(text.changed)
    if index in changed:
        return []
    candidates = yield from transform.candidates(text, index)
    return [candidate for candidate in candidates if changed.isdisjoint(candidate.differs(text))]


def together(searches: Sequence[Search[T]]) -> Search[list[T]]:
    """Run searches in step as one search: what several of them ask one service at the same time is one question.

    Without it a search that wants the candidates of n words of a masked language model asks n questions one after the
    other; with it, one. Returns what they returned, in their order.
    """
    results: dict[int, T] = {}
    waiting: dict[int, Ask] = {}

    def advance(number: int, answers: Sequence[Any] | None) -> None:
        waiting.pop(number, None)
        try:
            search = searches[number]
            waiting[number] = next(search) if answers is None else search.send(answers)
        except StopIteration as stop:
            results[number] = stop.value

    for number in range(len(searches)):
        advance(number, None)
    while waiting:
        service = waiting[min(waiting)].service  # one service at a time; questions to others wait and gather
        asking = [number for number in sorted(waiting) if waiting[number].service is service]
        parts = [waiting[number].items for number in asking]
        answers = yield Ask(service, [item for part in parts for item in part])
        first = 0
        for number, part in zip(asking, parts, strict=True):
            advance(number, answers[first : first + len(part)])
            first += len(part)
    return [results[number] for number in range(len(searches))]
