"""From records to figures: of each arm and measure, for every seed, the test rows and who was right about them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..evaluate.metrics import interval
from .job import Job
from .records import Records
from .statistics import bootstrap_interval, clipped, row_values, sd, t_interval
from .summary import Group, Measure, Spread, What

MEASURES = ("score", "attack", "transfer", "curve")
"""Kinds of jobs that say how good an arm is."""
BOUNDS = dict.fromkeys(("mcc", "pearson", "spearman"), (-1.0, 1.0))
"""The least and the largest value of metrics that are no shares."""


@dataclass(frozen=True)
class Figure:
    """One arm, one measure, one seed."""

    values: np.ndarray
    """(N,) of the test rows, their mean is the figure: 1 where the row is right; (1,) where rows are not known."""
    digest: str
    """Which rows they are."""
    jobs: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many test rows it is about; 0 where they are not known."""
        return len(self.values) if len(self.values) > 1 else 0


Seeds = dict[int, Figure]


@dataclass
class Figures:
    """All figures of a study, and sentences about what could not be used."""

    found: dict[tuple[Group, str, Measure], Seeds] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def of(self, group: Group, arm: str, measure: Measure) -> Seeds:
        """By seed; empty where there is none."""
        return self.found.get((group, arm, measure), {})

    def measures(self, group: Group | None = None) -> tuple[Measure, ...]:
        """Of a group, or of all, in the order of their kinds and of the study."""
        order = ("clean", "cross-domain", "attack", "calibrated", "worst-case", "transfer", "radius")
        known = dict.fromkeys(measure for own, _, measure in self.found if group in (None, own))
        return tuple(sorted(known, key=lambda measure: order.index(measure.what)))


def group_of(job: Job) -> Group:
    """Where the record of a job is compared."""
    return Group(job.dataset, job.model, job.budget)


def read_figures(jobs: Sequence[Job], records: Records) -> Figures:
    """What the finished measurements of a plan say. Records that cannot be understood are named and left out."""
    figures, done = Figures(), records.done
    for job in jobs:
        if job.kind not in MEASURES or job.id not in done:
            continue
        try:
            for measure, values, digest in list(_read(job, done[job.id]["result"])):
                if len(values):
                    seeds = figures.found.setdefault((group_of(job), job.arm, measure), {})
                    seeds[job.seed] = Figure(values, digest, (job.id,))
                else:
                    figures.left_out.append(f"{job.title}: there are no rows, so nothing was measured")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            figures.damaged.append(f"the record {job.id} ({job.title}) cannot be used: {type(error).__name__}: {error}")
    _worst_cases(jobs, figures)
    return figures


def spread_of(seeds: Mapping[int, Figure], metric: str = "accuracy") -> Spread:
    """Mean, deviation and intervals over the seeds of one figure.

    Where all rows are right, or none is, draws of them do not vary: the interval is Wilson's, of one seed's rows.
    """
    figures = [seeds[seed] for seed in sorted(seeds)]
    values = {seed: float(seeds[seed].values.mean()) for seed in sorted(seeds)}
    means = list(values.values())
    low, high = BOUNDS.get(metric, (0.0, 1.0))
    drawn = bootstrap_interval([figure.values for figure in figures], crossed=crossed(figures))
    rows = rows_of(figures)
    if rows and metric == "accuracy" and set(means) in ({0.0}, {1.0}):
        drawn = interval(round(means[0]) * rows, rows)
    return Spread(
        values=values,
        mean=float(np.mean(means)),
        sd=sd(means),
        t_interval=clipped(t_interval(means), low, high),
        bootstrap_interval=clipped(drawn, low, high),
        rows=rows,
        jobs=tuple(dict.fromkeys(job for figure in figures for job in figure.jobs)),
    )


def crossed(figures: Sequence[Figure]) -> bool:
    """Whether all seeds have the same rows."""
    return len({(figure.digest, len(figure.values)) for figure in figures}) == 1


def rows_of(figures: Sequence[Figure]) -> int:
    """Of one seed, where all have the same; else of all seeds together."""
    return figures[0].rows if crossed(figures) else sum(figure.rows for figure in figures)


def _read(job: Job, result: Mapping[str, Any]) -> Iterator[tuple[Measure, np.ndarray, str]]:
    """The measures of one record: (N,) values of its rows, and which rows they are."""
    if job.kind == "score":
        what: What = "cross-domain" if result["cross_domain"] else "clean"
        metric, digest = str(result["metric"]), str(result["sha256"])
        if "correct" in result:
            yield Measure(what, job.name), _letters(result["correct"], "1", "01", result["rows"]), digest
        if metric != "accuracy":
            rows = "predictions" in result and metric in ("pearson", "spearman")
            value = np.array([float(result["scores"][metric])])
            values = row_values(metric, result["predictions"], result["targets"]) if rows else value
            yield Measure(what, job.name, metric), values, digest
    elif job.kind == "attack":
        digest = str(result["sha256"])
        yield Measure("attack", job.name), _letters(result["outcomes"], "h", "hbs", result["rows"]), digest
        warm = result.get("calibrated")
        if warm is not None:
            yield Measure("calibrated", job.name), _letters(warm["outcomes"], "h", "hbs", result["rows"]), digest
    elif job.kind == "transfer":
        values = _letters(result["correct"], "1", "01", result["rows"])
        yield Measure("transfer", job.name), values, str(result["sha256"])
    else:
        for point in result["points"]:
            values = _letters(point["correct"], "1", "01", result["rows"])
            yield Measure("radius", str(point["radius"])), values, str(result["sha256"])


def _letters(text: Any, right: str, known: str, rows: int) -> np.ndarray:
    """A string of one letter a row -> (N,) of 1 where it is `right`. ValueError if it is no such string."""
    if not isinstance(text, str) or len(text) != rows or set(text) - set(known):
        raise ValueError(f"{rows} letters out of '{known}' are expected, not {str(text)[:20]!r}")
    return np.array([letter == right for letter in text], dtype=np.float64)


def _worst_cases(jobs: Sequence[Job], figures: Figures) -> None:
    """Adds the accuracy under all attacks at once: an example counts where it held against each of them."""
    planned: dict[tuple[Group, str, int], list[Job]] = {}
    for job in jobs:
        if job.kind == "attack":
            planned.setdefault((group_of(job), job.arm, job.seed), []).append(job)
    for (group, arm, seed), attacks in planned.items():
        columns = [
            figure
            for job in attacks
            for measure in (Measure("attack", job.name), Measure("calibrated", job.name))
            if (figure := figures.of(group, arm, measure).get(seed)) is not None
        ]
        known = {job for figure in columns for job in figure.jobs}
        missing = [job.name for job in attacks if job.id not in known]
        if columns and missing:
            figures.left_out.append(
                f"{attacks[0].dataset}: {arm}, seed {seed}: the worst case waits for {', '.join(missing)}"
            )
        elif len(columns) > 1 and crossed(columns):
            held = np.min([figure.values for figure in columns], axis=0)
            jobs_used = tuple(dict.fromkeys(job for figure in columns for job in figure.jobs))
            worst = figures.found.setdefault((group, arm, Measure("worst-case", "")), {})
            worst[seed] = Figure(held, columns[0].digest, jobs_used)
