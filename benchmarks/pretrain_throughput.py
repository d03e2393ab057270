"""Tokens per second of pre-training, plain and with ALUM, and how near that is to the bound that the passes set.

    python benchmarks/pretrain_throughput.py                        embedded text, mini BERT, on this machine
    python benchmarks/pretrain_throughput.py --corpus 'text/*.jsonl' --size small --length 128 --batch-size 64 --compile

Whole runs of `sparring pretrain`, text included: reading, tokenising, packing, masking, updating. Plain and adversarial
runs take turns, so that a change of the machine's mood hits both, and medians over the rounds are reported. ALUM's
bound is 8/3 plain steps (docs/cost.md); measured_over_bound is the time of its steps over that many of the plain runs
beside it. model_flop_utilisation: 6 x weights x tokens a plain step (embeddings that are looked up left out, the head
on 15 % of the tokens) over --peak floating-point operations a second, where given. Writes
benchmarks/results/pretrain_throughput.jsonl; a setting that is recorded is measured again only with --again.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results" / "pretrain_throughput.jsonl"
METHODS = ("standard", "alum")


def measured(method: str, precision: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """One run: medians of its log, the first half of which warms up."""
    from sparring.train.pretrain import pretrain
    from sparring.train.pretrain_options import Pretrain

    run = Pretrain(
        corpus=options.corpus,
        tokenizer=options.tokenizer or (str(folder / "tokenizer") if (folder / "tokenizer").is_dir() else None),
        vocab=options.vocab,
        family=options.family,
        objective="clm" if options.family == "gpt2" else "mlm",
        size=options.size,
        length=options.length,
        batch_size=options.batch_size,
        accumulation=options.accumulation,
        steps=options.steps,
        method=method,
        precision=precision,
        compile=options.compile,
        activation_checkpointing=options.activation_checkpointing,
        workers=options.workers,
        save_every=options.steps,
        keep=1,
        eval_blocks=1,
        eval_every=options.steps,
        pseudo_texts=0,
        output=str(folder / "run"),
    )
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Path(place) / "run"
        pretrain(Pretrain(**{**vars(run), "output": str(made)}))
        rows = [json.loads(line) for line in (made / "log.jsonl").read_text().splitlines()]
        if not (folder / "tokenizer").is_dir():
            (made / "tokenizer").rename(folder / "tokenizer")
        weights = _weights(made)
    late = [row for row in rows if "share_of_bound" in row and row["step"] > options.steps // 2]
    found = {name: statistics.median(row[name] for row in late) for name in ("tokens_per_second", "share_of_bound")}
    return found | {"weights": weights}


def _weights(run: Path) -> float:
    """Weights that multiply activations, the head's at the share of the tokens it scores."""
    from safetensors import safe_open

    total = 0.0
    with safe_open(run / "model.safetensors", framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            shape = file.get_slice(name).get_shape()
            if len(shape) == 2 and not any(word in name for word in ("embeddings", "wte", "wpe")):
                total += shape[0] * shape[1]
            if name.endswith(("word_embeddings.weight", "wte.weight")):  # the tied output layer
                total += shape[0] * shape[1] * (1.0 if "wte" in name else 0.15)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="demo")
    parser.add_argument("--family", default="bert", choices=["bert", "roberta", "gpt2"])
    parser.add_argument("--size", default="mini")
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--tokenizer", help="folder of one; by default the first run trains one on the corpus")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="who prepares text ahead, as in `sparring pretrain`")
    parser.add_argument("--precision", action="append", choices=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--activation-checkpointing", action="store_true")
    parser.add_argument("--peak", type=float, help="floating-point operations a second that the device can do at most")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    from sparring.cli.console import quiet
    from sparring.methods import method
    from sparring.train.pace import plain_steps

    quiet()
    bound = plain_steps(method("alum"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    for precision in options.precision or ["fp32", "bf16"]:
        setting = {
            "device": device, "precision": precision, "compile": options.compile, "family": options.family,
            "size": options.size, "length": options.length, "batch_size": options.batch_size,
            "accumulation": options.accumulation, "activation_checkpointing": options.activation_checkpointing,
            "corpus": options.corpus, "vocab": options.vocab, "steps": options.steps, "rounds": options.rounds,
            **({"workers": options.workers} if options.workers != 1 else {}),
        }  # fmt: skip
        before = (
            [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
        )
        same = [row for row in before if all(row.get(name) == value for name, value in setting.items())]
        if same and not options.again:
            continue
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(options.rounds):
                for name in METHODS:
                    found[name].append(measured(name, precision, Path(folder), options))
        rates = {name: [one["tokens_per_second"] for one in runs] for name, runs in found.items()}
        ratio = statistics.median(a / b for a, b in zip(rates["standard"], rates["alum"], strict=True))
        row = setting | {
            "tokens_per_second": {name: round(statistics.median(values), 1) for name, values in rates.items()},
            "share_of_bound": {
                name: round(statistics.median(one["share_of_bound"] for one in runs), 3) for name, runs in found.items()
            },
            "relative_time": round(ratio, 3),
            "bound": round(bound, 3),
            "measured_over_bound": round(ratio / bound, 3),
        }
        if options.peak:
            operations = 6 * found["standard"][0]["weights"] * row["tokens_per_second"]["standard"]
            row["model_flop_utilisation"] = round(operations / options.peak, 4)
        options.results.parent.mkdir(parents=True, exist_ok=True)
        kept = [old for old in before if old not in same]
        options.results.write_text("".join(json.dumps(one) + "\n" for one in [*kept, row]))
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
