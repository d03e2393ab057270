"""Two processes do what one does, and exchange no more than the methods' cards say."""

import json

import pytest
import worker
from forks import torchrun
from puppets import random_model
from safetensors.torch import load_file
from toys import NAMES, bert, distance, trained, weights

from sparring.methods import METHODS


@pytest.fixture(scope="module")
def two(made_once):
    """The folder that two processes filled, running every method in turn."""

    def fill(folder):
        words = ("film", "plot", "the", "very")
        lines = [f"{'good' if i % 2 else 'bad'} {words[i % 4]},{i % 2}" for i in range(24)]
        (folder / "texts.csv").write_text("\n".join(["text,label", *lines, ""]))
        for part in random_model():
            part.save_pretrained(folder / "tuned-start")
        torchrun(worker.__file__, folder)

    return made_once("two", fill)


def result(folder, job, name, accumulation, file):
    """Weights that a job left behind; its own error if it has none."""
    error = folder / f"{job}-{name}-{accumulation}.error"
    assert not error.exists(), error.read_text()
    return load_file(folder / file)


def replica(folder, name, accumulation=1, rank=0):
    return result(folder, "replicated", name, accumulation, f"{name}-{accumulation}-{rank}.safetensors")


@pytest.mark.parametrize(
    ("name", "accumulation"), [*((name, 1) for name in NAMES), *((name, 2) for name in worker.IN_PARTS)]
)
def test_two_processes_make_the_weights_of_one(two, tmp_path, name, accumulation):
    alone = trained(tmp_path, name, **worker.given(name, accumulation, processes=1))
    assert distance(weights(alone), bert().state_dict()) > 1e-3
    assert distance(replica(two, name, accumulation), weights(alone)) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_replicas_stay_equal_bit_for_bit(two, name):
    for accumulation in (1, 2) if name in worker.IN_PARTS else (1,):
        first, second = (replica(two, name, accumulation, rank) for rank in (0, 1))
        assert distance(first, second) == 0
        assert distance(first, bert().state_dict()) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_reduced_as_often_as_the_card_says(two, name):
    replica(two, name)
    steps = json.loads((two / f"{name}-1.json").read_text())
    ddp = METHODS[name]().theta_samples if name == "mat" else 1
    calls = {"ddp": ddp, "all_reduce": 0, "all_gather": 0}
    if name == "cat":  # the matrix, the gradient of the gathered vectors, the projection; how many rows, and the rows
        calls |= {"all_reduce": 3, "all_gather": 2}
    assert len(steps) == (3 if name == "mat" else 4)
    for step in steps:
        assert calls | step == calls


@pytest.mark.parametrize("name", worker.IN_PARTS)
def test_gradients_of_all_micro_batches_are_reduced_together(two, name):
    replica(two, name, 2)
    assert [step["ddp"] for step in json.loads((two / f"{name}-2.json").read_text())] == [1, 1]


# weights that are sharded


@pytest.mark.parametrize(("name", "accumulation"), [*((name, 1) for name in worker.SHARDED), ("freelb", 2)])
def test_sharded_weights_train_as_whole_ones_and_are_saved_whole(two, tmp_path, name, accumulation):
    folder = f"sharded-{name}-{accumulation}"
    saved = result(two, "sharded", name, accumulation, f"{folder}/model.safetensors")
    alone = trained(tmp_path, name, worker.SETTINGS.get(name), **worker.given(name, accumulation, processes=1))
    assert distance(saved, weights(alone)) <= 1e-5
    checkpoint = load_file(next((two / f"sharded-run-{name}-{accumulation}").glob("checkpoint-*/model.safetensors")))
    assert distance(checkpoint, saved) == 0


@pytest.mark.parametrize("name", worker.TUNED)
def test_a_sharded_fine_tuning_is_that_of_copied_weights_and_goes_on_from_a_checkpoint(two, name):
    saved = result(two, "fine_tuned", name, 1, f"tuned-{name}/model.safetensors")
    for run, sharded in ((f"tuned-{name}", True), (f"copied-{name}", False)):
        files = {path.name for path in (two / run / "checkpoints" / "checkpoint-2").iterdir()}
        assert (
            {"optimizer-0.pt", "optimizer-1.pt", "method-1.safetensors"} <= files
            if sharded
            else "optimizer.pt" in files
        )
    if name == "smart":
        shares = [
            load_file(two / "tuned-smart" / "checkpoints" / "checkpoint-2" / f"method-{i}.safetensors") for i in (0, 1)
        ]
        shapes = {
            key.removeprefix("shape."): tuple(x.tolist()) for key, x in shares[0].items() if key.startswith("shape.")
        }
        assert shapes and all(
            sum(len(share[f"memory.{key}"]) for share in shares) == shape[0] for key, shape in shapes.items()
        )
    copied, start = (load_file(two / folder / "model.safetensors") for folder in (f"copied-{name}", "tuned-start"))
    assert distance(saved, copied) <= 1e-5 < 1e-3 < distance(saved, start)
    again = two / f"tuned-{name}-again"
    assert distance(load_file(again / "model.safetensors"), saved) == 0
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (again, two / f"tuned-{name}")]
    assert metrics[0]["resumed_from"] == "checkpoint-2" and metrics[0]["eval"] == metrics[1]["eval"]


@pytest.mark.parametrize("name", worker.SHARDED)
def test_every_process_measures_a_radius_in_the_same_unit_as_one(two, name):
    result(two, "sharded", name, 1, f"sharded-{name}-1/model.safetensors")
    units = [float((two / f"sharded-{name}-1-{rank}.unit").read_text()) for rank in (0, 1)]
    view = METHODS[name]().view(bert())
    assert units == pytest.approx([view.mean_norm()] * 2, rel=1e-6)
