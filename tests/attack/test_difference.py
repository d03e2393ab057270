"""Differences for people: exact, cut at words, and nothing hidden."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.attack.difference import difference, visible

ODD = st.text(
    alphabet=st.one_of(
        st.sampled_from(" ab'-.,<\n\u200d\u202e\ufe0f\u0301\u05d0👩🏽❤1️⃣"),
        st.characters(codec=None, exclude_categories=()),
    ),
    max_size=30,
)


@given(ODD, ODD)
def test_a_difference_holds_both_texts_to_the_byte(original, adversarial):
    segments = difference(original, adversarial)
    assert "".join(text for what, text in segments if what != "inserted") == original
    assert "".join(text for what, text in segments if what != "deleted") == adversarial
    assert all(text for _, text in segments)
    assert all(a != b for (a, _), (b, _) in pairwise(segments))


@pytest.mark.parametrize(
    ("original", "adversarial", "shown"),
    [
        ("a gripping film", "a gripping film", "a gripping film"),
        ("a gripping film", "a riveting film", "a [gripping]{riveting} film"),
        ("a very good film", "a rather nice film", "a [very]{rather} [good]{nice} film"),
        ("a very good film", "a good film", "a [very ]good film"),
        ("a good film", "a very good film", "a {very }good film"),
        ("good, film.", "good film!", "good[,] film[.]{!}"),
        ("the cat isn't big", "the cat is not big", "the cat [isn't]{is not} big"),
        ("well-made 👩‍🚀 film", "well-made 👩 film", "well-made [👩‍🚀]{👩} film"),
        ("", "new", "{new}"),
        ("old", "", "[old]"),
        ("", "", ""),
    ],
)
def test_words_are_compared_whole(original, adversarial, shown):
    form = {"same": "%s", "deleted": "[%s]", "inserted": "{%s}"}
    assert "".join(form[what] % text for what, text in difference(original, adversarial)) == shown


def test_a_word_that_moved_is_not_taken_for_a_text_of_changed_words():
    segments = difference("now one two three four", "one two three four now")
    assert sum(len(text) for what, text in segments if what == "same") >= len("one two three four")


def test_one_word_ten_thousand_times_takes_no_quadratic_time():
    began = time.perf_counter()
    segments = difference("x" + " a" * 10_000, " a" * 10_000 + " y")
    assert time.perf_counter() - began < 2
    assert "".join(text for what, text in segments if what != "deleted").endswith(" y")


@pytest.mark.parametrize(
    "character",
    [
        *"\x00\x07\x08\r\x1b\x7f\x85\x9b\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\ufeff",
        *"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u3164\ufe0f\U000e0041\ud800\udfff",
    ],
)
def test_a_hidden_character_between_latin_letters_is_written_out(character):
    assert visible(f"a{character}b") == f"a⟨U+{ord(character):04X}⟩b"


@pytest.mark.parametrize(
    "text",
    [
        "plain text,\twith tab\nand line\r\nand another",
        "👩‍👩‍👧 👩🏽‍🚀 🏳️‍🌈 ❤️‍🔥 ❤️ 1️⃣ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 🇩🇪",
        "סרט טוב מאוד, فيلم جيد",
        "می‌خواهم क्‍ष ക്‍",
        "naïve e\u0301 葛\U000e0100 5\u00a0% \u0600",
    ],
)
def test_what_ordinary_text_is_spelled_with_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("👩\u200d", "👩⟨U+200D⟩"),
        ("👩\ufe0f\ufe0f", "👩\ufe0f⟨U+FE0F⟩"),
        ("م\u200c\u200c", "م\u200c⟨U+200C⟩"),
        ("🏴" + "\U000e0061" * 40 + "\U000e007f", "🏴" + "⟨U+E0061⟩" * 40 + "⟨U+E007F⟩"),
        ("\x1b[31mred\x1b[0m", "⟨U+001B⟩[31mred⟨U+001B⟩[0m"),
    ],
)
def test_hidden_data_behind_ordinary_characters_is_written_out(text, shown):
    assert visible(text) == shown
