"""How figures of a study are written on its page."""

from collections.abc import Callable, Sequence

from ..attack.page import plain, share
from .summary import Cell, Group, Measure, Spread

SCALES = ("mcc", "pearson", "spearman")
"""Metrics from -1 to 1: no percent."""


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
    if low is None or high is None:
        return ""
    ends = (f"{100 * low:.1f}", f"{100 * high:.1f}") if is_share(measure) else (f"{low:.3f}", f"{high:.3f}")
    return f"{ends[0]} to {ends[1]}"


def points(difference: float, measure: Measure) -> str:
    """A difference with its sign: in points where the metric is a share."""
    text = f"{100 * difference:+.1f}" if is_share(measure) else f"{difference:+.3f}"
    return text.replace("-", "\u2212")


def probability(p: float) -> str:
    """A p-value."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


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


def group_title(group: Group, groups: Sequence[Group]) -> str:
    """Training data and model, and the budget where there are several."""
    several = len({g.budget for g in groups}) > 1 or group.budget != "epochs"
    return " · ".join([group.dataset, group.model] + ([f"equal {group.budget}"] if several else []))
