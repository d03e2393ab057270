"""Attacks on the training rows with the current model: what they add to the loss, leave alone, and how they resume."""

import copy
import json
import os
import random
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from forks import torchrun
from safetensors.torch import load_file, save_file
from toys import bert, distance, logged, trained, trainer, weights
from transformers.trainer_utils import get_last_checkpoint

sys.path += [str(Path(__file__).parents[1] / "attack")]

from fakes import Lexicon
from puppets import exit_code, forked, handset

from sparring.attack.constrain import CountOfWords
from sparring.attack.controls import random_valid
from sparring.attack.recipe import Recipe
from sparring.attack.search import by_deletion, greedy
from sparring.attack.transform.gradient import gradient_importance
from sparring.data.collate import Classify, encode
from sparring.data.load import Examples
from sparring.errors import RunError, SettingError, SparringWarning
from sparring.train.online import Online, sampler
from sparring.train.options import FineTune
from sparring.train.partners import Term

WORDS = {
    "good": ["fine", "bad"], "fine": ["good", "poor"], "great": ["good", "awful"], "bad": ["poor", "great"],
    "awful": ["bad", "fine"], "poor": ["bad", "good"],
}  # fmt: skip
GOOD, BAD = ("good", "fine", "great"), ("bad", "awful", "poor")
TEXTS = [(f"the {noun} was {word}", label) for noun in ("film", "book", "plot")
         for label, words in ((1, GOOD), (0, BAD)) for word in words]  # fmt: skip
TEXTS += [("a very good and fine film", 1), ("a dull and awful book", 0), ("the film", 1)]
EXAMPLES = Examples(
    tuple((text,) for text, _ in TEXTS), tuple(label for _, label in TEXTS), ("neg", "pos"), "accuracy", "toy", "d", ()
)
MODEL, TOKENIZER = handset(bias=0.02)
ROWS = encode(TOKENIZER, EXAMPLES, 32)


def by_gradient(game, transform, constraints, words):
    importance = yield from gradient_importance(game)
    return importance[words]


GREEDY = partial(greedy, importance=by_deletion)


def recipe(search=GREEDY, words=WORDS):
    return Recipe(name="toy", paper="toy", search=search, transform=Lexicon(words), constraints=(CountOfWords(1),))


def online(folder, **given):
    settings = {"recipe": recipe(), "share": 1.0, "clean_epochs": 0, "max_length": 32, **given}
    return Online(examples=EXAMPLES, tokenizer=TOKENIZER, folder=Path(folder) / "adversarial", **settings)


def model(dropout=0.0):
    made = copy.deepcopy(MODEL).train()
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return made


