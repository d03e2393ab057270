"""Freed memory is kept for the next step, unless the user has chosen otherwise."""

import subprocess
import sys

import pytest

from sparring.allocator import keep_freed_memory

FAULTS = """
import resource, sys
import numpy
from sparring.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "kept" else None)
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(6_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(*[step() for _ in range(30)])
"""


def faults(how):
    """What `keep_freed_memory` said, and the page faults of each of 30 blocks of 48 MB, taken and freed."""
    command = [sys.executable, "-c", FAULTS, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={}, timeout=120)
    said, counts = done.stdout.splitlines()
    return said, [int(count) for count in counts.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own setting")
def test_a_block_that_was_freed_is_taken_again_without_new_pages():
    said, kept = faults("kept")
    if said == "False":
        pytest.skip("the C library here does not take the setting")
    _, given_back = faults("given back")
    assert sum(kept[-10:]) < min(given_back[-10:])


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_an_allocator_that_the_user_has_chosen_is_left_alone(name, monkeypatch):
    monkeypatch.setenv(name, "")
    assert not keep_freed_memory()
