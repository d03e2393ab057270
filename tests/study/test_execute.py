"""A study completes whatever is killed and whatever fails; no job is lost, and none has two finished lines."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import little_jobs
import pytest
from little_jobs import alive, job, perform, study

from sparring.errors import Interrupted, RunError, SettingError
from sparring.study.execute import run_study
from sparring.study.lock import only_runner
from sparring.study.pool import Ended, LocalPool
from sparring.study.records import append_records, read_records
from sparring.study.status import _status
from sparring.study.todo import expected_seconds, only, todo
from sparring.study.work import do, running

WHERE = ("cost", "environment", "started", "ended")


class Here:
    """A pool of this very process: does a job when it is asked which ones have ended."""

    threads = 1

    def __init__(self, slots=2):
        self.slots, self.orders, self.order = slots, [], []

    def start(self, order):
        assert len(self.orders) < self.slots
        self.orders.append(order)

    def ended(self, seconds):
        order = self.orders.pop()  # the last one first: workers end in any order
        self.order.append(order.job.id)
        return [Ended(order.job.id, do(order))]

    def interrupt(self):
        self.orders.clear()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        assert not self.orders


def here(folder, jobs, *, slots=2, **how):
    pool = Here(slots)
    outcome = run_study(folder, jobs, perform, pool=pool, **how)
    return outcome, pool.order


def lines(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def comparable(folder):
    """Lines without what is never the same twice."""
    kept = ({name: value for name, value in line.items() if name not in WHERE} for line in lines(folder))
    return sorted(kept, key=lambda line: line["job"])


def is_complete(folder, jobs):
    """Every job has one finished line, which reads as a record; nobody was in anybody's way."""
    records = read_records(folder / "records.jsonl")
    assert not records.damaged
    assert set(records.done) == {one.id for one in jobs}
    assert set(Counter(line["job"] for line in lines(folder) if line["status"] == "done").values()) == {1}
    assert not (folder / "overlap").exists()
    for one in jobs:
        line = records.done[one.id]
        assert line["result"] == {"name": one.name, "seed": one.seed, "needs": len(one.needs)}
        assert line["title"] == one.title and line["settings"] == one.settings and line["error"] is None


@pytest.fixture
def preload():
    return ("pytest", "sparring.study.execute")  # what every worker of a test would load again


# what is done, and in which order


def test_all_jobs_are_done_and_a_need_before_those_who_need_it(tmp_path):
    jobs = study()
    outcome, order = here(tmp_path, jobs)
    is_complete(tmp_path, jobs)
    assert (outcome.jobs, outcome.done, outcome.ran) == (12, 12, 12) and not outcome.failed
    for one in jobs:
        assert all(order.index(need) < order.index(one.id) for need in one.needs)


def test_a_second_call_does_nothing(tmp_path):
    jobs = study()
    here(tmp_path, jobs)
    before = (tmp_path / "records.jsonl").read_bytes()
    outcome, order = here(tmp_path, jobs)
    assert not order and outcome.ran == 0 and outcome.done == 12
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_arms_that_share_work_share_its_record(tmp_path):
    one = job("a")
    other = replace(one, arm="another", family="embedding")
    outcome, order = here(tmp_path, [one, other])
    assert order == [one.id] and outcome.jobs == 1 and lines(tmp_path)[0]["arm"] == "plain"


def test_a_line_says_what_it_cost_and_where_it_was_made(tmp_path):
    here(tmp_path, [job("a", sleep=0.05)])
    (line,) = lines(tmp_path)
    assert 0.05 <= line["cost"]["seconds"] < 5 and line["cost"]["peak_memory"] > 5e6
    assert line["environment"]["versions"]["torch"] and line["environment"]["threads"] == 1
    assert line["environment"]["machine"]["cores"] >= 1 and line["started"] <= line["ended"]
    work = tmp_path / "work" / line["job"]
    assert json.loads((work / "result.json").read_text()) == line
    assert not (work / "progress.json").exists()


def test_records_may_be_committed_and_models_not(tmp_path):
    here(tmp_path, study(1))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    listed = ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"]
    assert subprocess.run(listed, capture_output=True, text=True).stdout.split() == [".gitignore", "records.jsonl"]


