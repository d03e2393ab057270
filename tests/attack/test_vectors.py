"""Neighbours in vector spaces: exact, in a fixed order, from any file."""

import json
import struct
import zipfile

import numpy as np
import pytest

from sparring.attack.engine import Work, alone, play
from sparring.attack.text import Text
from sparring.attack.transform.synonyms import NeighbourSwap
from sparring.attack.vectors import Neighbours, is_word, nearest, neighbours, read_vectors, whole_words
from sparring.errors import DataError

WORDS = ["good", "fine", "great", "bad", "awful"]
VECTORS = np.array([[1, 0], [2, 2], [5, 1], [-1, 0], [-1, 0.5]], dtype=np.float32)
ODD = ["", " ", "a b", "\x00", "😀", "שלום", "e\u0301", "\ud800", "\n"]


def letters(number: int) -> str:
    return "w" + "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_neighbours_are_sorted_by_cosine_and_a_word_is_not_its_own():
    found = neighbours(WORDS, VECTORS, 3)
    assert [word for word, _ in found.near("good", 3)] == ["great", "fine", "awful"]
    assert found.near("good", 1) == [("great", pytest.approx(5 / 26**0.5, abs=1e-6))]
    assert found.cosine("good", "fine") == pytest.approx(0.5**0.5, abs=1e-6)
    assert found.cosine("good", "bad") == -1.0


def test_the_table_is_that_of_brute_force_whichever_rows_are_asked_together():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((700, 16)).astype(np.float32)
    words = [letters(i) for i in range(700)]
    whole = neighbours(words, vectors, 9)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    assert (whole.table == np.argsort(-cosines, axis=1)[:, :9]).all()
    lazy = Neighbours.from_vectors("lazy", words, vectors)
    single = [lazy.near(word, 9) for word in words[:40]]
    together = Neighbours.from_vectors("lazy", words, vectors).answer([(word, 9) for word in words])
    assert single == together[:40]
    assert together == [whole.near(word, 9) for word in words]


def test_of_equal_cosines_the_lower_number_comes_first():
    vectors = np.ones((40, 3), dtype=np.float32)
    ids, cosines = nearest(vectors / np.float32(3**0.5), np.array([0, 20]), 5)
    assert ids.tolist() == [[1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]
    assert np.allclose(cosines, 1)


def test_more_neighbours_than_words_are_all_of_them():
    assert len(neighbours(WORDS, VECTORS, 50).near("good", 50)) == 4
    assert neighbours(["alone"], VECTORS[:1], 50).near("alone", 50) == []


def test_more_neighbours_than_the_table_has_are_found_anew():
    found = neighbours(WORDS, VECTORS, 2)
    assert not found.ready("good", 4)
    assert len(found.near("good", 4)) == 4
    assert found.near("good", 2) == found.near("good", 4)[:2]


def test_words_are_looked_up_without_regard_to_case_and_the_lower_case_vector_wins():
    found = Neighbours.from_vectors("x", ["The", "the", "Film", "FILM", "..."], np.eye(5, dtype=np.float32))
    assert found.words == ("the", "film")
    assert found.vectors[:, 1].tolist() == [1, 0]  # that of "the"
    assert found.vectors[:, 2].tolist() == [0, 1]  # the first spelling of "film"
    assert "FILM" in found and found.cosine("THE", "the") == 1.0


def test_a_vector_of_zeros_is_unknown_and_one_that_is_not_finite_is_an_error():
    vectors = VECTORS.copy()
    vectors[1] = 0
    found = Neighbours.from_vectors("x", WORDS, vectors)
    assert "fine" not in found and found.cosine("good", "fine") is None
    vectors[2, 1] = np.nan
    with pytest.raises(DataError, match="'great' has a number that is not finite"):
        Neighbours.from_vectors("x", WORDS, vectors)
    with pytest.raises(DataError, match="no vector of a word"):
        Neighbours.from_vectors("x", ["..."], VECTORS[:1])


@pytest.mark.parametrize("word", ODD)
def test_odd_words_are_unknown_and_break_nothing(word):
    found = neighbours(WORDS, VECTORS, 3)
    assert found.near(word, 3) == [] and found.cosine(word, "good") is None and found.ready(word, 3)
    text = Text.of("a good film").replace(1, word)
    assert alone(NeighbourSwap(found).candidates(text, 1)) == []


# files


def write(path, kind):
    rows = [(word, [float(x) for x in vector]) for word, vector in zip(WORDS, VECTORS, strict=True)]
    lines = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in rows)
    if kind == "npz":
        np.savez(path, words=np.array(WORDS), vectors=VECTORS)
    elif kind == "text":
        path.write_text(lines)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("vectors.txt", lines)
    elif kind == "word2vec":
        path.write_text(f"{len(WORDS)} 2\n{lines}")
    else:
        end = b"\n" if kind == "binary, lines" else b""
        packed = (word.encode() + b" " + struct.pack("<2f", *vector) + end for word, vector in rows)
        path.write_bytes(b"5 2\n" + b"".join(packed))
    return path


