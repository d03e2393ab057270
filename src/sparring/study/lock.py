"""Locks that files carry: held by one process, gone with it however it ends."""

import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RunError

RUNNER = "runner.lock"


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for the lock, then hold it inside the block. RunError if the file system has no locks."""
    with _opened(path) as descriptor:
        _take(descriptor, path, fcntl.LOCK_EX)
        yield


@contextmanager
def only_runner(folder: Path) -> Iterator[None]:
    """Hold the study's folder inside the block. RunError names the process that holds it already."""
    path = folder / RUNNER
    with _opened(path) as descriptor:
        try:
            _take(descriptor, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{folder} is being run by {_holder(path)}; wait until that ends, or stop it") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"process": os.getpid(), "machine": platform.node()}).encode(), 0)
        yield


def is_held(path: Path) -> bool:
    """Whether some process holds a lock."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; choose another folder") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # which lets go


def _take(descriptor: int, path: Path, how: int) -> None:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError as error:
        raise RunError(f"the file system of {path} has no locks: {error.strerror}; use a folder elsewhere") from error


def _holder(path: Path) -> str:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(noted['process'])} on {noted['machine']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