def test_a_job_that_ended_when_no_runner_was_there_is_counted_and_gets_its_line(tmp_path):
    jobs = study()
    here(tmp_path, jobs)
    written = lines(tmp_path)
    (tmp_path / "records.jsonl").write_text("")
    append_records(tmp_path / "records.jsonl", written[:5])
    found = _status(SimpleNamespace(jobs=tuple(jobs), study=SimpleNamespace(name="toy")), tmp_path, [])
    assert (found.total.done, found.total.missing) == (len(jobs), 0)
    assert len(lines(tmp_path)) == 5  # appended by the next runner, who holds the lock
    _, order = here(tmp_path, jobs)
    assert not order
    is_complete(tmp_path, jobs)


def test_a_line_that_a_crash_cut_off_is_named_and_the_job_keeps_its_result(tmp_path):
    jobs = study(1)
    here(tmp_path, jobs)
    whole = (tmp_path / "records.jsonl").read_bytes()
    (tmp_path / "records.jsonl").write_bytes(whole[:-30])
    outcome, order = here(tmp_path, jobs)
    assert not order and outcome.done == 4
    assert len(outcome.damaged) == 1 and "line 4" in outcome.damaged[0]


def test_a_result_that_is_no_line_is_done_again(tmp_path):
    jobs = study(1)
    for damage in ("", "{", "[]", '{"job": "x", "status": "done", "result": {}}'):
        work = tmp_path / "work" / jobs[1].id
        work.mkdir(parents=True, exist_ok=True)
        (work / "result.json").write_text(damage)
        (tmp_path / "records.jsonl").unlink(missing_ok=True)
        here(tmp_path, jobs)
        is_complete(tmp_path, jobs)


# a fresh clone


def test_what_a_missing_job_needs_is_made_again_without_a_second_line(tmp_path):
    jobs = study(2)
    here(tmp_path, jobs)
    subprocess.run(["rm", "-r", tmp_path / "work"], check=True)
    kept = [line for line in lines(tmp_path) if line["job"] != jobs[1].id]
    (tmp_path / "records.jsonl").write_text("")
    append_records(tmp_path / "records.jsonl", kept)
    outcome, order = here(tmp_path, jobs)
    assert order == [jobs[0].id, jobs[1].id] and outcome.ran == 2
    is_complete(tmp_path, jobs)


def test_a_model_that_was_deleted_is_made_again_only_where_it_is_needed(tmp_path):
    jobs = study(2)
    here(tmp_path, jobs)
    for made in (jobs[0], jobs[4]):
        (tmp_path / "work" / made.id / "model").rmdir()
    assert not todo(jobs, read_records(tmp_path / "records.jsonl"), tmp_path).run
    more = job("more", jobs[0])
    _, order = here(tmp_path, [*jobs, more])
    assert order == [jobs[0].id, more.id]
    is_complete(tmp_path, [*jobs, more])


def test_a_model_that_is_made_again_with_other_weights_is_named(tmp_path):
    jobs, said = study(1), []

    def weighed(*order):
        return perform(*order) | {"weights": (tmp_path / "weights").read_text()}

    (tmp_path / "weights").write_text("one")
    run_study(tmp_path, jobs[:1], weighed, pool=Here(), report=said.append)
    for weights, warned in (("one", 0), ("other", 1)):
        (tmp_path / "weights").write_text(weights)
        (tmp_path / "work" / jobs[0].id / "model").rmdir()
        run_study(tmp_path, [*jobs[:1], job(f"after {weights}", jobs[0])], weighed, pool=Here(), report=said.append)
        found = [line for line in said if line.endswith("its weights are others than those of its record")]
        assert len(found) == warned
    assert lines(tmp_path)[0]["result"]["weights"] == "one"


# failures


