"""The folder of a run: what it holds, and that it is never half of something.

run.yaml      everything needed to repeat the run: settings, versions, data and their hashes
log.jsonl     one line a log step
metrics.json  what came out; its presence means the run is finished
config.json, model.safetensors, tokenizer files       the trained model
checkpoints/  the latest ones, for --resume
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError

from ..errors import RunError, SparringError
from ..settings import read_yaml
from .versions import versions as versions

RUN, LOG, METRICS, CHECKPOINTS = "run.yaml", "log.jsonl", "metrics.json", "checkpoints"
PRETRAINING = "pretrain"
"""What run.yaml calls a pre-training job; it has no name for the others."""
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)
"""What writing weights raises when a disk is full: torch and safetensors have errors of their own."""


def reason(error: Exception) -> str:
    """Why a write failed, in a few words. Memory that ran out is no such failure: it is raised again."""
    if isinstance(error, torch.OutOfMemoryError):
        raise error
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """RunError for what goes wrong when the first files of a run are written."""
    try:
        yield
    except SparringError:
        raise
    except Exception as error:  # of tokenizers too, whose errors have no name of their own
        raise RunError(f"cannot write to {folder}: {reason(error)}; make room, or choose another --output") from error


def check_free(folder: Path) -> None:
    """RunError if a folder holds another run, or something else."""
    if (folder / RUN).exists():
        raise RunError(
            f"{folder} already holds a run; choose another --output, continue it with --resume, or delete the folder"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder} exists, is not an empty folder, and holds no run; choose another --output, or delete it if a "
            "run was killed there before it began"
        )


def open_new(folder: Path, needed_bytes: int) -> None:
    """Make the folder; RunError if it holds another run, cannot be written, or its disk is too full."""
    check_free(folder)
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise RunError(
            f"the disk of {folder} has {free / 1e9:.1f} GB free and this run needs about {needed_bytes / 1e9:.1f} GB "
            "for the model and its checkpoints; make room, choose another --output, or lower --keep"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}; choose another --output") from error


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    _write(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    _write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_run(folder: Path, *, job: str | None = None) -> dict[str, Any]:
    """The contents of run.yaml; RunError if the folder holds no run, or that of another kind of job.

    job: PRETRAINING, or None for a classifier.
    """
    if not (folder / RUN).is_file():
        if (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
            raise RunError(
                f"{folder} holds a model and not the run that made it (no {RUN}); with --data `sparring evaluate` and "
                "`sparring attack` take it"
            )
        killed = " If a run was killed there before it began, delete the folder and start again." * folder.is_dir()
        raise RunError(f"{folder} holds no run (no {RUN}); is the name right?{killed}")
    run = read_yaml(folder / RUN)
    found = run.get("job")
    if job is None and found == PRETRAINING:
        raise RunError(
            f"{folder} holds a pre-trained language model and no classifier; fine-tune it: "
            f"sparring train --model {folder}"
        )
    if job == PRETRAINING and found != PRETRAINING:
        raise RunError(f"the run in {folder} is no pre-training; continue it with the command that began it")
    kinds: dict[str, type] = {"settings": dict, "method": dict, "data": dict}
    if job is None:
        kinds |= {"labels": list, "fields": int, "metric": str}
    bad = [name for name, kind in kinds.items() if not isinstance(run.get(name), kind)]
    if bad:
        raise RunError(f"{folder / RUN} is damaged: {bad[0]!r} is missing or of the wrong kind")
    return run


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add one JSON line to a log."""
    finite = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror}; make room and go on from the last checkpoint with --resume"
        ) from error


def cut_log(path: Path, step: int) -> None:
    """Forget what was logged after the checkpoint that a run resumes from, and a line that was cut off."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line).get("step", 0) <= step:
                kept.append(line)
        except json.JSONDecodeError:
            break
    _write(path, "".join(line + "\n" for line in kept))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)  # noqa: PTH105
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}") from error
