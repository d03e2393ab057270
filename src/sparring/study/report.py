"""report.html of a study: one file with the answers, the tables, the plots, the examples and the neurons.

Made of a `Summary` alone. As safe with hostile texts as attack/page.py says, and loads nothing. Every figure names the
records that it comes from, and the page holds what those were made with.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..attack.page import embedded, fill, plain, source, write_page
from .plots import DASHES, SHAPES
from .report_data import Book, pack_examples
from .report_neurons import neuron_view
from .report_plots import Plots
from .sentences import probability
from .summarise import CLAIMED, group_title
from .summary import Cell, Claim, Comparison, Cost, Group, Measure, Summary
from .wording import is_share, points, rows_of, span, traced, whole, writer

TEMPLATE = "study/page.html.j2"
KINDS = {
    "clean": "clean",
    "cross-domain": "other domains",
    "attack": "under attack",
    "calibrated": "calibrated attacker",
    "worst-case": "worst attack",
    "transfer": "transferred",
    "radius": "embedding radius",
}
"""Of measures, in the order of columns."""
SHOWN = ("clean", "cross-domain", "attack", "worst-case")
"""Columns that are on at first, where there are more than `COLUMNS`."""
COLUMNS = 8
BEST = {
    "worst-case": "under the worst attack of each example",
    "attack": "under {}",
    "cross-domain": "on {}, never trained on",
    "clean": "on {}",
}
"""Measures whose best arm stands at the top: "attack" where there is no "worst-case"."""


def write_report(summary: Summary, path: Path) -> None:
    """Write the page, whole or not at all. RunError if it cannot be written."""
    write_page(path, render(summary))


def render(summary: Summary) -> str:
    """The page."""
    return fill(TEMPLATE, **_Page(summary).values())


class _Page:
    """What the template needs, put together out of a summary."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        lines = {line["job"]: line for line in (*summary.attacks, *summary.neurons)}
        self.book = Book({**lines, **summary.jobs})
        self.styles = {family: i % len(SHAPES) for i, family in enumerate(dict.fromkeys(summary.arms.values()))}
        families = list(summary.arms.values())
        self.dashes = {arm: families[:i].count(families[i]) % DASHES for i, arm in enumerate(summary.arms)}
        self.measures = sorted(summary.measures, key=lambda m: list(KINDS).index(m.what))
        self.places = {id(cell): i for i, cell in enumerate(summary.cells)}

    def values(self) -> dict[str, Any]:
        summary = self.summary
        groups = [self._group(i, group) for i, group in enumerate(summary.groups)]
        questions = [
            {"text": q.text, "answer": q.answer, "verdict": q.verdict, "evidence": [self._claim(c) for c in q.evidence]}
            for q in summary.questions
        ]
        examples, left = pack_examples(summary.attacks, summary.arms, self.styles, self.book)
        neurons = neuron_view(summary.neurons, self.styles, self.dashes, self.book)
        data = {
            "groups": [group_title(group, summary.groups, " · ") for group in summary.groups],
            "arms": [[arm, family, self.styles[family]] for arm, family in summary.arms.items()],
            "measures": [[m.title, KINDS[m.what], is_share(m), m.metric == "accuracy"] for m in self.measures],
            "baseline": summary.baseline,
            "shapes": SHAPES,
            "cells": self._rows(),
            "examples": examples,
        }
        written = self.book.written()  # last: all that refers to records has been put in
        return {
            "head": plain(self._head() | {"examples_left": left, "examples": len(examples["rows"])}),
            "questions": plain(questions),
            "groups": groups,
            "neurons": neurons,
            "shapes": SHAPES,
            "own": {"style": source("study/page.css"), "script": source("study/page.js")},
            "data": embedded(data | written),
        }

    def _head(self) -> dict[str, Any]:
        summary = self.summary
        done = sum(line.get("status") == "done" for line in summary.jobs.values())
        return {
            "name": summary.name,
            "baseline": summary.baseline,
            "arms": len(summary.arms),
            "families": list(self.styles.items()),
            "seeds": len({seed for cell in summary.cells for seed in cell.spread.values}),
            "attacks": len({measure.name for measure in summary.measures if measure.what == "attack"}),
            "done": done,
            "all": done + len(summary.failed) + len(summary.missing),
            "missing": summary.missing,
            "failed": list(summary.failed.items()),
            "damaged": summary.damaged,
            "left_out": summary.left_out,
            "tests": sorted({cell.comparison.test for cell in summary.cells if cell.comparison is not None}),
            "command": _command(summary.environment.get("command")),
            "environment": _flat({k: v for k, v in summary.environment.items() if k != "command"}),
        }

    def _group(self, index: int, group: Group) -> dict[str, Any]:
        """Everything that compares the arms of one group."""
        summary = self.summary
        cells = {(cell.arm, cell.measure): cell for cell in summary.cells if cell.group == group}
        measures = [m for m in self.measures if any(measure == m for _, measure in cells)]
        ordered = {(arm, m): cells[arm, m] for m in measures for arm in summary.arms if (arm, m) in cells}
        plots = Plots(summary, self.styles, self.dashes, ordered, lambda cell: self.places[id(cell)])
        claims = [self._claim(claim) for claim in summary.claims if claim.group == group]
        costs = {cost.arm: cost for cost in summary.costs if cost.group == group}
        columns = [
            {
                "name": m.name or "all attacks",
                "kind": KINDS[m.what],
                "title": m.title,
                "rows": rows_of([cell.spread.rows for (_, measure), cell in cells.items() if measure == m]),
                "on": len(measures) <= COLUMNS or m.what in SHOWN,
            }
            for m in measures
        ]
        rows = [
            {**self._arm(arm), "cells": [self._cell(cells.get((arm, measure))) for measure in measures]}
            for arm in plots.arms
        ]
        texts = {
            "title": group_title(group, summary.groups, " · "),
            "tiles": self._tiles(cells, measures),
            "claims": [claim for claim in claims if claim["verdict"] != "open"],
            "open": [claim for claim in claims if claim["verdict"] == "open"],
            "reach": reach(list(cells.values())),
            "columns": columns,
            "kinds": list({column["kind"]: column["on"] for column in columns}.items()),
            "rows": rows,
            "costs": self._costs(costs),
        }
        drawn = {"scatters": plots.scatters(costs), "bars": plots.bars(), "curves": plots.curves()}
        return {"index": index, **plain(texts), **drawn}

    def _arm(self, arm: str) -> dict[str, Any]:
        family = self.summary.arms[arm]
        return {"arm": arm, "family": family, "style": self.styles[family], "base": arm == self.summary.baseline}

    def _claim(self, claim: Claim) -> dict[str, Any]:
        jobs = " ".join(str(self.book.place(job)) for job in claim.jobs)
        said = {"sentence": claim.sentence, "verdict": claim.verdict, "question": claim.question}
        return {**said, "jobs": jobs, "title": traced(claim.jobs)}

    def _cell(self, cell: Cell | None) -> dict[str, Any] | None:
        if cell is None:
            return None
        comparison, measure = cell.comparison, cell.measure
        shown = {
            "at": self.places[id(cell)],
            "value": writer(measure)(cell.spread.mean),
            "sort": round(cell.spread.mean, 6),
            "range": span(cell.spread, measure),
            "title": whole(cell, self.summary.baseline),
        }
        if comparison is None:
            return shown | {"difference": "", "verdict": "", "p": ""}
        against = {"difference": points(comparison.difference, measure), "p": probability(comparison.p_holm)}
        return shown | against | {"verdict": comparison.verdict}

    def _tiles(self, cells: Mapping[tuple[str, Measure], Cell], measures: Sequence[Measure]) -> list[dict[str, Any]]:
        """The best arm under attack, on another domain, and clean."""
        made: list[dict[str, Any]] = []
        for what, title in BEST.items():
            measure = next((m for m in measures if m.what == what), None)
            if measure is None or (what == "attack" and made):
                continue
            best = max((cell for (_, m), cell in cells.items() if m == measure), key=lambda cell: cell.spread.mean)
            base = cells.get((self.summary.baseline, measure))
            known = {"what": title.format(measure.name), "metric": measure.metric, **self._arm(best.arm)}
            baseline = None if base is None else writer(measure)(base.spread.mean)
            made.append({**(self._cell(best) or {}), **known, "baseline": baseline})
        return made

    def _costs(self, costs: Mapping[str, Cost]) -> list[dict[str, Any]]:
        means = {arm: cost.train_seconds.mean for arm, cost in costs.items() if cost.train_seconds is not None}
        most, unit = max(means.values(), default=0.0), means.get(self.summary.baseline)
        rows = []
        for arm in (arm for arm in self.summary.arms if arm in costs):
            cost, seconds = costs[arm], means.get(arm)
            rows.append(
                {
                    **self._arm(arm),
                    "seconds": seconds,
                    "sd": None if cost.train_seconds is None else cost.train_seconds.sd,
                    "times": seconds / unit if seconds is not None and unit else None,
                    "part": seconds / most if seconds is not None and most else None,
                    "passes": None if cost.passes is None else cost.passes.mean,
                    "memory": None if cost.peak_memory is None else cost.peak_memory.mean,
                    "parameters": cost.trainable_parameters,
                    "jobs": " ".join(str(self.book.place(job)) for job in cost.jobs),
                    "title": traced(cost.jobs),
                }
            )
        return rows

    def _rows(self) -> list[list[Any]]:
        """All that is known of each figure; page.js names the places."""
        groups = {group: i for i, group in enumerate(self.summary.groups)}
        arms = {arm: i for i, arm in enumerate(self.summary.arms)}
        measures = {measure: i for i, measure in enumerate(self.measures)}
        rows = []
        for cell in self.summary.cells:
            spread = cell.spread
            numbers = [
                spread.mean,
                spread.sd,
                spread.t_interval,
                spread.bootstrap_interval,
                list(spread.values.items()),
            ]
            jobs = [self.book.place(job) for job in spread.jobs]
            where = [groups[cell.group], arms[cell.arm], measures[cell.measure]]
            compared = None if cell.comparison is None else self._compared(cell.comparison)
            rows.append([*where, *_rounded(numbers), spread.rows, jobs, compared])
        return rows

    def _compared(self, c: Comparison) -> list[Any]:
        tested = [*_rounded([c.difference, c.interval, c.p, c.p_holm]), self.book.value(c.test)]
        return [*tested, *_rounded([c.discordant, c.mcnemar, c.effect]), c.seeds, c.rows, c.verdict]


