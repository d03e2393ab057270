"""A masked language model as a service: which words fit into a gap, and which pieces fit where pieces stand.

Texts may be hostile: a "[MASK]" or "</s>" that somebody wrote is read as the characters it is made of.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import ModelError
from ..model.load import fast_bf16, first_line, load_tokenizer, longest_text
from ..model.view import evaluating
from .batching import attended, batches, filled
from .engine import Service
from .records import weights_digest
from .resources import find
from .text import encodable

Gap = tuple[str, str, int]
"""What stands before and after one masked word, white space included, and how many pieces are wanted."""
Spans = tuple[tuple[int, int], ...]
Marks = Literal["##", "Ġ", "▁"]

_LOGITS = 1024
"""Positions whose logits are held at once; at 30,000 pieces in the vocabulary they take 125 MB."""
_WAY_OUT = (
    "name a folder or hub model with a masked-LM head and safetensors weights, such as bert-base-uncased, or add one "
    "once and for all with `sparring resources add masked_lm --from FOLDER`"
)


class Pieces(NamedTuple):
    """What the model would put in place of each piece of a word, the piece itself in view."""

    ids: np.ndarray
    """(L, K) int64 ids, the likeliest first; L = 0 for a word that the model did not see or that is no token."""
    logits: np.ndarray
    """(L, K) float32."""


class MaskedLM:
    """A masked language model with its tokenizer, and the questions that can be asked of it.

    fill: a `Gap` to its k likeliest pieces, [(piece, probability)], the likeliest first.
    pieces: (text, spans, k) to one `Pieces` a span, from one pass over the unmasked text (BERT-Attack).
    perplexity: a tuple of ids to exp(mean cross entropy of each given all of them, unmasked and without special
    tokens): what the authors of BERT-Attack rank the pieces of long words by.

    context: longest text in tokens that a gap is shown in, cut evenly around it; further words matter little and cost
    the same. tokens: padded tokens in a batch, default 4,096 on a processor and 65,536 on a GPU. half: run the encoder
    in bfloat16, default where the hardware multiplies it; the head is in full precision, or near words would tie. A
    victim that is asked in full precision alone has the model do the same. digest: of the weights, for records.
    The model runs in eval mode, and its own modes are restored.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "",
        digest: str = "",
        context: int = 128,
        tokens: int | None = None,
        half: bool | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.digest = digest
        self.name = name or str(getattr(model.config, "model_type", "") or type(model).__name__)
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(f"the masked LM {self.name!r} needs a tokenizer.json (a fast tokenizer); {_WAY_OUT}")
        if tokenizer.mask_token_id is None:
            raise ModelError(f"the tokenizer of {self.name!r} has no mask token: it is no masked LM; {_WAY_OUT}")
        self.device = next(model.parameters()).device
        self.tokens = tokens or (65_536 if self.device.type == "cuda" else 4_096)
        self.longest = longest_text(model, tokenizer, 512)
        self.context = min(context, self.longest)
        self.half = fast_bf16() if half is None else half
        self.start = [i for i in (tokenizer.cls_token_id,) if i is not None]
        self.end = [i for i in (tokenizer.sep_token_id,) if i is not None]
        self.vocabulary: list[str] = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        self.marks = _marks(self.vocabulary)
        self.fill: Service = _Fill(self)
        self.pieces: Service = _Pieces(self)
        self.perplexity: Service = _Perplexity(self)

    @classmethod
    def load(cls, source: "str | Path | MaskedLM | None" = None, **settings: Any) -> "MaskedLM":
        """From a folder or hub name, or from what `sparring resources add masked_lm` added. safetensors only.

        One that is loaded is taken as it is.
        Raises ModelError when it cannot be loaded or has no masked-LM head, DataError when nothing was added.
        """
        from transformers import AutoModelForMaskedLM

        if source is not None and not isinstance(source, str | Path):
            return source
        where = str(source or find("masked_lm"))
        tokenizer = load_tokenizer(where)
        try:
            model, report = AutoModelForMaskedLM.from_pretrained(
                where, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"cannot load a masked LM from {where!r}: {first_line(error)}; {_WAY_OUT}") from error
        if report["missing_keys"]:  # transformers makes up what is missing, and a head of random weights fills in noise
            raise ModelError(
                f"{where!r} is no masked LM: it has no weights for {min(report['missing_keys'])} and "
                f"{len(report['missing_keys']) - 1} more; {_WAY_OUT}"
            )
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        known = {"name": Path(where).name, "digest": weights_digest(where)}
        return cls(model, tokenizer, **known | settings)

    def at(self, half: bool) -> "MaskedLM":
        """The same in full precision, unless half precision will do."""
        return self if half or not self.half else self._whole

    @cached_property
    def _whole(self) -> "MaskedLM":
        told: Any = {"name": self.name, "digest": self.digest, "context": self.context, "tokens": self.tokens}
        return type(self)(self.model, self.tokenizer, half=False, **told)

    def word(self, piece: str, spaced: bool) -> str:
        """A piece as a word, or "" when it goes on a word that began before it.

        spaced: whether white space stands before the gap. Where byte-level and SentencePiece models have no space
        before the gap (at the beginning of a text, after a bracket), a piece without their mark begins a word too.
        """
        if self.marks == "##":
            return "" if piece.startswith("##") else piece
        if spaced and not piece.startswith(self.marks):
            return ""
        return str(self.tokenizer.convert_tokens_to_string([piece])).strip()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts without special tokens; none is made of what a text says."""
        return plain_ids(self.tokenizer, texts)["input_ids"]

    def scored(
        self, rows: Sequence[Sequence[int]], places: Sequence[Sequence[int]]
    ) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
        """Logits of a piece at some places of some rows of ids.

        Yields ([(row, how manieth of its places)] of N places, (N, V) float32 logits), in any order.
        """
        encoder = self._encoder
        for batch, inputs in padded(rows, self.tokens, self.tokenizer.pad_token_id, self.device):
            asked = [(row, number) for row in batch for number in range(len(places[row]))]
            if not asked:
                continue
            at = [(line, place) for line, row in enumerate(batch) for place in places[row]]
            lines, columns = (torch.tensor(side, device=self.device) for side in zip(*at, strict=True))
            with evaluating(encoder), torch.inference_mode():
                found = encoder(**inputs)[0]
            for first in range(0, len(asked), _LOGITS):
                some = slice(first, first + _LOGITS)
                with evaluating(self.model), torch.inference_mode():
                    logits = self._head(found[lines[some], columns[some]].float())
                yield asked[some], logits[:, : len(self.vocabulary)]

    @cached_property
    def _split(self) -> bool:
        """Whether encoder and head can be run one after the other with the same result as the whole model.

        They are as long as the head is one module that is known here; otherwise logits of all positions are computed.
        """
        ids = torch.arange(6, device=self.device)[None] % len(self.vocabulary)
        with evaluating(self.model), torch.inference_mode():
            try:
                apart = _head_of(self.model)(self.model.base_model(input_ids=ids)[0])
                whole = self.model(input_ids=ids).logits
            except (AttributeError, TypeError, RuntimeError):
                return False
        return bool(apart.shape == whole.shape and torch.allclose(apart, whole, atol=1e-4, rtol=1e-3))

    @cached_property
    def _encoder(self) -> nn.Module:
        encoder: nn.Module = self.model.base_model if self._split else self.model
        return copy.deepcopy(encoder).to(torch.bfloat16).eval() if self.half else encoder

    @cached_property
    def _head(self) -> Callable[[Tensor], Tensor]:
        return _head_of(self.model) if self._split else lambda logits: logits


class _Fill:
    name, remembered = "masked language model", True

    def __init__(self, lm: MaskedLM) -> None:
        self.lm = lm

    def answer(self, items: Sequence[Gap]) -> list[list[tuple[str, float]]]:
        """The likeliest pieces and their probabilities for each gap."""
        lm = self.lm
        # The space before a word belongs to its piece in byte-level vocabularies, so also to the mask in place of it.
        sides = list(dict.fromkeys([side for before, after, _ in items for side in (before.rstrip(), after)]))
        ids = dict(zip(sides, lm.encode(sides), strict=True))
        rows, places = [], []
        for before, after, _ in items:
            ids_around, place = self._around(ids[before.rstrip()], ids[after])
            rows.append(ids_around)
            places.append([place])
        found: list[list[tuple[str, float]]] = [[] for _ in items]
        most = min(max((k for _, _, k in items), default=1), len(lm.vocabulary))
        for asked, logits in lm.scored(rows, places):
            best = logits.softmax(-1).topk(most)
            for (row, _), chances, pieces in zip(asked, best.values.tolist(), best.indices.tolist(), strict=True):
                wanted = items[row][2]
                found[row] = [
                    (lm.vocabulary[i], chance) for i, chance in zip(pieces[:wanted], chances[:wanted], strict=True)
                ]
        return found

    def _around(self, before: list[int], after: list[int]) -> tuple[list[int], int]:
        """Ids with one mask, and where it stands; each side has half of the room, or what the other leaves."""
        lm = self.lm
        room = lm.context - len(lm.start) - len(lm.end) - 1
        left = min(len(before), max(room // 2, room - len(after)))
        row = [*lm.start, *before[len(before) - left :], lm.tokenizer.mask_token_id, *after[: room - left], *lm.end]
        return row, len(lm.start) + left


class _Pieces:
    name, remembered = "masked language model, unmasked", True

    def __init__(self, lm: MaskedLM) -> None:
        self.lm = lm

    def answer(self, items: Sequence[tuple[str, Spans, int]]) -> list[tuple[Pieces, ...]]:
        """One `Pieces` for each span of each text."""
        lm = self.lm
        encoded = plain_ids(lm.tokenizer, [text for text, _, _ in items], return_offsets_mapping=True)
        room = lm.longest - len(lm.start) - len(lm.end)
        rows = [[*lm.start, *ids[:room], *lm.end] for ids in encoded["input_ids"]]
        owners = [  # (place in the row, number of the span) of each token that stands for a part of one
            _tokens_of(spans, offsets[:room], len(lm.start))
            for (_, spans, _), offsets in zip(items, encoded["offset_mapping"], strict=True)
        ]
        parts: list[list[list[tuple[np.ndarray, np.ndarray]]]] = [[[] for _ in spans] for _, spans, _ in items]
        for asked, logits in lm.scored(rows, [[place for place, _ in owner] for owner in owners]):
            best = logits.topk(min(max(k for _, _, k in items), logits.shape[1]))
            ids, values = best.indices.cpu().numpy(), best.values.cpu().numpy()
            for line, (row, number) in enumerate(asked):
                k = items[row][2]
                parts[row][owners[row][number][1]].append((ids[line, :k], values[line, :k]))
        return [tuple(_stacked(part, k) for part in of_text) for of_text, (_, _, k) in zip(parts, items, strict=True)]


class _Perplexity:
    name, remembered = "masked language model, pieces", True

    def __init__(self, lm: MaskedLM) -> None:
        self.lm = lm

    def answer(self, items: Sequence[tuple[int, ...]]) -> list[float]:
        """One perplexity for each sequence of ids."""
        sums = np.zeros(len(items))
        for asked, logits in self.lm.scored(items, [range(len(item)) for item in items]):
            wanted = torch.tensor([items[row][number] for row, number in asked], device=logits.device)
            loss = nn.functional.cross_entropy(logits, wanted, reduction="none").double().cpu().numpy()
            np.add.at(sums, [row for row, _ in asked], loss)
        return [float(np.exp(total / len(item))) for total, item in zip(sums, items, strict=True)]


# parts that sentence vectors use too


def plain_ids(tokenizer: Any, texts: Sequence[str], **more: Any) -> Any:
    """What a fast tokenizer makes of texts, without special tokens and without a limit."""
    readable = [encodable(text) for text in texts]
    settings = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False} | more
    if not readable:
        return {"input_ids": [], "offset_mapping": []}
    return tokenizer(readable, padding=False, truncation=False, return_attention_mask=False, **settings)


def padded(
    rows: Sequence[Sequence[int]], tokens: int, pad: int, device: torch.device
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Numbers of rows of similar length, the longest first, and the inputs they make."""
    for places, longest in batches([len(row) for row in rows], tokens):
        some = [rows[place] for place in places]
        inputs = {"input_ids": filled(some, longest, pad), "attention_mask": attended(some, longest)}
        yield places, {name: x.to(device) for name, x in inputs.items()}


