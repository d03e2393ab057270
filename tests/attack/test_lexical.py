"""Word cosine and part of speech, on models small enough to work out by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import BagOfWords
from test_wordnet import tiny_wordnet

from sparring.attack.constrain import violations
from sparring.attack.engine import alone
from sparring.attack.lexical import OtherLexeme, PartOfSpeech, Tagger, WordCosine
from sparring.attack.resources import MAP_FILE, TAGGER, TAGGER_FILES, find
from sparring.attack.text import Text
from sparring.attack.transform.synonyms import NeighbourSwap
from sparring.attack.vectors import Neighbours, neighbours
from sparring.attack.wordnet import WordNet
from sparring.errors import DataError, ModelError

VECTORS = neighbours(
    ["good", "fine", "bad"], np.array([[1, 0], [3, 4], [-1, 0]], dtype=np.float32), 2
)  # cosines .6, -1
TABLE = Neighbours.from_table("a table", {"good": ["fine"]})
ODD = ["", " ", "\x00", "😀", "שלום", "e\u0301", "\ud800", "\n", "-", "\u200d"]

WEIGHTS = {
    "bias": {"NN": 0.5},
    "i word run": {"VB": 1.0},
    "i-1 word the": {"NN": 2.0},
    "i-1 tag TO": {"VB": 2.0},
    "i suffix ful": {"JJ": 3.0},
    "i word fast": {"JJ": 2.0, "RB": 2.0},  # a tie: the last tag of the alphabet wins
    "i+1 word !YEAR": {"IN": 5.0},
    "i+2 word -END-": {"XX": 0.1},
    "i+2 word fast": {"XX": 4.0},
    "i-2 word -START2-": {"RB": 0.2},
}
CERTAIN = {"the": "DT", "to": "TO"}
TAGS = ["NN", "VB", "JJ", "RB", "IN", "DT", "TO", "XX"]
MAP = {"NN": "NOUN", "VB": "VERB", "JJ": "ADJ", "RB": "ADV", "IN": "ADP", "DT": "DET", "TO": "PRT"}


def tiny_tagger(folder: Path) -> Path:
    """A tagger in NLTK's layout."""
    for (package, name), content in zip(TAGGER_FILES, (WEIGHTS, CERTAIN, TAGS), strict=True):
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / name).write_text(json.dumps(content))
    (folder / MAP_FILE[0]).mkdir(exist_ok=True)
    (folder / MAP_FILE[0] / MAP_FILE[1]).write_text("\n".join(f"{fine}\t{coarse}" for fine, coarse in MAP.items()))
    return folder


@pytest.fixture
def tagger(tmp_path):
    return Tagger.load(tiny_tagger(tmp_path))


def verdicts(constraint, text: str, *candidates: dict[int, str]) -> list[bool]:
    original = Text.of(text)
    return alone(constraint.check(original, original, [original.edit(edits) for edits in candidates]))


# word cosine


def test_a_new_word_needs_the_cosine_to_the_original_one():
    edits = [{0: "fine"}, {0: "FINE"}, {0: "bad"}, {0: "good"}]
    assert verdicts(WordCosine(0.6, VECTORS), "Good film", *edits) == [True, True, False, True]
    assert verdicts(WordCosine(0.7, VECTORS), "Good film", *edits) == [False, False, False, True]


def test_unknown_words_pass_unless_told_otherwise_and_deleted_ones_always_do():
    edits = [{0: "excellent"}, {1: "fine"}, {0: ""}, {0: "very good"}]
    assert verdicts(WordCosine(0.9, VECTORS), "good film", *edits) == [True] * 4
    strict = WordCosine(0.9, VECTORS, unknown_passes=False)
    assert verdicts(strict, "good film", *edits) == [False, False, True, False]
    assert strict.name == "word cosine at least 0.9 in vectors, no unknown words"


@pytest.mark.parametrize("constraint", ["cosine", "part of speech"])
def test_the_audit_looks_at_every_changed_word(constraint, tagger):
    made = WordCosine(0.5, VECTORS) if constraint == "cosine" else PartOfSpeech(tagger=tagger)
    original = Text.of("good film good film")
    final = original.edit({0: "fine", 2: "bad" if constraint == "cosine" else "awful"})
    assert alone(violations([made], original, final)) == [made.name]
    assert alone(violations([made], original, original.replace(0, "fine"))) == []
    current = original.replace(2, "bad" if constraint == "cosine" else "awful")
    assert alone(made.check(original, current, [current.replace(0, "fine")])) == [False]


