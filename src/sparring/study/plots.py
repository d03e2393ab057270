"""Where things stand in a study's plots; plots.html.j2 draws them as SVG. Nothing here knows colours or HTML.

Each plot is made at the width that it is shown at, so that its text can be read on a phone too.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

WIDE, NARROW, PANEL = 1100, 380, 340
"""Widths of a plot, in CSS pixels: of a desk, of a phone, and of one of several beside each other."""
LETTER = 7.0
"""Mean width of a letter in a plot, a little too wide."""
LONGEST = 30
"""Letters of a name in a plot."""

SHAPES = (
    "M1 0A1 1 0 1 1 -1 0A1 1 0 1 1 1 0Z",
    "M-.9 -.9H.9V.9H-.9Z",
    "M0 -1.2L1.1 .8H-1.1Z",
    "M0 -1.25L1.25 0L0 1.25L-1.25 0Z",
    "M0 1.2L1.1 -.8H-1.1Z",
    "M-.4 -1.15H.4V-.4H1.15V.4H.4V1.15H-.4V.4H-1.15V-.4H-.4Z",
    "M1.15 0L.58 1H-.58L-1.15 0L-.58 -1H.58Z",
)
"""SVG paths of marks, a family each, so that colour is not all that tells families apart."""
DASHES = 4
"""Of lines, in the style sheet."""

Box = tuple[float, float, float, float]
"""left, top, right, bottom"""


@dataclass(frozen=True)
class Value:
    """A mean with the ends of its interval, or without."""

    mean: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` over `length` pixels; `ticks` are (pixels from the start, text)."""

    low: float
    high: float
    length: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Pixels from the start."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return round(self.length * (value - low) / (high - low), 1)


def linear_axis(values: Iterable[float], length: float, write: Callable[[float], str], *, share: bool) -> Axis:
    """An axis that holds the values with some room, and no more than 0 to 1 where they are shares."""
    values = list(values)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(0.06 * (high - low), 0.01 * max(abs(high), 1e-9) if low == high else 0.0)
    low, high = low - room, high + room
    if share:
        low, high = max(low, 0.0), min(high, 1.0)
    if high - low < 1e-9:
        low, high = low - 0.01, high + 0.01
    step = _round_step((high - low) / max(length / 80, 2))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((round(length * (i * step - low) / (high - low), 1), write(i * step)) for i in range(first, last + 1))
    return Axis(low, high, length, ticks)


def log_axis(values: Iterable[float], length: float) -> Axis:
    """An axis over powers of ten; values from 1 on."""
    values = [max(value, 1.0) for value in values] or [1.0]
    low, high = min(values), max(max(values), min(values) * 2)
    marks = [m * 10**d for d in range(12) for m in ((1, 2, 5) if high / low < 300 else (1,))]
    width = math.log10(high / low)
    ticks = tuple((round(length * math.log10(m / low) / width, 1), f"{m:,}") for m in marks if low <= m <= high)
    return Axis(low, high, length, ticks, log=True)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= least * (1 - 1e-9))


