"""Which plots a study's page has: gain against loss with the cost as size, a bar an arm, curves over the radius."""

from collections.abc import Callable, Mapping
from typing import Any

from ..attack.page import duration, number, plain
from .plots import NARROW, PANEL, WIDE, Bar, Line, Point, Value, bars, lines, scatter, sizes
from .summary import Cell, Cost, Measure, Summary
from .wording import axis_writer, brief, interval, is_share, writer

Cells = Mapping[tuple[str, Measure], Cell]
AGAINST = ("worst-case", "attack", "cross-domain")
"""What is drawn against the clean score, in this order."""
BARS = ("worst-case", "attack", "transfer")


class Plots:
    """Plots of one group; `cells` are its figures, `at` says which figure of the page a cell is."""

    def __init__(
        self,
        summary: Summary,
        styles: Mapping[str, int],
        dashes: Mapping[str, int],
        cells: Cells,
        at: Callable[[Cell], int],
    ) -> None:
        self.summary, self.styles, self.dashes, self.cells, self.at = summary, styles, dashes, cells, at
        self.arms = [arm for arm in summary.arms if any(arm == name for name, _ in cells)]
        self.measures = list(dict.fromkeys(measure for _, measure in cells))

    def scatters(self, costs: Mapping[str, Cost]) -> list[dict[str, Any]]:
        """Clean score against each measure of robustness and generalisation."""
        clean = next((m for m in self.measures if m.what == "clean"), None)
        if clean is None:
            return []
        seconds = {arm: cost.train_seconds.mean for arm, cost in costs.items() if cost.train_seconds is not None}
        passes = {arm: cost.passes.mean for arm, cost in costs.items() if cost.passes is not None}
        paid, unit, write = (seconds, "training time", duration) if seconds else (passes, "passes", number)
        made = []
        for measure in sorted((m for m in self.measures if m.what in AGAINST), key=lambda m: AGAINST.index(m.what)):
            marks = []
            for arm in self.arms:
                across, along = self.cells.get((arm, clean)), self.cells.get((arm, measure))
                if across is None or along is None:
                    continue
                cost = f"; {unit} {write(paid[arm])}" if arm in paid else ""
                title = (
                    f"{clean.title} {writer(clean)(across.spread.mean)}{cost}; {brief(along, self.summary.baseline)}"
                )
                common = dict(name=plain(arm), style=self.styles[along.family], cell=self.at(along), title=plain(title))
                ends, base = (_value(across), _value(along)), arm == self.summary.baseline
                marks.append(Point(**common, x=ends[0], y=ends[1], cost=paid.get(arm), baseline=base))
            if not marks:
                continue
            writers = axis_writer(clean), axis_writer(measure)
            shares = is_share(clean) and is_share(measure)
            plots = [scatter(marks, width, writers, shares=shares) for width in (WIDE, NARROW)]
            key = [(radius, write(cost)) for radius, cost in sizes([paid[p.name] for p in marks if p.name in paid])]
            made.append({"x": plain(clean.title), "y": plain(measure.title), "plots": plots, "key": key, "unit": unit})
        return made

    def bars(self) -> list[dict[str, Any]]:
        """A panel for each attack, with what a calibrated attacker leaves, and for rows made against other models."""
        made = []
        for measure in sorted((m for m in self.measures if m.what in BARS), key=lambda m: BARS.index(m.what)):
            second = Measure("calibrated", measure.name, measure.metric) if measure.what == "attack" else None
            rows = []
            for arm in self.arms:
                cell = self.cells.get((arm, measure))
                if cell is None:
                    continue
                other = None if second is None else self.cells.get((arm, second))
                titles = [brief(c, self.summary.baseline) for c in (cell, other) if c is not None]
                rows.append(
                    Bar(
                        name=plain(arm),
                        style=self.styles[cell.family],
                        value=_value(cell),
                        second=None if other is None else other.spread.mean,
                        text=writer(measure)(cell.spread.mean),
                        verdict="" if cell.comparison is None else cell.comparison.verdict,
                        cell=self.at(cell),
                        title="; ".join(titles),
                        baseline=arm == self.summary.baseline,
                    )
                )
            calibrated = any(row.second is not None for row in rows)
            made.append({"title": plain(measure.title), "plot": bars(rows, PANEL), "calibrated": calibrated})
        return made

    def curves(self) -> list[dict[str, Any]]:
        """Over the radius of perturbations, a line an arm; a plot for each metric and unit of radii."""
        radii = sorted((m for m in self.measures if m.what == "radius"), key=_radius)
        made = []
        for metric, relative in dict.fromkeys(map(_kind, radii)):
            own = [m for m in radii if _kind(m) == (metric, relative)]
            series = []
            for arm in self.arms:
                found = [(m, self.cells[arm, m]) for m in own if (arm, m) in self.cells]
                if not found:
                    continue
                series.append(
                    Line(
                        name=plain(arm),
                        style=self.styles[self.summary.arms[arm]],
                        dash=self.dashes[arm],
                        points=tuple((_radius(m), _value(cell)) for m, cell in found),
                        cells=tuple(self.at(cell) for _, cell in found),
                        title="\n".join(brief(cell, self.summary.baseline) for _, cell in found),
                    )
                )
            unit = "×" if relative else ""
            writers = (lambda x, unit=unit: f"{x:g}{unit}"), axis_writer(own[0])
            plots = [lines(series, width, writers, shares=is_share(own[0])) for width in (WIDE, NARROW)]
            x = "radius, × the mean norm of a token's embedding" if relative else "radius"
            made.append({"title": f"{plain(metric)} over the radius", "y": plain(metric), "x": x, "plots": plots})
        return made


def _value(cell: Cell) -> Value:
    return Value(cell.spread.mean, *interval(cell.spread))


def _kind(measure: Measure) -> tuple[str, bool]:
    return measure.metric, measure.name.strip().endswith("x")


def _radius(measure: Measure) -> float:
    try:
        return float(measure.name.strip().removesuffix("x"))
    except ValueError:
        return 0.0
