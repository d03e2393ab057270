"""WordNet's files, read without any other package."""

import os
import zipfile
from pathlib import Path

import pytest

from sparring.attack.engine import alone
from sparring.attack.resources import DEBIAN_WORDNET, nltk_folders
from sparring.attack.text import Text
from sparring.attack.transform.synonyms import WordNetSwap
from sparring.attack.wordnet import FILES, PARTS, WordNet
from sparring.errors import DataError, SettingError

LICENCE = "  1 This software and database is being provided to you.  \n  2 WordNet 3.0 Copyright 2006.  \n"
SYNSETS = {
    "n": [["movie", "film", "picture_show"], ["film"], ["mouse"]],
    "v": [["film", "shoot", "Take"]],
    "a": [["good", "full(p)"], ["good", "Well-behaved", "good(a)"]],
    "r": [["well", "good"]],
}
IRREGULAR = {"n": "mice mouse\n", "v": "shot shoot\n", "a": "better good well\n", "r": ""}


def tiny_wordnet(folder: Path) -> Path:
    """Seven synsets in the format of wndb(5WN); offsets are those of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    for pos, part in PARTS.items():
        data, index = LICENCE, {}
        for lemmas in SYNSETS[pos]:
            kind = "s" if pos == "a" else pos
            for lemma in lemmas:
                senses = index.setdefault(lemma.partition("(")[0].lower(), [])
                senses += [len(data)] * (len(data) not in senses)
            words = " ".join(f"{lemma} 0" for lemma in lemmas)
            data += f"{len(data):08} 03 {kind} {len(lemmas):02x} {words} 001 @ 00000001 {pos} 0000 | what it means  \n"
        rows = [
            f"{lemma} {pos} {len(at)} 1 @ {len(at)} 0 {' '.join(f'{offset:08}' for offset in at)}  \n"
            for lemma, at in sorted(index.items())
        ]
        (folder / f"data.{part}").write_text(data)
        (folder / f"index.{part}").write_text(LICENCE + "".join(rows))
        (folder / f"{part}.exc").write_text(IRREGULAR[pos])
    return folder


@pytest.fixture
def wordnet(tmp_path):
    return WordNet(tiny_wordnet(tmp_path))


@pytest.mark.parametrize(
    ("word", "synonyms"),
    [
        ("film", ["movie", "shoot", "Take"]),  # nouns before verbs, in their order, without "picture_show" and itself
        ("Films", ["movie", "film", "shoot", "Take"]),  # the base form is a synonym of an inflected one
        ("shot", ["film", "shoot", "Take"]),  # irregular
        ("mice", ["mouse"]),
        ("filming", ["film", "shoot", "Take"]),
        ("good", ["full", "Well-behaved", "well"]),  # "full(p)" loses its mark
        ("better", ["good", "full", "Well-behaved"]),  # an adjective's irregular form says nothing of the adverb
        ("unheard", []),
    ],
)
def test_synonyms_come_in_the_order_of_the_files(wordnet, word, synonyms):
    assert wordnet.synonyms(word) == synonyms
    assert wordnet.synonyms(word) == synonyms  # from memory


def test_one_part_of_speech_can_be_asked_for(wordnet):
    assert wordnet.synonyms("film", "v") == ["shoot", "Take"]
    assert wordnet.synonyms("film", "r") == []
    with pytest.raises(SettingError, match="'x' is unknown"):
        wordnet.synonyms("film", "x")


def test_what_was_given_out_can_be_changed_without_harm(wordnet):
    wordnet.synonyms("film").clear()
    assert wordnet.synonyms("film")


HOSTILE = ["", " ", "_", "(", "\x00", "\x1b[31m", "😀", "👩‍👩‍👧", "שלום", "a\u0301\u0323", "\ud800", "İ", "ﬁ", "s"]


@pytest.mark.parametrize("word", HOSTILE)
def test_odd_words_have_no_synonyms_and_break_nothing(wordnet, word):
    assert wordnet.synonyms(word) == []


def test_a_zip_file_reads_as_its_folder_does(wordnet, tmp_path):
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for name in FILES:
            archive.write(tmp_path / name, f"wordnet/{name}")
    zipped = WordNet(tmp_path / "wordnet.zip")
    assert zipped.version == wordnet.version == "WordNet 3.0"
    assert zipped.synonyms("films") == wordnet.synonyms("films")


def test_a_missing_file_is_named(wordnet, tmp_path):
    (tmp_path / "index.verb").unlink()
    with pytest.raises(DataError, match=r"no WordNet database: index\.verb missing"):
        WordNet(tmp_path)
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(DataError, match="no zip file"):
        WordNet(tmp_path / "no.zip")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("data.noun", "what it means", "what it meant, at length", "no synset at byte"),  # the next offsets are wrong
        ("data.verb", " v 03 ", " v zz ", "no synset at byte"),
        ("index.adv", " r 1 1 ", " r 2 1 ", "'good' is not in the format"),
        ("index.adj", " a 1 1 ", " a ", "is not in the format"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(wordnet, tmp_path, name, old, new, message):
    content = (tmp_path / name).read_text()
    assert old in content
    (tmp_path / name).write_text(content.replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        WordNet(tmp_path).check()
    assert name in str(caught.value)


def test_a_swap_restores_case_and_never_gives_the_word_itself(wordnet):
    swap = WordNetSwap(wordnet)
    text = Text.of("A FILM, Films; film")
    words = [[c.slots[i] for c in alone(swap.candidates(text, i))] for i in range(4)]
    assert words == [[], ["MOVIE", "SHOOT", "TAKE"], ["Movie", "Film", "Shoot", "Take"], ["movie", "shoot", "Take"]]
    assert swap.name == "synonyms: WordNet 3.0"
    assert swap.bound(None) is swap
    for odd in ("", "film film", "😀"):
        assert alone(swap.candidates(text.replace(1, odd), 1)) == []


LAYOUTS = [DEBIAN_WORDNET, *(folder / "corpora" / "wordnet" for folder in nltk_folders())]


@pytest.mark.skipif(not os.environ.get("NLTK_DATA"), reason="no NLTK data")
@pytest.mark.parametrize("folder", [pytest.param(f, id=str(f)) for f in LAYOUTS if (f / "data.noun").is_file()])
def test_synsets_and_lemmas_are_those_of_nltk(folder):
    reader = pytest.importorskip("nltk.corpus").wordnet
    ours = WordNet(folder)
    words = [
        "movies",
        "better",
        "worst",
        "Good",
        "leaves",
        "lying",
        "axes",
        "did",
        "well-known",
        "galore",
        "mice",
        "1st",
    ]
    words += sorted(ours._part("a"))[::900] + sorted(ours._part("v"))[::500] + sorted(ours._part("n"))[::3000]
    for word in words:
        try:
            expected = reader.synsets(word)
        except LookupError:
            pytest.skip("no WordNet in NLTK's data")
        found = ours.synsets(word)
        assert found == [(s.pos().replace("s", "a"), s.offset()) for s in expected], word
        lemmas = [lemma for pos, offset in found for lemma in ours.lemmas(pos, offset)]
        assert lemmas == [lemma for s in expected for lemma in s.lemma_names()], word
