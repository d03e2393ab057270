"""What the page on choosing a method says, from the records alone: gains, their uncertainty, and words for them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparring.evaluate.metrics import interval
from sparring.study.statistics import Interval, t_interval

RECORDS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
PGD_RADIUS = "0.03x"
BUDGETS = {"at most 2.5x": 2.5, "at most 3.5x": 3.5, "any": float("inf")}
"""Budgets by the measured time of a step in float32, in plain steps."""
GOALS = {"clean accuracy": "accuracy", "moved embeddings": "pgd"}


def gains(measure: str) -> dict[str, tuple[float, Interval | None]]:
    """By method: mean difference to `standard` over the seeds that both have, and its t-interval, in points."""
    values: dict[str, dict[int, float]] = {}
    for line in _lines("methods_on_sst2.jsonl"):
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
        shown = [_points(*clean[name]), _points(*held[name])]
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
    lines += _attacked()
    return ["goal", "budget", "take", "what our records say"], lines


def _choice(able: Sequence[str], found: dict[str, tuple[float, Interval | None]]) -> tuple[str, str]:
    """The methods whose interval lies above nought, the best mean first; or plain training if there is none."""
    above = [name for name in able if (limits := found[name][1]) and limits[0] > 0]
    best = max(above or able, key=lambda name: found[name][0])
    said = f"{_link(best)} {_points(*found[best])}"
    if not above:
        return f"{_link('standard')}", f"nothing is shown to be better than plain training; the highest mean is {said}"
    others = sorted((name for name in above if name != best), key=lambda name: -found[name][0])
    more = f"; also above nought: {', '.join(map(_link, others))}" if others else ""
    return _link(best), f"{said}{more}"


def _attacked() -> list[list[str]]:
    """Text attacks: training on attacked rows, and mixtures, each beside plain training of the same record."""
    lines = []
    rows = {row["online"]: row for row in _lines("online_on_sst2.jsonl")}
    if "none" in rows:
        for name, row in rows.items():
            if name != "none":
                said = [
                    f"{attack} {_share(rows['none']['under_attack'][attack])} → {_share(one)}"
                    for attack, one in row["under_attack"].items()
                ]
                apart = [a for a, one in row["under_attack"].items() if _apart(rows["none"]["under_attack"][a], one)]
                end = f"intervals are apart under {', '.join(apart)}" if apart else "every pair of intervals overlaps"
                lines.append(
                    ["text attacks", f"{row['train_seconds'] / rows['none']['train_seconds']:.1f}x the training",
                     f"nothing is shown for [`--online {name}`](input-space.md)" if not apart else
                     f"[`--online {name}`](input-space.md)", f"{'; '.join(said)} (one seed); {end}"]
                )  # fmt: skip
    mixed = _lines("mixture_on_real_data.jsonl")
    for task in dict.fromkeys(line["task"] for line in mixed):
        own, better, said = [line for line in mixed if line["task"] == task], set(), []
        for attack in dict.fromkeys(line["attack"] for line in own):
            pooled = {model: value for model in ("plain", "union", "adpmixup") if (value := _pooled(own, model, attack))}
            shares = ", ".join(f"{model} {v[0]:.0f} ({v[1]:.0f}-{v[2]:.0f})" for model, v in pooled.items())
            said.append(f"{attack}: {shares}")
            better |= {f"{name} under {attack}" for name in above_plain(pooled)}
        seconds = {m: _mean([x["training_seconds"] for x in own if x["model"] == m]) for m in ("plain", "adpmixup")}
        budget = f"{seconds['adpmixup'] / seconds['plain']:.1f}x the training"
        take = f"[{', '.join(sorted(better))}](mixture.md)" if better else "nothing is shown for a [mixture](mixture.md)"
        lines.append([f"text attacks on small adapters ({task})", budget, take, "; ".join(said)])
    return lines


def above_plain(pooled: dict[str, tuple[float, float, float]]) -> list[str]:
    """The models whose interval lies above that of the plain one."""
    return [name for name, value in pooled.items() if "plain" in pooled and value[1] > pooled["plain"][2]]


def _pooled(lines: list[dict[str, Any]], model: str, attack: str) -> tuple[float, float, float] | None:
    """Percent under attack over the rows of all seeds, with Wilson's interval; None if the model was not attacked."""
    own = [line for line in lines if line["model"] == model and line["attack"] == attack]
    total = sum(line["examples"] for line in own)
    if not total:
        return None
    right = round(sum(line["examples"] * line["under_attack"] for line in own))
    low, high = interval(right, total)
    return 100 * right / total, 100 * low, 100 * high


def _apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["interval"][1] < other["interval"][0] or other["interval"][1] < one["interval"][0])


