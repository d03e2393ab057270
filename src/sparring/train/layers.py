"""Which weights learn how fast: layer-wise learning rates and frozen embeddings, for continual training.

A pre-trained model's lower layers are the more general ones. Layer-wise decay (Clark et al., ICLR 2020, ELECTRA) gives
a layer `decay` times the learning rate of the layer above it, and the embeddings the lowest of all.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from torch import nn

from ..errors import ModelError, SettingError
from ..model.view import transformer_layers


def depths(model: nn.Module) -> dict[str, int]:
    """The depth of each parameter by name: 0 embeddings, 1 .. n the layers from the bottom, n + 1 what is above them.

    Embeddings are the tables of words, positions and types with their LayerNorm and projection; an output layer tied to
    the word table is that table. Above the layers are a final LayerNorm, a pooler and the head. ALBERT's shared layer
    is one layer. In an encoder-decoder the layers are the encoder's; its decoder counts as above them.
    """
    layers = transformer_layers(model)
    inside = {id(p): i + 1 for i, layer in enumerate(layers) for p in layer.parameters()}
    top = len(layers) + 1
    embedding = {id(p) for module in _beside(model, layers) for p in module.parameters()}
    return {
        name: inside.get(id(p), 0 if id(p) in embedding else top)
        for name, p in model.named_parameters()  # a tied weight has one name, that of its first place
    }


def parameter_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Parameter groups for an optimiser, of what trains: from the top down, so that the first has the full rate.

    A group's learning rate is learning_rate * layer_decay^(depths below the top); biases and norms, whatever has one
    dimension, get no weight decay. Each group also says its "depth". Raises SettingError for a decay outside (0, 1],
    ModelError when nothing trains.
    """
    if not 0 < layer_decay <= 1:
        raise SettingError(f"layer_decay is {layer_decay:g}; it must be above 0 and at most 1, where 1 is no decay")
    found = depths(model)
    top = max(found.values())
    trained = [
        (top - found[name] if layer_decay < 1 else 0, p.dim() < 2, p)  # without decay two groups are enough
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    if not trained:
        raise ModelError("no weight of the model trains: all are frozen")
    trained.sort(key=lambda one: one[:2])
    groups: list[dict[str, Any]] = []
    for (below, flat), members in itertools.groupby(trained, key=lambda one: one[:2]):
        groups.append(
            {
                "params": [p for _, _, p in members],
                "lr": learning_rate * layer_decay**below,
                "weight_decay": 0.0 if flat else weight_decay,
                "depth": top - below,
            }
        )
    return groups


def freeze_embeddings(model: nn.Module) -> list[str]:
    """Take the embeddings (depth 0) out of the training; the names of what is frozen.

    An output layer tied to the word table is frozen with it. Call it before the optimiser and any data-parallel wrapper
    are made.
    """
    frozen = []
    found = depths(model)
    for name, p in model.named_parameters():
        if found[name] == 0:
            p.requires_grad_(False)
            frozen.append(name)
    return frozen


def _beside(model: nn.Module, layers: nn.ModuleList) -> Iterator[nn.Module]:
    """Modules that hold tables or say they embed, as large as they can be without holding the layers."""
    around = {id(m) for m in model.modules() if any(child is layers for child in m.modules())}
    for parent in model.modules():
        if id(parent) not in around or parent is layers:
            continue
        for name, child in parent.named_children():
            if id(child) in around:
                continue
            if name.startswith("embedding") or any(isinstance(m, nn.Embedding) for m in child.modules()):
                yield child
