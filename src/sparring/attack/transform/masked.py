"""Words that a masked language model puts into a gap: in place of a word, beside it, or in place of two.

The model sees the field that the word stands in, not the other fields of the example. Candidates come in the order of
their probability. All classes drop what is no word (punctuation, special tokens, pieces that go on a word) and what
reads like the word that stands there, whatever its case; TextAttack keeps a word that differs in case alone.
"""

from collections.abc import Iterable
from itertools import islice, product
from typing import TYPE_CHECKING, Self

from ..engine import Ask, Search
from ..stopwords import STOPWORDS
from ..text import WORD, Text, in_case_of

if TYPE_CHECKING:
    from ..masked_lm import MaskedLM, Pieces
    from ..victim import Victim

_PIECES, _WIDTH, _COMBINATIONS = 12, 4, 24
"""Of a word of several pieces BERT-Attack's authors take the first 12 pieces, the 4 best for each, and the first 24
combinations (LinyangLee/BERT-Attack, bertattack.py: `substitutes[0:12, 0:4]`, `all_substitutes[:24]`)."""


class MaskedSwap:
    """A word becomes what the model says with the word masked.

    BAE-R (Garg & Ramakrishnan 2020): k 50, least 0. CLARE's replace (Li et al. 2021): k 50, least 5e-4.
    A2T-MLM (Yoo & Qi 2021): k 20. (TextAttack 0.3.11's recipes.)
    k: so many pieces are taken, and those dropped that are no word; TextAttack goes on until k words are found.
    least: smallest probability.
    """

    def __init__(self, lm: "MaskedLM", k: int = 50, *, least: float = 0.0) -> None:
        self.lm, self.k, self.least = lm, k, least
        self.identity = lm.digest
        self.name = f"masked LM {lm.name!r} in place of the word: {_settings(k, least)}"

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Texts with another word in the slot, in the case of the old one; none for an empty slot."""
        old = text.slots[index]
        if not old:
            return []
        field, start, end = text.spans[index]
        whole = text.fields[field]
        words = yield from _fitting(self.lm, whole[:start], whole[end:], self.k, self.least)
        return [text.replace(index, new) for new in _unlike(old, (in_case_of(word, old) for word in words))]

    def bound(self, victim: "Victim") -> Self:
        """The same, in full precision where the victim is asked in no other."""
        return type(self)(_as_precise(self.lm, victim), self.k, least=self.least)


class MaskedInsert:
    """A new word beside a word, to its left or (both) to its right.

    BAE-I (Garg & Ramakrishnan 2020): both sides, k 50, least 0. CLARE's insert (Li et al. 2021) in TextAttack
    0.3.11: the left side, k 50, least 0. The new word is in the case that the model gives it, beside a word of
    CAPITALS in capitals; a word that only doubles its neighbour is dropped.
    """

    def __init__(self, lm: "MaskedLM", k: int = 50, *, least: float = 0.0, both: bool = True) -> None:
        self.lm, self.k, self.least, self.both = lm, k, least, both
        self.identity = lm.digest
        self.name = f"masked LM {lm.name!r}, new word to the left{' or right' if both else ''}: {_settings(k, least)}"

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Texts with two words in the slot, those of the first side first; none for an empty slot."""
        old = text.slots[index]
        if not old:
            return []
        field, start, end = text.spans[index]
        whole = text.fields[field]
        found: list[str] = []
        gaps = [(whole[:start], " " + whole[start:]), (whole[:end] + " ", whole[end:])]
        for left, gap in zip((True, False) if self.both else (True,), gaps, strict=False):
            words = yield from _fitting(self.lm, *gap, self.k, self.least)
            shouted = len(old) > 1 and old.isupper()
            new = _unlike(old, (word.upper() if shouted else word for word in words))
            found += [f"{word} {old}" if left else f"{old} {word}" for word in new]
        return [text.replace(index, slot) for slot in dict.fromkeys(found)]

    def bound(self, victim: "Victim") -> Self:
        """The same, in full precision where the victim is asked in no other."""
        return type(self)(_as_precise(self.lm, victim), self.k, least=self.least, both=self.both)


