"""Character edits, CheckList, and transforms put together."""

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, Scores, game
from hypothesis import given, settings
from hypothesis import strategies as st

from sparring.attack.charmer import AnyCharacter
from sparring.attack.constrain import Constraint, ShareOfWords, StopWords, levenshtein
from sparring.attack.controls import random_words
from sparring.attack.engine import Ask, Work, alone, play
from sparring.attack.game import OutOfQueries
from sparring.attack.text import Text
from sparring.attack.transform.characters import HOMOGLYPHS, CharacterEdits, graphemes
from sparring.attack.transform.checklist import CITIES, FIRST_NAMES, CheckList
from sparring.attack.transform.combine import AnyOf, allowed_candidates, one_allowed, together
from sparring.errors import SettingError


def words(transform, text, index=0):
    return [candidate.slots[index] for candidate in alone(transform.candidates(text, index))]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("swap", ["acb", "bac"]),
        ("delete", ["ab", "ac", "bc"]),
        ("space", ["a bc", "ab c"]),
        ("homoglyph", ["\u0430bc", "a\u042cc", "ab\u0441"]),
    ],
)
def test_all_places_of_a_kind_are_edited(kind, expected):
    assert sorted(words(CharacterEdits((kind,), one=False), Text.of("abc"))) == sorted(expected)


@pytest.mark.parametrize("kind", ["swap", "substitute", "delete", "insert", "space"])
def test_the_ends_of_a_word_stay_when_they_are_skipped(kind):
    found = words(CharacterEdits((kind,), one=False, skip_ends=True), Text.of("abcdef"))
    assert found
    assert all(new[0] == "a" and new[-1] == "f" for new in found)


def test_one_random_place_a_kind_and_the_same_again_for_the_same_seed():
    text = Text.of("a wonderful film")
    edits = CharacterEdits(seed=3)
    found = words(edits, text, 1)
    assert found == words(CharacterEdits(seed=3), text, 1)
    assert [len(new) - len("wonderful") for new in found] == [0, 0, -1, 1]
    assert all(1 <= levenshtein(new, "wonderful") <= 2 for new in found)
    assert len({tuple(words(CharacterEdits(seed=seed), text, 1)) for seed in range(9)}) > 5


def test_a_swap_of_equal_letters_is_not_drawn_if_another_changes_the_word():
    assert {tuple(words(CharacterEdits(("swap",), seed=s), Text.of("aab"))) for s in range(20)} == {("aba",)}


def test_a_word_of_one_letter_is_neither_emptied_nor_edited_but_for_its_look():
    assert words(CharacterEdits(one=False), Text.of("a film")) == []
    assert words(CharacterEdits(("homoglyph",), one=False), Text.of("a film")) == [HOMOGLYPHS["a"]]


def test_an_accent_stays_on_its_letter():
    word = "cafe\u0301s"
    for new in words(CharacterEdits(("swap", "delete", "insert", "space"), one=False), Text.of(word)):
        assert all(unit == "e\u0301" or "\u0301" not in unit for unit in graphemes(new))


def test_a_split_word_is_edited_on_without_stray_spaces():
    text = Text.of("a film").replace(1, "f ilm")
    found = words(CharacterEdits(("delete", "swap", "space"), one=False), text, 1)
    assert "film" in found
    assert all(new == new.strip() and "  " not in new for new in found)


def test_every_look_alike_is_one_letter_that_is_not_ascii():
    assert len(HOMOGLYPHS) == len(set(HOMOGLYPHS.values())) == 52
    assert all(len(new) == 1 and new.isalnum() and not new.isascii() for new in HOMOGLYPHS.values())


def test_an_unknown_kind_is_named():
    with pytest.raises(SettingError, match="'flip'"):
        CharacterEdits(("flip",))


# CheckList


@pytest.mark.parametrize(
    ("text", "index", "expected"),
    [
        ("It isn't good", 1, ["It is not good"]),
        ("ISN\u2019T it", 0, ["IS NOT it"]),
        ("It is not good.", 1, ["It isn't good."]),
        ("It is, not good", 1, []),
        ("I am here", 0, ["I'm here"]),
        ("I'm here", 0, ["I am here"]),
    ],
)
def test_contractions_are_drawn_together_and_apart(text, index, expected):
    assert [candidate.fields[0] for candidate in alone(CheckList().candidates(Text.of(text), index))] == expected


def test_a_contraction_does_not_reach_into_the_next_field():
    assert alone(CheckList().candidates(Text.of("it is", "not so"), 1)) == []


@pytest.mark.parametrize("number", ["1999", "7", "05", "12", "999999999999999"])
def test_a_number_keeps_its_shape_and_stays_near(number):
    found = words(CheckList(draws=5), Text.of(f"in {number} days"), 1)
    assert found and number not in found
    assert all(len(new) == len(number) and new.isdigit() for new in found)
    assert all(abs(int(new) - int(number)) <= max(1, 0.2 * int(number)) for new in found)


def test_a_number_of_a_thousand_digits_stays():
    assert words(CheckList(), Text.of("9" * 5000)) == []


