"""Synonyms from WordNet, read from its own files: no other package is needed, and any layout of them will do.

The format is that of wndb(5WN) and the base forms are those of morphy(7WN), both part of the WordNet manual. Order of
synsets, of lemmas and of base forms is that of `nltk.corpus.wordnet`, which the tests compare with.
"""

import re
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from ..errors import UNREADABLE, DataError, SettingError
from .text import WORD

PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
"""Parts of speech, in the order in which they are looked up. Satellite adjectives are adjectives."""
FILES = tuple(name for part in PARTS.values() for name in (f"data.{part}", f"index.{part}", f"{part}.exc"))
"""What is read. NLTK's copy has more (lexnames, index.sense), Debian's wordnet-base lacks those."""
_ENDINGS = {
    "n": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "v": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "a": "er: est: er:e est:e",
    "r": "",
}
_RULES = {
    pos: [(old, new) for old, new in (rule.split(":") for rule in rules.split())] for pos, rules in _ENDINGS.items()
}
"""Detachment rules of morphy(7WN), and "ves" to "f", which NLTK adds."""


class WordNet:
    """A WordNet database in a folder, or in a zip file as NLTK downloads it.

    Files are read when a part of speech is first asked for (0.2 s for all). Raises DataError when one is missing or
    not in the format.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._inside = ""
        if source.is_file():
            try:
                with zipfile.ZipFile(source) as archive:
                    names = set(archive.namelist())
            except UNREADABLE as error:
                raise DataError(
                    f"{source} is no zip file ({error}); give a WordNet folder or NLTK's zip of it"
                ) from error
            self._inside = next((name[: -len("data.noun")] for name in sorted(names) if name.endswith("data.noun")), "")
            missing = [name for name in FILES if self._inside + name not in names]
        else:
            missing = [name for name in FILES if not (source / name).is_file()]
        if missing:
            raise DataError(f"{source} is no WordNet database: {', '.join(missing)} missing")
        self._data: dict[str, bytes] = {}
        self._index: dict[str, dict[str, str]] = {}
        self._irregular: dict[str, dict[str, list[str]]] = {}
        self._known: dict[tuple[str, str], list[str]] = {}

    @cached_property
    def version(self) -> str:
        """Such as "WordNet 3.0", from the licence at the top of the data; "WordNet" if it does not say."""
        found = re.search(rb"WordNet \d+(\.\d+)*", self._lines("n")[:2000])
        return found[0].decode() if found else "WordNet"

    def read(self, name: str) -> bytes:
        """One of `FILES`."""
        try:
            if self.source.is_file():
                with zipfile.ZipFile(self.source) as archive:
                    return archive.read(self._inside + name)
            return (self.source / name).read_bytes()
        except UNREADABLE as error:
            raise DataError(f"cannot read {name} of the WordNet in {self.source}: {error}") from error

    def synonyms(self, word: str, pos: str | None = None) -> list[str]:
        """Single-word lemmas of all synsets of a word, in their order, without duplicates and without the word itself.

        The word may be inflected and in any case; two lemmas that differ in case alone are one. pos: "n", "v", "a" or
        "r"; all of them by default, as TextAttack's PWWS does.
        """
        if pos is not None and pos not in PARTS:
            raise SettingError(f"part of speech {pos!r} is unknown; WordNet has {', '.join(PARTS)}")
        key = (word.lower(), pos or "")
        if key not in self._known:
            found: dict[str, str] = {}
            for part, offset in self.synsets(word, pos):
                for lemma in self.lemmas(part, offset):
                    if "_" not in lemma and len(WORD.findall(lemma)) == 1:
                        found.setdefault(lemma.lower(), lemma)
            found.pop(word.lower(), None)
            self._known[key] = list(found.values())
        return list(self._known[key])

    def synsets(self, word: str, pos: str | None = None) -> list[tuple[str, int]]:
        """(part of speech, offset in its data file) of each meaning, the commonest first within a part of speech."""
        word = word.lower()
        parts = PARTS if pos is None else (pos,)
        return [
            (part, offset) for part in parts for base in self._bases(word, part) for offset in self._row(part, base)
        ]

    def bases(self, word: str) -> set[tuple[str, str]]:
        """(part of speech, base form) of everything that a word can be a form of; empty for an unknown word."""
        return {(part, base) for part in PARTS for base in self._bases(word.lower(), part)}

    def lemmas(self, pos: str, offset: int) -> list[str]:
        """What is in a synset; several words are joined by "_"."""
        data = self._lines(pos)
        fields = data[offset : data.find(b"\n", offset)].decode("utf-8", "replace").split(" ")
        try:
            if int(fields[0]) != offset:
                raise ValueError
            count = int(fields[3], 16)
            lemmas = fields[4 : 4 + 2 * count : 2]
        except (ValueError, IndexError):
            raise DataError(
                f"data.{PARTS[pos]} of the WordNet in {self.source} has no synset at byte {offset}, to which its index "
                "points: the files do not belong together or are damaged"
            ) from None
        return [lemma.partition("(")[0] for lemma in lemmas]  # "galore(ip)" says where an adjective may stand

    def check(self) -> None:
        """Look at the first and last entry of each part of speech; DataError when they are not in the format."""
        for part in PARTS:
            index = self._part(part)
            if not index:
                raise DataError(f"index.{PARTS[part]} of the WordNet in {self.source} has no entry")
            for lemma in (next(iter(index)), next(reversed(index))):
                for offset in self._row(part, lemma):
                    self.lemmas(part, offset)

    def _bases(self, word: str, pos: str) -> Iterator[str]:
        """The word and its base forms, as far as they are in the index."""
        irregular = self._exceptions(pos).get(word)
        regular = (word[: -len(old)] + new for old, new in _RULES[pos] if word.endswith(old))
        index = self._part(pos)
        return (form for form in dict.fromkeys((word, *(irregular or regular))) if form in index)

    def _row(self, pos: str, lemma: str) -> list[int]:
        """Offsets of a lemma's synsets: n of them, in `lemma pos n p [p pointers] senses tagged [n offsets]`."""
        fields = self._part(pos)[lemma].split()
        try:
            count = int(fields[2])
            if len(fields) != 6 + int(fields[3]) + count:
                raise ValueError
            return [int(offset) for offset in fields[-count:]]
        except (ValueError, IndexError):
            raise DataError(
                f"index.{PARTS[pos]} of the WordNet in {self.source}: the line of {lemma!r} is not in the format"
            ) from None

    def _lines(self, pos: str) -> bytes:
        if pos not in self._data:
            self._data[pos] = self.read(f"data.{PARTS[pos]}")
        return self._data[pos]

    def _part(self, pos: str) -> dict[str, str]:
        if pos not in self._index:
            lines = self.read(f"index.{PARTS[pos]}").decode("utf-8", "replace").split("\n")
            # the licence at the top is indented
            self._index[pos] = {line.partition(" ")[0]: line for line in lines if line and not line.startswith(" ")}
        return self._index[pos]

    def _exceptions(self, pos: str) -> dict[str, list[str]]:
        if pos not in self._irregular:
            lines = self.read(f"{PARTS[pos]}.exc").decode("utf-8", "replace").split("\n")
            self._irregular[pos] = {words[0]: words[1:] for words in map(str.split, lines) if words}
        return self._irregular[pos]
