"""Minimal pairs: does a language model find the grammatical one of two sentences likelier? Warstadt et al., TACL 2020.

Sentences are scored by `language.score_sentences`: by log-likelihood, or by pseudo-log-likelihood in a masked model.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import DataError
from ..model.view import ModelView
from .language import Variant, score_sentences
from .metrics import interval

_NAMES = (("sentence_good", "sentence_bad"), ("good", "bad"))
_GROUPS = ("phenomenon", "linguistics_term", "UID")


@dataclass(frozen=True)
class Pair:
    """Two sentences that differ in one point, of which the first is grammatical."""

    good: str
    bad: str
    phenomenon: str = ""


def read_pairs(path: str | Path) -> list[Pair]:
    """Minimal pairs of a .jsonl file, or of all .jsonl files in a folder in the order of their names.

    Fields: "sentence_good" and "sentence_bad" (as in BLiMP), or "good" and "bad"; the phenomenon comes from
    "phenomenon", "linguistics_term" or "UID", the first that is there. Raises DataError that names file and line.
    """
    place = Path(path)
    if not place.is_dir():
        return _read_file(place)
    files = sorted(file for file in place.glob("*.jsonl") if not file.name.startswith("."))
    if not files:
        raise DataError(f"there is no .jsonl file in the folder {place}")
    return [pair for file in files for pair in _read_file(file)]


def _read_file(file: Path) -> list[Pair]:
    pairs = []
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise DataError(f"cannot read the minimal pairs in {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}, line {number}: not valid JSON ({error})") from error
        names = next((pair for pair in _NAMES if isinstance(row, dict) and all(name in row for name in pair)), None)
        if names is None:
            raise DataError(
                f"{file}, line {number}: a minimal pair needs sentence_good and sentence_bad, or good and bad"
            )
        good, bad = (row[name] for name in names)
        if not (isinstance(good, str) and isinstance(bad, str) and good.strip() and bad.strip()):
            raise DataError(f"{file}, line {number}: {names[0]} and {names[1]} must both be texts that are not empty")
        if good == bad:
            raise DataError(f"{file}, line {number}: both sentences are the same, {good[:60]!r}")
        pairs.append(Pair(good, bad, next((str(row[name]) for name in _GROUPS if row.get(name)), "")))
    if not pairs:
        raise DataError(f"{file} holds no minimal pairs")
    return pairs


@dataclass(frozen=True)
class PairScores:
    """How often the good sentence of a pair has the higher score."""

    right: tuple[bool, ...]
    """One a pair, in their order. A tie is not right."""
    ties: int
    phenomena: tuple[str, ...]
    """The phenomenon of each pair, "" where the file names none."""
    method: str
    """How a sentence was scored: "log_likelihood", or the variant of the pseudo-log-likelihood."""

    def summary(self) -> dict[str, Any]:
        """Accuracy with Wilson's 95 % interval, of all pairs and, if they are named, of each phenomenon."""
        kinds = sorted(set(self.phenomena))
        by: dict[str, list[bool]] = {kind: [] for kind in kinds}
        for kind, right in zip(self.phenomena, self.right, strict=True):
            by[kind].append(right)
        parts = {kind or "other": _accuracy(rights) for kind, rights in by.items()} if kinds != [""] else {}
        return {**_accuracy(self.right), "ties": self.ties, "method": self.method, "phenomena": parts}


def minimal_pairs(
    model: nn.Module | ModelView,
    tokenizer: Any,
    pairs: Sequence[Pair],
    *,
    causal: bool,
    variant: Variant = "word_l2r",
    batch_size: int = 64,
    begin: bool = False,
    autocast: torch.dtype | None = None,
    progress: Callable[[int], None] | None = None,
) -> PairScores:
    """Which sentence of each pair scores higher; the settings are those of `score_sentences`."""
    if not pairs:
        raise DataError("there are no minimal pairs to compare")
    sentences = [sentence for pair in pairs for sentence in (pair.good, pair.bad)]
    scores = score_sentences(
        model,
        tokenizer,
        sentences,
        causal=causal,
        variant=variant,
        batch_size=batch_size,
        begin=begin,
        autocast=autocast,
        progress=progress,
    )
    good, bad = [score.total for score in scores[::2]], [score.total for score in scores[1::2]]
    return PairScores(
        tuple(a > b for a, b in zip(good, bad, strict=True)),
        sum(a == b for a, b in zip(good, bad, strict=True)),
        tuple(pair.phenomenon for pair in pairs),
        "log_likelihood" if causal else f"pseudo_log_likelihood_{variant}",
    )


def _accuracy(right: Sequence[bool]) -> dict[str, Any]:
    low, high = interval(sum(right), len(right))
    return {"accuracy": sum(right) / len(right), "low": low, "high": high, "pairs": len(right)}
