"""The command line as a user meets it: runs, records, and one clear message for each mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from commands import sparring
from puppets import random_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    ViTConfig,
)

from sparring import __version__
from sparring.cli import console

WORDS = ["good", "bad", "fine", "awful", "great", "poor", "film", "book", "meal", "a", "the", "was", "is"]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A folder with a tiny BERT classifier and a word tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """train.csv and dev.csv in which one word decides."""
    folder = tmp_path_factory.mktemp("data")
    for name, rows in (("train", 48), ("dev", 24)):
        lines = [f"the {WORDS[6 + i % 3]} was {WORDS[i % 6]},{'neg' if i % 2 else 'pos'}" for i in range(rows)]
        (folder / f"{name}.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return folder


def train(model, data, output, *more, capsys):
    """A short training run."""
    base = ["--model", model, "--data", data / "train.csv", "--eval-data", data / "dev.csv", "--output", output]
    short = ["--batch-size", 16, "--learning-rate", 1e-2, "--precision", "fp32"]
    return sparring("train", *base, *short, *more, capsys=capsys)


@pytest.fixture(scope="module")
def finished(model, data, tmp_path_factory):
    """The folder of a finished FGM run."""
    folder = tmp_path_factory.mktemp("runs") / "fgm"
    from sparring import FineTune, finetune

    finetune(
        FineTune(
            model=str(model),
            data=str(data / "train.csv"),
            eval_data=str(data / "dev.csv"),
            method="fgm",
            settings={"radius": "0.1x"},
            output=str(folder),
            epochs=20,
            batch_size=16,
            learning_rate=5e-3,
            precision="fp32",
        )
    )
    return folder


def test_a_run_folder_holds_the_model_and_everything_to_repeat_it(finished):
    description = yaml.safe_load((finished / "run.yaml").read_text())
    assert description["method"]["name"] == "fgm" and description["labels"] == ["neg", "pos"]
    assert len(description["data"]["train"]["sha256"]) == 64 and description["versions"]["torch"]
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["eval"]["accuracy"] > 0.9 and metrics["steps"] == 60
    log = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert {"loss", "loss_task", "loss_adversarial"} <= log[0].keys()
    assert (finished / "model.safetensors").is_file() and not list(finished.rglob("training_args.bin"))


def test_evaluate_reports_clean_accuracy_and_a_curve_that_never_rises(finished, capsys):
    code, out, _ = sparring("evaluate", finished, "--radius", "0,0.1x,1x,20x", "--json", capsys=capsys)
    record = json.loads(out)
    accuracies = [point["accuracy"] for point in record["curve"]]
    assert code == 0 and accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] == record["clean"]["accuracy"] and accuracies[-1] < 0.6
    assert {check["name"] for check in record["checks"]}


def test_evaluate_compares_runs_in_one_table(finished, capsys):
    code, out, err = sparring("evaluate", finished, finished, "--radius", "0,0.1x", capsys=capsys)
    assert code == 0 and out.count("fgm") >= 2 and "accuracy" in out and "…" not in out
    assert str(finished) in "".join(line.split()[0] for line in out.splitlines() if line.strip())  # folded, not cut
    assert "of the attack passed" in err or "warning: " in err


def test_training_is_repeatable_and_resumes_from_run_yaml_alone(model, data, tmp_path, capsys):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        assert train(model, data, folder, "--method", "alum", "--epochs", 2, capsys=capsys)[0] == 0
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    for name in ("metrics.json", "model.safetensors", "config.json"):
        (second / name).unlink()
    for path in (second / "checkpoints" / "checkpoint-6").iterdir():
        path.unlink()
    (second / "checkpoints" / "checkpoint-6").rmdir()
    code, _, err = sparring("train", "--output", second, "--resume", capsys=capsys)
    assert code == 0, err
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert (first / "log.jsonl").read_text().count("\n") == (second / "log.jsonl").read_text().count("\n")


def test_a_config_file_gives_settings_that_flags_override(model, data, tmp_path, capsys):
    config = tmp_path / "run.yml"
    config.write_text(f"model: {model}\ndata: {data}/train.csv\nmethod: pgd\nepochs: 1\nsettings: {{steps: 2}}\n")
    code, out, err = sparring(
        "train", "--config", config, "--output", tmp_path / "c", "--set", "radius=0.2x", "--json", capsys=capsys
    )
    assert code == 0, err
    method = yaml.safe_load((tmp_path / "c" / "run.yaml").read_text())["method"]
    assert method["steps"] == 2 and method["radius"] == "0.2x" and json.loads(out)["steps"] == 2


def test_a_method_of_a_config_file_that_there_is_not_is_named(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("method: freelbb\n")
    for more in ([], ["--set", "radius=1"]):
        code, _, err = sparring(
            "train", "--config", tmp_path / "c.yaml", "--output", tmp_path / "r", *more, capsys=capsys
        )
        assert code == 2 and "there is no method 'freelbb'; did you mean 'freelb'?" in err
    assert not (tmp_path / "r").exists()


def test_lora_trains_saves_and_evaluates_and_reads_safetensors_alone(model, data, tmp_path, capsys):
    code, _, err = train(model, data, tmp_path / "l", "--adapter", "lora", "--epochs", 1, capsys=capsys)
    assert code == 0, err
    saved = json.loads((tmp_path / "l" / "metrics.json").read_text())["eval"]
    code, out, err = sparring("evaluate", tmp_path / "l", "--json", capsys=capsys)
    assert code == 0, err
    assert json.loads(out)["clean"]["loss"] == pytest.approx(saved["loss"], rel=1e-4)
    (tmp_path / "l" / "adapter_model.safetensors").rename(tmp_path / "l" / "adapter_model.bin")
    code, _, err = sparring("evaluate", tmp_path / "l", capsys=capsys)
    assert code == 2 and "no adapter_model.safetensors" in err and "save_pretrained" in err


MISTAKES = {
    "an unknown method": (["--method", "matt"], ["no method 'matt'", "did you mean 'mat'"]),
    "an unknown setting": (["--method", "fgm", "--set", "radios=1"], ["no setting 'radios'", "did you mean 'radius'"]),
    "a setting out of range": (["--method", "pgd", "--set", "steps=0"], ["'steps' is 0", "at least 1"]),
    "a setting that is no number": (["--method", "fgm", "--set", "radius=big"], ["'big' is not a size", "0.25x"]),
    "a pair without equals": (["--method", "fgm", "--set", "radius"], ["name=value"]),
    "an unknown choice": (["--precision", "fp8"], ["'precision' is 'fp8'", "bf16"]),
    "fp16 without a GPU": (["--precision", "fp16"], ["needs a GPU", "bf16"]),
    "a negative number of epochs": (["--epochs", "-1"], ["'epochs'", "greater than 0"]),
    "accumulation with mat": (["--method", "mat", "--accumulation", "2"], ["mat cannot accumulate", "smaller batch"]),
    "a model that is nowhere": (["--model", "/no/such/model"], ["/no/such/model", "config.json"]),
    "a file that is nowhere": (["--data", "nowhere.csv"], ["nowhere.csv"]),
    "shards of one process": (["--fsdp"], ["there is one; start several with torchrun"]),
    "shards of an adapter": (["--fsdp", "--adapter", "lora"], ["fsdp and adapter=lora do not go together"]),
    "shards under attack": (["--fsdp", "--online", "a2t"], ["fsdp and online=a2t", "the whole model on each process"]),
    "an unknown preset": (["--preset", "papers"], ["'preset' is 'papers'", "printed"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_message_with_the_way_out_and_leaves_nothing(mistake, model, data, tmp_path, capsys):
    flags, wanted = MISTAKES[mistake]
    if os.environ.get("CUDA_VISIBLE_DEVICES", "") and "fp16" in mistake:
        pytest.fail("this test is for machines without a GPU")
    code, out, err = train(model, data, tmp_path / "run", *flags, capsys=capsys)
    assert code == 2 and "error:" in err and "Traceback" not in err + out
    for part in wanted:
        assert part in err, err
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_no_text_classifier_is_named_as_such(tmp_path, data, model, capsys):
    for path in model.iterdir():
        if "token" in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16).save_pretrained(
        tmp_path
    )
    code, _, err = train(tmp_path, data, tmp_path / "run", capsys=capsys)
    assert code == 2 and "is a vit model" in err and "BERT" in err


def test_weights_in_a_pickle_are_refused_with_the_way_out(tmp_path, finished, data, capsys):
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in finished.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(finished / "model.safetensors"), folder / "pytorch_model.bin")
    for refused in (
        sparring("evaluate", folder, "--data", data / "dev.csv", capsys=capsys),
        train(folder, data, tmp_path / "run", capsys=capsys),
    ):
        code, _, err = refused
        assert code == 2 and "safetensors" in err and "save_pretrained" in err
    assert not (tmp_path / "run").exists()


def test_settings_whose_aliases_explode_are_refused(tmp_path, capsys):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    for text in ("\n".join(lines), "a: &a [*a]\n"):
        (tmp_path / "bomb.yaml").write_text(text)
        code, _, err = sparring("train", "--config", tmp_path / "bomb.yaml", capsys=capsys)
        assert code == 2 and "bomb.yaml stands for more than" in err


def test_a_folder_that_holds_a_run_is_not_overwritten(finished, model, data, capsys):
    before = (finished / "model.safetensors").read_bytes()
    code, _, err = train(model, data, finished, capsys=capsys)
    assert code == 2 and "already holds a run" in err and "--resume" in err
    assert (finished / "model.safetensors").read_bytes() == before


def test_resuming_with_other_settings_or_a_finished_run_is_refused(finished, capsys):
    code, _, err = sparring("train", "--output", finished, "--resume", "--epochs", 9, capsys=capsys)
    assert code == 2 and "began with epochs=" in err
    code, _, err = sparring("train", "--output", finished, "--resume", capsys=capsys)
    assert code == 2 and "finished" in err


def test_an_output_that_cannot_be_written_is_one_message(model, data, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = train(model, data, tmp_path / "file" / "run", capsys=capsys)
    assert code == 2 and "file" in err and "Traceback" not in err


def test_a_full_disk_is_noticed_before_the_run_starts(model, data, tmp_path, capsys, monkeypatch):
    usage = __import__("shutil").disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    code, _, err = train(model, data, tmp_path / "run", capsys=capsys)
    assert code == 2 and "GB free" in err and "--keep" in err and not (tmp_path / "run").exists()


def test_a_label_seen_only_in_dev_names_file_row_and_label(model, data, tmp_path, capsys):
    (tmp_path / "dev.csv").write_text("text,label\ngood film,pos\nbad film,sad\n")
    code, _, err = train(model, data, tmp_path / "run", "--eval-data", tmp_path / "dev.csv", capsys=capsys)
    assert code == 2 and "dev.csv" in err and "'sad'" in err and "3" in err


def test_hostile_text_in_a_message_reaches_the_terminal_in_visible_form(model, data, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("text,label\ngood,pos\nbad,\x1b[31m[bold]neg\n")
    code, out, err = train(model, data, tmp_path / "run", "--eval-data", tmp_path / "t.csv", capsys=capsys)
    assert code == 2 and "\x1b" not in err + out


def test_evaluating_what_is_no_model_says_so(tmp_path, capsys):
    code, _, err = sparring("evaluate", tmp_path, capsys=capsys)
    assert code == 2 and "holds no trained model" in err


def test_a_classifier_that_is_no_run_is_evaluated_like_one(finished, data, tmp_path, capsys):
    plain, numbered = tmp_path / "plain", tmp_path / "numbered"
    shutil.copytree(finished, plain, ignore=shutil.ignore_patterns("run.yaml", "checkpoints"))
    shutil.copytree(plain, numbered)
    config = json.loads((plain / "config.json").read_text())
    for key in ("id2label", "label2id"):
        del config[key]
    (numbered / "config.json").write_text(json.dumps(config))
    given = ["--data", data / "dev.csv", "--radius", "0,0.1x", "--no-sanity", "--json"]
    found = [
        json.loads(sparring("evaluate", folder, *given, capsys=capsys)[1]) for folder in (finished, plain, numbered)
    ]
    assert found[0]["method"]["name"] == "fgm" and found[1]["method"] == {}
    for name in ("clean", "curve"):
        assert found[0][name] == found[1][name] == found[2][name]
    code, out, _ = sparring("evaluate", plain, *given[:-1], capsys=capsys)
    assert code == 0 and "plain" in out
    code, _, err = sparring("evaluate", plain, capsys=capsys)
    assert code == 2 and "name labelled data with --data" in err


def test_a_model_without_a_head_is_no_classifier(tmp_path, data, capsys):
    for part in random_model("bert", task=AutoModelForMaskedLM):
        part.save_pretrained(tmp_path / "lm")
    for command in (["evaluate", tmp_path / "lm"], ["attack", tmp_path / "lm", "--output", tmp_path / "a"]):
        code, _, err = sparring(*command, "--data", data / "dev.csv", capsys=capsys)
        assert code == 2 and "is no classifier yet, it has no weights for" in err and "classifier.bias" in err


@pytest.mark.parametrize("damage", ["{}", "settings: 5", "[1, 2]", "a: b: c"])
def test_a_damaged_run_yaml_is_one_message(damage, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(damage)
    for command in (["evaluate", tmp_path], ["train", "--output", tmp_path, "--resume"]):
        code, out, err = sparring(*command, capsys=capsys)
        assert code == 2 and "run.yaml" in err and "Traceback" not in err + out


@pytest.mark.parametrize("radius", ["0.1-0.5", "1.2.3", "e", "", "-1"])
def test_a_radius_that_is_no_size_is_named(radius, finished, capsys):
    code, out, err = sparring("evaluate", finished, f"--radius={radius}", capsys=capsys)
    assert code == 2 and "error:" in err and "Traceback" not in err + out


def test_columns_may_have_names_that_yaml_would_read_as_something_else(model, tmp_path, capsys):
    (tmp_path / "dev #1.csv").write_text("null,yes\n" + "good film,1\nbad film,0\n" * 4)
    flags = ["--model", model, "--data", tmp_path / "dev #1.csv", "--text", "null", "--label", "yes", "--epochs", "1"]
    code, _, err = sparring("train", *flags, "--output", tmp_path / "run", "--precision", "fp32", capsys=capsys)
    assert code == 0, err
    code, out, err = sparring(
        "evaluate", tmp_path / "run", "--data", tmp_path / "dev #1.csv", "--text", "null", "--label", "yes", "--json",
        capsys=capsys,
    )  # fmt: skip
    assert code == 0 and json.loads(out)["data"]["rows"] == 8, err


def test_pairs_and_regression_train_and_evaluate(model, tmp_path, capsys):
    rows = [f"good film,{word} film,{number}" for word, number in (("good", 4.5), ("bad", 0.25), ("fine", 3.5))]
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\n" + "\n".join(rows * 3) + "\n")
    base = ["--model", model, "--data", tmp_path / "pairs.csv", "--eval-data", tmp_path / "pairs.csv", "--epochs", 1]
    code, _, err = sparring("train", *base, "--method", "smart", "--output", tmp_path / "run", capsys=capsys)
    assert code == 0, err
    code, out, err = sparring("evaluate", tmp_path / "run", "--json", capsys=capsys)
    assert code == 0 and "pearson" in json.loads(out)["clean"], err


def test_a_full_disk_during_training_is_one_message(model, data, tmp_path, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise __import__("safetensors").SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("sparring.train.engine.save_file", full)
    code, out, err = train(model, data, tmp_path / "run", "--epochs", 1, capsys=capsys)
    assert code == 2 and "No space left" in err and "Traceback" not in err + out
    assert not list((tmp_path / "run").rglob(".partial"))


def test_methods_are_listed_shown_and_cited(capsys):
    code, out, _ = sparring("methods", "--json", capsys=capsys)
    names = [row["name"] for row in json.loads(out)]
    assert code == 0 and len(names) >= 12
    for name in names:
        code, out, _ = sparring("methods", "show", name, "--json", capsys=capsys)
        assert code == 0 and json.loads(out)["name"] == name
    for name, command in (("adpmixup", "sparring mix train"), ("AdpMixup", "docs/mixture.md"), ("a2t", "--online a2t")):
        code, _, err = sparring("methods", "show", name, capsys=capsys)
        assert code == 2 and command in err and "Traceback" not in err
    assert "2306.15826" in sparring("methods", "cite", "mat", capsys=capsys)[1]
    assert "Algorithm" in sparring("methods", "show", "freelb", capsys=capsys)[1]


def test_doctor_reports_versions_as_json(capsys):
    code, out, _ = sparring("doctor", "--json", capsys=capsys)
    assert code == 0 and json.loads(out)["torch"]


def test_help_is_there_within_a_second_of_python_starting():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sparring", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0 and "train" in shown.stdout
    assert " torch\n" not in shown.stderr and "transformers" not in shown.stderr


def test_a_wrong_path_is_named_before_anything_heavy_is_imported():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sparring", "train", "--data", "nosuch.csv"],
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 2 and "error: nosuch.csv: there is no such file" in shown.stderr
    assert " torch\n" not in shown.stderr and "transformers" not in shown.stderr


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "EVERY", 0.0)
    code, _, err = train(model, data, tmp_path / "r", "--epochs", 1, capsys=capsys)
    assert code == 0 and "training: 1 of 3" in err and "training: 3 of 3" in err
    monkeypatch.setattr(console, "EVERY", 60.0)
    code, _, err = train(model, data, tmp_path / "s", "--epochs", 1, capsys=capsys)
    assert code == 0 and "training:" not in err


@pytest.mark.slow
def test_ctrl_c_saves_a_checkpoint_exits_130_and_resumes_to_the_same_model(model, data, tmp_path, capsys):
    flags = ["--model", model, "--data", data / "train.csv", "--batch-size", 8, "--epochs", 60, "--save-every", 1000]
    command = [sys.executable, "-m", "sparring", "train", *map(str, flags), "--precision", "fp32"]
    assert subprocess.run([*command, "--output", str(tmp_path / "whole")], capture_output=True).returncode == 0
    running = subprocess.Popen([*command, "--output", str(tmp_path / "cut")], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "cut" / "log.jsonl"
    while not log.exists() and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, shown = running.communicate(timeout=120)
    assert running.returncode == 130 and "--resume" in shown, shown
    assert list((tmp_path / "cut" / "checkpoints").glob("checkpoint-*"))
    assert sparring("train", "--output", tmp_path / "cut", "--resume", capsys=capsys)[0] == 0
    whole, cut = (Path(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_a_run_remembers_the_columns_it_was_trained_on(model, data, tmp_path, capsys):
    for name in ("train", "dev"):
        text = (data / f"{name}.csv").read_text().replace("text,label", "remark,verdict")
        (tmp_path / f"{name}.csv").write_text(text)
    named = ["--text", "remark", "--label", "verdict", "--epochs", 1]
    code, _, err = train(model, tmp_path, tmp_path / "r", *named, capsys=capsys)
    assert code == 0, err
    for command in ("evaluate", "attack"):
        more = ["--recipe", "deepwordbug", "--output", tmp_path / "a"] if command == "attack" else []
        code, out, err = sparring(
            command, tmp_path / "r", "--data", tmp_path / "dev.csv", *more, "--json", capsys=capsys
        )
        assert code == 0 and json.loads(out), err
    code, _, err = sparring("evaluate", tmp_path / "r", "--data", data / "dev.csv", capsys=capsys)
    assert code == 0, err  # a file with other names is inferred, as ever


def test_the_version_is_printed(capsys):
    code, out, _ = sparring("--version", capsys=capsys)
    assert code == 0 and out.strip() == f"sparring {__version__}"
