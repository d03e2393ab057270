"""Runs that are killed and go on: the weights are, bit for bit, those of a run that was left alone."""

import os
import random
import signal
import time

import pytest
import worker
from forks import forking
from safetensors.torch import load_file
from toys import distance

SHORT, LONG = 12, 40  # epochs of three steps; every third step is saved


@pytest.fixture(scope="module")
def start():
    """Starts `worker.run` in a process of its own."""
    with forking(worker) as begin:
        yield begin


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """The weights of runs that nobody kills; each is made once."""
    folder, made = tmp_path_factory.mktemp("undisturbed"), {}

    def weights(name, epochs):
        run = f"{name}-{epochs}"
        if run not in made:
            process = start(str(folder / run), name, str(folder / f"{run}.safetensors"), epochs)
            process.join(60)
            assert process.exitcode == 0
            made[run] = load_file(folder / f"{run}.safetensors")
        return made[run]

    return weights


def steps(folder):
    """The steps that have a checkpoint, as a reader finds them."""
    return {int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")}


def kill_soon_after_the_next_checkpoint(process, folder, chance):
    """SIGKILL at a moment drawn from `chance` after a new checkpoint has appeared; False if the run ended before."""
    known, limit = max(steps(folder), default=0), time.monotonic() + 60
    while max(steps(folder), default=0) <= known and process.is_alive():
        assert time.monotonic() < limit
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.06))
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == -signal.SIGKILL


def goes_on_after_kills(start, undisturbed, folder, name, epochs, kills):
    expected = undisturbed(name, epochs)
    run, out, chance = folder / "run", folder / "out.safetensors", random.Random(name)
    killed = 0
    while not out.exists():
        process = start(str(run), name, str(out), epochs)
        if killed < kills:
            killed += kill_soon_after_the_next_checkpoint(process, run, chance)
        else:
            process.join(60)
            assert process.exitcode == 0
    assert killed == kills
    assert distance(load_file(out), expected) == 0
    assert not (run / ".partial").exists()


@pytest.mark.parametrize("name", ["cat", "smart", "mat"])  # a module of its own, a memory, updates of its own
def test_a_run_killed_and_resumed_ends_with_the_same_bits(start, undisturbed, tmp_path, name):
    goes_on_after_kills(start, undisturbed, tmp_path, name, SHORT, kills=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["standard", "freelb", "cat", "smart", "mat"])
def test_a_run_killed_five_times_ends_with_the_same_bits(start, undisturbed, tmp_path, name):
    goes_on_after_kills(start, undisturbed, tmp_path, name, LONG, kills=5)


@pytest.mark.parametrize("stage", worker.STAGES)
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(start, undisturbed, tmp_path, stage):
    run, out = tmp_path / "run", tmp_path / "out.safetensors"
    process = start(str(run), "smart", str(out), SHORT, 9, stage)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and not out.exists()
    whole = {3, 6, 9} if stage == "rotate" else {3, 6}
    assert steps(run) == whole
    process = start(str(run), "smart", str(out), SHORT)
    process.join(60)
    assert process.exitcode == 0
    assert distance(load_file(out), undisturbed("smart", SHORT)) == 0
    assert len(steps(run)) == 2
