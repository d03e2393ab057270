"""AdpMixup and what it is compared with, on real data: clean accuracy, accuracy under known and unknown attacks, cost.

    python benchmarks/mixture_on_real_data.py --task sst2 --data data/sst2 --seeds 3
    python benchmarks/mixture_on_real_data.py --task snli --data data/snli --test dev.csv --seeds 3 --frozen 0

The folder holds train.csv and a file of test rows, whose first half is for development (calibration, choosing settings)
and whose second half is attacked where no dev.csv is beside it. Of each seed a mixture is made with all its baselines,
all on the packaged MiniLM; `plain` is the clean adapter alone. Every model is attacked end to end, through its gate or
its vote, by the known attacks and by those that were never seen in training or calibration; the mixture and `plain` by
the temperature-calibrated attacker too, with the known attacks. Each seed has its own test rows, the same for all its
models. One JSON line a model and attack in benchmarks/results/mixture_on_real_data.jsonl; lines that are there already
are not made again, and a job that was killed goes on.
"""

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "mixture_on_real_data.jsonl"
KNOWN, UNKNOWN = ("textfooler", "deepwordbug"), ("textbugger", "a2t")
CALIBRATED = ("adpmixup", "plain")
SHARED = ("epochs", "attack_epochs", "learning_rate", "full_learning_rate", "train_on", "gate", "attack_rows", "frozen")
"""Settings of a mixture that are options here."""


def models_of(folder: Path) -> dict[str, Path]:
    """By name. Constant mixing of updates is one fixed model, and is attacked as such: one forward, not m + 2."""
    from sparring.train.mix_options import BASELINES, Mix

    made = {name: folder / "baselines" / name for name in BASELINES}
    alone = {"plain": exported(folder, "plain", 1.0), "constant": exported(folder, "constant", Mix().constant)}
    return {"adpmixup": folder, **made, **alone}


def exported(folder: Path, name: str, coefficient: float) -> Path:
    """A mixture that is the same for every text as a model of its own."""
    from sparring.train.mix import export_mixture

    place = folder / "exported" / name
    if not place.is_dir():
        export_mixture(folder, place, coefficient)
    return place


