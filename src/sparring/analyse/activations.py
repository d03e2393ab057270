"""Word-level activations of every layer of a model, made once and kept in a memory-mapped file.

A word's vector at a layer is that of its last token (NeuroX's default), its first, or the mean of all. The columns are
layer * width + unit; layer 0 is what enters the first transformer layer, the last one what leaves the stack (in
decoders behind its final norm).
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ModelError, RunError
from ..model.load import longest_text
from ..model.view import evaluating
from .corpus import Corpus
from .options import Aggregation, Long
from .pieces import Piece, cut

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done)."""
LONGEST = 512
_HALF = float(torch.finfo(torch.float16).max)


@dataclass(frozen=True)
class Activations:
    """Where the activations of a corpus are, and what is in them."""

    path: Path
    """A .npy file of float16, (words, layers * width)."""
    layers: int
    """With the embeddings."""
    width: int
    lost: tuple[int, ...] = ()
    """Numbers of the words that have no activations (their rows are zero)."""
    notes: tuple[str, ...] = ()
    """What was cut, in sentences for people."""
    reused: bool = False

    def open(self) -> np.ndarray:
        """(words, layers * width) float16, read from disk as it is used."""
        found: np.ndarray = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return found


def extract(
    model: nn.Module,
    tokenizer: Any,
    corpus: Corpus,
    folder: Path,
    *,
    aggregation: Aggregation = "last",
    long: Long = "cut",
    max_length: int = LONGEST,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Activations:
    """The activations of all words of a corpus, from `folder` if they are there already.

    The file's name is a hash of the model, of the tokens it reads and of how they are put together: another tag of the
    same words shares it. max_length: in tokens; fewer where the model's positions end. long: cut longer sentences
    between words into pieces that do not see each other, or skip them. The model runs in float32 on the device it is
    on; values beyond float16 are clipped to its ends.
    Raises ModelError for a model without hidden states, or whose activations are not finite; RunError for a full disk.
    """
    length = longest_text(model, tokenizer, max_length)
    pieces, lost, too_long = cut(tokenizer, corpus.sentences, length, skip_long=long == "skip")
    pieces.sort(key=lambda piece: (-len(piece.ids), piece.words))
    notes = []
    if too_long:
        done = "skipped" if long == "skip" else "cut into pieces that do not see each other"
        notes.append(f"{too_long} sentences with more than {length} tokens are {done}")
    if lost:
        notes.append(
            f"{len(lost)} words have no activations: the tokenizer drops them, or they are in what was skipped"
        )
    words = sum(map(len, corpus.sentences))
    with evaluating(model), torch.inference_mode():
        layers, width = _shape(model, pieces) if pieces else (0, 0)
    if not layers:
        raise ModelError(f"no sentence of {corpus.origin} has a token that {type(model).__name__} reads")
    key = digest(model, pieces, words, aggregation)
    path = folder / f"activations-{key}.npy"
    found = Activations(path, layers, width, tuple(lost), tuple(notes), path.is_file())
    if not found.reused:
        rows = _rows(model, tokenizer, pieces, aggregation, batch_size, progress)
        _write(path, (words, layers * width), rows)
    return found


def digest(model: nn.Module, pieces: Iterable[Piece], words: int, aggregation: str) -> str:
    """16 hex digits over weights, kind of model, tokens and words: all that the activations depend on."""
    config: Any = model.config
    given = hashlib.sha256(repr((config.model_type, type(model).__name__, aggregation, words)).encode())
    for name, value in sorted(model.state_dict().items()):
        given.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        given.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for piece in pieces:
        given.update(repr(piece).encode())
    return given.hexdigest()[:16]


def _shape(model: nn.Module, pieces: Sequence[Piece]) -> tuple[int, int]:
    states = _states(model, torch.tensor([pieces[-1].ids]), torch.ones(1, len(pieces[-1].ids), dtype=torch.long))
    widths = {state.shape[-1] for state in states}
    if len(widths) != 1:
        raise ModelError(f"{type(model).__name__} has layers of different widths, {sorted(widths)}; not supported")
    return len(states), widths.pop()


def _states(model: nn.Module, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """(B, T, D) of each layer, embeddings first; of an encoder-decoder those of the encoder."""
    config: Any = model.config
    reader: Any = model.get_encoder() if config.is_encoder_decoder else model  # type: ignore[operator]
    device = next(model.parameters()).device
    output = reader(input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True)
    states = getattr(output, "hidden_states", None)
    if not states:
        raise ModelError(f"{type(model).__name__} does not give its hidden states, so its neurons cannot be analysed")
    return tuple(states)


def _rows(
    model: nn.Module,
    tokenizer: Any,
    pieces: Sequence[Piece],
    aggregation: Aggregation,
    batch_size: int,
    progress: Progress | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first word, (n, layers * width) float16) of each piece."""
    done, total = 0, sum(len(piece.ids) for piece in pieces)
    with evaluating(model), torch.inference_mode():
        for first in range(0, len(pieces), batch_size):
            batch = pieces[first : first + batch_size]
            longest = max(len(piece.ids) for piece in batch)
            ids = torch.full((len(batch), longest), tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
            for row, piece in enumerate(batch):
                ids[row, : len(piece.ids)], mask[row, : len(piece.ids)] = torch.tensor(piece.ids), 1
            states = torch.stack([state.float() for state in _states(model, ids, mask)], dim=2)  # (B, T, layers, D)
            for row, piece in enumerate(batch):
                vectors = _words(states[row], piece, aggregation).flatten(1)
                if not bool(vectors.isfinite().all()):
                    raise ModelError(
                        f"{type(model).__name__}: activations of the sentence with {len(piece.ids)} tokens at word "
                        f"{piece.words[0] + 1} of the corpus are not finite; the weights have diverged"
                    )
                half = vectors.clamp(-_HALF, _HALF).half().cpu().numpy()
                yield from zip(piece.words, half, strict=True)
            done += sum(len(piece.ids) for piece in batch)
            if progress:
                progress(done, total, "activations")


def _words(states: Tensor, piece: Piece, aggregation: Aggregation) -> Tensor:
    """(T, layers, D) of tokens to (words, layers, D)."""
    spans = torch.tensor(piece.spans, device=states.device).reshape(-1, 2)
    if aggregation == "first":
        return states[spans[:, 0]]
    if aggregation == "last":
        return states[spans[:, 1] - 1]
    return torch.stack([states[begin:end].mean(0) for begin, end in piece.spans])


def _write(path: Path, shape: tuple[int, int], rows: Iterable[tuple[int, np.ndarray]]) -> None:
    """Whole or not at all. Through a file, not a map: a full disk is then an error and no crash."""
    partial = path.with_name(f".{path.name}.partial")
    size = shape[0] * shape[1] * 2
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise RunError(
                f"the activations need {size / 1e9:.2f} GB and the disk of {path.parent} has {free / 1e9:.2f} GB free; "
                "make room, or lower words"
            )
        with partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
            start = file.tell()
            file.truncate(start + size)  # the rows of words without activations stay zero
            for number, row in rows:
                file.seek(start + number * shape[1] * 2)
                file.write(row.astype("<f2").tobytes())
        partial.replace(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
