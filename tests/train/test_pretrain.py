"""Pre-training runs: what they leave behind, curricula, exact resume, and one clear message for each mistake."""

import json
import math
import shutil

import families
import pytest
import texts
import torch
import yaml
from commands import sparring
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from sparring.cli import console
from sparring.cli.pretrain import _show
from sparring.data.batch import Batch
from sparring.errors import DataError, Interrupted, ModelError, RunError, SettingError
from sparring.methods import METHODS, method
from sparring.settings import parse
from sparring.train import follow_up
from sparring.train.curriculum import Curriculum, first_step_after
from sparring.train.curve import draw_curve
from sparring.train.finetune import finetune
from sparring.train.options import FineTune
from sparring.train.pace import Pace, plain_steps
from sparring.train.pretrain import pretrain, settings_of
from sparring.train.pretrain_options import Pretrain
from sparring.train.stream import Stream, lanes_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus, tokenizers and configs."""
    return texts.write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """A picture takes as long as the run: one test draws it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparring.train.pretrain.draw_curve", lambda *args, **kwargs: True)
        yield


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """Runs by their settings, each made once: its folder."""
    made = {}

    def get(**given):
        key = json.dumps(given, sort_keys=True)
        if key not in made:
            output = tmp_path_factory.mktemp("runs") / "run"
            pretrain(texts.settings(folder, output, **given))
            made[key] = output
        return made[key]

    return get


def logged(output, key):
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in rows if key in row}


def same_weights(one, other):
    first, second = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# what a run is and leaves behind


def test_a_masked_language_model_is_saved_with_its_tokenizer_and_answers_from_the_folder(run):
    output = run(method="alum")
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(output), AutoTokenizer.from_pretrained(output)
    batch = tokenizer(["the food was [MASK]."], return_tensors="pt")
    assert model(**batch).logits.shape[-1] == len(tokenizer) == 400
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["tokens"] == 6 * 8 * 16
    assert metrics["held_out"]["perplexity"] == pytest.approx(math.exp(metrics["held_out"]["loss"]))
    assert logged(output, "held_out_loss")[6] == pytest.approx(metrics["held_out"]["loss"], abs=1e-5)
    assert yaml.safe_load((output / "run.yaml").read_text())["job"] == "pretrain"
    assert all(share > 0 for share in logged(output, "share_of_bound").values())
    assert all(rate > 0 for rate in logged(output, "tokens_per_second").values())


def test_a_causal_model_trains_and_is_continued_with_an_adversary(folder, run, tmp_path):
    output = run(family="gpt2")
    AutoModelForCausalLM.from_pretrained(output)
    metrics = pretrain(texts.settings(folder, tmp_path / "on", family="gpt2", model=str(output), method="vat"))
    assert metrics["held_out"]["loss"] < json.loads((output / "metrics.json").read_text())["held_out"]["loss"]


@pytest.mark.parametrize("name", ["freelb", "smart"])
def test_other_embedding_methods_pre_train(run, name):
    assert all(math.isfinite(loss) for loss in logged(run(method=name), "loss").values())


