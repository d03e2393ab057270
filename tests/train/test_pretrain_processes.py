"""Pre-training in processes: killed at any moment, spread over two, sharded, compiled."""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import asdict

import pretrain_worker
import pytest
import texts
import torch
from forks import forking, kill_all, torchrun, torchrunning
from safetensors.torch import load_file
from toys import distance

from sparring.train.pretrain import pretrain

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus, tokenizers and configs."""
    return texts.write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def start():
    """Starts `pretrain_worker.run` in a process of its own."""
    with forking(pretrain_worker) as begin:
        yield lambda settings, *args: begin(asdict(settings), *args)


def eventful(folder, output, **given):
    """A run with dropout in which much is random: it masks spans on a ramp, and its adversary enters half-way."""
    random_parts = {"config": "dropout", "masking": "0.1:0.3", "masking_unit": "span", "workers": 1}
    adversary = {"method": "alum", "curriculum": "half", "weight_ramp": 0.3}
    return texts.settings(folder, output, steps=12, keep=2, **random_parts, **adversary, **given)


@pytest.fixture(scope="module")
def undisturbed(folder, tmp_path_factory):
    """The weights of the run that nobody kills."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pretrain(eventful(folder, output))
    torch.set_num_threads(threads)
    return load_file(output / "model.safetensors")


@pytest.mark.parametrize("stage", pretrain_worker.STAGES)
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_to_the_same_weights(
    start, folder, undisturbed, tmp_path, stage
):
    settings = eventful(folder, tmp_path / "run")
    killed = start(settings, stage, 8)
    killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    again = start(settings)
    again.join(120)
    assert again.exitcode == 0
    assert distance(load_file(tmp_path / "run" / "model.safetensors"), undisturbed) == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_run_killed_at_a_random_moment_goes_on_to_the_same_weights(start, folder, undisturbed, tmp_path, seed):
    chance, kills, settings = random.Random(seed), 0, eventful(folder, tmp_path / "run")
    for _ in range(2):
        process = start(settings)
        checkpoints = tmp_path / "run" / "checkpoints"
        known = {path.name for path in checkpoints.glob("checkpoint-*")}
        while process.is_alive() and {path.name for path in checkpoints.glob("checkpoint-*")} <= known:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.3))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        kills += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:
            break
    assert kills
    if not (tmp_path / "run" / "metrics.json").exists():
        last = start(settings)
        last.join(120)
        assert last.exitcode == 0
    assert distance(load_file(tmp_path / "run" / "model.safetensors"), undisturbed) == 0


# two processes


def together(folder, jobs):
    """Run the jobs, settings by name, on two processes; errors are raised here."""
    path = folder / "jobs.json"
    path.write_text(json.dumps({name: asdict(given) for name, given in jobs.items()}))
    torchrun(pretrain_worker.__file__, path, seconds=240)
    for name in jobs:
        assert not (error := folder / f"{name}.error").exists(), error.read_text()


VISIBLE = {"weight": 50.0, "radius": "10x", "step_size": "10x", "noise": "1x"}
"""Settings of an adversary that moves the weights of this tiny model by far more than any comparison lets pass."""
ALUM = {"method": "alum", "settings": VISIBLE, "max_grad_norm": 0.0}
VAT = {"method": "vat", "settings": {"weight": 300.0, "radius": "10x"}, "max_grad_norm": 0.0}
TWO = {"standard": {}, "alum": ALUM, "accumulated": {**VAT, "accumulation": 2}, "causal": {**ALUM, "family": "gpt2"}}
EVENTFUL = {"batch_size": 4, "config": "dropout", "workers": 1, "steps": 24, "keep": 2, **ALUM}


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory):
    """Folder of runs on two processes with half the batch each."""
    made = tmp_path_factory.mktemp("two")
    jobs = {name: texts.settings(folder, made / name, batch_size=4, **given) for name, given in TWO.items()}
    together(made, jobs | {"eventful": texts.settings(folder, made / "eventful", **EVENTFUL)})
    return made


@pytest.mark.parametrize("name", TWO)
def test_two_processes_do_what_one_does_with_the_double_batch(folder, two, tmp_path, monkeypatch, name):
    given = TWO[name]
    plain = {key: given[key] for key in given if key not in ("method", "settings")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_worker.job, "training_arguments", pretrain_worker.job.training_arguments)
        pretrain_worker.with_sgd()
        pretrain(texts.settings(folder, tmp_path / "run", batch_size=8, **given))
        if "method" in given:
            pretrain(texts.settings(folder, tmp_path / "plain", batch_size=8, **plain))
    alone = load_file(tmp_path / "run" / "model.safetensors")
    assert distance(load_file(two / name / "model.safetensors"), alone) <= 1e-5
    if "method" in given:  # the adversary is seen in these weights
        assert distance(load_file(tmp_path / "plain" / "model.safetensors"), alone) > 1e-3


