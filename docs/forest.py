"""A picture of what a verdict rests on: each difference with its interval, as SVG whose text can be read on a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from claims import WORST, Book
from verdicts import Pair

from sparring.study.sentences import SCALES
from sparring.study.summary import Cell
from sparring.study.tables import Markdown

WIDTH, EDGE, TOP, ROW = 440, 20, 44, 34
"""Pixels: of the picture, left and right of the axis, above the rows, of a row."""
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
"""Between ticks."""
MOST = 8
"""Ticks."""
CAPTIONS = {False: "points, with 95 % intervals", True: "correlation or MCC, with 95 % intervals"}
SHOWN = 30
"""Differences in a picture."""
COLOURS = {"better": "#15803d", "worse": "#b91c1c", "open": "#6b7280"}
MARKS = {"better": "M0 -6L5.5 4H-5.5Z", "worse": "M0 6L5.5 -4H-5.5Z", "open": "M4 0A4 4 0 1 1 -4 0A4 4 0 1 1 4 0Z"}


@dataclass(frozen=True)
class Difference:
    """A row, in points, or in the units of a metric between -1 and 1."""

    name: str
    mean: float
    low: float
    high: float
    verdict: str
    unit: bool = False


def drawn(pairs: Sequence[Pair], books: Sequence[Book]) -> tuple[list[Difference], str]:
    """What a page's picture shows: the comparisons of its table, or each arm against the baseline where it has none.

    And a sentence on what is compared. Nothing where all are nought; models that are right on the same rows, whose
    equality is no finding, are left out.
    """
    found, whom = [(pair.what, pair.metric, pair.found) for pair in pairs if not pair.same], ""
    for book in books if not found else ():
        whom = f"Each arm against {Markdown().text(book.study['baseline'])}; the verdict is over families of arms. "
        for what in ("clean", WORST.what):
            cells = [cell for cell in book.summary.cells if cell.measure.what == what]
            found += [(_name(book, c), c.measure.metric, c.comparison) for c in cells if c.comparison]
    rows = []
    for what, metric, one in found:
        values = (one.difference, *one.interval)
        mean, low, high = values if metric in SCALES else (100 * value for value in values)
        rows.append(Difference(what, mean, low, high, one.verdict, metric in SCALES))
    return (rows, whom) if any(round(row.mean, 3 if row.unit else 1) for row in rows) else ([], "")


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
    far = sorted(rows, key=lambda row: -abs(row.mean) * (100 if row.unit else 1))[:SHOWN]
    panels, height = list[str](), 0
    for unit in (False, True):
        own = [row for row in rows if row in far and row.unit == unit]
        if own:
            panels += _panel(own, height, CAPTIONS[unit])
            height += TOP + ROW * len(own) + 8
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="system-ui, sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *panels,
            "</svg>",
            "",
        ]
    )


def _panel(rows: Sequence[Difference], above: int, caption: str) -> list[str]:
    """Rows on an axis of their own, `above` pixels below the top."""
    low, high = min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows))
    step = next((step for step in STEPS if (high - low) / step <= MOST), 100)
    first, last = math.floor(low / step), math.ceil(high / step)
    low, high, top = step * first, step * max(last, first + 1), above + TOP
    inner, bottom = WIDTH - 2 * EDGE, top + ROW * len(rows) + 4

    def x(value: float) -> float:
        return round(EDGE + inner * (value - low) / (high - low), 1)

    out = [f'<text x="{EDGE}" y="{above + 14}" fill="#374151">{caption}</text>']
    for number in range(first, max(last, first + 1) + 1):
        place = x(number * step)
        colour = "#e5e7eb" if number else "#374151"
        text = f"{number * step:+.10g}".replace("-", "−") if number else "0"
        out.append(f'<path stroke="{colour}" d="M{place} {top - 8}V{bottom}"/>')
        out.append(f'<text x="{place}" y="{top - 13}" text-anchor="middle" fill="#374151">{text}</text>')
    for number, row in enumerate(rows):
        y, colour = top + ROW * number, COLOURS[row.verdict]
        out.append(
            f'<text x="{EDGE}" y="{y + 8}" fill="#111827" stroke="#fff" stroke-width="4" paint-order="stroke">'
            f"{escape(row.name)}</text>"
        )
        out.append(f'<path stroke="{colour}" stroke-width="2" d="M{x(row.low)} {y + 19}H{x(row.high)}"/>')
        out.append(f'<path fill="{colour}" transform="translate({x(row.mean)} {y + 19})" d="{MARKS[row.verdict]}"/>')
    return out