def test_a_failed_job_is_recorded_and_stops_only_those_who_need_it(tmp_path):
    bad = job("bad", kind="train", fail="the model has no head")
    child, grandchild = job("child", bad, kind="mix"), None
    grandchild = job("grandchild", child)
    good = study(1)
    told = []
    outcome, _ = here(tmp_path, [bad, child, grandchild, *good], report=told.append)
    records = read_records(tmp_path / "records.jsonl")
    assert set(records.done) == {one.id for one in good} and set(records.failed) == {bad.id}
    assert records.failed[bad.id]["error"] == {"type": "ModelError", "message": "the model has no head"}
    assert "Traceback" in (tmp_path / "work" / bad.id / "error.txt").read_text()
    assert outcome.failed == {bad.id: "ModelError: the model has no head"}
    assert outcome.left_out == {child.id: bad.id, grandchild.id: bad.id}
    assert outcome.write()["left_out"][1] == {
        "job": grandchild.id,
        "title": grandchild.title,
        "needs": bad.title,
    }
    assert any("the model has no head" in sentence for sentence in told)


def test_failed_jobs_are_tried_again_when_asked_and_not_before(tmp_path):
    bad = job("bad", kind="train", fail="no", product=True)
    jobs = [bad, job("child", bad)]
    here(tmp_path, jobs)
    (tmp_path / "mended").write_text("")
    outcome, order = here(tmp_path, jobs)
    assert not order and set(outcome.failed) == {bad.id} and set(outcome.left_out) == {jobs[1].id}
    outcome, order = here(tmp_path, jobs, retry_failed=True)
    assert len(order) == 2 and outcome.done == 2 and not outcome.failed and not outcome.left_out
    assert not (tmp_path / "work" / bad.id / "error.txt").exists()
    is_complete(tmp_path, jobs)


def test_a_result_that_is_no_json_is_a_failure_of_the_job(tmp_path):
    bad = job("bad")
    outcome = run_study(tmp_path, [bad], not_a_number, pool=Here())
    assert "ValueError" in outcome.failed[bad.id]


def not_a_number(job, folder, needs, progress):
    return {"loss": float("nan")}


def test_a_need_that_is_not_in_the_plan_is_said(tmp_path):
    with pytest.raises(RunError, match="plan the study anew"):
        here(tmp_path, [job("child", job("parent", kind="train"))])


# arms, time


def test_some_arms_and_what_they_need():
    victim = job("victim", kind="train", arm="standard")
    rows = job("rows", victim, kind="augment", arm="rows")
    jobs = [victim, job("clean", victim, arm="standard"), rows, job("trained", rows, kind="train", arm="rows")]
    assert only(jobs, ["rows"]) == (jobs[0], jobs[2], jobs[3])
    with pytest.raises(SettingError, match="did you mean 'standard'"):
        only(jobs, ["standart"])


def test_time_is_expected_from_the_likest_jobs_that_have_ended(tmp_path):
    jobs = [job("a", arm=arm, seed=seed, of=arm) for arm in ("x", "y") for seed in range(3)]
    other = job("b", kind="train")
    took = dict(zip([one.id for one in jobs], [1, 2, 9, 100, 200, 300], strict=True))
    append_records(
        tmp_path / "r",
        [{**vars(j), "job": j.id, "status": "done", "result": {}, "cost": {"seconds": took[j.id]}} for j in jobs],
    )
    new = [job("a", arm="x", seed=7), job("a", arm="z"), other]
    found, unknown = expected_seconds(new, read_records(tmp_path / "r"))
    assert found == {new[0].id: 2, new[1].id: 54.5} and unknown == 1


def test_progress_tells_where_the_study_stands(tmp_path):
    seen = []
    here(tmp_path, study(2), progress=seen.append)
    assert [s.done for s in seen] == sorted(s.done for s in seen) and seen[-1].done == 8 == seen[-1].jobs
    assert seen[0].seconds_left is None and seen[0].unknown == 8
    assert seen[-1].seconds_left is None and seen[-1].unknown == 0 and not seen[-1].running
    assert all(len(s.running) <= 2 for s in seen) and seen[0].running  # two that end together leave none for a moment


# one runner


def test_a_second_runner_is_told_who_is_at_work(tmp_path):
    prepared = []
    with only_runner(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()} on .*wait"):
        here(tmp_path, study(1), prepare=lambda: prepared.append(1))
    assert not prepared
    here(tmp_path, study(1), prepare=lambda: prepared.append(1))
    assert prepared


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*file"):
        here(tmp_path / "file" / "study", study(1))


# processes