@pytest.mark.parametrize("stage", ["stream", "rename"])
def test_two_processes_of_which_one_dies_while_it_writes_a_checkpoint_go_on_to_the_same_weights(
    folder, two, tmp_path, monkeypatch, stage
):
    jobs = {"run": texts.settings(folder, tmp_path / "run", **EVENTFUL)}
    monkeypatch.setenv("DIE", f"{stage} 8")
    with pytest.raises(AssertionError):
        together(tmp_path, jobs)
    assert not (tmp_path / "run" / "metrics.json").exists()
    monkeypatch.delenv("DIE")
    for error in tmp_path.glob("*.error"):  # of the process that was left alone
        error.unlink()
    together(tmp_path, jobs)
    first, second = (load_file(path / "model.safetensors") for path in (two / "eventful", tmp_path / "run"))
    assert distance(first, second) == 0


@pytest.mark.parametrize("seed", range(5))
def test_two_processes_killed_at_a_random_moment_go_on_to_the_same_weights(folder, two, tmp_path, seed):
    jobs = {"run": texts.settings(folder, tmp_path / "run", **EVENTFUL)}
    (tmp_path / "jobs.json").write_text(json.dumps({name: asdict(given) for name, given in jobs.items()}))
    with torchrunning(pretrain_worker.__file__, tmp_path / "jobs.json") as running:
        while running.poll() is None and not list((tmp_path / "run" / "checkpoints").glob("checkpoint-*")):
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0, 0.4))
        kill_all(running)
    assert not (tmp_path / "run" / "metrics.json").exists(), "it had ended before it was killed"
    together(tmp_path, jobs)
    first, second = (load_file(path / "model.safetensors") for path in (two / "eventful", tmp_path / "run"))
    assert distance(first, second) == 0


def test_a_sharded_run_saves_goes_on_and_reloads(folder, tmp_path):
    given = {"batch_size": 4, "config": "dropout", "learning_rate": 1e-3, **ALUM}
    together(tmp_path, {"run": texts.settings(folder, tmp_path / "run", fsdp=True, **given)})
    before = load_file(tmp_path / "run" / "model.safetensors")
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    (tmp_path / "again" / "metrics.json").unlink()
    for step in (4, 6):
        shutil.rmtree(tmp_path / "again" / "checkpoints" / f"checkpoint-{step}")
    together(tmp_path, {"again": texts.settings(folder, tmp_path / "again", fsdp=True, **given)})
    assert distance(load_file(tmp_path / "again" / "model.safetensors"), before) == 0
    on = texts.settings(folder, tmp_path / "on", model=str(tmp_path / "run"), steps=1)
    assert pretrain(on)["steps"] == 1


def test_a_sharded_run_that_accumulates_has_the_gradients_of_a_whole_one(folder, tmp_path):
    given = {"steps": 2, "learning_rate": 1e-4, **ALUM}
    half = texts.settings(folder, tmp_path / "sharded", batch_size=2, accumulation=2, fsdp=True, **given)
    together(tmp_path, {"sharded": half})
    pretrain(texts.settings(folder, tmp_path / "whole", **given))
    sharded, whole = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("sharded", "whole")
    )
    for name in ("grad_norm", "loss_smooth"):
        first, second = ([row[name] for row in rows if name in row] for rows in (sharded, whole))
        assert len(first) == 2 and first == pytest.approx(second, rel=1e-3)
    assert whole[0]["loss_smooth"] > 0.1 * whole[0]["loss_task"]


def test_a_compiled_run_makes_the_weights_of_an_uncompiled_one(folder, tmp_path):
    given = {"steps": 3, "learning_rate": 1e-4, **ALUM}
    for name in ("plain", "compiled"):
        pretrain(texts.settings(folder, tmp_path / name, compile=name == "compiled", **given))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "compiled"))
    assert distance(first, second) <= 3.1e-4  # Adam moves a weight by at most the learning rate in a step
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("plain", "compiled")
    ]
    for name in ("loss_task", "loss_smooth"):
        plain, compiled = ([row[name] for row in rows if name in row] for rows in logs)
        assert len(plain) == 3 and plain == pytest.approx(compiled, rel=1e-3)
