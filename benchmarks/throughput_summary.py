"""What the measurements of attack_throughput.py come to."""

import statistics
from typing import Any


def figures(lines: list[dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    """What one run comes to."""
    attacked = [line for line in lines if line["status"] != "skipped"]
    queries = sum(line["queries"] for line in lines)
    seconds = found["seconds"]
    kept = (
        "victim_texts",
        "victim_calls",
        "largest_batch",
        "repeats",
        "foreign_cores",
        "threads",
        "seconds_by_service",
    )
    return {
        "examples": len(lines),
        "seconds": seconds,
        "examples_per_minute": 60 * len(lines) / seconds,
        "queries_per_second": queries / seconds,
        "queries_per_example": statistics.mean(line["queries"] for line in attacked),
        "clean_accuracy": len(attacked) / len(lines),
        "accuracy_under_attack": sum(line["status"] == "failed" for line in lines) / len(lines),
        "share_inside_victim": found["victim_seconds"] / seconds,
        "versions": found["versions"],
        **{name: found[name] for name in kept if name in found},
    }


def summarise(runs: list[dict[str, Any]], forward: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a recipe and precision of this library, beside both of TextAttack."""

    def of(recipe: str, side: str) -> dict[int, dict[str, Any]]:
        return {run["round"]: run for run in runs if run["recipe"] == recipe and run["side"] == side}

    rows = []
    for recipe in dict.fromkeys(run["recipe"] for run in runs):
        dynamic, shipped = of(recipe, "textattack dynamic"), of(recipe, "textattack shipped")
        for precision in ("bfloat16", "float32"):
            ours = of(recipe, f"sparring {precision}")
            if not ours:
                continue
            alone: dict[str, dict[int, float]] = {}
            for run in forward:
                if run["recipe"] == recipe:
                    alone.setdefault(run["precision"], {})[run["round"]] = run["best"]
            rows.append(
                {
                    "recipe": recipe,
                    "precision": precision,
                    "sparring": middle(ours),
                    "textattack_dynamic": middle(dynamic),
                    "textattack_shipped": middle(shipped),
                    "times_dynamic": ratio(ours, dynamic),
                    "times_shipped": ratio(ours, shipped),
                    "victim_alone_texts_per_second": {
                        name: statistics.median(rates.values()) for name, rates in alone.items()
                    },
                    "share_of_victim_alone": {name: share(ours, rates) for name, rates in alone.items()},
                    "accuracy_difference": difference(ours, dynamic, "accuracy_under_attack"),
                    "queries_ratio": quotient(ours, dynamic, "queries_per_example"),
                }
            )
    return rows


MIDDLE = (
    "examples_per_minute",
    "queries_per_second",
    "queries_per_example",
    "accuracy_under_attack",
    "share_inside_victim",
    "largest_batch",
    "foreign_cores",
)


def middle(runs: dict[int, dict[str, Any]]) -> dict[str, float]:
    """Medians over rounds."""
    return {name: statistics.median(run[name] for run in runs.values()) for name in MIDDLE} if runs else {}


def ratio(ours: dict[int, dict[str, Any]], theirs: dict[int, dict[str, Any]]) -> float | None:
    """Examples a minute, ours over theirs: median over the rounds that both have."""
    rates = [ours[t]["examples_per_minute"] / theirs[t]["examples_per_minute"] for t in ours if t in theirs]
    return statistics.median(rates) if rates else None


def share(ours: dict[int, dict[str, Any]], alone: dict[int, float]) -> float:
    """Texts a second that the attack's candidates went through the victim with, of what it does by itself in the same
    round, at the best batch size of that round: median over rounds."""
    return statistics.median(
        run["victim_texts"] / run["seconds"] / alone[turn] for turn, run in ours.items() if turn in alone
    )


def difference(ours: dict[int, dict[str, Any]], theirs: dict[int, dict[str, Any]], name: str) -> float | None:
    """Ours minus theirs, means over rounds: each round has a seed of its own."""
    return mean(ours, name) - mean(theirs, name) if ours and theirs else None


def quotient(ours: dict[int, dict[str, Any]], theirs: dict[int, dict[str, Any]], name: str) -> float | None:
    """Ours over theirs, means over rounds."""
    return mean(ours, name) / mean(theirs, name) if ours and theirs else None


def mean(runs: dict[int, dict[str, Any]], name: str) -> float:
    return statistics.mean(run[name] for run in runs.values())
