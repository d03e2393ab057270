"""Workers on a Ray cluster: `ray start --head` on one machine, `ray start --address HOST:PORT` on the others.

All machines see the study's folder at the same path and have the same sparring; what workers tell goes through that
folder, as it does on one machine.
"""

import logging
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from typing import Any, Self

from ..errors import RunError
from .pool import Ended
from .work import Order, do


class RayPool:
    """Ray tasks, each in a process of its own."""

    def __init__(self, address: str = "auto", workers: int | None = None) -> None:
        """address: of the cluster; auto: the one that this machine is part of.

        workers: over all machines; default one for each GPU, or one for each machine without.
        """
        self.address, self._workers = address, workers
        self.slots = self.threads = 1
        self._running: dict[Any, Order] = {}
        """By the reference of what the task will return."""

    def start(self, order: Order) -> None:
        """One more task; it waits where the cluster is busy."""
        self._running[self._do.remote(order)] = order

    def ended(self, seconds: float) -> Sequence[Ended]:
        """See Pool."""
        gone, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._end(reference) for reference in gone]

    def interrupt(self) -> None:
        """See Pool."""
        for reference in self._running:
            self._ray.cancel(reference)

    def __enter__(self) -> Self:
        """RunError if there is no Ray, or no cluster."""
        try:
            import ray
        except ImportError:
            raise RunError("--ray needs Ray: pip install 'sparring[ray]'") from None
        self._ray: Any = ray
        with ExitStack() as opened:
            # Ray prints what became of workers; standard output is for results
            opened.enter_context(redirect_stdout(sys.stderr))
            if not ray.is_initialized():
                self._connect()
                opened.callback(ray.shutdown)
            self._opened = opened.pop_all()
        machines = [machine["Resources"] for machine in self._ray.nodes() if machine["Alive"]]
        cores = [max(1, int(machine.get("CPU", 1))) for machine in machines]
        gpus = [int(machine.get("GPU", 0)) for machine in machines]
        self.slots = self._workers or sum(max(1, count) for count in gpus)
        self.threads = max(1, min(min(cores), sum(cores) // self.slots))
        share = min(1.0, sum(gpus) / self.slots)
        task = ray.remote(num_cpus=self.threads, num_gpus=share, max_calls=1, max_retries=0)
        self._do = task(do)
        return self

    def __exit__(self, *error: object) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=60)
        self._running.clear()
        self._opened.close()

    def _connect(self) -> None:
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            host, _, port = self.address.rpartition(":")
            if port.isdigit() and "/" not in host:  # where nobody answers, Ray would try for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            self._ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            raise RunError(
                f"cannot use the Ray cluster {self.address!r}: {' '.join(str(error).split())}; start one with "
                "`ray start --head`; if it asks for a token, set RAY_AUTH_MODE=token; or leave --ray out"
            ) from error
        finally:
            for number, handler in handlers.items():  # Ray takes SIGTERM for itself
                signal.signal(number, handler)

    def _end(self, reference: Any) -> Ended:
        order = self._running.pop(reference)
        try:
            return Ended(order.job.id, self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:  # of what surrounds the job: no folder, no room
            return Ended(order.job.id, None, f"failed: {error.cause}")
        except self._ray.exceptions.RayError as error:
            name = type(error).__name__
            return Ended(order.job.id, None, f"was lost ({name}: {' '.join(str(error).split())[:300]})")
