"""Steps that are made ahead: in a thread or in processes, they are those that would be made when asked for."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from test_packing import corpus, documents, tokenizer

from sparring.data import ahead, shuffle
from sparring.data.ahead import Steps, masked_of, next_of
from sparring.data.corpus import Corpus
from sparring.data.masking import Masking
from sparring.data.packing import Lanes
from sparring.data.prefetch import Prefetch
from sparring.errors import DataError, RunError

HERE = Path(__file__).parent
SETTINGS = {"length": 16, "all_lanes": 6, "seed": 0, "shuffle": 20}


def steps(workers, own=range(1, 6), texts=None):
    masking = Masking(tokenizer())
    make = partial(Lanes, corpus(texts), tokenizer(), **SETTINGS)
    return Steps(make, own, partial(masked_of, masking, seed=3, total=100), workers=workers)


def taken(source, count):
    return [{name: x.tolist() for name, x in next(source).items()} for _ in range(count)]


@pytest.fixture(scope="module")
def when_asked_for():
    source = steps(0)
    return [(json.loads(json.dumps(source.state())), source.epoch, taken(source, 1)[0]) for _ in range(40)]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_who_makes_steps_changes_nothing_of_them_or_of_the_places_behind_them(workers, when_asked_for):
    source = steps(workers)
    for state, epoch, inputs in when_asked_for[:14]:
        assert (source.state(), source.epoch) == (state, epoch)
        assert taken(source, 1)[0] == inputs
    source.load(when_asked_for[23][0])
    assert taken(source, 3) == [inputs for _, _, inputs in when_asked_for[23:26]]
    source.close()  # what was made ahead is made again
    assert taken(source, 2) == [inputs for _, _, inputs in when_asked_for[26:28]]
    source.close()
    assert when_asked_for[23][1] > 0


def test_more_processes_than_rows_are_as_many_as_rows(when_asked_for):
    source = steps(9, range(2, 4))
    inputs = taken(source, 3)
    assert len(source._crew._crew) == 2
    source.close()
    assert [one["input_ids"] for one in inputs] == [one["input_ids"][1:3] for _, _, one in when_asked_for[:3]]


def test_processes_report_corrupt_lines_and_their_errors_and_are_gone_after_close(tmp_path):
    lines = [json.dumps({"text": text}) for text in documents(200)]
    lines[150] = "{"
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(lines) + "\n")
    for bad in ("skip", "fail"):
        read = Corpus.open(path, bad=bad)
        source = Steps(partial(Lanes, read, tokenizer(), **SETTINGS), range(6), next_of, workers=2)
        if bad == "skip":
            taken(source, 30)
            assert read.bad_count == 1 and "text.jsonl, line 151" in str(read.bad_lines[0])
        else:
            with pytest.raises(DataError, match=r"text\.jsonl, line 151"):
                taken(source, 30)
        processes = [process for _, process in source._crew._crew]
        source.close()
        assert not any(process.is_alive() for process in processes)


def test_a_process_that_is_killed_is_said_to_be_gone():
    source = steps(2)
    next(source)
    os.kill(source._crew._crew[1][1].pid, signal.SIGKILL)
    with pytest.raises(RunError, match=r"exit code -9.* --resume, and use fewer --workers"):
        taken(source, 100)
    source.close()


def test_processes_are_many_steps_ahead_but_hold_no_more_than_so_many_tokens(monkeypatch):
    rows, length = 5, SETTINGS["length"]
    for tokens, most in ((30 * rows * length, 30), (1, 4), (ahead._TOKENS_AHEAD, 64)):
        monkeypatch.setattr(ahead, "_TOKENS_AHEAD", tokens)
        source = steps(2)
        next(source)
        began = time.monotonic()
        while source._source._made.qsize() < most and time.monotonic() < began + 60:
            time.sleep(0.01)
        assert source._source._made.qsize() == source._source._made.maxsize == most
        source.close()


def test_ctrl_c_while_processes_start_is_for_the_run_alone():
    code = (
        "import os, signal, sys, threading, time\n"
        "from test_ahead import steps, taken\n"
        "if __name__ == '__main__':\n"
        "    heard = []\n"
        "    signal.signal(signal.SIGINT, lambda *_: heard.append(1))\n"
        "    source = steps(2)\n"
        "    def interrupt():\n"
        "        for _ in range(40):\n"
        "            os.killpg(0, signal.SIGINT)\n"
        "            time.sleep(0.1)\n"
        "    often = threading.Thread(target=interrupt)\n"
        "    often.start()\n"
        "    print(len(taken(source, 3)))\n"
        "    often.join()\n"
        "    print(len(taken(source, 60)), len(heard) > 0)\n"
        "    source.close()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, start_new_session=True, cwd=HERE
    )
    assert (ended.returncode, ended.stdout) == (0, "3\n60 True\n"), ended.stderr


def test_an_error_of_the_background_thread_reaches_the_reader(monkeypatch):
    source = steps(1)
    next(source)
    monkeypatch.setattr(shuffle.Windows, "read", lambda self: (_ for _ in ()).throw(DataError("gone")))
    with pytest.raises(DataError, match="gone"):
        taken(source, 1000)


def test_prefetching_keeps_order_ends_and_can_be_closed_early():
    assert list(Prefetch(iter(range(50)))) == list(range(50))
    endless = Prefetch(iter(int, 1))
    assert next(endless) == 0
    endless.close()
    assert not endless._thread.is_alive()


def test_a_program_that_does_not_close_what_runs_ahead_ends_well():
    code = (
        "from sparring.data.prefetch import Prefetch\n"
        "import itertools\n"
        "ahead = Prefetch(itertools.count())\n"
        "print(next(ahead), next(ahead))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0 1\n", "")
