"""What `--group-by-length` saves: tokens a row with padding, and the time of plain training steps.

    python benchmarks/grouping.py --data sst2=sst2/train.csv rte=rte/train.csv

The same rows in the two orders of `sparring train`, in batches of 16, MiniLM in float32. Both orders take turns, an
epoch each; medians over rounds. Writes benchmarks/results/grouping.json.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler, Sampler

from sparring.data.collate import Classify, encode
from sparring.data.load import load
from sparring.model.load import load_classifier, load_tokenizer
from sparring.train.order import ByLength, lengths_of

BATCH = 16
RESULTS = Path(__file__).parent / "results" / "grouping.json"


def epoch(model: Any, optimizer: torch.optim.Optimizer, loader: Any) -> tuple[float, int]:
    """Seconds, and tokens with padding, of plain training steps over all rows."""
    tokens, began = 0, time.perf_counter()
    for batch in loader:
        tokens += batch["input_ids"].numel()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - began, tokens


def measure(name: str, path: str, rows: int, rounds: int) -> dict[str, Any]:
    """One row of the record."""
    tokenizer = load_tokenizer("minilm")
    examples = load(path, limit=rows)
    encoded = encode(tokenizer, examples, max_length=128)
    model: Any = load_classifier("minilm", examples.label_names, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    lengths = lengths_of(encoded)
    orders: dict[str, Sampler[int]] = {
        "random": RandomSampler(encoded, generator=torch.Generator().manual_seed(0)),
        "grouped": ByLength(lengths, BATCH, seed=0),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in orders}
    tokens: dict[str, list[int]] = {kind: [] for kind in orders}
    for number in range(rounds):
        for kind, order in orders.items():
            if isinstance(order, ByLength):
                order.set_epoch(number)
            loader = DataLoader(encoded, BATCH, sampler=order, collate_fn=Classify(tokenizer))
            took, count = epoch(model, optimizer, loader)
            seconds[kind].append(took)
            tokens[kind].append(count)
    ratio = statistics.median(one / other for one, other in zip(seconds["random"], seconds["grouped"], strict=True))
    return {
        "data": name,
        "rows": len(encoded),
        "tokens": round(sum(lengths) / len(lengths), 1),
        "padded": round(statistics.median(tokens["random"]) / len(encoded), 1),
        "padded_grouped": round(statistics.median(tokens["grouped"]) / len(encoded), 1),
        "times_faster": round(ratio, 2),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "command": f"python benchmarks/grouping.py {' '.join(sys.argv[1:])}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    records = []
    for given in options.data:
        name, _, path = given.partition("=")
        records.append(measure(name, path, options.rows, options.rounds))
        print(records[-1], flush=True)
    RESULTS.write_text(json.dumps(records, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
