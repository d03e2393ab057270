"""The job that makes an adapter mixture: what is in the folder, and that nothing is lost or done twice."""

import json
import os
import random
import shutil
import signal
import time

import pytest
import torch
from commands import sparring
from puppets import exit_code, forked, random_model
from safetensors.torch import load_file, save_file

from sparring.adapters.folder import load_mixture
from sparring.adapters.gates import Gate
from sparring.adapters.load import load_trained
from sparring.adapters.mixture import AdapterMixture
from sparring.errors import DataError, ModelError, RunError, SettingError
from sparring.evaluate.run import evaluate_run
from sparring.train.mix import add_attack, describe_mixture, export_mixture, train_mixture
from sparring.train.mix_data import training_data
from sparring.train.mix_options import BASELINES, Mix

NOUNS, FINE, POOR = ("film", "book", "plot"), ("good", "fine"), ("bad", "awful")


def write_rows(path, count, seed):
    draws = random.Random(seed)
    lines = ["text,label"]
    for number in range(count):
        kind = ("pos", "neg")[number % 2]
        word = draws.choice(FINE if kind == "pos" else POOR)
        lines.append(f"the {draws.choice(NOUNS)} was {word} and a {draws.choice(NOUNS)} is {word},{kind}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base model and data."""
    folder = tmp_path_factory.mktemp("mix")
    model, tokenizer = random_model()
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    write_rows(folder / "train.csv", 60, 0)
    write_rows(folder / "dev.csv", 20, 1)
    return folder


def settings(place, output, **more):
    given = {
        "model": str(place / "base"),
        "data": str(place / "train.csv"),
        "eval_data": str(place / "dev.csv"),
        "attacks": "random-characters",
        "attack_rows": 40,
        "train_on": "both",
        "epochs": 4.0,
        "attack_epochs": 3.0,
        "learning_rate": 0.02,
        "batch_size": 8,
        "max_length": 39,
        "precision": "fp32",
        "output": str(output),
    }
    return Mix(**given | more)


@pytest.fixture(scope="module")
def made(place):
    """A finished mixture and what the job said of it."""
    output = place / "made"
    return output, train_mixture(settings(place, output, baselines="all"))


def weights_in(folder):
    return {
        path.relative_to(folder).as_posix(): load_file(path)
        for path in sorted(folder.rglob("*.safetensors"))
        if "training" not in path.parts
    }


def assert_same_files(one, other, without=""):
    """The same weights in both; `without`: files whose path begins so are in the other alone."""
    found, wanted = weights_in(one), weights_in(other)
    wanted = {name: tensors for name, tensors in wanted.items() if not (without and name.startswith(without))}
    assert found.keys() == wanted.keys() and found
    for name, tensors in wanted.items():
        assert all(torch.equal(found[name][key], value) for key, value in tensors.items()), name


def test_the_folder_holds_a_mixture_that_is_a_model_like_any_other(made):
    folder, metrics = made
    mixture, tokenizer = load_trained(folder)
    assert isinstance(mixture, AdapterMixture) and mixture.names == ("clean", "random-characters")
    assert mixture.attacks["random-characters"] == "random-characters" and mixture.calibration.rows > 20
    found = mixture(**tokenizer(["the film was good", "x y z"], padding=True, return_tensors="pt"))
    assert found.mixing.shape == (2, 1)
    record = evaluate_run(folder)
    assert record["clean"]["accuracy"] == metrics["eval"]["accuracy"] >= 0.7
    assert metrics["stages"]["attack random-characters"]["broken"] > 0
    assert not list((folder / "training").rglob("*.safetensors"))  # nothing is stored twice


def test_rows_kept_back_for_calibration_are_not_trained_on(made):
    stages = made[1]["stages"]
    broken, trained = stages["attack random-characters"]["broken"], stages["random-characters"]["rows"]
    assert trained == 60 + broken - broken // 10
    assert stages["calibration"]["rows"] == 20 + broken // 10


def test_both_adapters_begin_with_the_same_weights_and_share_a_head(place, made, tmp_path):
    barely = train_mixture(settings(place, tmp_path / "m", epochs=0.01, attack_epochs=0.01, learning_rate=1e-12))
    mixture, _ = load_mixture(tmp_path / "m")
    clean, other = (mixture.adapter(name) for name in mixture.names)
    assert all(torch.allclose(clean.tensors[key], other.tensors[key], atol=1e-9) for key in clean.tensors)
    assert clean.head is None and (tmp_path / "m" / "head.safetensors").is_file()
    assert barely["trainable_parameters"] == sum(x.numel() for x in clean.tensors.values())


def test_a_mixture_whose_base_was_moved_is_told_where_it_is_once(made, place, tmp_path, capsys):
    folder, base = tmp_path / "m", tmp_path / "here"
    shutil.copytree(made[0], folder)
    shutil.copytree(place / "base", base)
    for file in folder.rglob("mixture.json"):
        about = json.loads(file.read_text())
        about["base"] |= {"name": str(tmp_path / "gone"), "relative": None}
        file.write_text(json.dumps(about))
    code, _, err = sparring("mix", "show", folder, capsys=capsys)
    assert code == 2 and f"If it has moved: sparring mix rebase {folder} --base FOLDER" in err
    shutil.copytree(base, tmp_path / "another")
    weights = load_file(base / "model.safetensors")
    changed = {name: x + 1 if "word_embeddings" in name else x for name, x in weights.items()}
    save_file(changed, tmp_path / "another" / "model.safetensors", metadata={"format": "pt"})
    code, _, err = sparring("mix", "rebase", folder, "--base", tmp_path / "another", capsys=capsys)
    assert code == 2 and "is not the one that" in err
    code, out, err = sparring("mix", "rebase", folder, "--base", base, "--json", capsys=capsys)
    assert code == 0, err
    changed = json.loads(out)["changed"]
    assert changed[0] == str(folder) and len(changed) == len(list(folder.rglob("mixture.json"))) > 3
    for file in folder.rglob("mixture.json"):
        about = json.loads(file.read_text())["base"]
        assert about["name"] == str(base.resolve()) and about["relative"].endswith("here")
    assert evaluate_run(folder)["clean"]["accuracy"] == made[1]["eval"]["accuracy"]
    assert evaluate_run(folder / "baselines" / "vote")["clean"]["accuracy"] >= 0.5


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_is_a_model_that_can_be_evaluated(made, name):
    folder = made[0] / "baselines" / name
    model, _ = load_trained(folder)
    assert evaluate_run(folder)["clean"]["accuracy"] >= 0.5
    if name in ("logits", "vote"):
        assert model.combine == name
    assert isinstance(model, AdapterMixture) == (name != "model-soup")


def test_one_more_attack_is_one_more_adapter_and_the_others_stay(place, made, tmp_path):
    folder = tmp_path / "m"
    train_mixture(settings(place, folder))
    before = weights_in(folder)
    metrics = add_attack(folder, "deepwordbug")
    after = weights_in(folder)
    assert all(torch.equal(after[name][key], x) for name in before for key, x in before[name].items())
    assert {name.split("/")[1] for name in after.keys() - before.keys()} == {"deepwordbug"}
    mixture, _ = load_mixture(folder)
    assert mixture.names == ("clean", "random-characters", "deepwordbug")
    assert metrics["adapters"]["deepwordbug"]["bytes"] > 0 and len(mixture.calibration.low) == 3
    with pytest.raises(RunError, match="has an adapter for deepwordbug already"):
        add_attack(folder, "deepwordbug")


@pytest.mark.parametrize("kind", ["pfeiffer", "houlsby"])
def test_bottlenecks_with_heads_of_their_own_are_made_and_exported_too(place, tmp_path, kind):
    train_mixture(settings(place, tmp_path / "m", adapter=kind, reduction=4, head="mixed"))
    export_mixture(tmp_path / "m", tmp_path / "fixed", 0.5)
    fixed, _ = load_trained(tmp_path / "fixed")
    assert isinstance(fixed, AdapterMixture) and len(fixed.names) == 1


def test_an_export_answers_as_the_mixture_does_with_these_shares(made, tmp_path):
    folder, _ = made
    export_mixture(folder, tmp_path / "plain", 0.7)
    plain, tokenizer = load_trained(tmp_path / "plain")
    mixture, _ = load_mixture(folder)
    inputs = tokenizer(["the film was good", "a bad plot"], padding=True, return_tensors="pt")
    with torch.no_grad():
        wanted = mixture.mixed(torch.tensor([[0.7, 0.3]] * 2), **inputs).logits
        assert torch.allclose(plain(**inputs).logits, wanted, atol=1e-5)
    assert evaluate_run(tmp_path / "plain")["clean"]["examples"] == 20
    with pytest.raises(SettingError, match="share"):
        export_mixture(folder, tmp_path / "other", 1.7)


def test_a_mixture_says_what_it_is_made_of_and_what_a_text_resembles(made, capsys):
    record = describe_mixture(made[0], ("the film was good",))
    assert [row["name"] for row in record["adapters"]] == ["clean", "random-characters"]
    assert sum(row["weight"] for row in record["adapters"]) == pytest.approx(1)
    assert 0 <= record["mixing"]["random-characters"] <= 1 and record["answer"] in ("pos", "neg")
    code, out, _ = sparring("mix", "show", made[0], "--text", "\x1b[31mfilm", capsys=capsys)
    assert code == 0 and "random-characters" in out and "\x1b[31m" not in out


def test_a_finished_folder_and_other_settings_are_refused(place, made, tmp_path):
    folder, _ = made
    with pytest.raises(RunError, match="is finished"):
        train_mixture(settings(place, folder, baselines="all"))
    with pytest.raises(RunError, match="began with rank=8, not 4"):
        train_mixture(settings(place, folder, baselines="all", rank=4))


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        ({"attacks": "checklist"}, DataError, "checklist broke none of 40 training rows"),
        ({"attacks": "textfoolr"}, SettingError, "textfooler"),
        ({"frozen": "0"}, SettingError, "every text column"),
        ({"frozen": "3"}, SettingError, "one column, number 0"),
    ],
)
def test_what_cannot_work_is_one_message(place, tmp_path, more, kind, message):
    with pytest.raises(kind, match=message):
        train_mixture(settings(place, tmp_path / "m", **more))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"attacks": "a2t,a2t"}, "once"),
        ({"attacks": "clean"}, "clean adapter"),
        ({"baselines": "soup"}, "choose from"),
        ({"adapter": "pfeiffer", "space": "updates"}, "no updates"),
        ({"frozen": "first"}, "numbers of text columns"),
        ({"frozen": "²"}, "numbers of text columns"),
    ],
)
def test_settings_that_make_no_sense_are_refused(more, message):
    with pytest.raises(SettingError, match=message):
        Mix(**more)


