import json
import subprocess
import sys

import numpy as np
import pytest
from transformers import AutoTokenizer, BertTokenizer, GPT2Tokenizer, RobertaTokenizer

from sparring.data.corpus import Corpus
from sparring.data.find import demo_documents
from sparring.data.sources import Rows
from sparring.data.vocabulary import SPECIAL, train_tokenizer
from sparring.errors import DataError, SettingError

FAMILIES = {
    "bert": ("wordpiece", BertTokenizer),
    "roberta": ("bpe", RobertaTokenizer),
    "gpt2": ("bpe", GPT2Tokenizer),
}
TEXT = "The Battery lasts for days, even by the BBC's standards. Größe?"


def made(family, **settings):
    given = {"kind": FAMILIES[family][0], "family": family, "size": 600} | settings
    return train_tokenizer(Corpus.open("demo"), **given)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(family):
    return made(family, length=64)


def test_a_tokenizer_of_each_family_has_the_size_class_and_special_tokens_asked_for(family, tokenizer):
    assert len(tokenizer) == tokenizer.vocab_size == 600 and isinstance(tokenizer, FAMILIES[family][1])
    assert tuple(tokenizer.convert_ids_to_tokens(range(len(SPECIAL[family])))) == SPECIAL[family]
    assert set(tokenizer.all_special_tokens) == set(SPECIAL[family])
    ids = tokenizer("it lasts for days")["input_ids"]
    before, after = {"bert": (["[CLS]"], ["[SEP]"]), "roberta": (["<s>"], ["</s>"]), "gpt2": ([], [])}[family]
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens == [*before, *tokenizer.tokenize("it lasts for days"), *after]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "it lasts for days"


def test_a_saved_tokenizer_reads_texts_as_before(family, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is type(tokenizer) and again.is_fast
    assert again(TEXT, "b")["input_ids"] == tokenizer(TEXT, "b")["input_ids"]
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.model_max_length == 64


@pytest.fixture(scope="module")
def made_elsewhere():
    """The entries of each family's vocabulary as another process makes it."""
    code = (
        "import json, sys\n"
        "from sparring.data.corpus import Corpus\n"
        "from sparring.data.vocabulary import train_tokenizer\n"
        f"kinds = { ({family: kind for family, (kind, _) in FAMILIES.items()})!r}\n"
        "def made(family):\n"
        "    found = train_tokenizer(Corpus.open('demo'), kind=kinds[family], family=family, size=600)\n"
        "    return found.convert_ids_to_tokens(range(600))\n"
        "print(json.dumps({family: made(family) for family in kinds}))"
    )
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_another_process_makes_the_same_vocabulary(family, tokenizer, made_elsewhere):
    assert made_elsewhere[family] == tokenizer.convert_ids_to_tokens(range(600))


def test_byte_level_tokenizers_lose_nothing_and_wordpiece_ignores_case_if_it_may(family, tokenizer):
    decoded = tokenizer.decode(tokenizer(TEXT)["input_ids"], skip_special_tokens=True)
    if family == "bert":
        assert tokenizer("THE")["input_ids"] == tokenizer("the")["input_ids"]
        cased = made("bert", lower=False)
        assert cased("THE")["input_ids"] != cased("the")["input_ids"]
    else:
        assert decoded == TEXT


def test_frequent_words_are_entries_and_rare_characters_are_unknown(tokenizer, family):
    vocabulary = tokenizer.get_vocab()
    assert {"the", "and", "it"} <= {entry.lstrip("Ġ") for entry in vocabulary}
    if family == "bert":
        assert tokenizer.convert_ids_to_tokens(tokenizer("你")["input_ids"]) == ["[CLS]", "[UNK]", "[SEP]"]


def test_a_vocabulary_larger_than_the_corpus_supports_says_how_many_entries_there_are(family):
    with pytest.raises(DataError, match=r"100,000 entries was asked for, and the text supports ([\d,]+)") as caught:
        made(family, size=100_000)
    found = int(str(caught.value).split("supports ")[1].split()[0].replace(",", ""))
    assert len(made(family, size=found)) == found


def test_text_in_ideographs_fills_a_vocabulary_with_its_characters(tmp_path):
    """Each is a word of its own, so that nothing is left to be merged."""
    draws = np.random.default_rng(0)
    lines = ["".join(chr(0x4E00 + n) for n in draws.zipf(1.3, 60) % 900) for _ in range(300)]
    (tmp_path / "text.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    corpus = Corpus.open(tmp_path / "text.txt")
    assert len(train_tokenizer(corpus, size=500)) == 500
    with pytest.raises(DataError, match=r"supports ([\d,]+)") as caught:
        train_tokenizer(corpus, size=8000)
    found = int(str(caught.value).split("supports ")[1].split()[0].replace(",", ""))
    tokenizer = train_tokenizer(corpus, size=found)
    assert 500 < len(tokenizer) == found
    assert tokenizer.unk_token not in tokenizer.tokenize("".join(lines[:50]))


def test_words_beside_ideographs_are_merged_and_the_size_suggested_can_be_had(tmp_path):
    draws = np.random.default_rng(0)
    words = ["".join(map(chr, 97 + draws.integers(0, 26, 6))) for _ in range(300)]
    lines = []
    for _ in range(600):
        lines.append(" ".join(words[n] for n in draws.integers(0, 300, 40)))
        lines[-1] += "".join(chr(0x4E00 + n) for n in draws.integers(0, 900, 20))
    (tmp_path / "text.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    corpus = Corpus.open(tmp_path / "text.txt")
    with pytest.raises(DataError, match=r"supports ([\d,]+)") as caught:
        train_tokenizer(corpus, size=8000)
    found = int(str(caught.value).split("supports ")[1].split()[0].replace(",", ""))
    for size in (1000, 1500, found):
        tokenizer = train_tokenizer(corpus, size=size)
        assert len(tokenizer) == size
    assert tokenizer.tokenize(words[0]) == [words[0]]


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(SettingError, match="use wordpiece for bert"):
        made("gpt2", kind="wordpiece")
    with pytest.raises(SettingError, match="'unigram' is not known"):
        made("bert", kind="unigram")
    with pytest.raises(SettingError, match="family 't5'"):
        train_tokenizer(Corpus.open("demo"), size=300, family="t5")
    for family in FAMILIES:
        with pytest.raises(SettingError, match="no room for words"):
            made(family, size=5)


def test_progress_covers_all_passes_and_no_more_text_is_read_than_asked_for():
    seen = []
    made("bert", progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == 2 * sum(map(len, demo_documents()))
    seen.clear()
    made("bert", size=300, most_bytes=50_000, progress=lambda done, total: seen.append((done, total)))
    assert 100_000 <= seen[-1][0] < 102_000


def test_a_word_of_many_characters_does_not_become_an_entry():
    corpus = Corpus("texts", [Rows("texts", ["ab" * 5000, "ab" * 5000, *demo_documents()])])
    for kind in ("bpe", "wordpiece"):
        assert max(map(len, train_tokenizer(corpus, kind=kind, size=600).get_vocab())) <= 600
