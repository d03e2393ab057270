"""The frozen list of a study's jobs: from study.yaml to everything that is to be done, needs first.

plan.json    {"study": {...}, "root": where relative paths of study.yaml begin, seen from the folder, "jobs": [...]}

Whatever can be found wrong without training is found here: files, classes, resources, models.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, SettingError
from .block import Block
from .job import Job
from .options import Study
from .read import read_study, study_of
from .records import RECORDS, read_records
from .search import CHOSEN, choose

PLAN, STUDY = "plan.json", "study.yaml"
RESOURCES = ("synonyms", "masked_lm", "tokenizer", "model_config", "model")
"""Settings that may name files and folders."""


@dataclass(frozen=True)
class Plan:
    """A study, its jobs in an order in which needs come first, and where it lives."""

    study: Study
    jobs: tuple[Job, ...]
    """The same identity may occur twice under other labels: arms that share work."""
    folder: Path
    root: Path
    """Where relative paths of study.yaml begin, resolved: runs go on only with the paths that they began with."""
    notes: tuple[str, ...] = ()
    """Sentences for people: what was inferred or left out."""
    source: Path | None = None
    """The study file, where the plan was made from one."""

    @property
    def by_id(self) -> Mapping[str, Job]:
        """One job for each identity."""
        return {job.id: job for job in self.jobs}


def plan(path: Path) -> Plan:
    """The plan of a study file. SparringError for anything that is found wrong; nothing is written."""
    from .jobs import jobs_of  # reads data with what loads torch

    study = read_study(path)
    root = path.parent.resolve()  # one spelling of every path, whatever the folder is called from
    jobs, notes = jobs_of(study, root)
    return Plan(study, jobs, path.parent / study.output, root, notes, path)


def folder_of(path: Path) -> Path:
    """The folder of a study: of its file, or that folder itself. RunError where there is neither."""
    if path.is_dir():
        return path
    if not path.exists():
        raise RunError(f"{path}: there is no such study; name its folder or its file (`sparring study init` makes one)")
    return path.parent / study_of(Block.read(path)).output


def write_plan(found: Plan) -> None:
    """plan.json and a copy of the study file, each whole or not at all. RunError if the disk does not take them.

    The folder of another study of the same name is an error; a plan of the same study replaces the one before.
    """
    try:
        before = read_plan(found.folder) if (found.folder / PLAN).exists() else None
    except RunError:
        before = None  # damaged: the one that is written now mends it
    if before is not None and before.study.name != found.study.name:
        raise RunError(
            f"{found.folder} holds the study '{before.study.name}', not '{found.study.name}'; choose another `output`"
        )
    content = {
        "study": found.study.write(),
        "root": os.path.relpath(found.root, found.folder.resolve()),
        "notes": list(found.notes),
    }
    lines = [json.dumps(job.write(), ensure_ascii=True, allow_nan=False, sort_keys=True) for job in found.jobs]
    head = json.dumps(content, ensure_ascii=True, allow_nan=False)
    _write(found.folder / PLAN, f'{head[:-1]}, "jobs": [\n' + ",\n".join(lines) + "\n]}\n")
    if found.source is not None:
        _write(found.folder / STUDY, found.source.read_text(encoding="utf-8"))


def write_choice(folder: Path) -> Path:
    """What a search chose, in chosen.json of its folder. RunError as of `search.choose`, or if there is no study."""
    found = read_plan(folder)
    chosen = choose(found.study.name, found.study.arms, found.jobs, read_records(folder / RECORDS))
    _write(folder / CHOSEN, json.dumps(chosen, ensure_ascii=True, allow_nan=False, indent=1) + "\n")
    return folder / CHOSEN


def read_plan(folder: Path) -> Plan:
    """What `write_plan` wrote; no data file is read. RunError if there is none or it is damaged."""
    path = folder / PLAN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        study = study_of(Block.of(content["study"], str(path)))
        jobs = tuple(Job.read(values) for values in content["jobs"])
        root = (folder.resolve() / content["root"]).resolve()
        return Plan(study, jobs, folder, root, tuple(content.get("notes", ())))
    except FileNotFoundError:
        raise RunError(
            f"{folder} holds no study (no {PLAN}); is the name right? `sparring study run` makes it"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, SettingError) as error:
        raise RunError(
            f"{path} is damaged: {type(error).__name__}: {error}; `sparring study run` writes it anew"
        ) from error


def sha256_of(path: Path) -> str:
    """Of the bytes of a file. RunError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error


def resource_of(source: str) -> str | None:
    """Of a file, or of the weights in a folder; None for what is neither, such as a name on the hub."""
    path = Path(source)
    if path.is_dir():
        from ..attack.records import fingerprint

        return fingerprint(source).rsplit(" ", 1)[1]
    return sha256_of(path) if path.is_file() else None


def digest_of(value: Any) -> str:
    """Of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}; choose another `output`, or make room") from error
