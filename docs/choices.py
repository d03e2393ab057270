"""What the page on choosing a method says, from the records alone: gains, their uncertainty, and words for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from claims import Book

from sparring.evaluate.metrics import interval
from sparring.study.sentences import listed
from sparring.study.statistics import Interval, t_interval

RECORDS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
STUDY = Path(__file__).resolve().parents[1] / "studies" / "sst2-families"
PGD_RADIUS = "0.03x"
BUDGETS = {"at most 2.5x": 2.5, "at most 3.5x": 3.5, "any": float("inf")}
"""Budgets by the measured time of a step in float32, in plain steps."""
GOALS = {"clean accuracy": "accuracy", "moved embeddings": "pgd"}


def gains(measure: str) -> dict[str, tuple[float, Interval | None]]:
    """By method: mean difference to `standard` over the seeds that both have, and its t-interval, in points."""
    values: dict[str, dict[int, float]] = {}
    for line in lines_of("methods_on_sst2.jsonl"):
        if line["preset"] == "default" and not line["settings"]:
            score = line["pgd"][PGD_RADIUS] if measure == "pgd" else line["accuracy"]
            values.setdefault(line["method"], {})[line["seed"]] = 100 * score
    plain = values.pop("standard", {})
    found = {}
    for name, own in values.items():
        pairs = [own[seed] - plain[seed] for seed in sorted(own.keys() & plain.keys())]
        if pairs:
            found[name] = (sum(pairs) / len(pairs), t_interval(pairs))
    return found


def costs() -> dict[str, tuple[float, float]]:
    """By method: time and peak memory of a step, in those of a plain one."""
    path = RECORDS / "step_cost.json"
    rows = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return {r["method"]: (r["relative_time"], r["peak_memory_ratio"]) for r in rows if r["dtype"] == "float32"}


def methods_table() -> tuple[list[str], list[list[str]]]:
    """Head and lines: a method, what it gained over plain training, what a step costs."""
    clean, held, cost = gains("accuracy"), gains("pgd"), costs()
    lines = []
    for name in clean:
        time, memory = cost.get(name, (float("nan"), float("nan")))
        shown = [points(*clean[name]), points(*held[name])]
        lines.append([f"[{name}](methods/{name}.md)", *shown, f"{time:.1f}x", f"{memory:.2f}x"])
    return ["method", "clean accuracy", "under PGD", "time of a step", "peak memory"], lines


def decisions() -> tuple[list[str], list[list[str]]]:
    """Head and lines: goal, budget, what the records point to, and in words how far."""
    cost, lines = costs(), []
    for goal, measure in GOALS.items():
        found = gains(measure)
        for budget, most in BUDGETS.items():
            able = [name for name in found if cost.get(name, (most,))[0] <= most]
            if able:
                lines.append([goal, budget, *_choice(able, found)])
    lines += [*_studied(), *_online(), *_mixtures()]
    return ["goal", "budget", "take", "what our records say"], lines


def _choice(able: Sequence[str], found: dict[str, tuple[float, Interval | None]]) -> tuple[str, str]:
    """The methods whose interval lies above nought, the best mean first; or plain training if there is none."""
    above = [name for name in able if (limits := found[name][1]) and limits[0] > 0]
    best = max(above or able, key=lambda name: found[name][0])
    said = f"{_link(best)} {points(*found[best])}"
    if not above:
        return f"{_link('standard')}", f"nothing is shown to be better than plain training; the highest mean is {said}"
    others = sorted((name for name in above if name != best), key=lambda name: -found[name][0])
    more = f"; also above nought: {', '.join(map(_link, others))}" if others else ""
    return _link(best), f"{said}{more}"


def _studied() -> list[list[str]]:
    """What a study over several seeds found under each text attack, after its correction."""
    if not (STUDY / "records.jsonl").is_file():
        return []
    book = Book(STUDY)
    plain, better, said, open_under = str(book.study["baseline"]), list[str](), list[str](), list[str]()
    means = {(cell.arm, cell.measure): 100 * cell.spread.mean for cell in book.summary.cells}
    for measure in dict.fromkeys(cell.measure for cell in book.summary.cells if cell.measure.what == "attack"):
        compared = [cell for cell in book.summary.cells if cell.measure == measure and cell.comparison is not None]
        found = [cell.arm for cell in compared if cell.comparison is not None and cell.comparison.verdict == "better"]
        for arm in found:
            better.append(f"{arm} under {measure.name}")
            said.append(f"{better[-1]} {means[plain, measure]:.1f} → {means[arm, measure]:.1f}")
        open_under += [] if found else [measure.name]
    said += [f"nothing is shown under {listed(open_under)}"] if open_under else []
    rows = listed([f"{spec.get('limit', 'all')} rows of {name}" for name, spec in book.study["data"].items()])
    end = f"after Holm, {book.seeds}, {rows} ([study](results/families.md))"
    return [["text attacks", "any", "; ".join(better) or "nothing is shown", f"{'; '.join(said)}; {end}"]]


def _online() -> list[list[str]]:
    """Training on attacked rows beside plain training."""
    lines, rows = [], {row["online"]: row for row in lines_of("online_on_sst2.jsonl")}
    for name, row in rows.items():
        if name == "none":
            continue
        before, after = rows["none"]["under_attack"], row["under_attack"]
        better = [
            one for one in after if apart(before[one], after[one]) and after[one]["accuracy"] > before[one]["accuracy"]
        ]
        said = "; ".join(f"{one} {share(before[one])} → {share(after[one])}" for one in after)
        take = f"[`--online {name}`](input-space.md)"
        take = f"{take} under {', '.join(better)}" if better else f"nothing is shown for {take}"
        time = row["train_seconds"] / rows["none"]["train_seconds"]
        lines.append(["text attacks", f"{time:.1f}x the training", take, f"{said} (one seed)"])
    return lines


def _mixtures() -> list[list[str]]:
    """Mixtures and the adapter trained on all rows, beside the clean adapter."""
    lines, mixed = [], lines_of("mixture_on_real_data.jsonl")
    for task in dict.fromkeys(line["task"] for line in mixed):
        own, better, said = [line for line in mixed if line["task"] == task], [], []
        for attack in dict.fromkeys(line["attack"] for line in own):
            every = {model: pooled_share(own, model, attack) for model in ("plain", "union", "adpmixup")}
            pooled = {model: value for model, value in every.items() if value}
            shares = ", ".join(f"{model} {v[0]:.0f} ({v[1]:.0f}-{v[2]:.0f})" for model, v in pooled.items())
            missing = sorted({part for line in own if line["attack"] == attack for part in line["off"]})
            looser = f" (without {' and '.join(missing)})" if missing else ""
            said.append(f"{attack}{looser}: {shares}")
            better += [f"{name} under {attack}" for name in above_plain(pooled)]
        seconds = {m: mean([x["training_seconds"] for x in own if x["model"] == m]) for m in ("plain", "adpmixup")}
        budget = f"{seconds['adpmixup'] / seconds['plain']:.1f}x the training"
        take = f"[{', '.join(better)}](mixture.md)" if better else "nothing is shown for a [mixture](mixture.md)"
        lines.append([f"text attacks, small adapters ({task})", budget, take, "; ".join(said)])
    return lines


def above_plain(pooled: dict[str, tuple[float, float, float]]) -> list[str]:
    """The models whose interval lies above that of the plain one."""
    return [name for name, value in pooled.items() if "plain" in pooled and value[1] > pooled["plain"][2]]


def pooled_share(lines: list[dict[str, Any]], model: str, attack: str) -> tuple[float, float, float] | None:
    """Percent under attack over the rows of all seeds, with Wilson's interval; None if the model was not attacked."""
    own = [line for line in lines if line["model"] == model and line["attack"] == attack]
    total = sum(line["examples"] for line in own)
    if not total:
        return None
    right = round(sum(line["examples"] * line["under_attack"] for line in own))
    low, high = interval(right, total)
    return 100 * right / total, 100 * low, 100 * high


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Two accuracies whose intervals do not overlap."""
    return bool(one["interval"][1] < other["interval"][0] or other["interval"][1] < one["interval"][0])


def share(one: dict[str, Any]) -> str:
    """An accuracy in percent with its interval."""
    low, high = one["interval"]
    return f"{100 * one['accuracy']:.0f} ({100 * low:.0f}-{100 * high:.0f})"


def points(difference: float, limits: Interval | None) -> str:
    """A difference in points with its interval."""
    return f"{difference:+.1f}" + (f" ({limits[0]:+.1f} to {limits[1]:+.1f})" if limits else "")


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
