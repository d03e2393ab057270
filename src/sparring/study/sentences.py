"""Numbers of a study as plain English."""

from collections.abc import Sequence

from .statistics import Interval
from .summary import Comparison, Measure

SCALES = ("mcc", "pearson", "spearman")
"""Metrics between -1 and 1, not written as points of a hundred."""


def value(mean: float, metric: str = "accuracy") -> str:
    """A figure: "48.1 %", or of a metric between -1 and 1 "0.481"."""
    return _signed(mean, 3) if metric in SCALES else f"{_signed(100 * mean, 1)} %"


def points(difference: float, metric: str = "accuracy", *, unit: bool = True) -> str:
    """A difference with its sign: "+12.4 points", or of a metric between -1 and 1 "+0.124"."""
    scaled = metric in SCALES
    return _signed(difference if scaled else 100 * difference, 3 if scaled else 1, "+") + (
        " points" if unit and not scaled else ""
    )


def ends(interval: Interval, metric: str = "accuracy") -> str:
    """Of an interval of differences: "8.1 to 16.9"."""
    scale, digits = (1, 3) if metric in SCALES else (100, 1)
    return " to ".join(_signed(scale * end, digits) for end in interval)


def probability(p: float) -> str:
    """A p-value: "p = 0.003", "p < 0.001", "p = 0.42"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.0995 else f"p = {p:.2f}"


def count(number: int, name: str) -> str:
    """ "one seed", "5 seeds"."""
    return f"one {name}" if number == 1 else f"{number} {name}s"


def listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def better(measure: Measure, than: str, word: str = "more") -> str:
    """What it is to be better on a measure: "more robust than standard under textfooler"."""
    name = measure.name
    robust = f"{word} robust than {than}"
    good = f"{'better' if word == 'more' else 'worse'} than {than}"
    metric = "" if measure.metric == "accuracy" else f" by {measure.metric}"
    return {
        "clean": f"{good} on {name}{metric}",
        "cross-domain": f"{good} on {name}, which neither was trained on{metric}",
        "attack": f"{robust} under {name}",
        "calibrated": f"{robust} under {name} by a calibrated attacker",
        "worst-case": f"{robust} under the worst attack of each example",
        "transfer": f"{robust} on {name}",
        "radius": f"{robust} at radius {name} in embedding space",
    }[measure.what]


def claim(subject: str, than: str, measure: Measure, comparison: Comparison, *, plural: bool = False) -> str:
    """The sentence of a comparison, true as it stands: better, worse, or open."""
    verb = "are" if plural else "is"
    if comparison.verdict == "open":
        said = f"whether {subject} {verb} {better(measure, than)} is open"
    else:
        said = f"{subject} {verb} {better(measure, than, 'more' if comparison.verdict == 'better' else 'less')}"
    metric = measure.metric
    return (
        f"{said}: {points(comparison.difference, metric)}, 95 % interval {ends(comparison.interval, metric)}, "
        f"{count(comparison.seeds, 'seed')}, {probability(comparison.p_holm)} after Holm"
    )


def _signed(value: float, digits: int, sign: str = "-") -> str:
    """With the minus sign of print, and none where all digits are 0."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")
