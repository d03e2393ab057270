"""What the page of experiments that did not help says, from the records alone; a line goes when its record changes."""

import json
from typing import Any

from choices import RECORDS, apart, gains, lines_of, mean, points, share, values_of

from sparring.evaluate.metrics import interval

MIXTURES = "mixture_on_real_data.jsonl"
_KEY = "family_wise_error"


def negatives() -> tuple[list[str], list[list[str]]]:
    """Head and lines: what was tried, what came out, and the record that says so."""
    found = [_clean_gains(), *_online(), *_mixtures(), *_speed(), _drift(), _neurons(), *_stages(), *_null_studies()]
    return ["tried", "came out", "record"], [line for line in found if line]


def _clean_gains() -> list[str]:
    found = gains(values_of("accuracy"))
    above = [name for name, one in found.items() if one.verdict == "better"]
    best = max(found, key=lambda name: found[name].difference)
    said = f"{len(above)} of {len(found)} methods are shown to be better, after Holm; "
    said += f"the highest mean is {best}'s, {points(found[best])} points"
    return ["Better clean accuracy by an adversary (SST-2, 3 seeds)", said, "methods_on_sst2.jsonl"]


def _online() -> list[list[str]]:
    rows, found = {row["online"]: row for row in lines_of("online_on_sst2.jsonl")}, []
    for name, row in rows.items():
        pairs = [(attack, rows["none"]["under_attack"][attack], one) for attack, one in row["under_attack"].items()]
        if name != "none" and not any(apart(before, after) for _, before, after in pairs):
            said = "; ".join(f"{attack} {share(before)} → {share(after)}" for attack, before, after in pairs)
            said = (
                f"all intervals overlap: {said}; {row['train_seconds'] / rows['none']['train_seconds']:.1f}x the time"
            )
            found.append([f"Training with `--online {name}` (one seed)", said, "online_on_sst2.jsonl"])
    return found


def _mixtures() -> list[list[str]]:
    mixed, found = lines_of(MIXTURES), []
    for task in dict.fromkeys(line["task"] for line in mixed):
        own = [line for line in mixed if line["task"] == task]
        pooled: dict[str, dict[str, tuple[float, float, float]]] = {}
        for attack in dict.fromkeys(line["attack"] for line in own):
            every = {model: pooled_share(own, model, attack) for model in ("plain", "union", "adpmixup", "constant")}
            pooled[attack] = {model: value for model, value in every.items() if value}
        better = [attack for attack, values in pooled.items() if "adpmixup" in above_plain(values)]
        said = f"above the clean adapter's interval under {len(better)} of {len(pooled)} attacks; clean accuracy "
        names = [name for name in ("plain", "union", "adpmixup") if any(line["model"] == name for line in own)]
        said += ", ".join(f"{m} {mean([100 * x['clean'] for x in own if x['model'] == m]):.1f}" for m in names)
        found.append([f"AdpMixup as the best trade-off ({task})", said, MIXTURES])
        same = [attack for attack, values in pooled.items() if _overlap(values, "adpmixup", "constant")]
        said = f"intervals overlap under {len(same)} of {len(pooled)} attacks"
        found.append([f"Its gate, against the same share for every text ({task})", said, MIXTURES])
    return found


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


def _overlap(values: dict[str, tuple[float, float, float]], one: str, other: str) -> bool:
    if one not in values or other not in values:
        return False
    return values[one][1] <= values[other][2] and values[other][1] <= values[one][2]


def _speed() -> list[list[str]]:
    found = []
    for name in ("attack_throughput.json", "attack_throughput_float32.json"):
        rows = _record(name).get("summary", [])
        slow = [row for row in rows if row["times_dynamic"] is not None and row["times_dynamic"] < 4]
        if slow:
            said = ", ".join(f"{row['recipe']} in {row['precision']} {row['times_dynamic']:.1f}x" for row in slow)
            found.append(["Four times the speed of TextAttack that pads to the batch", f"not reached: {said}", name])
    return found


def _drift() -> list[str]:
    row = next((row for row in lines_of("attacks_on_sst2.jsonl") if row["recipe"] == "textfooler"), None)
    if not row:
        return []
    said = f"of {row['examples']} examples, {row['violations']} have a text that fails it against the original"
    return [
        "TextFooler's similarity, which it measures against the text as it is by then",
        said,
        "attacks_on_sst2.jsonl",
    ]


def _neurons() -> list[str]:
    models = _record("neurons.json").get("models", {})
    sizes = {name: (one["minimal"]["size"], *one["bootstrap"]["size"]) for name, one in models.items()}
    if not sizes or max(low for _, low, _ in sizes.values()) > min(high for _, _, high in sizes.values()):
        return []
    said = ", ".join(f"{name} {size} ({low}-{high})" for name, (size, low, high) in sizes.items())
    return [
        "A difference in how many neurons are needed, before and after fine-tuning",
        f"intervals overlap: {said}",
        "neurons.json",
    ]


def _stages() -> list[list[str]]:
    """Stages at which pre-training with ALUM leaves a higher loss than as many passes of plain training."""
    rows = [row for row in lines_of("alum_stages.jsonl") if row["kind"] == "pretrain"]
    found = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        losses = {}
        for arm in ("alum", "standard-passes"):
            own = [row["held_out"]["loss"] for row in rows if (row["stage"], row["arm"]) == (stage, arm)]
            losses[arm] = mean(own) if own else None
        alum, plain = losses["alum"], losses["standard-passes"]
        if alum is not None and plain is not None and alum > plain:
            said = f"{alum:.3f}, and {plain:.3f} by plain training with as many passes"
            found.append([f"A lower held-out loss by ALUM in pre-training ({stage})", said, "alum_stages.jsonl"])
    return found


def _null_studies() -> list[list[str]]:
    every = _record("null_studies.json").get("scenarios", [])
    loose, weak = ([one for one in every if test(one)] for test in (_is_loose, _is_weak))
    found = []
    if loose:
        said = ", ".join(f"{one['seeds']} seeds, spread {one['seed_sd']}: {100 * one[_KEY]:.0f} %" for one in loose)
        found.append(["Claims without an effect in at most 5 % of studies", f"not where {said}", "null_studies.json"])
    if weak:
        said = f"less than half of the time in {len(weak)} of {len(every)} simulated settings"
        found.append(["Finding a difference of ten points in a small study", said, "null_studies.json"])
    return found


def _is_loose(one: dict[str, Any]) -> bool:
    return bool(one[_KEY] > 0.05)


def _is_weak(one: dict[str, Any]) -> bool:
    return bool(one["power_of_10_points"] < 0.5)


def _record(name: str) -> dict[str, Any]:
    path = RECORDS / name
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found
