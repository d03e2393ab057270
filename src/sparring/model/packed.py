"""Several documents in one row: what a model must be told so that it reads each as if it stood alone.

Architectures differ in how they can be told, and some cannot be. Instead of a list of names there are a few ways to
say it and a proof: a way is taken only if, on a small batch, a document's states do not depend by one bit on the
document before it, and are those of the document alone.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..data.batch import document_starts, same_document

Way = Literal["positions", "mask", "causal_mask"]
"""How a model is told where documents begin.

"positions": position ids that start again, and no mask: Hugging Face decoders find the documents in them.
"mask": as well a mask (B, 1, L, L) that lets a token see its own document; for encoders.
"causal_mask": the same, but only what came before, for decoders that do not look at position ids.
"""

_CANNOT = (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError)  # of a model that is told so


def positions(segments: Tensor, offset: int = 0) -> Tensor:
    """(B, L) int64 positions that start again, from `offset`, wherever `segments` (B, L) changes."""
    index = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    return index - index.masked_fill(~document_starts(segments), 0).cummax(1).values + offset


def position_offset(model: nn.Module) -> int:
    """The position of a row's first token: RoBERTa's table begins behind its padding position, others at 0."""
    tables = [m for name, m in model.named_modules() if name.endswith("embeddings.position_embeddings")]
    return max((int(t.padding_idx) + 1 for t in tables if getattr(t, "padding_idx", None) is not None), default=0)


def packed_inputs(model: nn.Module, way: Way, segments: Tensor) -> dict[str, Any]:
    """Keyword arguments that replace a plain mask, for `segments` (B, L): the document of each token, 0 for padding."""
    told: dict[str, Any] = {"position_ids": positions(segments, position_offset(model))}
    if way == "positions":
        return told | {"attention_mask": None, "use_cache": False}
    allowed = same_document(segments)  # padding sees padding: a row without a key would be NaN
    if way == "causal_mask":
        allowed = allowed.tril()
    config: Any = model.config
    full = _mask(model, allowed)
    if "sliding_attention" not in (getattr(config, "layer_types", None) or ()):
        return told | {"attention_mask": full}
    index = torch.arange(segments.shape[1], device=segments.device)
    near = (index.unsqueeze(0) - index.unsqueeze(1)).abs() <= config.sliding_window
    return told | {"attention_mask": {"full_attention": full, "sliding_attention": _mask(model, allowed & near)}}


def _mask(model: nn.Module, allowed: Tensor) -> Tensor:
    """(B, L, L) bool as the model's attention wants it: (B, 1, L, L), added to the scores in the eager one."""
    allowed = allowed.unsqueeze(1)
    if getattr(model.config, "_attn_implementation", None) != "eager":
        return allowed
    dtype = next(p.dtype for p in model.parameters())
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


@torch.no_grad()
def find_way(model: nn.Module, vocabulary: int) -> Way | None:
    """The first way that keeps documents apart in this model, in the mode it is in (which must be eval), or None."""
    config: Any = model.config
    if config.is_encoder_decoder:
        return None
    windows = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    ways = [way for way in get_args(Way) if not (windows and way == "causal_mask")]
    return next((way for way in ways if _proved(model, way, vocabulary)), None)


def _proved(model: nn.Module, way: Way, vocabulary: int) -> bool:
    device = next(model.parameters()).device
    segments = torch.tensor([[1] * 5 + [2] * 7, [1] * 7 + [2] * 5], device=device)
    ids = (torch.arange(24, device=device).reshape(2, 12) * 7 + 3) % vocabulary
    ids = _without_padding(model, ids, vocabulary)
    other = _without_padding(model, torch.where(segments == 1, (ids + 5) % vocabulary, ids), vocabulary)
    later = ids.clone()
    later[:, -1] = _without_padding(model, (ids[:, -1:] + 5) % vocabulary, vocabulary)[:, 0]
    second = segments == 2

    def states(given: Tensor, told: dict[str, Any]) -> Tensor:
        found: Tensor = model(input_ids=given, output_hidden_states=True, **told).hidden_states[-1]
        return found

    def alone(given: Tensor) -> Tensor:
        return states(given[:1, 5:], {"attention_mask": torch.ones_like(given[:1, 5:])})

    told = packed_inputs(model, way, segments)
    try:
        packed, plain = states(ids, told), alone(ids)
        apart = torch.equal(packed[second], states(other, told)[second])
        sees_later = not torch.equal(packed[0, 5], states(later, told)[0, 5])
        should_see = not torch.equal(plain[0, 0], alone(later)[0, 0])
    except _CANNOT:
        return False
    rounding = max(4 * torch.finfo(packed.dtype).eps, 2e-3)  # tensor cores round float32 to ten bits
    same = bool((packed[0, 5:] - plain[0]).abs().max() <= rounding * plain.abs().max())
    return apart and same and sees_later == should_see


def _without_padding(model: nn.Module, ids: Tensor, vocabulary: int) -> Tensor:
    """The padding id, which has a position of its own in some models, replaced by its neighbour."""
    pad = getattr(model.config, "pad_token_id", None)
    return ids if pad is None else torch.where(ids == pad, (pad + 1) % vocabulary, ids)