def shortened(name: str, letters: int = LONGEST) -> str:
    """A name that fits."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


# one point an arm: what it gained, what it lost, what it cost


@dataclass(frozen=True)
class Point:
    """An arm in two measures; `cost` is drawn as area."""

    name: str
    style: int
    """Of its family."""
    x: Value
    y: Value
    cost: float | None
    cell: int
    """Which figure it is, for those who want to know where it comes from."""
    title: str
    baseline: bool = False


@dataclass(frozen=True)
class Mark:
    """A point in place."""

    point: Point
    x: float
    y: float
    radius: float
    across: tuple[float, float] | None
    """Ends of the horizontal interval."""
    along: tuple[float, float] | None
    label: tuple[float, float, str, str] | None
    """x, y, anchor, text; None where there is no room."""


@dataclass(frozen=True)
class Scatter:
    """Marks over two axes, the largest first."""

    width: int
    height: int
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    baseline: tuple[float, float] | None


LEFT, TOP, RIGHT, BOTTOM = 52, 22, 18, 46
"""Room around a plot for its axes."""


def scatter(
    points: Sequence[Point], width: int, write: tuple[Callable[[float], str], Callable[[float], str]], *, shares: bool
) -> Scatter:
    """Points in place, labelled where a label covers nothing."""
    inner, height = width - LEFT - RIGHT, 400 if width > 600 else 330
    across = linear_axis(_extent(point.x for point in points), inner, write[0], share=shares)
    along = linear_axis(_extent(point.y for point in points), height, write[1], share=shares)
    most = max((point.cost for point in points if point.cost), default=0.0)
    ordered = sorted(points, key=lambda p: p.cost or 0.0, reverse=True)
    places = [(across.at(p.x.mean), round(height - along.at(p.y.mean), 1), _radius(p.cost, most)) for p in ordered]
    taken = [(x - r, y - r, x + r, y + r) for x, y, r in places]
    marks = []
    for point, (x, y, r) in zip(ordered, places, strict=True):
        label = _label(shortened(point.name), x, y, r, taken, (inner + RIGHT, height))
        ends = [
            None if v.low is None or v.high is None else (max(axis.at(v.low), 0), min(axis.at(v.high), axis.length))
            for v, axis in ((point.x, across), (point.y, along))
        ]
        up = None if ends[1] is None else (round(height - ends[1][0], 1), round(height - ends[1][1], 1))
        marks.append(Mark(point, x, y, r, ends[0], up, label))
    baseline = next(((mark.x, mark.y) for mark in marks if mark.point.baseline), None)
    return Scatter(width, height + TOP + BOTTOM, across, along, tuple(marks), baseline)


def _radius(cost: float | None, most: float) -> float:
    """Of a mark: its area grows with the cost."""
    return round(5.0 + 13.0 * math.sqrt(cost / most), 1) if cost and most else 6.0


def sizes(costs: Sequence[float]) -> list[tuple[float, float]]:
    """Radius of a mark and cost, of the least and the largest cost."""
    return [(_radius(cost, max(costs)), cost) for cost in sorted({min(costs), max(costs)})] if costs else []


def _extent(values: Iterable[Value]) -> list[float]:
    return [v for value in values for v in (value.mean, value.low, value.high) if v is not None]


def _label(
    text: str, x: float, y: float, r: float, taken: list[Box], within: tuple[float, float]
) -> tuple[float, float, str, str] | None:
    """The first place beside a mark that covers no other mark or label; `taken` grows by it."""
    wide, slant = LETTER * len(text), 0.75 * r
    for dx, dy, anchor in (
        (r + 4, 4, "start"),
        (-r - 4, 4, "end"),
        (0, -r - 5, "middle"),
        (0, r + 13, "middle"),
        (slant + 4, -slant - 2, "start"),
        (slant + 4, slant + 10, "start"),
        (-slant - 4, -slant - 2, "end"),
        (-slant - 4, slant + 10, "end"),
    ):
        left = x + dx - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
        box = (left, y + dy - 10, left + wide, y + dy + 3)
        if box[0] < 0 or box[1] < -TOP or box[2] > within[0] or box[3] > within[1]:
            continue
        if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
            taken.append(box)
            return round(x + dx, 1), round(y + dy, 1), anchor, text
    return None


# one line an arm


@dataclass(frozen=True)
class Line:
    """An arm over something that grows."""

    name: str
    style: int
    dash: int
    points: tuple[tuple[float, Value], ...]
    cells: tuple[int, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Drawn:
    """A line in place, with its name at the right end."""

    line: Line
    path: str
    dots: tuple[tuple[float, float], ...]
    whiskers: tuple[tuple[float, float, float], ...]
    """x, and the ends of the interval."""
    end: tuple[float, float]
    label: float
    """y of the name."""


@dataclass(frozen=True)
class Lines:
    """Lines over two axes."""

    width: int
    height: int
    x: Axis
    y: Axis
    lines: tuple[Drawn, ...]
    room: float
    """Where names begin."""


def lines(
    series: Sequence[Line],
    width: int,
    write: tuple[Callable[[float], str], Callable[[float], str]],
    *,
    shares: bool,
    log: bool = False,
    least: int = 300,
) -> Lines:
    """Lines in place; names stand beside the ends, one below the other, in the order of the ends."""
    letters = min(max((len(line.name) for line in series), default=0), LONGEST if width > 600 else 14)
    names = LETTER * letters + 26
    height, inner = max(least, 15 * len(series) - TOP), width - LEFT - names - 4
    xs = [x for line in series for x, _ in line.points]
    across = log_axis(xs, inner) if log else linear_axis_from(xs, inner, write[0])
    along = linear_axis(_extent(v for line in series for _, v in line.points), height, write[1], share=shares)
    drawn = []
    for line in series:
        at = [across.at(max(x, 1.0) if log else x) for x, _ in line.points]
        dots = tuple((x, round(height - along.at(v.mean), 1)) for x, (_, v) in zip(at, line.points, strict=True))
        whiskers = tuple(
            (x, round(height - along.at(v.low), 1), round(height - along.at(v.high), 1))
            for x, (_, v) in zip(at, line.points, strict=True)
            if v.low is not None and v.high is not None
        )
        path = "M" + "L".join(f"{x} {y}" for x, y in dots)
        drawn.append((line, path, dots, whiskers, dots[-1]))
    places = spread([end[1] for *_, end in drawn], 14.5, height)
    placed = [Drawn(*parts, label=y) for parts, y in zip(drawn, places, strict=True)]
    return Lines(width, height + TOP + BOTTOM, across, along, tuple(placed), inner + 20)


def linear_axis_from(values: Sequence[float], length: float, write: Callable[[float], str]) -> Axis:
    """An axis from the least value to the largest, with a tick at each value that has room."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    high = high if high > low else low + 1.0
    ticks: list[tuple[float, str]] = []
    for value in sorted(set(values)):
        place = round(length * (value - low) / (high - low), 1)
        if not ticks or place - ticks[-1][0] > LETTER * 5:
            ticks.append((place, write(value)))
    return Axis(low, high, length, tuple(ticks))


