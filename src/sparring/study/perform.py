"""One job of a study, done with what trains, attacks and measures single models.

In work/<id>/ lies what the job makes (rows.csv, model/) and, while it goes on, what it goes on from after a crash.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.corpus import Corpus
from ..data.load import Examples
from ..errors import DataError, RunError
from .job import MAKES, Job
from .options import DataSet, Study
from .plan import RESOURCES, Plan, read_plan, resource_of, sha256_of
from .sources import Part, anchored, read_part

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, done, all)."""
WORK, CLOCK = "work", "clock.json"
_EVERY = 10.0
"""Seconds between two notes of the time that a job has taken."""


def perform(job: Job, folder: Path, needs: Sequence[Path], progress: Progress | None = None) -> dict[str, Any]:
    """Do a job of the study in a folder, or go on with it; its result, as STUDY's records hold it.

    needs: the work folders of `job.needs`, in their order. progress: called as things go on.
    Raises SparringError for what the user can mend, Interrupted after Ctrl-C; what is finished is kept.
    """
    from . import perform_make as make
    from . import perform_measure as measure

    task = Task.of(job, read_plan(folder), needs, progress)
    kinds: Mapping[str, Callable[[Task], dict[str, Any]]] = {
        "augment": make.augmented,
        "pretrain": make.pretrained,
        "train": make.trained,
        "mix": make.mixed,
        "score": measure.scored,
        "attack": measure.attacked,
        "transfer": measure.transferred,
        "curve": measure.curve,
        "neurons": measure.neurons,
    }
    with task:
        task.check_resources()
        return kinds[job.kind](task)


@dataclass(eq=False)
class Task:
    """A job, and everything around it that it needs to know."""

    job: Job
    study: Study
    root: Path
    work: Path
    needs: tuple[tuple[Job, Path], ...]
    """What each need is, and where its products lie."""
    progress: Progress | None = None
    _before: float = field(default=0.0, init=False)
    _began: float = field(default=0.0, init=False)
    _noted: float = field(default=0.0, init=False)

    @classmethod
    def of(cls, job: Job, plan: Plan, needs: Sequence[Path], progress: Progress | None) -> "Task":
        """RunError if the plan does not know what the job needs."""
        known = plan.by_id
        if len(needs) != len(job.needs) or any(identity not in known for identity in job.needs):
            raise RunError(f"{plan.folder}: the plan does not hold what '{job.title}' needs; run the study again")
        places = [place.resolve() for place in needs]
        pairs = zip((known[identity] for identity in job.needs), places, strict=True)
        return cls(job, plan.study, plan.root, plan.folder.resolve() / WORK / job.id, tuple(pairs), progress)

    # time, over all attempts

    def __enter__(self) -> "Task":
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            self._before = float(json.loads((self.work / CLOCK).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self._before = 0.0
        self._began = self._noted = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._note()

    @property
    def seconds(self) -> float:
        """What the job has taken by now, earlier attempts included."""
        return round(self._before + time.monotonic() - self._began, 2)

    def tick(self, what: str, done: int, total: int) -> None:
        """Say how far it is."""
        if time.monotonic() - self._noted > _EVERY:
            self._note()
        if self.progress is not None:
            self.progress(what, done, total)

    def _note(self) -> None:
        self._noted = time.monotonic()
        partial = self.work / f".{CLOCK}.partial"
        try:
            partial.write_text(json.dumps(self.seconds), encoding="utf-8")
            partial.replace(self.work / CLOCK)
        except OSError:  # of a full disk, which what matters will tell of
            partial.unlink(missing_ok=True)

    # what it works on

    @property
    def spec(self) -> DataSet:
        """The data set that the job belongs to."""
        return self.study.data[self.job.dataset]

    @property
    def model(self) -> str:
        """The model that training starts from: a folder, or a name."""
        return anchored(self.study.models[self.job.model], self.root)

    def made(self, kind: str) -> Path | None:
        """Where the product of the need of a kind lies."""
        return next((place for job, place in self.needs if job.kind == kind), None)

    @cached_property
    def trained(self) -> Path:
        """The folder of the model that is measured. RunError if it is gone."""
        _, place = self.needs[0]
        return model_folder(place, self.job)

    def rows(self, part: Part, like: Examples | None = None) -> Examples:
        """Rows of the data set, the ones that the job was planned with."""
        found = read_part(self.spec, part, self.root, like=like)
        if found is None:
            raise DataError(f"{self.spec.train}: there are no {part} rows any more; run the study again")
        return self.same(found, part)

    def same(self, found: Examples, name: str) -> Examples:
        """The rows, if they are those of the plan. DataError if not."""
        planned = self.job.data.get(name)
        if planned is not None and planned != found.digest:
            raise _changed(found.origin)
        return found

    def check_resources(self) -> None:
        """DataError if a model, corpus or source of words is another one than when the study was planned."""
        settings = self.job.settings.get("options", self.job.settings)
        named = {name: str(settings[name]) for name in RESOURCES if settings.get(name)}
        if self.job.kind in MAKES:
            named = {"model": self.study.models[self.job.model]} | named
        for name, source in named.items():
            planned, found = self.job.data.get(name), anchored(source, self.root)
            if planned is not None and resource_of(found) not in (None, planned):  # one that is gone is told of later
                raise _changed(found)
        for name in ("corpus", "eval_corpus"):
            if name not in self.job.data:
                continue
            if self.job.kind == "pretrain":
                spec = anchored(str(self.job.settings.get(name, "demo")), self.root)
                digest = Corpus.open(spec, field=self.job.settings.get("field")).digest
            else:
                assert self.study.neurons is not None  # or the plan would have no such job
                spec = anchored(self.study.neurons.corpus, self.root)
                digest = sha256_of(Path(spec))
            if digest != self.job.data[name]:
                raise _changed(spec)


def _changed(source: str) -> DataError:
    return DataError(f"{source} has changed since the study was planned; run the study again, which plans it anew")


def model_folder(place: Path, job: Job) -> Path:
    """The model in the work folder of a training, or a part of it, for a job that asks it. RunError if it is gone."""
    folder = place / "model"
    part = job.settings.get("part") or job.settings.get("victim_part")
    if part is not None:
        folder = folder / "baselines" / str(part)
    if not folder.is_dir():
        raise RunError(f"the model that '{job.title}' asks is gone: there is no {folder}; run the study again")
    return folder
