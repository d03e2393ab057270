"""Each kind of job on tiny models: what its result says, and that an interrupted one goes on."""

import json
import re
import shutil

import pytest
import torch
from small_study import SMALL, write_place, write_study
from transformers.utils import logging

from sparring.adapters.load import load_trained
from sparring.attack.victim import as_victim
from sparring.data.load import load
from sparring.errors import DataError, RunError
from sparring.study import perform_make
from sparring.study.perform import model_folder, perform
from sparring.study.plan import plan, read_plan, write_plan

MIX = {"attack_epochs": 1}
ARMS = {
    "standard": {"family": "baseline"},
    "pgd": {"train": {"method": "pgd", "settings": {"steps": 1}}},
    "swap": {"augment": {"recipes": ["swap"], "ratio": 0.5}},
    "rows": {"augment": {"recipes": ["random-characters"], "ratio": 0.5, "keep": "all", "victim": "standard"}},
    "mix": {"mix": {"attacks": "random-characters", "attack_rows": 20, "train_on": "both", **MIX}},
    "union": {"part": {"of": "mix", "name": "union"}},
}
STUDY = {
    "arms": ARMS,
    "budgets": {"epochs": 3, "passes": 4},
    "cross_domain": {"other": {"data": "other.csv", "labels": {"0": "neg", "1": "pos"}}},
    "evaluate": {
        "attacks": {"recipes": ["deepwordbug"], "examples": 12, "calibrated": True, "without": []},
        "radius": {"radii": ["0x", "2x"], "examples": 10, "steps": 2, "restarts": 0},
        "transfer": ["standard"],
        "keep_examples": 3,
    },
}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    yield
    logging.enable_progress_bar()
    logging.set_verbosity(before)


