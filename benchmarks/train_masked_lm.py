"""A small masked language model for the attacks that ask one, out of the packaged MiniLM, in minutes of one core.

    python benchmarks/train_masked_lm.py --data reviews.jsonl --output masked-lm --minutes 28

MiniLM has no language-model head: a new one is put on (dense, GELU, LayerNorm; the decoder is tied to the word
embeddings, its bias starts at the log frequencies of the words), and all is trained on masked words: 15 % of the
tokens, of which 80 % become the mask token, 10 % another token, and 10 % stay (Devlin et al. 2019). Texts are cut into
runs of whole sentences of random length, because attacks work on sentences as well as on reviews.

`--data` files are .jsonl with a "text" field, or plain text with one paragraph a line. Every 50th text of the first
file is held out. The record is benchmarks/results/masked_lm.json.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from sparring.model.load import fast_bf16, load_tokenizer, minilm_folder

RESULTS = Path(__file__).parent / "results" / "masked_lm.json"
HELD_OUT = 50
_SENTENCE = re.compile(r"(?<=[.!?])[\"')]*\s+")


def texts(path: Path) -> list[str]:
    """Texts of a .jsonl file, or paragraphs of a plain one."""
    lines = path.read_text(encoding="utf-8").split("\n")
    found = [json.loads(line)["text"] for line in lines if line.strip()] if path.suffix == ".jsonl" else lines
    return [text.replace("<br />", " ").strip() for text in found if len(text.split()) >= 5]


def chunks(documents: list[str], tokenizer: Any, longest: int, draws: np.random.Generator) -> list[list[int]]:
    """Token ids of runs of whole sentences, each up to a random number of tokens, special tokens included."""
    first, last, found = tokenizer.cls_token_id, tokenizer.sep_token_id, []
    for begin in range(0, len(documents), 500):
        split = [_SENTENCE.split(document) for document in documents[begin : begin + 500]]
        ids = iter(
            tokenizer(
                [sentence for sentences in split for sentence in sentences], add_special_tokens=False, verbose=False
            )["input_ids"]
        )
        for sentences in split:
            run: list[int] = []
            room = draws.integers(longest // 4, longest - 1)
            for sentence in (next(ids) for _ in sentences):
                if run and len(run) + len(sentence) > room:
                    found.append([first, *run[: longest - 2], last])
                    run, room = [], draws.integers(longest // 4, longest - 1)
                run += sentence
            found.append([first, *run[: longest - 2], last])
    return [run for run in found if len(run) >= 7]


def batches(
    runs: list[list[int]], tokens: int, pad: int, draws: np.random.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and attention masks, runs of similar length together; in a random order if `draws` is given."""
    jitter = draws.random(len(runs)) * 8 if draws else np.zeros(len(runs))
    order = sorted(range(len(runs)), key=lambda row: len(runs[row]) + jitter[row])
    cut, rows, longest = [], [], 0
    for row in order:
        longest = max(longest, len(runs[row]))
        if rows and longest * (len(rows) + 1) > tokens:
            cut.append(rows)
            rows, longest = [], len(runs[row])
        rows.append(row)
    cut.append(rows)
    for place in draws.permutation(len(cut)) if draws else range(len(cut)):
        width = max(len(runs[row]) for row in cut[place])
        ids = torch.tensor([runs[row] + [pad] * (width - len(runs[row])) for row in cut[place]])
        yield ids, (ids != pad).long()


