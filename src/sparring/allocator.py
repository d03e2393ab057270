"""Memory that a step of training frees is kept for the next step."""

import ctypes
import os
import sys
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 1 << 30
"""Bytes: what is larger still comes from the system and goes back to it."""
OWN_CHOICE = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Beginnings of variables of the environment by which a user has chosen an allocator, or how it works."""


def keep_freed_memory() -> bool:
    """For this process, if its C library is glibc and takes the setting; True if so. Results do not change.

    glibc gives blocks of more than 32 MB back to the system as soon as they are freed, and the system clears every page
    of the next one. The gradient of a table of word embeddings is such a block, in every step: what that costs is
    measured by benchmarks/freed_memory.py.
    What a process holds at its peak hardly changes, but it holds it until it ends.
    """
    if sys.platform != "linux" or any(name.startswith(OWN_CHOICE) for name in os.environ):
        return False
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(MMAP_THRESHOLD, KEPT) and mallopt(TRIM_THRESHOLD, KEPT))
    return False
