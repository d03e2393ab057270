"""Whole attacks on victims that are known, and the arithmetic of their results."""

import dataclasses
import gc
import json

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, Scores

from sparring.attack import attack
from sparring.attack.constrain import CountOfWords, StopWords
from sparring.attack.engine import Ask, Memory, play
from sparring.attack.outcome import Outcome, compare, standing, summary, worst_case
from sparring.attack.recipe import Recipe
from sparring.attack.run import Results
from sparring.attack.search import by_deletion, greedy
from sparring.data.load import Examples
from sparring.errors import DataError, ModelError, SettingError

VICTIM = {"good": 1.0, "great": 2.0, "bad": -1.0, "dull": -3.0, "fine": 0.4}
WORDS = {"good": ["fine", "bad"], "great": ["good"], "bad": ["dull", "good"], "the": ["that"], "film": ["movie"]}
ROWS = [
    ("the film was good", 1),  # broken by "bad"
    ("the film was great great", 1),  # holds: two times "good" is still good
    ("the film was bad", 1),  # wrong before
    ("bad", 0),  # broken by "good"
    ("", 1),  # a tie goes to class 0: wrong before
    ("", 0),  # nothing to change
    ("movie", 0),  # no synonym
    ("...!", 0),  # no word
]


def recipe(*constraints, words=WORDS):
    return Recipe(
        name="toy",
        paper="toy",
        search=lambda game, transform, constraints: greedy(game, transform, constraints, importance=by_deletion),
        transform=Lexicon(words),
        constraints=constraints,
    )


@pytest.fixture(scope="module")
def results():
    return attack(BagOfWords(VICTIM), ROWS, recipe(StopWords(), CountOfWords(2)))