def test_worker_processes_leave_the_same_records(tmp_path, preload):
    jobs, local = study(), Path(os.path.relpath(tmp_path / "local"))
    here(tmp_path / "here", jobs)
    outcome = run_study(local, jobs, perform, workers=2, preload=preload)
    assert outcome.ran == 12
    is_complete(tmp_path / "local", jobs)
    assert comparable(tmp_path / "here") == comparable(local)
    assert ((local / "work") / jobs[0].id / "log.txt").read_text() == "what a library says\n"
    pids = [((local / "work") / one.id / "begun").read_text() for one in jobs]
    assert len(set(pids)) == 12 and str(os.getpid()) not in "".join(pids)  # a process a job


def test_a_worker_that_is_killed_fails_its_job_alone_and_only_at_the_second_time(tmp_path, preload):
    told = []
    once = job("once", dies=signal.SIGKILL, deaths=1)
    always = job("always", dies=signal.SIGSEGV, deaths=9)
    leaves = job("leaves", exit=3)
    jobs = [once, always, leaves, *study(1)]
    outcome = run_study(tmp_path, jobs, perform, workers=2, preload=preload, report=told.append)
    records = read_records(tmp_path / "records.jsonl")
    assert set(outcome.failed) == {always.id, leaves.id} and outcome.done == 5
    assert "SIGSEGV" in records.failed[always.id]["error"]["message"]
    assert "exit code 3" in records.failed[leaves.id]["error"]["message"]
    assert records.failed[always.id]["error"]["type"] == "WorkerDied"
    assert "Fatal Python error: Segmentation fault" in (tmp_path / "work" / always.id / "log.txt").read_text()
    begun = {one.id: (tmp_path / "work" / one.id / "begun").read_text().count("\n") for one in jobs}
    assert begun == dict.fromkeys(begun, 1) | {once.id: 2, always.id: 2, leaves.id: 2}
    assert f"{once.title}: the worker was killed by SIGKILL; trying once more" in told


def test_when_the_server_of_the_workers_is_killed_the_study_completes(tmp_path, preload):
    from multiprocessing.forkserver import _forkserver

    jobs, struck = study(2, sleep=0.2), []

    def strike(standing):
        if standing.done >= 2 and not struck:
            struck.append(_forkserver._forkserver_pid)
            os.kill(struck[0], signal.SIGKILL)

    run_study(tmp_path, jobs, perform, workers=2, preload=preload, progress=strike)
    assert struck
    is_complete(tmp_path, jobs)


