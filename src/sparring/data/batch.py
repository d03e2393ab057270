"""Batch: what one forward pass is about. The noun that models, methods and trainers share."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError

IGNORED = -100  # the label Hugging Face collators give to a position without a target


@dataclass(frozen=True, eq=False)
class Batch:
    """One micro-batch of any stage: B sentences of at most L tokens, N scored rows.

    Fine-tuning scores B rows, masked-LM the masked tokens, causal-LM every next token. Methods see no other
    difference between the stages. Rows are right-padded: `from_inputs` moves left padding to the other side, because
    most models give a left-padded sentence other positions than the same sentence alone.
    """

    inputs: dict[str, Tensor]
    """Keyword arguments of the model, without labels."""
    real: Tensor
    """(B, L) bool: True on tokens, False on padding."""
    perturbable: Tensor
    """(B, L) bool: where a perturbation may act; a subset of `real`."""
    scored: Tensor
    """(B,) or (B, L) bool: which rows of the logits have a target."""
    targets: Tensor
    """(N,) int64 class numbers, or (N,) float for regression."""
    rows: Tensor
    """(B,) int64: number of each sentence within the whole optimiser step, over micro-batches and processes."""
    key: int = 0
    """Random draws are a function of this key, a name, the row and the token: give every step another one."""
    smoothing: float = 0.0
    """Label smoothing, 0 to 1: the share of probability spread evenly over the classes."""
    segments: Tensor | None = None
    """(B, L) int64 or None: where a row holds several documents, the number of each token's, from 1; 0 on padding.

    Documents do not attend to each other where the model allows it (`ModelView.packing`).
    """

    @classmethod
    def from_inputs(
        cls,
        inputs: Mapping[str, Tensor],
        *,
        key: int = 0,
        first_row: int = 0,
        unperturbed: Iterable[int] = (),
        smoothing: float = 0.0,
        shift: bool = False,
    ) -> "Batch":
        """From a collator's dict with `input_ids` (B, L), `labels` (B,) or (B, L) and perhaps `attention_mask` (B, L)
        and `segments` (B, L).

        unperturbed: token ids that no perturbation may touch, such as the special tokens.
        shift: the labels are a causal LM's own tokens, so position t is scored against label t + 1, if that is a token
            of the same document.
        Raises DataError when there are no labels or the shapes do not fit.
        """
        named = dict(inputs)
        if "labels" not in named or "input_ids" not in named:
            raise DataError(f"a batch needs 'input_ids' and 'labels'; it has {', '.join(sorted(named)) or 'nothing'}")
        ids = named["input_ids"]
        if "attention_mask" not in named and "segments" in named:
            named["attention_mask"] = (named["segments"] > 0).to(ids.dtype)
        real = named["attention_mask"].bool() if "attention_mask" in named else torch.ones_like(ids, dtype=torch.bool)
        for name, x in (("attention_mask", real), ("segments", named.get("segments", real))):
            if x.shape != ids.shape:
                raise DataError(f"{name} must be (batch, length) {tuple(ids.shape)}, got {tuple(x.shape)}")
        if not bool(real[:, 0].all()):
            named, real = _right_padded(named, real)
        ids, labels, segments = named["input_ids"], named.pop("labels"), named.pop("segments", None)
        if shift and labels.dim() == 2:
            if segments is not None:
                labels = labels.masked_fill(document_starts(segments), IGNORED)
            labels = torch.cat([labels[:, 1:], labels.new_full((len(labels), 1), IGNORED)], dim=1)
        if labels.shape not in (ids.shape, ids.shape[:1], (len(ids), 1)):
            raise DataError(f"labels must be (batch,) or (batch, length), got {tuple(labels.shape)}")
        if labels.shape == (len(ids), 1) and ids.shape[1] != 1:
            labels = labels.squeeze(1)
        scored = ~labels.isnan() if labels.is_floating_point() else labels != IGNORED
        perturbable = real
        banned = list(unperturbed)
        if banned:
            perturbable = real & ~torch.isin(ids, torch.tensor(banned, device=ids.device))
        rows = torch.arange(first_row, first_row + len(ids), device=ids.device)
        return cls(named, real, perturbable, scored, labels[scored], rows, key, smoothing, segments)

    def __len__(self) -> int:
        """Number of sentences B."""
        return len(self.rows)

    @property
    def is_regression(self) -> bool:
        """True when the targets are numbers, not classes."""
        return self.targets.is_floating_point()

    def first(self, count: int) -> "Batch":
        """The first `count` sentences: the rest of a last batch is filler that samplers repeat to make batches even.

        With count 0 one sentence stays, without a target: a process must take part in a step even if it has no data.
        """
        rows = max(count, 1)
        kept = {name: x[:rows] if x.dim() and len(x) == len(self) else x for name, x in self.inputs.items()}
        cut: dict[str, Any] = {name: getattr(self, name)[:rows] for name in ("real", "perturbable", "rows")}
        scored = self.scored[:rows] if count else torch.zeros_like(self.scored[:rows])
        cut["segments"] = None if self.segments is None else self.segments[:rows]
        return replace(self, inputs=kept, scored=scored, targets=self.targets[: int(scored.sum())], **cut)

    def take(self, places: Tensor) -> "Batch":
        """Some of the sentences, by their places (n,) in the batch; of batches with one target a sentence."""
        kept = {name: x[places] if x.dim() and len(x) == len(self) else x for name, x in self.inputs.items()}
        cut: dict[str, Any] = {name: getattr(self, name)[places] for name in ("real", "perturbable", "scored", "rows")}
        cut["segments"] = None if self.segments is None else self.segments[places]
        where = (self.scored.cumsum(0) - 1)[places][cut["scored"]]
        return replace(self, inputs=kept, targets=self.targets[where], **cut)

    def joined(self, other: "Batch", pad: int) -> "Batch":
        """Both batches as one, the shorter one padded with the token id `pad`; key and smoothing are of the first."""
        longest = max(self.real.shape[1], other.real.shape[1])

        def both(one: Tensor, two: Tensor, fill: float = 0) -> Tensor:
            widths = [longest - x.shape[1] if x.dim() > 1 else 0 for x in (one, two)]
            parts = [F.pad(x, (0, n), value=fill) if n else x for x, n in zip((one, two), widths, strict=True)]
            return torch.cat(parts)

        inputs = {
            name: both(x, other.inputs[name], pad if name == "input_ids" else 0) for name, x in self.inputs.items()
        }
        names = ("real", "perturbable", "scored", "targets", "rows")
        parts: dict[str, Any] = {name: both(getattr(self, name), getattr(other, name)) for name in names}
        if self.segments is not None and other.segments is not None:
            parts["segments"] = both(self.segments, other.segments)
        return replace(self, inputs=inputs, **parts)


def same_document(segments: Tensor) -> Tensor:
    """(B, L, L) bool: whether two tokens of a row are of one document; padding is one of its own."""
    return segments.unsqueeze(2) == segments.unsqueeze(1)


def document_starts(segments: Tensor) -> Tensor:
    """(B, L) bool: the first token of each document of a row; also of its padding."""
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return starts


def make_key(*parts: int | str) -> int:
    """A 63-bit number from integers and names, the same on every machine: the root of all random draws."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _right_padded(inputs: dict[str, Tensor], real: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Every (B, L) tensor with the real tokens first, order kept."""
    order = torch.argsort((~real).to(torch.uint8), dim=1, stable=True)
    moved = {
        name: x.gather(1, order) if x.shape == real.shape else x  # (B,) labels and scalars stay as they are
        for name, x in inputs.items()
    }
    return moved, real.gather(1, order)
