"""Records of benchmarks that are about a study's claim: shown on its page, deciding only where a study has none."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabled import aligned

from sparring.study.figures import Figure, Seeds
from sparring.study.sentences import count
from sparring.study.tables import Markdown

RECORDS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
TO = Markdown()


def older_runs(names: Sequence[str]) -> list[str]:
    """From benchmarks/results/methods_on_sst2.jsonl: accuracy, accuracy under PGD and cost of some methods."""
    lines = benchmark("methods_on_sst2")
    rows = []
    for name in names:
        own = [one for one in lines if (one["method"], one["preset"], one["settings"]) == (name, "default", {})]
        if own:
            clean, under = ([one["accuracy"] for one in own], [one["pgd"]["0.03x"] for one in own])
            cost = [
                str(round(float(np.mean([one[key] for one in own])))) for key in ("train_seconds", "forward_passes")
            ]
            rows.append([name, shares(clean), shares(under), *cost, str(len(own))])
    if not rows:
        return []
    head = ["method", "accuracy", "under PGD on embeddings", "seconds", "forward passes", "seeds"]
    return [
        "## Older records",
        "",
        "SST-2, 1,000 training rows, MiniLM, default settings, equal epochs; mean ± standard deviation over seeds, in "
        "%. They decide nothing about the claim: nothing was searched for, and passes differ.",
        "",
        *aligned(head, rows),
        "Records: `benchmarks/results/methods_on_sst2.jsonl`, by `python benchmarks/methods_on_sst2.py --data sst2`.",
        "",
    ]


def benchmark_trade_offs() -> dict[str, dict[str, Seeds]]:
    """Task -> model -> seeds, of models under all attacks: mean of clean accuracy and that under each attack.

    And the same of the attacks that were not trained on.
    """
    lines, found = benchmark("mixture_on_real_data"), dict[str, dict[str, Seeds]]()
    for task in dict.fromkeys(one["task"] for one in lines):
        of_task = [one for one in lines if one["task"] == task]
        for title, own in (
            (task, of_task),
            (f"{task} under unknown attacks", [one for one in of_task if not one["known"]]),
        ):
            attacks = {one["attack"] for one in own}
            for one in own:
                same = [other for other in own if (other["model"], other["seed"]) == (one["model"], one["seed"])]
                if {other["attack"] for other in same} == attacks:
                    values = [np.mean([other["clean"], other["under_attack"]]) for other in same]
                    figure = Figure(np.array([np.mean(values)]), f"{task} {one['seed']}", ())
                    found.setdefault(title, {}).setdefault(one["model"], {})[one["seed"]] = figure
    return found


def adpmixup_table() -> list[str]:
    """The records of the benchmark by task, model and attack."""
    lines, trades, out = benchmark("mixture_on_real_data"), benchmark_trade_offs(), list[str]()
    for task in dict.fromkeys(one["task"] for one in lines):
        own = [one for one in lines if one["task"] == task]
        attacks = list(dict.fromkeys((one["attack"], one["known"]) for one in own))
        rows = []
        for model in dict.fromkeys(one["model"] for one in own):
            of = [one for one in own if one["model"] == model]
            first = [one for one in of if one["attack"] == attacks[0][0]]
            under = [[one["under_attack"] for one in of if one["attack"] == attack] for attack, _ in attacks]
            trade = trades.get(task, {}).get(model, {})
            seconds = np.mean([one["training_seconds"] for one in of])
            cells = [shares([one["clean"] for one in first]), *(shares(one) if one else "" for one in under)]
            mean = shares([float(figure.values[0]) for figure in trade.values()]) if trade else ""
            rows.append([model, *cells, mean, f"{seconds:.0f}", f"{max(one['trained_parameters'] for one in of):,}"])
        seeds, examples = {one["seed"] for one in own}, own[0]["examples"]
        head = ["model", "clean", *(f"{name}{'' if known else ' (unknown)'}" for name, known in attacks)]
        given = ", ".join(f"{name} {value}" for name, value in own[0]["settings"].items() if value is not None)
        out += [
            f"**{TO.text(task)}**: {count(len(seeds), 'seed')}, {examples} test rows each ({TO.text(given)}). Mean ± "
            "standard deviation over seeds, in %; the trade-off is the mean of clean accuracy and accuracy under an "
            "attack, over all attacks.",
            "",
            *aligned([*head, "trade-off", "training s", "trained parameters"], rows),
        ]
    if out:
        out = ["## Older records", "", *out]
        out += [
            "Records: `benchmarks/results/mixture_on_real_data.jsonl`, by `python benchmarks/mixture_on_real_data.py`.",
            "",
            "![Shares of the clean adapter on clean and attacked texts](../mixing.svg)",
            "",
            "The picture is of one mixture, with other settings: see [adapter mixtures](../mixture.md).",
            "",
        ]
    return out


def benchmark(name: str) -> list[dict[str, Any]]:
    """Lines of a file of benchmarks/results; none if it is not there."""
    path = RECORDS / f"{name}.jsonl"
    return [json.loads(one) for one in path.read_text("utf-8").splitlines() if one.strip()] if path.is_file() else []


def measured(name: str, nothing: Any) -> Any:
    """The values of a JSON file of benchmarks/results; `nothing` if it is not there."""
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else nothing


def shares(values: Sequence[float]) -> str:
    """ "83.2 ± 0.4"."""
    deviation = f" ± {100 * float(np.std(values, ddof=1)):.1f}" if len(values) > 1 else ""
    return f"{100 * float(np.mean(values)):.1f}{deviation}"
