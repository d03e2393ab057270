"""What a victim says is what the model says, however the texts were put together."""

import copy
import math

import numpy as np
import pytest
import torch
from fakes import BagOfWords, Lexicon, Scores
from puppets import Linear, handset, random_model, wordpiece
from torch import nn
from transformers import AutoModelForMaskedLM

from sparring.attack.engine import play
from sparring.attack.game import Game
from sparring.attack.recipe import Recipe
from sparring.attack.run import AttackStopped, attack
from sparring.attack.search import by_deletion, greedy
from sparring.attack.text import Text
from sparring.attack.victim import SENTENCES, CallableVictim, ModelVictim, as_victim
from sparring.errors import ModelError

SINGLE = [("a good film!",), ("bad",), ("",), ("the plot of the book was not very good and dull",), ("x y z",), (" ",)]
PAIRS = [("a good film", "bad"), ("bad", "a very good film and a plot"), ("", "the book"), ("good", "")]
ODD = ["\ud800 film", "good \udfff", "\x00", "😀 film", "שלום", "\u202e", "a\u0301", "\n\n"]


def victim(family="bert", **settings):
    model, tokenizer = random_model(family)
    return ModelVictim(model, tokenizer, **{"half": False, "max_length": 39} | settings)


def alone(model, tokenizer, fields):
    """What the model says to one text, without padding."""
    with torch.no_grad():
        inputs = tokenizer(*([field] for field in fields), return_tensors="pt", truncation=True, max_length=39)
        return model(**inputs).logits[0].double().log_softmax(-1).numpy()


@pytest.mark.parametrize("settings", [{"tokens": 1}, {"tokens": 20}, {"tokens": 4096}, {"batch": 2}])
@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_answers_are_the_log_probabilities_of_the_model_whatever_the_batch(family, settings):
    made = victim(family, **settings)
    for items in (SINGLE, PAIRS):
        for service in (made.quick, made.exact):
            for fields, found in zip(items, service.answer(items), strict=True):
                if family != "gpt2" or any(fields):  # alone, an empty text is no input to a decoder
                    assert found == pytest.approx(alone(made.model, made.tokenizer, fields), abs=1e-5), fields
                assert found.dtype == np.float64 and np.exp(found).sum() == pytest.approx(1)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_texts_that_are_empty_odd_or_longer_than_the_model_are_answered(family):
    made = victim(family)
    items = [("",), ("good " * 500,), *((text,) for text in ODD), ("film", "")]
    singles = made.quick.answer([item for item in items if len(item) == 1])
    assert len(singles) == len(items) - 1 and all(np.isfinite(found).all() for found in singles)
    cut = made.tokenizer.decode(made.tokenizer("good " * 500, truncation=True, max_length=39)["input_ids"][1:-1])
    if family == "bert":
        assert made.quick.answer([("good " * 500,)])[0] == pytest.approx(made.quick.answer([(cut,)])[0], abs=1e-6)
    (pair,) = made.quick.answer([("good " * 500, "bad " * 500)])
    assert np.isfinite(pair).all()
    (found,) = made.gradient.answer([(("good " * 500,), 1)])
    assert len(found.ids) == len(found.spans) == len(found.gradient) == 39


def test_batches_are_filled_by_padded_tokens_with_texts_of_similar_length():
    _, tokenizer = random_model()
    model = Linear(len(tokenizer))
    made = ModelVictim(model, tokenizer, tokens=24, half=False)
    items = [("a " * n,) for n in (1, 9, 2, 8, 3, 1, 30, 2)]
    made.exact.answer(items)
    assert sum(rows for rows, _ in model.calls) == len(items)
    assert all(rows * width <= 24 or rows == 1 for rows, width in model.calls)
    assert [width for _, width in model.calls] == sorted((width for _, width in model.calls), reverse=True)
    assert len(model.calls) < len(items)
    model.calls.clear()
    ModelVictim(model, tokenizer, batch=2, half=False).exact.answer(items)
    assert [rows for rows, _ in model.calls] == [2, 2, 2, 2]


def test_the_halved_model_is_a_copy_in_bfloat16_and_answers_nearly_the_same():
    made, exact = victim(half=True), victim()
    near, full = np.stack(made.quick.answer(SINGLE)), np.stack(exact.quick.answer(SINGLE))
    assert made.fast is not made.model and next(made.fast.parameters()).dtype == torch.bfloat16
    assert next(made.model.parameters()).dtype == torch.float32
    assert np.abs(near - full).max() < 0.1