def _share(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{100 * one['accuracy']:.0f} ({100 * low:.0f}-{100 * high:.0f})"


def _points(mean: float, limits: Interval | None) -> str:
    return f"{mean:+.1f}" + (f" ({limits[0]:+.1f} to {limits[1]:+.1f})" if limits else "")


def _link(name: str) -> str:
    return f"[{name}](methods/{name}.md)"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _lines(name: str) -> list[dict[str, Any]]:
    path = RECORDS / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


# what did not help


def negatives() -> tuple[list[str], list[list[str]]]:
    """Head and lines: what was tried, what came out, and the record that says so."""
    lines = [_clean_gains(), *_online(), *_mixtures(), *_speed(), _drift(), _neurons(), *_null_studies()]
    return ["tried", "came out", "record"], [line for line in lines if line]


def _clean_gains() -> list[str]:
    found = gains("accuracy")
    above = [name for name, (_, limits) in found.items() if limits and limits[0] > 0]
    best = max(found, key=lambda name: found[name][0])
    said = f"{len(above)} of {len(found)} methods have an interval above nought; the highest mean is {best}'s, "
    return ["Better clean accuracy by an adversary (SST-2, 3 seeds)", f"{said}{_points(*found[best])} points",
            "methods_on_sst2.jsonl"]  # fmt: skip


def _online() -> list[list[str]]:
    rows, lines = {row["online"]: row for row in _lines("online_on_sst2.jsonl")}, []
    for name, row in rows.items():
        pairs = [(attack, rows["none"]["under_attack"][attack], one) for attack, one in row["under_attack"].items()]
        if name != "none" and not any(_apart(before, after) for _, before, after in pairs):
            said = "; ".join(f"{attack} {_share(before)} → {_share(after)}" for attack, before, after in pairs)
            time = row["train_seconds"] / rows["none"]["train_seconds"]
            lines.append([f"Training with `--online {name}` (one seed)",
                          f"all intervals overlap: {said}; {time:.1f} times the time", "online_on_sst2.jsonl"])  # fmt: skip
    return lines


def _mixtures() -> list[list[str]]:
    mixed, lines = _lines("mixture_on_real_data.jsonl"), []
    for task in dict.fromkeys(line["task"] for line in mixed):
        own = [line for line in mixed if line["task"] == task]
        attacks = list(dict.fromkeys(line["attack"] for line in own))
        pooled = {a: {m: v for m in ("plain", "union", "adpmixup", "constant") if (v := _pooled(own, m, a))} for a in attacks}
        better = [attack for attack in attacks if "adpmixup" in above_plain(pooled[attack])]
        clean = {m: _mean([100 * x["clean"] for x in own if x["model"] == m]) for m in ("plain", "union", "adpmixup")}
        said = f"its interval lies above the clean adapter's under {len(better)} of {len(attacks)} attacks; clean accuracy "
        said += ", ".join(f"{model} {value:.1f}" for model, value in clean.items())
        lines.append([f"AdpMixup as the best trade-off ({task})", said, "mixture_on_real_data.jsonl"])
        same = [a for a in attacks if {"adpmixup", "constant"} <= pooled[a].keys()
                and pooled[a]["adpmixup"][1] <= pooled[a]["constant"][2] and pooled[a]["constant"][1] <= pooled[a]["adpmixup"][2]]  # fmt: skip
        lines.append([f"Its gate against the same share for every text ({task})",
                      f"intervals overlap under {len(same)} of {len(attacks)} attacks", "mixture_on_real_data.jsonl"])  # fmt: skip
    return lines


def _speed() -> list[list[str]]:
    lines = []
    for name in ("attack_throughput.json", "attack_throughput_float32.json"):
        path = RECORDS / name
        rows = json.loads(path.read_text("utf-8"))["summary"] if path.is_file() else []
        slow = [row for row in rows if row["times_dynamic"] is not None and row["times_dynamic"] < 4]
        if slow:
            said = ", ".join(f"{row['recipe']} in {row['precision']} {row['times_dynamic']:.1f}" for row in slow)
            lines.append(["Four times the speed of TextAttack that pads to the batch", f"not reached: {said}", name])
    return lines


def _drift() -> list[str]:
    row = next((row for row in _lines("attacks_on_sst2.jsonl") if row["recipe"] == "textfooler"), None)
    if not row:
        return []
    said = f"{row['violations']} of {row['examples']} fail it when the whole text is held against the original"
    return ["TextFooler's similarity, checked against the text as it is by then", said, "attacks_on_sst2.jsonl"]


def _neurons() -> list[str]:
    path = RECORDS / "neurons.json"
    if not path.is_file():
        return []
    sizes = {k: (m["minimal"]["size"], *m["bootstrap"]["size"]) for k, m in json.loads(path.read_text("utf-8"))["models"].items()}
    said = ", ".join(f"{name} {size} ({low}-{high})" for name, (size, low, high) in sizes.items())
    overlap = max(low for _, low, _ in sizes.values()) <= min(high for _, _, high in sizes.values())
    if not overlap:
        return []
    return ["Fewer neurons needed after fine-tuning", f"intervals overlap: {said}", "neurons.json"]


def _null_studies() -> list[list[str]]:
    path = RECORDS / "null_studies.json"
    found = json.loads(path.read_text("utf-8"))["scenarios"] if path.is_file() else []
    loose = [one for one in found if one["family_wise_error"] > 0.05]
    weak = [one for one in found if one["power_of_10_points"] < 0.5]
    lines = []
    if loose:
        said = ", ".join(f"{one['seeds']} seeds, spread {one['seed_sd']}: {100 * one['family_wise_error']:.0f} %" for one in loose)
        lines.append(["Claims without an effect in at most 5 % of studies", f"not kept where {said}", "null_studies.json"])
    if weak:
        most = max(one["seeds"] for one in weak)
        said = f"less than half of the time in {len(weak)} of {len(found)} simulated settings, up to {most} seeds"
        lines.append(["Finding a difference of ten points", said, "null_studies.json"])
    return lines