@pytest.mark.parametrize("kind", ["npz", "text", "zip", "word2vec", "binary", "binary, lines"])
def test_vectors_read_the_same_from_every_format(tmp_path, kind):
    path = write(tmp_path / ("v.npz" if kind == "npz" else "v"), kind)
    words, vectors = read_vectors(path)
    assert words == WORDS and vectors.dtype == np.float32
    assert (vectors == VECTORS).all()
    assert read_vectors(path, most=2)[0] == WORDS[:2]


def test_a_word_with_a_space_and_bytes_that_are_no_text_survive(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes(b"good 1 2\n. . 3 4\n\n\xff\xfe 5 6\n")
    words, vectors = read_vectors(path)
    assert words == ["good", ". .", "\ufffd\ufffd"] and vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: a word and its numbers are expected"),
        (b"text,label\n", "line 1"),
        (b"good 1 2\nbad 1\n", "line 2: a word and 2 numbers are expected, found b'bad 1"),
        (b"good 1 x\n", "line 1"),
        (b"3 2\ngood 1 2\nbad 3 4\n", "ends after 2 vectors; 3 are expected"),
        (b"5 2\n" + b"good " + struct.pack("<2f", 1, 2) + b"bad \x00", "ends after 1 vectors; 5"),
        (b"9 99999999\ngood 1 2\n", "line 1"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(tmp_path, content, message):
    path = tmp_path / "v.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_vectors(path)


def test_a_zip_file_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        for name in ("a.txt", "b.txt"):
            archive.writestr(name, "good 1 2\n")
    with pytest.raises(DataError, match="holds 2 files; one file of vectors is expected"):
        read_vectors(tmp_path / "v.zip")


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "v.npz", words=np.array(WORDS, dtype=object), vectors=VECTORS)
    with pytest.raises(DataError, match=r"v\.npz"):
        read_vectors(tmp_path / "v.npz")
    np.savez(tmp_path / "w.npz", embedding=VECTORS)
    with pytest.raises(DataError, match="`words` and `vectors` are expected"):
        read_vectors(tmp_path / "w.npz")
    np.savez(tmp_path / "x.npz", words=np.array(WORDS[:2]), vectors=VECTORS)
    with pytest.raises(DataError, match=r"\(2,\)"):
        read_vectors(tmp_path / "x.npz")


def test_a_table_is_saved_and_read_as_it_was(tmp_path):
    found = neighbours(WORDS, VECTORS, 3)
    found.save(tmp_path / "n.npz")
    again = Neighbours.read(tmp_path / "n.npz", "again")
    assert again.name == "again" and again.words == found.words
    assert again.near("good", 3) == found.near("good", 3) and again.cosine("good", "bad") == -1.0
    Neighbours("x", ["good"], table=np.array([[7]])).save(tmp_path / "n.npz")
    with pytest.raises(DataError, match="damaged"):
        Neighbours.read(tmp_path / "n.npz")


def test_a_json_table_has_neighbours_without_cosines(tmp_path):
    (tmp_path / "n.json").write_text(
        json.dumps({"Good": ["fine", "great", "a b", "good", "fine"], "bad": [], "": ["x"]})
    )
    found = Neighbours.read(tmp_path / "n.json")
    assert found.near("good", 50) == [("fine", None), ("great", None)]
    assert found.near("GOOD", 1) == [("fine", None)]
    assert found.near("fine", 5) == [] and found.near("bad", 5) == []
    assert found.cosine("good", "fine") is None and not found.knows_cosines
    found.save(tmp_path / "n.npz")
    assert Neighbours.read(tmp_path / "n.npz").near("good", 50) == found.near("good", 50)


def test_a_json_table_may_have_cosines():
    found = Neighbours.from_table("x", {"good": [["fine", 0.7], ["great", 0.6]], "bad": []})
    assert found.near("good", 1) == [("fine", pytest.approx(0.7))]
    assert found.cosine("fine", "good") == pytest.approx(0.7)  # either way round
    assert found.cosine("good", "bad") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "a list, not an object"),
        ("{", "cannot read"),
        ("{}", "has no word"),
        ('{"good": "fine"}', "neighbours of 'good' are not a list"),
        ('{"good": [3]}', "a neighbour of 'good' is 3"),
        ('{"good": [["fine", 7]]}', "a neighbour of 'good' is"),
    ],
)
def test_a_json_file_that_is_no_table_is_an_error(tmp_path, content, message):
    (tmp_path / "n.json").write_text(content)
    with pytest.raises(DataError, match=message):
        Neighbours.read(tmp_path / "n.json")