def test_half_precision_is_doubted_by_four_times_its_error_on_a_few_sentences():
    model, tokenizer = handset()
    sharp = copy.deepcopy(model)
    for weight in sharp.classifier.parameters():
        weight.data *= 300.0
    assert ModelVictim(model, tokenizer, half=False).doubt == ModelVictim(sharp, tokenizer, half=False).doubt == 1e-3
    mild, sure = ModelVictim(model, tokenizer, half=True), ModelVictim(sharp, tokenizer, half=True)
    off = np.stack(sure.quick.answer(SENTENCES)) - np.stack(sure.exact.answer(SENTENCES))
    assert mild.doubt == 0.15 < sure.doubt == 4 * np.ptp(off, axis=1).max()


def test_clean_answers_of_an_overconfident_victim_in_half_precision_are_those_of_full_precision():
    """Its error is larger than most margins of other models are, and no fixed border tells."""
    shared, tokenizer = random_model()
    model = copy.deepcopy(shared)
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())  # the order of a vocabulary is not fixed
    draws = np.random.default_rng(0)
    texts = [" ".join(draws.choice(words, size=i % 9 + 1)) for i in range(1200)]
    items = [(text,) for text in dict.fromkeys(texts)]
    with torch.no_grad():  # the border in the middle of the texts
        plain = np.stack(ModelVictim(model, tokenizer, half=False).exact.answer(items))
        model.classifier.bias[0] -= float(np.median(plain[:, 0] - plain[:, 1]))
        for weight in model.classifier.parameters():
            weight *= 3000.0
    made = ModelVictim(model, tokenizer, half=True)
    assert made.doubt > 0.15
    quick, exact = np.stack(made.quick.answer(items)), np.stack(made.exact.answer(items))
    wrong = quick.argmax(1) != exact.argmax(1)
    assert wrong.any() and np.abs(quick[wrong, 0] - quick[wrong, 1]).max() > 0.15
    asked = made.exact = Scores(lambda fields: exact[items.index(fields)], name="exact", remembered=False)
    games = ((row, Game(Text.of(text), 1, made, row=row).open()) for row, (text,) in enumerate(items))
    found = {row: int(clean.log_probabilities[0].argmax()) for row, clean in play(games)}
    assert [found[row] for row in range(len(items))] == exact.argmax(1).tolist()
    assert wrong.sum() <= len(asked.items) < len(items)


