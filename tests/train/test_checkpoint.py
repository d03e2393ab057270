"""What AdversarialTrainer writes, keeps and reads, and the models and batches it trains on."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors.torch import load_file
from toys import Collate, Rows, bert, distance, logged, trained, trainer, weights
from transformers import AutoModelForSequenceClassification, TrainerCallback

from sparring.errors import RunError


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


SAVING = {"save_strategy": "steps", "save_steps": 2}


@pytest.mark.parametrize("name", ["standard", "smart", "cat", "mat"])
def test_a_checkpoint_holds_safetensors_and_the_trainers_own_state_and_no_other_pickle(tmp_path, name):
    trained(tmp_path, name, max_steps=4, **SAVING)
    assert names(tmp_path) == {"checkpoint-2", "checkpoint-4"}
    assert names(tmp_path / "checkpoint-4") == {
        "config.json",
        "model.safetensors",
        "method.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "cost.json",
    }


def test_the_final_model_is_saved_without_a_pickle(tmp_path):
    trained(tmp_path, "alum", max_steps=1).save_model(str(tmp_path / "model"))
    assert names(tmp_path / "model") == {"config.json", "model.safetensors"}


def test_nothing_is_unpickled_when_a_run_is_resumed(tmp_path, monkeypatch):
    trained(tmp_path, "cat", max_steps=4, save_strategy="steps", save_steps=2)
    original, seen = torch.load, []

    def load(file, *args, **kwargs):
        assert kwargs.get("weights_only") is True, f"{file} was unpickled"
        seen.append(Path(file).name)
        return original(file, *args, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    made = trainer(tmp_path, "cat", max_steps=4, **SAVING)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert {"optimizer.pt", "scheduler.pt", "rng_state.pth"} <= set(seen)


def test_cats_projection_is_in_the_method_file_and_the_optimiser_and_not_in_the_model(tmp_path):
    made = trained(tmp_path, "cat", {"projection": 7}, max_steps=2, **SAVING)
    folder = tmp_path / "checkpoint-2"
    plain = set(bert().state_dict())
    assert set(load_file(folder / "model.safetensors")) <= plain
    method = load_file(folder / "method.safetensors")
    assert method["modules.projection.2.weight"].shape == (7, 16)
    for name, value in made.engine.modules.state_dict().items():
        assert torch.equal(method[f"modules.{name}"], value)
    optimiser = torch.load(folder / "optimizer.pt", weights_only=True)
    shapes = [tuple(state["exp_avg"].shape) for state in optimiser["state"].values()]
    assert (7, 16) in shapes
    assert len(shapes) == len(list(made.model.parameters())) + 4


def test_cats_projection_trains_along(tmp_path):
    made = trainer(tmp_path, "cat", max_steps=2)
    before = {name: value.clone() for name, value in made.engine.modules.state_dict().items()}
    made.train()
    after = made.engine.modules.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ["smart", "cat", "mat"])
def test_what_a_method_remembers_is_there_again_after_resuming(tmp_path, name):
    trained(tmp_path, name, max_steps=4, model=bert(dropout=0.1), **SAVING)
    made = trainer(tmp_path, name, max_steps=4, model=bert(dropout=0.1), **SAVING)
    kept = {}

    class Look(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            kept.update({f"memory.{key}": value.clone() for key, value in made.engine.memory.items()})
            kept.update({f"modules.{key}": value.clone() for key, value in made.engine.modules.state_dict().items()})

    made.add_callback(Look())
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    written = load_file(tmp_path / "checkpoint-2" / "method.safetensors")
    assert distance(kept, written) == 0
    assert ("memory.teacher.0" in kept) == (name == "smart")
    assert any(key.startswith("modules.") for key in kept) == (name == "cat")


def test_the_unit_of_a_radius_is_that_of_the_start_after_resuming_too(tmp_path):
    first = trained(tmp_path, "alum", max_steps=4, learning_rate=0.1, **SAVING)
    made = trainer(tmp_path, "alum", max_steps=4, learning_rate=0.1, model=bert(), **SAVING)
    with torch.no_grad():
        for p in made.model.parameters():
            p.mul_(1.5)
    made.engine.view.set_mean_norm(12345.0)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert made.engine.view.mean_norm() == first.engine.view.mean_norm() != 12345.0
    assert distance(weights(made), weights(first)) == 0


def test_old_checkpoints_are_removed(tmp_path):
    trained(tmp_path, max_steps=6, save_strategy="steps", save_steps=1, save_total_limit=2)
    assert names(tmp_path) == {"checkpoint-5", "checkpoint-6"}


def test_a_half_written_checkpoint_is_removed_and_never_resumed_from(tmp_path):
    trained(tmp_path, max_steps=4, **SAVING)
    (tmp_path / "checkpoint-4").rename(tmp_path / "moved")
    (tmp_path / ".partial").mkdir()
    (tmp_path / "moved").rename(tmp_path / ".partial" / "checkpoint-4")
    steps = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            steps.append(state.global_step)

    made = trainer(tmp_path, max_steps=4, own={"callbacks": [Look()]}, **SAVING)
    assert not (tmp_path / ".partial").exists()
    made.train(resume_from_checkpoint=True)
    assert steps == [2, 3]
    assert names(tmp_path) == {"checkpoint-2", "checkpoint-4"}


@pytest.mark.parametrize("name", ["standard", "alum", "mat"])
def test_a_resumed_run_has_cost_what_it_took_to_its_checkpoint_and_from_there(tmp_path, name):
    whole = trained(tmp_path, name, max_steps=4, **SAVING)
    path = tmp_path / "checkpoint-2" / "cost.json"
    spent = json.loads(path.read_text())
    assert 0 < spent["seconds"] < whole.seconds and spent["forward_passes"] * 2 == whole.engine.view.passes
    path.write_text(json.dumps(spent | {"seconds": 1000.0}))
    made = trainer(tmp_path, name, max_steps=4, **SAVING)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert made.engine.view.passes == whole.engine.view.passes and 1000 < made.seconds < 1100
    assert json.loads((tmp_path / "checkpoint-4" / "cost.json").read_text())["seconds"] > 1000


def test_a_checkpoint_with_a_damaged_cost_is_refused_in_words(tmp_path):
    trained(tmp_path, max_steps=2, **SAVING)
    (tmp_path / "checkpoint-2" / "cost.json").write_text("[]")
    with pytest.raises(RunError, match=r"cost.json does not say what the run had cost by then"):
        trainer(tmp_path, max_steps=4, **SAVING).train(resume_from_checkpoint=True)


def test_a_checkpoint_of_another_trainer_is_refused_in_words(tmp_path):
    trained(tmp_path, "transformers", max_steps=2, **SAVING)
    made = trainer(tmp_path, "smart", max_steps=4, **SAVING)
    with pytest.raises(RunError, match=r"checkpoint-2 has no method.safetensors"):
        made.train(resume_from_checkpoint=True)


def test_a_disk_that_is_full_is_reported_in_words_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    made = trainer(tmp_path, max_steps=2, **SAVING)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(made, "_save_optimizer_and_scheduler", full)
    with pytest.raises(RunError, match=r"checkpoint-2: No space left on device"):
        made.train()
    assert not list(tmp_path.glob("checkpoint-*"))


class Best:
    """Evaluation losses of one's own, so that the best step is known."""

    def __init__(self, *losses):
        self.losses = iter(losses)

    def attach(self, made):
        evaluate, kept = made.evaluate, {}

        def evaluated(*args, **kwargs):
            metrics = evaluate(*args, **kwargs)
            metrics["eval_loss"] = next(self.losses)
            kept[made.state.global_step] = weights(made)
            return metrics

        made.evaluate = evaluated
        return kept


