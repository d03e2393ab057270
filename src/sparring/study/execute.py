"""A study run to its end: what is missing is done, needs first, and each job that ends is one line of the records.

Stopping and resuming are the same thing: whatever kills the runner or a worker, at whatever moment, the next call goes
on from what is on disk, and no job is lost or has two finished lines.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Interrupted, RunError
from .job import Job
from .lock import RUNNER, is_held, only_runner
from .machine import other_code
from .pool import Ended, LocalPool, Pool
from .records import RECORDS, Records, append_records, read_records
from .todo import Todo, expected_seconds, todo, unrecorded
from .work import LOCK, LOG, PROGRESS, RESULT, WORK, Order, Perform, line_of, now, read_progress

_LOOK = 0.25
"""Seconds between two looks at what the workers do."""
_TRIES = 2
"""Times that a job is begun whose worker dies."""


@dataclass(frozen=True)
class Running:
    """A job that a worker is doing."""

    id: str
    title: str
    what: str
    done: int
    total: int
    """0: nobody knows."""
    seconds: float
    """In all attempts."""


@dataclass(frozen=True)
class Standing:
    """Where a study stands while it runs."""

    jobs: int
    done: int
    failed: int
    running: tuple[Running, ...]
    seconds_left: float | None
    """As long as like jobs took; None while no job like these has ended."""
    unknown: int
    """Jobs still to be done that `seconds_left` does not count, because none like them has ended."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to."""

    jobs: int
    done: int
    """Of all jobs, those with a finished record."""
    ran: int
    """Jobs that this call has done."""
    failed: Mapping[str, str]
    """Error of each job that failed, in this call or one before, by identity."""
    left_out: Mapping[str, str]
    """Jobs that could not be done, by identity: the failed one that they need."""
    titles: Mapping[str, str]
    """Of the jobs in `failed` and `left_out`."""
    damaged: tuple[str, ...]
    """A sentence for each line of the records that cannot be used."""
    older: str
    """A sentence on results of other code than there is now; "" if there are none."""
    seconds: float

    def write(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "jobs": self.jobs,
            "done": self.done,
            "ran": self.ran,
            "failed": [{"job": i, "title": self.titles[i], "error": error} for i, error in self.failed.items()],
            "left_out": [
                {"job": i, "title": self.titles[i], "needs": self.titles.get(need, need)}
                for i, need in self.left_out.items()
            ],
            "damaged": list(self.damaged),
            "older": self.older,
            "seconds": round(self.seconds, 1),
        }