def test_threads_are_shared_among_workers(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("sparring.study.pool.cores", lambda: 8)
    assert [LocalPool(n).threads for n in (1, 2, 3, 16)] == [8, 4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert LocalPool(2).threads == 5


# a cluster


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_named(tmp_path):
    pytest.importorskip("ray")
    from sparring.study.ray_pool import RayPool

    with pytest.raises(RunError, match="ray start --head"):
        run_study(tmp_path, study(1), perform, pool=RayPool("127.0.0.1:1"))


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        found = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(found))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_cluster_leaves_the_same_records_and_workers_that_die_fail_their_job_alone(tmp_path, cluster):
    from sparring.study.ray_pool import RayPool

    once = job("once", dies=signal.SIGKILL, deaths=1)
    always = job("always", dies=signal.SIGKILL, deaths=9)
    jobs = [once, *study(), job("bad", fail="no"), always]
    outcome = run_study(tmp_path / "cluster", jobs, perform, pool=RayPool(workers=2))
    assert outcome.done == 13 and outcome.write()["failed"][0]["error"] == "ModelError: no"
    assert "at each of 2 attempts" in outcome.failed[always.id]
    here(tmp_path / "here", jobs[1:-1])  # those that do not kill the process that does them
    killed = (once.id, always.id)
    assert comparable(tmp_path / "here") == [v for v in comparable(tmp_path / "cluster") if v["job"] not in killed]
    is_complete(tmp_path / "cluster", jobs[:-2])
    pids = [path.read_text() for path in (tmp_path / "cluster").glob("work/*/begun")]
    assert len(set(pids)) == len(pids)  # a process a job


@pytest.mark.slow
def test_workers_of_a_cluster_stop_where_they_can_go_on(tmp_path, cluster):
    from sparring.study.ray_pool import RayPool

    def stop(standing):
        if [one.what for one in standing.running] == ["sleeping"] * 2 and not asked:
            asked.append(signal.raise_signal(signal.SIGINT))

    asked = []
    with pytest.raises(Interrupted, match="0 of 8"):
        run_study(tmp_path, study(2, sleep=60), perform, pool=RayPool(workers=2), progress=stop)
    assert len(list(tmp_path.glob("work/*/stopped"))) == 2
    wait_for(lambda: not workers_of(tmp_path))


# runners that are killed


def start(folder, *, arms, sleep, workers=2, stderr=subprocess.DEVNULL):
    program = [sys.executable, little_jobs.__file__, str(folder), str(arms), str(sleep), str(workers)]
    return subprocess.Popen(program, stderr=stderr, text=True)


def wait_for(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def workers_of(folder):
    """Processes that are at a job."""
    return [pid for path in folder.glob("work/*/busy") if (text := path.read_text()) and alive(pid := int(text))]


def survives(folder, chance, targets, *, arms, sleep):
    """Kill these, runner or worker, one after another at random moments, then let the study end."""
    jobs, runner = study(arms, sleep), None
    for target in targets:
        if runner is None or runner.poll() is not None:
            assert runner is None or runner.returncode != 0, "it ended before it was killed often enough"
            runner = start(folder, arms=arms, sleep=sleep)
        if target == "worker" or chance.random() < 0.7:  # a runner is also hit before it has begun
            wait_for(lambda: workers_of(folder))
        time.sleep(chance.uniform(0, sleep))
        if target == "worker":
            wait_for(lambda: kill_one(workers_of(folder), chance))
        else:
            runner.kill()
            runner.wait()
    runner.kill()
    runner.wait()
    run_study(folder, jobs, perform, workers=2, retry_failed=True, preload=("pytest", "sparring.study.execute"))
    is_complete(folder, jobs)
    wait_for(lambda: not workers_of(folder))


def kill_one(workers, chance):
    """Whether there was one to kill."""
    with suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice(workers), signal.SIGKILL)
        return True


def test_a_study_killed_at_random_moments_completes_and_no_job_is_lost_or_done_twice(tmp_path):
    targets = ["worker", "runner", "worker", "runner", "runner"]
    survives(tmp_path, random.Random(0), targets, arms=8, sleep=0.2)


@pytest.mark.slow
def test_a_study_killed_very_often_completes_and_no_job_is_lost_or_done_twice(tmp_path):
    chance = random.Random(100)
    targets = ["worker", "runner"] * 12
    chance.shuffle(targets)
    survives(tmp_path, chance, targets, arms=25, sleep=0.3)


def test_workers_end_with_their_runner(tmp_path):
    runner = start(tmp_path, arms=2, sleep=30)
    wait_for(lambda: len(workers_of(tmp_path)) == 2)
    wait_for(lambda: [noted.get("what") for noted in running(tmp_path).values()] == ["sleeping"] * 2)
    runner.kill()
    wait_for(lambda: not workers_of(tmp_path), 5)
    runner.wait()
    wait_for(lambda: not running(tmp_path), 5)  # a process that ends shows no command before it lets its lock go


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_runner_that_is_asked_to_stop_lets_its_workers_stop_where_they_can_go_on(tmp_path, how):
    runner = start(tmp_path, arms=2, sleep=30, stderr=subprocess.PIPE)
    wait_for(lambda: len(workers_of(tmp_path)) == 2)
    time.sleep(0.1)
    runner.send_signal(how)
    _, told = runner.communicate(timeout=60)
    assert runner.returncode == 130 and "stopped: 0 of 8 jobs are done; the same command goes on" in told
    assert len(list(tmp_path.glob("work/*/stopped"))) == 2 and not workers_of(tmp_path)
    assert not (tmp_path / "records.jsonl").exists()


def test_a_call_that_is_stopped_records_what_has_ended(tmp_path):
    jobs = study(2)

    def stop(standing):
        if standing.done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match=r"[34] of 8"):
        here(tmp_path, jobs, slots=1, progress=stop)
    assert len(lines(tmp_path)) in (3, 4)  # with the one that was going on, if it had begun
    here(tmp_path, jobs)
    is_complete(tmp_path, jobs)
