"""AdpMixup and what it is compared with, on real data: clean accuracy, accuracy under known and unknown attacks, cost.

    python benchmarks/mixture_on_real_data.py --task sst2 --data data/sst2 --seeds 3
    python benchmarks/mixture_on_real_data.py --task mrpc --data data/mrpc --seeds 3 --frozen 0

The folder holds train.csv, dev.csv and test.csv. Of each seed a mixture is made with all its baselines, all on the
packaged MiniLM; `plain` is the clean adapter alone. Every model is attacked end to end, through its gate or its vote,
on the same test rows, by the known attacks and by those that were never seen in training or calibration. The mixture is
attacked by the temperature-calibrated attacker too. One JSON line a model and attack in
benchmarks/results/mixture_on_real_data.jsonl; lines that are there already are not made again, and a job that was
killed goes on.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "mixture_on_real_data.jsonl"
KNOWN, UNKNOWN = ("textfooler", "deepwordbug"), ("pwws", "textbugger")
CALIBRATED = ("adpmixup", "plain")


def models_of(folder: Path, plain: Path) -> dict[str, Path]:
    from sparring.train.mix_options import BASELINES

    return {"plain": plain, "adpmixup": folder, **{name: folder / "baselines" / name for name in BASELINES}}


def make(options: argparse.Namespace, seed: int) -> tuple[Path, dict[str, Any]]:
    """The mixture of a seed; made if it is not there."""
    from sparring.train.mix import train_mixture
    from sparring.train.mix_options import Mix

    folder = Path(options.output) / f"{options.task}-{seed}"
    if (folder / "metrics.json").is_file():
        return folder, json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    settings = Mix(
        data=f"{options.data}/train.csv",
        eval_data=f"{options.data}/dev.csv",
        limit=options.rows,
        attacks=",".join(KNOWN),
        attack_rows=options.attack_rows,
        frozen=options.frozen,
        synonyms=options.synonyms,
        without=options.without,
        baselines="all",
        seed=seed,
        output=str(folder),
    )
    print(f"making {folder}", flush=True)
    return folder, train_mixture(settings, report=lambda line: print(f"  {line}", flush=True))


def clean_alone(folder: Path) -> Path:
    """The clean adapter of a mixture as a model of its own."""
    from sparring.train.mix import export_mixture

    place = folder / "plain"
    if not place.is_dir():
        export_mixture(folder, place, 1.0)
    return place


def measure(options: argparse.Namespace, name: str, model: Path, attack: str, seed: int, temperature: bool) -> Any:
    """One model under one attack."""
    from sparring.attack.recipes import recipe
    from sparring.evaluate.attacks import AttackJob, attack_job

    without = tuple(options.without.replace("-", "_").split(",")) if options.without else ()
    more: dict[str, Any] = {"synonyms": options.synonyms} if options.synonyms and attack != "pwws" else {}
    job = AttackJob(
        victims=(str(model),),
        recipes=(recipe(attack, without=without, seed=seed, **more),),
        data=f"{options.data}/test.csv",
        examples=options.examples,
        frozen=tuple(int(part) for part in options.frozen.split(",")) if options.frozen else (),
        calibrated=temperature,
        output=Path(options.output) / "attacks" / f"{options.task}-{seed}" / name / attack,
        resume=True,
    )
    began = time.perf_counter()
    (victim,) = attack_job(job)["victims"]
    entry = victim["attacks"][0]
    summary = entry["summary"]
    return {
        "task": options.task,
        "seed": seed,
        "model": name,
        "attack": attack,
        "known": attack in KNOWN,
        "examples": summary["examples"],
        "clean": summary["clean_accuracy"],
        "under_attack": summary["accuracy_under_attack"],
        "minimum_with_calibrated": victim["minimum"][0]["accuracy"] if victim["minimum"] else None,
        "queries": summary["queries_mean"],
        "seconds": round(time.perf_counter() - began, 1),
        "off": entry["off"],
        "stand_ins": entry["stand_ins"],
        "versions": victim["versions"],
    }


def main() -> None:
    from sparring.cli.console import quiet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=2000, help="training rows")
    parser.add_argument("--attack-rows", type=int, default=600)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frozen", help="numbers of text columns that stay as they are")
    parser.add_argument("--synonyms", help="file of neighbours for the attacks")
    parser.add_argument("--without", default="similarity,word-cosine")
    parser.add_argument("--output", default="runs/mixtures")
    options = parser.parse_args()
    quiet()
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    there = {tuple(line[key] for key in ("task", "seed", "model", "attack")) for line in map(json.loads, lines)}
    for seed in range(options.seeds):
        folder, metrics = make(options, seed)
        for name, model in models_of(folder, clean_alone(folder)).items():
            for attack in (*KNOWN, *UNKNOWN):
                if (options.task, seed, name, attack) in there:
                    continue
                line = measure(options, name, model, attack, seed, name in CALIBRATED)
                line |= {"training": metrics["stages"], "trainable_parameters": metrics["trainable_parameters"]}
                line["bytes"] = sum(path.stat().st_size for path in model.rglob("*.safetensors"))
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print({key: line[key] for key in ("seed", "model", "attack", "clean", "under_attack")}, flush=True)


if __name__ == "__main__":
    main()
