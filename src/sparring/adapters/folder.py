"""The folder of a mixture, which refers to its base model and holds everything else.

mixture.json         what it is: gate, calibration, mixing space, head policy, labels, the base, and the hash of each
                     file; it is written last, so a mixture is there whole or not at all
adapters/NAME/...    one folder an adapter, see adapter.py
head.safetensors     the head that all share, under the policy "shared"
tokenizer files

A folder grows by adapters: what mixture.json names is never written again, only mixture.json itself.
"""

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import ModelError, RunError, SparringError
from ..model.load import load_tokenizer
from ..settings import parse
from .adapter import DESCRIPTION, PEFT_CONFIG, PEFT_WEIGHTS, WEIGHTS, put_head, read_adapter, save_adapter
from .base import Base, head_of
from .gates import Calibration, Gate
from .mixture import AdapterMixture

_NAME = r"[\w-][\w.-]*"
MIXTURE, HEAD, ADAPTERS, FORMAT = "mixture.json", "head.safetensors", "adapters", 1


def save_mixture(mixture: AdapterMixture, folder: Path, tokenizer: Any = None) -> None:
    """Write the mixture, or what has changed since it was last written here: new adapters, gate, calibration.

    tokenizer: written beside, so that the folder is complete. Raises RunError when the folder holds another mixture, or
    cannot be written.
    """
    before = _read(folder) if (folder / MIXTURE).is_file() else None
    if before is not None:
        _verify(folder, before)
    partial = folder / ".partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        (partial / ADAPTERS).mkdir(parents=True)
        for name in mixture.names:
            if not re.fullmatch(_NAME, name):
                raise RunError(f"the adapter's name {name!r} cannot be a folder's; use letters, digits, '-' and '_'")
            save_adapter(mixture.adapter(name), partial / ADAPTERS / name)
        if mixture.head == "shared":
            head = {name: mixture.base.get_parameter(name) for name in head_of(mixture.base)}
            save_file({name: x.detach().cpu().contiguous() for name, x in head.items()}, partial / HEAD)
        if tokenizer is not None:
            tokenizer.save_pretrained(str(partial))
        _move(mixture, partial, folder, before)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write the mixture {folder}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    mixture.config._name_or_path = str(folder)


def load_mixture(folder: Path, *, base: str | None = None) -> tuple[AdapterMixture, Any]:
    """The mixture in a folder, in float32, and its tokenizer. base: where its base model is now, if that has moved.

    Raises ModelError, which names the file, when one is missing or altered, and when the base is another.
    """
    about = _read(folder)
    _verify(folder, about)
    tokenizer = load_tokenizer(str(folder))
    try:
        reference = Base(**about["base"])
        labels = [str(label) for label in about["labels"]]
        calibration = about["calibration"]
        adapters = {entry["name"]: read_adapter(folder / ADAPTERS / entry["name"]) for entry in about["adapters"]}
        settings: dict[str, Any] = {
            "gate": parse(Gate, about["gate"]),
            "calibration": Calibration(tuple(calibration["low"]), tuple(calibration["high"]), calibration["rows"])
            if calibration
            else None,
            **{name: about[name] for name in ("space", "head", "combine")},
        }
        model, reference = reference.load(folder, labels, tokenizer, base)
        if HEAD in about["files"]:
            put_head(model, load_file(folder / HEAD))
        mixture = AdapterMixture(model, adapters, reference=reference, **settings)
    except SparringError as error:
        raise ModelError(f"cannot load the mixture {folder}: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder / MIXTURE} is damaged: {type(error).__name__} {error}") from error
    mixture.config._name_or_path = str(folder)
    return mixture, tokenizer


def _move(mixture: AdapterMixture, partial: Path, folder: Path, before: dict[str, Any] | None) -> None:
    """Into place: weights that mixture.json names must be the same as before and stay, and mixture.json comes last."""
    files = {path.relative_to(partial).as_posix(): _sha256(path) for path in partial.rglob("*") if path.is_file()}
    kept = {entry["name"]: entry for entry in before["adapters"]} if before else {}
    old = _files(before) if before else {}
    for file, found in files.items():
        if file.endswith(".safetensors") and old.get(file, found) != found:
            raise RunError(
                f"{folder} holds another {file}; a mixture's folder can get more adapters, but those it has stay: "
                "write this mixture to another folder"
            )
    for file in files:
        if file not in old:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (partial / file).replace(folder / file)
    entries = []
    for name in mixture.names:
        own = {file: found for file, found in sorted(files.items()) if file.startswith(f"{ADAPTERS}/{name}/")}
        entries.append(kept.get(name) or {"name": name, "attack": mixture.attacks[name], "files": own})
    about = {
        "format": FORMAT,
        "shape": asdict(mixture.shape),
        "space": mixture.space,
        "head": mixture.head,
        "combine": mixture.combine,
        "gate": asdict(mixture.gate),
        "calibration": asdict(mixture.calibration) if mixture.calibration else None,
        "labels": [str(mixture.config.id2label[i]) for i in range(int(mixture.config.num_labels))],
        "base": asdict(mixture.reference.seen_from(folder)),
        "adapters": entries,
        "files": {HEAD: files[HEAD]} if HEAD in files else {},
    }
    written = partial / MIXTURE
    written.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(written, folder / MIXTURE)  # noqa: PTH105


def _read(folder: Path) -> dict[str, Any]:
    path = folder / MIXTURE
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} holds no mixture (no {MIXTURE}); is the name right?") from error
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    kinds = {"adapters": list, "files": dict, "base": dict, "labels": list, "gate": dict}
    bad = [name for name, kind in kinds.items() if not isinstance(about, dict) or not isinstance(about.get(name), kind)]
    if bad:
        raise ModelError(f"{path} is damaged: {bad[0]!r} is missing or of the wrong kind")
    if about.get("format") != FORMAT:
        raise ModelError(f"{path} has the format {about.get('format')!r}, and this version of sparring reads {FORMAT}")
    return about


def _files(about: dict[str, Any]) -> dict[str, str]:
    """Every file that mixture.json names, with its hash."""
    found: dict[str, str] = dict(about["files"])
    for entry in about["adapters"]:
        name, files = (entry.get("name"), entry.get("files")) if isinstance(entry, dict) else (None, None)
        named = isinstance(name, str) and re.fullmatch(_NAME, name)
        if not named or not isinstance(files, dict) or not all(f.startswith(f"{ADAPTERS}/{name}/") for f in files):
            raise ModelError(f"{MIXTURE} is damaged: adapter {name!r} without files of its own")
        found.update(files)
    return found


def _verify(folder: Path, about: dict[str, Any]) -> None:
    for name, wanted in _files(about).items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ModelError(f"{folder / MIXTURE} names a file outside its folder: {name}")
        if not path.is_file():
            raise ModelError(f"{path} is missing, which belongs to the mixture {folder}; restore it (sha256 {wanted})")
        found = _sha256(path)
        if found != wanted:
            raise ModelError(
                f"{path} has been altered: its sha256 is {found}, recorded is {wanted}; restore it, or make the "
                "mixture anew"
            )
    _unnamed(folder, _files(about))


def _unnamed(folder: Path, files: dict[str, str]) -> None:
    """Weights that were put into a mixture by another hand are not read."""
    for path in sorted((folder / ADAPTERS).glob("*/*")):
        name = path.relative_to(folder).as_posix()
        own = any(file.startswith(f"{name.rpartition('/')[0]}/") for file in files)
        if own and name not in files and path.name in (DESCRIPTION, WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS):
            raise ModelError(f"{path} lies in a mixture, and is not named in it; remove it, or make the mixture anew")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
