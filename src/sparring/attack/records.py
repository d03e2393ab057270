"""The lines of an attack on disk: one finished example each, written as it ends, taken up again after a crash.

NAME.jsonl begins with a line that says what was attacked and how; further processes write NAME.1.jsonl, NAME.2.jsonl.
A line that was written is never touched again.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..adapters.folder import MIXTURE
from ..errors import RunError
from .outcome import Outcome


@dataclass(frozen=True)
class Record:
    """Where the outcomes of one attack are kept."""

    folder: Path
    name: str
    head: dict[str, Any]
    """What decides the outcomes: recipe, victim, data, seed; another head is another attack."""

    def paths(self) -> list[Path]:
        """The files there are, this process's and others'."""
        found = [self.folder / f"{self.name}.jsonl"]
        found += sorted(
            path
            for path in self.folder.glob(f"{self.name}.*.jsonl")
            if path.name.removeprefix(f"{self.name}.").removesuffix(".jsonl").isdigit()
        )
        return [path for path in found if path.is_file()]

    def read(self) -> dict[int, Outcome]:
        """Finished examples by row. Raises RunError if a file belongs to another attack or is damaged."""
        done: dict[int, Outcome] = {}
        for path in self.paths():
            head, outcomes = read_lines(path)
            if head and head != json.loads(json.dumps(self.head)):
                differing = sorted(k for k in {*head, *self.head} if head.get(k) != self.head.get(k))
                raise RunError(
                    f"{path} belongs to another attack: {', '.join(differing)} differ; "
                    "choose another --output, or delete the file to begin anew"
                )
            for outcome in outcomes:
                done.setdefault(outcome.row, outcome)
        return done

    def drop_foreign(self) -> None:
        """Delete the files if they belong to another attack or are damaged; RunError if they cannot be read."""
        try:
            self.read()
        except RunError as error:
            if isinstance(error.__cause__, OSError):
                raise
            for path in self.paths():
                path.unlink()

    def writer(self, rank: int) -> "Writer":
        """Appends lines to this process's file; a line that a crash cut off is dropped first."""
        path = self.folder / (f"{self.name}.{rank}.jsonl" if rank else f"{self.name}.jsonl")
        return Writer(path, self.head)


class Writer:
    """Appends outcomes to a file, each whole or not at all as far as a reader sees."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _drop_cut_line(path)
            self._file: BinaryIO = path.open("ab")
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}; choose another --output") from error
        if path.stat().st_size == 0:
            self._write({"attack": head})

    def add(self, outcome: Outcome) -> None:
        """One more line, handed to the operating system before this returns."""
        self._write(outcome.write())

    def close(self) -> None:
        """No more lines."""
        with suppress(OSError):  # of a full disk, which `_write` has told of; what is in the buffer is lost
            self._file.close()

    def _write(self, record: dict[str, Any]) -> None:
        # half a surrogate pair cannot be encoded; as \udxxx it is valid JSON, and what came in comes out again
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
        try:
            self._file.write(line + b"\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; what is finished is kept: make room, then use --resume"
            ) from error


def read_lines(path: Path) -> tuple[dict[str, Any], list[Outcome]]:
    """The head of a file and its outcomes; a last line that a crash cut off is left out. RunError if it is damaged."""
    head: dict[str, Any] = {}
    outcomes = []
    for number, line in _lines(path):
        try:
            record = json.loads(line)
            if number == 1:
                head = record["attack"]
            else:
                outcomes.append(Outcome.read(record))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path}, line {number} is not a line of an attack: {error}; delete the file") from error
    return head, outcomes


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    whole = content[: content.rfind(b"\n") + 1]
    yield from enumerate(whole.splitlines(), 1)


def _drop_cut_line(path: Path) -> None:
    if path.exists():
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with path.open("r+b") as file:
                file.truncate(whole)


def fingerprint(name: str) -> str:
    """What the weights of a victim are: its name, and their hash."""
    return f"{name} {weights_digest(name)}"


def weights_digest(name: str) -> str:
    """A hash (16 hexadecimal digits) over the ends of a folder's weights files."""
    digest = hashlib.sha256()
    for path in sorted([*Path(name).glob("*.safetensors"), *Path(name).glob(MIXTURE)]):
        size = path.stat().st_size
        with path.open("rb") as file:
            digest.update(f"{path.name} {size}".encode())
            digest.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()[:16]
