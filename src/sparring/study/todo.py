"""What a study has yet to do: from its jobs, its records and what lies in its folder."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import RunError, SettingError
from ..settings import nearest
from .job import Job
from .records import Records
from .work import RESULT, WORK, read_line

PRODUCTS = {"augment": "rows.csv", "pretrain": "model", "train": "model", "mix": "model"}
"""What a finished job has left in its folder, for others to use."""


@dataclass(frozen=True)
class Todo:
    """The jobs of a study, each identity once, by what there is to be done."""

    jobs: tuple[Job, ...]
    """All of them, in the order of the plan."""
    run: tuple[Job, ...]
    """To be done, needs first."""
    again: frozenset[str]
    """Those of them that have a record and are done once more, because what they made is gone and needed."""
    left_out: Mapping[str, str]
    """Jobs that cannot be done, by identity: the one that failed and that they need."""


def todo(jobs: Sequence[Job], records: Records, folder: Path, *, retry_failed: bool = False) -> Todo:
    """What is missing. RunError if a job needs one that is not among them."""
    known: dict[str, Job] = {}
    for job in jobs:
        known.setdefault(job.id, job)
    failed = {} if retry_failed else records.failed
    done = records.done
    blockers: dict[str, str | None] = {}

    def blocker(identity: str) -> str | None:
        """The failed job that stands in the way of a product, if there is one."""
        if identity not in blockers:
            job = known[identity]
            if identity in done and is_there(job, folder):
                blockers[identity] = None
            elif identity in failed:
                blockers[identity] = identity
            else:
                blockers[identity] = next((found for need in job.needs if (found := blocker(need))), None)
        return blockers[identity]

    for job in known.values():
        for need in job.needs:
            if need not in known:
                raise RunError(f"'{job.title}' needs the job {need}, which the plan does not hold; plan the study anew")
    wanted: set[str] = set()
    left_out: dict[str, str] = {}

    def want(identity: str) -> None:
        wanted.add(identity)
        for need in known[identity].needs:
            if need not in wanted and not (need in done and is_there(known[need], folder)):
                want(need)

    for identity in known:
        if identity in done or identity in failed:
            continue
        stands_in_the_way = blocker(identity)
        if stands_in_the_way is not None:
            left_out[identity] = stands_in_the_way
        else:
            want(identity)
    run = tuple(known[identity] for identity in known if identity in wanted)
    return Todo(tuple(known.values()), run, frozenset(wanted & set(done)), left_out)


def unrecorded(jobs: Sequence[Job], records: Records, folder: Path) -> list[dict[str, Any]]:
    """Lines of jobs that ended when no runner was there to see it; the next one appends them."""
    open_ones = dict.fromkeys(job.id for job in jobs if job.id not in records.done)
    lines = ((identity, read_line(folder / WORK / identity)) for identity in open_ones)
    return [line for identity, line in lines if line is not None and line != records.by_job.get(identity)]


def is_there(job: Job, folder: Path) -> bool:
    """Whether what a finished job left for others is there, whole."""
    work = folder / WORK / job.id
    line = read_line(work)
    return line is not None and line["status"] == "done" and (work / PRODUCTS.get(job.kind, RESULT)).exists()


def only(jobs: Sequence[Job], arms: Iterable[str]) -> tuple[Job, ...]:
    """The jobs of some arms, and all that they need. SettingError for an arm that there is none of."""
    arms, names = list(arms), {job.arm for job in jobs}
    for arm in arms:
        if arm not in names:
            raise SettingError(f"the study has no arm '{arm}'; {nearest(arm, names)}")
    needs = {job.id: job.needs for job in jobs}
    wanted = {job.id for job in jobs if job.arm in arms}
    more = set(wanted)
    while more:
        more = {need for identity in more for need in needs.get(identity, ())} - wanted
        wanted |= more
    return tuple(job for job in jobs if job.id in wanted)


def expected_seconds(jobs: Iterable[Job], records: Records) -> tuple[dict[str, float], int]:
    """How long jobs will take, by identity, and the number of those that nobody can tell of.

    The median of what finished jobs took: of the same kind, name, data and arm, else of the likest that there are.
    """
    took: dict[tuple[Any, ...], list[float]] = {}
    for line in records.done.values():
        seconds = (line.get("cost") or {}).get("seconds")
        if isinstance(seconds, int | float):
            for key in _likeness(line):
                took.setdefault(key, []).append(seconds)
    found, unknown = {}, 0
    for job in jobs:
        like = [took[key] for key in _likeness(vars(job)) if key in took]
        if like:
            found[job.id] = median(like[0])
        else:
            unknown += 1
    return found, unknown


def _likeness(labels: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """From the same but for the seed to the same kind of work."""
    parts = (
        ("kind", "name", "dataset", "model", "budget", "arm"),
        ("kind", "name", "dataset", "model", "arm"),
        ("kind", "name", "dataset", "model"),
        ("kind", "dataset", "model"),
        ("kind", "name"),
        ("kind",),
    )
    return [tuple((part, labels.get(part)) for part in some) for some in parts]