def test_a_classifier_is_fine_tuned_from_a_pre_trained_folder_with_an_adversary(run, tmp_path):
    given = {"method": "alum", "max_steps": 2, "limit": 40, "precision": "fp32", "batch_size": 8}
    metrics = finetune(FineTune(model=str(run(method="alum")), output=str(tmp_path / "tuned"), **given))
    assert metrics["steps"] == 2 and 0 <= metrics["eval"]["accuracy"] <= 1


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_corrupt_line_in_mid_run_loses_no_step_and_the_run_goes_on_without_it(folder, tmp_path, workers):
    lines = [json.dumps({"text": f"the food was good {'and the place ' * (i % 5)}."}) for i in range(200)]
    lines[60] = "{"
    (tmp_path / "text.jsonl").write_text("\n".join(lines) + "\n")

    def settings(name, **given):
        more = {"corpus": str(tmp_path / "text.jsonl"), "hold_out": 0, "steps": 12, "save_every": 100, "method": "alum"}
        more["workers"] = workers
        return texts.settings(folder, tmp_path / name, **more, **given)

    pretrain(settings("whole", bad_lines="skip"))
    with pytest.raises(DataError, match=r"text\.jsonl, line 61: .*--bad-lines skip"):
        pretrain(settings("cut", bad_lines="fail"))
    (checkpoint,) = (tmp_path / "cut" / "checkpoints").iterdir()
    assert 1 < int(checkpoint.name.removeprefix("checkpoint-")) < 12
    pretrain(settings("cut", bad_lines="skip", keep=3), resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")


def test_a_corpus_of_fewer_documents_than_rows_is_said_to_repeat_itself(folder, tmp_path):
    for parts, said in ((1, "1 document, and a step has 8 rows: rows repeat each other"), (20, None)):
        text = (folder / "text.txt").read_text().replace("\n\n", " ").split(" ")[:2000]
        size = len(text) // parts
        documents = [" ".join(text[i : i + size]) for i in range(0, len(text), size)]
        (tmp_path / "text.txt").write_text("\n\n".join(documents) + "\n")
        told = []
        given = {"corpus": str(tmp_path / "text.txt"), "hold_out": 0, "steps": 1}
        pretrain(texts.settings(folder, tmp_path / f"run{parts}", **given), report=told.append)
        assert [line for line in told if "rows repeat" in line] == (
            [] if said is None else [line for line in told if said in line]
        )
        assert said is None or any(said in line for line in told)


def test_a_pre_trained_folder_is_no_classifier_and_says_so(run, capsys):
    code, _, shown = sparring("evaluate", run(method="alum"), capsys=capsys)
    assert code == 2 and "fine-tune it: sparring train --model" in shown


def test_minimal_pairs_fine_tuning_and_corrupt_lines_are_in_the_metrics(folder, tmp_path):
    lines = [json.dumps({"text": text}) for text in (folder / "text.txt").read_text().split("\n\n")]
    (tmp_path / "text.jsonl").write_text("\n".join([*lines[:5], "{broken", *lines[5:]]) + "\n")
    pairs = [{"sentence_good": "The food was good.", "sentence_bad": "The food good was."}] * 3
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "eval.jsonl").write_text("\n".join(["{broken", "[]", *lines]) + "\n")
    said: list[str] = []
    metrics = pretrain(
        texts.settings(
            folder, tmp_path / "run", corpus=str(tmp_path / "text.jsonl"), minimal_pairs=str(tmp_path / "pairs.jsonl"),
            eval_corpus=str(tmp_path / "eval.jsonl"), pseudo_texts=2,
            finetune="demo", finetune_methods="standard", finetune_epochs=0.01,
            finetune_limit=40, finetune_rows=4, finetune_length=16, finetune_batch_size=4, finetune_learning_rate=1e-3,
        ),
        report=said.append,
    )  # fmt: skip
    first = said.index("corrupt lines of the corpus are skipped, 1 so far; the first:")
    assert "line 6" in said[first + 1] and sum("line 6" in line for line in said) == 2
    assert metrics["corrupt_lines"]["count"] == 1 and "line 6" in metrics["corrupt_lines"]["first"][0]
    assert metrics["eval_corrupt_lines"]["count"] == 2 and "line 1" in metrics["eval_corrupt_lines"]["first"][0]
    assert metrics["minimal_pairs"]["pairs"] == 3
    assert metrics["pseudo"]["pseudo_perplexity"] > 1
    found = metrics["finetune"]["demo"]["standard"]
    assert 0 <= found["accuracy"] <= 1
    for kind in ("attack", "radius"):
        assert found[kind]["examples"] == 4 and 0 <= found[kind]["accuracy"] <= found[kind]["high"] <= 1
    assert found["attack"]["recipe"] == "deepwordbug" and found["radius"]["radius"] == "0.03x"
    assert found["attack"]["accuracy"] <= found["attack"]["clean_accuracy"]
    begun = yaml.safe_load((tmp_path / "run" / "finetune" / "demo-standard" / "run.yaml").read_text())["settings"]
    assert (begun["limit"], begun["max_length"], begun["batch_size"], begun["learning_rate"]) == (40, 16, 4, 1e-3)


