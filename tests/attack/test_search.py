"""Greedy searches on a victim whose weights are known."""

import math
from contextlib import suppress

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, game

from sparring.attack.constrain import (
    CountOfWords,
    EditDistance,
    ShareOfWords,
    StopWords,
    allowed,
    levenshtein,
    violations,
)
from sparring.attack.engine import alone
from sparring.attack.game import OutOfQueries, pick
from sparring.attack.search import (
    at_random,
    by_deletion,
    by_flip,
    by_flip_of_unknown,
    by_head_and_tail,
    by_saliency,
    by_unknown,
    flip_importance,
    greedy,
    pwws,
    pwws_order,
)
from sparring.attack.text import Text

WEIGHTS = {"great": 3.0, "fine": 1.0, "dull": -2.0, "film": 0.5, "odd": -0.3}
SYNONYMS = {"great": ["big", "dull", "grand"], "fine": ["thin", "okay"], "film": ["movie"], "the": ["that"]}


def won(played, text):
    return text is not None and bool(played.answer(text).broken[0])


@pytest.mark.parametrize("importance", [by_deletion, by_unknown, by_flip])
def test_importance_on_a_linear_victim_is_the_order_of_the_weights(importance):
    played = game("the film is dull but great and fine", 1, BagOfWords(WEIGHTS))
    words = list(played.original.editable)
    scores = alone(importance(played, Lexicon({}), [], words))
    order = [played.original.original[i] for i in np.argsort(-scores, kind="stable")]
    assert order[:3] == ["great", "fine", "film"] and order[-1] == "dull"


@pytest.mark.parametrize(
    ("importance", "texts"), [(by_flip, ("good", "film")), (by_flip_of_unknown, ("[UNK] good", "film [UNK]"))]
)
def test_textfooler_leaves_a_word_out_and_bert_attack_puts_an_unknown_one_in_its_place(importance, texts):
    victim = BagOfWords({"film": 1.0, "good": 2.0, "unk": -4.0}, bias=0.3)
    played = game("film good", 1, victim)
    clean, *without = (np.exp(victim.scores((text,))) for text in ("film good", *texts))
    expected = flip_importance(clean, np.stack(without), 1)
    assert alone(importance(played, Lexicon({}), [], [0, 1])) == pytest.approx(expected)


def test_head_and_tail_scores_are_the_changes_as_words_come_and_go():
    played = game("great dull, the film!", 1, BagOfWords(WEIGHTS))

    def p(logit):
        return 1 / (1 + math.exp(-logit))

    heads = [p(3) - 0.5, p(1) - p(3), 0.0, p(1.5) - p(1)]
    tails = [p(1.5) - p(-1.5), p(-1.5) - p(0.5), 0.0, p(0.5) - 0.5]
    found = alone(by_head_and_tail(played, Lexicon({}), [], [0, 1, 3]))
    assert found == pytest.approx([(heads[i] + tails[i]) / 2 for i in (0, 1, 3)])
    assert played.queries == 1 + 2 * 4


@pytest.mark.parametrize("importance", [by_deletion, by_unknown, by_flip, by_saliency, at_random])
def test_greedy_finds_the_planted_flip(importance):
    played = game("a great film", 1, BagOfWords(WEIGHTS))
    found = alone(greedy(played, Lexicon(SYNONYMS), [], importance=importance))
    assert found.fields == ("a dull film",) or importance is at_random
    assert won(played, found)


def test_the_minimal_flip_is_one_word():
    played = game("the great fine film", 1, BagOfWords({**WEIGHTS, "big": -5.0}))
    found = alone(greedy(played, Lexicon(SYNONYMS), [], importance=by_deletion))
    assert found.changed == (1,) and won(played, found)


def test_queries_without_success_are_1_plus_n_plus_n_k():
    words = [f"w{i}" for i in range(7)]
    played = game(" ".join(words), 1, BagOfWords({}, bias=9.0))
    lexicon = Lexicon({word: [word + "a", word + "b", word + "c"] for word in words})
    found = alone(greedy(played, lexicon, [], importance=by_unknown))
    assert not won(played, found)
    assert played.queries == 1 + 7 + 7 * 3


def test_the_saliency_of_pwws_costs_the_candidates_once_more():
    words = [f"w{i}" for i in range(5)]
    lexicon = Lexicon({word: [word + "a", word + "b"] for word in words})
    played = game(" ".join(words), 1, BagOfWords({}, bias=9.0))
    alone(greedy(played, lexicon, [], importance=by_saliency))
    assert played.queries == 1 + 5 + 2 * 5 * 2
    assert played.repeats == 5 * 2  # nothing helped, so the text never changed: each candidate was asked about twice


def test_the_paper_version_of_pwws_scores_candidates_once():
    words = [f"w{i}" for i in range(5)]
    lexicon = Lexicon({word: [word + "a", word + "b"] for word in words})
    victim = BagOfWords({word + "a": -0.5 for word in words}, bias=9.0)
    played = game(" ".join(words), 1, victim)
    found = alone(pwws(played, lexicon, []))
    assert played.queries == 1 + 5 + 5 * 2 + 5
    assert found.slots == tuple(word + "a" for word in words)


def test_the_paper_version_of_pwws_keeps_to_the_constraints():
    words = [f"w{i}" for i in range(5)]
    lexicon = Lexicon({word: [word + "a"] for word in words})
    played = game(" ".join(words), 1, BagOfWords({word + "a": -0.5 for word in words}, bias=9.0))
    assert len(alone(pwws(played, lexicon, [CountOfWords(2)])).changed) == 2
    assert played.queries == 1 + 5 + 5 + 2, "a text that is not allowed is not asked about"


