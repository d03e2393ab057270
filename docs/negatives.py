"""What the page of experiments that did not help says, from the records alone; a line goes when its record changes."""

from statistics import fmean
from typing import Any

from build_results import ROOT, verdict_of
from choices import gains, points, share, values_of
from older import benchmark, measured

MIXTURES = "mixture_on_real_data"
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
    rows, found = {row["online"]: row for row in benchmark("online_on_sst2")}, []
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
    """Tasks on which AdpMixup is not shown to be better than plain training, and than the same share for every text."""
    pairs, found = {pair.what: pair for pair in verdict_of("adpmixup", ROOT).pairs}, []
    tried = {"plain": "AdpMixup as the best trade-off", "constant": "Its gate, against the same share for every text"}
    for task in dict.fromkeys(line["task"] for line in benchmark(MIXTURES)):
        for other, title in tried.items():
            pair = pairs.get(f"AdpMixup against {other} on {task}")
            if pair is not None and pair.found.verdict != "better":
                said = f"trade-off {pair.numbers} against {other}: {pair.found.verdict} after Holm"
                found.append([f"{title} ({task})", said, "[AdpMixup](results/adpmixup.md)"])
    return found


def _speed() -> list[list[str]]:
    found = []
    for name in ("attack_throughput", "attack_throughput_float32"):
        rows = measured(name, {}).get("summary", [])
        slow = [row for row in rows if row["times_dynamic"] is not None and row["times_dynamic"] < 4]
        if slow:
            said = ", ".join(f"{row['recipe']} in {row['precision']} {row['times_dynamic']:.1f}x" for row in slow)
            found.append(
                ["Four times the speed of TextAttack that pads to the batch", f"not reached: {said}", f"{name}.json"]
            )
    return found


def _drift() -> list[str]:
    row = next((row for row in benchmark("attacks_on_sst2") if row["recipe"] == "textfooler"), None)
    if not row:
        return []
    said = f"of {row['examples']} examples, {row['violations']} have a text that fails it against the original"
    return [
        "TextFooler's similarity, which it measures against the text as it is by then",
        said,
        "attacks_on_sst2.jsonl",
    ]


def apart(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Two accuracies whose intervals do not overlap."""
    return bool(one["interval"][1] < other["interval"][0] or other["interval"][1] < one["interval"][0])


def _neurons() -> list[str]:
    models = measured("neurons", {}).get("models", {})
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
    rows = [row for row in benchmark("alum_stages") if row["kind"] == "pretrain"]
    found = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        losses = {}
        for arm in ("alum", "standard-passes"):
            own = [row["held_out"]["loss"] for row in rows if (row["stage"], row["arm"]) == (stage, arm)]
            losses[arm] = fmean(own) if own else None
        alum, plain = losses["alum"], losses["standard-passes"]
        if alum is not None and plain is not None and alum > plain:
            said = f"{alum:.3f}, and {plain:.3f} by plain training with as many passes"
            found.append([f"A lower held-out loss by ALUM in pre-training ({stage})", said, "alum_stages.jsonl"])
    return found


def _null_studies() -> list[list[str]]:
    every = measured("null_studies", {}).get("scenarios", [])
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
