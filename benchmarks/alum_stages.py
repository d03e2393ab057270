"""Does ALUM in pre-training help? Arms of pre-training, each fine-tuned on tasks and attacked; a table with intervals.

    python benchmarks/alum_stages.py --corpus 'text/*.jsonl' --task sst2=sst2/ --task rte=rte/ --work runs/stages
    python benchmarks/alum_stages.py --table                      what is recorded so far, as a table

From scratch: `standard-steps`, plain training for as many steps as ALUM; `standard-passes`, plain training for as many
passes of the model, 11/6 as many steps; `alum` with the half curriculum. Continual, from MiniLM: `untouched`;
`standard-passes`, 8/3 as many steps as ALUM; `alum` from the first step. From-scratch arms are fine-tuned with
`standard`, continual ones with `standard` and with `alum`.

Tasks are folders with train.csv and dev.csv (text, perhaps text_pair, label). Every run is one line of
benchmarks/results/alum_stages.jsonl, and none is made twice; one that was cut off goes on from its last checkpoint.
Runs of other settings, text or tasks are of another scale: they have folders and a table of their own. Seeds take turns
from the outside, so that what is there is always comparable.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "alum_stages.jsonl"
STAGES = {
    "scratch": ("standard-steps", "standard-passes", "alum"),
    "continual": ("untouched", "standard-passes", "alum"),
}
TUNED_WITH = {"scratch": ("standard",), "continual": ("standard", "alum")}


def settings_of(stage: str, arm: str, seed: int, options: argparse.Namespace) -> Any:
    """The pre-training of an arm; None for the model as it is."""
    from sparring.methods import method
    from sparring.train.pace import plain_steps
    from sparring.train.pretrain_options import Pretrain

    if arm == "untouched":
        return None
    scratch, passes = stage == "scratch", plain_steps(method("alum"))
    steps = options.steps if scratch else options.continual_steps
    if arm == "standard-passes":
        steps = round(steps * ((1 + passes) / 2 if scratch else passes))
    given: dict[str, Any] = {
        "corpus": options.corpus,
        "length": options.length,
        "batch_size": options.batch_size,
        "steps": steps,
        "masking": options.masking,
        "minimal_pairs": options.pairs,
        "save_every": max(1, steps // 40),
        "keep": 1,
        "seed": seed,
        "output": str(options.work / f"{stage}-{arm}-{seed}-{mark(_scale(options))}"),
    }
    if scratch:
        given |= {"size": options.size, "vocab": options.vocab, "learning_rate": options.learning_rate}
    else:
        given |= {"model": "minilm", "learning_rate": options.continual_learning_rate}
    if arm == "alum":
        given |= {"method": "alum", "curriculum": "half" if scratch else "none"}
    return Pretrain(**given)


def pretrained(settings: Any) -> dict[str, Any]:
    """Metrics of a pre-training, made now, continued, or made before."""
    from sparring.train.pretrain import pretrain

    output = Path(settings.output)
    if (output / "metrics.json").is_file():
        return json.loads((output / "metrics.json").read_text())
    resume = (output / "run.yaml").is_file()
    if output.exists() and not resume:
        shutil.rmtree(output)
    return pretrain(settings, resume=resume)


def tuned(model: str, task: str, data: Path, method: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune, score on the dev split, attack."""
    from sparring import FineTune, finetune
    from sparring.attack import attack, recipes
    from sparring.data.load import load

    output = options.work / "tuned" / f"{Path(model).name}-{task}-{method}-{seed}-{mark(_scale(options))}"
    shutil.rmtree(output, ignore_errors=True)
    run = FineTune(
        model=model,
        data=str(data / "train.csv"),
        eval_data=str(data / "dev.csv"),
        limit=options.rows,
        epochs=options.epochs,
        learning_rate=options.tuning_rate,
        method=method,
        seed=seed,
        output=str(output),
    )
    metrics = finetune(run)
    train = load(run.data, limit=run.limit)
    rows = load(str(data / "dev.csv"), split="dev", like=train)
    rows_attacked = list(zip(rows.texts, rows.labels, strict=True))[: options.attacked]
    attacked = attack(str(output), rows_attacked, getattr(recipes, options.recipe)(), budget=options.budget).summary
    shutil.rmtree(output)
    return {
        "eval": metrics["eval"],
        "dev_rows": len(rows.texts),
        "attack": {
            "recipe": options.recipe,
            "examples": attacked.examples,
            "clean": attacked.clean_accuracy,
            "under_attack": attacked.accuracy_under_attack,
        },
        "train_seconds": metrics["train_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus")
    parser.add_argument("--pairs", help="jsonl of minimal pairs, or a folder of such files")
    parser.add_argument("--task", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--stage", choices=[*STAGES, "both"], default="both")
    parser.add_argument("--arm", action="append", choices=sorted({arm for arms in STAGES.values() for arm in arms}))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--continual-steps", type=int, default=500)
    parser.add_argument("--masking", default="0.15")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--continual-learning-rate", type=float, default=4e-5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--tuning-rate", type=float, default=1e-4)
    parser.add_argument("--recipe", default="deepwordbug")
    parser.add_argument("--attacked", type=int, default=200)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--work", type=Path, default=Path("runs/alum_stages"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table of what is recorded")
    options = parser.parse_args()
    if options.table:
        print(table(_rows(options.results)))
        return
    if not options.corpus or not options.task:
        parser.error("--corpus and at least one --task are needed")
    from sparring.cli.console import quiet

    quiet()
    tasks = {name: Path(folder) for name, folder in (task.split("=", 1) for task in options.task)}
    stages = list(STAGES) if options.stage == "both" else [options.stage]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for stage in stages:
            for arm in STAGES[stage]:
                if options.arm and arm not in options.arm:
                    continue
                _arm(stage, arm, seed, tasks, options)
    print(table(_rows(options.results)))