def _tokens_of(spans: Spans, offsets: Sequence[tuple[int, int]], shift: int) -> list[tuple[int, int]]:
    """(position, number of the span) of the tokens that stand for some characters of a span; both are in order."""
    found, number = [], 0
    for position, (start, end) in enumerate(offsets):
        while number < len(spans) and spans[number][1] <= start:
            number += 1
        if number < len(spans) and start < end and spans[number][0] < end:
            found.append((position + shift, number))
    return found


def _stacked(part: list[tuple[np.ndarray, np.ndarray]], k: int) -> Pieces:
    if not part:
        return Pieces(np.zeros((0, k), dtype=np.int64), np.zeros((0, k), dtype=np.float32))
    return Pieces(np.stack([ids for ids, _ in part]), np.stack([logits for _, logits in part]))


def _head_of(model: Any) -> Callable[[Tensor], Tensor]:
    """The masked-LM head of a model, by the names that transformers gives it; AttributeError when it has another."""
    if hasattr(model, "vocab_projector"):  # DistilBERT
        return lambda x: model.vocab_projector(model.vocab_layer_norm(model.activation(model.vocab_transform(x))))
    if hasattr(model, "head") and hasattr(model, "decoder"):  # ModernBERT
        return lambda x: model.decoder(model.head(x))
    head: Callable[[Tensor], Tensor] = model.cls if hasattr(model, "cls") else model.lm_head
    return head


def _marks(vocabulary: Sequence[str]) -> Marks:
    """How pieces are marked: "##" goes on a word (WordPiece); "Ġ" (byte-level BPE), "▁" (SentencePiece) begin one."""
    kinds: tuple[Marks, ...] = ("##", "Ġ", "▁")
    return max(kinds, key=lambda mark: sum(piece.startswith(mark) for piece in vocabulary))
