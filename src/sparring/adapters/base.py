"""The frozen model below the adapters: which of its tensors are its own, where it comes from, and its hash."""

import contextlib
import hashlib
import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..model.load import MINILM, load_classifier, minilm_folder
from .rows import Stack


@dataclass(frozen=True)
class Base:
    """A reference to a base model. The hash is over its own tensors, without adapters and classification head."""

    name: str
    """"minilm", a hub name, or a folder."""
    sha256: str
    seed: int = 0
    """What layers that the checkpoint lacks were drawn with, such as a pooler."""
    relative: str | None = None
    """Where the folder lies as seen from the folder that refers to it."""

    @classmethod
    def of(cls, model: nn.Module, name: str | None = None, *, seed: int = 0) -> "Base":
        """A reference to this model; its name by default as it was loaded."""
        config: Any = model.config
        name = name or str(getattr(config, "name_or_path", ""))
        with contextlib.suppress(ModelError):
            name = MINILM if name == str(minilm_folder()) else name
        return cls(name, digest(model), seed)

    def seen_from(self, folder: Path) -> "Base":
        """The same, to be written into a folder: a base that is a folder is found again if both move together."""
        if not Path(self.name).is_dir():
            return self
        path = Path(self.name).resolve()
        relative = None
        with contextlib.suppress(ValueError):  # on another drive
            relative = Path(os.path.relpath(path, folder.resolve())).as_posix()
        return replace(self, name=path.as_posix(), relative=relative)

    def load(
        self, folder: Path, labels: list[str], tokenizer: Any, name: str | None = None
    ) -> tuple[nn.Module, "Base"]:
        """The base model, in eval mode, as referred to in `folder`, and where it was. name: look there instead.

        Raises ModelError when it cannot be found or is not the one that is recorded.
        """
        beside = Path(os.path.normpath(folder.absolute() / self.relative)) if self.relative else None
        source = name or (str(beside) if beside is not None and beside.is_dir() else self.name)
        try:
            model = load_classifier(source, labels, tokenizer, seed=self.seed)
        except ModelError as error:
            raise ModelError(f"the base model of {folder}: {error}. If it has moved: {_moved(folder)}") from error
        found = digest(model)
        if found != self.sha256:
            raise ModelError(
                f"the base model {source} is not the one that {folder} was made with: its weights have the hash "
                f"{found[:16]}, recorded is {self.sha256[:16]}; restore it, or say where the right one "
                f"is: {_moved(folder)}"
            )
        return model.eval(), replace(self, name=source, relative=None)


def _moved(folder: Path) -> str:
    return f"sparring mix rebase {shlex.quote(str(folder))} --base FOLDER"


def backbone(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors without head and adapters, by the names they have without adapters."""
    inside: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    heads = tuple(f"{child}." for child in head_modules(inside))
    added = {
        f"{site}.{name}" if site else name
        for site, module in inside.named_modules()
        if isinstance(module, Stack)
        for name in module.own()
    }
    found = {}
    for name, value in inside.state_dict().items():
        if name in added or name.startswith(heads) or ".lora_" in name:
            continue
        found[name.replace(".inner.", ".").replace(".base_layer.", ".")] = value
    return found


def head_modules(model: nn.Module) -> list[str]:
    """Names of the top-level modules that make the classification head: all but the encoder or decoder."""
    prefix = getattr(model, "base_model_prefix", "")
    children = [name for name, child in model.named_children() if any(True for _ in child.parameters())]
    if prefix not in children:
        raise ModelError(f"{type(model).__name__} has no module {prefix!r} that could be told from its head")
    return [name for name in children if name != prefix]


def head_of(model: nn.Module) -> list[str]:
    """Names of the parameters of the classification head."""
    heads = tuple(f"{name}." for name in head_modules(model))
    return [name for name, _ in model.named_parameters() if name.startswith(heads)]


def digest(model: nn.Module) -> str:
    """sha256 over names, shapes and values of the backbone."""
    found = hashlib.sha256()
    for name, value in sorted(backbone(model).items()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()
