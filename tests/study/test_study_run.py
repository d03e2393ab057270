"""sparring study run: what it does, shows and refuses."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import sparring
from little_jobs import HOSTILE, quick
from rich.console import Console
from small_study import write_place, write_study

from sparring.cli import console, study_run
from sparring.study import machine
from sparring.study.execute import Running, Standing
from sparring.study.machine import CODE, DECIDES, hash_of
from sparring.study.records import read_records

ARMS = {
    "standard": {"family": "baseline"},
    "pgd": {"family": "embedding", "train": {"method": "pgd", "settings": {"radius": "0.1x"}}},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_place(tmp_path_factory.mktemp("run"))


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """A folder with a study of two arms, two seeds and eight jobs, none of which takes time."""
    for path in place.iterdir():
        (tmp_path / path.name).symlink_to(path)
    write_study(tmp_path, arms=ARMS, seeds=[0, 1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sparring.study.perform.perform", quick)
    monkeypatch.setattr(study_run, "_PRELOAD", ("sparring.study.execute",))
    return tmp_path


def records(here):
    return read_records(here / "studies" / "small" / "records.jsonl")


def test_a_study_is_run_and_the_second_time_there_is_nothing_to_do(here, capsys):
    code, out, err = sparring("study", "run", "study.yaml", "--workers", 2, capsys=capsys)
    assert code == 0 and "8 of 8 jobs are done, 8 of them now" in out and "sparring report studies/small" in out
    assert "8/8 toy: " in err and "'text' (inferred)" in err
    assert {line["arm"] for line in records(here).done.values()} == set(ARMS)
    code, out, err = sparring("study", "run", "study.yaml", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0 and not err and found["study"] == "small" and found["folder"] == "studies/small"
    assert (found["jobs"], found["done"], found["ran"], found["failed"]) == (8, 8, 0, [])
    code, out, _ = sparring("study", "run", "studies/small", capsys=capsys)  # as it was planned
    assert code == 0 and "8 of 8 jobs are done, 0 of them now" in out


def test_results_of_other_code_are_kept_and_counted(here, capsys):
    said = "of other code of sparring than is here now, and kept: for new ones give the study another output"
    _, _, err = sparring("study", "run", "study.yaml", capsys=capsys)
    assert said not in err
    path = here / "studies" / "small" / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["environment"]["code"] for line in lines} == {CODE}
    lines[0]["environment"]["code"] = "0" * 12
    del lines[1]["environment"]["code"]  # nothing is known of it
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for command in ("run", "status"):
        exit_code, out, err = sparring("study", command, "study.yaml", capsys=capsys)
        assert exit_code == 0 and f"one result is {said}" in " ".join((out + err).split())
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines


def test_the_hash_of_the_code_is_that_of_what_results_depend_on(tmp_path):
    package = Path(machine.__file__).parents[1]
    for name in DECIDES:
        assert list(package.glob(f"{name}*")), name
    for name in ("methods/mat.py", "objective.py", "study/perform_make.py", "attack/report.py", "cli/train.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / "methods" / ".#mat.py").symlink_to("nobody@nowhere")  # of an editor
    seen = {hash_of(tmp_path)}
    assert None not in seen and hash_of(package) == CODE
    for name in ("attack/report.py", "cli/train.py"):
        (tmp_path / name).write_text("2")
        assert hash_of(tmp_path) in seen, name
    for name in ("methods/mat.py", "objective.py", "study/perform_make.py"):
        (tmp_path / name).write_text("2")
        assert hash_of(tmp_path) not in seen, name
        seen.add(hash_of(tmp_path))
    (tmp_path / "methods" / "gone.py").symlink_to("nowhere")
    assert hash_of(tmp_path) is None


def test_a_dry_run_lists_the_jobs_and_does_none(here, capsys):
    code, out, _ = sparring("study", "run", "study.yaml", "--dry-run", capsys=capsys)
    assert code == 0 and "toy: pgd, seed 1: train" in out and "8 of 8 jobs would be done" in out
    assert not (here / "studies").exists()
    assert sparring("study", "run", "study.yaml", "--only", "pgd", capsys=capsys)[0] == 0
    code, out, _ = sparring("study", "run", "study.yaml", "--dry-run", "--json", capsys=capsys)
    listed = json.loads(out)["run"]
    assert [(one["arm"], one["kind"], one["seed"]) for one in listed] == [
        ("standard", "train", 0),
        ("standard", "score", 0),
        ("standard", "train", 1),
        ("standard", "score", 1),
    ]
    assert all(one["seconds"] is not None for one in listed)  # as long as those of the other arm
    made = next(i for i, line in records(here).done.items() if line["kind"] == "train")
    (here / "studies" / "small" / "work" / made / "model").rmdir()
    for line in records(here).done.values():
        if line["kind"] == "score" and made in line["needs"]:
            forget(here, line["job"])
    _, out, _ = sparring("study", "run", "study.yaml", "--dry-run", "--only", "pgd", capsys=capsys)
    assert "made again" in out and "2 of 4 jobs would be done" in out


def forget(here, identity):
    path = here / "studies" / "small" / "records.jsonl"
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["job"] != identity]
    path.write_text("".join(line + "\n" for line in kept))
    (here / "studies" / "small" / "work" / identity / "result.json").unlink()


def test_failures_are_named_and_what_they_say_is_inert(here, capsys):
    (here / "studies").mkdir()
    (here / "studies" / "fails").write_text("pgd")
    code, out, err = sparring("study", "run", "study.yaml", capsys=capsys)
    assert code == 2 and "4 of 8 jobs are done" in out
    assert "failed: toy: pgd, seed 0: train: ModelError: \\x1b[31m[bold]<script>" in err and "error.txt" in err
    assert "2 jobs are left out" in err and "--retry-failed" in err
    assert not any(c in out + err for c in "\x1b\x07\r")
    code, out, _ = sparring("study", "run", "study.yaml", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 2 and [one["title"] for one in found["left_out"]] == [
        "toy: pgd, seed 0: score toy",
        "toy: pgd, seed 1: score toy",
    ]
    assert found["failed"][0]["error"] == f"ModelError: {HOSTILE}"
    (here / "studies" / "fails").unlink()
    assert sparring("study", "run", "study.yaml", "--retry-failed", "--json", capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study.yaml", "--only", "pdg"], "no arm 'pdg'; did you mean 'pgd'?"),
        (["study.yaml", "--ray", ""], "--ray is empty"),
        (["missing.yaml"], "missing.yaml"),
        (["base"], "holds no study"),
    ],
)
def test_bad_requests_are_named_and_nothing_is_begun(here, arguments, said, capsys):
    code, _, err = sparring("study", "run", *arguments, capsys=capsys)
    assert code == 2 and said in err and "Traceback" not in err
    assert not (here / "studies").exists()


def test_ray_is_an_extra(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = sparring("study", "run", "study.yaml", "--ray", "auto", capsys=capsys)
    assert code == 2 and "pip install 'sparring[ray]'" in err


def test_in_a_terminal_there_is_a_bar_for_the_study_and_one_for_each_worker(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(study_run, "err", Console(file=shown, force_terminal=True, width=100, color_system=None))
    monkeypatch.setattr(console, "err", study_run.err)
    first = Running("a", f"toy: {HOSTILE}", "attack", 5, 20, 30.0)
    second = Running("b", "toy: pgd", "", 0, 0, 200.0)
    with study_run._view("small", shown=True) as view:
        view.progress(Standing(8, 2, 1, (first, second), 7200.0, 3))
        view.report(HOSTILE)
        view.bars.refresh()
        view.progress(Standing(8, 3, 1, (second,), 60.0, 0))
        view.bars.refresh()
    text = shown.getvalue()
    assert "2/8" in text and "1 failed, 2.0 h left and more" in text and "5/20" in text and "30 s attack" in text
    assert "3/8" in text and "60 s left" in text
    assert "\x1b[31m" not in text and "\\x1b[31m[bold]<script>" in text
    assert "5/20" not in text[text.rindex("3/8") :]


@pytest.mark.slow
def test_a_real_study_that_is_killed_goes_on_and_says_the_same_as_one_that_is_not(place, tmp_path):
    evaluate = {"attacks": {"recipes": ["deepwordbug"], "examples": 20}, "transfer": ["standard"]}
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        folder.mkdir()
        for path in place.iterdir():
            (folder / path.name).symlink_to(path)
        write_study(folder, arms=ARMS, evaluate=evaluate)
    command = [sys.executable, "-m", "sparring", "study", "run", "study.yaml", "--workers", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, cwd=tmp_path / "whole", check=True, **quiet)
    for _ in range(3):
        runner = subprocess.Popen(command, cwd=tmp_path / "killed", start_new_session=True, **quiet)
        progress = tmp_path / "killed" / "studies" / "small" / "work"
        limit = time.monotonic() + 120
        while not list(progress.glob("*/progress.json")) and time.monotonic() < limit and runner.poll() is None:
            time.sleep(0.02)
        time.sleep(1)
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
    subprocess.run(command, cwd=tmp_path / "killed", check=True, **quiet)
    found = []
    for folder in ("whole", "killed"):
        path = tmp_path / folder / "studies" / "small" / "records.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert len({line["job"] for line in lines}) == len(lines) == 7
        found.append({line["job"]: without_time(line["result"]) for line in lines})
    assert found[0] == found[1]


def without_time(value):
    """A result without what was measured with a clock, and without the checkpoint from which a killed job went on."""
    if isinstance(value, dict):
        told = {name: v for name, v in value.items() if "seconds" not in name and name != "resumed_from"}
        return {name: without_time(v) for name, v in told.items()}
    return value
