"""What keeping freed memory saves: the time of plain training steps on the CPU, and the peak of memory.

    python benchmarks/freed_memory.py --data sst2=sst2/train.csv rte=rte/train.csv

MiniLM in bfloat16 where the processor is fast at it, one thread, batches of rows of like length. Processes with and
without take turns; medians over rounds of the seconds from the eleventh step on. Writes
benchmarks/results/freed_memory.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "freed_memory.json"
WARM_UP = 10


def trained(path: str, steps: int, batch_size: int, kept: bool) -> dict[str, float]:
    """In a process of its own: seconds of so many steps after the first ten, and peak memory in MB."""
    import torch
    from torch.utils.data import DataLoader

    from sparring.allocator import keep_freed_memory
    from sparring.data.collate import Classify, encode
    from sparring.data.load import load
    from sparring.model.load import fast_bf16, load_classifier, load_tokenizer
    from sparring.train.order import ByLength, lengths_of

    if kept and not keep_freed_memory():
        raise SystemExit("the C library does not take the setting, or the environment has settings of its own")
    torch.set_num_threads(1)
    tokenizer = load_tokenizer("minilm")
    examples = load(path, limit=(WARM_UP + steps) * batch_size)
    encoded = encode(tokenizer, examples, max_length=128)
    model: Any = load_classifier("minilm", examples.label_names, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    order = ByLength(lengths_of(encoded), batch_size, seed=0)
    if len(encoded) < (WARM_UP + steps) * batch_size:
        raise SystemExit(f"{path} has {len(encoded)} rows, too few for {WARM_UP} + {steps} steps of {batch_size}")
    began = 0.0
    for number, batch in enumerate(DataLoader(encoded, batch_size, sampler=order, collate_fn=Classify(tokenizer))):
        if number == WARM_UP:
            began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast_bf16()):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure(name: str, path: str, steps: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """One row of the record."""
    found: dict[str, list[dict[str, float]]] = {"kept": [], "given back": []}
    for _ in range(rounds):
        for how, values in found.items():
            command = [sys.executable, __file__, "--one", how, "--data", f"{name}={path}"]
            command += ["--steps", str(steps), "--batch-size", str(batch_size)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment())
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            values.append(json.loads(done.stdout))
    middle = lambda key, how: statistics.median(one[key] for one in found[how])  # noqa: E731
    return {
        "data": name,
        "batch_size": batch_size,
        "times_faster": round(middle("seconds", "given back") / middle("seconds", "kept"), 2),
        "peak_memory_ratio": round(middle("peak", "kept") / middle("peak", "given back"), 2),
        "steps": steps,
        "rounds": rounds,
        "threads": 1,
        "command": f"python benchmarks/freed_memory.py {' '.join(sys.argv[1:])}",
    }


def environment() -> dict[str, str]:
    """Ours, with one thread and no choice of an allocator."""
    from sparring.allocator import OWN_CHOICE

    return {name: value for name, value in os.environ.items() if not name.startswith(OWN_CHOICE)} | {
        "OMP_NUM_THREADS": "1"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="NAME=FILE")
    parser.add_argument("--steps", type=int, default=40, help="measured, after ten that are not")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=["kept", "given back"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    records = []
    for given in options.data:
        name, _, path = given.partition("=")
        for batch_size in options.batch_size:
            if options.one:
                print(json.dumps(trained(path, options.steps, batch_size, options.one == "kept")))
                continue
            records.append(measure(name, path, options.steps, batch_size, options.rounds))
            print(records[-1], flush=True)
    if not options.one:
        RESULTS.write_text(json.dumps(records, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
