"""Token-labelled corpora: what is read, what is left out, what is refused."""

import pytest

from sparring.analyse.corpus import limit, read_corpus
from sparring.errors import DataError, SettingError

CONLLU = """# sent_id = 1
# text = I don't see 2 dogs .
1\tI\tI\tPRON\tPRP\tCase=Nom|Number=Sing\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
4\tsee\tsee\tVERB\tVB\tVerbForm=Inf\t0\troot\t_\t_
4.1\tsaw\tsee\tVERB\tVBD\t_\t_\t_\t_\t_
5\t2\t2\tNUM\tCD\tNumType=Card\t6\tnummod\t_\t_
6\tdogs\tdog\tNOUN\tNNS\tNumber=Plur\t4\tobj\t_\tSpaceAfter=No
7\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

1\tYes\tyes\tINTJ\t_\t_\t0\troot\t_\t_
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="corpus.conllu"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_multiword_tokens_and_empty_nodes_are_no_words(file):
    corpus = read_corpus(file(CONLLU), "upos")
    assert corpus.sentences == (("I", "do", "n't", "see", "2", "dogs", "."), ("Yes",))
    assert corpus.tags == (("PRON", "AUX", "PART", "VERB", "NUM", "NOUN", "PUNCT"), ("INTJ",))


def test_any_feature_can_be_the_tag_and_words_without_it_are_context(file):
    number = read_corpus(file(CONLLU), "feats:Number")
    assert number.tags[0] == ("Sing", None, None, None, None, "Plur", None)
    assert number.words == 2
    assert read_corpus(file(CONLLU), "xpos").tags[1] == (None,)
    assert read_corpus(file(CONLLU), "misc:SpaceAfter").words == 1


def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(file):
    plain = read_corpus(file(CONLLU), "upos")
    other = read_corpus(file(b"\xef\xbb\xbf" + CONLLU.replace("\n", "\r\n").encode()), "upos")
    assert (plain.sentences, plain.tags) == (other.sentences, other.tags)


def test_columns_with_numbers_are_words_and_chunks_and_a_hash_is_a_word(file):
    chunks = file("the DT B-NP\n# # I-NP\n1.8 CD I-NP\n\nHe PRP B-NP\n. . O\n", "train.txt")
    corpus = read_corpus(chunks, "3")
    assert corpus.sentences == (("the", "#", "1.8"), ("He", "."))
    assert corpus.tags == (("B-NP", "I-NP", "I-NP"), ("B-NP", "O"))
    names = file("# sent_id = 1\n1\tTampa\tB-LOC\t-\n2\tbay\tI-LOC\t-\n", "dev.iob2")
    assert read_corpus(names, "3", word_column=2).sentences == (("Tampa", "bay"),)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (CONLLU.replace("\tNUM\tCD", "\tNUM"), r"line 9: 9 columns where CoNLL-U has 10.*'5\\t2"),
        (CONLLU.replace("6\tdogs", "7\tdogs"), "line 10: word number 7 where 6 follows"),
        (CONLLU.replace("1\tYes", "x\tYes"), "line 13: 'x' is no word number"),
        (CONLLU.replace("1\tYes", "1\t"), "line 13: the word is empty"),
        (CONLLU.replace("Yes", "\x1b[31m", 1).replace("\t0\troot\t_\t_\n", "\n"), "columns where"),
        (CONLLU.encode().replace(b"Yes", b"\xff"), "line 13: not UTF-8"),
        ("# nothing\n\n", "holds no words"),
    ],
)
def test_a_broken_row_is_named_with_file_and_line(file, broken, said):
    path = file(broken)
    with pytest.raises(DataError, match=said) as caught:
        read_corpus(path, "upos")
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_columns_that_are_not_there_are_refused_with_those_that_are(file):
    path = file(CONLLU)
    with pytest.raises(SettingError, match="did you mean 'upos'"):
        read_corpus(path, "upoz")
    with pytest.raises(SettingError, match="has feats:Nomber; did you mean 'Number'"):
        read_corpus(path, "feats:Nomber")
    with pytest.raises(SettingError, match="line 1: 3 columns, so there is no column 4"):
        read_corpus(file("a b c\n"), "4")
    with pytest.raises(DataError, match="line 2: 2 columns where the rows before have 3"):
        read_corpus(file("a b c\na b\n"), "2")
    with pytest.raises(DataError, match=r"cannot read the corpus .*: No such file"):
        read_corpus(path.with_name("missing"), "upos")


def test_limits_draw_sentences_by_seed_and_leave_rare_tags_out(file):
    rows = "".join(f"w{i} {'AB'[i % 2] if i % 10 else 'rare'}\n\n" for i in range(100))
    whole = read_corpus(file(rows, "columns.txt"), "2")
    cut = limit(whole, words=50, min_count=10, seed=1)
    assert len(cut.sentences) == 50
    assert set(cut.counts) == {"A", "B"}
    numbers = [int(words[0][1:]) for words in cut.sentences]
    assert numbers == sorted(numbers)
    assert numbers != list(range(50))
    assert cut == limit(whole, words=50, min_count=10, seed=1)
    assert cut.sentences != limit(whole, words=50, min_count=10, seed=2).sentences
    assert "50 of 100 sentences" in cut.notes[0]
    assert "'rare'" in cut.notes[1]
    with pytest.raises(DataError, match="has 1 tags with at least 1 words"):
        limit(read_corpus(file("a A\nb A\n"), "2"))
    assert set(limit(whole, max_tags=2).counts) == {"A", "B"}
