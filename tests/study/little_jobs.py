"""A study whose jobs take milliseconds, and (as a program) a runner of it that tests may kill.

What a job does is in its settings: sleep (seconds), fail (message), dies (signal number, at its first `deaths`
attempts), product (whether it leaves one).
"""

import os
import signal
import sys
import time
from pathlib import Path

from sparring.errors import Interrupted, ModelError
from sparring.study.execute import run_study
from sparring.study.job import Job

LABELS = {"family": "input", "budget": "epochs", "dataset": "toy", "model": "tiny"}


def job(name, *needs, kind="score", arm="plain", seed=0, **settings):
    return Job(kind=kind, name=name, arm=arm, seed=seed, settings=settings, needs=tuple(n.id for n in needs), **LABELS)


def study(arms=3, sleep=0.0):
    """Of each arm a training, and three measurements of what it made."""
    jobs = []
    for arm in (f"arm-{n}" for n in range(arms)):
        made = job(arm, kind="train", arm=arm, sleep=sleep, product=True)
        jobs += [made, *(job(f"{arm}-{n}", made, arm=arm, sleep=sleep / 2) for n in range(3))]
    return jobs


def perform(job, folder, needs, progress):
    """Do it, and leave traces: who is at it, and how often it was begun."""
    work, settings = folder / "work" / job.id, job.settings
    for need in needs:
        assert (need / "result.json").exists() or (need / "model").exists(), f"{job.title} was begun too early"
    other = work / "busy"
    if other.exists() and alive(int(other.read_text())):
        (folder / "overlap").write_text(job.title)
    own = work / f"busy.{os.getpid()}"
    own.write_text(str(os.getpid()))
    own.replace(other)
    with (work / "begun").open("a") as file:
        file.write(f"{os.getpid()}\n")
    attempt = len((work / "begun").read_text().splitlines())
    print("what a library says")
    progress("sleeping", 0, 1)
    try:
        until = time.monotonic() + settings.get("sleep", 0)
        while (rest := until - time.monotonic()) > 0:
            time.sleep(min(rest, 0.05))  # a cluster interrupts between two calls alone
    except KeyboardInterrupt:
        (work / "stopped").write_text("")
        raise Interrupted("stopped where it can go on") from None
    if attempt <= settings.get("deaths", 0):
        os.kill(os.getpid(), settings["dies"])
    if "exit" in settings:
        os._exit(settings["exit"])
    other.unlink()
    if "fail" in settings and not (folder / "mended").exists():
        raise ModelError(settings["fail"])
    if settings.get("product"):
        (work / "model").mkdir(exist_ok=True)
    return {"name": job.name, "seed": job.seed, "needs": len(needs)}


HOSTILE = "\x1b[31m[bold]<script>alert(1)</script>\r\n\x07"


def quick(job, folder, needs, progress):
    """In place of the real work of a study: nothing, or a failure of the arms that the file `fails` names."""
    fails = folder.parent / "fails"
    if fails.exists() and job.arm in fails.read_text().split():
        raise ModelError(HOSTILE)
    if job.kind == "train":
        (folder / "work" / job.id / "model").mkdir(exist_ok=True)
    return {"arm": job.arm}


def alive(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def main(folder, arms, sleep, workers):
    try:
        run_study(Path(folder), study(int(arms), float(sleep)), perform, workers=int(workers))
    except Interrupted as stopped:
        sys.stderr.write(f"{stopped}\n")
        sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
