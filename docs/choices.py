"""What the page on choosing a method says, from the records alone: gains, their uncertainty, and words for them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from build_results import ROOT, verdict_of
from claims import Book

from sparring.study.comparisons import against, corrected, scatter
from sparring.study.figures import Figure, Seeds
from sparring.study.sentences import listed
from sparring.study.summary import Comparison
from sparring.study.tables import MARKS

RECORDS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
STUDY = Path(__file__).resolve().parents[1] / "studies" / "sst2-families"
PGD_RADIUS = "0.03x"
BUDGETS = {"at most 2.5x": 2.5, "at most 3.5x": 3.5, "any": float("inf")}
"""Budgets by the measured time of a step in float32, in plain steps."""
GOALS = {"clean accuracy": "accuracy", "moved embeddings": "pgd"}


def values_of(measure: str) -> dict[str, Seeds]:
    """By method, `standard` among them: accuracy, or accuracy under PGD, by seed."""
    values: dict[str, Seeds] = {}
    for line in lines_of("methods_on_sst2.jsonl"):
        if line["preset"] == "default" and not line["settings"]:
            score = line["pgd"][PGD_RADIUS] if measure == "pgd" else line["accuracy"]
            values.setdefault(line["method"], {})[line["seed"]] = Figure(np.array([score]), "", ())
    return values


def gains(values: Mapping[str, Seeds]) -> dict[str, Comparison]:
    """By method: its difference to `standard`, tested as in a study and corrected over the methods."""
    return _compared(values, [(name, "standard") for name in values if name != "standard"])


def _compared(values: Mapping[str, Seeds], pairs: Sequence[tuple[str, str]]) -> dict[str, Comparison]:
    """By the first of each pair: first minus second, corrected together."""
    arms = scatter(list(values.values()))
    found = {a: against(values[a], values[b], arms) for a, b in pairs if a in values and b in values}
    return corrected({name: one for name, one in found.items() if one is not None})


def costs() -> dict[str, tuple[float, float]]:
    """By method: time and peak memory of a step, in those of a plain one."""
    path = RECORDS / "step_cost.json"
    rows = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return {r["method"]: (r["relative_time"], r["peak_memory_ratio"]) for r in rows if r["dtype"] == "float32"}


def methods_table() -> tuple[list[str], list[list[str]]]:
    """Head and lines: a method, what it gained over plain training, what a step costs."""
    found, cost, lines = [gains(values_of(measure)) for measure in GOALS.values()], costs(), []
    for name in found[0]:
        time, memory = cost.get(name, (float("nan"), float("nan")))
        shown = [f"{points(one[name])} {MARKS[one[name].verdict][0]}".strip() for one in found]
        lines.append([_link(name), *shown, f"{time:.1f}x", f"{memory:.2f}x"])
    return ["method", "clean accuracy", "under PGD", "time of a step", "peak memory"], lines


def decisions() -> tuple[list[str], list[list[str]]]:
    """Head and lines: goal, budget, what the records point to, and in words how far.

    One rule for all: what is shown to be better than plain training after Holm, and of that the cheapest that nothing
    else is shown to be better than; else plain training.
    """
    cost, lines = costs(), []
    for goal, measure in GOALS.items():
        values = values_of(measure)
        for budget, most in BUDGETS.items():
            able = {name: own for name, own in values.items() if cost.get(name, (most,))[0] <= most}
            if len(able) > 1:
                lines.append([goal, budget, *_choice(able, gains(values), cost)])
    lines += [*_studied(), *_online(), *_mixtures()]
    return ["goal", "budget", "take", "what our records say"], lines


def _choice(
    values: Mapping[str, Seeds], found: Mapping[str, Comparison], cost: Mapping[str, tuple[float, float]]
) -> tuple[str, str]:
    """Of the methods that a budget allows: which to take, and why."""
    above = [name for name in values if name in found and found[name].verdict == "better"]
    if not above:
        best = max((name for name in values if name in found), key=lambda name: found[name].difference)
        said = f"the highest mean is {_link(best)} {points(found[best])}"
        return _link("standard"), f"nothing is shown to be better than plain training after Holm; {said}"
    above.sort(key=lambda name: cost[name][0])
    for name in above:  # the cheapest first, until one is reached that nothing is shown to be better than
        rest = _compared(values, [(other, name) for other in above if other != name])
        if all(one.verdict != "better" for one in rest.values()):
            break
    others = [other for other in above if other != name]
    more = f"; better than plain training too, not shown to be better than it: {listed(list(map(_link, others)))}"
    return _link(name), f"{points(found[name])}{more if others else ''}"


def _studied() -> list[list[str]]:
    """What a study over several seeds found under text attacks: to be taken is what holds better under the worst."""
    if not (STUDY / "records.jsonl").is_file():
        return []
    book = Book(STUDY)
    plain, take, said, open_under = str(book.study["baseline"]), list[str](), list[str](), list[str]()
    means = {(cell.arm, cell.measure): 100 * cell.spread.mean for cell in book.summary.cells}
    asked = [cell.measure for cell in book.summary.cells if cell.measure.what in ("attack", "worst-case")]
    for measure in dict.fromkeys(asked):
        name = measure.name or "the worst attack of each example"
        compared = [cell for cell in book.summary.cells if cell.measure == measure and cell.comparison is not None]
        found = [cell.arm for cell in compared if cell.comparison is not None and cell.comparison.verdict == "better"]
        said += [f"{arm} under {name} {means[plain, measure]:.1f} → {means[arm, measure]:.1f}" for arm in found]
        open_under += [] if found else [name]
        take += found if measure.what == "worst-case" else []
    said += [f"nothing is shown under {listed(open_under)}"] if open_under else []
    rows = listed([f"{spec.get('limit', 'all')} rows of {name}" for name, spec in book.study["data"].items()])
    end = f"after Holm, {book.seeds}, {rows} ([study](results/families.md))"
    return [["text attacks", "any", "; ".join(take) or _link("standard"), f"{'; '.join(said)}; {end}"]]


def _online() -> list[list[str]]:
    """Training on attacked rows beside plain training: of one seed, so that nothing is decided."""
    rows, lines = {row["online"]: row for row in lines_of("online_on_sst2.jsonl")}, []
    for name, row in rows.items():
        if name != "none":
            before, after = rows["none"]["under_attack"], row["under_attack"]
            said = "; ".join(f"{one} {share(before[one])} → {share(after[one])}" for one in after)
            time = f"{row['train_seconds'] / rows['none']['train_seconds']:.1f}x the training"
            about = f"[`--online {name}`](input-space.md): {said}; one seed, which decides nothing"
            lines.append(["text attacks", time, _link("standard"), about])
    return lines


def _mixtures() -> list[list[str]]:
    """Mixtures of adapters by their trade-off of clean accuracy and accuracy under attack, as their page has it."""
    mixed, pairs = (
        lines_of("mixture_on_real_data.jsonl"),
        {pair.what: pair for pair in verdict_of("adpmixup", ROOT).pairs},
    )
    lines = []
    for task in dict.fromkeys(line["task"] for line in mixed):
        own = {other: pairs.get(f"AdpMixup against {other} on {task}") for other in ("plain", "union")}
        known = {other: pair for other, pair in own.items() if pair is not None}
        seconds = {
            model: mean([x["training_seconds"] for x in mixed if (x["task"], x["model"]) == (task, model)])
            for model in ("plain", "adpmixup")
        }
        good = "plain" in known and known["plain"].found.verdict == "better"
        good = good and not ("union" in known and known["union"].found.verdict == "worse")
        take = "[a mixture](mixture.md)" if good else "one adapter, trained on clean rows"
        names = {"plain": "one adapter on clean rows", "union": "one adapter on all rows"}
        said = "; ".join(f"against {names[one]} {pair.numbers}, {pair.found.verdict}" for one, pair in known.items())
        about = f"trade-off of a [mixture](mixture.md): {said} after Holm ([AdpMixup](results/adpmixup.md))"
        budget = f"{seconds['adpmixup'] / seconds['plain']:.1f}x the training"
        lines.append([f"text attacks, small adapters ({task})", budget, take, about])
    return lines


def points(one: Comparison) -> str:
    """A difference in points with its interval."""
    low, high = one.interval
    return f"{100 * one.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Two accuracies whose intervals do not overlap."""
    return bool(one["interval"][1] < other["interval"][0] or other["interval"][1] < one["interval"][0])


def share(one: dict[str, Any]) -> str:
    """An accuracy in percent with its interval."""
    low, high = one["interval"]
    return f"{100 * one['accuracy']:.0f} ({100 * low:.0f}-{100 * high:.0f})"


def _link(name: str) -> str:
    return f"[{name}](methods/{name}.md)"


def mean(values: Sequence[float]) -> float:
    """The mean of some values."""
    return sum(values) / len(values)


def lines_of(name: str) -> list[dict[str, Any]]:
    """The lines of a file of records; none if it is not there."""
    path = RECORDS / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; no cell can break out of it."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
