"""Beam, genetic and particle-swarm search on victims whose weak spot is known."""

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, game

from sparring.attack.beam import beam
from sparring.attack.constrain import Constraint, CountOfWords, StopWords
from sparring.attack.engine import Work, alone, play
from sparring.attack.game import OutOfQueries
from sparring.attack.population import (
    _Lab,
    _mutate,
    _turn,
    genetic,
    parent_probabilities,
    pso,
    pso_schedule,
    sigmoid,
    word_weights,
)

TEXT = "the plot was good and the cast was great fun"
LEXICON = Lexicon(
    {
        "plot": ["story", "tale"],
        "good": ["decent", "alright"],
        "cast": ["team", "crew"],
        "great": ["big", "large"],
        "fun": ["amusing", "droll"],
    }
)
VICTIM = BagOfWords(
    {"good": 1.0, "decent": 0.2, "great": 1.0, "large": 0.1, "fun": 0.6, "droll": 0.2, "tale": 0.1}, -0.7
)
"""Logit 1.9 at first. The best changes lose 1.0, 1.0 and 0.6, so two words (to -0.1) are enough."""
SMALL = {"population": 8, "iterations": 6}
SEARCHES = [
    pytest.param(beam, {"width": 3}, id="beam"),
    pytest.param(genetic, SMALL, id="genetic"),
    pytest.param(genetic, {**SMALL, "variant": "textattack"}, id="genetic-textattack"),
    pytest.param(pso, SMALL, id="pso"),
    pytest.param(pso, {**SMALL, "variant": "textattack"}, id="pso-textattack"),
]


def test_the_better_member_breeds_more():
    assert parent_probabilities(np.array([0.1, 0.9]), 0.3)[1] == pytest.approx(0.9350, abs=5e-5)
    assert parent_probabilities(np.array([0.1, 0.9]), 0.3, variant="textattack")[1] == pytest.approx(0.0650, abs=5e-5)


@pytest.mark.parametrize(
    ("iteration", "expected"), [(0, (0.8, 0.8, 0.2)), (10, (0.5, 0.5, 0.5)), (20, (0.2, 0.2, 0.8))]
)
def test_the_swarm_follows_the_published_schedule(iteration, expected):
    assert pso_schedule(iteration, 20) == pytest.approx(expected)


def test_the_highest_probability_of_a_turn():
    assert float(sigmoid(3.0)) == pytest.approx(0.952574, abs=1e-6)


def test_word_weights_are_candidates_with_a_floor():
    assert word_weights([0, 3, 8]).tolist() == [1, 3, 8]
    assert word_weights([40, 20]).tolist() == [40, 20]


@pytest.mark.parametrize(("variant", "expected"), [("paper", ("x1", "y", "z2")), ("textattack", ("x1", "y1", "z"))])
def test_a_turn_takes_words_of_the_best_and_the_other_way_round_in_textattack(variant, expected):
    play_ = game("x y z", 1, BagOfWords({}, bias=1.0))
    particle, best = play_.original.edit({0: "x1", 1: "y1"}), play_.original.edit({0: "x1", 2: "z2"})
    swarm = [particle]
    chances = np.array([[0.5, 1.0, 1.0]])
    alone(_turn(_Lab(play_, LEXICON, [], [0, 1, 2]), swarm, [best], [0], chances, 20, variant))
    assert swarm[0].slots == expected


def test_a_turn_that_breaks_a_constraint_is_not_made():
    play_ = game("x y z", 1, BagOfWords({}, bias=1.0))
    particle = play_.original.edit({0: "x1"})
    swarm = [particle]
    lab = _Lab(play_, LEXICON, [CountOfWords(1)], [0, 1, 2])
    alone(_turn(lab, swarm, [play_.original.edit({0: "x1", 1: "y1"})], [0], np.ones((1, 3)), 3, "paper"))
    assert swarm == [particle]


@pytest.mark.parametrize(("variant", "expected"), [("paper", "x"), ("textattack", "x1")])
def test_where_no_mutation_helps_a_particle_stays_as_it_is_and_worsens_in_textattack(variant, expected):
    play_ = game("x", 1, BagOfWords({"x1": 1.0}, bias=1.0))
    lab = _Lab(play_, Lexicon({"x": ["x1"]}), [], [0])
    lab.harm[play_.original] = float(play_.clean().harm[0])
    swarm = [play_.original]
    assert alone(_mutate(lab, swarm, [0], np.ones(1), variant)) is None
    assert swarm[0].fields == (expected,)