def test_an_attack_on_a_fine_tuned_model_that_was_cut_off_goes_on(folder, run, tmp_path, monkeypatch):
    given = {"steps": 1, "finetune": "demo", "finetune_epochs": 0.01, "finetune_length": 16, "finetune_rows": 4}
    settings = texts.settings(folder, tmp_path / "run", finetune_radius=0.0, **given)

    def stopped(what, done, total):
        if what.startswith("deepwordbug") and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="while fine-tuning"):
        pretrain(settings, progress=stopped)
    lines = tmp_path / "run" / "finetune" / "demo-standard" / "attack" / "deepwordbug.jsonl"
    before = lines.read_text().splitlines()
    assert len(before) == 3
    (found,) = pretrain(settings, resume=True)["finetune"]["demo"].values()
    assert lines.read_text().splitlines()[:3] == before and found["attack"]["examples"] == 4 and "radius" not in found
    (tmp_path / "run" / "metrics.json").unlink()
    monkeypatch.setattr("sparring.train.robustness.as_victim", None)  # what is finished is read
    assert pretrain(settings, resume=True)["finetune"]["demo"]["standard"] == found


def test_a_causal_model_with_a_trained_tokenizer_compares_minimal_pairs_and_resumes_with_the_same(folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"good": "The food was good.", "bad": "The food good was, was it."}) + "\n")
    given = {"family": "gpt2", "tokenizer": "bpe", "vocab": 400, "steps": 2, "minimal_pairs": str(pairs)}
    settings = texts.settings(folder, tmp_path / "run", **given)
    metrics = pretrain(settings)
    assert metrics["minimal_pairs"]["pairs"] == 1
    assert metrics["minimal_pairs"]["first_token_scored"] is False  # nothing stands in front of it in training
    (tmp_path / "run" / "metrics.json").unlink()
    assert pretrain(settings, resume=True)["minimal_pairs"] == metrics["minimal_pairs"]


def test_what_cannot_be_scored_at_the_end_is_reported_and_the_rest_is_kept(folder, run, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise DataError("no such luck")

    monkeypatch.setattr(follow_up, "finetune", refuse)
    (tmp_path / "empty.txt").write_text("\u200b\n\n" + (folder / "text.txt").read_text())
    settings = texts.settings(
        folder, tmp_path / "run", steps=1, eval_corpus=str(tmp_path / "empty.txt"), finetune="demo", pseudo_texts=1
    )
    metrics = pretrain(settings)
    assert metrics["not_scored"] == {
        "pseudo": "there is no token to score",
        "finetune demo standard": "no such luck",
    }
    assert metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_a_held_out_loss_that_is_not_finite_is_logged_and_fatal_at_the_end_alone(folder, tmp_path, monkeypatch):
    def diverged(*args, **kwargs):
        raise ModelError("the weights have diverged")

    monkeypatch.setattr("sparring.train.held_out.held_out", diverged)
    with pytest.raises(ModelError, match="diverged"):
        pretrain(texts.settings(folder, tmp_path / "run"))
    assert logged(tmp_path / "run", "held_out_loss") == {3: "nan", 6: "nan"}
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_frozen_embeddings_stay_and_lower_layers_move_less(folder, run, tmp_path):
    start = run()
    given = {"model": str(start), "learning_rate": 1e-4, "schedule": "constant", "weight_decay": 0.0, "steps": 2}
    pretrain(texts.settings(folder, tmp_path / "run", freeze_embeddings=True, layer_decay=0.1, **given))
    before, after = (load_file(path / "model.safetensors") for path in (start, tmp_path / "run"))
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[name], after[name])

    def moved(layer):
        key = f"bert.encoder.layer.{layer}.output.dense.weight"
        return float((before[key] - after[key]).abs().max())

    assert 0 < moved(0) < 0.2 * moved(1)


