"""One example against one attack: what the attacker may ask, what it costs, and when it has won."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax

from ..data.batch import make_key
from ..errors import DataError
from .engine import Ask, Search
from .text import Text

if TYPE_CHECKING:
    from .victim import Victim

Fields = tuple[str, ...]


class OutOfQueries(Exception):
    """Raised inside a search that asks the victim once more than its budget allows. `attack` books it as a failure."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the victim said to N texts, in their order."""

    log_probabilities: np.ndarray
    """(N, C) float64, at the attacker's temperature."""
    gold: int
    answered: int
    """The first so many were asked; the budget cut off the rest, which counts as harmless."""

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(N, C)."""
        return np.exp(self.log_probabilities)

    @cached_property
    def harm(self) -> np.ndarray:
        """(N,) 1 - P(gold), what an attacker drives up; -inf where not asked."""
        harm = 1.0 - self.probabilities[:, self.gold]
        harm[self.answered :] = -math.inf
        return harm

    @cached_property
    def broken(self) -> np.ndarray:
        """(N,) bool: the victim answers something else than the gold label."""
        broken = self.log_probabilities.argmax(-1) != self.gold
        broken[self.answered :] = False
        return broken

    @cached_property
    def margin(self) -> np.ndarray:
        """(N,) largest other log-probability minus that of the gold label, above 0 where broken; -inf if not asked."""
        others = np.delete(self.log_probabilities, self.gold, axis=1)
        margin = others.max(axis=1) - self.log_probabilities[:, self.gold]
        margin[self.answered :] = -math.inf
        return margin

    def __len__(self) -> int:
        return len(self.log_probabilities)


class Game:
    """What a search knows of its example, and its line to the victim.

    original: the text as it stands. gold: number of its class. budget: most queries, None for no limit. temperature:
    the attacker divides the victim's logits by it (and knows that no answer changes). seed, row: every random draw of
    a search comes from `random`, which depends on them and on nothing else.

    A query is a text that the search asks the victim about, the same text asked twice is two; `repeats` counts those
    that were asked before. The first query is that of the original text.
    """

    def __init__(
        self,
        original: Text,
        gold: int,
        victim: "Victim",
        *,
        budget: int | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        row: int = 0,
    ) -> None:
        self.original, self.gold, self.victim = original, gold, victim
        self.budget, self.temperature = budget, temperature
        self._key, self._doubt = (seed, row), victim.doubt
        self._known: dict[Fields, np.ndarray] = {}
        self._corrected: dict[Fields, np.ndarray] = {}
        self.restart()

    def restart(self) -> None:
        """Begin anew after the first query: random draws as at first. Corrections stay."""
        opened = self.original.fields in self._known
        self.queries, self.repeats = int(opened), 0
        self._asked: set[Fields] = {self.original.fields} if opened else set()
        self.random = np.random.default_rng(make_key("text attack", *self._key) & (2**63 - 1))
        """Of this example alone."""

    def open(self) -> Search[Answers]:
        """The first query: the original text."""
        (found,) = yield Ask(self.victim.quick, [self.original.fields])
        if self.gold >= len(found):
            raise DataError(
                f"row {self._key[1] + 1} has class number {self.gold}; the victim knows {len(found)} classes, from 0"
            )
        self._known[self.original.fields] = found
        if self.near(self.clean().margin[0]):  # clean accuracy is that of full precision
            (self._known[self.original.fields],) = yield Ask(self.victim.exact, [self.original.fields])
        # of large logits the last bits are larger: a victim that is sure of the original errs by more
        self._doubt = self.victim.doubt * max(1.0, self.temperature * abs(float(self.clean().margin[0])))
        self.restart()
        return self.clean()

    def ask(self, texts: Sequence[Text]) -> Search[Answers]:
        """Class scores of candidate texts. Raises OutOfQueries when the budget is used up already."""
        left = len(texts) if self.budget is None else self.budget - self.queries
        if left <= 0 and texts:
            raise OutOfQueries
        items = [text.fields for text in texts[:left]]
        unknown = [item for item in dict.fromkeys(items) if item not in self._known]
        if unknown:
            found = yield Ask(self.victim.quick, unknown)
            self._known.update(zip(unknown, found, strict=True))
        self.queries += len(items)
        for item in items:
            self.repeats += item in self._asked
            self._asked.add(item)
        rows = [self._corrected.get(item, self._known[item]) for item in items]
        clean = self._known[self.original.fields]
        rows += [clean] * (len(texts) - len(items))
        table = np.stack(rows) if rows else np.zeros((0, len(clean)))
        return Answers(self._heated(table), self.gold, len(items))

    def near(self, margin: float) -> bool:
        """Whether a text of this margin may be on the other side of the border, the victim's quick answers being what
        they are."""
        return self.temperature * abs(margin) < self._doubt

    def verify(self, text: Text) -> Search[bool]:
        """Whether the victim really answers wrongly, by a fresh forward in full precision; not a query.

        If it does not, the answer is remembered, so that a search begun anew sees it.
        """
        (found,) = yield Ask(self.victim.exact, [text.fields])
        self._corrected[text.fields] = found
        return bool(Answers(self._heated(found[None]), self.gold, 1).broken[0])

    def answer(self, text: Text) -> Answers | None:
        """What is known of a text already; None when it was never asked about."""
        found = self._corrected.get(text.fields, self._known.get(text.fields))
        return None if found is None else Answers(self._heated(found[None]), self.gold, 1)

    def clean(self) -> Answers:
        """What the victim said to the original."""
        return Answers(self._heated(self._known[self.original.fields][None]), self.gold, 1)

    def _heated(self, log_probabilities: np.ndarray) -> np.ndarray:
        if self.temperature == 1.0:
            return log_probabilities
        heated: np.ndarray = log_softmax(log_probabilities / self.temperature, axis=-1)
        return heated


def pick(values: Any, allowed: Any = None) -> int:
    """Position of the largest value, the lower one of equals, among the allowed ones; -1 if none is."""
    values = np.asarray(values, dtype=np.float64)
    if allowed is not None:
        values = np.where(np.asarray(allowed, dtype=bool), values, -math.inf)
    if not len(values) or not (values > -math.inf).any():
        return -1
    return int(values.argmax())
