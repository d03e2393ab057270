"""What the page on choosing a method says, from the records alone: gains, their uncertainty, and words for them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from claims import Book
from older import benchmark, benchmark_trade_offs, measured

from sparring.study.comparisons import against, corrected, scatter
from sparring.study.figures import Figure, Seeds
from sparring.study.sentences import listed
from sparring.study.summary import Comparison
from sparring.study.tables import MARKS

STUDY = Path(__file__).resolve().parents[1] / "studies" / "sst2-families"
PGD_RADIUS = "0.03x"
BUDGETS = {"at most 2.5x": 2.5, "at most 3.5x": 3.5, "any": float("inf")}
"""Budgets by the measured time of a step in float32, in plain steps."""
PLAIN = {"standard": "plain training", "plain": "one adapter on clean rows"}
ADAPTERS = {
    "plain": PLAIN["plain"],
    "union": "one adapter on all rows",
    "adpmixup": "[a mixture](mixture.md)",
}
Namer = Callable[[str], str]
GOALS = {"clean accuracy": "accuracy", "moved embeddings": "pgd"}


def values_of(measure: str) -> dict[str, Seeds]:
    """By method, `standard` among them: accuracy, or accuracy under PGD, by seed."""
    values: dict[str, Seeds] = {}
    for line in benchmark("methods_on_sst2"):
        if line["preset"] == "default" and not line["settings"]:
            score = line["pgd"][PGD_RADIUS] if measure == "pgd" else line["accuracy"]
            values.setdefault(line["method"], {})[line["seed"]] = Figure(np.array([score]), "", ())
    return values


def gains(values: Mapping[str, Seeds], base: str = "standard") -> dict[str, Comparison]:
    """By method: its difference to `base`, tested as in a study and corrected over the methods."""
    return _compared(values, [(name, base) for name in values if name != base])


def _compared(values: Mapping[str, Seeds], pairs: Sequence[tuple[str, str]]) -> dict[str, Comparison]:
    """By the first of each pair: first minus second, corrected together; `values` say what arms vary over seeds."""
    arms = scatter(list(values.values()))
    found = {a: against(values[a], values[b], arms) for a, b in pairs if a in values and b in values}
    return corrected({name: one for name, one in found.items() if one is not None})


def costs() -> dict[str, tuple[float, float]]:
    """By method: time and peak memory of a step, in those of a plain one."""
    rows = measured("step_cost", [])
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
    """Head and lines: goal, budget, what the records point to, and in words how far."""
    cost, lines = {name: time for name, (time, _) in costs().items()}, []
    for goal, measure in GOALS.items():
        values = values_of(measure)
        for budget, most in BUDGETS.items():
            able = [name for name in values if cost.get(name, most) <= most]
            if "standard" in able and len(able) > 1:
                take, said = choice(able, values, cost, "standard")
                lines.append([goal, budget, _link(take), said])
    lines += [*_studied(), *_online(), *_mixtures()]
    return ["goal", "budget", "take", "what our records say"], lines


def choice(
    able: Sequence[str], values: Mapping[str, Seeds], cost: Mapping[str, float], base: str, link: Namer | None = None
) -> tuple[str, str]:
    """What to take of what a budget allows, and why: the one rule of the page.

    Of what is shown to be better than `base` the cheapest that nothing else is shown to be better than; else `base`.
    """
    link, found = link or _link, {name: one for name, one in gains(values, base).items() if name in able}
    above = sorted(
        (name for name, one in found.items() if one.verdict == "better"), key=lambda name: cost.get(name, float("inf"))
    )
    if not above:
        if not found:
            return base, "nothing to compare yet"
        best = max(found, key=lambda name: found[name].difference)
        said = f"the highest mean is {link(best)} {points(found[best])}"
        return base, f"nothing is shown to be better than {PLAIN.get(base, base)} after Holm; {said}"
    taken = above[-1]
    for name in above:  # the cheapest first, until one is reached that nothing is shown to be better than
        rest = _compared(values, [(other, name) for other in above if other != name])
        if all(one.verdict != "better" for one in rest.values()):
            taken = name
            break
    others = [link(other) for other in above if other != taken]
    more = f"; better than {PLAIN.get(base, base)} too, but not than this: {listed(others)}" if others else ""
    return taken, f"{points(found[taken])}{more}"


def _studied() -> list[list[str]]:
    """What a study over several seeds found under text attacks: what holds better under the worst of them is taken."""
    if not (STUDY / "records.jsonl").is_file():
        return []
    book = Book(STUDY)
    plain, said, open_under, take = str(book.study["baseline"]), list[str](), list[str](), ""
    cost = {one.arm: one.train_seconds.mean for one in book.summary.costs if one.train_seconds}
    means = {(cell.arm, cell.measure): 100 * cell.spread.mean for cell in book.summary.cells}
    asked = [cell.measure for cell in book.summary.cells if cell.measure.what in ("attack", "worst-case")]
    for measure in dict.fromkeys(asked):
        name = measure.name or "the worst attack of each example"
        compared = [cell for cell in book.summary.cells if cell.measure == measure and cell.comparison is not None]
        found = [cell.arm for cell in compared if cell.comparison is not None and cell.comparison.verdict == "better"]
        said += [f"{arm} under {name} {means[plain, measure]:.1f} → {means[arm, measure]:.1f}" for arm in found]
        open_under += [] if found else [name]
        if found and measure.what == "worst-case":
            take = min(found, key=lambda arm: cost.get(arm, float("inf")))
    said += [f"nothing is shown under {listed(open_under)}"] if open_under else []
    rows = listed([f"{spec.get('limit', 'all')} rows of {name}" for name, spec in book.study["data"].items()])
    end = f"after Holm, {book.seeds}, {rows} ([study](results/families.md))"
    return [["text attacks", "any", take or _link("standard"), f"{'; '.join(said)}; {end}"]]


def _online() -> list[list[str]]:
    """Training on attacked rows beside plain training: of one seed, so that nothing is decided."""
    rows, lines = {row["online"]: row for row in benchmark("online_on_sst2")}, []
    for name, row in rows.items():
        if name != "none":
            before, after = rows["none"]["under_attack"], row["under_attack"]
            said = "; ".join(f"{one} {share(before[one])} → {share(after[one])}" for one in after)
            time = f"{row['train_seconds'] / rows['none']['train_seconds']:.1f}x the training"
            about = f"[`--online {name}`](input-space.md): {said}; one seed, which decides nothing"
            lines.append(["text attacks", time, _link("standard"), about])
    return lines


def _mixtures() -> list[list[str]]:
    """Mixtures of adapters and one adapter on all rows, by their trade-off of clean accuracy and that under attack."""
    mixed, trades, lines = benchmark("mixture_on_real_data"), benchmark_trade_offs(), []
    for task in dict.fromkeys(line["task"] for line in mixed):
        own = {model: trades[task][model] for model in ADAPTERS if model in trades.get(task, {})}
        if len(own) < 2 or "plain" not in own:
            continue
        seconds = {
            model: fmean(x["training_seconds"] for x in mixed if (x["task"], x["model"]) == (task, model))
            for model in own
        }
        taken, said = choice(list(own), own, seconds, "plain", link=lambda name: ADAPTERS[name])
        budget = f"up to {max(seconds.values()) / seconds['plain']:.1f}x the training"
        about = f"trade-off of clean and attacked accuracy: {said} ([AdpMixup](results/adpmixup.md))"
        lines.append([f"text attacks, small adapters ({task})", budget, ADAPTERS[taken], about])
    return lines


def points(one: Comparison) -> str:
    """A difference in points with its interval."""
    low, high = one.interval
    return f"{100 * one.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def share(one: dict[str, Any]) -> str:
    """An accuracy in percent with its interval."""
    low, high = one["interval"]
    return f"{100 * one['accuracy']:.0f} ({100 * low:.0f}-{100 * high:.0f})"


def _link(name: str) -> str:
    return f"[{name}](methods/{name}.md)"