def spread(places: Sequence[float], apart: float, end: float) -> list[float]:
    """Places as near as can be to those wished for, in their order, `apart` from each other, none beyond the end."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = [0.0] * len(places)
    above = -math.inf
    for i in order:
        found[i] = above = max(places[i], above + apart)
    below = max(end, apart * (len(places) - 1)) + apart
    for i in reversed(order):
        found[i] = below = round(min(found[i], below - apart), 1)
    return found


# one bar an arm


@dataclass(frozen=True)
class Bar:
    """An arm in one measure, and what a second one (a calibrated attacker) leaves of it."""

    name: str
    style: int
    value: Value
    second: float | None
    text: str
    verdict: str
    cell: int
    title: str
    baseline: bool = False


@dataclass(frozen=True)
class Placed:
    """A bar in place: lengths from the axis."""

    bar: Bar
    y: float
    sides: tuple[float, float]
    ends: tuple[float, float] | None
    second: float | None


@dataclass(frozen=True)
class Bars:
    """Bars below each other, from 0."""

    width: int
    height: int
    start: float
    """x of the axis."""
    x: Axis
    bars: tuple[Placed, ...]
    baseline: float | None


BAR = 20


def bars(rows: Sequence[Bar], width: int) -> Bars:
    """Bars in the order given."""
    letters = min(max((len(row.name) for row in rows), default=0), 17)
    start = LETTER * letters + 12
    extent = _extent(row.value for row in rows) + [row.second for row in rows if row.second is not None]
    high, low = max([*extent, 1e-3]), min([*extent, 0.0])
    axis = Axis(low, high, width - start - 74, ())
    placed = []
    for i, row in enumerate(rows):
        low_end, high_end = row.value.low, row.value.high
        ends = None if low_end is None or high_end is None else (axis.at(low_end), axis.at(high_end))
        second = None if row.second is None else axis.at(row.second)
        sides = sorted((axis.at(0.0), axis.at(row.value.mean)))
        placed.append(Placed(row, i * BAR, (sides[0], sides[1]), ends, second))
    baseline = next((axis.at(p.bar.value.mean) for p in placed if p.bar.baseline), None)
    return Bars(width, BAR * len(rows) + 8, start, axis, tuple(placed), baseline)