# embedding tables


class Pieces:
    """What is used of a tokenizer."""

    def __init__(self, pieces, special=("[CLS]",)):
        self.pieces, self.all_special_tokens = pieces, list(special)

    def get_vocab(self):
        return {piece: i for i, piece in reversed(list(enumerate(self.pieces)))}

    def convert_tokens_to_string(self, pieces):
        return pieces[0].replace("Ġ", " ").replace("Ã©", "é")


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["[CLS]", "good", "##ness", "a", "don't", "42", "Film", "שלום", "unused"], ["good", "Film", "שלום", "unused"]),
        (["<s>", "Ġgood", "ness", "Ġa", "ĠcafÃ©", "Ġ42"], ["good", "café"]),
        (["<s>", "▁good", "ness", "▁", "▁été"], ["good", "été"]),
    ],
)
def test_whole_words_of_letters_are_taken_from_a_tokenizer(pieces, words):
    assert list(whole_words(Pieces(pieces))) == words
    assert whole_words(Pieces(pieces))["good"] == 1


def test_an_embedding_table_gives_neighbours_and_ids_beyond_it_are_left_out():
    found = Neighbours.from_embedding("x", VECTORS[:4], Pieces([*WORDS, "beyond"]))
    assert found.words == ("good", "fine", "great", "bad")
    assert found.near("good", 1)[0][0] == "great"


# the transform


def test_a_swap_restores_case_and_gives_no_word_twice():
    found = Neighbours.from_table("a table", {"good": ["fine", "Fine", "GOOD", "great"]})
    text = Text.of("Good film, GOOD.")
    swap = NeighbourSwap(found, 50)
    assert [c.fields[0] for c in alone(swap.candidates(text, 0))] == ["Fine film, GOOD.", "Great film, GOOD."]
    assert [c.slots[2] for c in alone(swap.candidates(text, 2))] == ["FINE", "GREAT"]
    assert alone(swap.candidates(text, 1)) == []
    assert [c.slots[0] for c in alone(NeighbourSwap(found, 1).candidates(text, 0))] == ["Fine"]
    assert swap.name == "synonyms: 50 neighbours in a table"


def test_a_table_that_gives_a_word_itself_makes_no_candidate_of_it():
    found = Neighbours("x", ["good", "fine"], table=np.array([[0, 1], [-1, -1]]))
    assert [c.fields[0] for c in alone(NeighbourSwap(found).candidates(Text.of("Good"), 0))] == ["Fine"]


def test_neighbours_of_many_words_are_found_in_one_call_and_once():
    found = Neighbours.from_vectors("x", WORDS, VECTORS)
    swap, work = NeighbourSwap(found, 2), Work()
    text = Text.of("good bad Good unknown")
    made = dict(play(((i, swap.candidates(text, i)) for i in range(4)), work=work))
    assert [len(made[i]) for i in range(4)] == [2, 2, 2, 0]
    assert work.rounds == 1 and work.answered == {"x": 2}
    again = Work()
    dict(play(((i, swap.candidates(text, i)) for i in range(4)), work=again))
    assert again.rounds == 0


def test_what_a_word_is_agrees_with_text():
    for odd in ("good", "don't", "well-known", "a b", "", "good.", "电影", "影"):
        assert is_word(odd) == (Text.of(odd).original == (odd,)), odd
