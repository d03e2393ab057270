"""Whether a corpus of any size is read, tokenised and packed in constant memory: 5 GiB of it, peak memory on the way.

    python benchmarks/stream_memory.py
    python benchmarks/stream_memory.py --gib 0.02 --shuffle 300 --output memory.json       # a try

The corpus is made on the fly, so that it needs no disk: random words of a large made-up vocabulary, in documents whose
lengths vary over three orders of magnitude, cut by the same code that reads text files. The record holds the resident
memory of the process at 10 %, 50 % and 100 % of the stream and its peak until then, the size of a checkpoint's data
state, and in how many parts it was made. A file beside the record keeps the position every few minutes: run again after
an interruption, the benchmark goes on from there, and a peak is the highest of the parts.
"""

import argparse
import io
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from sparring.data import sources
from sparring.data.ahead import Steps, next_of
from sparring.data.corpus import Corpus
from sparring.data.packing import Lanes
from sparring.data.sources import Text
from sparring.data.vocabulary import train_tokenizer

RESULTS = Path(__file__).parent / "results" / "stream_memory.json"
SHARES = (0.1, 0.5, 1.0)
CHUNK = 1 << 20


class Endless(io.RawIOBase):
    """A file of so many bytes that exists only while it is read: chunk i is drawn from i alone."""

    def __init__(self, size: int, words: list[bytes]) -> None:
        self._size, self._words, self._at = size, words, 0
        self._chunk = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset if whence == 0 else self._at + offset if whence == 1 else self._size + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        number, inside = divmod(self._at, CHUNK)
        if self._chunk[0] != number:
            self._chunk = (number, self._make(number))
        part = self._chunk[1][inside : inside + min(len(buffer), self._size - self._at)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _make(self, number: int) -> bytes:
        draws = np.random.Generator(np.random.Philox(number))
        picked = (draws.pareto(0.6, CHUNK // 4) * 3).astype(int) % len(self._words)
        parts: list[bytes] = []
        held = 0
        places = iter(picked.tolist())
        while held < CHUNK:
            count = int(10 ** draws.uniform(0.5, 3.5))
            parts += [self._words[place] for _, place in zip(range(count), places, strict=False)]
            parts.append(b"\n\n")
            held = sum(map(len, parts)) + len(parts) if held == 0 else held + 6 * count
        return b" ".join(parts)[: CHUNK - 2].ljust(CHUNK - 2) + b"\n\n"


def words(count: int) -> list[bytes]:
    """Made-up words, the frequent ones short."""
    draws = np.random.Generator(np.random.Philox(7))
    letters = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", np.uint8)
    lengths = np.clip((2 + np.log1p(np.arange(count)) + draws.normal(0, 1, count)).astype(int), 1, 15)
    return [bytes(letters[np.minimum(25, draws.exponential(6, n).astype(int))]) for n in lengths]


def resident() -> float:
    """Megabytes of the process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak() -> float:
    """Megabytes of the process at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def passed(steps: Steps, size: int) -> int:
    """Bytes of the stream before the window that the hindmost lane reads."""
    state = steps.state()
    place, again = state["window"]["place"], state["window"]["epoch"] > 0
    if again or not place["open"]:
        return size if again or place["documents"] else 0
    return (place["open"][0][1] or [0])[0]


def measure(options: argparse.Namespace, done: dict[str, Any], save: Callable[[], None]) -> None:
    """Go through the stream; rows are added to `done` at each share, the position is kept now and then."""
    size = int(options.gib * (1 << 30))
    vocabulary = words(200_000)

    def opened(path: Path) -> IO[bytes]:
        return io.BufferedReader(Endless(size, vocabulary), 1 << 16)

    sources._open = opened  # type: ignore[assignment]
    corpus = Corpus("synthetic", [Text(Path("synthetic.txt"), "synthetic", size)], size=size, digest=str(size))
    tokenizer = train_tokenizer(corpus, kind="bpe", family="roberta", size=8000, most_bytes=min(size, 32 << 20))

    def make(lanes: range) -> Lanes:
        return Lanes(
            corpus, tokenizer, length=options.length, lanes=lanes, all_lanes=options.batch, seed=0,
            shuffle=options.shuffle,
        )  # fmt: skip

    steps = Steps(make, range(options.batch), next_of, workers=options.workers)
    if done["state"]:
        steps.load(done["state"])
    begun = kept = time.perf_counter()
    seconds_before, peak_before = done["seconds"], done["peak_mb"]

    def keep() -> None:
        done["seconds"] = round(seconds_before + time.perf_counter() - begun, 1)
        done["peak_mb"] = round(max(peak_before, peak()), 1)
        done["state"] = steps.state()
        save()

    for share in SHARES:
        if any(row["share"] == share for row in done["rows"]):
            continue
        while passed(steps, size) < share * size:
            for _ in range(20):
                done["blocks"] += len(next(steps)["input_ids"])
            if time.perf_counter() - kept > 120:
                kept = time.perf_counter()
                keep()
        keep()
        tokens = done["blocks"] * options.length
        done["rows"].append(
            {
                "share": share,
                "gib": round(share * options.gib, 3),
                "tokens": tokens,
                "tokens_per_second": round(tokens / done["seconds"]),
                "resident_mb": round(resident(), 1),
                "peak_mb": done["peak_mb"],
                "state_bytes": len(json.dumps(done["state"])),
                "seconds": done["seconds"],
            }
        )
        print(json.dumps(done["rows"][-1]), flush=True)
        save()
    steps.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=5.0)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64, help="rows of the global batch")
    parser.add_argument("--shuffle", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1, choices=[0, 1])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    settings = {name: getattr(options, name) for name in ("gib", "length", "batch", "shuffle", "workers")}
    beside = options.output.with_suffix(".partial")
    done: dict[str, Any] = {"settings": settings, "rows": [], "state": None, "blocks": 0, "seconds": 0.0, "peak_mb": 0}
    if beside.exists():
        before = json.loads(beside.read_text())
        done = before if before["settings"] == settings else done
    done["parts"] = done.get("parts", 1 if done["state"] else 0) + 1
    options.output.parent.mkdir(exist_ok=True)

    def save() -> None:
        fresh = beside.with_suffix(".writing")
        fresh.write_text(json.dumps(done))
        fresh.replace(beside)

    measure(options, done, save)
    record = {"settings": settings, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "rows": done["rows"]}
    record["parts"] = done["parts"]
    options.output.write_text(json.dumps(record, indent=1) + "\n")
    beside.unlink()


if __name__ == "__main__":
    main()