def reach(cells: Sequence[Cell]) -> str:
    """Why nothing is decided, in a sentence: how far the intervals of differences reach. "" where there are none."""
    found = [cell for cell in cells if cell.measure.what in CLAIMED and is_share(cell.measure)]
    compared = [cell.comparison for cell in found if cell.comparison is not None]
    several = [one for one in compared if one.seeds > 1]
    if compared and not several:
        return "One seed decides nothing, however large a difference is."
    halves = [50 * (one.interval[1] - one.interval[0]) for one in several]
    if not halves:
        return ""
    ends = " to ".join(dict.fromkeys(f"{half:.1f}" for half in (min(halves), max(halves))))
    return (
        f"95 % intervals of single differences reach {ends} points to either side: smaller ones cannot be seen, and "
        "after the correction larger ones only. More seeds and test rows help."
    )


def _rounded(value: Any) -> Any:
    """Six digits; a page is read by people."""
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _command(value: Any) -> str:
    """As the study was run; all of them, where runs differ."""
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested values as pairs of a name and a text."""
    if isinstance(value, Mapping):
        return [pair for key, item in value.items() for pair in _flat(item, f"{name}: {key}" if name else str(key))]
    if isinstance(value, list | tuple):
        return [(name, ", ".join(map(str, value)))]
    return [(name, "–" if value is None else str(value))]
