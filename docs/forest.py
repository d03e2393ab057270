"""A picture of what a verdict rests on: each difference with its interval, as SVG whose text can be read on a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from claims import WORST, Book
from verdicts import Pair

from sparring.study.summary import Cell
from sparring.study.tables import Markdown

WIDTH, EDGE, TOP, ROW = 440, 20, 44, 34
"""Pixels: of the picture, left and right of the axis, above the rows, of a row."""
STEPS = (0.5, 1, 2, 5, 10, 20, 50)
"""Between ticks, in points."""
MOST = 8
"""Ticks."""
CAPTION = "points (of correlations and MCC: hundredths), with 95 % intervals"
SHOWN = 30
"""Differences in a picture."""
COLOURS = {"better": "#15803d", "worse": "#b91c1c", "open": "#6b7280"}
MARKS = {"better": "M0 -6L5.5 4H-5.5Z", "worse": "M0 6L5.5 -4H-5.5Z", "open": "M4 0A4 4 0 1 1 -4 0A4 4 0 1 1 4 0Z"}


@dataclass(frozen=True)
class Difference:
    """A row, in points."""

    name: str
    mean: float
    low: float
    high: float
    verdict: str


def drawn(pairs: Sequence[Pair], books: Sequence[Book]) -> tuple[list[Difference], str]:
    """What a page's picture shows: the comparisons of its table, or each arm against the baseline where it has none.

    And a sentence on what is compared. Nothing where all are nought; models that are right on the same rows, whose
    equality is no finding, are left out.
    """
    found, whom = [(pair.what, pair.found) for pair in pairs if not pair.same], ""
    for book in books if not found else ():
        whom = f"Each arm against {Markdown().text(book.study['baseline'])}; the verdict is over families of arms. "
        for what in ("clean", WORST.what):
            cells = [cell for cell in book.summary.cells if cell.measure.what == what]
            found += [(_name(book, cell), cell.comparison) for cell in cells if cell.comparison]
    rows = [
        Difference(what, 100 * one.difference, 100 * one.interval[0], 100 * one.interval[1], one.verdict)
        for what, one in found
    ]
    return (rows, whom) if any(round(row.mean, 1) for row in rows) else ([], "")


def _name(book: Book, cell: Cell) -> str:
    several = len(book.groups) > 1
    return f"{cell.arm}: {cell.measure.title}" + (f", {book.place(cell.group)}, {cell.group.budget}" if several else "")


def told(file: str, rows: Sequence[Difference], whom: str) -> list[str]:
    """The picture in a page, and how to read it."""
    if not rows:
        return []
    verdicts = [row.verdict for row in rows]
    said = ", ".join(f"{verdicts.count(name)} {name}" for name in COLOURS)
    some = f" Drawn are the {SHOWN} farthest from nought of {len(rows)}." if len(rows) > SHOWN else ""
    return [
        f"![Differences with 95 % intervals: {said}]({file})",
        "",
        f"{whom}▲ better, ▼ worse, ● open after Holm; intervals are of one difference alone.{some}",
        "",
    ]


def forest(rows: Sequence[Difference]) -> str:
    """The picture: a line an interval, ▲ better, ▼ worse and ● open after correction, and a line at no difference.

    Of very many rows those farthest from nought, in their order.
    """
    far = sorted(rows, key=lambda row: -abs(row.mean))[:SHOWN]
    rows = [row for row in rows if row in far]
    low, high = min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows))
    step = next((step for step in STEPS if (high - low) / step <= MOST), 100)
    low, high = step * math.floor(low / step), step * math.ceil(high / step)
    height, inner = TOP + ROW * len(rows) + 8, WIDTH - 2 * EDGE

    def x(value: float) -> float:
        return round(EDGE + inner * (value - low) / max(high - low, step), 1)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{EDGE}" y="14" fill="#374151">{CAPTION}</text>',
    ]
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        colour = "#374151" if value == 0 else "#e5e7eb"
        out.append(f'<path stroke="{colour}" d="M{x(value)} {TOP - 8}V{height - 4}"/>')
        text = f"{value:+g}".replace("-", "−") if value else "0"
        out.append(f'<text x="{x(value)}" y="{TOP - 13}" text-anchor="middle" fill="#374151">{text}</text>')
    for number, row in enumerate(rows):
        y, colour = TOP + ROW * number, COLOURS[row.verdict]
        out.append(
            f'<text x="{EDGE}" y="{y + 8}" fill="#111827" stroke="#fff" stroke-width="4" paint-order="stroke">'
            f"{escape(row.name)}</text>"
        )
        out.append(f'<path stroke="{colour}" stroke-width="2" d="M{x(row.low)} {y + 19}H{x(row.high)}"/>')
        out.append(f'<path fill="{colour}" transform="translate({x(row.mean)} {y + 19})" d="{MARKS[row.verdict]}"/>')
    return "\n".join([*out, "</svg>", ""])
