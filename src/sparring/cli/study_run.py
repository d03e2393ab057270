"""sparring study run"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import SettingError
from .console import AsJson, clean, err, out, print_json, quiet, say

if TYPE_CHECKING:
    from ..study.execute import Outcome, Standing
    from ..study.job import Job
    from ..study.plan import Plan

_PRELOAD = ("sparring.cli", "sparring.study.perform_make", "sparring.study.perform_measure")


def run(
    study: Annotated[Path, typer.Argument(help="A study file; or the folder of a study, as it was last planned.")],
    workers: Annotated[
        int | None, typer.Option(help="Jobs at the same time; default: one, or one for each GPU.", min=1)
    ] = None,
    ray: Annotated[
        str | None, typer.Option(help="Use a Ray cluster: auto (the one that this machine is part of), or its address.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Also do the jobs that failed before.")] = False,
    only: Annotated[str | None, typer.Option(help="Arms, separated by commas: these, and what they need.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the jobs that would be done, and do none.")] = False,
    json: AsJson = False,
) -> None:
    """Do what is missing of a study. Stopping (Ctrl-C) and going on are the same command.

    Exit code 2 if jobs failed, or could not be done because those they need did.
    """
    if ray is not None and not ray.strip():
        raise SettingError("--ray is empty; write auto, or the address of a cluster")
    quiet()
    from ..study.execute import run_study
    from ..study.perform import perform
    from ..study.plan import plan, read_plan, write_plan
    from ..study.todo import only as of_arms

    with err.status("planning") if err.is_terminal and not json else nullcontext():
        found = read_plan(study) if study.is_dir() else plan(study)
    jobs = found.jobs if only is None else of_arms(found.jobs, [arm.strip() for arm in only.split(",") if arm.strip()])
    if dry_run:
        _list(found, jobs, retry_failed=retry_failed, as_json=json)
        return
    if not json:
        for note in found.notes:
            say(f"  {note}", "dim")
    pool = None
    if ray is not None:
        from ..study.ray_pool import RayPool

        pool = RayPool(ray, workers)
    with _view(found.study.name, shown=not json) as view:
        outcome = run_study(
            found.folder,
            jobs,
            perform,
            workers=workers,
            pool=pool,
            preload=_PRELOAD,
            retry_failed=retry_failed,
            prepare=None if study.is_dir() else lambda: write_plan(found),
            progress=view.progress,
            report=view.report,
        )
    if json:
        print_json({"study": found.study.name, "folder": str(found.folder), **outcome.write()})
    else:
        _sum_up(found, outcome)
    if outcome.failed or outcome.left_out:
        raise typer.Exit(2)


def time_of(seconds: float) -> str:
    """Time as people say it."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _sum_up(found: "Plan", outcome: "Outcome") -> None:
    for line in (*outcome.damaged, *filter(None, [outcome.older])):
        say(line, "yellow")
    for one in outcome.write()["failed"]:
        say(f"failed: {one['title']}: {one['error']}", "red")
        trace = found.folder / "work" / one["job"] / "error.txt"
        if trace.is_file():
            say(f"  {trace}", "dim")
    if outcome.left_out:
        say(f"{len(outcome.left_out)} jobs are left out, for what they need failed:", "red")
        for one in outcome.write()["left_out"]:
            say(f"  {one['title']}", "dim")
    if outcome.failed:
        say("when it is mended: the same command with --retry-failed", "red")
    folder = escape(clean(str(found.folder)))
    out.print(
        f"{outcome.done} of {outcome.jobs} jobs are done, {outcome.ran} of them now, in {time_of(outcome.seconds)}; "
        f"next: sparring report {folder}",
        soft_wrap=True,
    )