@pytest.fixture
def thawed():
    """Nothing is frozen, as other tests leave it."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    yield
    gc.unfreeze()
    if frozen:
        gc.freeze()


def test_the_garbage_collector_is_as_before_after_an_attack_and_after_one_that_fails(thawed):
    seen = []

    def said(texts):
        seen.append(gc.get_freeze_count())
        if len(seen) > 1:
            raise RuntimeError("gone")
        return [[1.0, 0.0]] * len(texts)

    with pytest.raises(ModelError, match="gone"):
        attack(said, ROWS, recipe())
    assert min(seen) > 0 and gc.get_freeze_count() == 0
    gc.freeze()
    attack(BagOfWords(VICTIM), ROWS, recipe())
    assert gc.get_freeze_count() > 0  # somebody else's wish


def test_each_example_is_broken_or_held_or_was_wrong_before(results):
    assert [o.status for o in results.outcomes] == [
        "success", "failed", "skipped", "success", "skipped", "failed", "failed", "failed",
    ]  # fmt: skip
    assert [o.row for o in results.outcomes] == list(range(8))
    broken, held, wrong = results.outcomes[:3]
    assert broken.original == ("the film was good",) and broken.adversarial == ("the film was bad",)
    assert (broken.label, broken.predicted, broken.attacked, broken.words, broken.changed) == (1, 1, 0, 4, 1)
    assert broken.gold_before == pytest.approx(1 / (1 + np.exp(-1))) and broken.violations == ()
    assert broken.gold_after == pytest.approx(1 / (1 + np.exp(1))) and broken.similarity is None
    assert broken.queries == 1 + 2 + 2  # two words are no stop words; "good" has two candidates
    assert held.adversarial is None and held.attacked is None and held.changed == 0
    assert (
        held.queries == 1 + 3 + 1 + 1 and held.repeats == 1
    )  # "movie" would be a third change; "great" is there twice
    assert (wrong.queries, wrong.predicted) == (1, 0) and "wrong" in wrong.note


def test_texts_without_a_word_that_may_be_changed_say_so(results):
    notes = [outcome.note for outcome in results.outcomes]
    assert all("no word may be changed" in notes[row] for row in (5, 7))
    assert all(results.outcomes[row].queries == 1 for row in (5, 7))
    (one,) = attack(BagOfWords(VICTIM), [("the was", 0)], recipe(StopWords())).outcomes
    assert one.status == "failed" and "no word may be changed" in one.note and one.words == 2


def test_the_summary_leaves_out_what_was_wrong_before(results):
    s = results.summary
    assert s.examples == 8 and s.clean_accuracy == 6 / 8 and s.accuracy_under_attack == 4 / 8
    assert s.success_rate == pytest.approx(2 / 6)
    assert s.accuracy_under_attack == pytest.approx(s.clean_accuracy * (1 - s.success_rate))
    assert s.changed_share == pytest.approx((1 / 4 + 1 / 1) / 2) and s.similarity is None
    queries = [o.queries for o in results.outcomes if o.status != "skipped"]
    assert s.queries_mean == pytest.approx(np.mean(queries)) and s.queries_median == np.median(queries)
    assert s.queries_p95 == pytest.approx(np.percentile(queries, 95))
    assert "75.0% -> 50.0%" in repr(results)


def outcome(row, status, **given):
    plain = {"label": 0, "original": ("a",), "predicted": 0, "gold_before": 0.9, "queries": 2, "words": 4}
    return Outcome(row=row, status=status, **plain | given)


@pytest.mark.parametrize(
    ("held", "all_of_them", "low", "high"),
    [(500, 1000, 46.9, 53.1), (200, 1000, 17.6, 22.6), (50, 1000, 3.8, 6.5), (50, 100, 40.4, 59.6)],
)
def test_intervals_are_those_of_wilson(held, all_of_them, low, high):
    s = summary([outcome(row, "failed" if row < held else "success") for row in range(all_of_them)])
    assert [round(100 * share, 1) for share in s.attacked_interval] == [low, high]
    assert s.success_rate == 1 - s.accuracy_under_attack and s.clean_interval[1] == pytest.approx(1)


def test_a_summary_of_nothing_right_or_of_nothing_at_all_has_no_number_that_is_not_one():
    for outcomes in ([], [outcome(0, "skipped", predicted=1)] * 3):
        s = dataclasses.asdict(summary(outcomes))
        assert s["success_rate"] == 0 and s["success_interval"] == (0.0, 1.0) and s["changed_share"] is None
        json.dumps(s, allow_nan=False)


def test_the_worst_case_is_held_by_those_that_no_attack_broke():
    a = [outcome(0, "failed"), outcome(1, "success"), outcome(2, "failed"), outcome(3, "skipped")]
    b = [outcome(3, "skipped"), outcome(0, "failed"), outcome(1, "failed"), outcome(2, "success"), outcome(9, "failed")]
    assert standing([a, b]) == {0: True, 1: False, 2: False, 3: False}
    found = worst_case([a, b])
    assert found["accuracy"] == 0.25 and found["examples"] == 4 and found["low"] < 0.25 < found["high"]
    assert worst_case([a])["accuracy"] == 0.5 and worst_case([]) == {
        "accuracy": 0.0, "low": 0.0, "high": 1.0, "examples": 0,
    }  # fmt: skip


def test_victims_are_compared_on_the_same_examples_by_the_exact_test_of_mcnemar():
    kinds = [("failed", "success")] * 30 + [("success", "failed")] * 15 + [("failed", "failed")] * 50
    kinds += [("skipped", "success")] * 5
    a = [outcome(row, first) for row, (first, _) in enumerate(kinds)]
    b = [outcome(row, second) for row, (_, second) in enumerate(kinds)]
    found = compare(a, [*reversed(b), outcome(999, "failed")])
    assert (found["only_a"], found["only_b"], found["examples"]) == (30, 15, 100)
    assert found["p"] == pytest.approx(0.0357, abs=5e-5) and found["a"] == 0.8 and found["b"] == 0.65
    assert compare(a, a)["p"] == 1.0 and compare([], [])["p"] == 1.0


# how an attack is asked for


@pytest.mark.parametrize("pool", [1, 7, 2048])
def test_how_many_searches_run_side_by_side_changes_nothing(results, pool):
    again = attack(BagOfWords(VICTIM), ROWS, recipe(StopWords(), CountOfWords(2)), pool=pool)
    assert again.outcomes == results.outcomes
    assert again.work.asked["victim"] >= again.work.answered["victim"] > 0 and again.seconds > 0


def test_rows_may_be_pairs_mappings_or_examples(results):
    rows = [[*ROWS], [{"text": text, "label": label} for text, label in ROWS], [((t,), label) for t, label in ROWS]]
    texts, labels = tuple((text,) for text, _ in ROWS), tuple(label for _, label in ROWS)
    rows.append(Examples(texts, labels, ("neg", "pos"), "accuracy", "here", "", ()))
    rows.append([(text, np.int64(label)) for text, label in ROWS])
    for given in rows:
        found = attack(BagOfWords(VICTIM), given, recipe(StopWords(), CountOfWords(2))).outcomes
        assert [(o.status, o.queries) for o in found] == [(o.status, o.queries) for o in results.outcomes]
        assert all(type(o.label) is int for o in found)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ([("a", 0), ("a", "pos")], "row 2.*'pos'"),
        ([("a", -1)], "row 1.*-1"),
        ([("a", True)], "row 1.*True"),
        ([("a", 0.0)], "row 1.*0.0"),
        ([(5, 0)], "row 1.*5"),
        ([((), 0)], "row 1"),
        ([(("a", None), 0)], "row 1"),
        ([("a",)], "row 1"),
        ([("a", 0, "more")], "row 1"),
        ([{"text": "a"}], "row 1.*label"),
        ([5], "row 1"),
        ([("a", 0), ("b", 5)], "row 2.*class number 5"),
        ([("a", 0), (("a", "b"), 0)], "row 2"),
        (Examples((("a",),), (0.5,), (), "pearson", "here", "", ()), "class"),
        (Examples((("a",),), (), ("x",), "accuracy", "here", "", ()), "class"),
    ],
)
def test_rows_that_cannot_be_attacked_are_named(rows, message):
    with pytest.raises(DataError, match=message):
        attack(BagOfWords(VICTIM), rows, recipe())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget is 0.*1 or more"),
        ({"budget": -3}, "budget is -3"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"frozen": [1]}, "frozen.*1 fields"),
        ({"frozen": [-1]}, "frozen"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        attack(BagOfWords(VICTIM), ROWS, recipe(), **settings)


def test_progress_counts_up_to_all_of_them():
    seen = []
    attack(BagOfWords(VICTIM), ROWS, recipe(), progress=lambda *numbers: seen.append(numbers))
    assert [done for done, _, _ in seen] == list(range(1, 9)) and {total for _, total, _ in seen} == {8}
    assert seen[-1][2] == 2 and [broken for *_, broken in seen] == sorted(broken for *_, broken in seen)


def test_a_shared_memory_saves_the_second_attack_its_questions():
    victim, memory = BagOfWords(VICTIM), Memory()
    first = attack(victim, ROWS, recipe(), memory=memory)
    asked = len(victim.quick.items)
    second = attack(victim, ROWS, recipe(), memory=memory)
    assert second.outcomes == first.outcomes and len(victim.quick.items) == asked > 0
    assert second.work.answered.get("victim", 0) == 0


def test_a_memory_never_gives_the_answers_of_a_service_that_is_gone():
    memory = Memory()

    def asked(word):
        service = Scores(lambda item: word)

        def search():
            answer = yield Ask(service, [("same question",)])
            return answer[0]

        ((_, found),) = play([(0, search())], memory=memory)
        return found

    for number in range(50):
        assert asked(f"answer {number}") == f"answer {number}"


def test_similarity_is_measured_by_the_encoder_that_is_given():
    class Letters(Scores):
        def __init__(self):
            super().__init__(lambda text: np.array([text.count("good"), text.count("bad"), 1.0]) / np.sqrt(2))

    found = attack(BagOfWords(VICTIM), ROWS, recipe(), encoder=Letters())
    assert found.outcomes[0].similarity == pytest.approx(0.5) and found.outcomes[1].similarity is None
    assert found.summary.similarity == pytest.approx(0.5)


def test_results_say_what_was_done(results):
    assert isinstance(results, Results) and results.recipe["recipe"] == "toy" and results.temperature == 1.0
    assert results.recipe["constraints"] == [StopWords().name, "at most 2 words"]
    json.dumps(results.recipe, allow_nan=False)
