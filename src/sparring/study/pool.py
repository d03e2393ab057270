"""What a study needs of something that runs workers, and the pool of processes on this machine.

One process a job, forked from a server that has loaded the heavy modules once: a crash fails a job and nothing else,
its peak memory is its own, and no state is left to the next one.
"""

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import ForkServerProcess
from typing import Any, Protocol, Self

from ..data.processes import without_interrupts
from ..errors import RunError
from .machine import cores
from .work import LOG, Order, do, read_line

STOPPED = 130
"""Exit code of a worker that was asked to stop."""


@dataclass(frozen=True)
class Ended:
    """A worker that is gone."""

    id: str
    line: dict[str, Any] | None
    """What its job came to; None if the worker ended without."""
    death: str = ""
    """How it ended then: "was killed by SIGKILL"."""


class Pool(Protocol):
    """Runs workers: here, or on a cluster."""

    slots: int
    """Workers at one time."""
    threads: int
    """Of each worker."""

    def start(self, order: Order) -> None:
        """One more worker, which does a job. RunError if there can be none."""

    def ended(self, seconds: float) -> Sequence[Ended]:
        """The workers that have ended since the last call; waits for one, but not longer than so many seconds."""

    def interrupt(self) -> None:
        """Ask all workers to stop where they can go on later."""

    def __enter__(self) -> Self:
        """Workers may be started."""

    def __exit__(self, *error: object) -> None:
        """No worker is left when this returns."""


class LocalPool:
    """Processes on this machine; with several GPUs each has one, in turn."""

    def __init__(self, workers: int | None = None, *, preload: Sequence[str] = ()) -> None:
        """Workers: default one for each GPU, or one. preload: modules that are loaded once, for all of them."""
        self._gpus = _gpus()
        self.slots = workers or max(1, len(self._gpus))
        asked = os.environ.get("OMP_NUM_THREADS", "")
        self.threads = int(asked) if asked.isdigit() and int(asked) else max(1, cores() // self.slots)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *preload])
        self._running: dict[int, tuple[Order, ForkServerProcess]] = {}
        """By slot."""

    def start(self, order: Order) -> None:
        """One more process."""
        slot = next(n for n in range(self.slots) if n not in self._running)
        gpu = self._gpus[slot % len(self._gpus)] if len(self._gpus) > 1 else None
        for wait in (0.1, 0.5, 2.0, None):
            try:
                process = self._process(order, gpu)
                break
            except (OSError, EOFError) as error:
                if wait is None:
                    raise RunError(
                        f"cannot start a worker: {error}; is there memory left? try fewer --workers"
                    ) from error
                time.sleep(wait)  # the server of workers was killed just now: soon there is a new one
        self._running[slot] = (order, process)

    def _process(self, order: Order, gpu: str | None) -> ForkServerProcess:
        process = self._context.Process(target=_worker, args=(order, gpu), name=order.job.title)
        with _threads(self.threads), without_interrupts():
            process.start()
        return process

    def ended(self, seconds: float) -> Sequence[Ended]:
        """See Pool."""
        gone = connection.wait([process.sentinel for _, process in self._running.values()], seconds)
        found = []
        for slot, (order, process) in list(self._running.items()):
            if process.sentinel in gone:
                process.join()
                line = read_line(order.work)
                found.append(Ended(order.job.id, line, "" if line else _death(process.exitcode)))
                process.close()
                del self._running[slot]
        return found

    def interrupt(self) -> None:
        """See Pool."""
        for _, process in self._running.values():
            _signal(process, signal.SIGINT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for _, process in self._running.values():
            _signal(process, signal.SIGKILL)
        for _, process in self._running.values():
            process.join()
            process.close()
        self._running.clear()


def _worker(order: Order, gpu: str | None) -> None:
    """What a process does."""
    os.setpgid(0, 0)  # Ctrl-C in a terminal is for the runner, which tells the workers
    _end_with_runner()
    faulthandler.enable()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        do(order)
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    except Exception:  # of what surrounds the job: a disk that is full
        with suppress(OSError), (order.work / LOG).open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        sys.exit(1)


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """How many threads a worker has: read once, by what its server loads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _end_with_runner() -> None:
    """However the runner ends: this process ends at once. What it does is safe against that at every moment."""
    runner = multiprocessing.parent_process()
    assert runner is not None

    def watch() -> None:
        runner.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    if sys.platform == "linux":  # the server may be killed alone: the runner could no longer see how workers end
        set_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _signal(process: ForkServerProcess, number: signal.Signals) -> None:
    """To a worker and all that it has started."""
    assert process.pid is not None
    with suppress(ProcessLookupError):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:  # it is so young that it has no group of its own
            os.kill(process.pid, number)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and no result"


def _gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs of this machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    torch = sys.modules.get("torch")  # whoever has a GPU to train on has loaded it by now
    return [] if torch is None else [str(n) for n in range(torch.cuda.device_count())]