def test_the_learning_curve_is_drawn_from_the_log(run):
    pytest.importorskip("matplotlib")
    output = run(method="alum")
    assert draw_curve(output, adversary_from=3)
    picture = (output / "curve.svg").read_text()
    assert all(label in picture for label in ("training, task", "training, smooth", "held out", "adversary enters"))


def test_a_picture_that_cannot_be_written_is_one_message_and_leaves_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss_task": 2.0}\n')
    (tmp_path / "curve.svg").mkdir()
    with pytest.raises(RunError, match=r"cannot write .*curve\.svg"):
        draw_curve(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.svg", "log.jsonl"]


# curricula


def test_losses_before_the_switch_are_those_of_a_plain_run_bit_for_bit(run):
    plain, half = run(config="dropout"), run(config="dropout", method="alum", curriculum="half")
    ours, theirs = logged(half, "loss_task"), logged(plain, "loss_task")
    assert [ours[step] for step in (1, 2, 3, 4)] == [theirs[step] for step in (1, 2, 3, 4)]
    assert ours[5] != theirs[5]  # the update of step 4 is the first with an adversary
    assert sorted(logged(half, "loss_smooth")) == [4, 5, 6]


def test_an_adversary_of_weight_zero_is_plain_masked_language_modelling(run):
    assert same_weights(run(config="dropout"), run(config="dropout", method="alum", settings={"weight": 0.0}))


def test_the_weight_rises_in_equal_steps_once_the_adversary_is_in():
    given, plain = method("alum", weight=4.0), method("standard")
    curriculum = Curriculum(start=0.5, ramp=0.4)
    done = [curriculum.method_at(step, 10, given, plain) for step in range(10)]
    assert done[:5] == [plain] * 5
    assert [one.weight for one in done[5:]] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert done[8] is given


@pytest.mark.parametrize(("share", "total", "first"), [(0.07, 100, 7), (0.29, 100, 29), (0.5, 5, 3), (1.0, 9, 9)])
def test_the_adversary_enters_behind_exactly_the_share(share, total, first):
    assert first_step_after(share, total) == first
    assert share == 1 or Curriculum(start=share).first_step(total) == first


def test_a_ramp_needs_a_method_with_a_weight(folder, tmp_path):
    with pytest.raises(SettingError, match="freelb has no setting 'weight'"):
        pretrain(texts.settings(folder, tmp_path / "run", method="freelb", weight_ramp=0.5))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("variant", "size"), [("paper", 0.01), ("released", 1.0)])
def test_alums_variants_reach_their_documented_norms_on_packed_documents(tiny, variant, size):
    given = {"variant": variant, "radius": 0.01, "step_size": 1.0, "noise": 0.001}
    run = families.Run("alum", tiny("bert-mlm"), **given)
    inputs = families.lm_inputs("bert-mlm", (8, 8))
    inputs["segments"] = torch.tensor([[1] * 3 + [2] * 5, [1] * 6 + [2] * 2])
    run.step(Batch.from_inputs(inputs, key=7))
    reached = run.deltas[-1].abs().amax(-1)
    assert float(reached.max()) == pytest.approx(size, rel=1e-4)
    if variant == "released":
        assert float(reached.min()) == pytest.approx(size, rel=1e-4)


@pytest.mark.parametrize("name", ["fgm", "pgd", "alum", "smart", "vat", "freelb", "mat"])
def test_a_norm_is_one_of_a_document_and_not_of_the_row_that_it_is_packed_in(tiny, name):
    size = {"fgm": {"radius": 0.01}, "pgd": {"radius": 0.01, "step_size": 1.0}, "vat": {"radius": 0.01}}
    size["freelb"] = {"radius": 0.01, "step_size": 1.0}
    given = size.get(name, {"radius": 0.01, "step_size": 0.01})
    run = families.Run(name, tiny("bert-mlm"), **given)
    inputs = families.lm_inputs("bert-mlm", (8, 8))
    inputs["segments"] = torch.tensor([[1] * 3 + [2] * 5, [1] * 6 + [2] * 2])
    run.step(Batch.from_inputs(inputs, key=7))
    found = run.deltas[-1]
    for row, part in ((0, 1), (0, 2), (1, 1), (1, 2)):
        delta = found[row][inputs["segments"][row] == part]
        reached = delta.norm() if name in ("fgm", "pgd", "vat", "freelb") else delta.abs().max()
        assert float(reached) == pytest.approx(0.01, rel=0.1), (row, part)


