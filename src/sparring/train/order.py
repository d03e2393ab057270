"""Steps of texts of like length: a batch is padded to its longest text, and what is padded is computed for nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from ..errors import SettingError

POOL = 50
"""Most steps whose rows are sorted together; with few steps an epoch has two pools."""


class ByLength(Sampler[int]):
    """An order of the rows, another one in every epoch, that puts rows of like length into one step.

    Rows are shuffled and cut into pools of several steps; a pool is sorted by length and cut into steps, which are
    shuffled in turn. So a row meets rows of like length, but not the same ones in every epoch. The order is a function
    of seed and epoch alone, and so the same on every process and in a run that is resumed.

    lengths: tokens of each row. step: rows of an optimiser step, over micro-batches and processes.
    """

    def __init__(self, lengths: Sequence[int], step: int, seed: int) -> None:
        self.lengths, self.step, self.seed, self.epoch = lengths, step, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called before an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        source = torch.Generator().manual_seed(self.seed + self.epoch)
        rows = torch.randperm(len(self.lengths), generator=source).tolist()
        size = self.step * max(1, min(POOL, len(rows) // (2 * self.step)))
        for start in range(0, len(rows), size):
            pool = sorted(rows[start : start + size], key=self.lengths.__getitem__)
            steps = [pool[place : place + self.step] for place in range(0, len(pool), self.step)]
            whole = sum(len(step) == self.step for step in steps)  # a smaller one stays the last of its epoch
            for place in [*torch.randperm(whole, generator=source).tolist(), *range(whole, len(steps))]:
                yield from steps[place]


def lengths_of(rows: Any) -> list[int]:
    """Tokens of each row of an encoded data set. SettingError if its rows have no `input_ids`."""
    try:
        return [len(row["input_ids"]) for row in rows]
    except (KeyError, TypeError) as error:
        raise SettingError(
            "train_sampling_strategy is 'group_by_length', and the rows of the training set have no 'input_ids' to "
            "tell their length by; encode them first, or use 'random'"
        ) from error
