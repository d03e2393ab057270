"""What mixtures are compared with, and turned into: averages of adapters and of checkpoints, plain models.

adapter soup: the parameters of several adapters averaged into one. model soup: the same of whole checkpoints.
`merge` and `export` fix the weights of a mixture, the same for every example.
"""

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import ModelError, RunError, SettingError
from .adapter import Adapter
from .lora import LinearStack, LoraStack
from .mixture import AdapterMixture
from .rows import Stack


def adapter_soup(adapters: Mapping[str, Adapter], weights: Mapping[str, float] | None = None) -> Adapter:
    """One adapter whose every tensor is the weighted mean of those of several; default equal weights.

    Heads are averaged if all adapters hold one, and dropped if none does. Raises ModelError for adapters of different
    shapes, or when only some hold a head.
    """
    shares = _shares(list(adapters), weights)
    first_name, first = next(iter(adapters.items()))
    for name, adapter in adapters.items():
        misfit = first.misfit(adapter)
        if misfit:
            raise ModelError(f"the adapters {first_name!r} and {name!r} cannot be averaged: {misfit}")
        if (adapter.head is None) != (first.head is None):
            raise ModelError(f"of the adapters {first_name!r} and {name!r} only one holds a classification head")
    heads = [adapter.head for adapter in adapters.values() if adapter.head is not None]
    tensors = _average([adapter.tensors for adapter in adapters.values()], shares)
    return replace(first, tensors=tensors, head=_average(heads, shares) if heads else None, attack=None)


def model_soup(models: Sequence[nn.Module], weights: Sequence[float] | None = None) -> nn.Module:
    """A copy of the first model with every weight the weighted mean over all models; default equal weights.

    Raises ModelError for models that are not built alike.
    """
    if not models:
        raise ModelError("a soup needs at least one model")
    names = [str(number) for number in range(len(models))]
    shares = _shares(names, None if weights is None else dict(zip(names, weights, strict=True)))
    states = [model.state_dict() for model in models]
    for number, state in enumerate(states[1:], 2):
        odd = {n: tuple(x.shape) for n, x in state.items()}.items() ^ {
            n: tuple(x.shape) for n, x in states[0].items()
        }.items()
        if odd:
            raise ModelError(f"models 1 and {number} are not built alike: they differ in {min(odd)[0]}")
    soup = copy.deepcopy(models[0])
    soup.load_state_dict(_average(states, shares))
    return soup


def merge(mixture: AdapterMixture, weights: Mapping[str, float]) -> nn.Module:
    """A plain model with one fixed mixture of LoRA adapters merged into its weights: {"clean": 0.5, "textfooler": 0.5}.

    Adapters that are not named weigh 0. Raises ModelError for bottlenecks, which are not linear.
    """
    if mixture.shape.kind != "lora":
        raise ModelError(
            f"{mixture.shape.kind} adapters are networks of their own, which cannot be merged into the base's weights; "
            "`fixed(mixture, weights)` mixes them into one adapter, a mixture of one"
        )
    shares = _row(mixture, weights)
    plain = copy.deepcopy(mixture.base).requires_grad_(True)
    with torch.no_grad():
        for name, stack in [(n, m) for n, m in plain.named_modules() if isinstance(m, Stack)]:
            inner: Any = stack.inner
            w = shares.to(next(inner.parameters()))
            own = stack.own()
            if isinstance(stack, LoraStack):
                if mixture.space == "parameters":
                    update = torch.einsum("k,kor->or", w, own["b"]) @ torch.einsum("k,kri->ri", w, own["a"])
                else:
                    update = torch.einsum("k,kor,kri->oi", w, own["b"], own["a"])
                inner.weight += stack.scaling * (update.T if isinstance(inner, Conv1D) else update)
            elif isinstance(stack, LinearStack):
                for part, stacked in own.items():
                    inner.get_parameter(part).copy_(torch.tensordot(w, stacked, 1))
            plain.set_submodule(name, inner)
    return plain.eval()


def fixed(mixture: AdapterMixture, weights: Mapping[str, float], *, name: str = "fixed") -> AdapterMixture:
    """A mixture of one adapter, the weighted mean of the parameters of all; heads likewise under the policy "mixed".

    Adapters that are not named weigh 0.
    """
    shares = dict(zip(mixture.names, _row(mixture, weights).tolist(), strict=True))
    made = adapter_soup({key: mixture.adapter(key) for key in mixture.names}, shares)
    base = copy.deepcopy(mixture.base)
    for site, stack in [(n, m) for n, m in base.named_modules() if isinstance(m, Stack)]:
        base.set_submodule(site, stack.inner)
    return AdapterMixture(base, {name: made}, gate=mixture.gate, space="parameters", reference=mixture.reference)


def export(mixture: AdapterMixture, weights: Mapping[str, float], folder: Path, tokenizer: Any) -> None:
    """Write a fixed mixture to a new folder: LoRA as a plain checkpoint, bottlenecks as a mixture of one adapter.

    Raises RunError when the folder exists or cannot be written.
    """
    if folder.exists():
        raise RunError(f"{folder} exists; choose another folder to export to, or delete it")
    if mixture.shape.kind != "lora":
        fixed(mixture, weights).save_pretrained(folder, tokenizer)
        return
    plain: Any = merge(mixture, weights)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        plain.save_pretrained(str(partial))
        tokenizer.save_pretrained(str(partial))
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"cannot write the model to {folder}: {error}") from error


def _row(mixture: AdapterMixture, weights: Mapping[str, float]) -> Tensor:
    """(K,) weights in the order of the mixture's adapters."""
    unknown = [name for name in weights if name not in mixture.names]
    if unknown:
        raise SettingError(f"there is no adapter {unknown[0]!r}; the mixture has {', '.join(mixture.names)}")
    shares = _shares(list(mixture.names), {name: weights.get(name, 0.0) for name in mixture.names})
    return torch.tensor(shares, dtype=torch.float64)


def _shares(names: Sequence[str], weights: Mapping[str, float] | None) -> list[float]:
    if not names:
        raise SettingError("there is nothing to average")
    shares = [1 / len(names)] * len(names) if weights is None else [float(weights[name]) for name in names]
    if any(not 0 <= share <= 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise SettingError(f"weights are {dict(zip(names, shares, strict=True))}; they must be 0 to 1 and sum to 1")
    return shares


def _average(states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Weighted means, summed in float64. Whole numbers, such as positions, are those of the first."""
    found = {}
    for name, like in states[0].items():
        if like.is_floating_point():
            total = sum(share * state[name].double() for share, state in zip(shares, states, strict=True))
            found[name] = torch.as_tensor(total).to(like)
        else:
            found[name] = like
    return found