def test_modes_weights_and_their_gradients_are_left_as_they_were():
    shared, tokenizer = random_model()
    model = copy.deepcopy(shared).train()
    model.bert.encoder.layer[0].eval()
    for number, weight in enumerate(model.parameters()):
        weight.grad = torch.full_like(weight, float(number))
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    made = ModelVictim(model, tokenizer, half=True, max_length=39)
    for service in (made.quick, made.exact):
        service.answer(SINGLE)
    made.gradient.answer([(fields, 1) for fields in SINGLE])
    assert [module.training for module in model.modules()] == modes
    assert all((weight.grad == number).all() for number, weight in enumerate(model.parameters()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_dropout_is_off_even_if_the_model_is_in_train_mode():
    model, tokenizer = handset()
    made = ModelVictim(model.train(), tokenizer, half=False)
    assert made.exact.answer([("the film was good",)])[0] == pytest.approx(
        ModelVictim(model.eval(), tokenizer, half=False).exact.answer([("the film was good",)])[0], abs=1e-7
    )


@pytest.mark.parametrize("fields", [("good film",), ("a good film", "bad plot")])
@pytest.mark.parametrize("gold", [0, 1])
def test_the_gradient_is_that_of_the_cross_entropy_worked_out_by_hand(fields, gold):
    tokenizer = wordpiece()
    model = Linear(len(tokenizer))
    made = ModelVictim(model, tokenizer, half=False)
    long = ("the plot of the book was dull",) * len(fields)
    (found, _) = made.gradient.answer([(fields, gold), (long, 0)])  # padded beside a longer one
    probabilities = np.exp(made.exact.answer([fields])[0])
    wanted = (probabilities - np.eye(2)[gold]) @ model.head.weight.detach().numpy()
    assert found.gradient.dtype == np.float32 and len(found.gradient) == len(found.ids) == len(found.spans)
    assert found.gradient == pytest.approx(np.tile(wanted, (len(found.ids), 1)), abs=1e-6)


def test_the_gradient_of_a_transformer_is_that_of_autograd():
    made = victim()
    ids = torch.tensor(made.tokenizer("a good film")["input_ids"])[None]
    embedded = made.model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = made.model(inputs_embeds=embedded).logits
    nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
    made.model.zero_grad()
    (_, found) = made.gradient.answer([(("the book was very dull",), 0), (("a good film",), 1)])
    assert found.gradient == pytest.approx(embedded.grad[0].numpy(), abs=1e-6)
    assert found.ids.tolist() == ids[0].tolist()


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("fields", [("a good film!",), ("a good film", "bad plot."), ("", "bad"), ("film", "")])
def test_the_spans_of_tokens_are_characters_of_their_field(family, fields):
    (found,) = victim(family).gradient.answer([(fields, 0)])
    tokens = victim(family).tokenizer.convert_ids_to_tokens(found.ids.tolist())
    shown = [[None] * len(field) for field in fields]
    for token, span in zip(tokens, found.spans, strict=True):
        if span is None:
            assert token in ("[CLS]", "[SEP]", "<s>", "</s>", "Ġ")
            continue
        field, start, end = span
        piece = fields[field][start:end].lower()
        assert token in ("[UNK]", "<unk>") or piece.replace(" ", "") == token.removeprefix("##").replace("Ġ", "")
        for place in range(start, end):
            assert shown[field][place] is None  # no character belongs to two tokens
            shown[field][place] = token
    for number, field in enumerate(fields):
        assert all(shown[number][i] is not None for i, c in enumerate(field) if not c.isspace())


# black boxes


def of_words(texts):
    weights = {"good": 2.0, "bad": -2.0}
    return [[0.0, sum(weights.get(word, 0.0) for word in text.split())] for text in texts]


def softmaxed(texts):
    raw = np.exp(np.array(of_words(texts)))
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "function",
    [of_words, softmaxed, lambda texts: torch.tensor(of_words(texts), requires_grad=True), lambda t: softmaxed(t)],
)
def test_a_function_may_give_logits_or_probabilities_of_any_kind(function):
    texts = [("good",), ("bad bad",), ("a film",)]
    found = np.stack(as_victim(function).quick.answer(texts))
    assert found == pytest.approx(np.log(softmaxed([text for (text,) in texts])), abs=1e-6)


def test_a_function_is_asked_in_batches_and_sees_pairs_as_tuples():
    seen = []

    def function(texts):
        seen.append(texts)
        return np.zeros((len(texts), 3))

    made = CallableVictim(function, batch_size=2)
    assert len(made.quick.answer([("a", "b"), ("c", "d"), ("e", "f")])) == 3
    assert seen == [[("a", "b"), ("c", "d")], [("e", "f")]]


def test_a_probability_of_zero_is_a_number():
    made = CallableVictim(lambda texts: [[0.0, 1.0]] * len(texts))
    (found,) = made.quick.answer([("a",)])
    assert np.isfinite(found).all() and found[1] == pytest.approx(0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: np.full((n, 2), np.nan), "not a number"),
        (lambda n: np.full((n, 2), np.inf), "not a number|not finite"),
        (lambda n: np.full((n, 2), -np.inf), "not a number|not finite"),
        (lambda n: np.zeros((n + 1, 2)), "one row a text"),
        (lambda n: np.zeros(n), "one row a text"),
        (lambda n: np.zeros((n, 1)), "one row a text"),
        (lambda n: np.zeros((n, 2, 2)), "one row a text"),
        (lambda n: "positive", "victim"),
        (lambda n: None, "victim"),
        (lambda n: [{"label": "POSITIVE", "score": 0.9}] * n, "victim"),
    ],
)
def test_scores_that_cannot_be_used_are_one_message(answer, message):
    with pytest.raises(ModelError, match=message):
        CallableVictim(lambda texts: answer(len(texts))).quick.answer([("a",), ("b",)])


def test_a_language_model_is_no_victim_and_says_so():
    model, tokenizer = random_model(task=AutoModelForMaskedLM)
    with pytest.raises(ModelError, match="is it a text classifier"):
        ModelVictim(model, tokenizer, half=False).exact.answer([("good",)])


def test_a_model_whose_weights_diverged_is_said_to_have():
    model, tokenizer = random_model()
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.classifier.weight.fill_(math.nan)
    for half in (False, True):
        with pytest.raises(ModelError, match="diverged"):
            ModelVictim(broken, tokenizer, half=half).quick.answer([("good",)])


