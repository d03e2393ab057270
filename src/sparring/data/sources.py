"""Documents out of one file, data set or list, read piece by piece: what a corpus is made of.

Every source yields (place, document), the place being that behind the document: a short list that JSON can hold and
from which `read` goes on exactly. Where something is not a document, a `Bad` comes in its stead.

text       a document is a paragraph: the lines up to a blank line
jsonl      a document is the field "text" (or another) of the object on a line
parquet    a document is the column "text" (or another) of a row
hub        the same of a row of a data set's "train" split, streamed
"""

import copy
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from ..errors import DataError
from .files import listed, nearest, printable, quoted

PIECE = 1 << 18
"""Bytes: a longer document is cut into pieces of at most this size, at white space, each a document of its own."""
LONGEST_JSON = 1 << 25
"""Bytes: a longer line of a jsonl file is not read."""
_GIVEN_UP = (EOFError, zlib.error, gzip.BadGzipFile)
_SPACE = b" \t\r\n\f\v"

Place = list[Any]


class Bad(NamedTuple):
    """A line (or row), counted from 1, that holds no document, and why."""

    line: int
    reason: str


class Source(Protocol):
    """Something that holds documents."""

    @property
    def name(self) -> str:
        """What the user calls it, safe to print."""
        ...

    def read(self, start: Place | None = None) -> Iterator[tuple[Place, str | Bad]]:
        """Documents from a place on, by default from the beginning; OSError when the file cannot be read."""
        ...

    def progress(self, place: Place) -> float:
        """The share of the source that lies before a place, roughly: it only orders the reading of several sources."""
        ...


@dataclass(frozen=True)
class Text:
    """A UTF-8 text file, also gzip-compressed.

    A place is [bytes before it, line ends before it, whether the line that it is in was found corrupt].
    """

    path: Path
    name: str
    size: int

    def read(self, start: Place | None = None) -> Iterator[tuple[Place, str | Bad]]:
        """Paragraphs. A line that is not UTF-8 or holds a NUL byte is a `Bad`, and ends its paragraph."""
        offset, line, corrupt = start or (0, 0, False)
        parts: list[str] = []
        size = 0
        with _open(self.path) as file:
            file.seek(offset)
            lines = _Lines(file)
            while True:
                before: Place = [offset, line, corrupt]
                raw = b""
                text: str | Bad | None = None
                try:
                    raw = lines.next()
                except _GIVEN_UP as error:
                    text = _cut_off(line, error)
                offset, line = offset + len(raw), line + raw.endswith(b"\n")
                blank = not raw.strip(_SPACE)
                known = corrupt  # a long line comes in pieces, and is one corrupt line however many of them are
                if not blank:
                    text = _decode(raw, before[1] + 1)
                    corrupt = corrupt or isinstance(text, Bad)
                corrupt = corrupt and not raw.endswith(b"\n")
                if parts and (blank or isinstance(text, Bad) or size + len(raw) > PIECE):
                    if document := "".join(parts).strip():
                        yield [offset, line, corrupt] if blank else before, document
                    parts, size = [], 0
                if isinstance(text, Bad):
                    if blank or not known:
                        yield [offset, line, corrupt], text
                elif text is not None:
                    parts.append(text.removeprefix("\ufeff") if before[0] == 0 else text)
                    size += len(raw)
                if not raw:
                    return

    def progress(self, place: Place) -> float:
        """By bytes."""
        return _share_read(place[0], self.path, self.size)


@dataclass(frozen=True)
class JsonLines:
    """A jsonl file, also gzip-compressed. A place is [bytes before its line, line ends before it, pieces taken]."""

    path: Path
    name: str
    size: int
    field: str

    def read(self, start: Place | None = None) -> Iterator[tuple[Place, str | Bad]]:
        """The field of each line's object; blank lines and empty texts are passed over."""
        offset, line, taken = start or (0, 0, 0)
        with _open(self.path) as file:
            file.seek(offset)
            while True:
                begin: Place = [offset, line]
                try:
                    raw = file.readline(LONGEST_JSON + 1)
                    too_long = len(raw) > LONGEST_JSON and not raw.endswith(b"\n")
                    offset += len(raw)
                    while too_long and raw and not raw.endswith(b"\n"):
                        raw = file.readline(1 << 20)
                        offset += len(raw)
                except _GIVEN_UP as error:
                    yield [*begin, 0], _cut_off(line, error)
                    return
                if not raw and not too_long:
                    return
                line += 1
                if too_long:
                    yield [offset, line, 0], Bad(line, f"longer than {LONGEST_JSON >> 20} MB")
                elif raw.strip(_SPACE):
                    text = self._text(raw.removeprefix(b"\xef\xbb\xbf") if not begin[0] else raw, line)
                    yield from _pieces([*begin], text, taken, [offset, line, 0])
                taken = 0

    def _text(self, raw: bytes, line: int) -> str | Bad:
        text = _decode(raw, line)
        if isinstance(text, Bad):
            return text
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Bad(line, f"not valid JSON ({printable(str(error))})")
        if not isinstance(row, dict):
            return Bad(line, f"a JSON object ({{...}}) is expected, found {quoted(row, 40)}")
        if self.field not in row:
            return Bad(line, f"no field {quoted(self.field)}; it has {listed(row, 6)}{nearest(self.field, row)}")
        return _text(row[self.field], self.field, line)

    def progress(self, place: Place) -> float:
        """By bytes."""
        return _share_read(place[0], self.path, self.size)


