"""Weights sharded over the processes (FSDP) as transformers does it when it loads a model, and their optimiser's state.

The Trainer does not keep the optimiser state of such models; here each process writes that of its own shards beside the
model's whole weights, so that a run goes on exactly, on the same number of processes.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from ..errors import RunError, SettingError
from ..model import world
from ..model.view import transformer_layers
from . import folder as run_folder

START = ".start"  # the model before it is sharded, for a moment


def check_processes(number: int) -> None:
    """SettingError for a single one."""
    if number == 1:
        raise SettingError("fsdp shards a model over processes, and there is one; start several with torchrun")


def shard(model: nn.Module, run: Path, checkpoint: str | None) -> nn.Module:
    """The same model, or that of a checkpoint, sharded layer by layer over all processes. Call it on all of them.

    run: a folder that all processes see. Raises SettingError with a single process.
    """
    from transformers.distributed import DistributedConfig

    check_processes(world.size())
    source = Path(checkpoint) if checkpoint else run / START
    if not checkpoint:
        if world.rank() == 0:
            with run_folder.writing(run):
                model.save_pretrained(str(source))  # type: ignore[operator]
        world.wait()
    layers = transformer_layers(model)
    name = next(name for name, module in model.named_modules() if module is layers)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    sharded: nn.Module = type(model).from_pretrained(  # type: ignore[attr-defined]
        str(source),
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        distributed_config=DistributedConfig(fsdp_size=world.size(), fsdp_plan={f"{name}.*": "free_full_weight"}),
    )
    for key, p in sharded.named_parameters():
        p.requires_grad_(key not in frozen)
    world.wait()
    if not checkpoint and world.rank() == 0:
        shutil.rmtree(source, ignore_errors=True)
    return sharded


def check_loaded_from(model: nn.Module, checkpoint: Path) -> None:
    """RunError for a model that was not loaded from the checkpoint that its run goes on from."""
    name = str(getattr(model, "name_or_path", ""))
    if Path(name).resolve() != checkpoint.resolve():
        raise RunError(
            f"the sharded model was loaded from {name!r}, and its run goes on from {checkpoint}: load it from there"
        )


def save_optimizer(optimizer: Any, scheduler: Any, folder: Path) -> None:
    """This process's shards of the optimiser's state, and the schedule."""
    content = {"optimizer": _map(optimizer.state_dict(), _kept), "scheduler": scheduler.state_dict()}
    torch.save(content, folder / _file())


def load_optimizer(optimizer: Any, scheduler: Any, folder: Path) -> None:
    """What `save_optimizer` wrote; RunError if the checkpoint has none for this process."""
    path = folder / _file()
    if not path.is_file():
        raise RunError(f"{folder} has no {path.name}; it was not written by a sharded run and cannot resume here")
    content = torch.load(path, map_location="cpu", weights_only=True)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = content["optimizer"]
    state["state"] = {
        number: {name: _like(value, parameters[number]) for name, value in kept.items()}
        for number, kept in state["state"].items()
    }
    optimizer.load_state_dict(state)
    scheduler.load_state_dict(content["scheduler"])


def _file() -> str:
    return f"optimizer-{world.rank()}.pt"


def _map(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: _map(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_map(one, change) for one in value]
    return change(value)


def local(value: Any) -> Any:
    """Of a sharded tensor this process's share; anything else as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def shard_of(share: Tensor, shape: Sequence[int], model: nn.Module) -> DTensor:
    """A tensor of a shape of which this process holds `share`, laid out over the processes as the weights are."""
    like = next(p for p in model.parameters() if isinstance(p, DTensor))
    whole = torch.empty(tuple(shape), device="meta")
    return DTensor.from_local(
        share, like.device_mesh, like.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def _kept(value: Any) -> Any:
    return local(value).cpu() if isinstance(value, DTensor) else value


def _like(value: Any, p: Tensor) -> Any:
    """A state tensor laid out as its parameter; counts of steps stay as they are."""
    if not isinstance(p, DTensor) or not isinstance(value, Tensor) or value.dim() == 0:
        return value
    return DTensor.from_local(
        value.to(p.to_local().device), p.device_mesh, p.placements, run_check=False, shape=p.shape, stride=p.stride()
    )
