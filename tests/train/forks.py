"""Processes of their own: forked from one that has imported everything once, or two that train at the same time."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest


@contextmanager
def forking(module: Any) -> Iterator[Any]:
    """`start(*args)` begins `module.run(*args)` in a process of its own, and returns the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([module.__name__])

        def start(*args: Any) -> Any:
            process = context.Process(target=module.run, args=args)
            process.start()
            return process

        yield start


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(script: str | Path, *arguments: Any, seconds: float = 300) -> None:
    """Run a script in two processes that know of each other; what it prints is shown if it fails."""
    done = subprocess.run(
        [*TORCHRUN, str(script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def torchrunning(script: str | Path, *arguments: Any) -> Iterator[subprocess.Popen]:
    """The same begun, for as long as the block lasts."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen([*TORCHRUN, str(script), *map(str, arguments)], env=environment, **quiet)
    try:
        yield running
    finally:
        kill_all(running)


def kill_all(running: subprocess.Popen) -> None:
    """End a process and all that it began, as `kill -9` does."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(running.pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    running.wait(30)
