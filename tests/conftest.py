"""Fixtures that all tests share."""

import copy
import os
import shutil
import sys
from functools import cache

import families
import pytest
import torch
from filelock import FileLock


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors are fastest, and sums always in the same order, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def own_server_of_workers():
    """The process that workers are forked from has loaded what one module asked it to; the next begins its own."""
    yield
    if "multiprocessing.forkserver" in sys.modules:
        sys.modules["multiprocessing.forkserver"]._forkserver._stop()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)`: a folder that `make` has filled, the same one for all processes that share the tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each worker has a folder below that of the run
        shared = shared.parent

    def folder(name, make):
        place, done = shared / name, shared / f"{name}.made"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                make(place)
                done.touch()
        return place

    return folder


@pytest.fixture(scope="session")
def tiny():
    """A fresh copy of a tiny model: `tiny("bert", labels=1, dropout=0.5)`."""
    built = cache(families.tiny)
    return lambda *args, **kwargs: copy.deepcopy(built(*args, **kwargs))


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, or the test is skipped and says what to install."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("the report was not opened in a browser: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the report was not opened in a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
