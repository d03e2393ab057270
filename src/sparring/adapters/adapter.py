"""One adapter: attached to a frozen model for training, taken from it, written to a folder and read again.

    model = attach(base, AdapterShape(kind="pfeiffer"), seed=0)      # train it with any Trainer
    save_adapter(adapter_of(model), folder)

A folder holds adapter.json (what it is, and the base it belongs to) and its weights: of LoRA in peft's own format, so
that `PeftModel.from_pretrained(base, folder)` reads it too, and of bottlenecks in adapter.safetensors.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import ModelError, RunError
from ..settings import parse
from .base import Base, head_of
from .bottleneck import Bottleneck, new_bottlenecks
from .shape import AdapterShape

Head = Literal["trained", "frozen"]

DESCRIPTION, WEIGHTS = "adapter.json", "adapter.safetensors"
PEFT_CONFIG, PEFT_WEIGHTS, PEFT_PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."


@dataclass(frozen=True, eq=False)
class Adapter:
    """The tensors of one adapter, and what it was trained on."""

    shape: AdapterShape
    tensors: dict[str, Tensor]
    """By "SITE.PARAMETER": a (r, I) and b (O, r) of LoRA; down, down_bias, up, up_bias of bottlenecks."""
    head: dict[str, Tensor] | None = None
    """The classification head by the names it has in the model; None: that of the base, or of the clean adapter."""
    base: Base | None = None
    """The model it was trained on, if that is known."""
    attack: str | None = None
    """Name of the attack that made its training data; None for clean data."""

    @property
    def sites(self) -> dict[str, dict[str, Tensor]]:
        """Tensors by site, then by parameter."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            site, _, parameter = name.rpartition(".")
            found.setdefault(site, {})[parameter] = value
        return found

    def misfit(self, other: "Adapter") -> str | None:
        """Why the two cannot be mixed, in a few words, or None if they can."""
        mine, theirs = ({name: tuple(x.shape) for name, x in a.tensors.items()} for a in (self, other))
        if self.shape.kind != other.shape.kind:
            return f"one is {self.shape.kind}, the other {other.shape.kind}"
        if mine.keys() != theirs.keys():
            return f"only one of them adapts {min(mine.keys() ^ theirs.keys())}"
        for name, size in mine.items():
            if theirs[name] != size:
                return f"{name} is {size} in one and {theirs[name]} in the other"
        if self.shape.kind == "lora" and self.shape.scaling != other.shape.scaling:
            return f"updates are scaled by {self.shape.scaling:g} in one and {other.shape.scaling:g} in the other"
        if self.base and other.base and self.base.sha256 != other.base.sha256:
            return f"they were trained on different bases, {self.base.name} and {other.base.name}"
        return None


def attach(model: nn.Module, shape: AdapterShape, *, seed: int = 0, head: Head = "trained") -> nn.Module:
    """The model with one new adapter to train; everything else is frozen. The model itself is changed.

    head: "trained" trains the classification head too, "frozen" leaves it as it is. A new adapter changes no answer,
    and the same seed gives the same one: adapters that are to be mixed should start from the same point.
    """
    for weight in model.parameters():
        weight.requires_grad_(False)
    names = head_of(model)
    if shape.kind == "lora":
        return _with_lora(model, shape, seed, names if head == "trained" else [])
    for site, own in Adapter(shape, new_bottlenecks(model, shape.kind, shape.reduction, seed)).sites.items():
        inner = model.get_submodule(site)
        stack = Bottleneck(inner, shape.kind, **{name: value.unsqueeze(0) for name, value in own.items()})
        model.set_submodule(site, stack)
    for name in names:
        model.get_parameter(name).requires_grad_(head == "trained")
    return model


def adapter_of(
    model: nn.Module, shape: AdapterShape, *, base: Base | None = None, attack: str | None = None
) -> Adapter:
    """A copy of the adapter that `attach` put into a model, on the processor, with the head if it was trained.

    base: the model it was attached to; default: it is worked out, which hashes all weights.
    """
    base = base or Base.of(model)
    if shape.kind == "lora":
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(model, save_embedding_layers=False)
        return replace(_from_peft(found, shape, "the model"), base=base, attack=attack)
    tensors = {
        f"{site}.{name}": value[0].detach().cpu().clone()
        for site, module in model.named_modules()
        if isinstance(module, Bottleneck)
        for name, value in module.own().items()
    }
    trained = {
        name: p.detach().cpu().clone() for name in head_of(model) if (p := model.get_parameter(name)).requires_grad
    }
    return Adapter(shape, tensors, trained or None, base, attack)


