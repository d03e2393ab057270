"""Comparisons of arms, or of families of arms, on the seeds and test rows that they have in common."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .figures import BOUNDS, Seeds, crossed, rows_of
from .statistics import Paired, Pool, clipped, compare, holm, pool
from .summary import Comparison

LEVEL = 0.05
"""A comparison of two seeds or more whose p after Holm is below is claimed."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Uncorrected:
    """A comparison before Holm's correction."""

    paired: Paired
    seeds: int
    rows: int


def scatter(arms: Sequence[Seeds]) -> Pool | None:
    """What the arms of a group vary over seeds on one measure."""
    return pool([[figure.values for figure in seeds.values()] for seeds in arms])


def common(a: Seeds, b: Seeds) -> tuple[list[int], list[int]]:
    """Seeds on which both have the same rows, and seeds on which both have rows that differ."""
    both = sorted(a.keys() & b.keys())
    same = [s for s in both if a[s].digest == b[s].digest and len(a[s].values) == len(b[s].values)]
    return same, [seed for seed in both if seed not in same]


def against(a: Seeds, b: Seeds, arms: Pool | None, metric: str = "accuracy") -> Uncorrected | None:
    """a minus b by a metric; None where they have no seed with the same rows, or a single value."""
    same, _ = common(a, b)
    if not same:
        return None
    first, second = ([side[seed].values for seed in same] for side in (a, b))
    figures = [a[seed] for seed in same]
    paired = compare(first, second, crossed=crossed(figures), arms=arms, share=metric == "accuracy")
    if paired is None:
        return None
    low, high = BOUNDS.get(metric, (0.0, 1.0))
    interval = clipped(paired.interval, low - high, high - low) or paired.interval
    return Uncorrected(replace(paired, interval=interval), len(same), rows_of(figures))


def corrected(found: Mapping[Key, Uncorrected]) -> dict[Key, Comparison]:
    """The comparisons of one family of tests, with Holm's correction over all of them."""
    made = {}
    for (key, one), p in zip(found.items(), holm([one.paired.p for one in found.values()]), strict=True):
        paired = one.paired
        made[key] = Comparison(
            difference=paired.difference,
            interval=paired.interval,
            p=paired.p,
            p_holm=p,
            test=paired.test,
            discordant=paired.discordant,
            mcnemar=paired.mcnemar,
            effect=paired.effect,
            seeds=one.seeds,
            rows=one.rows,
            verdict="open" if p >= LEVEL or one.seeds < 2 else "better" if paired.difference > 0 else "worse",
        )
    return made
