"""Every method on real data: clean accuracy, accuracy under PGD on embeddings, what its adversary does, what it costs.

    python benchmarks/methods_on_sst2.py --data sst2/ --seeds 3 --jobs 2

`--data` is a folder with train.csv and dev.csv (columns text,label): the sentence-level SST-2 that attack papers use.
Each run is one JSON line in benchmarks/results/methods_on_sst2.jsonl; runs that are there already are not repeated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "methods_on_sst2.jsonl"
RADII = ("0.03x",)  # where plain training falls to about half


def one(
    method: str,
    preset: str,
    seed: int,
    settings: dict[str, Any],
    data: Path,
    rows: int,
    epochs: float,
    learning_rate: float,
    attacked_rows: int,
) -> dict[str, Any]:
    """Train, score and attack one model in this process."""
    from sparring import FineTune, finetune
    from sparring.cli.console import quiet
    from sparring.evaluate.effect import effect_of_run
    from sparring.evaluate.robust import EmbeddingAttack
    from sparring.evaluate.run import evaluate_run

    quiet()
    with tempfile.TemporaryDirectory() as folder:
        run = FineTune(
            data=str(data / "train.csv"),
            eval_data=str(data / "dev.csv"),
            limit=rows,
            epochs=epochs,
            learning_rate=learning_rate,
            method=method,
            preset=preset,
            settings=settings,
            seed=seed,
            output=f"{folder}/run",
        )
        metrics = finetune(run)
        attack = EmbeddingAttack(radii=RADII, steps=10, restarts=0)
        attacked = evaluate_run(Path(run.output), attack=attack, limit=attacked_rows, sanity=False)
        effect = effect_of_run(Path(run.output), limit=200)
    return {
        "method": method,
        "preset": preset,
        "settings": settings,
        "seed": seed,
        "accuracy": metrics["eval"]["accuracy"],
        "train_seconds": metrics["train_seconds"],
        "steps": metrics["steps"],
        "forward_passes": metrics["forward_passes"],
        "precision": metrics["precision"],
        "pgd": {point["radius"]: point["accuracy"] for point in attacked["curve"]},
        "effect": effect,
        "data_sha256": attacked["data"]["sha256"],
        "rows": rows,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "attacked_rows": attacked_rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default="all", help="comma-separated")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--set", action="append", default=[], help="name=value for the methods named")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only-seed", type=int)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--attacked-rows", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(**json.loads(options.one) | {"data": options.data})))
        return
    from sparring.methods import METHODS
    from sparring.settings import assignments

    names = list(METHODS) if options.methods == "all" else options.methods.split(",")
    wanted = [
        {
            "method": name,
            "preset": options.preset,
            "settings": _typed(name, assignments(options.set)),
            "seed": seed,
            "rows": options.rows,
            "epochs": options.epochs,
            "learning_rate": options.learning_rate,
            "attacked_rows": options.attacked_rows,
        }
        for seed in (range(options.seeds) if options.only_seed is None else [options.only_seed])
        for name in names
    ]
    missing = [run for run in wanted if not _done(run, options.results)]
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for line in pool.map(lambda run: _in_a_process(run, options.data, options.jobs, options.results), missing):
            if line:
                with options.results.open("a") as file:
                    file.write(line + "\n")
                print(line, flush=True)


def _typed(name: str, values: dict[str, str]) -> dict[str, Any]:
    from sparring.methods import METHODS
    from sparring.settings import parse

    checked = parse(METHODS[name], values)
    return {key: getattr(checked, key) for key in values}


def _done(run: dict[str, Any], results: Path) -> bool:
    lines = results.read_text().splitlines() if results.exists() else []
    return any(_plain(json.loads(line)) == run for line in lines)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: record[key]
        for key in ("method", "preset", "settings", "seed", "rows", "epochs", "learning_rate", "attacked_rows")
    }


def _in_a_process(run: dict[str, Any], data: Path, jobs: int, results: Path) -> str:
    if _done(run, results):  # by another process that shares the work
        return ""
    threads = {"OMP_NUM_THREADS": "1"} if jobs > 1 else {}
    command = [sys.executable, __file__, "--data", str(data), "--one", json.dumps(run)]
    done = subprocess.run(command, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{run} failed:\n{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
