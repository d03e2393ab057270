"""What a new word must have in common with the one that it replaces: meaning as vectors have it, and part of speech."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..errors import DataError
from .constrain import Constraint
from .engine import Search
from .resources import MAP_FILE, TAGGER_FILES, find, read_member
from .text import Text
from .transform.synonyms import victim_neighbours
from .vectors import Neighbours
from .wordnet import WordNet

if TYPE_CHECKING:
    from .victim import Victim

BEFORE, AFTER = 4, 3
"""Words of context that the tagger sees, TextAttack's: words [i - 4, i + 3] around word i."""
_MEMORY = 200_000


class WordCosine(Constraint):
    """The vector of each new word has at least this cosine to that of the original word in its place.

    neighbours: whose vectors; None for the victim's own embedding table, once bound. unknown_passes: a word without a
    vector may come and go, as in TextAttack. Deleted words pass, and so do several words in one place where unknown
    ones do. A table of neighbours without cosines allows everything, and the name says so.
    """

    def __init__(self, threshold: float, neighbours: Neighbours | None = None, *, unknown_passes: bool = True) -> None:
        self.threshold, self.neighbours, self.unknown_passes = threshold, neighbours, unknown_passes
        whose = "the victim's embedding table" if neighbours is None else neighbours.name
        unknown = "" if unknown_passes else ", no unknown words"
        self.name = f"word cosine at least {threshold:g} in {whose}{unknown}"
        if neighbours is not None and not neighbours.knows_cosines:
            self.name = f"word cosine not checked: {whose} has no cosines, it counts as filtered"

    @property
    def identity(self) -> str:
        """Of the table; the victim's own is known with the victim."""
        return "" if self.neighbours is None else self.neighbours.digest

    def bound(self, victim: "Victim") -> Self:
        """Of the victim's table where no other was given."""
        if self.neighbours is not None:
            return self
        return type(self)(self.threshold, victim_neighbours(victim), unknown_passes=self.unknown_passes)

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """All changed places of each candidate, whenever they were changed."""
        old = original.original
        known: dict[tuple[str, str], bool] = {}
        verdicts = []
        for candidate in candidates:
            pairs = [(old[i], candidate.slots[i]) for i in candidate.changed]
            for pair in pairs:
                if pair not in known:
                    known[pair] = self._close(*pair)
            verdicts.append(all(known[pair] for pair in pairs))
        return verdicts
        yield

    def _close(self, old: str, new: str) -> bool:
        assert self.neighbours is not None, "bind the constraint to a victim first"
        if not new or not self.neighbours.knows_cosines:
            return True
        cosine = self.neighbours.cosine(old, new)
        return self.unknown_passes if cosine is None else cosine >= self.threshold


class PartOfSpeech(Constraint):
    """Each new word has the part of speech of the original one, both tagged among the original words around them.

    noun_verb: a noun may become a verb and the other way round. tagger: default the resource `pos_tagger`.
    Words are those of the same field, TextAttack's window crosses from one to the next; it also tags the first of
    equal words in the window rather than the one that was changed. Of several words in a place the first is tagged;
    deleted words pass. insertions_pass: of two words in a place either may be the one that counts, the other was put
    beside it and replaces none (BAE).
    """

    def __init__(
        self, *, noun_verb: bool = True, insertions_pass: bool = False, tagger: "Tagger | None" = None
    ) -> None:
        self.noun_verb, self.insertions_pass = noun_verb, insertions_pass
        self.tagger = tagger or load_tagger(find("pos_tagger"))
        self.name = f"part of speech{' of replaced words' if insertions_pass else ''}"
        self.name += ", noun and verb are one" if noun_verb else ""

    @property
    def identity(self) -> str:
        """Of the tagger's weights."""
        return self.tagger.digest

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """All changed places of each candidate, whenever they were changed."""
        known: dict[tuple[int, str], bool] = {}
        verdicts = []
        for candidate in candidates:
            places = [(i, candidate.slots[i]) for i in candidate.changed]
            for place in places:
                if place not in known:
                    known[place] = self._same(original, *place)
            verdicts.append(all(known[place] for place in places))
        return verdicts
        yield

    def _same(self, original: Text, index: int, new: str) -> bool:
        words = original.original
        field = original.field_of(index)
        before = tuple(words[j] for j in range(max(0, index - BEFORE), index) if original.field_of(j) == field)
        last = min(len(words), index + AFTER + 1)
        after = tuple(words[j] for j in range(index + 1, last) if original.field_of(j) == field)
        inside = tuple(new.split())
        both = self.insertions_pass and len(inside) > 1
        if not inside or (both and words[index] in (inside[0], inside[-1])):
            return True
        a = self.tagger.universal((*before, words[index], *after), len(before))
        read = [(inside[0],), (inside[-1],)] if both else [inside]
        tags = [self.tagger.universal((*before, *part, *after), len(before)) for part in read]
        return any(a == b or (self.noun_verb and {a, b} == {"NOUN", "VERB"}) for b in tags)


class OtherLexeme(Constraint):
    """No new word is another form of the word that it replaces, as "liked" is of "likes".

    Two words are forms of one lexeme when they share a base form of the same part of speech in WordNet, or are the
    same but for case. wordnet: default the resource `wordnet`.
    """

    name = "no other form of the same word"

    def __init__(self, wordnet: WordNet | None = None) -> None:
        self.wordnet = wordnet or WordNet(find("wordnet"))

    @property
    def identity(self) -> str:
        """Of the database's release, as far as it says."""
        return self.wordnet.version

    def check(self, original: Text, current: Text, candidates: Sequence[Text]) -> Search[list[bool]]:
        """All changed places of each candidate, whenever they were changed."""
        old = original.original
        return [
            all(old[i].lower() != c.slots[i].lower() and not self._shared(old[i], c.slots[i]) for i in c.changed)
            for c in candidates
        ]
        yield

    def _shared(self, old: str, new: str) -> bool:
        return not set(self.wordnet.bases(old)).isdisjoint(self.wordnet.bases(new))