def ready(folder, name="standard", settings=None, *, attacks=None, dropout=0.0, **given):
    plain = {"optim": "sgd", "learning_rate": 0.002, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    return trainer(
        folder, name, settings, model=model(dropout), rows=ROWS, collate=Classify(TOKENIZER),
        own={"online": attacks}, **plain | given,
    )  # fmt: skip


def run(*args, **given):
    made = ready(*args, **given)
    made.train()
    return made


# the loss


def texts_of(folder, epoch=0):
    return json.loads((Path(folder) / "adversarial" / f"epoch-{epoch}.json").read_text())


@pytest.mark.parametrize(("loss", "weight"), [("ce", 1.0), ("ce", 0.3), ("kl", 2.0)])
def test_the_loss_is_the_mean_over_rows_and_weight_times_the_mean_over_adversarial_rows(tmp_path, loss, weight):
    attacks = online(tmp_path, term=Term(weight, loss))
    made = run(tmp_path, attacks=attacks, per_device_train_batch_size=len(ROWS), num_train_epochs=1, learning_rate=0.05)
    kept = texts_of(tmp_path)
    assert 5 < len(kept["texts"]) < len(ROWS) == kept["report"]["rows"]
    expected = model()

    def logits(rows):
        return expected(**{k: v for k, v in Classify(TOKENIZER)(rows).items() if k != "labels"}).logits

    numbers = [row for row, _ in kept["texts"]]
    adversarial = [dict(TOKENIZER(fields[0])) for _, fields in kept["texts"]]
    gold = torch.tensor(EXAMPLES.labels)
    if loss == "ce":
        extra = F.cross_entropy(logits(adversarial), gold[numbers])
    else:
        p, q = (logits(rows).log_softmax(-1) for rows in ([ROWS[n] for n in numbers], adversarial))
        extra = (p.exp() * (p - q)).sum(-1).mean()
    task = F.cross_entropy(logits(ROWS), gold)
    (task + weight * extra).backward()
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter -= 0.05 * parameter.grad
    assert distance(weights(made), dict(expected.state_dict())) <= 1e-6
    assert distance(weights(made), dict(model().state_dict())) > 1e-3
    assert logged(made, "loss") == pytest.approx([(task + weight * extra).item()], rel=1e-4)
    assert logged(made, "loss_online_task" if loss == "ce" else "loss_online_kl") == pytest.approx(
        [weight * extra.item()], rel=1e-4
    )


@pytest.mark.filterwarnings("ignore::sparring.errors.SparringWarning")  # the second epoch may break nothing
@pytest.mark.parametrize(
    ("name", "loss"),
    [("standard", "ce"), ("standard", "kl"), ("fgm", "ce"), ("alum", "kl"), ("freelb", "kl"), ("smart", "ce")],
)
def test_accumulated_micro_batches_are_one_big_batch(tmp_path, name, loss):
    term = Term(0.7, loss)
    big, small = (
        run(tmp_path / str(parts), name, None,
            attacks=online(tmp_path / str(parts), share=0.5, term=term), num_train_epochs=2,
            per_device_train_batch_size=8 // parts, gradient_accumulation_steps=parts)
        for parts in (1, 4)
    )  # fmt: skip
    assert distance(weights(big), weights(small)) <= 2e-6
    assert distance(weights(big), dict(model().state_dict())) > 1e-3


def test_weight_zero_is_plain_training_bit_for_bit_though_rows_are_attacked(tmp_path):
    given = {"dropout": 0.1, "optim": "adamw_torch", "num_train_epochs": 3}
    plain = run(tmp_path / "1", **given)
    watched = run(tmp_path / "2", attacks=online(tmp_path / "2", term=Term(0.0), recipe=recipe(by_both)), **given)
    assert distance(weights(plain), weights(watched)) == 0
    assert [texts_of(tmp_path / "2", epoch)["report"]["rows"] for epoch in range(3)] == [len(ROWS)] * 3
    trained_on = run(tmp_path / "3", attacks=online(tmp_path / "3"), **given)
    assert distance(weights(plain), weights(trained_on)) > 1e-4


def by_both(game, transform, constraints):
    """A search that asks for gradients and for scores."""
    return (yield from greedy(game, transform, constraints, importance=by_gradient))


def test_a_method_that_makes_its_own_updates_gets_both_kinds_of_rows_as_one_batch(tmp_path):
    given = {"num_train_epochs": 1, "per_device_train_batch_size": len(ROWS), "learning_rate": 0.05}
    calm = {"delta_samples": 1, "theta_samples": 1, "weight": 0.0, "noise_ratio": 0.0, "backup_weight": 0.0}
    calm |= {"mean_momentum": 0.0}
    made = run(tmp_path, "mat", calm, attacks=online(tmp_path), **given)
    rows = texts_of(tmp_path)["texts"]
    both = ROWS + [dict(TOKENIZER(fields[0])) | {"labels": EXAMPLES.labels[row]} for row, fields in rows]
    alone = trained(
        tmp_path / "alone", model=model(), rows=both, collate=Classify(TOKENIZER), num_train_epochs=1, optim="sgd",
        learning_rate=0.05, lr_scheduler_type="constant", max_grad_norm=0.0, per_device_train_batch_size=len(both),
    )  # fmt: skip
    assert distance(weights(made), weights(alone)) <= 1e-6
    for term in (Term(0.5), Term(1.0, "kl")):
        with pytest.raises(SettingError, match="adversarial_weight=1"):
            ready(tmp_path, "mat", attacks=online(tmp_path, term=term))


# what is attacked, and when


def test_the_schedule_has_clean_epochs_and_texts_that_are_used_again(tmp_path):
    attacks = online(tmp_path, clean_epochs=2, every=3)
    assert [attacks.made_in(epoch) for epoch in range(9)] == [None, None, 2, 2, 2, 5, 5, 5, 8]
    made = run(tmp_path, attacks=online(tmp_path, clean_epochs=1, every=2, share=0.3), num_train_epochs=4)
    assert sorted(path.name for path in (tmp_path / "adversarial").iterdir()) == ["epoch-1.json", "epoch-3.json"]
    assert logged(made, "online_epoch") == [1, 3] and logged(made, "online_rows") == [6, 6]
    assert all(0 < share < 1 for share in logged(made, "online_share_of_time"))
    assert [report["epoch"] for report in attacks.reports()] == [1, 3]


def test_rows_are_drawn_by_seed_and_epoch(tmp_path):
    attacks = online(tmp_path, share=0.4)
    assert attacks.rows(1) == online(tmp_path, share=0.4).rows(1) != attacks.rows(2)
    assert attacks.rows(1) != online(tmp_path, share=0.4, seed=1).rows(1) and len(set(attacks.rows(1))) == 8
    assert online(tmp_path, share=0.001).rows(0) != [] and online(tmp_path).rows(3) == list(range(len(ROWS)))


def test_only_texts_that_break_the_current_model_are_trained_on(tmp_path):
    rows, report = online(tmp_path).enter(0, MODEL, middle=False)
    for row in rows.values():
        answer = MODEL(**{k: torch.tensor([v]) for k, v in row.items() if k != "labels"}).logits.argmax()
        assert answer != row["labels"]
    assert {EXAMPLES.labels[row] for row in rows} == {0, 1} and all(
        rows[n]["labels"] == EXAMPLES.labels[n] for n in rows
    )
    assert report["adversarial"] == len(rows) == sum(report["labels"].values()) and report["queries_mean"] > 1
    assert report["success_rate"] == len(rows) / report["right"]


def test_the_random_sampler_asks_nothing_and_takes_every_allowed_text(tmp_path):
    rows, report = online(tmp_path, recipe=recipe(random_valid)).enter(0, MODEL, middle=False)
    assert len(rows) == len(ROWS) - 1  # "the film" has no word to change
    assert (report["queries_mean"], report["success_rate"]) == (0, None)
    for row, fields in texts_of(tmp_path)["texts"]:
        before, after = TEXTS[row][0].split(), fields[0].split()
        (old, new) = next((a, b) for a, b in zip(before, after, strict=True) if a != b)
        assert new in WORDS[old] and sum(a != b for a, b in zip(before, after, strict=True)) == 1
    again, _ = online(tmp_path / "2", recipe=recipe(random_valid)).enter(0, MODEL, middle=False)
    assert again == rows
    assert online(tmp_path / "3", recipe=recipe(random_valid), seed=1).enter(0, MODEL, middle=False)[0] != rows


@pytest.mark.parametrize("search", [GREEDY, random_valid])
def test_frozen_fields_stay_and_without_any_the_head_is_as_it_was(tmp_path, search):
    pairs = replace(EXAMPLES, texts=tuple((f"a good {i}", text) for i, (text,) in enumerate(EXAMPLES.texts)))
    made = Online(
        examples=pairs, tokenizer=TOKENIZER, folder=tmp_path / "a", share=1.0, clean_epochs=0, frozen=(0,),
        recipe=replace(recipe(search), constraints=()),
    )  # fmt: skip
    made.enter(0, MODEL, middle=False)
    kept = json.loads((tmp_path / "a" / "epoch-0.json").read_text())
    assert len(kept["texts"]) > 5 and kept["head"]["frozen"] == [0]
    for row, (first, second) in kept["texts"]:
        assert first == f"a good {row}" and second != TEXTS[row][0]
    online(tmp_path, recipe=recipe(search)).enter(0, MODEL, middle=False)
    assert "frozen" not in texts_of(tmp_path)["head"]
    with pytest.raises(SettingError, match="frozen is 2; the texts have the columns 0 to 1"):
        replace(made, frozen=(2,))


def test_generation_leaves_gradients_modes_and_random_state_alone(tmp_path):
    watched = model(dropout=0.1)
    watched.bert.pooler.eval()
    watched(
        **Classify(TOKENIZER)([{k: v for k, v in row.items() if k != "labels"} for row in ROWS])
    ).logits.sum().backward()
    modes = {name: module.training for name, module in watched.named_modules()}
    gradients = {name: value.grad.clone() for name, value in watched.named_parameters() if value.grad is not None}
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), dict(watched.state_dict())
    before = (*before[:3], {name: value.clone() for name, value in before[3].items()})
    rows, _ = online(tmp_path, recipe=recipe(by_both)).enter(0, watched, middle=False)
    assert rows
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all() and distance(before[3], dict(watched.state_dict())) == 0
    assert modes == {name: module.training for name, module in watched.named_modules()}
    after = {name: value.grad for name, value in watched.named_parameters() if value.grad is not None}
    assert distance(gradients, after) == 0


def test_a_model_that_trains_in_bf16_is_attacked_with_its_float32_weights(tmp_path):
    made = ready(tmp_path, attacks=online(tmp_path), num_train_epochs=1, bf16=True)
    seen = []
    made.model.bert.encoder.layer[0].output.dense.register_forward_hook(
        lambda m, i, out: seen.append((made.state.global_step, m.training, out.dtype))
    )
    made.online = replace(made.online, progress=lambda *done: seen.append("attacked"))
    made.train()
    last = len(seen) - seen[::-1].index("attacked")
    attacked = [one for one in seen[:last] if one != "attacked"]
    from sparring.model.load import fast_bf16

    if not fast_bf16():
        assert attacked and {(mode, dtype) for _, mode, dtype in attacked} == {(False, torch.float32)}
    assert (True, torch.bfloat16) in {one[1:] for one in seen[last:]}
    plain, _ = online(tmp_path / "2").enter(0, MODEL, middle=False)
    assert dict(texts_of(tmp_path)["texts"]).keys() == plain.keys()


# resuming


def to_the_end(folder, out, stop=None):
    """A run with dropout that goes on from its last checkpoint; stop: (epoch, rows) or a step at which it is killed."""

    def progress(done, total, broken):
        if isinstance(stop, tuple) and (made.state.global_step, done) == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    attacks = online(folder, share=0.8, progress=progress)
    made = ready(
        Path(folder) / "checkpoints", attacks=attacks, dropout=0.1, optim="adamw_torch", num_train_epochs=4,
        save_strategy="steps", save_steps=2, save_total_limit=2,
    )  # fmt: skip
    if isinstance(stop, int):
        original = made.training_step

        def step(*args, **kwargs):
            if made.state.global_step == stop:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        made.training_step = step
    checkpoints = Path(folder) / "checkpoints"
    made.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.is_dir() else None)
    save_file(weights(made), out)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert exit_code(forked(lambda: to_the_end(folder / "run", folder / "out.safetensors"))) == 0
    return folder


