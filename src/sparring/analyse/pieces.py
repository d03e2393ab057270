"""Words to the tokens of a model and back: which tokens are a word's, in which piece of which sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError


@dataclass(frozen=True)
class Piece:
    """A sentence, or so much of one as the model reads at once."""

    ids: tuple[int, ...]
    """Its tokens, special ones included."""
    words: tuple[int, ...]
    """Numbers of its words within the corpus."""
    spans: tuple[tuple[int, int], ...]
    """First token of each word, and the one after its last."""


def cut(
    tokenizer: Any, sentences: Sequence[Sequence[str]], max_length: int, *, skip_long: bool
) -> tuple[list[Piece], list[int], int]:
    """(pieces, numbers of the words that no piece has, sentences that were too long).

    Words are joined by a space, as in running text: a decoder's token for " word" is the one it always sees, and the
    first word of a sentence has none before it. max_length: tokens of a piece; longer sentences are cut between words
    into as few pieces as take up the room in turn, or skipped. A word without a token, or longer than a piece, is lost.
    Raises ModelError for a tokenizer that does not say which characters its tokens are.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} does not say which characters a token stands for; words can be found only "
            "with a fast tokenizer (a tokenizer.json beside the model)"
        )
    starts = [0]
    for sentence in sentences:
        starts.append(starts[-1] + len(sentence))
    whole = _encode(tokenizer, sentences, starts)
    kept = [piece for piece in whole if len(piece.ids) <= max_length]
    long = [number for number, piece in enumerate(whole) if len(piece.ids) > max_length]
    if not skip_long:
        for number in long:
            room = max_length - tokenizer.num_special_tokens_to_add()
            parts = _parts(whole[number], starts[number], sentences[number], room)
            again = _encode(tokenizer, [words for _, words in parts], [first for first, _ in parts])
            kept += [piece for piece in again if len(piece.ids) <= max_length]
    found = {word for piece in kept for word in piece.words}
    return kept, [word for word in range(starts[-1]) if word not in found], len(long)


def _encode(tokenizer: Any, sentences: Sequence[Sequence[str]], starts: Sequence[int]) -> list[Piece]:
    if not sentences:
        return []
    encoded = tokenizer(
        [" ".join(words) for words in sentences],
        padding=False,
        truncation=False,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        verbose=False,
    )
    columns = ("input_ids", "offset_mapping", "special_tokens_mask")
    rows = zip(*(encoded[name] for name in columns), sentences, starts, strict=False)
    return [_piece(*row) for row in rows]


def _piece(
    ids: Sequence[int], offsets: Sequence[tuple[int, int]], special: Sequence[int], words: Sequence[str], first: int
) -> Piece:
    owner: list[int] = []  # of every character of the text, the word; -1 for the spaces between
    for number, word in enumerate(words):
        owner += [-1] * bool(number) + [number] * len(word)
    spans: dict[int, tuple[int, int]] = {}
    for token, ((begin, end), added) in enumerate(zip(offsets, special, strict=True)):
        for number in set() if added else set(owner[begin:end]) - {-1}:
            spans[number] = (spans[number][0] if number in spans else token, token + 1)
    return Piece(tuple(ids), tuple(first + word for word in sorted(spans)), tuple(spans[w] for w in sorted(spans)))


def _parts(piece: Piece, first: int, words: Sequence[str], room: int) -> list[tuple[int, Sequence[str]]]:
    """(number of the first word, words) of each part with at most `room` tokens; a longer word is a part of its own."""
    sizes = [0] * len(words)
    for word, (begin, end) in zip(piece.words, piece.spans, strict=True):
        sizes[word - first] = end - begin
    parts, begin, taken = [], 0, 0
    for number, size in enumerate(sizes):
        if taken + size > room and number > begin:
            parts.append((first + begin, words[begin:number]))
            begin, taken = number, 0
        taken += size
    return [*parts, (first + begin, words[begin:])]