BEST = SAVING | {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "max_steps": 8}


@pytest.mark.parametrize(("name", "limit"), [("standard", None), ("standard", 2), ("cat", 1), ("smart", 2)])
def test_the_best_model_is_kept_and_loaded_at_the_end(tmp_path, name, limit):
    made = trainer(tmp_path, name, own={"eval_dataset": Rows(5, seed=2)}, save_total_limit=limit, **BEST)
    kept = Best(1.0, 0.5, 0.7, 0.8).attach(made)
    made.train()
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-4")
    assert distance(weights(made), kept[4]) == 0 and distance(kept[4], kept[8]) > 0
    left = {None: {2, 4, 6, 8}, 1: {4}, 2: {4, 8}}[limit]
    assert names(tmp_path) == {f"checkpoint-{step}" for step in left}


def test_the_state_names_the_best_checkpoint_where_it_really_is(tmp_path):
    made = trainer(tmp_path, own={"eval_dataset": Rows(5, seed=2)}, **BEST)
    Best(1.0, 0.5, 0.7, 0.8).attach(made)
    made.train()
    for step, best in ((2, 2), (4, 4), (6, 4), (8, 4)):
        state = json.loads((tmp_path / f"checkpoint-{step}" / "trainer_state.json").read_text())
        assert state["best_model_checkpoint"] == str(tmp_path / f"checkpoint-{best}")


