"""Finished examples survive whatever happens to the process or the disk, and belong to one attack."""

import json
import os
import resource
import signal
import sys
import time

import pytest
from puppets import exit_code, forked, handset

from sparring import cli
from sparring.attack.outcome import Outcome
from sparring.attack.records import Record, Writer, read_lines
from sparring.errors import RunError

TEXTS = ["the film was good", "a very good plot", "the book is great and the film is fine", "fine", "a bad film", "the"]


def outcome(row, **given):
    plain = {
        "status": "failed",
        "label": 1,
        "original": (f"text {row}",),
        "predicted": 1,
        "gold_before": 0.75,
        "queries": 9,
        "words": 2,
    }
    return Outcome(row=row, **plain | given)


def written(folder, rows, *, name="toy", head=None, rank=0):
    record = Record(folder, name, head or {"recipe": name, "seed": 0})
    writer = record.writer(rank)
    for row in rows:
        writer.add(outcome(row))
    writer.close()
    return record


@pytest.fixture
def job(tmp_path):
    """A model, data, and the arguments of a command that attacks it."""
    model, tokenizer = handset(bias=0.3)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [f"{TEXTS[i % 6]} {'and good ' * (i // 6 % 5)},{'neg' if i % 6 == 4 else 'pos'}" for i in range(240)]
    (tmp_path / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    command = ["attack", tmp_path / "model", "--data", tmp_path / "data.csv", "--recipe", "deepwordbug"]
    return [*map(str, command), "--precision", "fp32"]


def run(*arguments):
    """A command in this process: its exit code."""
    before = sys.argv
    sys.argv = ["sparring", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch):
    monkeypatch.setattr("sparring.evaluate.attacks._encoder", lambda: None)


def test_an_attack_that_is_killed_goes_on_and_no_example_is_lost_or_done_twice(job, tmp_path, monkeypatch, capfd):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*job, "--output", whole) == 0

    def slow():
        add = Writer.add
        monkeypatch.setattr(Writer, "add", lambda self, found: (time.sleep(0.005), add(self, found))[1])
        run(*job, "--output", cut)

    child, path = forked(slow), cut / "deepwordbug.jsonl"
    deadline = time.monotonic() + 30
    while (not path.exists() or path.read_bytes().count(b"\n") < 40) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert exit_code(child) == 137
    finished = path.read_bytes()
    finished = finished[: finished.rfind(b"\n") + 1]
    assert 40 <= finished.count(b"\n") < 240 and not (cut / "results.json").exists()
    path.write_bytes(finished + b'{"row": 999, "status": "succ')
    assert run(*job, "--output", cut) == 2  # nobody asked to go on
    assert path.read_bytes().startswith(finished)
    assert run(*job, "--output", cut, "--resume") == 0
    assert path.read_bytes().startswith(finished) and path.read_bytes().count(b"\n") == 241
    rows = [json.loads(line)["row"] for line in path.read_bytes().splitlines()[1:]]
    assert sorted(rows) == list(range(240))
    assert sorted(path.read_bytes().splitlines()) == sorted((whole / path.name).read_bytes().splitlines())
    one, other = (json.loads((folder / "results.json").read_text())["attacks"][0] for folder in (whole, cut))
    assert one["summary"] == other["summary"] and other["resumed_after"] == finished.count(b"\n") - 1
    capfd.readouterr()


def test_resuming_a_finished_attack_asks_the_victim_nothing(job, tmp_path, capfd):
    small = [*job, "--output", tmp_path / "out", "--examples", "40"]
    assert run(*small) == 0
    before = (tmp_path / "out" / "deepwordbug.jsonl").read_bytes()
    (tmp_path / "out" / "results.json").unlink()  # whose cost would be kept
    assert run(*small, "--resume") == 0
    assert (tmp_path / "out" / "deepwordbug.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "out" / "results.json").read_text())["attacks"][0]["service_answers"] == {}
    capfd.readouterr()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--seed", "1"], "seed"),
        (["--budget", "5"], "budget"),
        (["--examples", "9"], "data"),
        (["--variant", "textattack"], "variant"),
    ],
)
def test_other_settings_are_another_attack(job, tmp_path, capfd, more, named):
    small = [*job, "--output", tmp_path / "out", "--examples", "12"]
    assert run(*small) == 0
    before = (tmp_path / "out" / "deepwordbug.jsonl").read_bytes()
    capfd.readouterr()
    assert run(*small, "--resume", *more) == 2
    shown = " ".join(capfd.readouterr().err.split())
    assert "belongs to another attack" in shown and named in shown and "--output" in shown
    assert (tmp_path / "out" / "deepwordbug.jsonl").read_bytes() == before


