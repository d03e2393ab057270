"""What a study's numbers are worth: intervals over training seeds and test rows, paired comparisons, correction.

A result varies for two reasons: the model was trained from one seed and not another, and the test rows are these and
not others. Every value here is a matrix of rows by seeds, or its mean, and both reasons are counted.

Of a comparison, d (S, N) is the difference of two arms by seed and row. Seeds and rows are crossed, as the subjects
and sentences of a reading experiment are, and the p-value is in the manner of min F' (Clark 1973, "The
language-as-fixed-effect fallacy"): t = mean(d) / sqrt(V_seeds + V_rows), with Satterthwaite's degrees of freedom. The
95 % interval is of the same t, so that it leaves nought out where p, before correction, is below 0.05. (Of one seed
alone p is exact McNemar's and the interval Agresti and Min's, which may differ at the border.)

- V_rows is the variance of the rows' means over N, as if one row more differed, half of it in either direction (after
  Agresti and Min 2005): few rows that differ are no certainty.
- V_seeds is the sum of what the two arms vary over seeds, over S. Of two to five seeds an arm's own variance is often
  far too small by chance, and the claims of a study would be those of its luckiest arms. So an arm counts with its own
  variance (S - 1 degrees of freedom) or the average one of all arms compared (with their degrees of freedom), whichever
  is larger: arms that are trained alike scatter alike; one that scatters more is judged by its own seeds.

This errs on the side of caution: V_rows and V_seeds both hold what is due to seed and row together, and what two arms
share with a seed is not made use of. benchmarks/null_studies.py measures how often a study without any effect claims
one (with three seeds or more, at most one in twenty), and how much of 10 points is found.
With one seed, V_seeds is twice the average variance of the arms compared, if other arms have several; else nothing is
known of other seeds, and the tests are about the rows alone. Neither decides anything: one seed's comparison is open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

Interval = tuple[float, float]
Sample = Sequence[np.ndarray]
"""Of one arm, for each seed: (N,) values of the test rows, whose mean is the figure; N = 1 where rows are unknown."""
LEVEL = 0.95
RESAMPLES = 2_000
CROSSED = "min F' over seeds and rows; an arm varies over seeds at least as arms do on average"
SEEDS = "t over seeds; an arm varies over them at least as arms do on average"
ONE_SEED = "min F' over one seed and its rows; the arms are taken to vary over seeds as arms do on average"
ROWS = "exact McNemar over rows; one seed, so nothing is known of others"
ROWS_T = "paired t over rows; one seed, so nothing is known of others"


def sd(values: Sequence[float]) -> float | None:
    """Standard deviation of a sample (N - 1 below); None of one value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def t_interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval of the mean over seeds; None of one value."""
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.ttest_1samp(values, 0.0).confidence_interval(LEVEL)
    return float(found.low), float(found.high)


def bootstrap_interval(sample: Sample, *, crossed: bool = True) -> Interval | None:
    """95 % percentile interval of the mean over seeds and rows; None of a single value.

    Seeds are drawn, and rows: the same for all seeds if they are `crossed`, that is if all seeds have the same rows in
    the same order, else for each seed its own. What S drawn seeds vary too little, by (S - 1) / S, is made up for.
    With one seed only rows are drawn. The draws are the same whenever the shapes are.
    """
    count = len(sample)
    if count == 1 and len(sample[0]) == 1:
        return None
    rng = np.random.default_rng((count, len(sample[0])))
    means = np.array([values.mean() for values in sample])
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    if crossed:
        rows = _drawn_rows(np.stack(sample), rng)
    else:
        rows = np.concatenate([_drawn_rows(values[None], rng) for values in sample], axis=1)
    wider = math.sqrt(count / (count - 1)) - 1 if count > 1 else 0.0
    found = (drawn * rows).sum(axis=1) + wider * (drawn @ (means - means.mean()))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def paired_interval(plus: int, minus: int, rows: int) -> Interval:
    """Agresti and Min's (2005) adjusted Wald 95 % interval of a difference of two shares on the same rows.

    plus, minus: rows that only the first, only the second got right. As if two more rows were there, a half in each of
    the four cells: rows that never differ are no certainty that none does.
    """
    count, differ = rows + 2, plus + minus + 1
    middle = (plus - minus) / count
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt(differ - count * middle**2) / count
    return max(middle - half, -1.0), min(middle + half, 1.0)


def clipped(interval: Interval | None, low: float, high: float) -> Interval | None:
    """An interval, without what no figure can be."""
    return None if interval is None else (min(max(interval[0], low), high), min(max(interval[1], low), high))


def _drawn_rows(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S, N) values -> (RESAMPLES, S) means over N rows drawn with replacement."""
    # rows with the same values in all seeds are one kind: how often each kind is drawn says the same, and is shorter
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    total = values.shape[1]
    drawn = rng.multinomial(total, counts / total, size=RESAMPLES)
    return drawn @ kinds.T / total