# the pace


@pytest.mark.parametrize(
    ("name", "given", "units"),
    [
        ("standard", {}, 3),
        ("noise", {}, 3),
        ("alum", {"steps": 1}, 8),
        ("alum", {"steps": 3}, 12),
        ("freelb", {"steps": 3}, 9),
        ("smart", {"steps": 1}, 9),
        ("vat", {"power_steps": 1}, 8),
        ("r3f", {}, 6),
    ],
)
def test_the_passes_of_a_step_are_those_of_its_cost_line(name, given, units):
    assert plain_steps(method(name, **given)) == pytest.approx(units / 3)


def test_every_cost_line_can_be_counted():
    assert all(plain_steps(kind()) >= 1 for kind in METHODS.values())


def test_the_share_of_the_bound_is_left_out_where_a_method_makes_its_own_updates():
    pace = Pace(100, torch.device("cpu"))
    pace.plain = pace.update = 0.01
    reports = []
    for name in ("mat", "alum"):
        pace.start()
        pace.stop(method(name), 1)
        reports.append(pace.report())
    assert [sorted(report) for report in reports] == [["tokens_per_second"], ["share_of_bound", "tokens_per_second"]]


# the stream


class Numbers:
    """Blocks that are their lane and number."""

    def __init__(self, lanes):
        self.lanes, self.number, self.epoch = lanes, -1, 0

    def __next__(self):
        self.number += 1
        return {"input_ids": torch.tensor([[lane, self.number] for lane in self.lanes])}


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_any_split_of_a_step_over_processes_and_micro_batches_asks_the_same_of_the_same_rows(
    monkeypatch, processes, accumulation
):
    size = 8 // processes // accumulation
    asked = []
    for rank in range(processes):
        monkeypatch.setattr("sparring.model.world.rank", lambda rank=rank: rank)
        stream = Stream(
            Numbers(lanes_of(rank, size, accumulation)),
            length=4, batch_size=size, accumulation=accumulation, steps=3,
        )  # fmt: skip
        parts = list(stream)
        assert len(parts) == len(stream) == 3 * accumulation
        for micro, part in enumerate(parts):
            rows = part["input_ids"].tolist()
            first = stream.first_row(micro % accumulation)
            assert [lane for lane, _ in rows] == list(range(first, first + size))
            asked += rows
    assert sorted(asked) == [[lane, step] for lane in range(8) for step in range(3)]


# going on


RESUMED = {
    "config": "dropout", "method": "alum", "curriculum": "half", "weight_ramp": 0.5, "masking": "0.1:0.3:3",
    "masking_unit": "span", "batch_size": 4, "accumulation": 2, "workers": 1,
}  # fmt: skip


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_run_that_goes_on_from_any_checkpoint_makes_the_same_weights_and_log(run, tmp_path, step):
    whole = run(**RESUMED)
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    (output / "metrics.json").unlink()
    for path in (output / "checkpoints").iterdir():
        if int(path.name.split("-")[1]) > step:
            shutil.rmtree(path)
    given = settings_of(output)
    pretrain(Pretrain(**{**vars(given), "output": str(output)}), resume=True)
    assert same_weights(whole, output)
    assert logged(output, "loss") == logged(whole, "loss")
    assert logged(output, "held_out_loss") == logged(whole, "held_out_loss")
    counted = [json.loads((folder / "metrics.json").read_text())["forward_passes"] for folder in (whole, output)]
    assert counted[0] == counted[1] > 0