def _list(found: "Plan", jobs: "tuple[Job, ...]", *, retry_failed: bool, as_json: bool) -> None:
    """What would be done."""
    from ..study.records import RECORDS, Records, read_records
    from ..study.todo import expected_seconds, todo, unrecorded

    records = read_records(found.folder / RECORDS)
    missed = {line["job"]: line for line in unrecorded(jobs, records, found.folder)}
    records = Records(records.by_job | missed, records.damaged)
    plan = todo(jobs, records, found.folder, retry_failed=retry_failed)
    seconds, _ = expected_seconds(plan.run, records)

    def why(job: "Job") -> str:
        if job.id in plan.again:
            return "made again: it is gone, and needed"
        return "failed before" if job.id in records.failed else ""

    if as_json:
        listed = [
            {**job.write(), "title": job.title, "why": why(job), "seconds": seconds.get(job.id)} for job in plan.run
        ]
        print_json({"study": found.study.name, "folder": str(found.folder), "jobs": len(plan.jobs), "run": listed})
        return
    table = Table("job", "takes", "", box=None, header_style="bold")
    for job in plan.run:
        table.add_row(escape(clean(job.title)), time_of(seconds[job.id]) if job.id in seconds else "?", why(job))
    if plan.run:
        out.print(table)
    out.print(f"{len(plan.run)} of {len(plan.jobs)} jobs would be done")
    if plan.left_out:
        say(f"{len(plan.left_out)} more wait for one that failed; see --retry-failed", "yellow")


class _Quiet:
    """Nothing is shown."""

    def progress(self, standing: "Standing") -> None:
        """Where the study stands."""

    def report(self, sentence: str) -> None:
        """What has happened."""


class _Lines(_Quiet):
    """One line for each job that ends, for files and pipes."""

    def __init__(self) -> None:
        self.standing: Standing | None = None

    def progress(self, standing: "Standing") -> None:
        """Where the study stands."""
        self.standing = standing

    def report(self, sentence: str) -> None:
        """What has happened."""
        before = f"{self.standing.done}/{self.standing.jobs} " if self.standing else ""
        say(before + sentence)


class _Bars(_Quiet):
    """A bar for the study, and one for each worker."""

    def __init__(self, name: str, bars: Any) -> None:
        self.bars, self.rows = bars, dict[str, Any]()
        self.all = bars.add_task(clean(name), total=None, count="", note="")

    def progress(self, standing: "Standing") -> None:
        """Where the study stands."""
        failed = f"{standing.failed} failed, " * bool(standing.failed)
        left = "" if standing.seconds_left is None else f"{time_of(standing.seconds_left)} left"
        more = " and more" if left and standing.unknown else ""
        count = f"{standing.done}/{standing.jobs}"
        note = f"{failed}{left}{more}"
        self.bars.update(self.all, completed=standing.done, total=standing.jobs, count=count, note=note)
        for identity in self.rows.keys() - {one.id for one in standing.running}:
            self.bars.remove_task(self.rows.pop(identity))
        for one in standing.running:
            if one.id not in self.rows:
                self.rows[one.id] = self.bars.add_task(clean(f"  {one.title}"), total=None, count="", note="")
            count = f"{one.done}/{one.total}" if one.total else ""
            note = clean(f"{time_of(one.seconds)} {one.what}")
            self.bars.update(self.rows[one.id], completed=one.done, total=one.total or None, count=count, note=note)

    def report(self, sentence: str) -> None:
        """What has happened."""
        say(f"  {sentence}", "dim")


@contextmanager
def _view(name: str, *, shown: bool) -> Iterator[_Quiet]:
    """How progress is shown: bars in a terminal, lines elsewhere, nothing beside JSON."""
    if not shown or not err.is_terminal:
        yield _Lines() if shown else _Quiet()
        return
    from rich import progress
    from rich.table import Column

    title = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    note = Column(no_wrap=True, overflow="ellipsis", max_width=36)
    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=title),
        progress.BarColumn(16),
        progress.TextColumn("{task.fields[count]}", markup=False),
        progress.TextColumn("{task.fields[note]}", markup=False, table_column=note),
        console=err,
        transient=True,
        expand=True,
    ) as bars:
        yield _Bars(name, bars)
