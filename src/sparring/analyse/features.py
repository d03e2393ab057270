"""Some words and some neurons of the activations, standardised, as float32 matrices a few thousand rows at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

CHUNK = 512
"""Rows of one matrix: sums over words are always taken in the same order."""
HELD = 512 * 2**20
"""Bytes: a smaller table is read once and held, a larger one is read from disk in every pass."""


@dataclass(frozen=True)
class Scale:
    """What is taken from each neuron's activations, and by what they are divided."""

    mean: np.ndarray
    """(D,) float32."""
    deviation: np.ndarray
    """(D,) float32; 1 for a neuron that is always the same."""

    @staticmethod
    def none(neurons: int) -> "Scale":
        """Activations as they are."""
        return Scale(np.zeros(neurons, np.float32), np.ones(neurons, np.float32))

    @staticmethod
    def of(table: np.ndarray, rows: np.ndarray) -> "Scale":
        """Mean and standard deviation over some rows (n,) of activations (words, D), in float64."""
        total = np.zeros(table.shape[1])
        for first in range(0, len(rows), CHUNK):
            total += table[rows[first : first + CHUNK]].astype(np.float64).sum(0)
        mean, square = total / len(rows), np.zeros(table.shape[1])
        for first in range(0, len(rows), CHUNK):
            square += ((table[rows[first : first + CHUNK]].astype(np.float64) - mean) ** 2).sum(0)
        deviation = np.sqrt(square / len(rows))
        constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
        return Scale(mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32))


@dataclass
class Features:
    """Rows (n,) and columns (d,) of activations (words, D) with the tag number of each row; iterating reads them."""

    table: np.ndarray
    rows: np.ndarray
    tags: Tensor
    """(n,) int64."""
    scale: Scale
    columns: np.ndarray | None = None
    """None: all."""
    device: torch.device | str = "cpu"
    _held: list[tuple[Tensor, Tensor]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """d: neurons."""
        return self.table.shape[1] if self.columns is None else len(self.columns)

    def of(self, columns: np.ndarray) -> "Features":
        """The same words, other neurons."""
        return Features(self.table, self.rows, self.tags, self.scale, columns, self.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(x, tags) with x (m, d) float32, m at most CHUNK."""
        if self._held:
            yield from self._held
            return
        hold = 4 * len(self) * self.width <= HELD
        read = []
        for first in range(0, len(self), CHUNK):
            pair = self._read(slice(first, first + CHUNK))
            if hold:
                read.append(pair)
            yield pair
        self._held = read

    def _read(self, part: slice) -> tuple[Tensor, Tensor]:
        x = self.table[self.rows[part]]
        mean, deviation = self.scale.mean, self.scale.deviation
        if self.columns is not None:
            x, mean, deviation = x[:, self.columns], mean[self.columns], deviation[self.columns]
        standard = torch.from_numpy(x.astype(np.float32)).sub_(torch.from_numpy(mean)).div_(torch.from_numpy(deviation))
        return standard.to(self.device), self.tags[part].to(self.device)
