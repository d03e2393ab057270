"""Online input-space training on real data: robustness before and after, its cost, and a control at equal time.

    python benchmarks/online_on_sst2.py --data sst2/ --rows 2000 --epochs 4

`--data` is a folder with train.csv, dev.csv and test.csv (columns text,label): the sentence-level SST-2. Three runs
from the same start: plain, `--online` a2t, and `random` with as many epochs as take the time of the a2t run. Each is
attacked with TextFooler, near the attack it was trained on, and DeepWordBug, which is another kind. One JSON line a
run in benchmarks/results/online_on_sst2.jsonl; runs that are there already are not repeated.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "online_on_sst2.jsonl"
ATTACKS = ("textfooler", "deepwordbug")


def one(online: str, epochs: float, options: argparse.Namespace) -> dict[str, Any]:
    """Train, score and attack one model; a line of the record."""
    from sparring import FineTune, finetune
    from sparring.attack.recipes import recipe
    from sparring.evaluate.attacks import AttackJob, attack_job
    from sparring.train.folder import versions

    folder = Path(options.output) / f"{online}-{epochs:g}-{options.seed}"
    run = FineTune(
        data=str(options.data / "train.csv"),
        eval_data=str(options.data / "dev.csv"),
        limit=options.rows,
        epochs=epochs,
        learning_rate=options.learning_rate,
        online=online,
        share=options.share,
        seed=options.seed,
        output=str(folder / "run"),
    )
    done = folder / "run" / "metrics.json"  # of a call that was stopped in the attacks
    metrics = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else finetune(run)
    job = AttackJob(
        victims=(run.output,),
        recipes=tuple(recipe(name) for name in ATTACKS),
        data=str(options.data / "test.csv"),
        examples=options.examples,
        output=folder / "attacks",
        resume=True,
    )
    (victim,) = attack_job(job)["victims"]
    attacks = metrics.get("online", {"seconds": 0.0, "share_of_time": 0.0, "epochs": []})
    return {
        "online": online,
        "epochs": epochs,
        "rows": options.rows,
        "share": options.share,
        "seed": options.seed,
        "learning_rate": options.learning_rate,
        "examples": options.examples,
        "dev_accuracy": metrics["eval"]["accuracy"],
        "train_seconds": metrics["train_seconds"],
        "attack_seconds": attacks["seconds"],
        "attack_share_of_time": attacks["share_of_time"],
        "attack_epochs": attacks["epochs"],
        "under_attack": {
            entry["recipe"]: {
                "clean": entry["summary"]["clean_accuracy"],
                "accuracy": entry["summary"]["accuracy_under_attack"],
                "interval": entry["summary"]["attacked_interval"],
                "success_rate": entry["summary"]["success_rate"],
                "queries": entry["summary"]["queries_mean"],
                "stand_ins": entry["stand_ins"],
                "off": entry["off"],
            }
            for entry in victim["attacks"]
        },
        "data_sha256": victim["data"]["sha256"],
        "versions": versions(),
        "command": "python benchmarks/online_on_sst2.py",
    }


def main() -> None:
    from sparring.cli.console import quiet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--examples", type=int, default=300, help="test rows attacked")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="runs/online_on_sst2", help="folder of runs and attacks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    quiet()
    plain = _kept("none", options.epochs, options)
    attacked = _kept("a2t", options.epochs, options)
    a_quick_epoch = plain["train_seconds"] / options.epochs * (1 + options.share)  # of random: no query, more rows
    epochs = max(options.epochs, math.floor(attacked["train_seconds"] / a_quick_epoch))
    _kept("random", epochs, options)


def _kept(online: str, epochs: int, options: argparse.Namespace) -> dict[str, Any]:
    """The line of a run, made if it is not there."""
    keys = ("rows", "share", "seed", "learning_rate", "examples")
    wanted = {"online": online, "epochs": epochs, **{key: getattr(options, key) for key in keys}}
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.is_file() else []
    for line in map(json.loads, lines):
        if {key: line[key] for key in wanted} == wanted:
            return line
    record = one(online, epochs, options)
    print(json.dumps({key: record[key] for key in ("online", "epochs", "train_seconds", "attack_seconds")}), flush=True)
    print({name: found["accuracy"] for name, found in record["under_attack"].items()}, flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return record


if __name__ == "__main__":
    main()