def test_a_class_that_an_attack_never_breaks_is_named(place, tmp_path, monkeypatch):
    from sparring.train.mix_job import Job

    found = Job._outcomes
    monkeypatch.setattr(Job, "_outcomes", lambda self, *a: [o for o in found(self, *a) if o.label == 1])
    with pytest.raises(DataError, match=r"broke no row of the class 'neg'.*--train-on both"):
        train_mixture(settings(place, tmp_path / "m", train_on="adversarial"))


def test_a_base_that_changed_in_between_is_named(place, made, tmp_path):
    shutil.copytree(place / "base", tmp_path / "base")
    train_mixture(settings(place, tmp_path / "m", model=str(tmp_path / "base"), epochs=0.1, attack_epochs=0.1))
    model, _ = random_model()
    other = type(model)(model.config)
    other.save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match="is not the one that"):
        add_attack(tmp_path / "m", "deepwordbug")


def test_rows_are_held_out_at_random_and_never_trained_on(place):
    train, held_out = training_data(Mix(data=str(place / "train.csv")))
    assert len(held_out.texts) == 6 and len(train.texts) == 54
    assert set(held_out.labels) == {0, 1}  # the labels of the file take turns: every tenth row has the same one
    again = training_data(Mix(data=str(place / "train.csv")))[1]
    assert again.texts == held_out.texts


