"""Words can be exchanged; every other byte stays."""

import pytest

from sparring.attack.text import Text, in_case_of

ODD = [
    "",
    " ",
    "...",
    "one",
    "  leading and trailing  ",
    "don't stop-me now, O'Brien’s café!",
    "tabs\tand\nnewlines\r\nand\u00a0no-break spaces",
    "emoji 👩‍👩‍👧‍👦 1️⃣ 🇩🇪 stay",
    "עברית ו-English מעורבבים",
    "نص عربي مع کتاب‌ها",
    "हिन्दी में लिखा है",
    "中文没有空格，但有标点。",
    "e\u0301 combining, zero\u200bwidth, bidi \u202e override",
    "\ud800 half a surrogate \x1b[31m escape \x00",
    "<script>alert('x')</script>",
]


@pytest.mark.parametrize("text", ODD)
def test_a_text_survives_being_taken_apart(text):
    whole = Text.of(text, "and " + text)
    assert whole.fields == (text, "and " + text)
    assert [text_of(whole, i) for i in range(len(whole))] == list(whole.original)


@pytest.mark.parametrize("text", ODD)
def test_an_exchange_leaves_every_other_byte_alone(text):
    whole = Text.of(text)
    for i in range(len(whole)):
        _, start, end = whole.spans[i]
        new = whole.replace(i, "XY")
        assert new.fields[0] == text[:start] + "XY" + text[end:]
        assert new.changed == (i,) and new.start.fields == (text,)
        assert [text_of(new, j) for j in range(len(new))] == list(new.slots)


def text_of(text, index):
    field, start, end = text.spans[index]
    return text.fields[field][start:end]


@pytest.mark.parametrize(
    ("text", "index", "expected"),
    [
        ("a good film", 0, "good film"),
        ("a good film", 1, "a film"),
        ("a good film .", 2, "a good ."),
        ("fine, really fine", 1, "fine, fine"),
        ("(good) film", 0, "() film"),
        ("good", 0, ""),
    ],
)
def test_a_deleted_word_takes_one_space_with_it(text, index, expected):
    assert Text.of(text).delete(index).fields == (expected,)


def test_several_deletions_keep_the_other_words_apart():
    text = Text.of("one two three four")
    assert text.edit({0: "", 1: "", 3: ""}).fields == ("three",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't stop-me", ["don't", "stop-me"]),
        ("it 's n't -- good-", ["it", "s", "n't", "good"]),
        ("中文 abc", ["中", "文", "abc"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("کتاب‌ها", ["کتاب‌ها"]),
        ("snake_case 3.5 x²", ["snake_case", "3", "5", "x²"]),
    ],
)
def test_what_a_word_is(text, words):
    assert list(Text.of(text).original) == words


def test_a_frozen_field_offers_no_word():
    text = Text.of("the premise", "a claim", frozen=[0])
    assert [text.original[i] for i in text.editable] == ["a", "claim"]
    assert text.replace(2, "one").fields == ("the premise", "one claim")


def test_slots_do_not_move_when_words_are_inserted_or_merged():
    text = Text.of("is not good").edit({0: "isn't", 1: "", 2: "very good"})
    assert text.fields == ("isn't very good",)
    assert text.replace(2, "bad").fields == ("isn't bad",)
    assert text.changed == (0, 1, 2)


def test_texts_that_read_the_same_are_equal():
    assert Text.of("a b") == Text.of("a c").replace(1, "b")
    assert len({Text.of("a b"), Text.of("a b").replace(0, "a")}) == 1


@pytest.mark.parametrize(("old", "new"), [("Good", "Fine"), ("GOOD", "FINE"), ("good", "fine"), ("I", "Fine")])
def test_the_case_of_the_old_word_is_kept(old, new):
    assert in_case_of("fine", old) == new
