"""What a language model is asked: masked tokens (Devlin et al., NAACL 2019), whole words, spans, or next tokens.

Masks are drawn anew at each step (Liu et al., 2019, RoBERTa: dynamic masking), from a generator keyed by the seed, the
step and the row's number within the step: not by what else is in the batch, or by which process draws them.
"""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import SettingError
from .batch import IGNORED, document_starts, make_key

Unit = Literal["token", "word", "span"]
STAIRS = 5
_KEPT, _OTHER = 0.1, 0.1  # shares of the chosen tokens that stay, and that become another token; the rest is masked
_STOP, _LONGEST = 0.2, 10  # SpanBERT: lengths are geometric, cut off at ten words; their mean is 3.8
_PUNCTUATION = frozenset(string.punctuation)


@dataclass(frozen=True)
class MaskingRate:
    """The share of tokens that are chosen: constant, or rising (or falling) in equal stairs over the training."""

    first: float
    last: float
    stairs: int = STAIRS

    def __post_init__(self) -> None:
        for rate in (self.first, self.last):
            if not 0 < rate < 1:
                raise SettingError(f"masking rate {rate:g} must be above 0 and below 1, such as 0.15")
        if self.stairs < 2 and self.first != self.last:
            raise SettingError(f"a masking rate from {self.first:g} to {self.last:g} needs at least 2 stairs")

    @classmethod
    def parse(cls, text: "str | float | MaskingRate") -> "MaskingRate":
        """0.15 or "0.15": constant. "0.05:0.25": five stairs from 5 to 25 %. "0.05:0.25:9": nine."""
        if isinstance(text, MaskingRate):
            return text
        parts = str(text).split(":")
        try:
            first, last = float(parts[0]), float(parts[min(1, len(parts) - 1)])
            stairs = int(parts[2]) if len(parts) == 3 else STAIRS
        except ValueError:
            parts = []
        if not 1 <= len(parts) <= 3:
            raise SettingError(f"{text!r} is no masking rate; write 0.15, or a ramp such as 0.05:0.25 or 0.05:0.25:5")
        return cls(first, last, stairs)

    def at(self, step: int, total: int) -> float:
        """The rate of a step, counted from 0, of `total`: each stair is as wide as the others."""
        if self.first == self.last or total <= 0:
            return self.first
        stair = min(max(step, 0) * self.stairs // total, self.stairs - 1)
        return self.first + (self.last - self.first) * stair / (self.stairs - 1)


class Masking:
    """Packed blocks to inputs and labels of a masked language model.

    Of a row's tokens, special ones apart, the share `rate` is chosen (at least one); of the chosen ones 80 % become the
    mask token, 10 % another token and 10 % stay as they are. `unit` says what is chosen as a whole:
    "token": each token for itself. "word": all tokens of a word, each with a fate of its own. "span": runs of whole
    words of one document, with a common fate (Joshi et al., TACL 2020: lengths geometric(0.2), at most 10 words).

    Raises SettingError for a tokenizer without a mask token.
    """

    def __init__(self, tokenizer: Any, rate: "MaskingRate | float | str" = 0.15, *, unit: Unit = "token") -> None:
        if tokenizer.mask_token_id is None:
            raise SettingError(
                "the tokenizer has no mask token, so no word can be masked; use that of a masked language model, or "
                "train a causal one (objective clm)"
            )
        if unit not in ("token", "word", "span"):
            raise SettingError(f"masking unit {unit!r} is unknown; choose token, word or span")
        self.rate, self.unit = MaskingRate.parse(rate), unit
        self.mask = int(tokenizer.mask_token_id)
        size = len(tokenizer)
        self._special = np.zeros(size, dtype=bool)
        self._special[[i for i in tokenizer.all_special_ids if i < size]] = True
        self._others = np.flatnonzero(~self._special)
        self._starts, self._ends = word_borders(tokenizer)

    def __call__(
        self, ids: Any, segments: Any, *, seed: int, step: int, total: int, rows: Sequence[int]
    ) -> dict[str, Tensor]:
        """input_ids, labels (IGNORED where nothing is asked), attention_mask and segments, each (B, L) int64.

        ids, segments: (B, L) whole numbers: tokens, and the document of each (0: padding).
        step, total: of the optimiser steps, from 0. rows: (B,) the rows' numbers within the whole step.
        """
        read, apart = _whole(ids), _whole(segments)
        given, documents = read.numpy(), apart.numpy()
        labels = np.full_like(given, IGNORED)
        rate = self.rate.at(step, total)
        for i, row in enumerate(rows):
            draws = np.random.Generator(np.random.Philox(key=make_key(seed, "mask", step, int(row))))
            chosen, fate = self._choose(given[i], documents[i], rate, draws)
            labels[i, chosen] = given[i, chosen]
            masked, other = chosen[fate >= _KEPT + _OTHER], chosen[(fate >= _KEPT) & (fate < _KEPT + _OTHER)]
            given[i, other] = draws.choice(self._others, size=len(other))
            given[i, masked] = self.mask
        return _inputs(read, torch.from_numpy(labels), apart)

    def _choose(
        self, ids: np.ndarray, documents: np.ndarray, rate: float, draws: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places of the chosen tokens, ascending, and for each a number in [0, 1) that decides its fate."""
        able = (documents > 0) & ~self._special[ids]
        count = int(able.sum())
        wanted = max(1, math.floor(rate * count + 0.5)) if count else 0
        if self.unit == "token":
            places = np.flatnonzero(able)
            chosen = np.sort(draws.permutation(places)[:wanted])
            return chosen, draws.random(len(chosen))
        words = self._words(ids, documents, able)
        if self.unit == "word":
            return self._whole_words(words, wanted, draws)
        return self._spans(words, documents, wanted, draws)

    def _words(self, ids: np.ndarray, documents: np.ndarray, able: np.ndarray) -> list[np.ndarray]:
        """The places of each word's tokens; special tokens and the ends of documents part words."""
        begins = self._starts[ids].copy()
        begins[0] = True
        begins[1:] |= self._ends[ids[:-1]] | ~able[:-1] | (documents[1:] != documents[:-1])
        number = np.cumsum(begins)
        places = np.flatnonzero(able)
        if not len(places):
            return []
        return np.split(places, np.flatnonzero(np.diff(number[places])) + 1)

    def _whole_words(
        self, words: list[np.ndarray], wanted: int, draws: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        taken: list[np.ndarray] = []
        left = wanted
        order = draws.permutation(len(words))
        for word in (words[i] for i in order):
            if len(word) <= left:  # a word too long for what is left is passed over, as in BERT's code
                taken.append(word)
                left -= len(word)
            if not left:
                break
        if not taken and words:
            taken = [words[order[0]]]
        chosen = np.sort(np.concatenate(taken)) if taken else np.empty(0, dtype=np.int64)
        return chosen, draws.random(len(chosen))

    def _spans(
        self, words: list[np.ndarray], documents: np.ndarray, wanted: int, draws: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        fates = np.full(len(documents), -1.0)
        lengths = np.arange(1, _LONGEST + 1)
        chance = _STOP * (1 - _STOP) ** (lengths - 1)
        chance /= chance.sum()
        left = wanted
        for start in draws.permutation(len(words)):  # every word is tried as a beginning once, so that this ends
            if left <= 0:
                break
            span, fate = int(draws.choice(lengths, p=chance)), draws.random()
            for word in words[start : start + span]:
                if left <= 0 or documents[word[0]] != documents[words[start][0]] or fates[word[0]] >= 0:
                    break
                if len(word) > left and left < wanted:
                    break
                fates[word] = fate
                left -= len(word)
        chosen = np.flatnonzero(fates >= 0)
        return chosen, fates[chosen]


def next_tokens(ids: Any, segments: Any) -> dict[str, Tensor]:
    """The same of a causal language model: labels are the ids themselves, but a document's first token is no target.

    The shift by one is `Batch.from_inputs(shift=True)`'s.
    """
    given, documents = _whole(ids), _whole(segments)
    return _inputs(given, given.masked_fill(document_starts(documents) | (documents == 0), IGNORED), documents)


def word_borders(tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """(V,) bool twice: tokens that begin a word, and tokens after which another word begins.

    As the vocabulary is written: "##" goes on a word (WordPiece); a space sign begins one (byte-level BPE,
    SentencePiece), and there punctuation is a word of its own. With no such sign every token is a word.
    """
    size = len(tokenizer)
    tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(size)))]
    if any(token.startswith("##") for token in tokens):
        return np.array([not t.startswith("##") for t in tokens]), np.zeros(size, dtype=bool)
    signs = ("\u0120", "\u010a", "\u2581")  # space and line end in byte-level vocabularies, space in SentencePiece's
    if not any(token.startswith(signs) for token in tokens):
        return np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
    bare = np.array([bool(t) and all(c in _PUNCTUATION for c in t.lstrip("".join(signs))) for t in tokens])
    return np.array([t.startswith(signs) for t in tokens]) | bare, bare


def _whole(x: Any) -> Tensor:
    """A copy, on the CPU, of what may be a tensor, an array or a list of either."""
    return x.detach().cpu().long().clone() if isinstance(x, Tensor) else torch.from_numpy(np.array(x, dtype=np.int64))


def _inputs(ids: Tensor, labels: Tensor, segments: Tensor) -> dict[str, Tensor]:
    return {
        "input_ids": ids,
        "labels": labels,
        "attention_mask": (segments > 0).long(),
        "segments": segments,
    }