class Tagger:
    """Averaged perceptron over words, endings and the two tags before, greedy from left to right.

    The model (M. Honnibal, "A Good Part-of-Speech Tagger in about 200 Lines of Python", 2013) with the weights of NLTK
    and its features, so that the tags are the same as those of `nltk.tag.perceptron.PerceptronTagger`.

    weights: from a feature to the weights of tags. certain: words that always have one tag. tags: all tags.
    universal: from a Penn Treebank tag to a universal one (Petrov, Das and McDonald 2012); others are "X".
    """

    def __init__(
        self,
        weights: Mapping[str, Mapping[str, float]],
        certain: Mapping[str, str],
        tags: Sequence[str],
        universal: Mapping[str, str],
    ) -> None:
        self.tags = tuple(sorted(tags, reverse=True))  # of equal scores the last tag of the alphabet wins, as in NLTK
        self.certain, self.map = dict(certain), dict(universal)
        column = {tag: i for i, tag in enumerate(self.tags)}
        self._feature = {name: row for row, name in enumerate(weights)}
        self._weights = np.zeros((len(weights), len(self.tags)))
        rows = [row for row, entries in enumerate(weights.values()) for _ in entries]
        columns = [column[tag] for entries in weights.values() for tag in entries]
        self._weights[rows, columns] = [weight for entries in weights.values() for weight in entries.values()]
        self._known: dict[tuple[int, tuple[str, ...]], str] = {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex, 16 digits) over weights and tags, for records."""
        found = hashlib.sha256(self._weights.tobytes())
        found.update(json.dumps([self.tags, list(self._feature), self.certain, self.map]).encode())
        return found.hexdigest()[:16]

    @classmethod
    def load(cls, folder: Path) -> "Tagger":
        """From a folder that holds NLTK's packages, unpacked or zipped. DataError when one is not what it should be."""
        weights, certain, tags = (_json(folder, package, name) for package, name in TAGGER_FILES)
        lines = read_member(folder, *MAP_FILE).decode("utf-8", "replace").splitlines()
        pairs = [line.strip().split("\t") for line in lines if line.strip()]
        try:
            return cls(weights, certain, tags, {fine: coarse for fine, coarse in pairs})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DataError(
                f"the tagger in {folder} is not in NLTK's format ({type(error).__name__}: {error})"
            ) from error

    def tag(self, words: Sequence[str]) -> list[str]:
        """Penn Treebank tags of a sentence."""
        words = tuple(words)
        return [self._tag(words, i) for i in range(len(words))]

    def universal(self, words: tuple[str, ...], index: int) -> str:
        """Universal tag of one of the words."""
        for i in range(index):  # from the left, so that each finds the tags before it
            self._tag(words, i)
        return self.map.get(self._tag(words, index), "X")

    def _tag(self, words: tuple[str, ...], i: int) -> str:
        """A tag depends on the words up to the second after it alone, so candidates share the tags before them."""
        key = (i, words[: i + 3])
        tag = self._known.get(key)
        if tag is None:
            tag = self.certain.get(words[i]) or self._best(words, i)
            if len(self._known) >= _MEMORY:
                self._known.clear()
            self._known[key] = tag
        return tag

    def _best(self, words: tuple[str, ...], i: int) -> str:
        last = self._tag(words, i - 1) if i else "-START-"
        before = self._tag(words, i - 2) if i > 1 else "-START2-" if i == 0 else "-START-"
        left2, left, plain, right, right2 = _context(words, i)
        word = words[i]
        names = (
            "bias",
            f"i suffix {word[-3:]}",
            f"i pref1 {word[:1]}",
            f"i-1 tag {last}",
            f"i-2 tag {before}",
            f"i tag+i-2 tag {last} {before}",
            f"i word {plain}",
            f"i-1 tag+i word {last} {plain}",
            f"i-1 word {left}",
            f"i-1 suffix {left[-3:]}",
            f"i-2 word {left2}",
            f"i+1 word {right}",
            f"i+1 suffix {right[-3:]}",
            f"i+2 word {right2}",
        )
        feature = self._feature
        rows = [feature[name] for name in names if name in feature]
        # summed one after another in this order, as NLTK does: a sum's last bit decides between equal tags
        return self.tags[int(self._weights[rows].sum(axis=0).argmax())]


@lru_cache(maxsize=2)
def load_tagger(folder: Path) -> Tagger:
    """The tagger of a folder, read once."""
    return Tagger.load(folder)


def _context(words: tuple[str, ...], i: int) -> list[str]:
    """Words i - 2 to i + 2 as features have them."""
    before = ["-START-", "-START2-", *map(_plain, words[max(0, i - 2) : i])][-2:]
    return [*before, *[*map(_plain, words[i : i + 3]), "-END-", "-END2-"][:3]]


def _plain(word: str) -> str:
    """A word as features have it."""
    if "-" in word and word[0] != "-":
        return "!HYPHEN"
    if word.isdigit() and len(word) == 4:
        return "!YEAR"
    return "!DIGITS" if word[:1].isdigit() else word.lower()


def _json(folder: Path, package: str, name: str) -> Any:
    try:
        return json.loads(read_member(folder, package, name))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{package}/{name} in {folder} is not JSON: {error}") from error