@dataclass(frozen=True)
class Pool:
    """What the arms that are compared on a figure vary over seeds."""

    variance: Any
    """Of an arm's mean over its seeds, averaged over arms by their degrees of freedom."""
    degrees: int


def pool(samples: Sequence[Sample]) -> Pool | None:
    """Over arms, the baseline among them; None where all have one seed."""
    pairs = [(len(s) - 1, float(np.var([v.mean() for v in s], ddof=1))) for s in samples if len(s) > 1]
    total = sum(degrees for degrees, _ in pairs)
    return Pool(sum(degrees * variance for degrees, variance in pairs) / total, total) if total else None


def p_value(a: Any, b: Any, arms: Pool) -> np.ndarray:
    """Two-sided p of no difference, as the head of this module says, of many comparisons at once.

    a, b: (..., S, N) of S >= 2 seeds on the same N rows. arms.variance: (...).
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    count, (of_a, of_b) = a.shape[-1], (x.mean(axis=-1) for x in (a, b))
    rows = row_variance(a.mean(axis=-2) - b.mean(axis=-2))
    return _two_sided(of_a.mean(axis=-1) - of_b.mean(axis=-1), *_uncertainty(of_a, of_b, arms, rows, count - 1))


def row_variance(differences: np.ndarray) -> np.ndarray:
    """(..., N) differences of rows -> variance of their mean, with half a row more that differs either way."""
    count = differences.shape[-1]
    return (differences.var(axis=-1) * count + 1) / (max(count - 1, 1) * count)


def _uncertainty(a: np.ndarray, b: np.ndarray, arms: Pool, rows: Any, row_degrees: int) -> tuple[Any, Any]:
    """Variance of the mean difference and its degrees of freedom: from (..., S) means by seed and the variance (...)
    that rows add to the difference, 0 if unknown."""
    seeds, rows = a.shape[-1], np.asarray(rows)
    variances = np.stack(np.broadcast_arrays(a.var(axis=-1, ddof=1), b.var(axis=-1, ddof=1)))
    wide = variances > np.asarray(arms.variance) * (1 + 1e-9)  # as wide as all but for rounding is not wider
    own = np.where(wide, variances, 0.0) / seeds
    shared = (~wide).sum(axis=0) * arms.variance / seeds
    total = own.sum(axis=0) + shared + rows
    terms = (own**2).sum(axis=0) / (seeds - 1) + shared**2 / arms.degrees + rows**2 / max(row_degrees, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return total, total**2 / terms


def _two_sided(mean: Any, variance: Any, degrees: Any) -> np.ndarray:
    """p of a mean by its t; where nothing varies 1 of nought and else 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean) / np.sqrt(variance), degrees)
    return np.where(np.asarray(variance) > 0, p, np.where(np.asarray(mean) == 0, 1.0, 0.0))


def _around(mean: float, variance: Any, degrees: Any) -> Interval:
    """The 95 % interval of the same t."""
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees) * np.sqrt(variance)) if variance > 0 else 0.0
    return mean - half, mean + half


@dataclass(frozen=True)
class Paired:
    """Two arms on the same seeds and rows."""

    difference: float
    interval: Interval
    """Of the same test as p."""
    p: float
    test: str
    discordant: tuple[int, int] | None
    mcnemar: float | None
    """Both None where values are not those of rows that are right or wrong."""
    effect: float


