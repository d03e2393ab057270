"""Attacks on a BERT-base-shaped victim on a GPU: queries a second, the victim's own best, how busy the GPU is.

    python benchmarks/attack_on_gpu.py --victim runs/base --train build/data/sst2_glue/train.csv \\
        --data build/data/sst2/test.csv --neighbours build/data/lexical/counterfitted_neighbors.json

The victim has the shape of bert-base (12 layers, width 768, 110 M parameters) and is trained from random weights when
its folder is not there: what it gets right does not matter here, what its forward passes cost does. Recipes, stop words
and synonyms are those of attack_throughput.py. Importing, loading and some other examples to warm up are not timed.

best: texts a second of bare forward passes over the texts that the attack asked about, tokenised, sorted and batched
before the clock starts, with the best of several batch sizes. gpu_busy: what nvidia-smi calls utilisation, the share of
time with a kernel running, sampled ten times a second. model_flop_utilisation: 2 x weights x tokens asked about, over
--peak floating-point operations a second. Writes benchmarks/results/attack_on_gpu.json.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from attack_throughput import RECIPES, WARM, Recorder, build_recipe, read_data, sample

RESULTS = Path(__file__).parent / "results" / "attack_on_gpu.json"
BUDGETS = (16_384, 65_536, 262_144)
"""Padded tokens in a batch, of which the best counts."""


def make_victim(folder: Path, train: Path, epochs: int) -> None:
    """A model of bert-base's shape, trained from random weights."""
    import tempfile

    import transformers

    from sparring import FineTune, finetune
    from sparring.model.load import load_tokenizer

    torch.manual_seed(0)
    tokenizer = load_tokenizer("minilm")
    config = transformers.BertConfig(vocab_size=len(tokenizer))
    with tempfile.TemporaryDirectory() as place:
        transformers.BertModel(config).save_pretrained(place)
        tokenizer.save_pretrained(place)
        finetune(
            FineTune(
                model=place,
                data=str(train),
                epochs=epochs,
                batch_size=128,
                learning_rate=5e-5,
                output=str(folder),
                group_by_length=True,
            )
        )


@contextmanager
def watched() -> Iterator[list[int]]:
    """The GPU's utilisation in percent, ten samples a second while the block runs."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100"]
    samples: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        yield samples
        process.terminate()
        samples += [int(line) for line in process.stdout.read().split() if line.isdigit()]


def attacked(recipe_name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One attack over the sample, and the victim alone over the texts that it asked about."""
    from sparring.attack import attack
    from sparring.attack.victim import as_victim

    options.recipe = recipe_name
    data = read_data(options.data)
    rows = sample(len(data), options.examples)
    others = sorted(set(range(len(data))) - set(rows))[:WARM]
    victim: Any = as_victim(str(options.victim), half=True)
    number = victim.model.config.label2id
    pairs = [(row["text"], number[row["label"]]) for row in data]
    recipe = build_recipe(options)
    attack(victim, [pairs[row] for row in others], recipe, seed=options.seed)
    victim.quick = recorder = Recorder(victim.quick)
    with watched() as busy:
        began = time.perf_counter()
        results = attack(victim, [pairs[row] for row in rows], recipe, seed=options.seed)
        seconds = time.perf_counter() - began
    inside = sum(s for name, s in results.work.seconds.items() if name in (recorder.name, victim.exact.name))
    texts = [tuple(item) for item in recorder.items]
    queries = sum(outcome.queries for outcome in results.outcomes)
    encoded = victim.encode(texts)
    tokens = sum(len(ids) for ids in encoded["input_ids"])
    weights = sum(p.numel() for name, p in victim.model.named_parameters() if p.dim() == 2 and "embeddings" not in name)
    alone = {budget: round(forward(victim, encoded, budget)) for budget in BUDGETS}
    return {
        "recipe": results.recipe,
        "examples": len(rows),
        "queries": queries,
        "texts_answered": len(texts),
        "seconds": round(seconds, 2),
        "queries_per_second": round(queries / seconds),
        "texts_per_second": round(len(texts) / seconds),
        "examples_per_minute": round(60 * len(rows) / seconds),
        "share_in_the_model": round(inside / seconds, 3),
        "mean_batch": round(statistics.mean(recorder.batches), 1),
        "best_texts_per_second": max(alone.values()),
        "best_by_budget": alone,
        "share_of_best": round(len(texts) / seconds / max(alone.values()), 3),
        "gpu_busy_percent": round(statistics.mean(busy), 1) if busy else None,
        "model_flop_utilisation": round(2 * weights * tokens / seconds / options.peak, 4) if options.peak else None,
        "statuses": {
            status: sum(one.status == status for one in results.outcomes)
            for status in sorted({one.status for one in results.outcomes})
        },
    }


def forward(victim: Any, encoded: Any, budget: int) -> float:
    """Texts a second of bare forward passes, the answers fetched as an attack fetches them."""
    victim.tokens = budget
    batches = [inputs for _, inputs in victim.batches(encoded)]
    with torch.inference_mode():
        for inputs in batches[:: max(1, len(batches) // 4)]:
            victim.fast(**inputs).logits.float().cpu()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for inputs in batches:
            victim.fast(**inputs).logits.float().cpu()
        return len(encoded["input_ids"]) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", type=Path, required=True, help="folder of a run; made when it is not there")
    parser.add_argument("--train", type=Path, help="csv with text and label that the victim learns from")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data", type=Path, required=True, help="csv with text and label")
    parser.add_argument("--neighbours", type=Path, required=True, help="json: word to list of synonyms")
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--peak", type=float, help="bfloat16 operations a second that the GPU can do at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this machine has no GPU that torch can use; attack_throughput.py measures on processors")
    from sparring.cli.console import quiet

    quiet()
    if not options.victim.is_dir():
        make_victim(options.victim, options.train, options.epochs)
    rows = []
    for recipe in options.recipes.split(","):
        rows.append(attacked(recipe, options))
        print(json.dumps(rows[-1]), flush=True)
        record = {
            "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "precision": "bfloat16",
            "examples": options.examples, "peak": options.peak, "rows": rows,
        }  # fmt: skip
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