def rows_of(options: argparse.Namespace, seed: int) -> tuple[Path, Path]:
    """(held-out rows, the test rows of a seed) as files: drawn once, a share for each seed, none in two."""
    folder = Path(options.output) / "rows"
    with (Path(options.data) / options.test).open(encoding="utf-8", newline="") as file:
        head, *lines = list(csv.reader(file))
    lines = [lines[place] for place in np.random.default_rng(0).permutation(len(lines))]
    held_out = Path(options.data) / "dev.csv"
    if options.test == "dev.csv":
        held_out = _written(folder / f"{options.task}-held-out.csv", [head, *lines[: len(lines) // 2]])
        lines = lines[len(lines) // 2 :]
    own = lines[seed * options.examples : (seed + 1) * options.examples]
    if len(own) < options.examples:
        raise SystemExit(f"{options.test} has too few rows for seed {seed} with --examples {options.examples}")
    return held_out, _written(folder / f"{options.task}-test-{seed}-{options.examples}.csv", [head, *own])


def _written(path: Path, lines: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def make(options: argparse.Namespace, seed: int) -> tuple[Path, dict[str, Any]]:
    """The mixture of a seed; made if it is not there."""
    from sparring.train.mix import train_mixture
    from sparring.train.mix_options import Mix

    folder = Path(options.output) / f"{options.task}-{seed}"
    if (folder / "metrics.json").is_file():
        return folder, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    settings = Mix(
        data=f"{options.data}/train.csv",
        eval_data=str(rows_of(options, seed)[0]),
        limit=options.rows,
        attacks=",".join(KNOWN),
        synonyms=options.synonyms,
        without=options.without,
        baselines="all",
        seed=seed,
        output=str(folder),
        **{name: getattr(options, name) for name in SHARED},
    )
    print(f"making {folder}", flush=True)
    return folder, train_mixture(settings, report=lambda line: print(f"  {line}", flush=True))


def measure(options: argparse.Namespace, name: str, model: Path, attack: str, seed: int) -> dict[str, Any]:
    """One model under one attack."""
    from sparring.attack.recipes import recipe, without_of
    from sparring.evaluate.attacks import AttackJob, attack_job

    job = AttackJob(
        victims=(str(model),),
        recipes=(recipe(attack, without=without_of(options.without), seed=seed, synonyms=options.synonyms),),
        data=str(rows_of(options, seed)[1]),
        frozen=tuple(int(part) for part in options.frozen.split(",")) if options.frozen else (),
        calibrated=name in CALIBRATED and attack in KNOWN,
        output=Path(options.output) / "attacks" / f"{options.task}-{seed}" / name / attack,
        resume=True,
    )
    began = time.perf_counter()
    (victim,) = attack_job(job)["victims"]
    entry, *calibrated = victim["attacks"]
    summary = entry["summary"]
    return {
        "task": options.task,
        "seed": seed,
        "model": name,
        "attack": attack,
        "known": attack in KNOWN,
        "examples": summary["examples"],
        "attacked": round(summary["clean_accuracy"] * summary["examples"]),
        "clean": summary["clean_accuracy"],
        "under_attack": summary["accuracy_under_attack"],
        "calibrated": calibrated[0]["summary"]["accuracy_under_attack"] if calibrated else None,
        "minimum": victim["minimum"][0]["accuracy"] if calibrated else summary["accuracy_under_attack"],
        "queries": summary["queries_mean"],
        "seconds": round(time.perf_counter() - began, 1),
        "off": entry["off"],
        "stand_ins": entry["stand_ins"],
        "versions": victim["versions"],
    }


def cost_of(name: str, model: Path, stages: dict[str, Any]) -> dict[str, Any]:
    """Seconds of the trainings and attacks that a model needs, its trained parameters, and bytes beyond the base."""
    attacks = [f"attack {attack}" for attack in KNOWN]
    needed = {
        "plain": ["clean"],
        "union": ["clean", *attacks, "union"],
        "model-soup": ["clean", *attacks, "full-clean", *(f"full-{attack}" for attack in KNOWN)],
    }.get(name, ["clean", *attacks, *KNOWN])
    trained = [stage for stage in needed if stage not in attacks]
    if name == "model-soup":
        trained = [stage for stage in trained if stage.startswith("full-")]
    elif name == "union":
        trained = ["union"]
    adapters = model.parents[1] / "adapters" if model.parent.name == "exported" else model / "adapters"
    if name == "plain":
        adapters = adapters / "clean"
    weights = [
        *adapters.rglob("*.safetensors"),
        *([] if name in ("plain", "constant") else model.glob("*.safetensors")),
    ]
    return {
        "training_seconds": round(sum(stages[stage]["seconds"] for stage in needed), 1),
        "attack_seconds": round(sum(stages[stage]["seconds"] for stage in needed if stage in attacks), 1),
        "trained_parameters": sum(stages[stage]["trainable_parameters"] for stage in trained),
        "bytes": sum(path.stat().st_size for path in weights),
    }


def main() -> None:
    from sparring.cli.console import quiet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, help="a name for the record")
    parser.add_argument("--data", required=True, help="folder of train.csv and so on")
    parser.add_argument("--test", default="test.csv", help="file in it whose rows are attacked")
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--attack-rows", type=int, default=600)
    parser.add_argument("--examples", type=int, default=200, help="test rows of a seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--attack-epochs", type=float, default=5.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--full-learning-rate", type=float, default=5e-5)
    parser.add_argument("--train-on", choices=["adversarial", "both"], default="adversarial")
    parser.add_argument("--gate", default="minmax_ratio")
    parser.add_argument("--frozen", help="numbers of text columns that stay as they are")
    parser.add_argument("--synonyms", default="auto", help="file of neighbours for the attacks")
    parser.add_argument("--without", default="similarity,word-cosine")
    parser.add_argument("--output", default="runs/mixtures")
    options = parser.parse_args()
    quiet()
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    there = {tuple(line[key] for key in ("task", "seed", "model", "attack")) for line in map(json.loads, lines)}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        folder, metrics = make(options, seed)
        for name, model in models_of(folder).items():
            for attack in (*KNOWN, *UNKNOWN):
                if (options.task, seed, name, attack) in there:
                    continue
                line = measure(options, name, model, attack, seed) | cost_of(name, model, metrics["stages"])
                line["settings"] = {name: getattr(options, name) for name in ("rows", "without", *SHARED)}
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print({key: line[key] for key in ("seed", "model", "attack", "clean", "under_attack")}, flush=True)


if __name__ == "__main__":
    main()
