"""Bottleneck adapters: a small network, x + up(f(down(x))), inside each layer of a frozen encoder.

houlsby: after attention and after the feed-forward part, f = swish (Houlsby et al., ICML 2019).
pfeiffer: after the feed-forward part alone, f = ReLU (Pfeiffer et al., EACL 2021).

Where exactly: as the `adapters` library has it in DoubleSeqBnConfig and SeqBnConfig, reduction factor 16. With h the
output of the dense layer (after dropout) and r the residual input of the sublayer,

    houlsby     LayerNorm(h + up(f(down(h))) + r)
    pfeiffer    LayerNorm(h + up(f(down(LayerNorm(h + r)))) + r)         original_ln_before=True

The up-projection starts at zero, so a new adapter changes no bit of the model.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ModelError, SettingError
from ..perturb.draws import generator
from .rows import Stack, grouped, mixed

Bottlenecks = Literal["houlsby", "pfeiffer"]


class Bottleneck(Stack):
    """The output part of attention or of the feed-forward network, with K adapters of r hidden units.

    down (K, r, d), down_bias (K, r), up (K, d, r), up_bias (K, d). Mixing is of parameters, which for a network that is
    not linear is not the mixing of outputs: down and up have cross terms.
    """

    def __init__(self, inner: nn.Module, kind: str, **stacked: Tensor) -> None:
        super().__init__(inner, **stacked)
        self.kind = kind

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        """As the part itself: hidden_states (B, L, I), input_tensor (B, L, d) the residual."""
        inner: Any = self.inner
        h = inner.dropout(inner.dense(hidden_states))
        x = inner.LayerNorm(h + input_tensor) if self.kind == "pfeiffer" else h
        act = nn.functional.relu if self.kind == "pfeiffer" else nn.functional.silu
        rows = self.rows(x)
        p: dict[str, Any] = {
            name: stacked[rows.blocks] if rows.weights is None else mixed(stacked, rows.weights)
            for name, stacked in self.own().items()
        }
        added = grouped(act(grouped(x, p["down"], p["down_bias"])), p["up"], p["up_bias"])
        return inner.LayerNorm(h + added + input_tensor)


def bottleneck_sites(model: nn.Module, kind: str) -> list[str]:
    """Names of the modules that get an adapter, in the order of the layers.

    They are found by their structure: `output` modules made of dense, dropout and LayerNorm, as in BERT, RoBERTa,
    ELECTRA and DeBERTa-v2. Raises ModelError where there are none.
    """
    named = [
        name
        for name, module in model.named_modules()
        if name.endswith(".output")
        and {child for child, _ in module.named_children()} == {"dense", "LayerNorm", "dropout"}
        if isinstance(module.dense, nn.Linear) and isinstance(module.LayerNorm, nn.LayerNorm)
    ]
    attention = [name for name in named if name.endswith(".attention.output")]
    after = [name for name in named if name not in attention]
    if not attention or len(attention) != len(after):
        raise ModelError(
            f"{type(model).__name__} has no layers built like BERT's, which {kind} adapters are made for; use LoRA, "
            "which works for every model, or an encoder such as BERT, RoBERTa, ELECTRA or DeBERTa-v2"
        )
    return named if kind == "houlsby" else after


def new_bottlenecks(model: nn.Module, kind: str, reduction: int, seed: int) -> dict[str, Tensor]:
    """Parameters of a new adapter by "SITE.PARAMETER": down-projections N(0, 0.02^2), the rest zero.

    Each site draws from a generator keyed by seed and name: one seed, one initialisation.
    """
    tensors: dict[str, Tensor] = {}
    for site in bottleneck_sites(model, kind):
        dense: Any = model.get_submodule(site).dense
        d, like = dense.out_features, dense.weight
        r = d // reduction
        if r < 1:
            raise SettingError(f"reduction is {reduction}; with vectors of {d} entries it leaves no hidden unit")
        drawn = torch.randn(r, d, generator=generator(torch.device("cpu"), seed, f"bottleneck {site}"))
        tensors[f"{site}.down"] = (0.02 * drawn).to(like)
        tensors[f"{site}.down_bias"] = like.new_zeros(r)
        tensors[f"{site}.up"] = like.new_zeros(d, r)
        tensors[f"{site}.up_bias"] = like.new_zeros(d)
    return tensors
