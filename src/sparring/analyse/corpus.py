"""Token-labelled corpora: CoNLL-U with any of its columns or features, and the older CoNLL columns (chunks, NER).

A column called by a name ("upos", "feats:Number") is one of CoNLL-U, a column called by a number (from 1) is one of a
file with a word a line, columns separated by tabs or else by spaces, and an empty line after each sentence.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.batch import make_key
from ..data.files import listed, printable, quoted
from ..errors import DataError, SettingError
from ..settings import nearest

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""Columns of CoNLL-U, https://universaldependencies.org/format.html."""
LABELS = ("upos", "xpos", "lemma", "deprel", "feats:NAME", "misc:NAME")
_WORD = re.compile(r"[1-9]\d*")
_SPAN_OR_EMPTY = re.compile(r"[1-9]\d*-[1-9]\d*|\d+\.[1-9]\d*")


@dataclass(frozen=True)
class Corpus:
    """Sentences as words, and a tag for some of them."""

    origin: str
    """The file, safe to print."""
    column: str
    sentences: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str | None, ...], ...]
    """One a word; None: the word has none, and is context only."""
    digest: str
    """SHA-256 of the file, in hex."""
    notes: tuple[str, ...] = ()
    """What was left out, in sentences for people."""

    @property
    def words(self) -> int:
        """Words with a tag."""
        return sum(tag is not None for tags in self.tags for tag in tags)

    @property
    def counts(self) -> Counter[str]:
        """Words of each tag."""
        return Counter(tag for tags in self.tags for tag in tags if tag is not None)


def read_corpus(path: Path | str, column: str, *, word_column: int = 1) -> Corpus:
    """The sentences of a file. word_column: where the words are, in a file whose columns have numbers.

    Raises DataError for a broken row (file, line, what), SettingError for a column that there is not.
    """
    path, column = Path(path), column.strip()
    origin = printable(str(path))
    lines, digest = _lines(path, origin)
    if column.isdecimal():
        found = _read_columns(lines, origin, int(column), word_column)
    else:
        found = _read_conllu(lines, origin, *_conllu_column(column))
    sentences = [sentence for sentence in found if sentence]
    if not sentences:
        raise DataError(f"{origin} holds no words; is it a CoNLL file?")
    return Corpus(
        origin=origin,
        column=column,
        sentences=tuple(tuple(word for word, _ in sentence) for sentence in sentences),
        tags=tuple(tuple(tag for _, tag in sentence) for sentence in sentences),
        digest=digest,
    )