def test_names_and_places_are_exchanged_within_their_list_and_only_if_capitalised():
    found = words(CheckList(), Text.of("Paris"))
    assert len(found) == 3 and set(found) <= set(CITIES) - {"Paris"}
    assert set(words(CheckList(), Text.of("Mary"))) <= set(FIRST_NAMES) - {"Mary"}
    assert words(CheckList(), Text.of("paris mark")) == []


# together


def test_any_of_gives_the_candidates_of_all_once_and_names_all():
    both = AnyOf(Lexicon({"good": ["fine", "great"]}), Lexicon({"good": ["great", "nice"]}))
    assert words(both.bound(BagOfWords({})), Text.of("good")) == ["fine", "great", "nice"]
    assert both.name == "synonyms: a dict | synonyms: a dict"


def test_a_changed_word_is_neither_changed_again_nor_swallowed():
    text = Text.of("it is not so")
    for changed, index, expected in [(1, 1, []), (2, 1, []), (3, 1, ["isn't"])]:
        current = text.replace(changed, {1: "isn't", 2: "not", 3: "thus"}[changed].upper())
        found = alone(allowed_candidates(CheckList(), [], text, current, index))
        assert [candidate.slots[1] for candidate in found] == expected


class NoVowelFirst(Constraint):
    def __init__(self):
        self.tested = 0

    def check(self, original, current, candidates):
        self.tested += len(candidates)
        return [candidate.slots[0][0] not in "aeiou" for candidate in candidates]
        yield


def test_one_of_the_allowed_candidates_is_as_likely_as_another_and_few_are_tested():
    new, rule, text = [*"aeioubcd"], NoVowelFirst(), Text.of("good")
    found = [
        alone(one_allowed(Lexicon({"good": new}), [rule], text, text, 0, np.random.default_rng(seed))).slots[0]
        for seed in range(600)
    ]
    assert set(found) == set("bcd")
    assert all(160 < found.count(letter) < 240 for letter in "bcd")  # 200, and three standard deviations
    assert rule.tested < 600 * 3  # on average (8 + 1) / (3 + 1) of 8
    nothing = one_allowed(Lexicon({"good": ["a", "e"]}), [rule], text, text, 0, np.random.default_rng(0))
    assert alone(nothing) is None


def test_searches_run_together_ask_once_what_they_ask_at_the_same_time():
    service = Scores(lambda item: item * 10, name="tens")

    def search(number, rounds):
        total = 0
        for step in range(rounds):
            (answer,) = yield Ask(service, [number + step])
            total += answer
        return total

    work = Work()
    ((_, found),) = play([(0, together([search(1, 2), search(5, 3), search(2, 0)]))], work=work)
    assert found == [30, 180, 0]
    assert work.rounds == 3


# odd texts

ODD = st.one_of(st.text(max_size=15), st.text(alphabet="ab I'’129 -.\t\u0301\u200d\ud800אب漢\U0001f468", max_size=15))
TRANSFORMS = [
    CharacterEdits(("swap", "substitute", "delete", "insert", "space", "homoglyph"), one=False),
    CharacterEdits(("space", "delete", "swap"), skip_ends=True),
    CheckList(),
    AnyCharacter("ab "),
]


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(ODD, ODD)
def test_odd_texts_are_edited_at_the_word_and_nowhere_else(first, second):
    text = Text.of(first, second)
    for transform in TRANSFORMS:
        for index in range(len(text)):
            found = alone(transform.candidates(text, index))
            assert len(set(found)) == len(found) and text not in found
            for candidate in found:
                field, start, end = text.spans[index]
                _, new_start, new_end = candidate.spans[index]
                assert candidate.slots[index] and candidate.fields[1 - field] == text.fields[1 - field]
                assert candidate.fields[field][:new_start] == text.fields[field][:start]
                if candidate.changed == (index,):
                    assert candidate.fields[field][new_end:] == text.fields[field][end:]


# the random control


def test_the_random_control_breaks_by_luck_and_honours_constraints_and_budget():
    lexicon = Lexicon({word: [f"bad{word}"] for word in "abcdefgh"})
    victim = BagOfWords({"bada": -9.0}, bias=1.0)
    constraints = [StopWords(frozenset("b")), ShareOfWords(0.5)]
    results, sizes = [], []
    for row in range(12):
        play_ = game("a b c d e f g h", 1, victim, row=row)
        final = alone(random_words(play_, lexicon, constraints))
        assert len(final.changed) <= 4 and "badb" not in final.slots
        assert play_.queries == 1 + len(final.changed)
        results.append("bada" in final.slots)
        if results[-1]:
            sizes.append(len(final.changed))
    assert 0 < np.mean(results) < 1
    assert min(sizes) < 4  # it stops when the victim breaks
    with pytest.raises(OutOfQueries):
        alone(random_words(game("c d e", 1, victim, budget=9), lexicon, constraints, passes=None))


def test_the_random_control_ends_where_nothing_can_be_changed():
    assert alone(random_words(game("x y", 1, BagOfWords({}), budget=9), Lexicon({}), [], passes=None)) is None