def recipe():
    """Deletion order, and two synonyms that do no harm."""
    words = Lexicon({"good": ["nice", "fine"], "film": ["movie"]})
    return Recipe(
        name="toy",
        paper="toy",
        search=lambda game, transform, constraints: greedy(game, transform, constraints, importance=by_deletion),
        transform=words,
    )


def failing(after, how):
    """A victim that goes wrong when it has been asked about so many texts."""
    asked = 0

    def function(texts):
        nonlocal asked
        asked += len(texts)
        return how(texts) if asked >= after else of_words(texts)

    return function


def drop(texts):
    raise ConnectionError("the line is dead")


FOUR_HUNDRED = [(f"a good film {number}", 1) for number in range(400)]


@pytest.fixture(scope="module")
def undisturbed():
    """What becomes of the rows when the victim does not fail."""
    return attack(of_words, FOUR_HUNDRED, recipe(), pool=40).outcomes


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (drop, "raised ConnectionError .*the line is dead"),
        (lambda texts: np.full((len(texts), 2), np.nan), "not a number"),
        (lambda texts: np.zeros((len(texts), 5)), "5.*2|2.*5"),
        (lambda texts: np.zeros((1, 1)), "shape"),
    ],
)
def test_a_victim_that_fails_at_the_700th_text_leaves_what_was_finished(how, message, undisturbed):
    with pytest.raises(AttackStopped, match=message) as caught:
        attack(failing(700, how), FOUR_HUNDRED, recipe(), pool=40)
    assert 20 < len(caught.value.outcomes) < 400
    assert f"{len(caught.value.outcomes)} of 400 examples were finished" in str(caught.value)
    kept = {outcome.row: outcome for outcome in caught.value.outcomes}
    assert all(kept[outcome.row] == outcome for outcome in undisturbed if outcome.row in kept)


def test_a_model_that_fails_in_mid_attack_leaves_what_was_finished(monkeypatch):
    model, tokenizer = handset()
    victim = ModelVictim(model, tokenizer, half=False)
    calls = iter(range(10**6))
    forward = model.forward

    def failing_forward(*args, **inputs):
        if next(calls) > 40:
            raise RuntimeError("out of memory\nand a long story")
        return forward(*args, **inputs)

    monkeypatch.setattr(model, "forward", failing_forward)
    victim.__dict__["fast"] = model
    rows = [(f"a good film {number}", 1) for number in range(200)]
    with pytest.raises(AttackStopped, match=r"raised RuntimeError: out of memory\. \d+ of 200 examples") as caught:
        attack(victim, rows, recipe(), pool=4)
    assert 0 < len(caught.value.outcomes) < 200


# what can be attacked


def test_whatever_can_be_attacked_is_taken_as_a_victim(tmp_path):
    from transformers import pipeline

    model, tokenizer = handset()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    text = [("the film was good",)]
    wanted = ModelVictim(model, tokenizer).exact.answer(text)[0]
    model.config.name_or_path = str(tmp_path / "model")
    given = [
        (model, tokenizer),
        model,
        pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu"),
        str(tmp_path / "model"),
        tmp_path / "model",
    ]
    for each in given:
        made = as_victim(each)
        assert isinstance(made, ModelVictim) and made.exact.answer(text)[0] == pytest.approx(wanted, abs=1e-6)
    assert as_victim(made) is made
    toy = BagOfWords({})
    assert as_victim(toy) is toy
    (tmp_path / "model" / "run.yaml").write_text("settings: {max_length: 7}\n")
    assert as_victim(tmp_path / "model", half=False).max_length == 7


@pytest.mark.parametrize("thing", [None, 5, object(), ["a"], (1, 2), nn.Linear(2, 2)])
def test_what_cannot_be_attacked_is_named(thing):
    with pytest.raises(ModelError, match=f"{type(thing).__name__}|victim"):
        as_victim(thing).quick.answer([("a",)])


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no trained model"):
        as_victim(tmp_path)


def test_a_model_of_one_number_is_refused():
    model, tokenizer = random_model(labels=1)
    with pytest.raises(ModelError, match="two classes"):
        ModelVictim(model, tokenizer)


def test_a_function_is_not_asked_again_about_a_text_near_the_border():
    calls = []

    def nearly_even(texts):
        calls.extend(texts)
        return [[0.0, 0.01 + len(text)] if text != "good" else [0.0, 1e-6] for text in texts]

    (outcome,) = attack(CallableVictim(nearly_even), [("good", 1)], recipe()).outcomes
    assert outcome.status == "failed" and calls.count("good") == 1
