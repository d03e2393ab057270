"""Fill the generated blocks of the documentation: `python docs/build_cards.py`, or `--check` to change nothing."""

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

from choices import decisions, methods_table
from negatives import negatives
from older import benchmark, measured
from stages import gpu_table, stages_tables
from tabled import table

from sparring.cite.entries import bibliography
from sparring.evaluate.metrics import interval
from sparring.methods import METHODS, Method

DOCS = Path(__file__).resolve().parent
EFFECT = ["preset", "size", "divergence", "random_divergence", "loss_change", "random_loss_change"]
PGD_RADIUS = "0.03x"
RESULTS = ["method", "accuracy", "pgd", "divergence", "train_seconds", "forward_passes", "seeds"]
GROUPING = ["data", "rows", "tokens", "padded", "padded_grouped", "times_faster"]
FREED = ["data", "batch_size", "times_faster", "peak_memory_ratio"]
COST = ["method", "dtype", "relative_time", "bound", "measured_over_bound", "peak_memory_ratio"]


def settings_table(method: type[Method]) -> str:
    """Name, default, printed value where it differs, meaning, range."""
    hints, rows = get_type_hints(method), []
    for f in dataclasses.fields(method):
        printed = method.printed.get(f.name, f.default)
        two = [_value(f.default), "" if printed == f.default else _value(printed)]
        rows.append([f"`{f.name}`", *two, f.metadata["help"], _allowed(hints[f.name], f)])
    return table(["setting", "default", "printed", "meaning", "range"], rows) if rows else "There are no settings."


def record_table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """Some columns of records and the commands that measured them; nothing if there are no records."""
    lines = [[_value(row.get(name)) for name in columns] for row in rows]
    commands = sorted({row["command"] for row in rows if "command" in row})
    measured = "".join(f"\n\nMeasured with `{command}`." for command in commands)
    return table([name.replace("_", " ") for name in columns], lines) + measured if rows else ""


