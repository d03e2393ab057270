"""Word-level activations: the right tokens, whatever the batch, and made once."""

import sys
from pathlib import Path

import families
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sparring.analyse.activations import extract
from sparring.analyse.corpus import Corpus
from sparring.analyse.pieces import cut
from sparring.errors import ModelError, RunError

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from mixtures import mixture_of

SENTENCES = (("the", "films", "were", "good"), ("a",), ("bad", "films"), ("the", "good", "films", "were", "films"))


FAMILIES = ("bert", "roberta", "albert", "electra", "modernbert", "gpt2", "llama", "t5", "bart")


def corpus(sentences=SENTENCES):
    tags = tuple(tuple("AB"[len(word) % 2] for word in words) for words in sentences)
    return Corpus("made-up", "upos", tuple(sentences), tags, "0" * 64)


@pytest.fixture(scope="session")
def pieces_of_words():
    """A WordPiece tokenizer, lower-casing nothing: "films" is two tokens."""
    words = ["the", "film", "##s", "were", "good", "bad", "a"]
    backend = Tokenizer(
        models.WordPiece({w: i for i, w in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *words])}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


@pytest.fixture(scope="session")
def pieces_of_bytes():
    """A byte-level tokenizer as GPT-2's: a token holds the space before its word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("g", "o"), ("go", "o"), ("goo", "d"), ("Ġ", "good")]
    symbols = ["<|endoftext|>", *sorted({c for word in ("Ġthefilmswerebadgood",) for c in word})]
    symbols += ["go", "goo", "good", "Ġgood"]
    backend = Tokenizer(models.BPE({s: i for i, s in enumerate(symbols)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    assert len(symbols) <= families.VOCABULARY < len(alphabet)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|endoftext|>")


def test_a_word_is_its_tokens_without_special_ones(pieces_of_words):
    found, lost, long = cut(pieces_of_words, SENTENCES, 50, skip_long=False)
    assert found[0].ids == (1, 4, 5, 6, 7, 8, 2)
    assert found[0].spans == ((1, 2), (2, 4), (4, 5), (5, 6))
    assert found[2].words == (5, 6)
    assert (lost, long) == ([], 0)


def test_a_decoder_sees_the_words_as_running_text(pieces_of_bytes):
    (found,), lost, _ = cut(pieces_of_bytes, [("good", "good", "bad")], 50, skip_long=False)
    assert pieces_of_bytes.convert_ids_to_tokens(list(found.ids)) == ["good", "Ġgood", "Ġ", "b", "a", "d"]
    assert found.spans == ((0, 1), (1, 2), (3, 6))  # the token of the space alone is no word's
    assert lost == []


def test_long_sentences_are_cut_between_words_or_skipped_and_no_word_is_lost_unsaid(pieces_of_words):
    found, lost, long = cut(pieces_of_words, SENTENCES, 6, skip_long=False)
    assert sorted(word for piece in found for word in piece.words) == list(range(12))
    assert all(len(piece.ids) <= 6 for piece in found)
    assert (lost, long) == ([], 2)
    found, lost, long = cut(pieces_of_words, SENTENCES, 6, skip_long=True)
    assert (lost, long) == ([0, 1, 2, 3, 7, 8, 9, 10, 11], 2)
    _, lost, _ = cut(pieces_of_words, [("good", "\u200b", "films")], 3, skip_long=False)
    assert lost == [1, 2]  # a character that the tokenizer drops, and a word longer than a piece


def test_a_tokenizer_that_knows_no_characters_is_refused():
    with pytest.raises(ModelError, match="fast tokenizer"):
        cut(object(), SENTENCES, 10, skip_long=False)


@pytest.mark.parametrize("aggregation", ["last", "first", "average"])
def test_activations_are_the_hidden_states_of_a_words_tokens(tiny, pieces_of_words, tmp_path, aggregation):
    model = tiny("bert", dtype=torch.float32)
    found = extract(model, pieces_of_words, corpus(), tmp_path, aggregation=aggregation)
    table = found.open()
    assert (table.shape, table.dtype) == ((12, 3 * families.WIDTH), np.float16)
    assert (found.layers, found.width, found.lost) == (3, families.WIDTH, ())
    with torch.no_grad():
        states = model.eval()(input_ids=torch.tensor([[1, 4, 5, 6, 7, 8, 2]]), output_hidden_states=True).hidden_states
    for layer in range(3):
        films = states[layer][0, 2:4]
        wanted = {"last": films[1], "first": films[0], "average": films.mean(0)}[aggregation]
        own = table[1, layer * families.WIDTH : (layer + 1) * families.WIDTH]
        assert np.allclose(own, wanted.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_batch_does_not_matter_in_any_family(tiny, pieces_of_words, tmp_path, family):
    model = tiny(family, dtype=torch.float32)
    tables = [
        extract(model, pieces_of_words, corpus(), tmp_path / str(size), batch_size=size).open() for size in (1, 3, 50)
    ]
    assert tables[0].shape == (12, 3 * families.WIDTH)
    assert np.ptp(tables[0].astype(np.float32), axis=0).min() > 0
    for other in tables[1:]:
        assert np.allclose(other, tables[0], rtol=4e-3, atol=4e-3)
    assert model.training  # modes are restored


def test_a_mixture_of_adapters_has_the_neurons_of_its_second_pass(pieces_of_words, tmp_path):
    model = mixture_of(dtype=torch.float32)
    table = extract(model, pieces_of_words, corpus(), tmp_path).open()
    with torch.no_grad():
        states = model(input_ids=torch.tensor([[1, 4, 5, 6, 7, 8, 2]]), output_hidden_states=True).hidden_states
    wanted = torch.cat([state[0, 3] for state in states]).numpy()
    assert np.allclose(table[1], wanted, rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelError, match="does not give its hidden states"):
        extract(mixture_of(dtype=torch.float32, combine="logits"), pieces_of_words, corpus(), tmp_path)


def test_the_store_is_made_once_for_a_model_and_its_words(tiny, pieces_of_words, tmp_path):
    model = tiny("bert", dtype=torch.float32)
    first = extract(model, pieces_of_words, corpus(), tmp_path)
    when = first.path.stat().st_mtime_ns
    again = extract(tiny("bert", dtype=torch.float32), pieces_of_words, corpus(), tmp_path)
    assert (first.reused, again.reused, again.path.stat().st_mtime_ns) == (False, True, when)
    with torch.no_grad():
        next(model.parameters())[5, 0] += 1
    assert extract(model, pieces_of_words, corpus(), tmp_path).path != first.path
    assert extract(tiny("bert", dtype=torch.float32), pieces_of_words, corpus(SENTENCES[:2]), tmp_path).reused is False
    assert len(list(tmp_path.iterdir())) == 3


def test_words_without_activations_have_rows_of_zeros_and_are_named(tiny, pieces_of_words, tmp_path):
    model = tiny("bert", dtype=torch.float32)
    found = extract(model, pieces_of_words, corpus(), tmp_path, long="skip", max_length=6)
    assert found.lost == (0, 1, 2, 3, 7, 8, 9, 10, 11)
    assert (found.open()[[0, 11]] == 0).all()
    assert "2 sentences with more than 6 tokens are skipped" in found.notes[0]
    assert "9 words have no activations" in found.notes[1]


def test_what_cannot_be_stored_is_an_error_and_leaves_nothing(tiny, pieces_of_words, tmp_path, monkeypatch):
    model = tiny("bert", dtype=torch.float32)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[8] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        extract(model, pieces_of_words, corpus(), tmp_path)
    model = tiny("bert", dtype=torch.float32)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.LayerNorm.weight.fill_(1e9)
    assert np.isfinite(extract(model, pieces_of_words, corpus(), tmp_path / "big").open()).all()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(RunError, match="make room, or lower words"):
        extract(tiny("bert", dtype=torch.float32), pieces_of_words, corpus(), tmp_path / "full")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == list((tmp_path / "big").iterdir())
