"""HotFlip (Ebrahimi et al. 2018): words exchanged for those that a first-order step says will harm most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ...errors import ModelError
from ..engine import Ask, Search
from ..game import Game
from ..text import Text, in_case_of

if TYPE_CHECKING:
    from ..victim import TokenGradient, Victim

_WORD_STARTS = ("Ġ", "▁")  # what byte-level BPE and SentencePiece put before a piece that begins a word


@dataclass(frozen=True, eq=False)
class _Words:
    """The tokens of a vocabulary that are whole words."""

    ids: np.ndarray
    """(W,) in rising order."""
    words: tuple[str, ...]
    embedding: np.ndarray
    """(W, D) float32."""
    cased: bool


class HotFlip:
    """A word that is one token becomes another whole-word token, by the gradient of the loss.

    top_n: how many replacements a word has. TextAttack 0.3.11 keeps 1 for the whole text, which mostly fails the
    constraints that follow and leaves the attack weak without saying so; it also takes the gradient of the token whose
    number is the word's, which is another token as soon as a word has two. Here tokens and words are matched by their
    characters, and words of several tokens are left alone.
    A replacement is alphabetic, begins a word, and is no special token.
    """

    def __init__(self, top_n: int = 50) -> None:
        self.top_n = top_n
        self.name = f"gradient of the victim's loss, best {top_n} whole-word tokens"
        self._victim: Any = None
        self._table: _Words | None = None
        self._gold: dict[tuple[str, ...], int] = {}

    def bound(self, victim: "Victim") -> Self:
        """The same for a victim. Raises ModelError where it gives no gradients."""
        if victim.gradient is None:
            raise ModelError(
                "HotFlip needs the gradients of the victim, and this one only answers; give a model with its tokenizer"
            )
        new = type(self)(self.top_n)
        new._victim = victim
        return new

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """The best replacements, the most promising first. The gradient is that of the text as it is: no query."""
        (found,) = yield from self.gains(text, [index])
        return [candidate for candidate, _ in found]

    def gains(self, text: Text, indices: Sequence[int]) -> Search[list[list[tuple[Text, float]]]]:
        """For each of some words the same, each with what it is estimated to add to the loss: (E_b - E_a) . g."""
        victim = self._victim
        if victim is None:
            raise ModelError("HotFlip works on a victim: use what bound(victim) returns")
        # Only texts that the victim answers rightly are attacked: its answer to the original, in full precision, is
        # the gold label.
        start = text.start.fields
        if start not in self._gold:
            (scores,) = yield Ask(victim.exact, [start])
            self._gold[start] = int(np.argmax(scores))
        (found,) = yield Ask(victim.gradient, [(text.fields, self._gold[start])])
        if self._table is None:
            self._table = whole_words(victim.tokenizer, victim.embedding)
        table = self._table
        places: dict[int, int] = {}
        for index in indices:
            tokens = tokens_of(found, text.spans[index])
            if len(tokens) == 1 and _covers(found, tokens[0], text, index):
                places[index] = tokens[0]
        rows = list(places.values())
        gradients = found.gradient[rows].astype(table.embedding.dtype)
        # E_b . g less E_a . g, where a need not be in the table
        now = (victim.embedding[found.ids[rows]] * gradients).sum(axis=1)
        scores = gradients @ table.embedding.T - now[:, None]
        scores[found.ids[rows, None] == table.ids] = -np.inf
        by_index = dict(zip(places, scores, strict=True))
        return [self._flips(text, index, by_index[index]) if index in by_index else [] for index in indices]

    def _flips(self, text: Text, index: int, scores: np.ndarray) -> list[tuple[Text, float]]:
        table, word = self._table, text.slots[index]
        assert table is not None  # made by who calls this
        gains: dict[str, float] = {}
        for best in _largest(scores, self.top_n):
            new = table.words[best]
            gains.setdefault(new if table.cased else in_case_of(new, word), float(scores[best]))
        return [(text.replace(index, new), gain) for new, gain in gains.items() if new != word]


def tokens_of(gradient: "TokenGradient", span: tuple[int, int, int]) -> list[int]:
    """Positions of the tokens that stand for some of the characters of a word, given as (field, start, end)."""
    field, start, end = span
    return [
        position
        for position, place in enumerate(gradient.spans)
        if place is not None and place[0] == field and place[1] < end and place[2] > start
    ]


def _covers(gradient: "TokenGradient", position: int, text: Text, index: int) -> bool:
    """Whether a token is the word and nothing else; a space before it may belong to the token."""
    place = gradient.spans[position]
    return place is not None and text.fields[place[0]][place[1] : place[2]].strip() == text.slots[index]


def whole_words(tokenizer: Any, embedding: np.ndarray) -> _Words:
    """The tokens that are alphabetic words by themselves: no continuation of a word, no special token."""
    tokens: Sequence[str] = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), len(embedding)))))
    marks = [mark for mark in _WORD_STARTS if sum(str(token).startswith(mark) for token in tokens) > 1]
    special = set(tokenizer.all_special_ids)
    words: dict[int, str] = {}
    for number, token in enumerate(tokens):
        if token is None or number in special:
            continue
        if marks:
            begins, token = token.startswith(marks[0]), token.removeprefix(marks[0])
        else:
            begins = not token.startswith("##")
        if begins and token.isalpha():
            words[number] = token
    ids = np.array(sorted(words), dtype=np.int64)
    cased = any(word != word.lower() for word in words.values())
    return _Words(ids, tuple(words[int(i)] for i in ids), np.ascontiguousarray(embedding[ids]), cased)


def _largest(scores: np.ndarray, count: int) -> list[int]:
    """Positions of the largest finite scores, falling, equals in the order of their positions."""
    least = np.partition(scores, -count)[-count] if count < len(scores) else -np.inf
    those = np.flatnonzero(scores >= least)
    order = those[np.argsort(-scores[those], kind="stable")[:count]]
    return [int(i) for i in order if scores[i] > -np.inf]


def gradient_importance(game: Game) -> Search[np.ndarray]:
    """(n,) how much each word matters: the L1 norm of the mean, over its tokens, of d loss / d embedding. No query.

    A2T's importance (Yoo & Qi 2021). The loss is that of the gold label in eval mode; TextAttack takes the victim's own
    label in train mode. Words beyond the victim's longest text, which have no token, are worth 0.
    """
    service = game.victim.gradient
    if service is None:
        raise ModelError("importance by gradient needs the gradients of the victim, and this one only answers")
    (found,) = yield Ask(service, [(game.original.fields, game.gold)])
    importance = np.zeros(len(game.original))
    for index, span in enumerate(game.original.spans):
        tokens = tokens_of(found, span)
        if tokens:
            importance[index] = np.abs(found.gradient[tokens].astype(np.float64).mean(axis=0)).sum()
    return importance