def test_a_resumed_run_remembers_the_best_model(tmp_path):
    first = trainer(tmp_path, own={"eval_dataset": Rows(5, seed=2)}, save_total_limit=2, **BEST)
    kept = Best(1.0, 0.5, 0.7, 0.8).attach(first)
    first.train()
    again = trainer(tmp_path, own={"eval_dataset": Rows(5, seed=2)}, save_total_limit=2, **BEST | {"max_steps": 10})
    Best(0.9).attach(again)
    again.train(resume_from_checkpoint=True)
    assert distance(weights(again), kept[4]) == 0


# models and batches


@pytest.mark.parametrize("name", ["alum", "smart", "mat", "cat"])
def test_regression_trains(tmp_path, name):
    model = bert(labels=1)
    made = trained(tmp_path, name, model=model, rows=Rows(labels=1), num_train_epochs=8, learning_rate=0.04)
    losses = logged(made, "loss_task")
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])


@pytest.mark.parametrize("name", ["alum", "smart", "mat", "cat", "freelb"])
def test_lora_trains_adapters_and_head_alone_and_saves_adapters(tmp_path, name):
    torch.manual_seed(0)
    config = LoraConfig(TaskType.SEQ_CLS, r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
    model = get_peft_model(bert(), config)
    before = {key: value.detach().clone() for key, value in model.state_dict().items()}
    made = trained(tmp_path, name, model=model, max_steps=4, learning_rate=0.05, **SAVING)
    after = made.model.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if "lora_" in key or "modules_to_save" in key}
    saved = tmp_path / "checkpoint-4"
    assert "adapter_model.safetensors" in names(saved) and "model.safetensors" not in names(saved)
    loaded = PeftModel.from_pretrained(bert(), saved)
    inputs = Collate()([Rows()[0], Rows()[1]])
    inputs.pop("labels")
    assert torch.equal(loaded.eval()(**inputs).logits, made.model.eval()(**inputs).logits)


@pytest.mark.parametrize("name", ["fgm", "freelb", "smart", "mat", "cat"])
def test_activation_checkpointing_changes_nothing_and_replays_dropout(tmp_path, name):
    given = {"optim": "sgd", "max_steps": 3, "learning_rate": 0.05}
    plain = trained(tmp_path / "1", name, model=bert(dropout=0.1), **given)
    frugal = trained(tmp_path / "2", name, model=bert(dropout=0.1), activation_checkpointing=True, **given)
    assert frugal.model.is_activation_checkpointing
    assert distance(weights(plain), weights(frugal)) <= 1e-6


@pytest.mark.parametrize("name", ["standard", "alum", "cat", "mat"])
def test_bf16_autocast_trains_and_keeps_the_weights_in_float32(tmp_path, name):
    seen = []
    model = bert()
    model.bert.encoder.layer[0].attention.self.query.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    made = trained(tmp_path, name, model=model, bf16=True, num_train_epochs=6, learning_rate=0.02)
    assert {value.dtype for value in made.model.parameters()} == {torch.float32}
    assert torch.bfloat16 in seen
    losses = logged(made, "loss_task")
    assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.parametrize("name", ["alum", "cat"])
def test_a_model_stored_in_bfloat16_trains(tmp_path, name):
    made = trained(tmp_path, name, model=bert(dtype=torch.bfloat16), max_steps=2, learning_rate=0.05)
    assert 0 < distance(weights(made), dict(bert(dtype=torch.bfloat16).state_dict())) < float("inf")


def test_the_second_sentence_of_a_pair_is_told_apart(tmp_path):
    single, pairs = (
        trained(tmp_path / str(flag), "alum", max_steps=2, collate=Collate(pairs=flag)) for flag in (False, True)
    )
    key = "bert.embeddings.token_type_embeddings.weight"
    start = bert().state_dict()[key]
    assert torch.equal(weights(single)[key][1], start[1])
    assert not torch.equal(weights(pairs)[key][1], start[1])


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("name", ["alum", "cat"])
def test_padding_on_the_left_or_on_the_right_is_the_same(tmp_path, family, name):
    left, right = (
        trained(
            tmp_path / side, name, model=bert(family=family), max_steps=3, optim="sgd",
            collate=Collate(side, pairs=family == "bert"),
        )
        for side in ("left", "right")
    )  # fmt: skip
    assert distance(weights(left), weights(right)) == 0


def test_a_saved_model_loads_and_answers_the_same(tmp_path):
    made = trained(tmp_path / "run", "smart", max_steps=2)
    made.save_model(str(tmp_path / "model"))
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert distance(dict(loaded.state_dict()), weights(made)) == 0
