"""What an attacker may ask, what it costs, and what is done about a victim that does not stand by its answers."""

import itertools
import math

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, Scores, game

from sparring.attack.engine import alone
from sparring.attack.game import OutOfQueries
from sparring.attack.recipe import Recipe
from sparring.attack.run import RESTARTS, attack
from sparring.attack.search import at_random, by_deletion, greedy
from sparring.attack.text import Text

WEIGHTS = {"great": 2.0, "good": 1.0, "dull": -3.0, "poor": -1.5, "nice": 0.5, "okay": 0.4}
MANY = {f"w{number}": 0.1 for number in range(RESTARTS + 5)}


def recipe(words, importance=by_deletion):
    return Recipe(
        name="toy",
        paper="toy",
        search=lambda game, transform, constraints: greedy(game, transform, constraints, importance=importance),
        transform=Lexicon(words),
    )


class Liar(BagOfWords):
    """Its quick answers say that some texts are broken; the exact ones do not."""

    def __init__(self, weights, lies):
        super().__init__(weights)
        self.quick = Scores(lambda fields: np.log([0.99, 0.01]) if lies(fields) else self.scores(fields))


def test_queries_count_texts_asked_about_and_repeats_those_asked_before():
    played = game("a good film", 1, BagOfWords(WEIGHTS))
    assert (played.queries, played.repeats) == (1, 0)
    text = played.original
    alone(played.ask([text.replace(1, "nice"), text.replace(1, "poor"), text.replace(1, "nice")]))
    assert (played.queries, played.repeats) == (4, 1)
    alone(played.ask([text, text.replace(1, "poor")]))
    assert (played.queries, played.repeats) == (6, 3)
    alone(played.ask([]))
    assert (played.queries, played.repeats) == (6, 3)
    assert played.victim.quick.items == [("a good film",), ("a nice film",), ("a poor film",)]


def test_a_budget_cuts_questions_off_and_then_ends_the_search():
    played = game("a good film", 1, BagOfWords(WEIGHTS), budget=3)
    text = played.original
    answers = alone(played.ask([text.replace(1, word) for word in ("nice", "great", "dull", "poor")]))
    assert answers.answered == 2 and played.queries == 3
    assert np.isfinite(answers.harm[:2]).all() and (answers.harm[2:] == -math.inf).all()
    assert not answers.broken.any() and (answers.margin[2:] == -math.inf).all()
    assert alone(played.ask([])).answered == 0
    with pytest.raises(OutOfQueries):
        alone(played.ask([text.replace(1, "dull")]))
    assert played.queries == 3


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_a_temperature_divides_logits_and_changes_no_answer(temperature):
    played = game("a good film", 1, BagOfWords(WEIGHTS), temperature=temperature)
    words = ["nice", "dull", "poor", "great"]
    answers = alone(played.ask([played.original.replace(1, word) for word in words]))
    logits = np.array([WEIGHTS[word] for word in words]) / temperature
    assert answers.probabilities[:, 1] == pytest.approx(1 / (1 + np.exp(-logits)))
    assert np.exp(answers.log_probabilities).sum(axis=1) == pytest.approx(1)
    assert answers.margin == pytest.approx(-logits) and answers.harm == pytest.approx(1 / (1 + np.exp(logits)))
    assert answers.broken.tolist() == [False, True, True, False]
    assert played.clean().probabilities[0, 1] == pytest.approx(1 / (1 + math.exp(-1 / temperature)))


def test_a_heated_impossible_class_stays_a_number():
    class Certain(BagOfWords):
        def scores(self, fields):
            return np.array([-math.inf, 0.0])

    played = game("a film", 1, Certain({}), temperature=3.0)
    assert played.clean().probabilities.tolist() == [[0.0, 1.0]] and not played.clean().broken[0]


def test_random_draws_depend_on_seed_and_row_alone():
    def draws(**settings):
        return game("a good film", 1, BagOfWords({}), **settings).random.random(4).tolist()

    assert draws(seed=1, row=2) == draws(seed=1, row=2)
    assert len({tuple(draws(seed=seed, row=row)) for seed, row in itertools.product(range(3), range(3))}) == 9


# a victim that takes back what it said


def test_a_refuted_success_begins_the_search_anew_and_the_counts_are_those_of_the_last_play():
    words = {"good": ["nice", "okay", "dull"], "film": ["movie"]}
    lying = Liar(WEIGHTS, lambda fields: "nice" in fields[0])
    (found,) = attack(lying, [("a good film", 1)], recipe(words)).outcomes
    (wanted,) = attack(BagOfWords(WEIGHTS), [("a good film", 1)], recipe(words)).outcomes
    assert found == wanted and found.status == "success" and found.adversarial == ("a dull film",)
    assert found.queries == 1 + 3 + 3 and found.repeats == 0
    asked = [item for item in lying.quick.items if "nice" in item[0]]
    assert asked == [("a nice film",)]  # the corrected answer is remembered


class Coarse(BagOfWords):
    """Its quick answers are wrong by a fixed shift of the margin, as those in half precision are."""

    doubt = 0.15

    def __init__(self, weights, shift):
        super().__init__(weights)
        self.quick = Scores(lambda fields: -np.logaddexp(0.0, self.moved(fields, shift)))

    def moved(self, fields, shift):
        found = self.scores(fields)
        logit = found[1] - found[0] + shift
        return np.array([logit, -logit])


