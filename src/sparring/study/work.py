"""One job in a process of its own: its lock, its clock, and the line that it leaves.

work/<id>/
    lock           held by the process that does the job; a second one waits, and finds the result
    progress.json  how far it is and what all attempts have cost; gone when the job has ended
    log.txt        what the libraries print
    error.txt      traceback of a failure
    result.json    the line of the job, written at the end: whole or not at all
"""

import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..allocator import keep_freed_memory
from ..errors import Interrupted, RunError, SparringWarning
from .job import Job
from .lock import held, is_held
from .machine import environment

WORK, LOCK, PROGRESS, LOG, ERROR, RESULT = "work", "lock", "progress.json", "log.txt", "error.txt", "result.json"
Tick = Callable[[str, int, int], None]
"""Called with (what is going on, done, all)."""
Perform = Callable[[Job, Path, Sequence[Path], Tick], dict[str, Any]]
"""Does a job of the study in a folder, given the work folders of its needs; returns the `result` of its record.

A function of a module, so that another process can find it. It goes on with what an earlier attempt left.
"""
_EVERY = 0.5
"""Seconds between two notes of how far a job is."""


@dataclass(frozen=True)
class Order:
    """A job, and all that a worker must know to do it."""

    job: Job
    folder: Path
    """Of the study, as the user named it."""
    perform: Perform
    threads: int
    place: str = field(default_factory=os.getcwd)
    """Where relative paths begin."""

    @property
    def work(self) -> Path:
        """The folder of the job."""
        return self.folder / WORK / self.job.id


def do(order: Order) -> dict[str, Any]:
    """Do a job, or take the result that is there; the line of its record, done or failed.

    A failure is a line as well. Raises RunError where the folder cannot be written or is not there, KeyboardInterrupt
    after Ctrl-C.
    """
    try:
        os.chdir(order.place)
        order.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot use {order.place}/{order.folder} on this machine: {error.strerror}; all machines of a study need "
            "its folder at the same path"
        ) from error
    with held(order.work / LOCK):
        line = read_line(order.work)
        if line is None:
            with _logged(order.work / LOG):
                _clean_state(order.job.seed, order.threads)
                line = _attempt(order)
            write_json(order.work / RESULT, line)
            (order.work / PROGRESS).unlink(missing_ok=True)
        return line


def line_of(
    job: Job,
    *,
    result: dict[str, Any] | None,
    error: dict[str, str] | None,
    cost: Mapping[str, Any],
    threads: int,
    started: str,
    warned: Sequence[str] = (),
) -> dict[str, Any]:
    """The line of a job that has ended, as records.jsonl holds it."""
    values = job.write()
    return {
        "job": values.pop("id"),
        "status": "failed" if result is None else "done",
        "title": job.title,
        **values,
        "result": result,
        "error": error,
        "cost": dict(cost),
        "environment": environment(threads) | {"precision": (result or {}).get("precision")},
        "warnings": list(warned),
        "started": started,
        "ended": now(),
    }


def read_line(work: Path) -> dict[str, Any] | None:
    """What result.json holds; None if it is not there or holds no line."""
    try:
        line = json.loads((work / RESULT).read_text(encoding="utf-8"))
        whole = line["job"] == work.name and (line["status"] == "failed" or isinstance(line["result"], dict))
        return dict(line) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_progress(work: Path) -> dict[str, Any]:
    """How far a job is: {"title", "what", "done", "total", "seconds", "peak_memory", "started"}; {} if nobody knows."""
    try:
        noted = json.loads((work / PROGRESS).read_text(encoding="utf-8"))
        return dict(noted) if isinstance(noted["seconds"], int | float) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def running(folder: Path) -> dict[str, dict[str, Any]]:
    """Jobs of a study that some process is doing at this moment, by identity, and how far they are."""
    notes = sorted((folder / WORK).glob(f"*/{PROGRESS}"))
    return {note.parent.name: read_progress(note.parent) for note in notes if is_held(note.with_name(LOCK))}


