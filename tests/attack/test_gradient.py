"""HotFlip and importance by gradient, with a service whose gradients are made by hand."""

from dataclasses import dataclass

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, Scores, game

from sparring.attack.beam import beam, first_order_beam
from sparring.attack.clare import clare
from sparring.attack.constrain import Constraint, CountOfWords
from sparring.attack.engine import alone
from sparring.attack.game import OutOfQueries
from sparring.attack.text import Text
from sparring.attack.transform.combine import AnyOf
from sparring.attack.transform.gradient import HotFlip, gradient_importance, whole_words
from sparring.errors import ModelError, SettingError


@dataclass
class Gradient:
    ids: np.ndarray
    spans: tuple
    gradient: np.ndarray


class Pieces:
    """A tokenizer that knows its pieces by their place in a list."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.all_special_ids = [i for i, token in enumerate(tokens) if token.startswith("[")]

    def __len__(self) -> int:
        return len(self.tokens)

    def convert_ids_to_tokens(self, ids):
        return [self.tokens[i] for i in ids]


TOKENS = ["[CLS]", "good", "film", "bad", "##ing", "awful", "watch", "4", "fine"]


class WhiteBox(BagOfWords):
    """Words are tokens, "watching" is two; the gradient of every token is (1, 0), so the first column says it all."""

    def __init__(self, weights, bias=0.0):
        super().__init__(weights, bias)
        self.tokenizer = Pieces(*TOKENS)
        self.embedding = np.array(
            [[9, 0], [0, 0], [0, 1], [3, 0], [8, 0], [5, 0], [1, 0], [7, 0], [2, 0]], dtype=np.float32
        )
        self.gradient = Scores(self.gradients, name="gradient")

    def gradients(self, item):
        fields, gold = item
        ids, spans = [0], [None]
        text = Text.of(*fields)
        for word, (field, start, end) in zip(text.slots, text.spans, strict=True):
            if word == "watching":
                ids += [6, 4]
                spans += [(field, start, start + 5), (field, start + 5, end)]
            elif word == "漢":  # two tokens of bytes, each standing for all of it
                ids += [1, 2]
                spans += [(field, start, end)] * 2
            elif word.lower() in TOKENS:
                ids.append(TOKENS.index(word.lower()))
                spans.append((field, start, end))
        rows = np.tile(np.array([1.0, 0.0], dtype=np.float32), (len(ids), 1))
        for row, number in enumerate(ids):
            if number == 4:
                rows[row] = [-3.0, 2.0]
        return Gradient(np.array(ids), tuple(spans), rows if gold == 1 else -rows)


def test_the_score_of_a_swap_is_the_step_along_the_gradient():
    flip = HotFlip().bound(WhiteBox({"bad": 1.0}))
    (found,) = alone(flip.gains(Text.of("bad film"), [0]))
    # "bad" has 3 in the first column of the table, and the gradient is (1, 0)
    assert {text.slots[0]: gain for text, gain in found} == {
        "awful": 2,
        "fine": -1,
        "watch": -2,
        "good": -3,
        "film": -3,
    }


def test_replacements_are_whole_words_the_most_promising_first_in_the_case_of_the_word():
    victim = WhiteBox({"good": 1.0})
    flip = HotFlip(top_n=3).bound(victim)
    found = alone(flip.candidates(Text.of("Good film"), 0))
    assert [candidate.fields[0] for candidate in found] == ["Awful film", "Bad film", "Fine film"]
    assert victim.gradient.items == [(("Good film",), 1)]


def test_the_gradient_is_that_of_the_gold_label():
    victim = WhiteBox({"good": -1.0})  # class 0
    found = alone(HotFlip(top_n=1).bound(victim).candidates(Text.of("good"), 0))
    assert victim.gradient.items == [(("good",), 0)]
    assert found[0].fields == ("film",)  # the lowest first column, ties to the lower id, not the word itself


def test_the_gold_label_is_the_victims_answer_in_full_precision():
    victim = WhiteBox({"good": -1.0})
    victim.quick = Scores(lambda fields: np.array([-2.0, -0.1]))  # the other class
    alone(HotFlip(top_n=1).bound(victim).candidates(Text.of("good"), 0))
    assert victim.gradient.items == [(("good",), 0)]


def test_words_of_several_tokens_or_none_stay():
    flip = HotFlip().bound(WhiteBox({"good": 1.0}))
    text = Text.of("watching unheard 漢 good")
    assert [bool(alone(flip.candidates(text, index))) for index in range(4)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (("[PAD]", "good", "##s", "4th", "é"), ("good", "é")),
        (("Ġgood", "s", "ĠFilm", "Ġ4"), ("good", "Film")),
        (("▁good", "s", "▁film", "▁"), ("good", "film")),
    ],
)
def test_whole_words_are_known_by_how_the_vocabulary_marks_them(tokens, expected):
    table = whole_words(Pieces(*tokens), np.zeros((len(tokens), 2), dtype=np.float32))
    assert table.words == expected
    assert table.cased == any(word != word.lower() for word in expected)


def test_hotflip_with_a_beam_breaks_the_victim_within_two_words():
    victim = WhiteBox({"good": 1.0, "film": 0.5, "awful": -0.8}, bias=0.2)
    final = alone(beam(game("good film", 1, victim), HotFlip(top_n=2).bound(victim), [CountOfWords(2)], width=10))
    assert final.fields == ("awful film",)
    with pytest.raises(ModelError, match="gradients"):
        HotFlip().bound(BagOfWords({}))


def test_a_first_order_beam_asks_only_about_the_texts_that_their_gradients_rank_highest():
    victim = WhiteBox({"good": 1.0, "film": 0.5, "awful": 0.9, "bad": 0.8, "fine": 1.0}, bias=5.0)
    play_ = game("good film", 1, victim)
    final = alone(first_order_beam(play_, HotFlip().bound(victim), [CountOfWords(2)], width=2))
    # first words worth 5 and 3 (awful, bad) in either place; then both: 10 and 8
    asked = [item[0] for item in victim.quick.items if item != ("good film",)]
    assert asked == ["awful film", "good awful", "awful awful", "awful bad"]
    assert play_.queries == 1 + 2 * 2 and final.fields == ("awful film",)  # the most harmful of those asked about


def test_a_first_order_beam_looks_past_what_the_constraints_forbid():
    class NotAwful(Constraint):
        def check(self, original, current, candidates):
            return ["awful" not in candidate.slots for candidate in candidates]
            yield

    victim = WhiteBox({"good": 1.0, "film": 0.5, "bad": -2.0})
    final = alone(first_order_beam(game("good film", 1, victim), HotFlip().bound(victim), [NotAwful()], width=1))
    assert final.fields == ("bad film",)
    with pytest.raises(SettingError, match="gradients of HotFlip"):
        alone(first_order_beam(game("good film", 1, victim), Lexicon({}), []))


def test_importance_is_the_norm_of_the_mean_over_the_tokens_of_a_word():
    victim = WhiteBox({"good": 1.0})
    play_ = game("good watching unheard", 1, victim)
    # good: (1, 0); watching: the mean of (1, 0) and (-3, 2) is (-1, 1)
    assert alone(gradient_importance(play_)).tolist() == [1.0, 2.0, 0.0]
    assert play_.queries == 1
    with pytest.raises(ModelError, match="gradients"):
        alone(gradient_importance(game("good", 1, BagOfWords({}))))


# CLARE's search


class Insert(Lexicon):
    """Puts a word beside the one that is there."""

    def candidates(self, text, index):
        return [text.replace(index, f"{text.slots[index]} {new}") for new in self.words.get(text.slots[index], ())]
        yield


class Merge(Lexicon):
    """Puts one word for two."""

    def candidates(self, text, index):
        if index + 1 == len(text):
            return []
        new = self.words.get(f"{text.slots[index]} {text.slots[index + 1]}", ())
        return [text.edit({index: word, index + 1: ""}) for word in new]
        yield


ACTIONS = AnyOf(
    Lexicon({"good": ["fine"], "film": ["movie"]}),
    Insert({"good": ["enough"], "film": ["club"]}),
    Merge({"good film": ["classic"], "a good": ["some"]}),
)


@pytest.mark.parametrize("anew", [False, True])
def test_clare_applies_the_best_action_of_each_place_the_most_harmful_first(anew):
    victim = BagOfWords({"good": 1.0, "film": 0.2, "enough": -0.8, "club": -0.4, "a": 0.1, "classic": 0.3}, bias=0.1)
    play_ = game("a good film", 1, victim)
    final = alone(clare(play_, ACTIONS, [], anew=anew))
    assert final.fields == ("some film club",)  # "some" harms most and swallows "good"
    assert alone(play_.ask([final])).broken[0]


@pytest.mark.parametrize("anew", [False, True])
def test_clare_honours_constraints_and_budget(anew):
    victim = BagOfWords({"good": 1.0}, bias=5.0)
    final = alone(clare(game("a good film", 1, victim), ACTIONS, [CountOfWords(1)], anew=anew))
    assert len(final.changed) == 1
    play_ = game("a good film", 1, victim, budget=7)
    with pytest.raises(OutOfQueries):
        alone(clare(play_, ACTIONS, [], anew=anew))
    assert play_.queries == 7
    assert alone(clare(game("so it goes", 1, victim), ACTIONS, [], anew=anew)) is None


@pytest.mark.parametrize("gold", [0, 1])
def test_importance_by_gradient_asks_for_the_gradient_of_the_gold_label(gold):
    victim = BagOfWords({"good": 1.0})
    flat = Gradient(np.array([0, 1]), ((0, 0, 4), (0, 5, 9)), np.ones((2, 3)))
    victim.gradient = Scores(lambda item: flat, name="gradient")
    alone(gradient_importance(game("good film", gold, victim)))
    assert victim.gradient.items == [(("good film",), gold)]
