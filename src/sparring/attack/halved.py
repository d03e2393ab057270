"""A copy of a model in bfloat16 that answers fast."""

import copy

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation


def halved(model: nn.Module) -> nn.Module:
    """A copy in bfloat16 and eval mode; the model itself is left alone.

    On a processor the weights of linear layers are laid out once as the matrix library wants them, which it otherwise
    does at every call, and a GELU that follows one is computed along with it.
    """
    half = copy.deepcopy(model).to(torch.bfloat16).eval()
    on_processor = next(half.parameters()).device.type == "cpu"
    if (
        on_processor
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    ):
        _pack(half)
    return half


class _Packed(nn.Module):
    """A linear layer for inference with weights in oneDNN's own layout."""

    def __init__(self, layer: nn.Linear, then: str = "none") -> None:
        super().__init__()
        self.then = then
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().contiguous(), 1024)
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.then, [], "none")
        return y


def _pack(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear and child.weight.numel() >= 4096:  # subclasses may do something else
            act = getattr(module, "intermediate_act_fn", None)  # BERT and its descendants name it so
            gelu = name == "dense" and isinstance(act, GELUActivation) and act.act is nn.functional.gelu
            setattr(module, name, _Packed(child, "gelu" if gelu else "none"))
            if gelu:
                module.intermediate_act_fn = nn.Identity()
        else:
            _pack(child)
