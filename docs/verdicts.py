"""Comparisons that decide a claim, what they say of it together, and the words for that."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparring.study.comparisons import against, common, corrected, scatter
from sparring.study.figures import Seeds
from sparring.study.sentences import count, ends, points, probability
from sparring.study.summary import Comparison

RULE = (
    "A claim is a set of paired comparisons, on the same seeds and test rows, corrected together after Holm. "
    "It *holds* if all of them are better, *holds in part* if at least half of them are and none is worse, "
    "*does not hold* if some are worse and none is better, *is mixed* if both occur, and *is open* if these numbers "
    "cannot tell. What is planned and cannot be compared yet counts as not better. The interval is of one difference "
    "alone; p is corrected for their number, and decides: a difference can be open though its interval leaves nought "
    "out. Both take an arm to vary over seeds at least as much as arms do on average, and with three seeds or more err "
    "on the side of caution."
)
"""What the words of a verdict mean."""


@dataclass(frozen=True)
class Side:
    """What is to be compared."""

    what: str
    metric: str
    a: Seeds
    b: Seeds
    everyone: Sequence[Seeds]
    """All arms that a and b vary like."""
    same: bool = False
    """Whether both are right on exactly the same rows: see `alike`."""


@dataclass(frozen=True)
class Pair:
    """One comparison of a claim."""

    what: str
    metric: str
    found: Comparison
    same: bool

    @property
    def numbers(self) -> str:
        """ "+1.2 points (95 %: 0.3 to 2.1)"."""
        return f"{points(self.found.difference, self.metric)} (95 %: {ends(self.found.interval, self.metric)})"

    @property
    def line(self) -> list[str]:
        """Of a table: what, difference, interval, p, verdict."""
        one = self.found
        numbers = [points(one.difference, self.metric), ends(one.interval, self.metric), probability(one.p_holm)]
        return [self.what, *numbers, "open: same rows right" if self.same else one.verdict]


@dataclass(frozen=True)
class Verdict:
    """The first sentence of a page and what it rests on; "" where nothing has been measured yet."""

    sentence: str
    pairs: tuple[Pair, ...] = ()
    more: tuple[str, ...] = ()
    """Further sentences."""


NONE = Verdict("")


def alike(a: Seeds, b: Seeds) -> bool:
    """Whether two models are right on exactly the same rows in every seed, as those are that give every text one class.

    That they are equal is no finding about how they were trained.
    """
    seeds, _ = common(a, b)
    return bool(seeds) and all(a[s].rows and np.array_equal(a[s].values, b[s].values) for s in seeds)


def compared(sides: Iterable[Side]) -> tuple[Pair, ...]:
    """Comparisons, corrected together. What has no seeds or rows in common is not among them."""
    found: dict[Hashable, Any] = {}
    for side in sides:
        one = against(side.a, side.b, scatter(side.everyone), side.metric) if side.a and side.b else None
        if one is not None:
            assert side.what not in found, side.what
            found[side.what] = side, one
    tested = corrected({what: one for what, (_, one) in found.items()})
    return tuple(Pair(side.what, side.metric, tested[what], side.same) for what, (side, _) in found.items())


def verdict(claim: str, sides: Sequence[Side], pairs: Sequence[Pair], size: str) -> Verdict:
    """Of a claim that needs all of `sides` to be better. pairs: what could be compared, of other sides too."""
    planned = {side.what for side in sides}
    own = [pair for pair in pairs if pair.what in planned]
    if not own:
        return NONE
    better, worse, unclear = tally(own)
    early = [side.what for side in sides if side.what not in {pair.what for pair in own}]
    same = [pair.what for pair in own if pair.same]
    differ = [pair for pair in own if not pair.same]
    to_come = f" ({len(early)} more cannot be compared yet)" if early else ""
    range_of = f"; {ends_of(differ)}" if differ else "; all of them are of models that are right on the same rows"
    sentence = (
        f"{claim} **{word(own, len(sides))}** here ({size}): of {count(len(own), 'comparison')}{to_come} {better} "
        f"better, {worse} worse and {unclear} open after Holm{range_of}."
    )
    notes = {
        "Open, since both are right on exactly the same rows (of one class, say)": same,
        "Not compared yet, for want of seeds": early,
    }
    more = tuple(f"{about}: {_some(names)}." for about, names in notes.items() if names)
    return Verdict(sentence, tuple(pairs), more)


def _some(names: Sequence[str], most: int = 4) -> str:
    """The first of many names, and how many there are."""
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def word(pairs: Sequence[Pair], planned: int) -> str:
    """What comparisons say of a claim that needs all that are planned to be better."""
    better, worse, _ = tally(pairs)
    if better and worse:
        return "is mixed"
    if worse:
        return "does not hold"
    return "holds" if better == planned else "holds in part" if 2 * better >= planned else "is open"


def tally(pairs: Sequence[Pair]) -> tuple[int, int, int]:
    """How many are better, worse and open."""
    verdicts = [pair.found.verdict for pair in pairs]
    return verdicts.count("better"), verdicts.count("worse"), verdicts.count("open")


def ends_of(pairs: Sequence[Pair]) -> str:
    """The smallest and the largest difference, each with its interval."""
    ordered = sorted(pairs, key=lambda pair: pair.found.difference)
    low, high = ordered[0], ordered[-1]
    if len(ordered) == 1:
        return f"{low.numbers}, {low.what}"
    return f"differences go from {low.numbers}, {low.what}, to {high.numbers}, {high.what}"
