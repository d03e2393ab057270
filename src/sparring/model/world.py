"""The other processes of a distributed run, as a method sees them. With one process everything is the identity."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import RunError


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def announced_rank() -> int:
    """Number of this process as torchrun announces it, also where no process group has been started."""
    return int(os.environ.get("RANK", "0"))


def announced_size() -> int:
    """Number of processes as torchrun announces it, also where no process group has been started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def total(x: Tensor) -> Tensor:
    """Sum of a constant tensor over all processes; the same shape everywhere."""
    if size() > 1:
        x = x.clone()
        dist.all_reduce(x)
    return x


def from_first(make: Callable[[], Any]) -> Any:
    """What `make` returns on the first process, on all of them; the others do not call it."""
    made = [make() if rank() == 0 else None]
    if size() > 1:
        dist.broadcast_object_list(made, src=0)
    return made[0]


def wait() -> None:
    """Until all processes are here. RunError if another one has stopped."""
    if size() > 1:
        try:
            dist.barrier()
        except RuntimeError as error:
            raise RunError("another process of this run stopped; its message says why, --resume goes on") from error


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors, the same shapes everywhere, by their mean over all processes; one reduction."""
    if size() > 1 and tensors:
        flat = torch.cat([x.flatten() for x in tensors])
        dist.all_reduce(flat)
        flat /= size()
        for x, mean in zip(tensors, torch.split(flat, [x.numel() for x in tensors]), strict=True):
            x.copy_(mean.view_as(x))


def gather_rows(x: Tensor) -> tuple[Tensor, int]:
    """Rows (dimension 0) of all processes in rank order, and where this process's own begin; gradients flow back.

    Processes may hold different numbers of rows; the other dimensions must agree.
    """
    if size() == 1:
        return x, 0
    mine = torch.tensor([len(x)], device=x.device)
    counts = [torch.zeros_like(mine) for _ in range(size())]
    dist.all_gather(counts, mine)
    lengths = [int(count) for count in counts]
    return _GatherRows.apply(x, lengths), sum(lengths[: rank()])  # type: ignore[no-untyped-call]


class _GatherRows(torch.autograd.Function):
    """all_gather whose backward gives each process the sum of the gradients that its rows received anywhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: list[int]) -> Tensor:
        ctx.lengths = lengths
        padded = x.new_zeros(max(lengths), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        start = sum(ctx.lengths[: rank()])
        return gradient[start : start + ctx.lengths[rank()]], None