def test_golden_order_of_pwws():
    products = pwws_order(np.array([0.2, 0.6, 0.4]), np.array([0.5, 0.3, 0.9]))
    np.testing.assert_allclose(products, [0.134654, 0.120528, 0.296040], atol=1e-6)
    assert list(np.argsort(-products)) == [2, 0, 1]


@pytest.mark.parametrize(("without", "expected"), [([0.6, 0.4], 0.2), ([0.3, 0.7], 1.0)])
def test_golden_importance_of_textfooler(without, expected):
    assert flip_importance(np.array([0.8, 0.2]), np.array([without]), 0)[0] == pytest.approx(expected)


def test_the_rule_of_textfoolers_authors_can_undo_progress():
    weights = {"x": 2.0, "x1": -0.4, "y": 1.0, "y1": 1.1}
    text, lexicon = "x y", Lexicon({"x": ["x1"], "y": ["y1"]})
    careful, loose = game(text, 1, BagOfWords(weights)), game(text, 1, BagOfWords(weights))
    kept = alone(greedy(careful, lexicon, [], importance=by_deletion))
    undone = alone(greedy(loose, lexicon, [], importance=by_deletion, above_clean=True))
    assert kept.fields == ("x1 y",) and undone.fields == ("x1 y1",)


def test_ties_go_to_the_lower_position():
    assert pick([0.5, 0.7, 0.7]) == 1
    assert pick([0.5, 0.7, 0.7], [True, False, True]) == 2
    assert pick([0.1], [False]) == pick([]) == pick([-math.inf]) == -1


@pytest.mark.parametrize("budget", range(1, 18))
def test_a_budget_is_never_exceeded(budget):
    words = [f"w{i}" for i in range(4)]
    lexicon = Lexicon({word: [word + "a", word + "b", word + "c"] for word in words})
    victim = BagOfWords({}, bias=9.0)
    played = game(" ".join(words), 1, victim, budget=budget)
    with suppress(OutOfQueries):
        alone(greedy(played, lexicon, [], importance=by_unknown))
    assert played.queries == len(victim.quick.items) == budget  # 17 = 1 + 4 + 12 is what it would use


def test_a_success_within_a_cut_off_request_counts():
    played = game("a great film", 1, BagOfWords(WEIGHTS), budget=1 + 3 + 2)
    found = alone(greedy(played, Lexicon(SYNONYMS), [], importance=by_deletion))
    assert found.fields == ("a dull film",) and played.queries == 6


def test_an_attacker_at_a_temperature_sees_through_saturation():
    loud = BagOfWords({**{k: 400 * v for k, v in WEIGHTS.items()}, "big": 100.0})
    deaf, calibrated = game("great film", 1, loud), game("great film", 1, loud, temperature=400.0)
    candidates = [played.original.replace(0, "big") for played in (deaf, calibrated)]
    assert alone(deaf.ask(candidates[:1])).harm[0] == 0.0
    answer = alone(calibrated.ask(candidates[1:]))
    assert answer.harm[0] == pytest.approx(1 / (1 + math.exp(0.75)))
    assert not answer.broken[0]


def test_a_search_that_is_begun_anew_makes_the_same_draws_and_counts():
    played = game("a great film is great", 1, BagOfWords(WEIGHTS, bias=20), seed=5, row=3)
    first = alone(greedy(played, Lexicon(SYNONYMS), [], importance=at_random)), played.queries, played.repeats
    played.restart()
    assert played.queries == 1
    assert first == (
        alone(greedy(played, Lexicon(SYNONYMS), [], importance=at_random)),
        played.queries,
        played.repeats,
    )


# constraints


@pytest.mark.parametrize(
    ("words", "a2t", "bert_attack", "ag", "imdb"),
    [(5, 4, 2, 2, 1), (10, 4, 4, 3, 1), (23, 4, 10, 7, 3), (40, 4, 16, 12, 4), (100, 10, 40, 30, 10)],
)
def test_allowed_numbers_of_words(words, a2t, bert_attack, ag, imdb):
    rules = ShareOfWords(0.1, at_least=4), ShareOfWords(0.4), ShareOfWords(0.3), ShareOfWords(0.1)
    assert [rule.allowed(words) for rule in rules] == [a2t, bert_attack, ag, imdb]


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        (ShareOfWords(0.3), "a great movie", "that great movie"),
        (CountOfWords(1), "a great movie", "a big movie"),
        (EditDistance(3), "a great fim", "a grat movie"),
        (StopWords(frozenset(["a"])), "a big movie", "the great film"),
    ],
)
def test_constraints_tell_good_from_bad(constraint, good, bad):
    original = Text.of("a great film")
    candidates = [original.with_slots(text.split()) for text in (good, bad)]
    assert alone(allowed([constraint], original, original, candidates)) == candidates[:1]
    assert alone(violations([constraint], original, candidates[0])) == []
    assert alone(violations([constraint], original, candidates[1])) == [constraint.name]


def test_stop_words_are_found_in_any_case_unless_asked():
    text = Text.of("The IS film")
    assert StopWords().words(text) == {2}
    assert StopWords(cased=True).words(text) == {0, 1, 2}


def test_edit_distance_counts_the_space_of_a_deleted_word():
    original = Text.of("a great film")
    assert alone(EditDistance(5).check(original, original, [original.delete(1)])) == [False]
    assert alone(EditDistance(6).check(original, original, [original.delete(1)])) == [True]


@pytest.mark.parametrize(("a", "b", "distance"), [("kitten", "sitting", 3), ("", "abc", 3), ("same", "same", 0)])
def test_levenshtein(a, b, distance):
    assert levenshtein(a, b) == levenshtein(b, a) == distance