@pytest.mark.parametrize("stop", [(3, 5), (6, 1), 5, 3, 4], ids=lambda stop: str(stop))
def test_a_run_killed_in_an_attack_or_in_an_epoch_ends_with_the_same_bits(undisturbed, tmp_path, stop):
    out = tmp_path / "out.safetensors"
    assert exit_code(forked(lambda: to_the_end(tmp_path / "run", out, stop))) == 137 and not out.exists()
    half = tmp_path / "run" / "adversarial" / f"epoch-{stop[0] // 3}.attack.jsonl" if isinstance(stop, tuple) else None
    assert half is None or len(half.read_text().splitlines()) > stop[1]
    assert exit_code(forked(lambda: to_the_end(tmp_path / "run", out))) == 0
    assert distance(load_file(out), load_file(undisturbed / "out.safetensors")) == 0
    for epoch in range(4):
        assert texts_of(tmp_path / "run", epoch)["texts"] == texts_of(undisturbed / "run", epoch)["texts"]
    assert half is None or not half.exists()


def test_texts_of_other_weights_are_made_anew_at_the_beginning_and_asked_for_in_the_middle(tmp_path):
    online(tmp_path).enter(0, MODEL, middle=False)
    first = texts_of(tmp_path)
    other = copy.deepcopy(MODEL)
    with torch.no_grad():
        other.classifier.bias += torch.tensor([0.5, -0.5])
    rows, report = online(tmp_path).enter(0, other, middle=True)
    assert texts_of(tmp_path) == first and list(rows) == [row for row, _ in first["texts"]] and report is None
    online(tmp_path).enter(0, other, middle=False)
    assert texts_of(tmp_path)["head"]["weights"] != first["head"]["weights"]
    (tmp_path / "adversarial" / "epoch-0.json").write_text("{")
    with pytest.raises(RunError, match=r"epoch-0\.json is missing or damaged"):
        online(tmp_path).enter(0, other, middle=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sparring.errors.SparringWarning")
def test_two_processes_attack_their_share_and_train_on_the_same_rows(tmp_path):
    torchrun(__file__, tmp_path, seconds=200)
    for name, loss, search in JOBS:
        alone = run(tmp_path / "alone" / name / loss, name, attacks=job(tmp_path / "alone" / name / loss, loss, search),
                    num_train_epochs=2)  # fmt: skip
        for rank in (0, 1):
            assert distance(load_file(tmp_path / f"{name}-{loss}-{rank}.safetensors"), weights(alone)) <= 1e-5
        for epoch in range(2):
            folders = [tmp_path / which / name / loss for which in ("two", "alone")]
            two, one = (texts_of(folder, epoch) for folder in folders)
            assert two["texts"] == one["texts"]
            same = ("rows", "right", "adversarial", "success_rate", "queries_mean", "labels")
            assert [two["report"][key] for key in same] == [one["report"][key] for key in same]


JOBS = [("standard", "ce", "greedy"), ("standard", "kl", "random"), ("fgm", "ce", "greedy"), ("freelb", "ce", "random")]


def job(folder, loss, search):
    searches = {"greedy": partial(greedy, importance=by_deletion), "random": random_valid}
    return online(folder, share=0.4, term=Term(0.7, loss), recipe=recipe(searches[search]))


def in_two_processes(folder):
    torch.set_num_threads(1)
    for name, loss, search in JOBS:
        place = folder / "two" / name / loss
        made = run(place, name, attacks=job(place, loss, search), num_train_epochs=2, per_device_train_batch_size=4)
        save_file(weights(made), folder / f"{name}-{loss}-{made.args.process_index}.safetensors")
    torch.distributed.destroy_process_group()


def test_a_fifth_of_the_rows_is_attacked_after_one_clean_epoch_unless_told_otherwise():
    assert (FineTune().share, FineTune().clean_epochs, FineTune().every) == (0.2, 1, 1)


# mistakes


def test_mistakes_are_named(tmp_path):
    with pytest.raises(SettingError, match="did you mean 'textfooler'"):
        sampler("textfoler")
    with pytest.raises(SettingError, match="quantities"):
        replace(online(tmp_path), examples=replace(EXAMPLES, metric="pearson", label_names=()))
    with pytest.raises(SettingError, match="21 texts, and the training set has 5 rows"):
        trainer(tmp_path, model=model(), rows=ROWS[:5], collate=Classify(TOKENIZER), own={"online": online(tmp_path)})
    for wrong in ({"share": 0.0}, {"every": 0}, {"clean_epochs": -1}):
        with pytest.raises(SettingError):
            online(tmp_path, **wrong)


def test_an_attack_that_breaks_nothing_is_said_and_the_epoch_is_plain(tmp_path):
    plain = run(tmp_path / "1", num_train_epochs=1)
    with pytest.warns(SparringWarning, match="no adversarial text out of 21 rows"):
        held = run(tmp_path / "2", attacks=online(tmp_path / "2", recipe=recipe(words={})), num_train_epochs=1)
    assert distance(weights(plain), weights(held)) == 0


def test_other_models_keep_training_without_online(tmp_path):
    made = trained(tmp_path, "standard", max_steps=2)
    assert distance(weights(made), dict(bert().state_dict())) > 0


if __name__ == "__main__":
    in_two_processes(Path(sys.argv[1]))
