"""Charmer on a victim with one weak character, and the places that slots can express."""

import numpy as np
import pytest
from fakes import BagOfWords, Lexicon, Scores, game

from sparring.attack.charmer import ALPHABET, AnyCharacter, alphabet_of, charmer
from sparring.attack.constrain import EditDistance, StopWords, levenshtein
from sparring.attack.engine import alone
from sparring.attack.game import OutOfQueries
from sparring.attack.text import Text
from sparring.errors import SettingError


class Letters(BagOfWords):
    """Logit of class 1: the bias minus the number of "z", and a little less for every text unlike the original."""

    def scores(self, fields):
        logit = (
            self.bias
            - sum(field.count("z") for field in fields)
            - 0.1 * ("goo" in fields[0] and "good" not in fields[0])
        )
        return -np.logaddexp(0.0, [logit, -logit])


def everything(text: str) -> set[str]:
    """All strings at one edit of a character, a to b."""
    found = {text[:i] + c + text[i:] for i in range(len(text) + 1) for c in "ab "}
    found |= {text[:i] + c + text[i + 1 :] for i in range(len(text)) for c in ("a", "b", " ", "")}
    return found - {text}


@pytest.mark.parametrize("text", ["ab cd", "x", "one two three"])
def test_all_places_of_a_string_with_single_spaces_are_reached(text):
    slots = Text.of(text)
    transform = AnyCharacter("ab ")
    places = transform.places(slots, range(len(slots)))
    assert len(places) == 2 * len(text) + 1
    found = {candidate.fields[0] for candidate in transform.fill(slots, places)}
    tidy = {new for new in everything(text) if new == new.strip() and "  " not in new and new}
    assert {new for new in tidy if levenshtein(new, text) == 1} == found


def test_punctuation_frozen_fields_and_stop_words_are_out_of_reach():
    text = Text.of("keep it", "so, good", frozen=[0])
    transform = AnyCharacter("q")
    for candidate in transform.fill(text, transform.places(text, text.editable)):
        assert candidate.fields[0] == "keep it" and ", " in candidate.fields[1]
    joined = {place.joins for place in transform.places(Text.of("a b c"), [0, 2])}
    assert joined == {-1}


def test_a_deleted_space_joins_two_words_and_an_edited_text_can_be_edited_on():
    text = Text.of("a good film")
    transform = AnyCharacter("-")
    joint = next(place for place in transform.places(text, [0, 1, 2]) if place.joins == 2)
    (apart,) = [new for new in transform.fill(text, [joint]) if "-" in new.fields[0]]
    assert apart.fields == ("a good-film",)
    further = {new.fields[0] for new in transform.fill(apart, transform.places(apart, [0, 1, 2]))}
    assert {"agood-film", "a good-ilm"} <= further


def test_the_edits_of_pruthi_stay_inside_long_untouched_words():
    text = Text.of("the good films").replace(2, "filmz")
    transform = AnyCharacter("q", pruthi=True)
    found = {new.fields[0] for new in transform.fill(text, transform.places(text, [0, 1, 2]))}
    assert found == {f"the {new} filmz" for new in ["gqood", "goqod", "gooqd", "gqod", "goqd", "god"]}


def test_a_character_of_several_code_points_is_one():
    text = Text.of("cafe\u0301")
    found = {new.fields[0] for new in alone(AnyCharacter("q").candidates(text, 0))}
    assert "cafq" in found and not any(new.endswith("q\u0301") for new in found)


def test_the_alphabet_of_a_corpus_is_its_printable_characters():
    assert alphabet_of(["ba\n", "é b", "\ud800"]) == " abé"
    assert len(ALPHABET) == 1 + 26 + 10 + 32
    with pytest.raises(SettingError, match="alphabet"):
        AnyCharacter("")


@pytest.mark.parametrize("pruthi", [False, True])
def test_the_planted_characters_are_found_one_after_the_other(pruthi):
    play_ = game("a good movie there", 1, Letters({}, bias=2.5))
    constraints = [EditDistance(3), StopWords(frozenset({"movie"}))]
    final = alone(charmer(play_, AnyCharacter("xyz ", pruthi=pruthi), constraints, positions=20))
    if pruthi:
        assert (
            final.fields[0].count("z") == 2 and not alone(play_.ask([final])).broken[0]
        )  # two long words that are free
    else:
        assert final.fields[0].count("z") == 3 and alone(play_.ask([final])).broken[0]
    assert final.slots[2] == "movie"
    assert levenshtein(final.fields[0], "a good movie there") <= 3


def test_places_are_ranked_by_what_a_blank_does_there():
    victim = Letters({}, bias=0.9)
    final = alone(charmer(game("a good film", 1, victim), AnyCharacter("z"), [], positions=1))
    assert final.fields == ("a goozd film",)  # of all blanks, those at the end of "good" move the scores


def test_no_more_edits_than_allowed_and_no_more_queries_than_the_budget():
    strong = Letters({}, bias=50.0)
    final = alone(charmer(game("a good film", 1, strong), AnyCharacter("z"), [], edits=3))
    assert levenshtein(final.fields[0], "a good film") == 3
    play_ = game("a good film", 1, strong, budget=40)
    with pytest.raises(OutOfQueries):
        alone(charmer(play_, AnyCharacter("z"), []))
    assert play_.queries == 40


def test_queries_are_places_and_characters():
    victim = Letters({}, bias=50.0)
    victim.quick = Scores(victim.scores)
    play_ = game("ab", 1, victim)
    alone(charmer(play_, AnyCharacter("zx"), [], edits=1, positions=1))
    assert play_.queries == 1 + 5 + 2  # the first of equal places is an insertion: two characters, nothing to delete


@pytest.mark.parametrize("text", ["", "?!"])
def test_a_text_without_words_gives_nothing(text):
    assert alone(charmer(game(text, 1, Letters({}, bias=1.0)), AnyCharacter("z"), [])) is None


def test_another_transform_is_refused():
    with pytest.raises(SettingError, match="AnyCharacter"):
        alone(charmer(game("a", 1, Letters({}, bias=1.0)), Lexicon({}), []))
