"""Starting processes that Ctrl-C in a terminal is not for."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; one that is started here is deaf to it while it still loads.

    So is the server that forks them, if it starts here. A process lets signals through again itself, if it wants them.
    """
    resource_tracker.ensure_running()  # it would start with the first process, and let signals through again
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