def with_class_columns(text: str) -> str:
    """The table of methods with its last four cells (passes, accumulates, site, dropout) as the classes have them."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if (named := re.match(r"\| \[(\w+)\]\(", line)) and named[1] in METHODS:
            m = METHODS[named[1]]()
            last = [m.cost, "yes" if m.accumulates else "no", m.site, m.dropout]
            lines[i] = "|".join([*line.split("|")[:-5], *(f" {cell} " for cell in last), ""])
    return "\n".join(lines)


def summary() -> list[dict[str, Any]]:
    """One row a method and preset: means over the seeds of benchmarks/results/methods_on_sst2.jsonl."""
    records = benchmark("methods_on_sst2")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        if not record["settings"]:  # runs with other settings are ablations, reported where they matter
            flat = {**record, **record["effect"], "pgd": record["pgd"][PGD_RADIUS]}
            groups.setdefault((record["method"], record["preset"]), []).append(flat)
    rows = []
    for (method, preset), group in sorted(groups.items(), key=lambda item: list(METHODS).index(item[0][0])):
        means = {k: sum(r[k] for r in group) / len(group) for k, v in group[0].items() if isinstance(v, int | float)}
        command = "python benchmarks/methods_on_sst2.py --data sst2" + (" --preset printed" * (preset == "printed"))
        rows.append({**means, "method": method, "preset": preset, "seeds": len(group), "command": command})
    return rows


def pages() -> dict[Path, str]:
    """Every page with what stands between `<!-- name -->` and `<!-- /name -->` filled in from code and records."""
    runs, index, cost, results = summary(), DOCS / "methods" / "index.md", DOCS / "cost.md", DOCS / "methods-on-sst2.md"
    new = {index: with_class_columns(index.read_text("utf-8"))}
    new[results] = _filled(results.read_text("utf-8"), "results-table", record_table(runs, RESULTS))
    new[cost] = _filled(cost.read_text("utf-8"), "cost-table", record_table(measured("step_cost", []), COST))
    new[cost] = _filled(new[cost], "grouping-table", record_table(measured("grouping", []), GROUPING))
    new[cost] = _filled(new[cost], "freed-table", record_table(measured("freed_memory", []), FREED))
    attacks = DOCS / "attacks.md"
    new[attacks] = _filled(attacks.read_text("utf-8"), "attacks-table", attacks_table())
    new[attacks] = _filled(new[attacks], "masked-lm", masked_lm())
    for name in ("throughput", "throughput-float32"):
        record: Any = measured(f"attack_{name.replace('-', '_')}", [])
        new[attacks] = _filled(new[attacks], f"{name}-table", throughput_table(record))
    online = DOCS / "input-space.md"
    new[online] = _filled(online.read_text("utf-8"), "online-table", online_table())
    neurons, studies = DOCS / "neurons.md", DOCS / "study.md"
    new[neurons] = _filled(neurons.read_text("utf-8"), "neurons-table", neurons_table())
    new[studies] = _filled(studies.read_text("utf-8"), "null-studies-table", null_studies_table())
    mixture = DOCS / "mixture.md"
    new[mixture] = _filled(mixture.read_text("utf-8"), "mixture-cost-table", mixture_cost_table())
    new[mixture] = _filled(new[mixture], "mixture-results", mixture_results())
    stages = DOCS / "pretraining.md"
    new[stages] = _filled(stages.read_text("utf-8"), "scored-rows-table", scored_rows_table())
    new[stages] = _filled(new[stages], "pretrain-table", pretrain_table())
    new[stages] = _filled(new[stages], "pretrain-gpu", gpu_table())
    new[stages] = _filled(new[stages], "stages-tables", stages_tables())
    choose = DOCS / "choose.md"
    new[choose] = _filled(choose.read_text("utf-8"), "choices", table(*decisions()))
    new[choose] = _filled(new[choose], "gains", table(*methods_table()))
    log = DOCS / "experiments.md"
    new[log] = _filled(log.read_text("utf-8"), "negatives", table(*negatives()))
    package = DOCS / "dependencies.md"
    new[package] = _filled(package.read_text("utf-8"), "package", package_tables())
    for name, method in METHODS.items():
        card, own = DOCS / "methods" / f"{name}.md", [row for row in runs if row["method"] == name]
        new[card] = _filled(card.read_text("utf-8"), "settings", settings_table(method))
        new[card] = _filled(new[card], "effect-table", record_table(own, EFFECT))
        papers = "\n".join(entry.bibtex for entry in bibliography().of([("method", name)]))
        new[card] = _filled(new[card], "cite", papers and f"```bibtex\n{papers}\n```")
    return new


def attacks_table() -> str:
    """One row a recipe, shares in percent; nothing if there are no records."""
    rows = benchmark("attacks_on_sst2")
    lines = []
    for row in rows:
        held = f"{_percent(row['under_attack'])} ({_percent(row['low'])}-{_percent(row['high'])})"
        similar = "" if row["similarity"] is None else f"{row['similarity']:.2f}"
        figures = [f"{row['queries']:.0f}", similar, f"{row['seconds']:.0f}"]
        lines.append([row["recipe"], str(row["examples"]), _percent(row["clean"]), held])
        lines[-1] += [_percent(row["success_rate"]), str(row["violations"]), _percent(row["words_changed"]), *figures]
    head = ["recipe", "examples", "clean %", "under attack % (95 %)", "broken %", "marked", "words %", "queries"]
    commands = "".join(f"\n\nMeasured with `{command}`." for command in sorted({row["command"] for row in rows}))
    return table([*head, "similarity", "seconds"], lines) + commands if rows else ""


def masked_lm() -> str:
    """How good the masked language model of the attacks is."""
    record: Any = measured("masked_lm", [])
    if not record:
        return ""
    share = record["after"]["imdb_unlabelled.jsonl"]["accuracy"]
    minutes = f"{record['seconds'] / 60:.0f} minutes"
    return f"It was trained for {minutes} and guesses {_percent(share)} % of the masked tokens of held-out reviews."


def mixture_cost_table() -> str:
    """Prediction of a mixture in plain forward passes; nothing if there is no record."""
    record: Any = measured("mixture_cost", [])
    if not record:
        return ""
    head = ["adapters", "mixed", "attacks", "plain forwards", "m + 2", "peak memory", "kB for one more attack"]
    lines = []
    for row in record["rows"]:
        lines.append([row["kind"], row["space"], str(row["attacks"]), f"{row['plain_forwards']:.2f}"])
        bytes_more = row["bytes_on_disk_for_one_more_attack"]
        lines[-1] += [str(row["bound"]), f"{row['peak_ratio']:.1f}x", f"{bytes_more / 1000:.0f}"]
    return table(head, lines) + "\n\nMeasured with `python benchmarks/mixture_cost.py`."


def mixture_results() -> str:
    """A table a task: accuracy of each model under each attack over all seeds, with cost; nothing without records."""
    lines = benchmark("mixture_on_real_data")
    return "\n\n".join(
        _task_results(task, [line for line in lines if line["task"] == task])
        for task in dict.fromkeys(line["task"] for line in lines)
    )


def _task_results(task: str, lines: list[dict[str, Any]]) -> str:
    attacks = list(dict.fromkeys(line["attack"] for line in lines))
    titles = [f"{a}{'' if next(x['known'] for x in lines if x['attack'] == a) else ' (unknown)'}" for a in attacks]
    head = ["model", "clean", *titles, "textfooler, calibrated", "training s", "of it attacks", "parameters", "MB"]
    rows = []
    for model in dict.fromkeys(line["model"] for line in lines):
        own = [line for line in lines if line["model"] == model]
        under = [_pooled([x for x in own if x["attack"] == attack], "under_attack") for attack in attacks]
        costs = [max(x[key] for x in own) for key in ("trained_parameters", "bytes")]
        seconds = [sum(x[key] for x in own) / len(own) for key in ("training_seconds", "attack_seconds")]
        hot = [x for x in own if x["attack"] == "textfooler" and x["calibrated"] is not None]
        rows.append([model, _pooled([x for x in own if x["attack"] == attacks[0]], "clean"), *under])
        rows[-1] += [
            _pooled(hot, "calibrated"),
            *(f"{x:.0f}" for x in seconds),
            f"{costs[0]:,}",
            f"{costs[1] / 1e6:.1f}",
        ]
    seeds = sorted({line["seed"] for line in lines})
    count = sum(next(x["examples"] for x in lines if x["seed"] == seed) for seed in seeds)
    settings = ", ".join(f"{name} {value}" for name, value in lines[0]["settings"].items() if value is not None)
    return (
        f"**{task}**: {count} test rows over {len(seeds)} seeds ({settings}). Accuracy in percent with a 95 % Wilson "
        f"interval over all rows.\n\n{table(head, rows)}"
    )


def _pooled(lines: list[dict[str, Any]], key: str) -> str:
    """Accuracy over the rows of all seeds."""
    if not lines:
        return ""
    total = sum(line["examples"] for line in lines)
    right = round(sum(line["examples"] * line[key] for line in lines))
    low, high = interval(right, total)
    return f"{_percent(right / total)} ({100 * low:.0f}-{100 * high:.0f})"


def online_table() -> str:
    """Training with attacks on training rows, its control, and plain training; nothing without records."""
    rows, lines = benchmark("online_on_sst2"), []
    if not rows:
        return ""
    for row in rows:
        attacked = [one["seconds"] for one in row["attack_epochs"]]
        under = row["under_attack"]
        seconds = f"{sum(attacked) / len(attacked):.0f}" if attacked else ""
        shares = [_percent(row["dev_accuracy"]), *(_percent(one["accuracy"]) for one in under.values())]
        lines.append([row["online"], str(row["epochs"]), f"{row['train_seconds']:.0f}", seconds, *shares])
    names = [f"{name} %" for name in rows[0]["under_attack"]]
    head = ["online", "epochs", "seconds", "seconds an attack", "dev %", *names]
    about = f"{rows[0]['rows']} training rows, {rows[0]['examples']} test rows attacked, seed {rows[0]['seed']}"
    return table(head, lines) + f"\n\n{about}; measured with `{rows[0]['command']}`."


def neurons_table() -> str:
    """Of each model: probe, minimal set, layers; nothing without a record."""
    record: Any = measured("neurons", [])
    if not record:
        return ""
    lines = []
    for name, one in record["models"].items():
        low, high = one["bootstrap"]["size"]
        lines.append(
            [
                name,
                _percent(one["oracle"]["accuracy"]),
                f"{100 * one['control']['selectivity']:+.1f}",
                f"{one['minimal']['size']} ({low}-{high})",
                ", ".join(map(str, one["layer_profile"])),
                _percent(one["exclusive"]["alone"]),
                _percent(one["ablation"]["kept"]),
                _percent(one["ablation"]["removed"]),
                f"{one['seconds']:.0f}",
            ]
        )
    head = ["model", "accuracy %", "selectivity", "neurons needed (95 %)", "by layer, embeddings first"]
    head += ["one tag alone %", "set alone %", "without it %", "seconds"]
    one, pair = next(iter(record["models"].values())), record["pairs"][0]
    about = (
        f"{one['column']} of {one['corpus']}: {one['words']} words, {one['held_out_words']} of them held out; the most "
        f"frequent tag is {_percent(one['majority'])} %. {pair['shared']} neurons are in both sets: Jaccard "
        f"{pair['jaccard']:.2f}; by chance {pair['expected']:.2f} is expected. At most "
        f"{max(m['peak_memory'] for m in record['models'].values()) / 1e9:.2f} GB of memory, one thread, other work "
        f"beside it. Measured with `{record['command']}`."
    )
    return table(head, lines) + "\n\n" + about


def null_studies_table() -> str:
    """How often a study without effects claims one; nothing without a record."""
    record: Any = measured("null_studies", [])
    if not record:
        return ""
    keys = ["seeds", "seed_sd", "studies", "family_wise_error", "power_of_10_points", "coverage"]
    lines = [[_value(one[key]) for key in keys] for one in record["scenarios"]]
    return table([key.replace("_", " ") for key in keys], lines)


def package_tables() -> str:
    """Size of the wheel, time of imports and commands, what is installed; nothing without a record."""
    record: Any = measured("package", [])
    if not record:
        return ""
    times = [
        [f"`{one['what']}`", *(f"{one[key]:.2f}" for key in ("seconds", "cpu_seconds"))] for one in record["times"]
    ]
    sizes = [[one["name"], one["version"], f"{one['bytes'] / 1e6:.1f}"] for one in record["installed"]]
    embedded = f"of it {record['embedded_bytes'] / 1000:.0f} kB the embedded reviews"
    about = f"{record['rounds']} rounds in turns, medians, on {record['machine']}, Python {record['python']}"
    return (
        f"The wheel has {record['wheel_bytes'] / 1000:.0f} kB ({embedded}), the sdist "
        f"{record['sdist_bytes'] / 1000:.0f} kB; installed with all that it needs "
        f"{record['installed_bytes'] / 1e6:.0f} MB."
        f"\n\n{table(['what', 'seconds', 'of them processor'], times)}\n\n"
        f"{table(['largest packages', 'version', 'MB installed'], sizes)}\n\n"
        f"Measured with `{record['command']}`: {about}."
    )


def throughput_table(record: Any) -> str:
    """Examples a minute of both sides; nothing if there is no record."""
    if not record:
        return ""
    head = ["recipe", "precision", "examples a minute", "TextAttack, padded to the batch", "as shipped"]
    head += ["times faster", "times as shipped", "share of the victim alone"]
    head += ["under attack: ours - theirs", "queries: ours / theirs"]
    lines = []
    for row in record["summary"]:
        sides = ("sparring", "textattack_dynamic", "textattack_shipped")
        rates = [row[side].get("examples_per_minute") for side in sides]
        lines.append([row["recipe"], row["precision"], *(f"{rate:.0f}" if rate else "" for rate in rates)])
        lines[-1] += ["" if row[key] is None else f"{row[key]:.1f}" for key in ("times_dynamic", "times_shipped")]
        lines[-1].append(_percent(row["share_of_victim_alone"].get(row["precision"], 0)) + " %")
        lines[-1] += ["" if row["accuracy_difference"] is None else f"{100 * row['accuracy_difference']:+.1f} points"]
        lines[-1] += ["" if row["queries_ratio"] is None else f"{row['queries_ratio']:.2f}"]
    return table(head, lines) + f"\n\nMeasured with `{record['command']}`."


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def scored_rows_table() -> str:
    """Time and memory of the head on scored rows beside that on all rows; nothing without a record."""
    record: Any = measured("scored_rows", [])
    if not record:
        return ""
    lines = []
    for family, row in record["families"].items():
        rows, seconds, memory = (f"{row['scored_rows']} of {row['all_rows']}", row["seconds"], row["bytes"])
        cells = [f"{seconds['all']:.2f}", f"{seconds['scored']:.2f}", f"{row['speed_up']:.2f}"]
        cells += [f"{memory[which] / 2**20:.0f}" for which in ("all", "scored")]
        lines.append([family, rows, *cells, f"{max(row['largest_difference'].values()):.0e}"])
    head = ["family", "scored rows", "s, all rows", "s, scored", "times faster", "MiB, all rows", "MiB, scored"]
    about = "{size}, {batch} x {length} tokens, {threads} threads, float32".format(**record["settings"])
    return table([*head, "largest difference"], lines) + f"\n\n{about}; by `python benchmarks/scored_rows.py`."


def pretrain_table() -> str:
    """Tokens a second of pre-training, and how near the bound; nothing without a record."""
    lines = []
    for row in benchmark("pretrain_throughput"):
        what = (
            f"{row['family']} {row['size']}, {row['batch_size']} x {row['length']}, {row['precision']}, {row['device']}"
        )
        speeds = [f"{row['tokens_per_second'][name]:,.0f}" for name in ("standard", "alum")]
        lines.append([what, *speeds, f"{row['relative_time']:.2f}", f"{row['bound']:.2f}"])
        lines[-1].append(f"{row['measured_over_bound']:.2f}")
    head = ["run", "tokens/s, standard", "tokens/s, alum", "time of a step", "bound", "measured over bound"]
    return table(head, lines) + "\n\nBy `python benchmarks/pretrain_throughput.py`." if lines else ""


def _filled(text: str, name: str, body: str) -> str:
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return block.sub(lambda m: f"{m[1]}\n{body}\n\n{m[2]}", text) if body else text


def _value(x: Any) -> str:
    return str(x).lower() if isinstance(x, bool) else f"{x:.3g}" if isinstance(x, float) else str(x)


def _allowed(hint: Any, field: Any) -> str:
    low, high, above = (field.metadata[key] for key in ("low", "high", "above"))
    if choices := ["true", "false"] if hint is bool else [c for c in get_args(hint) if isinstance(c, str)]:
        return ", ".join(choices)
    return f"{low:g} to {high:g}" if high is not None else f"above {above:g}" if low is None else f"at least {low:g}"


if __name__ == "__main__":
    stale = {path: text for path, text in pages().items() if path.read_text("utf-8") != text}
    if "--check" in sys.argv and stale:
        sys.exit("out of date, run docs/build_cards.py: " + ", ".join(str(path.relative_to(DOCS)) for path in stale))
    for path, text in stale.items():
        path.write_text(text, "utf-8")