@pytest.mark.parametrize(("search", "settings"), SEARCHES)
def test_the_planted_flip_is_found_and_found_again(search, settings):
    victim, calls = BagOfWords(VICTIM.weights, VICTIM.bias), []
    answer = victim.quick.answer
    victim.quick.answer = lambda items: calls.append(items) or answer(items)
    first = game(TEXT, 1, victim, row=4)
    final = alone(search(first, LEXICON, [StopWords()], **settings))
    assert final.fields in calls[-1]
    assert [any(victim.scores(item)[1] < victim.scores(item)[0] for item in items) for items in calls] == (
        [False] * (len(calls) - 1) + [True]
    )
    again = game(TEXT, 1, VICTIM, row=4)
    assert alone(search(again, LEXICON, [StopWords()], **settings)) == final
    assert first.queries == again.queries


@pytest.mark.parametrize(("search", "settings"), SEARCHES)
def test_every_constraint_holds_of_what_a_search_returns(search, settings):
    class NoLarge(Constraint):
        name = "not large"

        def check(self, original, current, candidates):
            return ["large" not in candidate.slots for candidate in candidates]
            yield

    for row in range(5):
        play_ = game((TEXT, TEXT), 1, BagOfWords(VICTIM.weights), frozen=[0], row=row)
        final = alone(search(play_, LEXICON, [CountOfWords(2), NoLarge()], **settings))
        assert final.fields[0] == TEXT
        assert 1 <= len(final.changed) <= 2
        assert "large" not in final.slots


@pytest.mark.parametrize(("search", "settings"), SEARCHES)
def test_no_search_asks_more_than_its_budget(search, settings):
    tough = BagOfWords(VICTIM.weights, bias=9.0)
    play_ = game(TEXT, 1, tough, budget=17)
    with pytest.raises(OutOfQueries):
        alone(search(play_, LEXICON, [], **settings))
    assert play_.queries == 17
    assert len(set(tough.quick.items)) <= 17


@pytest.mark.parametrize("text", ["so it goes", "", " ?! "])
@pytest.mark.parametrize(("search", "settings"), SEARCHES)
def test_a_search_without_a_candidate_returns_nothing(search, settings, text):
    assert alone(search(game(text, 1, VICTIM), LEXICON, [StopWords()], **settings)) is None


@pytest.mark.parametrize("search", [genetic, pso])
def test_the_first_word_is_a_word(search):
    final = alone(search(game("good", 1, BagOfWords({"good": 1.0, "decent": -1.0})), LEXICON, [], **SMALL))
    assert final.fields == ("decent",)


@pytest.mark.parametrize(("search", "rounds"), [(genetic, 60), (pso, 30)])
def test_a_generation_asks_together(search, rounds):
    work = Work()
    tough = BagOfWords(VICTIM.weights, bias=9.0)
    list(play([(0, search(game(TEXT, 1, tough), LEXICON, [], population=20, iterations=6))], work=work))
    assert work.answered["victim"] > 40
    assert work.rounds <= rounds


def test_beam_search_finds_what_greedy_steps_miss():
    """The best single change leads nowhere; two that are worse alone break it."""

    class Jumpy(BagOfWords):
        def scores(self, fields):
            words = set(fields[0].split())
            logit = {("b1",): 0.5, ("a1",): 0.8, ("c1",): 0.9}.get(tuple(sorted(words & {"a1", "b1", "c1"})), 1.0)
            logit = -1.0 if {"a1", "c1"} <= words else logit
            return -np.logaddexp(0.0, [logit, -logit])

    lexicon = Lexicon({letter: [f"{letter}1"] for letter in "abc"})
    assert alone(beam(game("a b c", 1, Jumpy({})), lexicon, [CountOfWords(2)], width=1)).slots[1] == "b1"
    assert alone(beam(game("a b c", 1, Jumpy({})), lexicon, [CountOfWords(2)], width=2)).slots == ("a1", "b", "c1")


def test_beam_queries_are_all_words_of_all_members():
    play_ = game("a b c", 1, BagOfWords({}, bias=9.0))
    alone(beam(play_, Lexicon({letter: [f"{letter}1"] for letter in "abc"}), [], width=2))
    assert play_.queries == 1 + 3 + 3 + 1  # {a1, b1} -> {a1b1, a1c1, b1c1} -> {a1b1c1}