def write_json(path: Path, content: Any) -> None:
    """On disk when this returns, whole or not at all. RunError if the disk does not take it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, ensure_ascii=True, allow_nan=False, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}; make room and run the same command again") from error


def now() -> str:
    """Date and time of day in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _attempt(order: Order) -> dict[str, Any]:
    job, clock = order.job, _Clock(order.work, order.job.title)
    result, error, warned = None, None, list[str]()
    (order.work / ERROR).unlink(missing_ok=True)
    try:
        with _heard(warned):
            found = order.perform(job, order.folder, needs_of(job, order.folder), clock.tick)
        result = json.loads(json.dumps(found, allow_nan=False))  # a value that is no JSON fails the job, not the study
    except Interrupted as stopped:
        raise KeyboardInterrupt from stopped
    except Exception as failure:
        error = {"type": type(failure).__name__, "message": str(failure) or "no message"}
        (order.work / ERROR).write_text(traceback.format_exc(), encoding="utf-8", errors="backslashreplace")
    finally:
        clock.note()
    return line_of(
        job,
        result=result,
        error=error,
        cost=clock.cost,
        threads=order.threads,
        started=clock.started,
        warned=warned,
    )


def needs_of(job: Job, folder: Path) -> tuple[Path, ...]:
    """The work folders of what a job needs, in their order."""
    return tuple(folder / WORK / identity for identity in job.needs)


class _Clock:
    """What a job has cost in all attempts so far, noted beside it as it goes on."""

    def __init__(self, work: Path, title: str) -> None:
        self.path, self.title = work / PROGRESS, title
        before = read_progress(work)
        self._before, self._peak = float(before.get("seconds", 0)), int(before.get("peak_memory", 0))
        self._gpu = int(before.get("gpu_peak_memory", 0))
        self.started = str(before.get("started", now()))
        self._what: tuple[str, int, int] = ("", 0, 0)
        self._began = time.monotonic()
        self.note()

    def tick(self, what: str, done: int, total: int) -> None:
        """Say how far it is."""
        begins, self._what = what != self._what[0], (what, done, total)
        if begins or time.monotonic() - self._noted > _EVERY:
            self.note()

    @property
    def cost(self) -> dict[str, Any]:
        """Seconds of all attempts; bytes at their highest, main memory and (where one is used) the GPU's."""
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        self._peak = max(self._peak, used)
        cost = {"seconds": round(self._before + time.monotonic() - self._began, 2), "peak_memory": self._peak}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            self._gpu = max(self._gpu, torch.cuda.max_memory_allocated())
        return cost | ({"gpu_peak_memory": self._gpu} if self._gpu else {})

    def note(self) -> None:
        """Write it down; a disk that is full is told of by what matters more."""
        what, done, total = self._what
        content = {"title": self.title, "what": what, "done": done, "total": total, "started": self.started}
        partial = self.path.with_name(f".{PROGRESS}.partial")
        with suppress(OSError):
            partial.write_text(json.dumps(content | self.cost), encoding="utf-8")
            partial.replace(self.path)
        self._noted = time.monotonic()


def _clean_state(seed: int, threads: int) -> None:
    """Threads, memory, and generators for draws that a library makes without being asked; ours are keyed."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for what is yet to be loaded
    keep_freed_memory()
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        sys.modules["torch"].set_num_threads(threads)
    if "threadpoolctl" in sys.modules:  # which scikit-learn loads
        sys.modules["threadpoolctl"].threadpool_limits(threads)


@contextmanager
def _heard(warned: list[str]) -> Iterator[None]:
    """Our warnings are part of the line; others' go into the log."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def hear(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, SparringWarning):
                warned.append(str(message))
            else:
                shown(message, category, *rest, **more)

        warnings.simplefilter("always", SparringWarning)
        warnings.showwarning = hear
        yield


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Standard output and error at the end of a file, whoever writes them."""
    kept = [os.dup(1), os.dup(2)]
    try:
        with path.open("ab") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        yield
    finally:
        for file_object in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                file_object.flush()
        for stream, before in zip((1, 2), kept, strict=True):
            os.dup2(before, stream)
            os.close(before)
