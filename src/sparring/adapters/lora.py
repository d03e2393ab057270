"""LoRA adapters (Hu et al., ICLR 2022) stacked for mixing, and classification heads likewise.

Adapters are trained by peft, one at a time; here K of them lie side by side in one layer.
"""

import torch
from torch import Tensor, nn

from .rows import Stack, each, grouped, mixed, scaled


class LoraStack(Stack):
    """A linear layer W0 with K low-rank updates B_k A_k: a (K, r, I), b (K, O, r), all of one scaling (alpha / r).

    Mixing updates is exact: y = W0 x + sum_k w_k B_k A_k x. Mixing parameters, (sum_k w_k B_k)(sum_k w_k A_k), has
    cross terms B_i A_k; peft's own linear combination of adapters, which scales A and B by the root of the weight, has
    yet others.
    """

    def __init__(self, inner: nn.Module, scaling: float, **stacked: Tensor) -> None:
        super().__init__(inner, **stacked)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ..., I) to (B, ..., O)."""
        y: Tensor = self.inner(x)
        rows = self.rows(x)
        a: Tensor = self.own()["a"]
        b: Tensor = self.own()["b"]
        if rows.weights is None or rows.parameters:
            if rows.weights is None:
                a, b = a[rows.blocks], b[rows.blocks]
            else:
                a, b = mixed(a, rows.weights), mixed(b, rows.weights)
            return grouped(grouped(x, a) * self.scaling, b, onto=y)
        # All K updates are one of rank K r, whose hidden units are weighted: those of weight zero add exact zeros.
        weights = (rows.weights.to(x.dtype) * self.scaling).repeat_interleave(a.shape[1], dim=1)
        hidden = nn.functional.linear(x, a.flatten(0, 1)) * weights.reshape(len(x), *[1] * (x.dim() - 2), -1)
        return torch.addmm(y.flatten(0, -2), hidden.flatten(0, -2), b.transpose(1, 2).flatten(0, 1)).reshape(y.shape)


class LinearStack(Stack):
    """The linear layer of K heads: weight (K, O, I), bias (K, O). The layer inside is not used any more.

    For a linear layer mixing parameters is mixing outputs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ..., I) to (B, ..., O)."""
        rows = self.rows(x)
        weights, weight, bias = rows.weights, self.own()["weight"], self.own().get("bias")
        if weights is None:
            return grouped(x, weight[rows.blocks], None if bias is None else bias[rows.blocks])
        y = each(x, weight)
        if bias is not None:
            y = y + bias.reshape(len(bias), *[1] * (x.dim() - 1), -1)
        return scaled(y, weights).sum(0)