@pytest.mark.parametrize("temperature", [0.1, 1.0, 20.0])
def test_an_original_close_to_the_border_is_asked_in_full_precision(temperature):
    rows = [("fair film", 1), ("good film", 1), ("foul film", 1)]
    weights = {"fair": 0.002, "foul": -0.002, "good": 1.0}
    for shift in (-0.005, 0.005):
        victim = Coarse(weights, shift)
        victim.doubt = 0.0075
        found = attack(victim, rows, recipe({}), temperature=temperature).outcomes
        assert [o.predicted for o in found] == [1, 1, 0] and found[2].status == "skipped"
        assert ("fair film",) in victim.exact.items and ("foul film",) in victim.exact.items
        assert ("good film",) not in victim.exact.items


def test_a_victim_that_is_sure_of_the_original_is_doubted_by_as_much_more():
    """Its quick answer says that a text holds, by a margin of 4; in full precision it is broken."""
    weights = {"good": 50.0, "foul": -2.0}
    (found,) = attack(Coarse(weights, 6.0), [("good film", 1)], recipe({"good": ["foul"]})).outcomes
    assert found.status == "success" and found.adversarial == ("foul film",)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 20.0])
def test_an_end_close_to_the_border_is_asked_in_full_precision(temperature):
    weights = {"good": 1.0, "foul": -0.04, "fair": 0.04}
    for word, broken in (("foul", True), ("fair", False)):
        for shift in (-0.1, 0.1):
            (found,) = attack(
                Coarse(weights, shift), [("good film", 1)], recipe({"good": [word]}), temperature=temperature
            ).outcomes
            assert (found.status == "success") == broken and "stand by" not in found.note


def test_a_text_that_was_not_changed_is_no_success():
    """The original's answer may waver in its last bits, from one batch to the next."""
    victim = BagOfWords({"fair": 1e-9, "great": 2.0})
    said = iter([[-0.7, -0.6], [-0.6, -0.7], [-0.6, -0.7]])
    victim.exact = Scores(lambda fields: np.array(next(said)), name="exact", remembered=False)
    (found,) = attack(victim, [("fair film", 1)], recipe({"fair": ["great"]})).outcomes
    assert found.status == "failed" and found.adversarial is None


def test_random_draws_are_the_same_when_a_search_begins_anew():
    words = {word: [f"{word}x", f"{word}y"] for word in "abcdefgh"}
    text = " ".join(words)
    weights = {word: 0.2 for word in words} | {f"{word}y": -0.2 for word in words}
    honest = attack(BagOfWords(weights), [(text, 1)], recipe(words, at_random), seed=3).outcomes
    lies = iter([True] + [False] * 999)
    lying = Liar(weights, lambda fields: "y" in fields[0] and next(lies))
    found = attack(lying, [(text, 1)], recipe(words, at_random), seed=3).outcomes
    assert honest[0].status == "success" and honest[0].changed > 1 and found == honest


def test_a_victim_that_is_a_dice_ends_with_a_note_and_no_success():
    words = {"good": list(MANY)}
    (found,) = attack(
        Liar(WEIGHTS | MANY, lambda fields: "w" in fields[0]), [("a good film", 1)], recipe(words)
    ).outcomes
    assert found.status == "failed" and "does not stand by its answers" in found.note
    assert found.adversarial is None and found.attacked is None and found.gold_after is None
    assert found.queries == 1 + 3 + RESTARTS + 5


def test_a_victim_that_lies_often_is_still_broken_by_what_is_true():
    words = {"good": [*list(MANY)[:RESTARTS], "dull"]}
    (found,) = attack(
        Liar(WEIGHTS | MANY, lambda fields: "w" in fields[0]), [("a good film", 1)], recipe(words)
    ).outcomes
    assert found.status == "success" and found.adversarial == ("a dull film",)


def test_verification_asks_anew_and_is_no_query():
    victim = BagOfWords(WEIGHTS)
    (found,) = attack(victim, [("a good film", 1)], recipe({"good": ["dull"]})).outcomes
    assert victim.exact.items == [("a dull film",)] and len(victim.quick.items) == 5
    assert found.queries == 1 + 3 + 1 and found.gold_after == pytest.approx(1 / (1 + math.exp(3)))


@pytest.mark.parametrize("budget", range(1, 12))
def test_no_budget_is_ever_exceeded_and_what_it_cut_off_is_a_failure(budget):
    words = {"good": ["nice", "okay"], "film": ["movie"], "great": ["good", "dull"]}
    victim = BagOfWords(WEIGHTS)
    (found,) = attack(victim, [("a great good film", 1)], recipe(words), budget=budget).outcomes
    assert found.queries <= budget and len(set(victim.quick.items)) <= budget
    assert (found.status == "success") == (budget >= 1 + 4 + 2)
    if budget < 1 + 4 + 1:
        assert "budget" in found.note


def test_frozen_fields_are_never_touched_but_are_seen_by_the_victim():
    victim = BagOfWords({"good": 1.0, "dull": -1.5, "nice": 5.0})
    rows = [(("a good premise", "a good film"), 1), (("nice", "good"), 1)]
    words = {"good": ["dull"], "nice": ["dull"], "premise": ["dull"]}
    first, second = attack(victim, rows, recipe(words), frozen=[0]).outcomes
    assert first.adversarial == ("a good premise", "a dull film") and first.words == 3 and first.changed == 1
    assert second.status == "failed" and second.words == 1


def test_the_answer_to_a_text_never_asked_about_is_not_known():
    played = game("a good film", 1, BagOfWords(WEIGHTS))
    assert played.answer(Text.of("never")) is None
    assert played.answer(played.original).gold == 1
