"""LoRA adapters (Hu et al., ICLR 2022) stacked for mixing, and classification heads likewise.

Adapters are trained by peft, one at a time; here K of them lie side by side in one layer.
"""

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
        a, b = (self.own()[name] for name in ("a", "b"))
        if rows.weights is None:
            return y + grouped(grouped(x, a), b) * self.scaling
        if rows.parameters:
            return y + grouped(grouped(x, mixed(a, rows.weights)), mixed(b, rows.weights)) * self.scaling
        # Every adapter in a product of its own: one of weight zero then adds exact zeros, whatever the others are.
        hidden = scaled(each(x, a), rows.weights)
        return y + grouped(hidden.flatten(0, 1), b).reshape(len(a), *y.shape).sum(0) * self.scaling


class LinearStack(Stack):
    """The linear layer of K heads: weight (K, O, I), bias (K, O). The layer inside is not used any more.

    For a linear layer mixing parameters is mixing outputs.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ..., I) to (B, ..., O)."""
        weights = self.rows(x).weights
        weight, bias = self.own()["weight"], self.own().get("bias")
        if weights is None:
            return grouped(x, weight, bias)
        y = each(x, weight)
        if bias is not None:
            y = y + bias.reshape(len(bias), *[1] * (x.dim() - 1), -1)
        return scaled(y, weights).sum(0)