def _arm(stage: str, arm: str, seed: int, tasks: dict[str, Path], options: argparse.Namespace) -> None:
    settings = settings_of(stage, arm, seed, options)
    who = {"stage": stage, "arm": arm, "seed": seed, "scale": _scale(options)}
    model = "minilm" if settings is None else settings.output
    if settings is not None and not _done(who | {"kind": "pretrain"}, options.results):
        found = pretrained(settings)
        kept = {
            name: found[name]
            for name in ("steps", "tokens", "train_seconds", "forward_passes", "precision", "resumed_from")
            if name in found
        }
        scores = {name: found[name] for name in ("held_out", "pseudo", "minimal_pairs") if name in found}
        _record(who | {"kind": "pretrain"} | kept | scores, options.results)
    for task, data in tasks.items():
        for method in TUNED_WITH[stage]:
            one = who | {"kind": "tuned", "task": task, "method": method}
            if not _done(one, options.results):
                if settings is not None:
                    pretrained(settings)  # from disk, or again where it was deleted
                _record(one | tuned(model, task, data, method, seed, options), options.results)


def _scale(options: argparse.Namespace) -> dict[str, Any]:
    """What makes rows comparable: rows of another scale are other rows."""
    names = (
        "size", "vocab", "length", "batch_size", "steps", "continual_steps", "masking", "learning_rate",
        "continual_learning_rate", "rows", "epochs", "tuning_rate", "recipe", "attacked", "budget", "corpus", "pairs",
    )  # fmt: skip
    return {name: getattr(options, name) for name in names} | {"tasks": sorted(options.task)}


def mark(scale: dict[str, Any]) -> str:
    """A short name of a scale, for folders and tables."""
    return hashlib.sha256(json.dumps(scale, sort_keys=True).encode()).hexdigest()[:8]


def _rows(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _done(who: dict[str, Any], results: Path) -> bool:
    return any(all(row.get(name) == value for name, value in who.items()) for row in _rows(results))


def _record(row: dict[str, Any], results: Path) -> None:
    with results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one part a scale. Everything is a mean over seeds with the range of the seeds.

    Seeds are asked about the same examples, so together they are no larger a sample: beside an accuracy is Wilson's
    95 % interval of one seed's examples at that mean.
    """
    scales: dict[str, dict[str, Any]] = {}
    for row in rows:
        scales.setdefault(mark(row["scale"]), row["scale"])
    parts = []
    for name, scale in scales.items():
        said = ", ".join(f"{key} {value}" for key, value in scale.items())
        parts.append(f"Scale {name}: {said}\n\n{_table([row for row in rows if row['scale'] == scale])}")
    return "\n\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| stage | arm | seeds | steps | held-out loss | minimal pairs |", "|---|---|---|---|---|---|"]
    for stage, arms in STAGES.items():
        for arm in arms:
            found = [r for r in rows if (r["stage"], r["arm"], r["kind"]) == (stage, arm, "pretrain")]
            if found:
                loss = _mean([r["held_out"]["loss"] for r in found if "held_out" in r], 1.0, ".3f")
                pairs = [r["minimal_pairs"] for r in found if "minimal_pairs" in r]
                right = _accuracy([(one["accuracy"], one["pairs"]) for one in pairs])
                lines.append(f"| {stage} | {arm} | {len(found)} | {found[0]['steps']} | {loss} | {right} |")
    lines += [
        "",
        "| stage | arm | fine-tuned on | with | seeds | dev | under attack |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(r["task"], r["method"]) for r in rows if r["kind"] == "tuned"})
    for stage, arms in STAGES.items():
        for task, method in keys:
            for arm in arms:
                who = (stage, arm, task, method)
                found = [r for r in rows if (r["stage"], r["arm"], r.get("task"), r.get("method")) == who]
                if found:
                    clean = _accuracy([(r["eval"]["accuracy"], r["dev_rows"]) for r in found])
                    held = _accuracy([(r["attack"]["under_attack"], r["attack"]["examples"]) for r in found])
                    lines.append(f"| {stage} | {arm} | {task} | {method} | {len(found)} | {clean} | {held} |")
    return "\n".join(lines)


def _mean(values: list[float], scale: float, form: str) -> str:
    """The mean, and the range if there are several."""
    if not values:
        return ""
    shown = [format(scale * value, form) for value in (sum(values) / len(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if len(values) > 1 else shown[0]


def _accuracy(parts: list[tuple[float, int]]) -> str:
    """Of (share, examples) a seed, in per cent."""
    from sparring.evaluate.metrics import interval

    if not parts:
        return ""
    examples = min(n for _, n in parts)
    low, high = interval(round(examples * sum(share for share, _ in parts) / len(parts)), examples)
    return f"{_mean([share for share, _ in parts], 100, '.1f')} [{100 * low:.1f}, {100 * high:.1f}]"


if __name__ == "__main__":
    main()