class MaskedMerge:
    """A word and the next become one: both are masked as one, the second slot is emptied.

    CLARE's merge (Li et al. 2021): k 50, least 5e-3. Only white space may stand between the two, and both must be
    in a field that may be edited. TextAttack 0.3.11 merges only pairs of certain parts of speech (adjective and noun,
    adverb and verb, ...); here every pair may be.
    """

    def __init__(self, lm: "MaskedLM", k: int = 50, *, least: float = 5e-3) -> None:
        self.lm, self.k, self.least = lm, k, least
        self.identity = lm.digest
        self.name = f"masked LM {lm.name!r} in place of two words: {_settings(k, least)}"

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Texts with one word for two; none where the next word is missing, deleted or across punctuation."""
        if index + 1 not in text.editable or text.field_of(index) != text.field_of(index + 1):
            return []
        old, following = text.slots[index], text.slots[index + 1]
        field, start, middle = text.spans[index]
        _, second, end = text.spans[index + 1]
        whole = text.fields[field]
        if not old or not following or not whole[middle:second].isspace():
            return []
        words = yield from _fitting(self.lm, whole[:start], whole[end:], self.k, self.least)
        new = _unlike(old, (in_case_of(word, old) for word in words))
        return [text.edit({index: word, index + 1: ""}) for word in new]

    def bound(self, victim: "Victim") -> Self:
        """The same, in full precision where the victim is asked in no other."""
        return type(self)(_as_precise(self.lm, victim), self.k, least=self.least)


class BertAttackSwap:
    """BERT-Attack (Li et al. 2020): a word becomes what the model says with the word in view, as its authors' code has.

    One pass over the unmasked text gives each piece its k likeliest others: 48 there, 8 in TextAttack. A word of one
    piece takes them in the model's order, down to a logit of `threshold` (their script passes 0, which is off; the
    function's default is 0.3). A word of several pieces takes k combinations of a grid, the likeliest as a sequence of
    pieces without the text first; TextAttack computes that order, and throws it away. Candidates that are stop words
    or begin with a piece that goes on a word are dropped. A combination may be several words.
    anew: the pass is over the text as it is by then (TextAttack), not over the original.
    The filter by counter-fitted vectors that the authors use for sentiment is a constraint of its own.
    """

    def __init__(
        self,
        lm: "MaskedLM",
        k: int = 48,
        *,
        threshold: float = 0.0,
        stopwords: frozenset[str] = STOPWORDS,
        anew: bool = False,
    ) -> None:
        self.lm, self.k, self.threshold, self.stopwords, self.anew = lm, k, threshold, stopwords, anew
        self.identity = lm.digest
        above = f", logit >= {threshold:g}" if threshold else ""
        self.name = f"masked LM {lm.name!r} on the unmasked text: best {k} a piece{above}"

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """Texts with another word in the slot, in the case of the old one; none beyond the model's longest text."""
        source, old = (text if self.anew else text.start), text.slots[index]
        if not old or not source.slots[index]:
            return []
        field, start, _ = source.spans[index]
        spans = [(begin, end) for number, begin, end in source.spans if number == field]
        place = index - next(i for i in range(index + 1) if source.field_of(i) == field)
        (found,) = yield Ask(self.lm.pieces, [(source.fields[field], tuple(spans), self.k)])
        spaced = source.fields[field][:start][-1:].isspace()
        words = yield from self._words(found[place], spaced)
        kept = (in_case_of(word, old) for word in words if word.lower() not in self.stopwords)
        return [text.replace(index, new) for new in _unlike(old, _unlike(source.slots[index], kept))]

    def bound(self, victim: "Victim") -> Self:
        """The same, in full precision where the victim is asked in no other."""
        return type(self)(
            _as_precise(self.lm, victim), self.k, threshold=self.threshold, stopwords=self.stopwords, anew=self.anew
        )

    def _words(self, pieces: "Pieces", spaced: bool) -> Search[list[str]]:
        if len(pieces.ids) == 0:
            return []
        if len(pieces.ids) == 1:
            kept = pieces.ids[0][pieces.logits[0] >= self.threshold] if self.threshold else pieces.ids[0]
            return _words(self.lm.word(self.lm.vocabulary[i], spaced) for i in kept)
        grid = pieces.ids[:_PIECES, :_WIDTH].tolist()
        combinations = list(islice(product(*grid), _COMBINATIONS))
        perplexities = yield Ask(self.lm.perplexity, combinations)
        order = sorted(range(len(combinations)), key=lambda n: (perplexities[n], n))
        found = []
        for n in order:
            parts = [self.lm.vocabulary[i] for i in combinations[n]]
            if self.lm.word(parts[0], spaced):
                found.append(self.lm.tokenizer.convert_tokens_to_string(parts).strip())
        return _words(found)[: self.k]


def _as_precise(lm: "MaskedLM", victim: "Victim") -> "MaskedLM":
    return lm.at(getattr(victim, "half", True))


def _fitting(lm: "MaskedLM", before: str, after: str, k: int, least: float) -> Search[list[str]]:
    """Whole words for the gap, the likeliest first.

    Pieces that go on a word are dropped; TextAttack strips their "##" and puts an "ing" in place of a word.
    """
    (found,) = yield Ask(lm.fill, [(before, after, k)])
    spaced = before[-1:].isspace()
    return _words(lm.word(piece, spaced) for piece, chance in found if chance >= least)


def _words(texts: Iterable[str]) -> list[str]:
    """Those that are made of words alone, with single spaces between them."""
    return [text for text in texts if text and all(WORD.fullmatch(part) for part in text.split(" "))]


def _unlike(old: str, new: Iterable[str]) -> list[str]:
    """Without duplicates, and without what reads like the old word."""
    return [word for word in dict.fromkeys(new) if word.casefold() != old.casefold()]


def _settings(k: int, least: float) -> str:
    return f"best {k}" + (f", probability >= {least:g}" if least else "")
