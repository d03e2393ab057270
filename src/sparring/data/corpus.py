"""A corpus: a stream of documents out of files, folders or the hub, read in constant memory from any place on.

Several files are read side by side, in step with their sizes: a pass over news and reviews is then mixed from beginning
to end, which no shuffling buffer makes of one file after the other.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, SettingError
from .files import printable
from .find import digest_of, find
from .sources import Bad, Source

SIDE_BY_SIDE = 16
"""Sources that are open at a time."""
SHOWN = 5
"""Corrupt lines that are kept for the report."""


@dataclass(frozen=True)
class BadLine:
    """A line or row that holds no document."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}"


class Corpus:
    """Documents in a fixed order, numbered from 0; corrupt lines are not counted among them."""

    def __init__(
        self,
        origin: str,
        sources: Sequence[Source],
        *,
        bad: Literal["skip", "fail"] = "skip",
        digest: str = "",
        size: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.origin = origin
        """What the user named, safe to print."""
        self.sources = tuple(sources)
        self.digest = digest
        """Identity of the contents, so that a resumed run notices another corpus: hash of names, sizes, and ends."""
        self.size = size
        """Bytes on disk; None where nobody knows."""
        self.notes = tuple(notes)
        """Sentences saying what was left aside."""
        self.bad_lines: list[BadLine] = []
        """The first corrupt lines met, up to `SHOWN`."""
        self.bad_count = 0
        """Corrupt lines of the furthest pass over the corpus so far: not counted again in a second pass."""
        self.fatal = bad == "fail"
        self._every, self._held = 0, False

    @classmethod
    def open(cls, spec: str | Path, *, field: str | None = None, bad: Literal["skip", "fail"] = "skip") -> "Corpus":
        """Find the files of a corpus and read its first document.

        spec: a file, a glob, a folder (all files of a known kind in it), several of these separated by commas,
            hub:NAME[:CONFIG] (a data set's train split, streamed), or "demo". Kinds: plain text, where a document is a
            paragraph (the lines up to a blank line); jsonl and parquet, where it is one field of each row; plain text
            and jsonl also as .gz. A document of more than a quarter of a megabyte is cut into several.
        field: name of the field or column that holds the text; by default "text".
        bad: whether corrupt lines (not UTF-8, not JSON, no text) are skipped and counted, or fatal.

        Raises DataError when there is nothing to read, for a binary file, or, where corrupt lines are fatal, for one.
        """
        if bad not in ("skip", "fail"):
            raise SettingError(f"corrupt lines: {bad!r} is not known; use 'skip' or 'fail'")
        origin = printable(str(spec))
        notes: list[str] = []
        found = find(str(spec), field, notes)
        sizes = [one.size for one in found]
        size = None if None in sizes else sum(size for size in sizes if size is not None)
        digest = digest_of(json.dumps([[one[1:] for one in found], field]).encode())
        sources = [one.source for one in found]
        corpus = cls(origin, sources, bad=bad, digest=digest, size=size, notes=notes)
        if next(corpus.reader(), None) is None:
            raise DataError(f"{origin}: there is no document in it{_first_of(corpus)}. Name files that hold text.")
        return corpus

    def reader(self, start: dict[str, Any] | None = None) -> "Reader":
        """An iterator over the texts of the documents, from a place on."""
        return Reader(self, start)

    def documents(self, start: dict[str, Any] | None = None) -> Iterator[tuple[dict[str, Any], str]]:
        """(place, text) of every document; the place, which JSON can hold, is the one behind the document."""
        reader = self.reader(start)
        for text in reader:
            yield reader.place(), text

    def without_every(self, number: int) -> "Corpus":
        """The corpus less every document that `only_every` of the same number keeps."""
        return self._part(number, held=False)

    def only_every(self, number: int) -> "Corpus":
        """Every so manieth document alone: of 100, those numbered 99, 199, ... Meant for held-out text."""
        return self._part(number, held=True)

    def _part(self, number: int, *, held: bool) -> "Corpus":
        if number < 2:
            raise SettingError(f"every {number}th document cannot be set apart; use 2 or more")
        part = Corpus(
            self.origin,
            self.sources,
            bad="fail" if self.fatal else "skip",
            digest=digest_of(f"{self.digest} {number} {held}".encode()),
            size=self.size,
            notes=self.notes,
        )
        part._every, part._held = number, held
        return part

    def wants(self, number: int) -> bool:
        """Whether the document of this number belongs to this part of the corpus."""
        return not self._every or (number % self._every == self._every - 1) == self._held

    def report(self, source: Source, bad: Bad, count: int) -> None:
        """Take note of a corrupt line, the `count`th of its pass; DataError if corrupt lines are fatal."""
        line = BadLine(source.name, bad.line, bad.reason)
        if self.fatal:
            raise DataError(
                f"{line}. Let corrupt lines be skipped (--bad-lines skip, also with --resume), or mend "
                "this one and begin anew"
            )
        if len(self.bad_lines) < SHOWN and line not in self.bad_lines:
            self.bad_lines.append(line)
        self.bad_count = max(self.bad_count, count)

    def noted(self) -> list[Any]:
        """[corrupt lines, the first of them], for a place: whoever goes on from there reports these too."""
        return [self.bad_count, [list(astuple(line)) for line in self.bad_lines]]

    def recall(self, noted: list[Any]) -> None:
        """Take what `noted` gave, when it was met before what this corpus has met so far."""
        count, first = noted
        self.bad_count = max(self.bad_count, count)
        lines = [BadLine(*line) for line in first]
        self.bad_lines = [*lines, *(line for line in self.bad_lines if line not in lines)][:SHOWN]


class Reader:
    """Iterates over the texts of a corpus. Sources take turns so that the least advanced one always comes next."""

    def __init__(self, corpus: Corpus, start: dict[str, Any] | None = None) -> None:
        self._corpus = corpus
        sources = corpus.sources
        if start is None:
            start = {"documents": 0, "bad": 0, "group": 0, "open": None}
        else:
            corpus.recall(start["noted"])
        self.count: int = start["documents"]
        """Documents read or passed over so far."""
        self.bad: int = start["bad"]
        self._group: int = start["group"]
        # With more sources than can be open, a group holds sources from all over the list: neighbours are alike.
        groups = -(-len(sources) // SIDE_BY_SIDE)
        self._groups = [range(first, len(sources), groups) for first in range(groups)]
        self._open: dict[int, Iterator[tuple[list[Any], str | Bad]]] = {}
        self._places: dict[int, list[Any] | None] = {}
        self._begin(start["open"])

    def _begin(self, places: list[list[Any]] | None = None) -> None:
        if places is None:
            places = [[number, None] for number in self._groups[self._group]]
        self._places = {number: place for number, place in places}
        self._open = {n: self._corpus.sources[n].read(place) for n, place in self._places.items()}

    def __iter__(self) -> "Reader":
        return self

    def __next__(self) -> str:
        while True:
            if not self._open:
                if self._group + 1 >= len(self._groups):
                    raise StopIteration
                self._group += 1
                self._begin()
            number = min(self._open, key=self._progress)
            source = self._corpus.sources[number]
            try:
                found = next(self._open[number], None)
            except OSError as error:
                why = printable(error.strerror or str(error))
                raise DataError(f"{source.name}: cannot be read ({why}). Check the path and the disk.") from None
            if found is None:
                del self._open[number], self._places[number]
                continue
            self._places[number], content = found
            if isinstance(content, Bad):
                self.bad += 1
                self._corpus.report(source, content, self.bad)
                continue
            self.count += 1
            if self._corpus.wants(self.count - 1):
                return content

    def _progress(self, number: int) -> float:
        place = self._places[number]
        return self._corpus.sources[number].progress(place) if place else 0.0

    def place(self) -> dict[str, Any]:
        """Where this reader stands, as `Corpus.reader` takes it; small, and JSON can hold it."""
        places = [[number, place] for number, place in self._places.items()]
        noted = self._corpus.noted()
        return {"documents": self.count, "bad": self.bad, "group": self._group, "open": places, "noted": noted}


def _first_of(corpus: Corpus) -> str:
    return f"; {corpus.bad_count} corrupt lines, the first: {corpus.bad_lines[0]}" if corpus.bad_lines else ""
