"""attacks/report.html: one file with the table of recipes, the curves, and every example to read.

Safe with hostile texts, as page.py says: the examples are JSON that a script turns into text nodes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypeAlias, TypedDict

from .difference import difference, visible
from .page import embedded, fill, plain, write_page

TEMPLATE = "attack/report.html.j2"
TEXTS = ("original", "adversarial", "attempt")
MARKS = {"same": 0, "deleted": -1, "inserted": 1}
COLOURS, DASHES = 7, 4
"""Styles of lines in the template: colours that colour-blind readers tell apart, then dash patterns."""


class Summary(TypedDict):
    """Figures of one recipe. Accuracies, rates and shares are from 0 to 1, with the ends of their 95 % intervals."""

    examples: int
    clean_accuracy: float
    clean_accuracy_low: float
    clean_accuracy_high: float
    accuracy_under_attack: float
    accuracy_under_attack_low: float
    accuracy_under_attack_high: float
    success_rate: float | None
    success_rate_low: float | None
    success_rate_high: float | None
    changed_share: float | None
    """Mean share of words changed, over the successes."""
    queries_mean: float | None
    queries_median: float | None
    queries_p95: float | None
    similarity: float | None
    seconds: float
    violations: int
    """Successes that the audit found to break a constraint."""


class Outcome(TypedDict):
    """What became of one example. A text is a sequence of fields."""

    row: int
    status: str
    """"success" (the prediction was changed), "failed", or "skipped" (the model was wrong already)."""
    label: str
    original: Sequence[str]
    adversarial: Sequence[str] | None
    attempt: NotRequired[Sequence[str] | None]
    """Of a failure, the text that the search ended with."""
    predicted: str
    attacked: str | None
    clean_confidence: float | None
    """Probability that the model gives to the label, the right answer, before the attack."""
    attacked_confidence: float | None
    """And after it."""
    queries: int
    changed: int
    words: int
    similarity: float | None
    violations: Sequence[str]
    note: NotRequired[str]
    """Why a search ended early, such as "budget"."""


class Attacked(TypedDict):
    """One recipe and all its outcomes."""

    recipe: str
    variant: str
    calibrated: bool
    temperature: float
    stand_ins: list[str]
    """Resources that stand in for those of the paper."""
    off: list[str]
    """Constraints of the recipe that were off."""
    differs: NotRequired[list[str]]
    """What it does otherwise than its paper."""
    ignored: NotRequired[list[str]]
    """Options that it does not have."""
    settings: dict[str, tuple[Any, str] | list[Any]]
    """Value and source of each."""
    summary: Summary
    outcomes: list[Outcome]


class Content(TypedDict):
    """All that a report shows."""

    title: str
    victim: str
    data: dict[str, Any]
    """Where the examples came from: "origin", "rows", "sha256"."""
    versions: dict[str, str]
    command: str | None
    recipes: list[Attacked]
    worst_case: NotRequired[dict[str, Any] | None]
    """"accuracy", "low", "high": an example counts as right when it withstood every recipe."""
    calibration: NotRequired[dict[str, Any] | None]
    """"fitted_on" which how many "rows" the calibrated attacker's temperature was."""
    minimum: NotRequired[list[dict[str, Any]] | None]
    """Of each "recipe": accuracy against the "plain" and the "calibrated" attacker, and "accuracy", "low", "high" where
    an example counts as right when it withstood both."""
    comparison: NotRequired[list[dict[str, Any]] | None]
    """Rows of a table that compares models; the first one's keys are the columns."""
    transfer: NotRequired[list[dict[str, Any]] | None]
    """Of rows made against another victim: "file", "made_for", "rows", "accuracy", "low", "high"."""
    notes: NotRequired[list[str] | None]
    """What to know of the data."""


def write_report(path: Path, content: Mapping[str, Any]) -> None:
    """Write the report, whole or not at all; RunError if it cannot be written. content: see `Content`."""
    write_page(path, render(content))


def render(content: Mapping[str, Any]) -> str:
    """The page. content: see `Content`."""
    recipes: list[Attacked] = content["recipes"]
    names = _names(recipes)
    curves = [_query_curve(recipes), _word_curve(recipes)]
    known = {key: value for key, value in content.items() if key != "recipes"}
    tables = [{**recipe, "outcomes": len(recipe["outcomes"])} for recipe in recipes]
    data = {
        "recipes": names,
        "curves": [{key: curve[key] for key in ("steps", "log", "end")} for curve in curves],
        "outcomes": [_shown(outcome, i) for i, recipe in enumerate(recipes) for outcome in recipe["outcomes"]],
    }
    return fill(
        TEMPLATE,
        content=plain(
            {**dict.fromkeys(("worst_case", "calibration", "minimum", "comparison", "transfer", "notes")), **known}
        ),
        recipes=plain(tables),
        names=names,
        styles=[f"c{i % COLOURS} d{i // COLOURS % DASHES}" for i in range(len(recipes))],
        curves=curves,
        data=embedded(data),
    )


# texts