def test_words_put_in_beside_a_word_may_be_of_any_part_of_speech_and_replacements_may_not(tagger):
    edits = [{0: "fine"}, {0: "awful"}, {0: "awful good"}, {0: "good awful"}, {0: "awful fine"}]
    edits += [{0: "awful awful"}]
    assert verdicts(PartOfSpeech(tagger=tagger), "good film", *edits) == [True, False, False, True, False, False]
    replaced = PartOfSpeech(insertions_pass=True, tagger=tagger)
    assert verdicts(replaced, "good film", *edits) == [True, False, True, True, True, False]
    assert replaced.name == "part of speech of replaced words, noun and verb are one"


def test_a_table_without_cosines_lets_all_pass_and_the_name_says_so():
    constraint = WordCosine(0.5, TABLE)
    assert verdicts(constraint, "good film", {0: "fine"}, {0: "bad"}) == [True, True]
    assert constraint.name == "word cosine not checked: a table has no cosines, it counts as filtered"
    assert WordCosine(0.5, VECTORS).name == "word cosine at least 0.5 in vectors"


class ModelLike:
    """A victim with an embedding table and a tokenizer."""

    class model:
        @staticmethod
        def get_input_embeddings():
            return torch.nn.Embedding.from_pretrained(torch.tensor([[1.0, 0], [3, 4], [-1, 0]]))

    class tokenizer:
        all_special_tokens = ()

        @staticmethod
        def get_vocab():
            return {"good": 0, "fine": 1, "bad": 2}


def test_the_victims_own_table_serves_once_bound():
    victim = ModelLike()
    constraint, swap = WordCosine(0.5), NeighbourSwap(None, 1)
    assert constraint.name == "word cosine at least 0.5 in the victim's embedding table"
    assert verdicts(constraint.bound(victim), "good film", {0: "fine"}, {0: "bad"}) == [True, False]
    text = Text.of("good film")
    with pytest.raises(ModelError, match="need a victim"):
        alone(swap.candidates(text, 0))
    bound = swap.bound(victim)
    assert [c.fields for c in alone(bound.candidates(text, 0))] == [("fine film",)]
    assert "stands in" in swap.name and bound.name == swap.name and bound.bound(victim) is bound
    assert swap.bound(victim).neighbours is bound.neighbours  # made once
    for unbound in (constraint, swap):
        with pytest.raises(ModelError, match="BagOfWords shows no embedding table; take other synonyms"):
            unbound.bound(BagOfWords({}))


# part of speech


def test_tags_follow_the_features(tagger):
    assert tagger.tag(["the", "run"]) == ["DT", "NN"]  # 0.5 + 2 against 1
    assert tagger.tag(["to", "run"]) == ["TO", "VB"]  # 1 + 2 against 0.5
    assert tagger.tag(["a", "joyful", "walk"]) == ["NN", "JJ", "NN"]
    assert tagger.tag(["in", "1999"]) == ["IN", "NN"]
    assert tagger.tag(["a", "a", "fast"]) == ["XX", "NN", "RB"]
    assert tagger.tag(["a", "a", "run"])[0] == "NN"  # what was remembered of another sentence does no harm
    assert tagger.universal(("in", "1999"), 0) == "ADP"
    assert tagger.tag([]) == []


def test_a_new_word_needs_the_tag_of_the_original_one(tagger):
    edits = [{1: "walk"}, {1: "joyful"}, {1: ""}]
    assert verdicts(PartOfSpeech(tagger=tagger), "the film ends", *edits) == [True, False, True]


def test_noun_and_verb_are_one_unless_told_otherwise(tagger):
    text = "he likes xyz xyz"
    loose, strict = PartOfSpeech(tagger=tagger), PartOfSpeech(noun_verb=False, tagger=tagger)
    assert verdicts(loose, text, {2: "run"}, {2: "joyful"}) == [True, False]
    assert verdicts(strict, text, {2: "run"}, {2: "xyzzy"}) == [False, True]
    assert loose.name != strict.name


