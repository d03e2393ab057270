"""Rows of token ids as batches of similar length."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def batches(
    lengths: Sequence[int], tokens: int, *, threads: int = 1, most: int | None = None
) -> Iterator[tuple[list[int], int]]:
    """(positions, longest) of rows of similar length together, the longest first.

    tokens: padded tokens in a batch at most, unless one row alone has more. most: rows in one.
    All batches are about equally large, and as many for each of the `threads` as for any other, so that few rows keep
    all of them busy too.
    """
    lengths = [max(1, length) for length in lengths]
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    total = sum(lengths)
    budget = math.ceil(total / (threads * math.ceil(total / (threads * tokens)))) if total else 1
    first = 0
    while first < len(order):
        longest = lengths[order[first]]
        size = max(1, min(round(budget / longest), tokens // longest))
        end = min(len(order), first + (size if most is None else min(size, most)))
        yield order[first:end], longest
        first = end


def filled(rows: Sequence[Sequence[int]], width: int, fill: int) -> Tensor:
    """(N, width) int64: each row, filled up at its end."""
    table = np.full((len(rows), width), fill, dtype=np.int64)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return torch.from_numpy(table)


def attended(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    """(N, width) int64 attention mask: 1 where the row has a token."""
    lengths = np.array([[len(row)] for row in rows])
    return torch.from_numpy((np.arange(width) < lengths).astype(np.int64))