def test_a_disk_that_fills_up_during_a_checkpoint_leaves_the_one_before_whole(folder, run, tmp_path, monkeypatch):
    original = Stream.save

    def save(self, place):
        if self.step == 4:
            (place / "stream-0.json").write_text("{")
            raise OSError(28, "No space left on device")
        original(self, place)

    monkeypatch.setattr(Stream, "save", save)
    output = tmp_path / "run"
    with pytest.raises(RunError, match="checkpoint-4: No space left on device"):
        pretrain(texts.settings(folder, output, config="dropout"))
    assert [path.name for path in (output / "checkpoints").iterdir()] == ["checkpoint-2"]
    monkeypatch.undo()
    pretrain(texts.settings(folder, output, config="dropout"), resume=True)
    assert same_weights(run(config="dropout"), output)


def test_a_run_does_not_go_on_with_another_corpus_or_other_settings(folder, run, tmp_path):
    output, corpus = tmp_path / "run", tmp_path / "text.txt"
    shutil.copy(folder / "text.txt", corpus)
    given = texts.settings(folder, output, corpus=str(corpus))
    pretrain(given)
    with pytest.raises(RunError, match="is finished"):
        pretrain(given, resume=True)
    (output / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"began with masking='0.15', not '0.2'"):
        pretrain(texts.settings(folder, output, corpus=str(corpus), masking="0.2"), resume=True)
    corpus.write_text(corpus.read_text() + "One more.\n")
    with pytest.raises(RunError, match=r"text\.txt has changed since the run"):
        pretrain(given, resume=True)


def test_what_a_run_killed_before_it_began_leaves_is_explained(folder, tmp_path):
    (tmp_path / "run" / "tokenizer").mkdir(parents=True)
    given = texts.settings(folder, tmp_path / "run")
    with pytest.raises(RunError, match="delete it if a run was killed there before it began"):
        pretrain(given)
    with pytest.raises(RunError, match="delete the folder and start again"):
        pretrain(given, resume=True)


# mistakes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "x", "size": "mini"}, "'size' is for training from scratch"),
        ({"model": "x", "tokenizer": "bpe"}, "would not fit the embeddings of x"),
        ({"model_config": "c.json", "family": "bert"}, "leave 'family' out"),
        ({"curriculum": "third"}, "write none, half, or a share"),
        ({"curriculum": "1.5"}, "write none, half, or a share"),
        ({"hold_out": 1}, "leaves nothing to train on"),
        ({"adam_beta2": 1.0}, "below 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(SettingError, match=message):
        Pretrain(**given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"length": 64}, ModelError, "length is 64"),
        ({"masking": "2"}, SettingError, "masking rate"),
        ({"method": "cat"}, SettingError, "cat works on sentences"),
        ({"batch_size": 4096}, DataError, "tokens"),
        ({"minimal_pairs": "nowhere.jsonl"}, DataError, "nowhere.jsonl"),
        ({"finetune": "no-such-task"}, DataError, "no-such-task"),
        ({"finetune": "demo", "finetune_methods": "alun"}, SettingError, "alum"),
        ({"finetune": "demo", "finetune_attack": "deepwordbog"}, SettingError, "deepwordbug"),
        ({"vocab": 5000, "tokenizer": "wordpiece"}, DataError, "vocabulary of 5,000 entries"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(folder, tmp_path, given, error, message):
    with pytest.raises((error,), match=message):
        pretrain(texts.settings(folder, tmp_path / "run", **given))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "minni"}, "'minni' is unknown; did you mean 'mini'"),
        ({"family": "berd"}, "'berd' is unknown"),
        ({"family": "gpt2"}, "gpt2 is made for objective clm"),
        ({"method": "freelb", "weight_ramp": 0.5}, "no setting 'weight'"),
        ({"fsdp": True}, "there is one; start several with torchrun"),
    ],
)
def test_what_the_settings_alone_show_is_said_before_a_tokenizer_is_trained(tmp_path, monkeypatch, given, message):
    monkeypatch.setattr("sparring.train.pretrain._tokenizer", lambda *args: pytest.fail("a tokenizer was trained"))
    with pytest.raises(SettingError, match=message):
        pretrain(Pretrain(output=str(tmp_path / "run"), **given))
    assert not (tmp_path / "run").exists()


