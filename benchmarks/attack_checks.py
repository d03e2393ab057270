"""Checks of text attacks on a real model: the same result however it is batched, and overconfidence undone.

    python benchmarks/attack_checks.py --victim runs/standard --data sst2/test.csv --masked-lm runs/masked_lm

1. In float32 with batches of 1, about 32 and about 512 texts, and with two processes, the adversarial texts are the
   same. Where one is not, the scores of the two runs are compared: the largest difference bounds the gap between two
   candidates that could have changed places. With --masked-lm also for BERT-Attack, whose model is batched likewise.
2. Logits times 50: no answer changes, and a search that follows scores goes blind; `--calibrated` gives it its sight
   back.

Writes benchmarks/results/attack_checks.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "attack_checks.json"
COMMAND = "python benchmarks/attack_checks.py"


class Listening:
    """A service that keeps what it said."""

    def __init__(self, service: Any) -> None:
        self.service, self.name, self.remembered = service, service.name, service.remembered
        self.said: dict[tuple[str, ...], np.ndarray] = {}

    def answer(self, items: Any) -> Any:
        answers = self.service.answer(items)
        self.said.update(zip(items, answers, strict=True))
        return answers


def determinism(options: argparse.Namespace) -> dict[str, Any]:
    """Adversarial texts of several ways to batch, against those of batches of about 32."""
    from sparring.attack import attack, recipes
    from sparring.attack.victim import as_victim
    from sparring.data.load import load

    rows = load(options.data, split="test", limit=options.examples)
    found: dict[str, Any] = {}
    for name in options.recipes.split(",") + (["bert-attack"] if options.masked_lm else []):
        runs: dict[int, Any] = {}
        for batch in (32, 1, 512):
            victim = as_victim(options.victim, half=False, tokens=10**9, batch=batch)
            listener = victim.quick = Listening(victim.quick)
            built = recipes.recipe(name, masked_lm=options.masked_lm if name == "bert-attack" else None)
            words = None
            if name == "bert-attack":  # about as many texts of its model in a batch
                lm: Any = built.transform.lm
                lm.tokens, lm.half = 32 * batch if batch > 1 else 1, False
                words = lm.pieces = Listening(lm.pieces)
            results = attack(victim, rows, built)
            runs[batch] = ({o.row: o.adversarial for o in results.outcomes}, listener.said, words and words.said)
            print(f"  {name}, batches of {batch}: {results}", flush=True)
        texts, said, words_said = runs[32]
        two = two_processes(options, name)
        entry: dict[str, Any] = {"examples": len(texts), "same_with_two_processes": share_same(texts, two)}
        for batch in (1, 512):
            others, other_said, other_words = runs[batch]
            common = said.keys() & other_said.keys()
            gaps = [float(np.abs(np.exp(said[text]) - np.exp(other_said[text])).max()) for text in common]
            entry[f"same_with_batches_of_{batch}"] = share_same(texts, others)
            entry[f"largest_score_gap_{batch}"] = max(gaps)
            if words_said:
                entry[f"largest_gap_of_words_{batch}"] = gap_of_words(words_said, other_words)
        found[name] = entry
    return found


def gap_of_words(said: dict[Any, Any], other: dict[Any, Any]) -> float:
    """The largest difference between two runs in the logit of the k-th likeliest word, of all k and all gaps."""
    pairs = [pair for item in said.keys() & other.keys() for pair in zip(said[item], other[item], strict=True)]
    return max(float(np.abs(a.logits - b.logits).max(initial=0)) for a, b in pairs)


def share_same(a: dict[int, Any], b: dict[int, Any]) -> float:
    return sum(a[row] == b.get(row) for row in a) / len(a)


def two_processes(options: argparse.Namespace, recipe: str) -> dict[int, Any]:
    """The same by torchrun with two processes, through the command line."""
    from sparring.attack.records import read_lines

    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            "-m",
            "sparring",
        ]
        command += ["attack", options.victim, "--data", options.data, "--examples", str(options.examples)]
        command += ["--recipe", recipe, "--precision", "fp32", "--output", folder, "--json"]
        command += ["--masked-lm", options.masked_lm] if recipe == "bert-attack" else []
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        outcomes = [o for path in Path(folder).glob(f"{recipe}*.jsonl") for o in read_lines(path)[1]]
    return {o.row: None if o.adversarial is None else tuple(o.adversarial) for o in outcomes}


def overconfidence(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy under attack of a model, and of the same with its logits times 50."""
    import torch

    from sparring.attack import attack, recipes
    from sparring.attack.calibrate import calibrated
    from sparring.attack.victim import ModelVictim, as_victim
    from sparring.data.load import load

    class Loud(torch.nn.Module):
        """A model whose logits are 50 times as large."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.inner, self.config = model, model.config

        def forward(self, **inputs: Any) -> Any:
            output = self.inner(**inputs)
            output.logits = output.logits * 50
            return output

    rows = load(options.data, split="test", limit=options.examples)
    plain = as_victim(options.victim)
    loud = ModelVictim(Loud(plain.model), plain.tokenizer, max_length=plain.max_length)
    labels = [int(label) for label in rows.labels]
    found: dict[str, Any] = {}
    for name in ("textfooler", "deepwordbug"):
        recipe = recipes.RECIPES[name]()
        temperature = calibrated(loud, rows.texts, labels)
        found[name] = {
            "original": attack(plain, rows, recipe).summary.accuracy_under_attack,
            "logits_times_50": attack(loud, rows, recipe).summary.accuracy_under_attack,
            "temperature": temperature,
            "logits_times_50_calibrated": attack(
                loud, rows, recipe, temperature=temperature
            ).summary.accuracy_under_attack,
        }
        print(f"  {name}: {found[name]}", flush=True)
    return found


def main() -> None:
    from sparring.cli.console import quiet

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--masked-lm", help="folder of a masked language model: BERT-Attack is checked too")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--recipes", default="textfooler,deepwordbug,pwws")
    options = parser.parse_args()
    quiet()
    began = time.perf_counter()
    record = {"determinism": determinism(options), "overconfidence": overconfidence(options)}
    record |= {"examples": options.examples, "seconds": round(time.perf_counter() - began), "command": COMMAND}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