def masked(ids: Tensor, tokenizer: Any, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """What the model reads, and which positions it is asked about: 15 %, in shares of 80/10/10."""
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    chosen = (torch.rand(ids.shape, generator=source) < 0.15) & ~special
    kind = torch.rand(ids.shape, generator=source)
    read = ids.masked_fill(chosen & (kind < 0.8), tokenizer.mask_token_id)
    other = torch.randint(len(tokenizer), ids.shape, generator=source)
    return torch.where(chosen & (kind >= 0.9), other, read), chosen


def scores(model: Any, read: Tensor, real: Tensor, chosen: Tensor, half: bool) -> Tensor:
    """(positions, V) logits at the chosen positions alone: the vocabulary is wide."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        hidden = model.bert(input_ids=read, attention_mask=real).last_hidden_state
        return model.cls(hidden[chosen])


@torch.inference_mode()
def evaluate(model: Any, runs: list[list[int]], tokenizer: Any, half: bool) -> dict[str, float]:
    """Cross entropy and accuracy in the training's own masking, and accuracy with one word masked, as attacks do."""
    model.eval()
    source = torch.Generator().manual_seed(1)
    total = {"loss": 0.0, "right": 0, "asked": 0, "one_right": 0, "one": 0}
    for ids, real in batches(runs, 4096, tokenizer.pad_token_id, None):
        read, chosen = masked(ids, tokenizer, source)
        logits = scores(model, read, real, chosen, half).float()
        total["loss"] += float(nn.functional.cross_entropy(logits, ids[chosen], reduction="sum"))
        total["right"] += int((logits.argmax(-1) == ids[chosen]).sum())
        total["asked"] += int(chosen.sum())
        place = 1 + (torch.rand(len(ids), generator=source) * (real.sum(1) - 2)).long()
        one = torch.zeros_like(ids, dtype=torch.bool)
        one[torch.arange(len(ids)), place] = True
        guess = scores(model, ids.masked_fill(one, tokenizer.mask_token_id), real, one, half).argmax(-1)
        total["one_right"] += int((guess == ids[one]).sum())
        total["one"] += len(ids)
    model.train()
    loss = total["loss"] / total["asked"]
    return {
        "loss": round(loss, 4),
        "perplexity": round(math.exp(loss), 2),
        "accuracy": round(total["right"] / total["asked"], 4),
        "accuracy_one_mask": round(total["one_right"] / total["one"], 4),
        "tokens_asked": int(total["asked"]),
    }


def new_model(runs: list[list[int]], seed: int, start: Path | None) -> Any:
    """MiniLM with a new head, or an earlier result. No dropout: less than one pass over the texts is made."""
    torch.manual_seed(seed)
    model = transformers.BertForMaskedLM.from_pretrained(
        str(start or minilm_folder()),
        use_safetensors=True,
        dtype=torch.float32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        tie_word_embeddings=True,
    )
    if start:
        return model
    counts = np.bincount([i for run in runs[:20_000] for i in run[1:-1]], minlength=model.config.vocab_size) + 0.1
    with torch.no_grad():
        model.cls.predictions.bias.copy_(torch.from_numpy(np.log(counts / counts.sum())))
    return model


def train(
    model: Any, runs: list[list[int]], tokenizer: Any, options: argparse.Namespace, half: bool
) -> dict[str, float | int]:
    """AdamW on a schedule by the clock: linear warm-up over 5 % of the minutes, then linear decay to nothing."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    flat = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98), fused=True)
    draws, source = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
    steps = tokens = 0
    begun, shown, smooth = time.perf_counter(), 0.0, math.nan
    while True:
        for ids, real in batches(runs, options.tokens, tokenizer.pad_token_id, draws):
            share = (time.perf_counter() - begun) / (60 * options.minutes)
            if share >= 1:
                return {"steps": steps, "tokens": tokens, "seconds": round(time.perf_counter() - begun, 1)}
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * min(share / 0.05, (1 - share) / 0.95)
            read, chosen = masked(ids, tokenizer, source)
            loss = nn.functional.cross_entropy(scores(model, read, real, chosen, half).float(), ids[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps, tokens = steps + 1, tokens + int(real.sum())
            smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
            if time.perf_counter() - shown > 20:
                shown = time.perf_counter()
                print(f"{shown - begun:6.0f} s  step {steps}  {tokens} tokens  loss {smooth:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--validation", type=Path, nargs="*", default=[], help="more held-out files to score")
    parser.add_argument("--start", type=Path, help="go on from an earlier output; default MiniLM with a new head")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--tokens", type=int, default=1024, help="padded tokens in a batch")
    parser.add_argument("--length", type=int, default=64, help="longest run of sentences in tokens")
    parser.add_argument("--held-out", type=int, default=1500, help="held-out runs scored")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    half = fast_bf16()
    tokenizer = load_tokenizer("minilm")
    draws = np.random.default_rng(options.seed)
    first, *more = [texts(path) for path in options.data]
    held_out = {options.data[0].name: chunks(first[::HELD_OUT], tokenizer, options.length, draws)}
    for path in options.validation:
        held_out[path.name] = chunks(texts(path), tokenizer, options.length, draws)
    held_out = {name: runs[: options.held_out] for name, runs in held_out.items()}
    kept = [text for i, text in enumerate(first) if i % HELD_OUT] + [text for other in more for text in other]
    runs = chunks(kept, tokenizer, options.length, draws)
    print(f"{len(runs)} runs, {sum(map(len, runs))} tokens, bf16 {half}", flush=True)

    model = new_model(runs, options.seed, options.start)
    before = {name: evaluate(model, given, tokenizer, half) for name, given in held_out.items()}
    print("before", before, flush=True)
    done = train(model, runs, tokenizer, options, half)
    after = {name: evaluate(model, given, tokenizer, half) for name, given in held_out.items()}
    print("after", after, flush=True)
    model.config.name_or_path = ""
    model.eval().save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    record = {
        "command": "python benchmarks/train_masked_lm.py --data "
        + " ".join(path.name for path in options.data)
        + "".join(f" --validation {path.name}" for path in options.validation[:1])
        + "".join(f" {path.name}" for path in options.validation[1:])
        + (f" --start {options.start.name}" if options.start else "")
        + "".join(f" --{name} {getattr(options, name.replace('-', '_'))}" for name in ("minutes", "learning-rate"))
        + f" --tokens {options.tokens} --length {options.length} --seed {options.seed}",
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {"transformers": transformers.__version__},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "bf16": half,
        "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in options.data},
        "tokens_available": sum(map(len, runs)),
        **done,
        "tokens_per_second": round(done["tokens"] / done["seconds"]),
        "before": before,
        "after": after,
    }
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {options.output} and {options.results}", file=sys.stderr)


if __name__ == "__main__":
    main()