def test_other_weights_are_another_attack(job, tmp_path, capfd):
    small = [*job, "--output", tmp_path / "out", "--examples", "12"]
    assert run(*small) == 0
    handset(bias=0.2)[0].save_pretrained(tmp_path / "model")
    assert run(*small, "--resume") == 2
    assert "victim" in capfd.readouterr().err


# the files


def test_what_was_written_is_read_again(tmp_path):
    full = outcome(
        3,
        status="success",
        original=("a \ud800 \n\r\u2028\u0085 \x1b[31m<b>", "\x00"),
        adversarial=("b \udfff", ""),
        attacked=0,
        gold_after=1e-300,
        similarity=0.5,
        violations=("x",),
        note="n",
    )
    record = Record(tmp_path, "toy", {"pair": (1, 2)})
    writer = record.writer(0)
    writer.add(full)
    writer.close()
    assert record.read() == {3: full}
    head, outcomes = read_lines(tmp_path / "toy.jsonl")
    assert head == {"pair": [1, 2]} and outcomes == [full]


def test_a_line_that_was_cut_off_is_dropped_wherever_it_was_cut(tmp_path):
    record = written(tmp_path, range(3))
    content = (tmp_path / "toy.jsonl").read_bytes()
    for end in [
        *range(0, len(content), 23),
        *(end + n for end in range(len(content)) if content[end] == 10 for n in (0, 1)),
    ]:
        (tmp_path / "toy.jsonl").write_bytes(content[:end])
        whole = max(0, content[:end].count(b"\n") - 1)
        assert sorted(record.read()) == list(range(whole))
    (tmp_path / "toy.jsonl").write_bytes(content[: len(content) - 5])
    assert sorted(written(tmp_path, [2]).read()) == [0, 1, 2]
    assert (tmp_path / "toy.jsonl").read_bytes() == content


def test_each_process_has_a_file_and_all_of_them_are_read(tmp_path):
    written(tmp_path, [0, 2], rank=0)
    record = written(tmp_path, [1, 3], rank=1)
    written(tmp_path, [4], rank=12)
    assert sorted(record.read()) == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in record.paths()) == ["toy.1.jsonl", "toy.12.jsonl", "toy.jsonl"]


def test_a_calibrated_attack_beside_it_is_another_one_in_every_process(tmp_path):
    for rank in (0, 1):
        written(tmp_path, [rank], rank=rank)
        written(tmp_path, [rank + 10], name="toy.calibrated", rank=rank)
    assert sorted(Record(tmp_path, "toy", {"recipe": "toy", "seed": 0}).read()) == [0, 1]
    assert sorted(Record(tmp_path, "toy.calibrated", {"recipe": "toy.calibrated", "seed": 0}).read()) == [10, 11]


@pytest.mark.parametrize(
    ("line", "damage"),
    [
        (2, b"\xff\xfe"),
        (2, b"{}"),
        (3, b"[]"),
        (3, b'{"row": 1}'),
        (1, b"{}"),
        (1, b"5"),
        (2, b""),
        (3, b'{"row": "one", "status": "failed"}'),
    ],
)
def test_a_damaged_line_is_named_by_file_and_number(tmp_path, line, damage):
    record = written(tmp_path, range(4))
    path = tmp_path / "toy.jsonl"
    lines = path.read_bytes().splitlines()
    lines[line - 1] = damage
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(RunError, match=rf"toy\.jsonl, line {line} "):
        record.read()


def test_a_file_of_something_else_is_not_continued(tmp_path):
    (tmp_path / "toy.jsonl").write_text('{"text": "a", "label": 1}\n')
    with pytest.raises(RunError, match=r"toy\.jsonl, line 1"):
        Record(tmp_path, "toy", {}).read()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write.*--output"):
        Record(tmp_path / "file", "toy", {}).writer(0)


@pytest.fixture
def small_disk():
    """No file may grow beyond so many bytes: what a full disk looks like to a program."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_one_message_and_what_is_finished_is_kept(job, tmp_path, capfd, small_disk):
    whole, full = tmp_path / "whole", tmp_path / "full"
    assert run(*job, "--output", whole) == 0
    capfd.readouterr()
    small_disk(20_000)
    code = run(*job, "--output", full)
    small_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    shown = capfd.readouterr().err
    assert code == 2 and "Traceback" not in shown and shown.count("error:") == 1
    assert "cannot write" in shown and "deepwordbug.jsonl" in shown and "--resume" in " ".join(shown.split())
    assert 10 < len(read_lines(full / "deepwordbug.jsonl")[1]) < 240
    assert run(*job, "--output", full, "--resume") == 0
    ours, theirs = ((folder / "deepwordbug.jsonl").read_bytes().splitlines() for folder in (full, whole))
    assert sorted(ours) == sorted(theirs)