def run_study(
    folder: Path,
    jobs: Sequence[Job],
    perform: Perform,
    *,
    workers: int | None = None,
    pool: Pool | None = None,
    preload: Sequence[str] = (),
    retry_failed: bool = False,
    prepare: Callable[[], None] | None = None,
    progress: Callable[[Standing], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> Outcome:
    """Do the jobs of a study that have no finished record, in processes of their own.

    workers: at one time, on this machine; default one, or one for each GPU. pool: runs them elsewhere.
    preload: modules that workers find loaded. prepare: called once no other runner can be at work. progress: called
    several times a second. report: called with a sentence for each job that ends.
    Jobs that fail are recorded and stop nothing but the jobs that need them. Raises RunError if another runner is at
    work, or if the folder cannot be written; Interrupted after Ctrl-C or SIGTERM, when workers have stopped where they
    can go on.
    """
    with only_runner(folder), _stop_asked() as asked:
        if prepare is not None:
            prepare()
        _ignore(folder)
        records = _gathered(folder, jobs)
        plan = todo(jobs, records, folder, retry_failed=retry_failed)
        with pool if pool is not None else LocalPool(workers, preload=preload) as crew:
            runner = _Runner(folder, plan, records, perform, crew, asked, progress, report)
            return runner.run()


class _Runner:
    def __init__(
        self,
        folder: Path,
        plan: Todo,
        records: Records,
        perform: Perform,
        pool: Pool,
        asked: list[int],
        progress: Callable[[Standing], None] | None,
        report: Callable[[str], None] | None,
    ) -> None:
        self.folder, self.plan, self.perform, self.pool, self.asked = folder, plan, perform, pool, asked
        self.progress, self.report = progress or (lambda standing: None), report or (lambda sentence: None)
        self.records = records
        self.waiting = {job.id: job for job in plan.run}
        self.running: dict[str, tuple[Job, float]] = {}
        """Jobs, and when (on the monotonic clock) their first attempt would have begun without a break."""
        self.deaths: dict[str, int] = {}
        known = {job.id for job in plan.jobs} - set(self.waiting)
        self.failed = {identity: _error(line) for identity, line in records.failed.items() if identity in known}
        self.left_out = dict(plan.left_out)
        self.ran, self.began = 0, time.monotonic()
        self._expect()

    def run(self) -> Outcome:
        """Until nothing is left that can be done."""
        told = 0
        while True:
            if not self.asked:
                self._fill()
            elif told < len(self.asked):
                told = len(self.asked)
                if told > 1:
                    break
                self.report("stopping the workers where they can go on; Ctrl-C again stops them at once")
                self.pool.interrupt()
            if not self.running:
                break
            self.progress(self._standing())
            for ended in self.pool.ended(_LOOK):
                self._ended(ended)
        self.progress(self._standing())
        outcome = self._outcome()
        if self.asked and (self.waiting or self.running):
            raise Interrupted(f"stopped: {outcome.done} of {outcome.jobs} jobs are done; the same command goes on")
        return outcome

    def _fill(self) -> None:
        """Start what can be started, in the order of the plan."""
        for job in list(self.waiting.values()):
            if len(self.running) >= self.pool.slots:
                return
            broken = next((need for need in job.needs if need in self.failed or need in self.left_out), None)
            if broken is not None:
                self.left_out[job.id] = self.left_out.get(broken, broken)
                del self.waiting[job.id]
            elif not any(need in self.waiting or need in self.running for need in job.needs):
                self._start(job)

    def _start(self, job: Job) -> None:
        work = self.folder / WORK / job.id
        if not is_held(work / LOCK):  # the worker of a runner that was killed may be about to finish it
            (work / RESULT).unlink(missing_ok=True)
        before = float(read_progress(work).get("seconds", 0))
        self.pool.start(Order(job, self.folder, self.perform, self.pool.threads))
        del self.waiting[job.id]
        self.running[job.id] = (job, time.monotonic() - before)

    def _ended(self, ended: Ended) -> None:
        job, began = self.running.pop(ended.id)
        line = ended.line
        if line is None:
            if self.asked:
                self.waiting[job.id] = job
                return
            self.deaths[job.id] = self.deaths.get(job.id, 0) + 1
            if self.deaths[job.id] < _TRIES:
                self.report(f"{job.title}: the worker {ended.death}; trying once more")
                self.waiting = {job.id: job, **self.waiting}
                return
            line = self._dead(job, ended.death, time.monotonic() - began)
        self._record(job, line)

    def _dead(self, job: Job, death: str, seconds: float) -> dict[str, Any]:
        """The line of a job whose workers do not live to write one."""
        work = self.folder / WORK / job.id
        noted = read_progress(work)
        memory = "; if memory ran out, use fewer --workers" if "SIGKILL" in death else ""
        peaks: dict[str, Any] = {name: noted[name] for name in ("peak_memory", "gpu_peak_memory") if name in noted}
        message = f"the worker {death}, at each of {_TRIES} attempts{memory}; what it printed is in {work / LOG}"
        line = line_of(
            job,
            result=None,
            error={"type": "WorkerDied", "message": message},
            cost={"seconds": round(seconds, 2), "peak_memory": None, **peaks},
            threads=self.pool.threads,
            started=str(noted.get("started", now())),
        )
        (work / PROGRESS).unlink(missing_ok=True)
        return line

    def _record(self, job: Job, line: dict[str, Any]) -> None:
        if job.id not in self.records.done:  # else what it made was gone, and is there again
            append_records(self.folder / RECORDS, [line])
            self.records = replace(self.records, by_job={**self.records.by_job, job.id: line})
        if line["status"] == "failed":
            self.failed[job.id] = _error(line)
        else:
            self.ran += 1
            made, recorded = (one["result"].get("weights") for one in (line, self.records.done[job.id]))
            if made != recorded and None not in (made, recorded):
                self.report(f"{job.title}: warning: made again, its weights are others than those of its record")
        self._expect()
        self.progress(self._standing())
        seconds = f"{line['cost']['seconds']:.0f} s"
        self.report(f"{job.title}: {seconds if line['error'] is None else f'failed: {_error(line)}'}")
        for warned in line.get("warnings", ()):
            self.report(f"{job.title}: warning: {warned}")

    def _expect(self) -> None:
        unfinished = [*self.waiting.values(), *(job for job, _ in self.running.values())]
        self.expected, self.unknown = expected_seconds(unfinished, self.records)

    def _standing(self) -> Standing:
        clock, shown, rest = time.monotonic(), [], []
        for job, began in self.running.values():
            noted = read_progress(self.folder / WORK / job.id)
            what, done, total = str(noted.get("what", "")), int(noted.get("done", 0)), int(noted.get("total", 0))
            shown.append(Running(job.id, job.title, what, done, total, clock - began))
            rest.append(max(0.0, self.expected.get(job.id, 0.0) - (clock - began)))
        coming = [self.expected.get(identity, 0.0) for identity in self.waiting]
        left = max(sum(rest + coming) / self.pool.slots, *rest, *coming, 0.0)
        return Standing(
            jobs=len(self.plan.jobs),
            done=self._done(),
            failed=len(self.failed),
            running=tuple(shown),
            seconds_left=left if self.expected else None,
            unknown=self.unknown,
        )

    def _done(self) -> int:
        unfinished = {*self.waiting, *self.running, *self.failed}
        return sum(job.id in self.records.done and job.id not in unfinished for job in self.plan.jobs)

    def _outcome(self) -> Outcome:
        titles = {job.id: job.title for job in self.plan.jobs}
        return Outcome(
            jobs=len(titles),
            done=self._done(),
            ran=self.ran,
            failed=self.failed,
            left_out=self.left_out,
            titles=titles,
            damaged=self.records.damaged,
            older=other_code(self.records.done[name] for name in titles if name in self.records.done),
            seconds=time.monotonic() - self.began,
        )


def _error(line: Mapping[str, Any]) -> str:
    error = line.get("error") or {}
    return f"{error.get('type', 'Error')}: {error.get('message', 'no message')}"


def _gathered(folder: Path, jobs: Sequence[Job]) -> Records:
    """The records, and with them from now on the lines of jobs that ended when no runner was there to see it."""
    records = read_records(folder / RECORDS)
    missed = unrecorded(jobs, records, folder)
    if missed:
        append_records(folder / RECORDS, missed)
        records = read_records(folder / RECORDS)
    return records


def _ignore(folder: Path) -> None:
    """Records are kept in version control; models and what is in the making are not."""
    path = folder / ".gitignore"
    try:
        if not path.exists():
            path.write_text(f"{WORK}/\n{RUNNER}\n.*.partial\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM inside the block end nothing; they are in the list."""
    asked: list[int] = []
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not in the main thread: signals are somebody else's business
                before[number] = signal.signal(number, lambda number, frame: asked.append(number))
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
