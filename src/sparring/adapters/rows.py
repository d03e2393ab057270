"""Which adapters each row of a forward pass has: said once for the pass, read by every adapted layer.

It lies beside the model, not in it: layers keep no state, so several threads may run one model at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..errors import ModelError


@dataclass(frozen=True, eq=False)
class Rows:
    """weights: (B, K) how much of each of the K adapters a row has. None: the rows are blocks, one an adapter."""

    count: int
    """Rows in the pass: B, or B times the number of blocks."""
    weights: Tensor | None = None
    parameters: bool = False
    """Mix the parameters of adapters, not what they add to an activation."""
    blocks: slice = field(default_factory=lambda: slice(None))
    """Whose blocks they are."""


_RUNNING: ContextVar[Rows | None] = ContextVar("rows of the running pass", default=None)


@contextmanager
def running(rows: Rows) -> Iterator[None]:
    """Forward passes inside the block, on this thread, are about these rows."""
    before = _RUNNING.set(rows)
    try:
        yield
    finally:
        _RUNNING.reset(before)


class Stack(nn.Module):
    """K adapters of one layer, each parameter (K, ...), around the frozen layer `inner`; K = 1 is a plain adapter."""

    def __init__(self, inner: nn.Module, **stacked: Tensor) -> None:
        super().__init__()
        self.inner = inner
        for name, values in stacked.items():
            self.register_parameter(name, nn.Parameter(values))

    @property
    def size(self) -> int:
        """K."""
        return len(next(iter(self.own().values())))

    def own(self) -> dict[str, nn.Parameter]:
        """The stacked parameters."""
        return dict(self.named_parameters(recurse=False))

    def rows(self, x: Tensor) -> Rows:
        """The rows of the running pass. Raises ModelError when they are not those of the activations x (B, ...)."""
        rows = _RUNNING.get()
        if rows is None:
            if self.size == 1:
                return Rows(len(x))
            raise ModelError(f"this layer holds {self.size} adapters; call the mixture, not the model inside it")
        if len(x) != rows.count:
            raise ModelError(
                f"an adapted layer was given activations of shape {tuple(x.shape)}, which are not those of the rows of "
                "the batch (layers for relative positions are such); train LoRA on other layers, such as values"
            )
        return rows


def grouped(x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """A linear layer of its own for each of G consecutive groups of rows: x (B, ..., I), weight (G, O, I), bias (G, O).

    With G = K that is one for each block of rows, with G = B one for each row. onto: (B, ..., O), added to the result.
    Returns (B, ..., O).
    """
    flat = x.reshape(len(weight), -1, x.shape[-1])
    shape = (*x.shape[:-1], weight.shape[1])
    if bias is None and onto is None:
        return torch.bmm(flat, weight.transpose(1, 2)).reshape(shape)
    start = bias.unsqueeze(1) if bias is not None else onto.reshape(*flat.shape[:2], -1)  # type: ignore[union-attr]
    return torch.baddbmm(start, flat, weight.transpose(1, 2)).reshape(shape)


def mixed(stacked: Tensor, weights: Tensor) -> Tensor:
    """Parameters of each row: stacked (K, ...) and weights (B, K) give (B, ...)."""
    return (weights.to(stacked.dtype) @ stacked.flatten(1)).reshape(-1, *stacked.shape[1:])


def each(x: Tensor, weight: Tensor) -> Tensor:
    """x (B, ..., I) through all K layers of weight (K, O, I): (K, B, ..., O)."""
    flat = x.reshape(1, -1, x.shape[-1]).expand(len(weight), -1, -1)
    return torch.bmm(flat, weight.transpose(1, 2)).reshape(len(weight), *x.shape[:-1], -1)


def scaled(values: Tensor, weights: Tensor) -> Tensor:
    """values (K, B, ...) times weights (B, K)."""
    return values * weights.to(values.dtype).T.reshape(*values.shape[:2], *[1] * (values.dim() - 2))
