"""An attacker who knows about confidence is not fooled by it."""

import math

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon

from sparring.attack.calibrate import RANGE, calibrated, temperature_of
from sparring.attack.outcome import worst_case
from sparring.attack.recipe import Recipe
from sparring.attack.run import attack
from sparring.attack.search import by_deletion, greedy


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.5, 3.7, 50.0])
def test_the_temperature_of_an_even_margin_is_known_in_closed_form(temperature):
    right, rows, margin = 900, 1000, 2.5
    best = margin / math.log(right / (rows - right))  # the share of right answers is the probability of being right
    answers = log_softmax(np.tile([margin, 0.0], (rows, 1)) * temperature / best)
    gold = [0] * right + [1] * (rows - right)
    assert temperature_of(answers, gold) == pytest.approx(temperature, rel=1e-3)


def test_logits_times_a_number_have_their_temperature_times_that_number():
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 3))
    gold = [random.choice(3, p=np.exp(row)) for row in log_softmax(logits)]
    base = temperature_of(log_softmax(2 * logits), gold) / 2
    assert 0.7 < base < 1.4  # labels drawn from the model's own probabilities: it is calibrated
    for factor in (7.0, 50.0, 1000.0):
        assert temperature_of(log_softmax(factor * logits), gold) == pytest.approx(factor * base, rel=1e-2)
    assert temperature_of(log_softmax(0.1 * logits), gold) == pytest.approx(1.0, rel=1e-2)  # never sharper


@pytest.mark.parametrize("kind", ["always right", "always wrong", "always sure", "blind"])
def test_a_victim_without_a_best_temperature_has_one_within_the_range(kind):
    logits = {
        "always right": np.tile([5.0, 0.0], (50, 1)),
        "always wrong": np.tile([0.0, 5.0], (50, 1)),
        "always sure": np.tile([1e6, 0.0], (50, 1)),
        "blind": np.zeros((50, 2)),
    }[kind]
    gold = [0] * 50 if kind != "always sure" else [0] * 45 + [1] * 5
    found = temperature_of(log_softmax(logits), gold)
    assert math.isfinite(found) and RANGE[0] * 0.99 <= found <= RANGE[1] * 1.01


def test_a_victim_is_calibrated_on_labelled_texts_each_asked_once():
    victim = BagOfWords({"good": 4.0, "bad": -4.0})
    texts = [("good",)] * 8 + [("bad",)] * 10 + [("good",)] * 2
    gold = [1] * 8 + [0] * 8 + [1] * 2 + [0] * 2
    assert calibrated(victim, texts, gold) == pytest.approx(4.0 / math.log(16 / 4), rel=1e-3)
    assert sorted(victim.exact.items) == [("bad",), ("good",)]


# acceptance: logits times 50

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture(scope="module")
def world():
    """Weights, texts with labels that the victim mostly knows, and synonyms that weigh less than their words."""
    random = np.random.default_rng(1)
    weights = dict(zip(WORDS, random.normal(size=len(WORDS)), strict=True))
    synonyms = {word: [f"{word}a", f"{word}b", f"{word}c"] for word in WORDS}
    for word in WORDS:
        for new in synonyms[word]:
            weights[new] = weights[word] * random.uniform(0.4, 1.1) - 0.25 * np.sign(weights[word])
    texts, gold = [], []
    for _ in range(300):
        words = list(random.choice(WORDS, size=8))
        texts.append((" ".join(words),))
        logit = sum(weights[word] for word in words)
        gold.append(int(random.random() < 1 / (1 + math.exp(-logit))))
    recipe = Recipe(
        name="toy",
        paper="toy",
        search=lambda game, transform, constraints: greedy(game, transform, constraints, importance=by_deletion),
        transform=Lexicon(synonyms),
    )
    return weights, texts, gold, recipe


def test_a_calibrated_attacker_undoes_logits_times_fifty(world):
    weights, texts, gold, recipe = world
    rows = list(zip(texts, gold, strict=True))
    plain = attack(BagOfWords(weights), rows, recipe).outcomes
    sure = BagOfWords({word: 50 * weight for word, weight in weights.items()})
    blind = attack(sure, rows, recipe).outcomes
    temperature = calibrated(sure, texts, gold)
    seeing = attack(sure, rows, recipe, temperature=temperature).outcomes
    runs = {"plain": plain, "blind": blind, "seeing": seeing}
    accuracy = {name: worst_case([found])["accuracy"] for name, found in runs.items()}
    assert 0.05 < accuracy["plain"] < 0.6
    assert accuracy["blind"] > accuracy["plain"] + 0.1, accuracy
    assert abs(accuracy["seeing"] - accuracy["plain"]) <= 0.02, accuracy
    assert [o.predicted for o in plain] == [o.predicted for o in blind] == [o.predicted for o in seeing]
