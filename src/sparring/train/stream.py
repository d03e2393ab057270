"""The stream of packed blocks as the Trainer takes it: micro-batches with masks, and a position that is saved exactly.

Each row of an optimiser step's global batch is a lane of the corpus. Process r of P computes rows r * S / P up to
(r + 1) * S / P of a step of S rows, in order, micro-batch by micro-batch: so a process reads its own lanes alone, and
any split of the same S rows over processes and micro-batches trains on the same blocks with the same masks.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..errors import RunError
from ..model import world


class Source(Protocol):
    """Where the inputs of steps come from (`data.ahead.Steps`): a row for each own lane, and a position."""

    def __next__(self) -> dict[str, Tensor]: ...

    @property
    def epoch(self) -> int:
        """How often the corpus was read to its end."""
        ...

    def state(self) -> dict[str, Any]:
        """Position behind the steps given out; JSON can hold it."""
        ...

    def load(self, state: dict[str, Any], /) -> None:
        """Go on from a position."""
        ...


class Stream:
    """An iterable over the micro-batches of all steps that are left; `save` and `load` keep its place."""

    def __init__(self, source: Source, *, length: int, batch_size: int, accumulation: int, steps: int) -> None:
        self.source, self.length = source, length
        self.batch_size, self.accumulation, self.steps = batch_size, accumulation, steps
        self.step = 0
        """Number of the step that comes next."""

    def __len__(self) -> int:
        """Micro-batches of the whole run: it is one epoch to the Trainer, however often the corpus is read."""
        return self.steps * self.accumulation

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.step < self.steps:
            inputs = next(self.source)
            self.step += 1
            for first in range(0, self.accumulation * self.batch_size, self.batch_size):
                yield {name: x[first : first + self.batch_size] for name, x in inputs.items()}

    @property
    def tokens(self) -> int:
        """Tokens of a step, of this process."""
        return self.batch_size * self.accumulation * self.length

    def first_row(self, micro: int) -> int:
        """Number, within the whole step, of the first row of a micro-batch of this process."""
        return (world.rank() * self.accumulation + micro) * self.batch_size

    def save(self, folder: Path) -> None:
        """Write this process's place into a checkpoint."""
        place = {"step": self.step, "processes": world.size(), "blocks": self.source.state()}
        (folder / self._file).write_text(json.dumps(place), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint; RunError if it has no place, or one of another number of processes."""
        path = folder / self._file
        try:
            place = json.loads(path.read_text(encoding="utf-8"))
            step, processes, blocks = place["step"], place["processes"], place["blocks"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} does not say where in the corpus the run stood; it cannot be resumed") from error
        if processes != world.size():
            raise RunError(f"{folder} was written by {processes} processes; it cannot be resumed with {world.size()}")
        self.source.load(blocks)
        self.step = step

    @property
    def _file(self) -> str:
        return f"stream-{world.rank()}.json"


def lanes_of(rank: int, batch_size: int, accumulation: int) -> range:
    """The lanes that a process reads: rows of the global batch that it computes."""
    own = batch_size * accumulation
    return range(rank * own, (rank + 1) * own)