def needs(found, job):
    return [found.folder / "work" / identity for identity in job.needs]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study with every job done: the plan, and results by identity."""
    place = write_place(tmp_path_factory.mktemp("perform"))
    found = plan(write_study(place, **STUDY))
    write_plan(found)
    results = {}
    for job in found.jobs:
        wanted = job.budget == "epochs" or (job.kind == "train" and job.arm != "rows")
        if job.id not in results and wanted:
            results[job.id] = perform(job, found.folder, needs(found, job))
            assert json.loads(json.dumps(results[job.id], allow_nan=False)) == results[job.id], job.title
    return found, results


def one(done, kind, arm, budget="epochs", **more):
    found, results = done
    jobs = [job for job in found.jobs if (job.kind, job.arm, job.budget) == (kind, arm, budget)]
    (job,) = [job for job in jobs if all(getattr(job, name) == value for name, value in more.items())]
    return job, results[job.id]


def test_a_training_says_what_it_cost_and_leaves_a_model_without_checkpoints(done):
    job, result = one(done, "train", "standard")
    assert result["steps"] == result["passes"] == 18 and result["precision"] == "fp32"  # 3 epochs of 60 rows, 10 a step
    assert result["attack_seconds"] == 0 and result["train_seconds"] > 0 and result["eval"]["accuracy"] > 0.8
    folder = done[0].folder / "work" / job.id / "model"
    model, _ = load_trained(folder)
    count = sum(weight.numel() for weight in model.parameters())
    assert result["parameters"] == result["trainable_parameters"] == count
    assert re.fullmatch("[0-9a-f]{64}", result["weights"])
    assert not (folder / "checkpoints").exists()
    _, pgd = one(done, "train", "pgd", "passes")
    assert pgd["steps"] == 12 and pgd["passes"] == 24  # 4 passes: 2 epochs of two passes each


def test_rows_are_made_before_training_and_counted_at_equal_passes(done):
    job, result = one(done, "augment", "swap")
    assert result["rows"] == {"original": 60, "swap": 30} and result["report"][0]["provenance"] == "swap"
    assert len(load(done[0].folder / "work" / job.id / "rows.csv").texts) == 90
    assert one(done, "train", "swap")[1]["steps"] == 27  # 3 epochs of 90 rows in place of 60
    train = one(done, "train", "swap", "passes")[1]
    assert train["steps"] == 24 and train["passes"] == 24 == one(done, "train", "standard", "passes")[1]["passes"]
    _, attacked = one(done, "augment", "rows")
    assert attacked["report"][0]["tried"] == 30 and attacked["rows"]["random-characters"] > 0


def test_a_score_has_a_letter_for_every_row_in_their_order(done):
    job, result = one(done, "score", "standard", name="toy")
    folder = model_folder(needs(done[0], job)[0], job)
    rows = load(done[0].root / "test.csv", split="test")
    answers = as_victim(str(folder)).exact.answer(list(rows.texts))
    expected = "".join("01"[int(a.argmax()) == label] for a, label in zip(answers, rows.labels, strict=True))
    assert result["correct"] == expected and result["rows"] == 40 and result["sha256"] == rows.digest
    assert result["scores"]["accuracy"] == expected.count("1") / 40 > 0.8
    _, other = one(done, "score", "standard", name="other")
    assert other["cross_domain"] and other["rows"] == 30 and other["scores"]["accuracy"] > 0.8


def test_an_attack_says_what_became_of_every_row(done):
    job, result = one(done, "attack", "standard")
    letters = result["outcomes"]
    assert len(letters) == result["rows"] == 12 and set(letters) <= set("hbs") and "b" in letters
    assert result["sha256"] == job.data["test"] and result["described"]["recipe"] == "deepwordbug"
    calibrated = result["calibrated"]
    assert len(calibrated["outcomes"]) == 12 and calibrated["temperature"] >= 1 == result["temperature"]
    assert [example["row"] for example in result["examples"]] == [0, 1, 2]
    for letter, example in zip(letters, result["examples"], strict=False):
        status = {"h": "failed", "b": "success", "s": "skipped"}[letter]
        assert example["status"] == status and example["label"] in ("neg", "pos")
        assert (example["adversarial"] is not None) == (letter == "b")
        assert example["attempt"] is None or (letter == "h" and example["attempt"] != example["original"])


def test_rows_that_broke_one_model_are_asked_of_the_others(done):
    _, result = one(done, "transfer", "pgd")
    _, source = one(done, "attack", "standard")
    assert result["source"] == "standard" and result["recipe"] == "deepwordbug"
    assert result["rows"] == source["outcomes"].count("b") == len(result["correct"])
    assert [source["outcomes"][row] for row in result["numbers"]] == ["b"] * result["rows"]
    assert result["sha256"] == one(done, "transfer", "swap")[1]["sha256"]


def test_adversarial_texts_that_are_gone_are_named(done):
    found = done[0]
    job, _ = one(done, "transfer", "pgd")
    texts = needs(found, job)[1]
    shutil.move(texts, texts.with_name("away"))
    with pytest.raises(RunError, match="the texts of 'toy: standard, seed 0: attack deepwordbug' are gone"):
        perform(job, found.folder, needs(found, job))
    shutil.move(texts.with_name("away"), texts)


def test_a_curve_falls_with_the_radius(done):
    _, result = one(done, "curve", "standard")
    zero, far = result["points"]
    assert zero["radius"] == "0x" and zero["radius_absolute"] == 0 and far["radius_absolute"] > 0
    assert len(zero["correct"]) == result["rows"] == 10
    assert zero["correct"].count("1") / 10 == zero["accuracy"] >= far["accuracy"] == far["correct"].count("1") / 10


def test_a_mixture_and_its_parts_are_measured_apart(done):
    _, result = one(done, "mix", "mix")
    assert result["storage"] > 0 and result["attack_seconds"] >= 0
    assert result["trainable_parameters"] < result["parameters"]
    own, part = one(done, "score", "mix", name="toy")[0], one(done, "score", "union", name="toy")[0]
    folders = [model_folder(needs(done[0], each)[0], each) for each in (own, part)]
    assert folders[0].name == "model" and folders[1] == folders[0] / "baselines" / "union"
    with pytest.raises(RunError, match="is gone"):
        model_folder(done[0].folder / "work" / "nowhere", own)


def test_the_same_job_again_gives_the_same_result(done):
    found, _ = done
    for kind, arm in (("train", "standard"), ("augment", "rows"), ("mix", "mix")):
        job, before = one(done, kind, arm)  # a runner that died before it noted the result
        again = perform(job, found.folder, needs(found, job))
        assert {**again, "seconds": 0} == {**before, "seconds": 0}
    job, before = one(done, "attack", "pgd")
    shutil.rmtree(found.folder / "work" / job.id)
    again = perform(job, found.folder, needs(found, job))
    assert {**again, "seconds": 0} == {**before, "seconds": 0}


def test_an_interrupted_training_goes_on_to_the_same_weights(done, monkeypatch):
    found = done[0]
    job, before = one(done, "train", "pgd")
    folder = found.folder / "work" / job.id
    weights = load_trained(folder / "model")[0].state_dict()
    shutil.rmtree(folder)

    class Died(BaseException):
        pass

    def tick(what, step, total):
        if step == 10:
            raise Died

    with pytest.raises(Died):
        perform(job, found.folder, [], tick)
    cost = (folder / "model" / "checkpoints" / "checkpoint-6" / "cost.json").read_text()
    result = perform(job, found.folder, [])
    assert result["resumed_from"] == "checkpoint-6" and result["passes"] == before["passes"]
    assert result["eval"] == before["eval"]
    assert result["train_seconds"] > json.loads(cost)["seconds"] > 0
    for name, value in load_trained(folder / "model")[0].state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not (folder / "model" / "checkpoints").exists()


def test_what_another_attempt_left_behind_is_begun_anew(done):
    found = done[0]
    job, _ = one(done, "train", "standard", "passes")
    model = found.folder / "work" / job.id / "model"
    shutil.rmtree(model)
    (model / "checkpoints").mkdir(parents=True)  # killed before its run.yaml was there
    assert "resumed_from" not in perform(job, found.folder, [])
    (model / "metrics.json").unlink()
    text = (model / "run.yaml").read_text()
    (model / "run.yaml").write_text(text.replace("model: ", "model: /elsewhere"))  # the folder was moved
    assert "resumed_from" not in perform(job, found.folder, [])


def test_data_that_changed_after_the_plan_is_refused(done, tmp_path):
    found = done[0]
    place = shutil.copytree(found.root, tmp_path / "place")
    folder = place / "studies" / "small"
    (place / "test.csv").write_text("text,label\nthe film was good,pos\nthe film was bad,neg\n")
    (place / "train.csv").write_text("text,label\nthe film was good,pos\nthe film was bad,neg\n")
    moved = read_plan(folder)
    for kind in ("train", "score", "attack", "curve"):
        job, _ = one(done, kind, "pgd", **({"name": "toy"} if kind == "score" else {}))
        with pytest.raises(DataError, match="has changed since the study was planned"):
            perform(job, folder, needs(moved, job))


def test_a_pre_trained_start_and_held_out_parts(tmp_path):
    place = write_place(tmp_path)
    (place / "corpus.txt").write_text("the film was good\n\na book is bad and a plot was fine\n\n" * 40)
    data = {"toy": {"train": "train.csv", "dev_share": 0.2, "test_share": 0.2, "limit": 20, "dev_limit": 9}}
    pretrain = {
        "corpus": "corpus.txt",
        "steps": 3,
        "length": 16,
        "batch_size": 2,
        "method": "alum",
        "precision": "fp32",
        "hold_out": 4,
    }
    scratch = pretrain | {"family": "bert", "size": "tiny", "tokenizer": "base", "method": "standard"}
    arms = {"again": {"pretrain": pretrain}, "new": {"pretrain": scratch, "train": {"adapter": "lora"}}}
    found = plan(write_study(place, arms=arms, data=data, budgets={"epochs": 1}))
    write_plan(found)
    results = {(job.kind, job.arm): perform(job, found.folder, needs(found, job)) for job in found.jobs}
    assert results["pretrain", "again"]["passes"] == 9 and results["pretrain", "again"]["eval"]["loss"] > 0
    assert results["pretrain", "new"]["parameters"] != results["pretrain", "again"]["parameters"] > 100
    assert results["train", "again"]["steps"] == 2 and results["train", "again"]["eval"]["examples"] == 9
    assert results["score", "again"]["rows"] == 12
    assert results["train", "new"]["trainable_parameters"] < results["train", "new"]["parameters"]


def test_quantities_are_predicted(tmp_path):
    place = write_place(tmp_path)
    rows = "\n".join(
        f"the film was {('bad', 'good')[i % 2]} {'very ' * (i % 3)},{i % 2 + i % 3 / 3}" for i in range(18)
    )
    (place / "numbers.csv").write_text(f"text,label\n{rows}\n")
    data = {"toy": {"train": "numbers.csv", "test": "numbers.csv"}}
    found = plan(write_study(place, data=data, train=SMALL["train"] | {"epochs": 1}))
    write_plan(found)
    results = [perform(job, found.folder, needs(found, job)) for job in found.jobs]
    assert results[-1]["metric"] == "pearson" and set(results[-1]["scores"]) == {"pearson", "spearman"}
    assert len(results[-1]["predictions"]) == len(results[-1]["targets"]) == 18


def test_neurons_are_analysed(done, tmp_path):
    pytest.importorskip("sparring.analyse.neurons")
    place = shutil.copytree(done[0].root, tmp_path / "place")
    draws = [(word, "NOUN") for word in ("film", "book", "plot")] + [(w, "ADJ") for w in ("good", "bad", "fine")]
    lines = []
    for i in range(120):
        pair = draws[i % 3], draws[3 + i % 2]
        lines += [f"{n}\t{w}\t_\t{tag}\t_\t_\t_\t_\t_\t_" for n, (w, tag) in enumerate(pair, 1)] + [""]
    (place / "small.conllu").write_text("\n".join(lines) + "\n")
    neurons = {"corpus": "small.conllu", "arms": ["standard"], "words": 200, "path": 1, "passes": 20}
    found = plan(write_study(place, **STUDY, neurons=neurons))
    (job,) = [job for job in found.jobs if job.kind == "neurons" and job.budget == "epochs"]
    write_plan(found)
    result = perform(job, found.folder, needs(found, job))
    assert result["words"] == 200 and result["oracle"]["accuracy"] > 0.9 and job.name == "small"


def test_numbers_of_weights_are_counted_in_their_files(done):
    job, _ = one(done, "train", "standard")
    folder = done[0].folder / "work" / job.id / "model"
    model, _ = load_trained(folder)
    assert perform_make._numbers_in(folder) == sum(weight.numel() for weight in model.parameters())
