"""records.jsonl of a study: one line a finished or failed job, appended whole, never touched again.

{"job": identity, "status": "done" | "failed", "title", "kind", "name", "arm", "family", "budget", "dataset", "model",
 "seed", "settings", "data", "needs", "result": {...} | null, "error": {"type", "message"} | null,
 "cost": {"seconds", "peak_memory", "gpu_peak_memory" where one is used}, "environment": {...}, "started", "ended"}

Of several lines of a job the last one that is done counts, else the last one.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class Records:
    """What the file of a study says."""

    by_job: dict[str, dict[str, Any]]
    damaged: tuple[str, ...] = ()
    """A sentence for each line that cannot be used; the rest is."""

    @property
    def done(self) -> dict[str, dict[str, Any]]:
        """Lines of finished jobs by identity."""
        return {name: line for name, line in self.by_job.items() if line["status"] == "done"}

    @property
    def failed(self) -> dict[str, dict[str, Any]]:
        """Lines of failed jobs by identity."""
        return {name: line for name, line in self.by_job.items() if line["status"] == "failed"}


def read_records(path: Path) -> Records:
    """The lines of a file, none if it is not there. RunError if it cannot be read at all."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Records({})
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    found: dict[str, dict[str, Any]] = {}
    damaged = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_constant=_not_json)
            identity, status = record["job"], record["status"]
            if status not in ("done", "failed") or not isinstance(identity, str):
                raise ValueError(f"status {status!r}, job {identity!r}")
            if status == "done" and not isinstance(record["result"], dict):
                raise ValueError("it is done and has no result")
            if status == "failed" and not all(isinstance(record["error"][name], str) for name in ("type", "message")):
                raise ValueError("it failed and does not say why")
        except (ValueError, KeyError, TypeError) as error:
            damaged.append(f"{path}, line {number}, is damaged and left out: {type(error).__name__}: {error}")
            continue
        if found.get(identity, {}).get("status") != "done" or status == "done":
            found[identity] = record
    return Records(found, tuple(damaged))


def append_records(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Lines at the end of the file, on disk before this returns; a line that a crash cut off is closed first.

    For one writer at a time. Raises RunError if the disk does not take them.
    """
    text = "".join(json.dumps(line, ensure_ascii=True, allow_nan=False, sort_keys=True) + "\n" for line in lines)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            if file.tell() and not _ends_whole(file):
                file.write(b"\n")  # what was cut off stays, and is named as damaged
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; make room and run the same command again") from error


def _not_json(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number")


def _ends_whole(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")
