"""How figures of a study are written on its page."""

from collections.abc import Callable, Sequence

from ..attack.page import plain, share
from . import sentences
from .sentences import SCALES, ends, probability
from .summary import Cell, Measure, Spread


def interval(spread: Spread) -> tuple[float | None, float | None]:
    """What is shown as the interval of a mean: over seeds and rows where known, else over seeds."""
    return spread.bootstrap_interval or spread.t_interval or (None, None)


def is_share(measure: Measure) -> bool:
    """Whether it is written in percent."""
    return measure.metric not in SCALES


def writer(measure: Measure) -> Callable[[float], str]:
    """How a value is written."""
    return share if is_share(measure) else (lambda value: f"{value:.3f}".replace("-", "\u2212"))


def axis_writer(measure: Measure) -> Callable[[float], str]:
    """How a value is written at an axis."""
    return (lambda value: f"{100 * value:.3g}\u00a0%") if is_share(measure) else (lambda value: f"{value:.3g}")


def span(spread: Spread, measure: Measure) -> str:
    """The interval of a mean, "" where there is none."""
    low, high = interval(spread)
    return "" if low is None or high is None else ends((low, high), measure.metric)


def points(difference: float, measure: Measure) -> str:
    """A difference with its sign: in points where the metric is a share."""
    return sentences.points(difference, measure.metric, unit=False)


def whole(cell: Cell, baseline: str) -> str:
    """A figure in one line, with the records it comes from."""
    return f"{brief(cell, baseline)}; {traced(cell.spread.jobs)}"


def brief(cell: Cell, baseline: str) -> str:
    """A figure in one line."""
    spread, measure, comparison = cell.spread, cell.measure, cell.comparison
    text = f"{cell.arm}: {measure.title}: {writer(measure)(spread.mean)}"
    if span(spread, measure):
        text += f" (95 %: {span(spread, measure)})"
    if comparison is not None:
        low, high = (points(end, measure) for end in comparison.interval)
        gain = points(comparison.difference, measure)
        text += f"; {gain} against {baseline} ({low} to {high}), {probability(comparison.p_holm)} after Holm"
    seeds = f"{len(spread.values)} seeds" if len(spread.values) != 1 else "one seed"
    written: str = plain(f"{text}; {seeds}, {spread.rows} rows")
    return written


def traced(jobs: Sequence[str]) -> str:
    """The identities of records."""
    return f"records {' '.join(jobs)}" if jobs else "no records"


def rows_of(counts: Sequence[int]) -> str:
    """How many test rows the figures of a column have: "200 rows", "180-200 rows"; "" where none is known."""
    known = sorted({count for count in counts if count})
    if not known:
        return ""
    return f"{known[0]:,} rows" if len(known) == 1 else f"{known[0]:,}-{known[-1]:,} rows"
