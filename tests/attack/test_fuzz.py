"""Generated hostile and odd texts through every way to change a word and every constraint: nothing breaks."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from puppets import WEIGHTS, WORDS, handset, random_model
from test_lexical import CERTAIN, MAP, TAGS
from test_lexical import WEIGHTS as TAGGER_WEIGHTS
from test_wordnet import tiny_wordnet
from transformers import AutoModel, AutoModelForMaskedLM

from sparring.attack.charmer import AnyCharacter
from sparring.attack.constrain import CountOfWords, EditDistance, ShareOfWords, StopWords, allowed, violations
from sparring.attack.difference import difference, visible
from sparring.attack.engine import Memory, play
from sparring.attack.lexical import PartOfSpeech, Tagger, WordCosine
from sparring.attack.masked_lm import MaskedLM
from sparring.attack.outcome import Outcome
from sparring.attack.similarity import Encoder, SentenceSimilarity
from sparring.attack.text import Text
from sparring.attack.transform.characters import CharacterEdits
from sparring.attack.transform.checklist import CheckList
from sparring.attack.transform.combine import AnyOf
from sparring.attack.transform.gradient import HotFlip
from sparring.attack.transform.masked import BertAttackSwap, MaskedInsert, MaskedMerge, MaskedSwap
from sparring.attack.transform.synonyms import NeighbourSwap, WordNetSwap
from sparring.attack.vectors import neighbours
from sparring.attack.victim import ModelVictim
from sparring.attack.wordnet import WordNet

PIECES = [
    *(
        "a good film",
        "The BOOK was not bad",
        "isn't",
        "CAN NOT",
        "it’s",
        "well-known",
        "rock'n'roll",
        "London 25",
        "007",
    ),
    *("שלום עולם", "مرحبا", "你好世界", "ありがとう", "สวัสดี", "e\u0301a\u0323\u0301", "ﬁne", "İstanbul", "straße", "ǅ"),
    *("😀", "👩‍👩‍👧", "🇫🇷", "❤️", "\u202egood\u202c", "\u200b", "\ufeff", "\u00ad", "\x00", "\x1b[31m", "\x07", "\x7f"),
    *("\ud800", "\udc00", "\ud83d\ude00", "<script>alert(1)</script>", "[MASK]", "[UNK]", "[SEP]", "</s>", "&amp;"),
    *("{0}", "%s", "\\", "`", '"', "'", "--", "...", "!?", "\t", "\n", "\r\n", "\u2028", "\u3000", "\u00a0", "   ", ""),
    *("_", "__init__", "a_b", "x" * 70, "A" * 30, "- -", "·", "1,000.50", "²³", "½", "Ⅷ", "٣", "good good good"),
]
CHARACTERS = st.one_of(
    st.sampled_from(PIECES),
    st.text(alphabet=st.characters(), max_size=6),  # any character there is, half surrogate pairs among them
    st.text(alphabet="ab Ab'-_.’\u0301\u200d😀\n", max_size=8),
    st.sampled_from(WORDS),
)
FIELD = st.lists(st.tuples(CHARACTERS, st.sampled_from([" ", " ", " ", "", "  ", "\n", ", "])), max_size=7).map(
    lambda parts: "".join(word + gap for word, gap in parts)
)
FIELDS = st.one_of(FIELD.map(lambda one: (one,)), st.tuples(FIELD, FIELD))


@cache
def tools(folder):
    """Every transform and every constraint, on tiny models and tables."""
    victim = ModelVictim(*handset({**WEIGHTS, "[UNK]": 0.1}), half=False)
    lm = MaskedLM(*random_model("bert", task=AutoModelForMaskedLM), half=False)
    marked = MaskedLM(*random_model("roberta", task=AutoModelForMaskedLM), half=False)
    encoder = Encoder(*random_model("bert", task=AutoModel), half=False)
    table = neighbours(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 4)).astype(np.float32), 3)
    transforms = [
        CharacterEdits(),
        CharacterEdits(("space", "homoglyph", "swap", "delete"), one=False, skip_ends=True),
        AnyCharacter(" aé\u0301😀\u202e-"),
        AnyCharacter("a ", pruthi=True),
        CheckList(),
        NeighbourSwap(table, 3),
        NeighbourSwap(None, 3),
        WordNetSwap(WordNet(tiny_wordnet(folder))),
        MaskedSwap(lm, 8),
        MaskedInsert(lm, 4),
        MaskedMerge(lm, 4, least=0.0),
        BertAttackSwap(lm, 6),
        MaskedSwap(marked, 8),
        MaskedMerge(marked, 4, least=0.0),
        BertAttackSwap(marked, 6, anew=True),
        HotFlip(5),
        AnyOf(CheckList(), NeighbourSwap(table, 2)),
    ]
    tagger = Tagger(TAGGER_WEIGHTS, CERTAIN, TAGS, MAP)
    constraints = [
        StopWords(),
        StopWords(cased=True),
        ShareOfWords(0.3, at_least=1),
        CountOfWords(1),
        EditDistance(3),
        WordCosine(0.1, table),
        WordCosine(0.1, None, unknown_passes=False),
        PartOfSpeech(tagger=tagger),
        PartOfSpeech(noun_verb=False, tagger=tagger),
        SentenceSimilarity(encoder, 0.9, metric="radian", window=3, against="current", short="check"),
        SentenceSimilarity(encoder, 0.9, metric="angular", window=15),
        SentenceSimilarity(encoder, 0.9, metric="cosine", window=None),
    ]
    return [t.bound(victim) for t in transforms], [c.bound(victim) for c in constraints], Memory()


def gaps(text):
    """What stands between the slots of a text, and around them."""
    found, last = [], {}
    for field, start, end in text.spans:
        found.append((field, text.fields[field][last.get(field, 0) : start]))
        last[field] = end
    return found, [field[last.get(number, 0) :] for number, field in enumerate(text.fields)]


def check(fields, frozen, folder, draw):
    """All that must hold for one text."""
    text = Text.of(*fields, frozen=frozen)
    assert text.fields == fields and text.start == text  # the round trip is exact
    transforms, constraints, memory = tools(folder)
    words = [i for i in text.editable if not draw or i in {draw % len(text), (draw * 7) % len(text)}]

    def one(transform, index):
        every = yield from transform.candidates(text, index)
        assert len(set(every)) == len(every) and text not in every, transform.name
        found = every[:: 1 + len(every) // 5]  # of hundreds that differ in a character, some
        verdicts = []
        for constraint in constraints:
            given = yield from constraint.check(text, text, found)
            kept = yield from allowed([constraint], text, text, found)
            assert len(given) == len(found) and kept == [c for c, good in zip(found, given, strict=True) if good]
            verdicts.append(given)
        if found:
            broken = yield from violations(constraints, text, found[0])
            assert broken == [c.name for c, given in zip(constraints, verdicts, strict=True) if not given[0]]
        return found

    searches = [((t, i), one(t, i)) for t in transforms for i in words]
    for (transform, index), found in play(searches, memory=memory):
        for candidate in found:
            check_candidate(text, candidate, index, transform)
    for constraint in constraints:
        assert constraint.words(text) <= set(text.editable)


def check_candidate(text, candidate, index, transform):
    places = candidate.changed
    assert places and set(places) <= {index, index + 1} and set(places) <= set(text.editable), transform.name
    assert all(isinstance(slot, str) for slot in candidate.slots)
    for number in text.frozen:
        assert candidate.fields[number] == text.fields[number]
    if all(candidate.slots):  # nothing was deleted: every gap is as it was
        assert gaps(candidate) == gaps(text), transform.name
    (before, _), (after, _) = gaps(text), gaps(candidate)
    for slot in range(len(text)):
        if slot not in places:
            assert candidate.slots[slot] == text.slots[slot]
        if slot not in (index, index + 1, index + 2):
            assert after[slot] == before[slot]
    for (field, start, end), slot in zip(candidate.spans, candidate.slots, strict=True):
        assert candidate.fields[field][start:end] == slot
    for old, new in zip(text.fields, candidate.fields, strict=True):
        parts = difference(old, new)
        assert "".join(part for kind, part in parts if kind != "inserted") == old
        assert "".join(part for kind, part in parts if kind != "deleted") == new
        assert not set("\x1b\x00\u202e") & set(visible(new))
    outcome = Outcome(
        row=0, status="success", label=0, original=text.fields, adversarial=candidate.fields, predicted=0,
        gold_before=1.0, queries=1, words=len(text.editable),
    )  # fmt: skip
    json.dumps(outcome.write(), allow_nan=False)


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@settings(max_examples=80, derandomize=True, **QUIET)
@given(fields=FIELDS, frozen=st.booleans(), draw=st.integers(1, 10**6))
def test_hostile_and_odd_texts_break_nothing(fields, frozen, draw, folder):
    check(fields, (0,) if frozen and len(fields) > 1 else (), folder, draw)


@pytest.mark.slow
@settings(max_examples=10_000, **QUIET)
@given(fields=FIELDS, frozen=st.booleans(), draw=st.integers(1, 10**6))
def test_ten_thousand_hostile_and_odd_texts_break_nothing(fields, frozen, draw, folder):
    check(fields, (0,) if frozen and len(fields) > 1 else (), folder, draw)


@pytest.mark.parametrize("piece", PIECES)
def test_each_odd_piece_breaks_nothing(piece, folder):
    check((f"{piece} film", f"good{piece}b"), (), folder, 8)