def compare(
    a: Sample, b: Sample, *, crossed: bool = True, arms: Pool | None = None, share: bool = True
) -> Paired | None:
    """Arm a minus arm b. Samples of the same seeds, and for each seed of the same rows; None if nothing can be said.

    arms: the `pool` of all arms that are compared on this figure; by default of these two.
    share: the values are shares of rows that are right, and the effect size is Cohen's h; else paired Cohen's d.
    """
    d = [np.asarray(x, dtype=np.float64) - y for x, y in zip(a, b, strict=True)]
    by_seed = max(map(len, d)) == 1
    if by_seed and len(d) == 1:
        return None
    means = np.array([values.mean() for values in d])
    of_a, of_b = (np.array([values.mean() for values in arm]) for arm in (a, b))
    plus, minus = (sum(int((sign * values > 0).sum()) for values in d) for sign in (1, -1))
    mcnemar = float(stats.binomtest(plus, plus + minus).pvalue) if plus + minus else 1.0
    difference = float(means.mean())
    binary = not by_seed and all(np.isin(values, (0, 1)).all() for values in (*a, *b))
    if len(d) > 1:
        test = SEEDS if by_seed else CROSSED
        known = _uncertainty(of_a, of_b, arms or pool([a, b]) or Pool(0.0, 1), *_row_part(d, crossed))
    elif arms is not None:
        test, known = ONE_SEED, _one_seed(d[0], arms)
    else:
        test, known = (ROWS if binary else ROWS_T), (row_variance(d[0]), len(d[0]) - 1)
    p, interval = float(_two_sided(difference, *known)), _around(difference, *known)
    if test == ROWS:  # exact where exactness can be had
        p, interval = mcnemar, paired_interval(plus, minus, len(d[0]))
    effect = cohens_h(of_a.mean(), of_b.mean()) if share else paired_d(means if len(d) > 1 else d[0])
    if not binary:
        return Paired(difference, interval, p, test, None, None, effect)
    return Paired(difference, interval, p, test, (plus, minus), mcnemar, effect)


def _one_seed(differences: np.ndarray, arms: Pool) -> tuple[float, float]:
    """`_uncertainty` of (N,) differences of rows with one seed, each arm as wide over seeds as `arms` are."""
    seeds, rows = 2 * float(arms.variance), float(row_variance(differences))
    return seeds + rows, (seeds + rows) ** 2 / (seeds**2 / arms.degrees + rows**2 / (len(differences) - 1))


def _row_part(d: Sample, crossed: bool) -> tuple[Any, int]:
    """The variance that rows add to the mean difference, and its degrees of freedom."""
    if max(map(len, d)) == 1:
        return 0.0, 1
    if crossed:
        return row_variance(np.mean(d, axis=0)), len(d[0]) - 1
    return sum(row_variance(values) for values in d) / len(d) ** 2, sum(len(values) - 1 for values in d)


def cohens_h(a: float, b: float) -> float:
    """Cohen's h of two shares: 2 arcsin(sqrt(a)) - 2 arcsin(sqrt(b)); 0.2 is small, 0.5 medium, 0.8 large."""
    return 2 * (math.asin(math.sqrt(min(max(a, 0.0), 1.0))) - math.asin(math.sqrt(min(max(b, 0.0), 1.0))))


def paired_d(differences: np.ndarray) -> float:
    """Cohen's d of paired values: mean difference over its standard deviation; 0 where nothing varies."""
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(np.mean(differences)) / deviation if deviation > 0 else 0.0


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction: values below a level reject with that family-wise error at most."""
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    steps = np.minimum(np.maximum.accumulate(np.asarray(p, dtype=np.float64)[order] * factors), 1.0)
    corrected = np.empty(len(p))
    corrected[order] = steps
    return [float(value) for value in corrected]


def row_values(metric: str, predictions: Any, targets: Any) -> np.ndarray:
    """Of a metric that is no mean over rows: (N,) values of the rows whose mean is the metric, for all of the above.

    metric: "pearson" or "spearman". Jackknife pseudo-values (Tukey 1958): N times the metric minus N - 1 times that
    without the row, moved so that their mean is the metric itself.
    """
    x, y = (np.asarray(v, dtype=np.float64) for v in (predictions, targets))
    if metric == "spearman":
        x, y = stats.rankdata(x), stats.rankdata(y)
    count, x, y = len(x), x - x.mean(), y - y.mean()
    sums = np.stack([x, y, x * x, y * y, x * y])
    whole, without = _correlation(sums.sum(axis=1), count), _correlation(sums.sum(axis=1)[:, None] - sums, count - 1)
    values = count * whole - (count - 1) * without
    return values - values.mean() + whole


def _correlation(sums: np.ndarray, count: int) -> Any:
    """From sums of x, y, xx, yy, xy; 0 where nothing varies, as in evaluate.metrics."""
    x, y, xx, yy, xy = sums
    spread = np.sqrt(np.maximum(xx - x * x / count, 0.0) * np.maximum(yy - y * y / count, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-12, (xy - x * y / count) / spread, 0.0)