@dataclass(frozen=True)
class Parquet:
    """A column of a parquet file. A place is [rows before it, pieces taken of that row]."""

    path: Path
    name: str
    field: str
    rows: int

    @classmethod
    def open(cls, path: Path, name: str, field: str) -> "Parquet":
        """DataError when the file is damaged or has no column of this name that holds strings."""
        import pyarrow
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            why = printable(str(error).partition("\n")[0])
            raise DataError(f"{name}: not a readable parquet file ({why}). Write it again.") from None
        if field not in schema.names:
            raise DataError(f"{name}: no column {quoted(field)}; it has {listed(schema.names)}. Name one: `field`.")
        kind = schema.field(field).type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
            raise DataError(f"{name}: the column {quoted(field)} holds {kind}, not strings. Name another: `field`.")
        return cls(path, name, field, rows)

    def read(self, start: Place | None = None) -> Iterator[tuple[Place, str | Bad]]:
        """The strings of the column; a missing one is a `Bad`, an empty one is passed over."""
        import pyarrow
        from pyarrow import parquet

        row, taken = start or (0, 0)
        with parquet.ParquetFile(self.path) as file:
            group, first = 0, 0
            while group < file.num_row_groups and first + file.metadata.row_group(group).num_rows <= row:
                first += file.metadata.row_group(group).num_rows
                group += 1
            groups = range(group, file.num_row_groups)
            try:
                for batch in file.iter_batches(64, row_groups=groups, columns=[self.field]):
                    values = batch.column(0)
                    for value in values[max(0, row - first) :].to_pylist():
                        row += 1
                        yield from _pieces([row - 1], _text(value, self.field, row), taken, [row, 0])
                        taken = 0
                    first += len(values)
            except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
                why = printable(str(error).partition("\n")[0])
                yield [self.rows, 0], Bad(row + 1, f"damaged from here on ({why})")

    def progress(self, place: Place) -> float:
        """By rows."""
        return place[0] / max(1, self.rows)


@dataclass(frozen=True)
class Rows:
    """Texts in memory. A place is [texts before it, pieces taken of that text]."""

    name: str
    texts: Sequence[str]

    def read(self, start: Place | None = None) -> Iterator[tuple[Place, str | Bad]]:
        """The texts that are not empty."""
        row, taken = start or (0, 0)
        for number in range(row, len(self.texts)):
            text = _text(self.texts[number], "text", number + 1)
            yield from _pieces([number], text, taken if number == row else 0, [number + 1, 0])

    def progress(self, place: Place) -> float:
        """By texts."""
        return place[0] / max(1, len(self.texts))