def test_a_baseline_is_not_added_to_and_neither_is_an_unfinished_mixture(made, tmp_path):
    with pytest.raises(RunError, match="not a mixture"):
        add_attack(made[0] / "baselines" / "vote", "deepwordbug")
    with pytest.raises(RunError, match="not a mixture"):
        add_attack(made[0] / "baselines" / "union", "deepwordbug")
    shutil.copytree(made[0], tmp_path / "m")
    (tmp_path / "m" / "metrics.json").unlink()
    with pytest.raises(RunError, match="is not finished"):
        add_attack(tmp_path / "m", "deepwordbug")


def test_an_added_attack_keeps_the_gate_that_the_mixture_has_now(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "m")
    mixture, _ = load_mixture(tmp_path / "m")
    mixture.gate = Gate(name="softmax_neg_entropy", temperature=0.3)
    mixture.save_pretrained(tmp_path / "m")
    add_attack(tmp_path / "m", "deepwordbug")
    assert load_mixture(tmp_path / "m")[0].gate == mixture.gate


def test_an_addition_that_was_cut_off_before_its_end_is_finished_by_the_same_call(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "m")
    whole = add_attack(tmp_path / "m", "deepwordbug")
    shutil.copy(made[0] / "metrics.json", tmp_path / "m" / "metrics.json")  # as it was before the addition
    assert add_attack(tmp_path / "m", "deepwordbug")["adapters"] == whole["adapters"]


