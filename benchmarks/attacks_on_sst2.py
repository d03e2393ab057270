"""Every recipe on real data: accuracy under attack, queries, changed words, seconds.

    python benchmarks/attacks_on_sst2.py --victim runs/standard --data sst2/test.csv --masked-lm runs/masked_lm

The victim: `sparring train --data sst2/train.csv --eval-data sst2/dev.csv --learning-rate 2e-4`. The masked language
model comes from `train_masked_lm.py`. Searches over populations, those with a masked language model, and
Charmer see `--few` of the examples, the others `--examples`. Each recipe is one JSON line in
benchmarks/results/attacks_on_sst2.jsonl; recipes that are there already are not repeated.
"""

import argparse
import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "attacks_on_sst2.jsonl"
FEW = ("bert-attack", "bae", "bae-i", "bae-r-or-i", "bae-r+i", "a2t-mlm", "clare", "genetic", "pso", "charmer")


def one(name: str, options: argparse.Namespace, variant: str) -> dict[str, Any]:
    """Attack with one recipe; a line of the record."""
    from sparring.attack.recipes import recipe
    from sparring.evaluate.attacks import AttackJob, attack_job

    built = recipe(name, variant=variant, masked_lm=options.masked_lm)
    rows = options.few if name in FEW else options.examples
    job = AttackJob(
        victims=(options.victim,),
        recipes=(built,),
        data=options.data,
        examples=rows,
        output=Path(options.output) / f"{name}.{variant}",
        resume=True,
    )
    last = [0.0]

    def progress(title: str, done: int, total: int, broken: int) -> None:
        if done == total or done - last[0] >= total / 10:
            last[0] = done
            print(f"  {title}: {done} of {total}, {broken} broken", flush=True)

    (victim,) = attack_job(job, progress=progress)["victims"]
    (entry,) = victim["attacks"]
    summary = entry["summary"]
    return {
        "recipe": name,
        "variant": variant,
        "examples": summary["examples"],
        "clean": summary["clean_accuracy"],
        "under_attack": summary["accuracy_under_attack"],
        "low": summary["attacked_interval"][0],
        "high": summary["attacked_interval"][1],
        "success_rate": summary["success_rate"],
        "words_changed": summary["changed_share"],
        "queries": summary["queries_mean"],
        "queries_median": summary["queries_median"],
        "queries_p95": summary["queries_p95"],
        "similarity": summary["similarity"],
        "violations": summary["violations"],
        "seconds": entry["seconds"],
        "inside_services": sum(entry["service_seconds"].values()) / entry["seconds"],
        "stand_ins": entry["stand_ins"],
        "off": entry["off"],
        "data_sha256": victim["data"]["sha256"],
        "versions": victim["versions"],
        "command": "python benchmarks/attacks_on_sst2.py",
    }


def main() -> None:
    from sparring.attack.recipes import RECIPES
    from sparring.cli.console import quiet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", required=True, help="folder of a run")
    parser.add_argument("--data", required=True, help="test.csv of the sentence-level SST-2")
    parser.add_argument("--masked-lm", help="folder of a masked language model; without it those recipes are left out")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--few", type=int, default=100)
    parser.add_argument("--recipes", help="separated by commas; default: all")
    parser.add_argument("--variant", default="paper")
    parser.add_argument("--output", default="runs/attacks_on_sst2", help="folder of lines and reports")
    options = parser.parse_args()
    quiet()
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    there = {(line["recipe"], line["variant"]) for line in map(json.loads, lines)}
    masked = {"bert-attack", "bae", "bae-i", "bae-r-or-i", "bae-r+i", "a2t-mlm", "clare"}
    for name in options.recipes.split(",") if options.recipes else RECIPES:
        if (name, options.variant) in there or (name in masked and not options.masked_lm):
            continue
        record = one(name, options, options.variant)
        print(
            {key: record[key] for key in ("recipe", "under_attack", "queries", "words_changed", "seconds")}, flush=True
        )
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