def limit(corpus: Corpus, *, words: int = 0, min_count: int = 1, max_tags: int | None = None, seed: int = 0) -> Corpus:
    """Fewer sentences, then fewer tags; the notes say how many.

    words: sentences are drawn by `seed` until they have this many tagged words, so that a corpus in the order of its
    sources is cut evenly; they keep their order; 0: all. min_count: rarer tags are no tags. max_tags: nor are any but
    the most frequent ones. Raises DataError where fewer than two tags are left.
    """
    sentences, tags, notes = corpus.sentences, corpus.tags, list(corpus.notes)
    if 0 < words < corpus.words:
        order = np.random.default_rng(make_key(seed, "sentences of a corpus")).permutation(len(sentences))
        size = np.cumsum([sum(tag is not None for tag in tags[i]) for i in order])
        kept = np.sort(order[: int(np.searchsorted(size, words)) + 1])
        sentences, tags = tuple(sentences[i] for i in kept), tuple(tags[i] for i in kept)
        notes.append(f"{len(kept)} of {len(corpus.sentences)} sentences are used, for {words} words")
    cut = Corpus(corpus.origin, corpus.column, sentences, tags, corpus.digest)
    ranked = sorted(cut.counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = {tag for tag, count in ranked[:max_tags] if count >= min_count}
    rare = [tag for tag, _ in ranked if tag not in frequent]
    if rare:
        lost = sum(cut.counts[tag] for tag in rare)
        notes.append(f"{len(rare)} rare tags with {lost} words are left out: {listed(sorted(rare))}")
    if len(frequent) < 2:
        raise DataError(
            f"{corpus.origin}: column {quoted(corpus.column)} has {len(frequent)} tags with at least {min_count} words "
            f"in {cut.words} words, and telling tags apart needs two; lower min_count, raise words, or name another "
            "column"
        )
    tags = tuple(tuple(tag if tag in frequent else None for tag in sentence) for sentence in tags)
    return Corpus(corpus.origin, corpus.column, sentences, tags, corpus.digest, tuple(notes))


def _lines(path: Path, origin: str) -> tuple[list[str], str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the corpus {origin}: {error.strerror}") from error
    lines = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise DataError(
                f"{origin}, line {number}: not UTF-8 at byte {error.start}; save the file as UTF-8"
            ) from None
    return lines, hashlib.sha256(content).hexdigest()


def _conllu_column(column: str) -> tuple[int, str]:
    """(place, feature): "feats:Number" is (5, "Number"), "upos" is (3, "")."""
    name, _, feature = column.partition(":")
    name = name.lower()
    if name not in COLUMNS[2:] or (name in ("feats", "misc")) != bool(feature) or name in ("head", "deps"):
        raise SettingError(
            f"column {quoted(column)} is none of CoNLL-U; {nearest(column, LABELS)}; in a file of plain columns, say "
            "which one by its number, such as 3"
        )
    return COLUMNS.index(name), feature


def _read_conllu(lines: Sequence[str], origin: str, place: int, feature: str) -> Iterator[list[tuple[str, str | None]]]:
    sentence: list[tuple[str, str | None]] = []
    seen: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        where = f"{origin}, line {number}"
        if not line.strip():
            yield sentence
            sentence = []
            continue
        if line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            raise DataError(
                f"{where}: {len(cells)} columns where CoNLL-U has {len(COLUMNS)}, separated by tabs: {quoted(line)}"
            )
        if _SPAN_OR_EMPTY.fullmatch(cells[0]):
            continue  # "3-4" spells two words that have rows of their own; "8.1" is a word that nobody wrote
        if not _WORD.fullmatch(cells[0]):
            raise DataError(f"{where}: {quoted(cells[0])} is no word number; CoNLL-U has 1, 2, ..., 3-4 or 8.1")
        if int(cells[0]) != len(sentence) + 1:
            raise DataError(f"{where}: word number {cells[0]} where {len(sentence) + 1} follows; is a row missing?")
        if not cells[1].strip():
            raise DataError(f"{where}: the word is empty")
        value: str | None = cells[place]
        if feature:
            named = _features(cells[place], where)
            seen.update(named.keys())
            value = named.get(feature)
        sentence.append((cells[1], None if value in ("_", "") else value))
    yield sentence
    if feature and feature not in seen:
        raise SettingError(
            f"no word of {origin} has {COLUMNS[place]}:{feature}; {nearest(feature, seen) if seen else 'it has none'}"
        )


def _features(cell: str, where: str) -> dict[str, str]:
    if cell == "_":
        return {}
    pairs = [part.partition("=") for part in cell.split("|")]
    if any(not name for name, _, _ in pairs):
        raise DataError(f"{where}: {quoted(cell)} is no list of features such as Case=Nom|Number=Sing")
    return {name: value for name, equals, value in pairs if equals}


def _read_columns(
    lines: Sequence[str], origin: str, place: int, word_place: int
) -> Iterator[list[tuple[str, str | None]]]:
    tabs = any("\t" in line for line in lines)
    columns = 0
    sentence: list[tuple[str, str | None]] = []
    for number, line in enumerate(lines, 1):
        where = f"{origin}, line {number}"
        if not line.strip():
            yield sentence
            sentence = []
            continue
        cells = line.split("\t") if tabs else line.split()
        if cells[0] == "-DOCSTART-":
            continue
        if line.startswith("#") and (len(cells) == 1 if tabs else not sentence and len(cells) != columns):
            continue  # a comment; a row about the word "#" has as many columns as the others
        columns = columns or len(cells)
        if max(place, word_place) > columns or not min(place, word_place):
            raise SettingError(
                f"{where}: {columns} columns, so there is no column {place if place > columns else word_place}; "
                "they are counted from 1"
            )
        if len(cells) != columns:
            raise DataError(f"{where}: {len(cells)} columns where the rows before have {columns}: {quoted(line)}")
        word, tag = cells[word_place - 1].strip(), cells[place - 1].strip()
        if not word or not tag:
            raise DataError(f"{where}: the {'tag' if word else 'word'} is empty: {quoted(line)}")
        sentence.append((word, tag))
    yield sentence
