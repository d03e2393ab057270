"""What it saves that a language-model head sees the scored rows only, in time and in memory.

    python benchmarks/scored_rows.py                          BERT and GPT-2 in size mini, 8 x 128 tokens, on the CPU
    python benchmarks/scored_rows.py --size base --device cuda --batch 32 --length 512

A step is one forward and one backward with the clean loss and ALUM's symmetric KL: two passes of the outer player. It
runs with the head on the scored rows (as all training does) and with the head on all rows, of which the scored ones are
then picked. Both take turns; medians are reported. Memory is measured in a process of its own for each, as the peak
above what was held before the first step: of the resident memory on the CPU (Linux), of what torch allocated on a GPU.
That loss and gradients agree is checked here too. Writes benchmarks/results/scored_rows.json (scored_rows_cuda.json).
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from sparring.data.batch import Batch
from sparring.data.masking import Masking, next_tokens
from sparring.model.language import new_language_model
from sparring.model.view import ModelView
from sparring.objective import symmetric_kl, task_loss
from sparring.perturb.draws import uniform

RESULTS = Path(__file__).parent / "results"
OBJECTIVES = {"bert": "mlm", "roberta": "mlm", "gpt2": "clm"}


class Vocabulary:
    """As much of a tokenizer as random text needs."""

    pad_token_id, bos_token_id, eos_token_id, cls_token_id, sep_token_id, mask_token_id = range(6)
    all_special_ids = tuple(range(6))

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Every token is a word."""
        return [str(i) for i in ids]


def setting(family: str, options: argparse.Namespace) -> tuple[ModelView, Batch]:
    """A new model without dropout, and a batch of full rows of random tokens."""
    device, tokenizer = torch.device(options.device), Vocabulary(options.vocabulary)
    model = new_language_model(
        OBJECTIVES[family],  # type: ignore[arg-type]
        family,
        options.size,
        tokenizer,
        length=options.length,
        seed=0,
    ).to(device)
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(6, options.vocabulary, (options.batch, options.length), generator=source)
    segments = torch.ones_like(ids)
    if OBJECTIVES[family] == "mlm":
        given = Masking(tokenizer, options.rate)(ids, segments, seed=0, step=0, total=1, rows=range(options.batch))
    else:
        given = next_tokens(ids, segments)
    given.pop("segments")
    batch = Batch.from_inputs({k: x.to(device) for k, x in given.items()}, shift=OBJECTIVES[family] == "clm")
    return ModelView(model.eval()), batch


def step(view: ModelView, batch: Batch, *, full: bool, half: bool) -> Tensor:
    """Gradients of the clean loss and the symmetric KL to a perturbed pass; the loss."""
    view.model.zero_grad(set_to_none=True)
    head = view._head
    if full:
        view._head = None  # the model then makes all logits, and the view picks the scored ones
    try:
        with torch.autocast(batch.real.device.type, torch.bfloat16, enabled=half):
            delta = 1e-2 * uniform(batch, view.zeros(batch), "anything")
            clean, moved = view.logits(batch), view.logits(batch, delta)
        loss = task_loss(clean, batch) + symmetric_kl(moved, clean)
        loss.backward()
    finally:
        view._head = head
    return loss.detach()


def agreement(view: ModelView, batch: Batch) -> dict[str, float]:
    """Largest differences of loss and gradients between both heads, in float32."""
    losses, gradients = [], []
    for full in (False, True):
        losses.append(float(step(view, batch, full=full, half=False)))
        gradients.append([p.grad.clone() for p in view.model.parameters() if p.grad is not None])
    apart = max(float((a - b).abs().max()) for a, b in zip(*gradients, strict=True))
    return {"loss": abs(losses[0] - losses[1]), "gradient": apart}


def seconds(view: ModelView, batch: Batch, options: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step with each head, which take turns."""
    times: dict[str, list[float]] = {"scored": [], "all": []}
    for turn in range(options.repeats + 1):
        for name, full in (("scored", False), ("all", True)):
            begun = time.perf_counter()
            step(view, batch, full=full, half=options.bf16)
            if batch.real.is_cuda:
                torch.cuda.synchronize()
            if turn:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}


def peak(family: str, full: bool, options: argparse.Namespace, answer: Callable[[int], None]) -> None:
    """Answer with the bytes that steps need on top of the model; in a process of its own, whose peak is untouched."""
    torch.set_num_threads(options.threads)
    view, batch = setting(family, options)
    if batch.real.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again at what is held now
        before = _resident("VmRSS")
    for _ in range(2):
        step(view, batch, full=full, half=options.bf16)
    after = torch.cuda.max_memory_allocated() if batch.real.is_cuda else _resident("VmHWM")
    answer(after - before)


def _resident(name: str) -> int:
    """Bytes resident now (VmRSS) or at most (VmHWM). getrusage's peak would be that of the process before this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + ":"))) * 1024


def memory(family: str, options: argparse.Namespace) -> dict[str, int]:
    """Bytes with each head."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for name, full in (("scored", False), ("all", True)):
        queue = context.SimpleQueue()
        process = context.Process(target=peak, args=(family, full, options, queue.put))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"the process that measures memory ended with code {process.exitcode}")
        found[name] = int(queue.get())
    return found


def measure(family: str, options: argparse.Namespace) -> dict[str, Any]:
    """One family: agreement, time, memory."""
    view, batch = setting(family, options)
    apart = agreement(view, batch)
    took = seconds(view, batch, options)
    del view
    held = memory(family, options)
    row = {
        "scored_rows": len(batch.targets),
        "all_rows": batch.real.numel(),
        "seconds": {name: round(value, 4) for name, value in took.items()},
        "speed_up": round(took["all"] / took["scored"], 3),
        "bytes": held,
        "memory_saved": round(1 - held["scored"] / max(held["all"], 1), 3),
        "largest_difference": apart,
    }
    print(
        f"{family:8} {row['scored_rows']:5} of {row['all_rows']} rows  {took['all']:.3f} s -> {took['scored']:.3f} s  "
        f"x {row['speed_up']}  {held['all'] / 2**20:.0f} MiB -> {held['scored'] / 2**20:.0f} MiB  "
        f"apart: loss {apart['loss']:.1e}, gradient {apart['gradient']:.1e}",
        flush=True,
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=OBJECTIVES, default=["bert", "roberta", "gpt2"])
    parser.add_argument("--size", default="mini")
    parser.add_argument("--vocabulary", type=int, default=30_522)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.15, help="share of tokens masked; causal models score all")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast; the check of agreement is in float32 always")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name = "scored_rows_cuda.json" if options.device.startswith("cuda") else "scored_rows.json"
    output = options.output or RESULTS / name
    rows = {family: measure(family, options) for family in options.families}
    record = {
        "settings": {k: v for k, v in vars(options).items() if k not in ("output", "families")},
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {"transformers": transformers.__version__},
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else f"CPU, {os.cpu_count()} cores",
        "families": rows,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
