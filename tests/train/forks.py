"""Processes of their own, forked from one that has imported everything once: they may be killed at any moment."""

import multiprocessing
import os
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
