"""What a prediction of an adapter mixture costs, beside plain forwards of its base.

    python benchmarks/mixture_cost.py                    MiniLM, 16 x 64 tokens (an attack's batch), on one thread
    python benchmarks/mixture_cost.py --device cuda      BERT-base shapes, 256 x 64 tokens

A mixture of m attacks evaluates m + 1 adapters and then their mixture: its bound is m + 2 plain forwards. Models take
turns, so that a change of the machine's mood hits all of them; each ratio is the median over rounds of a mixture's time
to that of the plain forward of the same round. Also measured: what a forward needs of memory beyond the weights, what
stays in memory, and the bytes that one more attack puts into the mixture's folder.
Writes benchmarks/results/mixture_cost.json.
"""

import argparse
import copy
import ctypes
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparring.adapters.adapter import Adapter, adapter_of, attach
from sparring.adapters.base import Base
from sparring.adapters.gates import Gate
from sparring.adapters.mixture import AdapterMixture
from sparring.adapters.shape import AdapterShape

RESULTS = Path(__file__).parent / "results"
KINDS, ATTACKS = ("lora", "houlsby", "pfeiffer"), (1, 2, 4)


def mixtures(base: nn.Module) -> dict[tuple[str, str, int], AdapterMixture]:
    """By (kind, mixing space, attacks), with adapters as large as default ones, which noise made different."""
    found = {}
    reference = Base.of(base)
    for kind in KINDS:
        shape = AdapterShape(kind=kind)
        adapters: dict[str, Adapter] = {}
        for number in range(max(ATTACKS) + 1):
            model = attach(copy.deepcopy(base), shape, seed=0, head="frozen")
            torch.manual_seed(number)
            with torch.no_grad():
                for weight in model.parameters():
                    if weight.requires_grad:
                        weight.add_(0.02 * torch.randn_like(weight))
            name = "clean" if number == 0 else f"attack{number}"
            adapters[name] = adapter_of(model, shape, base=reference)
        for attacks in ATTACKS:
            chosen = dict(list(adapters.items())[: attacks + 1])
            for space in ("updates", "parameters") if kind == "lora" else ("parameters",):
                gate = Gate(name="entropy_ratio")
                found[kind, space, attacks] = AdapterMixture(
                    copy.deepcopy(base), chosen, gate=gate, space=space, reference=reference
                )
    return found


def seconds(model: nn.Module, inputs: dict[str, Any]) -> float:
    """Of one forward without gradients."""
    _synchronise(inputs)
    start = time.perf_counter()
    with torch.inference_mode():
        model(**inputs)
    _synchronise(inputs)
    return time.perf_counter() - start


def peak(model: nn.Module, inputs: dict[str, Any]) -> float:
    """Bytes that a forward needs at most beyond what was there before it."""
    seconds(model, inputs)
    if inputs["input_ids"].device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds(model, inputs)
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    seconds(model, inputs)
    return 1024 * (_status("VmHWM") - before)


def folder_bytes(mixture: AdapterMixture) -> int:
    """Size of a mixture's folder without tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        mixture.save_pretrained(Path(folder) / "mix")
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def measure(base: nn.Module, inputs: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """One row a mixture."""
    models: dict[Any, Any] = {"plain": base, **mixtures(base)}
    device = inputs["input_ids"].device
    for model in models.values():
        model.to(device)
    times: dict[Any, list[float]] = {key: [] for key in models}
    for turn in range(rounds + 1):
        for key, model in models.items():
            took = seconds(model, inputs)
            if turn:  # the first turn warms up
                times[key].append(took)
    base_peak = peak(base, inputs)
    sizes = {key: folder_bytes(model) for key, model in models.items() if key != "plain"}
    rows = []
    for key, model in models.items():
        if key == "plain":
            continue
        kind, space, attacks = key
        ratio = statistics.median(a / b for a, b in zip(times[key], times["plain"], strict=True))
        own = sum(p.numel() * p.element_size() for stack in model.stacks().values() for p in stack.own().values())
        most = peak(model, inputs)
        more = sizes[kind, space, 2] - sizes[kind, space, 1]
        rows.append(
            {
                "kind": kind,
                "space": space,
                "attacks": attacks,
                "plain_seconds": round(statistics.median(times["plain"]), 5),
                "seconds": round(statistics.median(times[key]), 5),
                "plain_forwards": round(ratio, 3),
                "bound": attacks + 2,
                "measured_over_bound": round(ratio / (attacks + 2), 3),
                "peak_bytes": int(most),
                "peak_ratio": round(most / base_peak, 2),
                "adapter_bytes_in_memory": own // (attacks + 1),
                "bytes_on_disk_for_one_more_attack": more,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field + ":"))


def _synchronise(inputs: dict[str, Any]) -> None:
    if inputs["input_ids"].device.type == "cuda":
        torch.cuda.synchronize()


def _model(device: str) -> tuple[nn.Module, int]:
    if device == "cuda":
        from transformers import BertConfig, BertForSequenceClassification

        torch.manual_seed(0)
        return BertForSequenceClassification(BertConfig(num_labels=2)), 256
    from sparring.model.load import MINILM, load_classifier, load_tokenizer

    return load_classifier(MINILM, ("a", "b"), load_tokenizer(MINILM)), 16


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    base, rows = _model(options.device)
    ids = torch.randint(1000, 20000, (rows, 64), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids.to(options.device), "attention_mask": torch.ones_like(ids).to(options.device)}
    measured = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "cpu",
        "threads": options.threads,
        "torch": torch.__version__,
        "batch": list(ids.shape),
        "rounds": options.rounds,
        "rows": measure(base.eval(), inputs, options.rounds),
    }
    RESULTS.mkdir(exist_ok=True)
    name = "mixture_cost_cuda.json" if options.device == "cuda" else "mixture_cost.json"
    (RESULTS / name).write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