class Hub:
    """A column of a streamed data set. A place is [the stream's state, rows read since, rows in all, pieces taken]."""

    EVERY = 64
    """Rows between two looks at the stream's state, which costs more than a row."""

    def __init__(self, name: str, stream: Any, field: str, rows: int, *, streamed: bool = True) -> None:
        self.name, self.streamed = name, streamed
        self._stream, self._field, self._rows = stream, field, rows

    def read(self, start: Place | None = None) -> Iterator[tuple[Place, str | Bad]]:
        """The strings of the column; a missing one is a `Bad`, an empty one is passed over."""
        state, since, row, taken = start or (None, 0, 0, 0)
        first = row - since
        rows: Iterator[Any]
        if self.streamed:
            if state is None:
                first = 0  # of a place written where the local cache was read, which counts from other rows
            stream = copy.deepcopy(self._stream)  # a stream remembers where its last reader stands
            if state is not None:
                stream.load_state_dict(state)
            rows = iter(stream)
        else:
            rows = (self._stream[number] for number in range(first, len(self._stream)))
        for number, found in enumerate(self._safely(rows), first):
            if number >= row:
                text = _text(found.get(self._field), self._field, number + 1)
                since = number - first
                yield from _pieces([state, since, number], text, taken, [state, since + 1, number + 1, 0])
                taken = 0
            if number + 1 - first >= self.EVERY:
                state, first = (stream.state_dict() if self.streamed else None), number + 1

    def _safely(self, rows: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from rows
        except Exception as error:  # the network and the data set's files raise many kinds
            raise DataError(
                f"{self.name}: the data set cannot be read on ({reason(error)}). Check the connection; training can be "
                "resumed from its last checkpoint. Or save the data set as .parquet or .jsonl and name that."
            ) from error

    def progress(self, place: Place) -> float:
        """By rows, of as many as the data set says it has."""
        return place[2] / max(1, self._rows)


def _pieces(begin: Place, text: str | Bad, taken: int, behind: Place) -> Iterator[tuple[Place, str | Bad]]:
    """The pieces of a text that were not taken yet; `begin` lacks the number of pieces, `behind` is complete."""
    if isinstance(text, Bad):
        yield behind, text
        return
    cut = pieces(text)
    for number in range(taken, len(cut)):
        yield ([*begin, number + 1] if number + 1 < len(cut) else behind), cut[number]


def pieces(text: str) -> list[str]:
    """A text in pieces of at most `PIECE` bytes, cut at white space where there is any; empty ones are left out."""
    if len(text) * 4 <= PIECE:
        return [text] if text.strip() else []
    data, found, at = text.encode(), [], 0
    while at < len(data):
        end = at + _cut(data[at : at + PIECE]) if len(data) - at > PIECE else len(data)
        found.append(data[at:end].decode())
        at = end
    return [piece for piece in found if piece.strip()]


def _cut(data: bytes) -> int:
    """Where to cut bytes of UTF-8 that go on: behind the last white space, else before the last character."""
    space = max(data.rfind(b" "), data.rfind(b"\n"), data.rfind(b"\t"))
    if space > 0:
        return space + 1
    end = len(data)
    while end > max(1, len(data) - 4) and data[end - 1] & 0xC0 == 0x80:
        end -= 1
    # The last character may be whole; it goes to the next piece all the same.
    return end - 1 if end > 1 and data[end - 1] >= 0xC0 else len(data)


class _Lines:
    """Lines of a file with their ends; a line longer than `PIECE` comes in pieces, cut at white space."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rest = file, b""

    def next(self) -> bytes:
        """At most `PIECE` bytes, none at the end of the file."""
        raw = self._rest
        if not raw.endswith(b"\n") and len(raw) < PIECE:
            raw += self._file.readline(PIECE - len(raw))
        cut = len(raw) if len(raw) < PIECE or raw.endswith(b"\n") else _cut(raw)
        self._rest = raw[cut:]
        return raw[:cut]


def _decode(raw: bytes, line: int) -> str | Bad:
    if b"\0" in raw:
        return Bad(line, "a NUL byte: damaged, or not text")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        return Bad(line, f"not UTF-8 (byte 0x{raw[error.start]:02x} at byte {error.start} of the line)")


def _text(value: object, field: str, line: int) -> str | Bad:
    if not isinstance(value, str):
        return Bad(line, f"{quoted(field)} holds {quoted(value, 40)} ({type(value).__name__}), not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        return Bad(line, f"half a character (a lone surrogate) in {quoted(field)}")
    return value


def _cut_off(line: int, error: Exception) -> Bad:
    return Bad(line + 1, f"the compressed file is damaged from here on ({printable(str(error))})")


def reason(error: Exception) -> str:
    """Kind and first line of an error, safe to print; with the second where that lists what the first asks for."""
    first, _, rest = str(error).partition("\n")
    if first.startswith("Config name is missing"):  # of a hub data set: its configurations stand in the next line
        first += " " + rest.partition("\n")[0]
    return f"{type(error).__name__}: {printable(first)[:300]}"


def _share_read(offset: int, path: Path, size: int) -> float:
    """How much of a text file lies before a place in its text; a compressed one is taken to be a third of that."""
    return offset / max(1, size * (3 if zipped(path) else 1))


def zipped(path: Path) -> bool:
    """Whether a file is compressed, by its name."""
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if zipped(path) else path.open("rb")  # type: ignore[return-value]
