"""Where a study stands: what is done, running, failed and missing, and how long the rest will take."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .job import Job
from .machine import other_code
from .plan import PLAN, STUDY, Plan, folder_of, plan, read_plan
from .records import RECORDS, read_records
from .todo import expected_seconds, todo, unrecorded
from .work import running as running_now


@dataclass(frozen=True)
class Row:
    """Jobs of one kind. Those whose needs failed are among the missing ones."""

    kind: str
    done: int
    running: int
    failed: int
    missing: int
    seconds_left: float
    """Work, not waiting: several workers share it."""
    unknown: int
    """Jobs to be done that `seconds_left` does not count, for none like them has ended."""


@dataclass(frozen=True)
class StudyStatus:
    """All kinds, their sum, and what people should know."""

    name: str
    folder: Path
    rows: tuple[Row, ...]
    total: Row
    running: tuple[dict[str, Any], ...]
    """{"job", "title", "what", "done", "total", "seconds"} of each job that somebody is doing."""
    failed: dict[str, str]
    """Error by title."""
    left_out: dict[str, str]
    """Title -> title of the failed job that it needs."""
    notes: tuple[str, ...]

    def write(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "study": self.name,
            "folder": str(self.folder),
            **{name: value for name, value in asdict(self.total).items() if name != "kind"},
            "kinds": [asdict(row) for row in self.rows],
            "running_jobs": list(self.running),
            "failed_jobs": self.failed,
            "left_out_jobs": self.left_out,
            "notes": list(self.notes),
        }


def status_of(path: Path) -> StudyStatus:
    """Of a study file, or of the folder of a study. The plan of the last run counts; before the first one is made."""
    folder = folder_of(path)
    notes = []
    if (folder / PLAN).exists() or path.is_dir():
        found = read_plan(folder)
        if path.is_file() and _text(folder / STUDY) not in (None, _text(path)):
            notes.append(f"{path} has changed since the study was last run; this is the state of the plan before")
    else:
        found = plan(path)
        notes.append("the study has not been run yet")
    return _status(found, folder, notes)


def _status(found: Plan, folder: Path, notes: list[str]) -> StudyStatus:
    records = read_records(folder / RECORDS)
    missed = {line["job"]: line for line in unrecorded(found.jobs, records, folder)}  # the next runner appends them
    records = replace(records, by_job=records.by_job | missed)
    state = todo(found.jobs, records, folder)
    at_work = running_now(folder)
    seconds, _ = expected_seconds((job for job in state.jobs if job.id not in records.done), records)
    titles = {job.id: job.title for job in state.jobs}
    failed = {job.id: records.failed[job.id] for job in state.jobs if job.id in records.failed}

    def row(kind: str, jobs: list[Job]) -> Row:
        done = [job for job in jobs if job.id in records.done]
        running = [job for job in jobs if job.id in at_work and job not in done]
        broken = [job for job in jobs if job.id in failed and job not in running]
        missing = [job for job in jobs if job not in done and job not in running and job not in broken]
        left = [job for job in (*missing, *running) if job.id not in state.left_out]
        taken = {job.id: float(at_work[job.id].get("seconds", 0.0)) for job in running}
        return Row(
            kind=kind,
            done=len(done),
            running=len(running),
            failed=len(broken),
            missing=len(missing),
            seconds_left=round(sum(max(0.0, seconds.get(job.id, 0.0) - taken.get(job.id, 0.0)) for job in left), 1),
            unknown=sum(job.id not in seconds for job in left),
        )

    kinds = dict.fromkeys(job.kind for job in state.jobs)
    if records.damaged:
        notes += records.damaged
    if said := other_code(records.done[job.id] for job in state.jobs if job.id in records.done):
        notes.append(said)
    return StudyStatus(
        name=found.study.name,
        folder=folder,
        rows=tuple(row(kind, [job for job in state.jobs if job.kind == kind]) for kind in kinds),
        total=row("all", list(state.jobs)),
        running=tuple({"job": identity, **noted} for identity, noted in at_work.items() if identity in titles),
        failed={titles[i]: f"{line['error']['type']}: {line['error']['message']}" for i, line in failed.items()},
        left_out={titles[i]: titles[need] for i, need in state.left_out.items()},
        notes=tuple(notes),
    )


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