def test_what_the_base_cannot_take_is_said_before_anything_is_written(place, tmp_path):
    with pytest.raises(ModelError, match="LoRA"):
        train_mixture(settings(place, tmp_path / "m", targets="nonsense"))
    assert not (tmp_path / "m").exists()


def test_the_wrong_number_of_texts_is_one_message(made):
    with pytest.raises(SettingError, match="given 2 times"):
        describe_mixture(made[0], ("a film", "a book"))
    assert describe_mixture(made[0], ("film " * 500,))["answer"]


def kill_when(condition, child):
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        if condition():
            os.kill(child, signal.SIGKILL)
            return exit_code(child)
        time.sleep(0.002)
    raise AssertionError("the moment never came")


@pytest.mark.parametrize("moment", ["adapter", "attack", "attack adapter", "calibration"])
def test_a_job_that_is_killed_goes_on_by_the_same_call_and_ends_in_the_same_files(place, made, tmp_path, moment):
    folder = tmp_path / "m"
    compared = "all" if moment == "calibration" else None  # they come last, and are made anew after any other moment
    own = settings(place, folder, baselines=compared, save_every=3)
    training, lines = folder / "training", folder / "attacks" / "random-characters.jsonl"
    moments = {
        "adapter": lambda: any((training / "clean" / "checkpoints").glob("checkpoint-*")),
        "attack": lambda: lines.is_file() and len(lines.read_bytes().splitlines()) > 5,
        "attack adapter": lambda: any((training / "random-characters" / "checkpoints").glob("checkpoint-*")),
        "calibration": lambda: (training / "random-characters" / "adapter").is_dir(),
    }
    torch.set_num_threads(1)
    assert kill_when(moments[moment], forked(lambda: train_mixture(own))) == 137
    assert not (folder / "metrics.json").exists()
    before = lines.read_bytes() if lines.is_file() else b""
    train_mixture(own)
    assert_same_files(folder, made[0], without="" if compared else "baselines/")
    whole = before[: before.rfind(b"\n") + 1]
    assert lines.read_bytes().startswith(whole)
    rows = [json.loads(line)["row"] for line in lines.read_text().splitlines()[1:]]
    assert sorted(rows) == list(range(40))


def test_the_command_trains_adds_and_exports(place, tmp_path, capsys):
    flags = ["--model", place / "base", "--data", place / "train.csv", "--attacks", "random-characters", "--epochs", 1]
    flags += [
        "--attack-rows",
        20,
        "--train-on",
        "both",
        "--learning-rate",
        0.02,
        "--max-length",
        39,
        "--output",
        tmp_path / "m",
    ]
    code, out, err = sparring("mix", "train", *flags, capsys=capsys)
    assert code == 0 and "a tenth of the training rows is held out" in err and "random-characters" in out
    code, out, _ = sparring("mix", "add", tmp_path / "m", "--attack", "deepwordbug", "--json", capsys=capsys)
    assert code == 0 and "deepwordbug" in json.loads(out)["adapters"]
    code, _, _ = sparring(
        "mix", "export", tmp_path / "m", "--coefficient", 0.7, "--output", tmp_path / "p", capsys=capsys
    )
    assert code == 0 and (tmp_path / "p" / "config.json").is_file()
    code, _, err = sparring("mix", "add", tmp_path / "m", "--attack", "deepwordbgu", capsys=capsys)
    assert code == 2 and "deepwordbug" in err
    code, out, _ = sparring(
        "attack", tmp_path / "m", "--recipe", "deepwordbug", "--data", place / "dev.csv", "--examples", 4, "--json",
        "--output", tmp_path / "attacks", capsys=capsys,
    )  # fmt: skip
    assert code == 0 and json.loads(out)["victims"][0]["attacks"][0]["summary"]["examples"] == 4