def test_settings_that_change_nothing_are_named(folder, run, tmp_path):
    said: list[str] = []
    given = {"steps": 1, "curriculum": "half", "masking": "0.3", "family": "gpt2"}
    pretrain(texts.settings(folder, tmp_path / "run", **given), report=said.append)
    assert {"--masking changes nothing here", "--curriculum changes nothing here"} <= set(said)
    said.clear()
    given = {"steps": 2, "method": "alum", "curriculum": "0.5", "weight_ramp": 1.0}
    pretrain(texts.settings(folder, tmp_path / "on", **given), report=said.append)
    assert "the method's weight rises to 50% of its setting: the run ends before it is up" in said
    said.clear()
    given |= {"curriculum": "0.8", "weight_ramp": 0.2}
    pretrain(texts.settings(folder, tmp_path / "up", **given), report=said.append)
    assert not any("weight rises" in line for line in said)


def test_a_number_in_a_settings_file_is_as_good_as_its_text():
    assert parse(Pretrain, {"curriculum": 0.3, "masking": 0.2}) == Pretrain(curriculum="0.3", masking="0.2")
    with pytest.raises(SettingError, match="it must be a text"):
        parse(Pretrain, {"curriculum": True})
    with pytest.raises(SettingError, match="it must be a text"):
        parse(Pretrain, {"output": 20240501})


def test_a_length_beyond_that_of_a_tokenizer_names_the_tokenizer(folder, tmp_path):
    run = texts.settings(folder, tmp_path / "run", length=32, model_config=None, size="tiny")
    with pytest.raises(SettingError, match=r"is 32, and \S+/bert-tokenizer reads at most 16 tokens; use --length 16"):
        pretrain(run)
    assert not (tmp_path / "run").exists()


def test_a_minimal_pair_that_is_too_long_is_named_before_anything_is_written(folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"good": "good " * 40, "bad": "bad " * 40}) + "\n")
    with pytest.raises(DataError, match=r"pairs\.jsonl: sentence 1 .* reads at most 16"):
        pretrain(texts.settings(folder, tmp_path / "run", minimal_pairs=str(pairs)))
    assert not (tmp_path / "run").exists()


def test_the_command_trains_from_scratch_with_its_own_tokenizer_and_reports_json(folder, tmp_path, capsys):
    code, shown, _ = sparring(
        "pretrain", "--corpus", folder / "text.txt", "--size", "tiny", "--vocab", 300, "--length", 16, "--steps", 2,
        "--batch-size", 4, "--method", "alum", "--set", "radius=0.02x", "--precision", "fp32", "--pseudo-texts", 0,
        "--eval-blocks", 2, "--output", tmp_path / "run", "--json", capsys=capsys,
    )  # fmt: skip
    assert code == 0
    assert json.loads(shown)["steps"] == 2
    assert len(AutoTokenizer.from_pretrained(tmp_path / "run")) == 300
    assert (tmp_path / "run" / "tokenizer").is_dir()


def test_the_command_shows_what_fine_tuned_models_hold(capsys, monkeypatch):
    monkeypatch.setattr(console.out, "_width", 200)
    under = {"accuracy": 0.5, "low": 0.4, "high": 0.6}
    found = {"accuracy": 0.75, "loss": 0.5, "examples": 40.0, "attack": {"recipe": "deepwordbug", **under}}
    found |= {"radius": {"radius": "0.03x", **under, "accuracy": 0.55}}
    metrics = {
        "steps": 1,
        "tokens": 10,
        "train_seconds": 1.0,
        "finetune": {"demo": {"alum": found, "fgm": {"mcc": 0.1}}},
    }
    _show(Pretrain(), metrics)
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy 0.750, loss 0.500 deepwordbug 50.0 % (40.0 to 60.0), PGD 0.03x 55.0 % (40.0 to 60.0)" in shown
    assert "fgm mcc 0.100" in shown


def test_the_command_names_what_is_wrong_with_a_corpus(tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("")
    code, _, shown = sparring("pretrain", "--corpus", tmp_path / "empty.txt", capsys=capsys)
    assert code == 2 and "empty.txt: the file is empty" in shown