def put_head(model: nn.Module, head: Mapping[str, Tensor]) -> None:
    """Copy a classification head into a model. Raises ModelError when it is not one of this model."""
    own = {name: model.get_parameter(name) for name in head_of(model)}
    if own.keys() != head.keys() or any(own[name].shape != head[name].shape for name in own):
        raise ModelError(
            f"the head of the adapter does not fit {type(model).__name__}: it holds "
            f"{ {name: tuple(x.shape) for name, x in head.items()} }, the model "
            f"{ {name: tuple(x.shape) for name, x in own.items()} }; are its classes those of the model?"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(head[name])


# on disk


def save_adapter(adapter: Adapter, folder: Path) -> None:
    """Write the adapter to a new folder, whole or not at all. Raises RunError when it exists or cannot be written."""
    if folder.exists():
        raise RunError(f"{folder} exists; choose another folder for the adapter, or delete it")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(adapter, partial)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(f"cannot write the adapter {folder}: {error}") from error


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder: one of ours, or one that peft wrote.

    Raises ModelError when there is none, or a variant of LoRA.
    """
    described, by_peft = folder / DESCRIPTION, folder / PEFT_CONFIG
    try:
        about = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
        if by_peft.is_file():
            shape = _plain_lora(json.loads(by_peft.read_text(encoding="utf-8")), by_peft)
            shape = parse(AdapterShape, about["shape"]) if about else shape
            adapter = _from_peft(load_file(folder / PEFT_WEIGHTS), shape, str(folder))
        elif about:
            stored = load_file(folder / WEIGHTS)
            head = {n.removeprefix("head."): x for n, x in stored.items() if n.startswith("head.")}
            tensors = {n: x for n, x in stored.items() if not n.startswith("head.")}
            adapter = Adapter(parse(AdapterShape, about["shape"]), tensors, head or None)
        else:
            raise ModelError(f"{folder} holds no adapter: neither {DESCRIPTION} nor {PEFT_CONFIG}; is the name right?")
        base = Base(**about["base"]) if about.get("base") else None
        return replace(adapter, base=base, attack=about.get("attack"))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error


def _write(adapter: Adapter, folder: Path) -> None:
    about = {
        "format": 1,
        "shape": asdict(adapter.shape),
        "base": asdict(adapter.base) if adapter.base else None,
        "attack": adapter.attack,
    }
    (folder / DESCRIPTION).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    head = adapter.head or {}
    if adapter.shape.kind != "lora":
        stored = {**adapter.tensors, **{f"head.{name}": x for name, x in head.items()}}
        save_file({name: x.detach().cpu().contiguous() for name, x in stored.items()}, folder / WEIGHTS)
        return
    from peft import LoraConfig

    config = LoraConfig(
        r=adapter.shape.rank,
        lora_alpha=adapter.shape.alpha,
        target_modules=sorted(adapter.sites),
        modules_to_save=_modules(head) or None,
        base_model_name_or_path=adapter.base.name if adapter.base else None,
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    stored = {f"{PEFT_PREFIX}{name}": x for name, x in head.items()}
    for name, x in adapter.tensors.items():
        site, _, parameter = name.rpartition(".")
        stored[f"{PEFT_PREFIX}{site}.lora_{parameter.upper()}.weight"] = x
    save_file(
        {name: x.detach().cpu().contiguous() for name, x in stored.items()},
        folder / PEFT_WEIGHTS,
        metadata={"format": "pt"},
    )


# peft


def _with_lora(model: nn.Module, shape: AdapterShape, seed: int, head: list[str]) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    targets = [part.strip() for part in shape.targets.split(",")] if shape.targets else _queries_and_values(model)
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(m, Conv1D) for name, m in model.named_modules() if name.endswith(tuple(targets))),
        modules_to_save=_modules(head) or None,
    )
    try:
        with torch.random.fork_rng(devices=[]):  # peft draws from the global generator of the processor
            torch.manual_seed(seed)
            wrapped: nn.Module = get_peft_model(model, config)
    except ValueError as error:  # no such layer, or none that LoRA can adapt
        raise ModelError(f"cannot put LoRA into {type(model).__name__}: {error}") from error
    return wrapped


def _queries_and_values(model: nn.Module) -> list[str]:
    """What the layers are called that make queries and values; in some models one makes both."""
    names = {name.rpartition(".")[2] for name, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D)}
    for known in (
        ["query", "value"],
        ["q_proj", "v_proj"],
        ["query_proj", "value_proj"],
        ["q_lin", "v_lin"],
        ["q", "v"],
        ["Wqkv"],
        ["c_attn"],
        ["query_key_value"],
    ):
        if names.issuperset(known):
            return known
    raise ModelError(
        f"it is not known how {type(model).__name__} calls its query and value projections; name layers in `targets`"
    )


def _modules(head: Mapping[str, Any] | list[str]) -> list[str]:
    """Top-level modules that hold these parameters."""
    return sorted({name.split(".")[0] for name in head})


def _from_peft(stored: Mapping[str, Tensor], shape: AdapterShape, where: str) -> Adapter:
    tensors: dict[str, Tensor] = {}
    head: dict[str, Tensor] = {}
    for full, value in stored.items():
        name = full.removeprefix(PEFT_PREFIX)
        kept = value.detach().cpu().clone()
        if name.endswith((".lora_A.weight", ".lora_B.weight")):
            site, _, kind = name.removesuffix(".weight").rpartition(".lora_")
            tensors[f"{site}.{kind.lower()}"] = kept
        elif ".lora_" in name:
            raise ModelError(
                f"{where}: {full} is not part of a plain LoRA adapter; only lora_A and lora_B can be mixed"
            )
        else:
            head[name] = kept
    if not tensors:
        raise ModelError(f"{where} holds no LoRA weights")
    return Adapter(shape, tensors, head or None)


def _plain_lora(config: Mapping[str, Any], path: Path) -> AdapterShape:
    """The shape in peft's config. Raises ModelError for variants of LoRA."""
    kind = config.get("peft_type")
    variant = next(
        (name for name in ("use_dora", "lora_bias", "rank_pattern", "alpha_pattern") if config.get(name)), None
    )
    if config.get("bias", "none") != "none":
        variant = "bias"
    if kind != "LORA" or variant:
        what = f"peft_type {kind}" if kind != "LORA" else f"{variant} = {config.get(variant or '')!r}"
        raise ModelError(f"{path}: {what}; only plain LoRA adapters can be mixed")
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    if config.get("use_rslora"):
        alpha *= rank**0.5  # alpha / sqrt(r) as alpha / r
    return AdapterShape(kind="lora", rank=rank, alpha=alpha)