def test_the_word_that_changed_is_tagged_not_its_first_double(tagger):
    # the first "run" is a verb, as any word after "to" is; the second is a noun, and "film" in its place is one too
    constraint = PartOfSpeech(noun_verb=False, tagger=tagger)
    assert verdicts(constraint, "to run the run xyz", {3: "film"}, {3: "joyful"}) == [True, False]


def test_the_window_ends_with_the_field(tagger):
    original = Text.of("to", "run xyz xyz", frozen=(0,))
    constraint = PartOfSpeech(noun_verb=False, tagger=tagger)
    # "to" belongs to the other field: it makes no verb of the word after it
    assert alone(constraint.check(original, original, [original.replace(1, "xyz")])) == [False]
    one = Text.of("to run xyz xyz")
    assert alone(constraint.check(one, one, [one.replace(1, "xyz")])) == [True]


def test_of_several_words_in_a_place_the_first_is_tagged(tagger):
    edits = [{1: "film joyful"}, {1: "joyful film"}]
    assert verdicts(PartOfSpeech(tagger=tagger), "the film ends here", *edits) == [True, False]


@pytest.mark.parametrize("word", ODD)
def test_odd_words_are_tagged_and_compared_without_a_crash(tagger, word):
    assert len(tagger.tag([word, "film", word])) == 3
    for constraint in (PartOfSpeech(tagger=tagger), WordCosine(0.5, VECTORS)):
        assert len(verdicts(constraint, "the film ends", {1: word}, {0: word, 2: word})) == 2
        strange = Text.of("😀 שלום e\u0301 film\x00\u202e")
        assert (
            len(alone(constraint.check(strange, strange, [strange.replace(i, "good") for i in strange.editable]))) == 3
        )


@pytest.mark.parametrize("name", [f"{TAGGER}.weights.json", f"{TAGGER}.classes.json", "en-ptb.map"])
def test_a_damaged_tagger_is_an_error_that_names_the_folder(tmp_path, name):
    (path,) = tiny_tagger(tmp_path).rglob(name)
    for content in ("{", "[]", '{"bias": {"ZZ": 1}}', '{"bias": 3}'):
        path.write_text(content)
        if name.endswith("classes.json") and content == "{":
            continue
        with pytest.raises(DataError, match=str(tmp_path)):
            Tagger.load(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="has no"):
        Tagger.load(tmp_path)


SENTENCES = """The quick brown fox jumps over the lazy dog .
In 1999 , 24-hour well-known stores -- like U.S. firms -- did n't sell 3,000 of them , did they ?
a gripping film , full of charm and wit , that never quite lives up to its promise""".splitlines()


@pytest.mark.skipif(not os.environ.get("NLTK_DATA"), reason="no NLTK data")
def test_tags_are_those_of_nltk():
    perceptron = pytest.importorskip("nltk.tag.perceptron")
    try:
        theirs, ours = perceptron.PerceptronTagger(), Tagger.load(find("pos_tagger"))
    except (LookupError, DataError):
        pytest.skip("no tagger in NLTK's data")
    for sentence in [*SENTENCES, *(s.upper() for s in SENTENCES), " ".join(reversed(" ".join(SENTENCES).split()))]:
        words = sentence.split()
        assert list(zip(words, ours.tag(words), strict=True)) == theirs.tag(words)
        for i in range(len(words)):  # one word at a time, as the constraint asks
            fresh = ours.map.get(theirs.tag(words[max(0, i - 4) : i + 4])[min(i, 4)][1], "X")
            assert ours.universal(tuple(words[max(0, i - 4) : i + 4]), min(i, 4)) == fresh


def test_another_form_of_the_same_word_is_no_other_word(tmp_path):
    constraint = OtherLexeme(WordNet(tiny_wordnet(tmp_path)))
    text = Text.of("Films shot good")
    tried = [(0, "film"), (0, "films"), (0, "movie"), (1, "shoot"), (1, "take"), (2, "better"), (2, "unheard")]
    candidates = [text.replace(index, new) for index, new in tried]
    assert alone(constraint.check(text, text, candidates)) == [False, False, True, False, True, False, True]
