"""Processes of their own: forked from one that has imported everything once, or two that train at the same time."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def torchrun(script: str | Path, *arguments: Any, seconds: float = 300) -> None:
    """Run a script in two processes that know of each other; what it prints is shown if it fails."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]
