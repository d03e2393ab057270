"""A study's summary as text: Markdown, LaTeX (booktabs), CSV and JSON.

Texts of a study (names, errors) are data: hidden characters are written out, and what Markdown, LaTeX or a spreadsheet
would obey is escaped.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

from ..attack.difference import visible
from ..errors import SettingError
from ..settings import nearest
from .sentences import SCALES, ends, points, probability
from .summarise import group_title
from .summary import Cell, Comparison, Cost, Group, Spread, Summary

Format = Literal["md", "tex", "csv", "json"]
WIDE = 5
"""Columns of figures in one table; more measures get further tables."""
MARKS: Mapping[str, tuple[str, str]] = {"better": ("▲", "$^{+}$"), "worse": ("▼", "$^{-}$"), "open": ("", "")}
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\char34{}", "−": "$-$", "⟨": r"$\langle$", "⟩": r"$\rangle$", 
    "\n": " ", "\r": " ", "\t": " ", "[": "{[}", "]": "{]}",
}  # fmt: skip


def tables(summary: Summary, format: str) -> str:
    """The whole summary in one format: md, tex, csv or json. SettingError for any other.

    Markdown and LaTeX: for each group, figures with 95 % intervals and marks for what differs from the baseline after
    Holm, the differences, costs, claims, questions, and what is missing. CSV: a line an arm and measure, costs among
    them; shares between 0 and 1. JSON: everything, with the identities of the records.
    """
    writers: dict[str, Callable[[Summary], str]] = {
        "md": lambda s: _document(s, Markdown()),
        "tex": lambda s: _document(s, Latex()),
        "csv": _csv,
        "json": _json,
    }
    if format not in writers:
        raise SettingError(f"format {format!r} is unknown; {nearest(format, get_args(Format))}")
    return writers[format](summary)


class Markdown:
    """Pieces of a document, escaped: no text of a study begins markup, HTML or a link."""

    mark = 0

    def text(self, value: str) -> str:
        """As it reads."""
        shown = visible(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        shown = "".join(f"\\{c}" if c in "\\`*_[]#|~$" else c for c in shown)
        return " ".join(shown.split())

    def heading(self, value: str, level: int) -> list[str]:
        """A line that begins a section."""
        return [f"{'#' * level} {self.text(value)}", ""]

    def items(self, values: Sequence[str]) -> list[str]:
        """A list."""
        return [*(f"- {self.text(value)}" for value in values), ""]

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> list[str]:
        """Texts on the left, figures on the right. Rows hold escaped cells."""
        ruler = "|".join(["---"] + ["---:"] * (len(head) - 1))
        lines = [self._row([self.text(name) for name in head]), f"|{ruler}|", *map(self._row, rows)]
        return [self.text(caption), "", *lines, ""]

    def _row(self, cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def whole(self, title: str, lines: Sequence[str]) -> str:
        """The document."""
        return "\n".join([*self.heading(title, 1), *lines]).rstrip() + "\n"


class Latex(Markdown):
    """The same, to be read by \\input; needs booktabs."""

    mark = 1

    def text(self, value: str) -> str:
        """As it reads."""
        return "".join(LATEX.get(c, c) for c in visible(value))

    def heading(self, value: str, level: int) -> list[str]:
        """A line that begins a section."""
        return [f"\\{'sub' * (level - 2)}section*{{{self.text(value)}}}", ""]

    def items(self, values: Sequence[str]) -> list[str]:
        """A list."""
        if not values:
            return []
        return ["\\begin{itemize}", *(f"\\item {{}}{self.text(value)}" for value in values), "\\end{itemize}", ""]

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> list[str]:
        """Texts on the left, figures on the right. Rows hold escaped cells."""
        return [
            "\\begin{table}[htbp]\\centering\\small",
            f"\\caption{{{self.text(caption)}}}",
            f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            "\\toprule",
            " & ".join(_stacked(self.text(name)) for name in head) + r" \\",
            "\\midrule",
            *("{}" + " & ".join(row) + r" \\" for row in rows),  # or a name could begin with what \\ takes: * or [
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
            "",
        ]

    def whole(self, title: str, lines: Sequence[str]) -> str:
        """A part of a document."""
        comment = " ".join(visible(title).split())
        return "\n".join([f"% {comment}", "% \\usepackage{booktabs}", *lines]).rstrip() + "\n"


def _stacked(head: str) -> str:
    """The head of a column in a narrow box."""
    return f"\\parbox[b]{{2.2cm}}{{\\raggedleft {head}}}" if len(head) > 14 else head


def _document(summary: Summary, to: Markdown) -> str:
    lines = to.heading("Questions", 2) if summary.questions else []
    for question in summary.questions:
        lines += [*to.heading(question.text, 3), to.text(question.answer), ""]
    for group in summary.groups:
        lines += to.heading(group_title(group, summary.groups), 2)
        cells = {(cell.arm, cell.measure): cell for cell in summary.cells if cell.group == group}
        arms = [arm for arm in summary.arms if any(arm == name for name, _ in cells)]
        measures = [m for m in summary.measures if any(m == measure for _, measure in cells)]
        parts = [measures[i : i + WIDE] for i in range(0, len(measures), WIDE)]
        for part in parts:
            rows = [[to.text(arm), *(_figure(cells.get((arm, m)), to) for m in part)] for arm in arms]
            marked = " and ".join(f"{to_mark} {word}" for word, to_mark in (("better", "▲"), ("worse", "▼")))
            caption = f"Mean over seeds, in %, with 95 % intervals. Against {summary.baseline}, after Holm: {marked}."
            if to.mark:
                caption = caption.replace("▲", "+").replace("▼", "−")
            lines += to.table(["arm", *(m.title for m in part)], rows, caption)
        for part in parts:
            others = [arm for arm in arms if any((c := cells.get((arm, m))) and c.comparison for m in part)]
            rows = [[to.text(arm), *(_difference(cells.get((arm, m)), to) for m in part)] for arm in others]
            caption = f"Difference to {summary.baseline} in points, 95 % interval, p after Holm."
            if rows:
                lines += to.table(["arm", *(m.title for m in part)], rows, caption)
        lines += _cost_table(summary, group, to)
        claims = [claim.sentence for claim in summary.claims if claim.group == group and claim.verdict != "open"]
        undecided = sum(claim.group == group and claim.verdict == "open" for claim in summary.claims)
        lines += to.items([*claims, *([f"open: {undecided} further comparisons"] if undecided else [])])
    failed = [f"{title}: {error}" for title, error in summary.failed.items()]
    for title, found in (
        ("Not done yet", summary.missing), ("Failed", failed), ("Damaged records", summary.damaged),
        ("Left out", summary.left_out),
    ):  # fmt: skip
        if found:
            lines += [*to.heading(title, 2), *to.items(found)]
    return to.whole(f"Study {summary.name}", lines)


def _figure(cell: Cell | None, to: Markdown) -> str:
    """ "85.1 (82.0 to 88.0) ▲"."""
    if cell is None:
        return ""
    spread, metric = cell.spread, cell.measure.metric
    scale, digits = (1, 3) if metric in SCALES else (100, 1)
    interval = spread.bootstrap_interval or spread.t_interval
    text = f"{scale * spread.mean:.{digits}f}"
    text += "" if interval is None else f" ({ends(interval, metric)})"
    mark = "" if cell.comparison is None else MARKS[cell.comparison.verdict][to.mark]
    return f"{to.text(text)} {mark}".strip()


def _difference(cell: Cell | None, to: Markdown) -> str:
    """ "+12.4 (8.1 to 16.9), p = 0.003"."""
    if cell is None or cell.comparison is None:
        return ""
    found, metric = cell.comparison, cell.measure.metric
    gain = points(found.difference, metric, unit=False)
    return to.text(f"{gain} ({ends(found.interval, metric)}), {probability(found.p_holm)}")


def _cost_table(summary: Summary, group: Group, to: Markdown) -> list[str]:
    costs = {cost.arm: cost for cost in summary.costs if cost.group == group}
    if not costs:
        return []
    base = costs.get(summary.baseline)
    unit = base.train_seconds.mean if base is not None and base.train_seconds is not None else None
    rows = []
    for arm in (arm for arm in summary.arms if arm in costs):
        cost = costs[arm]
        seconds = None if cost.train_seconds is None else cost.train_seconds.mean
        shown = [
            "" if seconds is None else f"{seconds:.0f}",
            "" if seconds is None or not unit else f"{seconds / unit:.1f}",
            "" if cost.passes is None else f"{cost.passes.mean:.0f}",
            "" if cost.peak_memory is None else f"{cost.peak_memory.mean / 1e9:.2f}",
            "" if cost.trainable_parameters is None else f"{cost.trainable_parameters / 1e6:.1f}",
        ]
        rows.append([to.text(arm), *map(to.text, shown)])
    head = ["arm", "seconds", f"× {summary.baseline}", "passes", "peak GB", "trainable, millions"]
    return to.table(head, rows, "Cost of training with all it needs, mean over seeds.")


COLUMNS = (
    *("dataset", "model", "budget", "arm", "family", "what", "name", "metric", "mean", "sd", "t_low", "t_high"),
    *("low", "high", "seeds", "rows", "difference", "difference_low", "difference_high", "p", "p_holm", "verdict"),
    *("effect", "only_arm_right", "only_baseline_right", "mcnemar", "records"),
)
"""Of the CSV; low and high are of the bootstrap over seeds and rows. What is not known is empty."""


def _csv(summary: Summary) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for c in summary.cells:
        measure = (c.measure.what, c.measure.name, c.measure.metric)
        writer.writerow(map(_spreadsheet, _line((*_place(c), *measure), c.spread, c.comparison)))
    for cost in summary.costs:
        spreads = {"seconds": cost.train_seconds, "passes": cost.passes, "bytes": cost.peak_memory}
        names = {"seconds": "train_seconds", "passes": "passes", "bytes": "peak_memory"}
        for unit, spread in spreads.items():
            if spread is not None:
                writer.writerow(map(_spreadsheet, _line((*_place(cost), "cost", names[unit], unit), spread, None)))
    return out.getvalue()


def _place(where: Cell | Cost) -> tuple[str, ...]:
    group = where.group
    return group.dataset, group.model, group.budget, where.arm, where.family


def _line(where: Sequence[str], spread: Spread, comparison: Comparison | None) -> list[Any]:
    t, drawn = spread.t_interval or (None, None), spread.bootstrap_interval or (None, None)
    line = [*where, spread.mean, spread.sd, *t, *drawn, len(spread.values), spread.rows]
    if comparison is None:
        line += [None] * 10
    else:
        c = comparison
        line += [
            c.difference,
            *c.interval,
            c.p,
            c.p_holm,
            c.verdict,
            c.effect,
            *(c.discordant or (None, None)),
            c.mcnemar,
        ]
    return [*line, " ".join(spread.jobs)]


def _spreadsheet(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula begins with an apostrophe; numbers are numbers."""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if shown.lstrip()[:1] in ("=", "+", "-", "@") or shown[:1] in ("\t", "\r", "\n") else shown


def _json(summary: Summary) -> str:
    return json.dumps(asdict(summary), indent=1, ensure_ascii=True, allow_nan=False) + "\n"
