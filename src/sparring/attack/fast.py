"""A classifier made to answer fast: the same function with less arithmetic."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from ..adapters.mixture import AdapterMixture
from ..model.load import fast_bf16


def fast(model: nn.Module, *, half: bool) -> nn.Module:
    """The model in a form that answers fast; the model itself is left alone.

    Where a BERT, plain or with adapters, classifies by its first token, the last layer is worked out for that token
    alone. half: in bfloat16;
    on a processor that multiplies it, weights of linear layers are laid out once as the matrix library wants them,
    which it otherwise does at every call, and a GELU that follows one is computed along with it. In full precision
    the result has the model's own weights, or is the model itself where there is nothing to be gained.
    """
    layered = bool(_layers(model)) and hasattr(model, "config")
    if not half:
        if not layered:
            return model
        shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
        made = copy.deepcopy(model, shared).eval()
        return made if _keep_first_token(made) else model
    made = copy.deepcopy(model).eval()
    if layered:
        _keep_first_token(made)
    made = made.to(torch.bfloat16)
    if next(made.parameters()).device.type == "cpu" and fast_bf16():
        _pack(made)
    return made


class _FirstToken(nn.Module):
    """The last layer of a BERT for the first token only: (B, L, H) -> (B, 1, H).

    Its keys and values are still those of all tokens. Of 12 H^2 multiplications a token in a layer, 2 H^2 are left.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        layer: Any = self.layer
        attention = layer.attention.self

        def heads(x: Tensor) -> Tensor:
            return x.view(*x.shape[:-1], -1, attention.attention_head_size).transpose(1, 2)

        first = hidden_states[:, :1]
        mask = None if attention_mask is None else attention_mask[:, :, :1]
        seen = nn.functional.scaled_dot_product_attention(
            heads(attention.query(first)),
            heads(attention.key(hidden_states)),
            heads(attention.value(hidden_states)),
            attn_mask=mask,
        )
        x = layer.attention.output(seen.transpose(1, 2).flatten(2), first)
        found: Tensor = layer.output(layer.intermediate(x), x)
        return found


def _layers(model: nn.Module) -> Any:
    """The layers of a BERT, or of the BERT in a mixture; empty for anything else."""
    inner = model.base if isinstance(model, AdapterMixture) else model
    layers = getattr(getattr(getattr(inner, "base_model", None), "encoder", None), "layer", None)
    return layers if isinstance(layers, nn.ModuleList) else []


def _keep_first_token(model: Any) -> bool:
    """Change the last layer if the logits stay what they were; a model that is built otherwise is left as it is."""
    layers = _layers(model)
    last = layers[-1]
    rows = int(min(64, model.get_input_embeddings().num_embeddings))
    ids = torch.arange(2 * 6, device=next(model.parameters()).device).view(2, 6) * 7 % rows
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    with torch.inference_mode():
        before = model(input_ids=ids, attention_mask=mask).logits
        layers[-1] = _FirstToken(last)
        try:
            after = model(input_ids=ids, attention_mask=mask).logits
            same = torch.allclose(before, after, atol=1e-4, rtol=1e-4)
        except (AttributeError, TypeError, IndexError, RuntimeError):  # another kind of layer
            same = False
    if not same:
        layers[-1] = last
    return same


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