def _shown(outcome: Outcome, recipe: int) -> dict[str, Any]:
    """What the list of examples needs: the outcome with segments (mark, text) in place of its texts."""
    adversarial = outcome["adversarial"] or outcome.get("attempt") or outcome["original"]
    fields = [
        [(MARKS[what], text) for what, text in difference(before, after)]
        for before, after in zip(outcome["original"], adversarial, strict=True)
    ]
    rest = {key: value for key, value in outcome.items() if key in Outcome.__annotations__ and key not in TEXTS}
    return {"recipe": recipe, **rest, "fields": fields}


def _names(recipes: Sequence[Attacked]) -> list[str]:
    """What each recipe is called: its variant and temperature where it is not the plain one, numbered if need be."""
    names: list[str] = []
    for recipe in recipes:
        calibrated = f"calibrated, T = {recipe['temperature']:.3g}" if recipe["calibrated"] else ""
        extra = ", ".join(filter(None, (recipe["variant"] if recipe["variant"] != "paper" else "", calibrated)))
        name = visible(recipe["recipe"]) + (f" ({visible(extra)})" if extra else "")
        same = sum(other == name or other.startswith(f"{name} #") for other in names)
        names.append(f"{name} #{same + 1}" if same else name)
    return names


# curves


Place: TypeAlias = Callable[[float], float]
WIDTH, HEIGHT = 520, 260
"""Of what is drawn, in units of the SVG; the axes stand around it."""


class _Curve(TypedDict):
    title: str
    unit: str
    steps: list[list[tuple[float, float]]]
    """Of each recipe, (cost, share still right) from where on it holds."""
    lines: list[str]
    """The same as SVG paths."""
    ticks: list[tuple[float, str]]
    log: bool
    end: float
    """Cost at the right end of the axis, or its power of ten."""
    width: int
    height: int


def _query_curve(recipes: Sequence[Attacked]) -> _Curve:
    """Share of examples still right when each may cost at most so many queries."""
    steps = [_steps(recipe["outcomes"], lambda outcome: outcome["queries"]) for recipe in recipes]
    most = max((outcome["queries"] for recipe in recipes for outcome in recipe["outcomes"]), default=1)
    end = max(math.log10(max(most, 1)), 1.0)
    marks = [m * 10**d for d in range(math.ceil(end) + 1) for m in ((1, 2, 5) if end < 2.5 else (1,))]

    def place(x: float) -> float:
        return WIDTH * math.log10(max(x, 1.0)) / end

    ticks = [(round(place(x), 1), f"{x:,}") for x in marks if place(x) <= WIDTH]
    return _drawn("Accuracy and queries", "queries an example (log scale)", steps, place, ticks, log=True, end=end)


def _word_curve(recipes: Sequence[Attacked]) -> _Curve:
    """Share of examples still right when at most such a percentage of its words may be changed."""
    steps = [
        _steps(recipe["outcomes"], lambda outcome: 100 * outcome["changed"] / max(outcome["words"], 1))
        for recipe in recipes
    ]
    most = max((x for line in steps for x, _ in line), default=0.0)
    stride = next(s for s in (1, 2, 5, 10, 20, 25) if most / s <= 6 or s == 25)
    end = max(math.ceil(most / stride), 1) * stride

    def place(x: float) -> float:
        return WIDTH * x / end

    ticks = [(round(place(x), 1), f"{x} %") for x in range(0, end + 1, stride)]
    return _drawn("Accuracy and changed words", "words of an example changed", steps, place, ticks, log=False, end=end)


def _drawn(
    title: str,
    unit: str,
    steps: list[list[tuple[float, float]]],
    place: Place,
    ticks: list[tuple[float, str]],
    *,
    log: bool,
    end: float,
) -> _Curve:
    lines = [_path(line, place) for line in steps]
    return _Curve(
        title=title, unit=unit, steps=steps, lines=lines, ticks=ticks, log=log, end=end, width=WIDTH, height=HEIGHT
    )


def _steps(outcomes: Iterable[Outcome], cost: Callable[[Outcome], float]) -> list[tuple[float, float]]:
    outcomes = list(outcomes)
    if not outcomes:
        return []
    right = sum(outcome["status"] != "skipped" for outcome in outcomes)
    steps = [(0.0, right / len(outcomes))]
    for x in sorted(cost(outcome) for outcome in outcomes if outcome["status"] == "success"):
        right -= 1
        if steps[-1][0] == x:
            steps.pop()
        steps.append((x, right / len(outcomes)))
    return steps


def _path(steps: Sequence[tuple[float, float]], place: Place) -> str:
    """An SVG path of the steps; of those that are less than a tenth of a unit apart, only the last is drawn."""
    points: dict[float, float] = {}
    for x, share in steps:
        points[round(place(x), 1)] = round(HEIGHT * (1 - share), 1)
    if not points:
        return ""
    (x, y), *rest = points.items()
    return f"M{x} {y}" + "".join(f"H{x}V{y}" for x, y in rest) + f"H{WIDTH}"
