"""What an attacker may not do. Constraints of two kinds, and most are of one:

- which words of the original may be touched at all (`words`): no stop words, nothing in a frozen field;
- which candidate texts are close enough to the original (`check`): few words changed, the same part of speech.

Every constraint can be asked about a finished adversarial text against the original alone, as the audit does.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from .engine import Search
from .stopwords import STOPWORDS
from .text import Text

if TYPE_CHECKING:
    from .victim import Victim


class Constraint:
    """Allows everything; a constraint overrides one of the two questions."""

    name: str = "none"
    """For results, with its threshold, such as "at most 40 % of the words"."""

    @property
    def identity(self) -> str:
        """What the name leaves out: the content of the resource that it looks things up in."""
        return ""

    def words(self, original: Text) -> frozenset[int]:
        """Indices of the words that may be changed."""
        return frozenset(original.editable)

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """Whether each candidate is allowed.

        original: what the search began with. current: what the candidates were made from; a candidate differs from it
        in the words just changed. The audit calls with current = original.
        """
        return [True] * len(candidates)
        yield  # a generator, as those that ask a service are

    def bound(self, victim: "Victim") -> Self:
        """The same for a victim; most need nothing of it."""
        return self


class StopWords(Constraint):
    """Stop words stay. "The" is one too, unless `cased`: looked up as it is written, as TextAttack does."""

    def __init__(self, stopwords: frozenset[str] = STOPWORDS, *, cased: bool = False) -> None:
        self.stopwords, self.cased = stopwords, cased
        self.name = f"stop words stay ({len(stopwords)})"

    @property
    def identity(self) -> str:
        """A hash of the words."""
        return hashlib.sha256(f"{self.cased} {sorted(self.stopwords)}".encode()).hexdigest()[:16]

    def words(self, original: Text) -> frozenset[int]:
        """All but the stop words."""
        slots = original.original if self.cased else [slot.lower() for slot in original.original]
        return frozenset(i for i in original.editable if slots[i] not in self.stopwords)

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """No stop word of the original is changed."""
        free = self.words(original)
        return [free.issuperset(candidate.changed) for candidate in candidates]
        yield


class ShareOfWords(Constraint):
    """At most so many of the words are changed: ceil(share * n), or `at_least` if that is more.

    n: words of the fields that are not frozen. Insertions and deletions count for the slot in which they are made.
    """

    def __init__(self, share: float, *, at_least: int = 0) -> None:
        self.share, self.at_least = share, at_least
        self.name = f"at most {share:.0%} of the words" + (f", or {at_least}" if at_least else "")

    def allowed(self, words: int) -> int:
        """Number of words that may be changed in a text of so many."""
        return max(math.ceil(round(self.share * words, 9)), self.at_least)  # rounded: 0.1 * 30 is above 3

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """Count the changed slots."""
        allowed = self.allowed(len(original.editable))
        return [len(candidate.changed) <= allowed for candidate in candidates]
        yield


class CountOfWords(Constraint):
    """At most so many words are changed."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.name = f"at most {most} words"

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """Count the changed slots."""
        return [len(candidate.changed) <= self.most for candidate in candidates]
        yield


class EditDistance(Constraint):
    """At most so many characters are inserted, deleted or exchanged (Levenshtein), over all fields."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.name = f"edit distance at most {most}"

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """Distances are taken slot by slot: nothing outside the slots ever changes but a deleted word's space."""
        old = original.original
        known: dict[tuple[str, str], int] = {}
        allowed = []
        for candidate in candidates:
            total = 0
            for index in candidate.changed:
                pair = (old[index], candidate.slots[index])
                if pair not in known:
                    known[pair] = levenshtein(*pair) + (not pair[1])
                total += known[pair]
            allowed.append(total <= self.most)
        return allowed
        yield


def levenshtein(a: Sequence[object], b: Sequence[object]) -> int:
    """Fewest insertions, deletions and exchanges of items that turn a into b."""
    if len(a) < len(b):
        a, b = b, a
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def editable(constraints: Sequence[Constraint], original: Text) -> list[int]:
    """Indices of the words that all constraints let be changed, in order."""
    allowed = set(original.editable)
    for constraint in constraints:
        allowed &= constraint.words(original)
    return sorted(allowed)


def allowed(
    constraints: Sequence[Constraint], original: Text, current: Text, candidates: Sequence[Text]
) -> Search[list[Text]]:
    """The candidates that satisfy all constraints, in order; the first constraints see the most of them."""
    left = list(candidates)
    for constraint in constraints:
        if not left:
            break
        verdicts = yield from constraint.check(original, current, left)
        left = [candidate for candidate, good in zip(left, verdicts, strict=True) if good]
    return left


def violations(constraints: Sequence[Constraint], original: Text, final: Text) -> Search[list[str]]:
    """Names of the constraints that an adversarial text breaks when it is held against the original."""
    broken = []
    for constraint in constraints:
        (good,) = yield from constraint.check(original, original, [final])
        if not good:
            broken.append(constraint.name)
    return broken
