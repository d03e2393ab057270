"""Held-out loss, sentence scores and minimal pairs, against what a plain forward pass gives."""

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from families import END, PAD, START, lm_batch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sparring.errors import DataError, ModelError, SettingError
from sparring.evaluate.language import Score, held_out, pseudo_perplexity, score_sentences
from sparring.evaluate.pairs import Pair, minimal_pairs, read_pairs
from sparring.model.view import ModelView

WORDS = ["the", "cat", "cats", "sleep", "sleeps", "on", "mat", "a", "dog", "dogs", "run", "runs", "."]
SENTENCES = ["the cats sleep", "a dogmat runs on the mat .", "sleeps"]


@pytest.fixture(scope="module")
def tokenizer():
    """WordPiece with [CLS] and [SEP], as many entries as the tiny models have."""
    entries = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *WORDS, "##mat", "##s"]
    entries += [f"x{i}" for i in range(50 - len(entries))]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(entries)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", START), ("[SEP]", END)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", **names)


@pytest.fixture(scope="module")
def plain(tokenizer):
    """The same words as a decoder's tokenizer: nothing is added to a sentence."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(single="$A")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", bos_token="[CLS]")


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)


@pytest.mark.parametrize("name", ["bert-mlm", "gpt2-lm"])
def test_held_out_loss_is_the_mean_over_all_targets_however_they_are_cut(tiny, name):
    model, batches = tiny(name, dropout=0.5), [lm_batch(name), lm_batch(name, lengths=(7, 3), first=3)]
    found = held_out(model, batches)
    assert model.training and not any(m._forward_hooks for m in model.modules())
    model.eval()
    logits, targets = [], []
    with torch.no_grad():
        for given in batches:
            logits.append(model(**given.inputs).logits[given.scored])
            targets.append(given.targets)
    logits, targets = torch.cat(logits), torch.cat(targets)
    loss = float(F.cross_entropy(logits, targets))
    assert found["loss"] == pytest.approx(loss, abs=1e-12) and found["perplexity"] == pytest.approx(math.exp(loss))
    assert found["accuracy"] == float((logits.argmax(-1) == targets).double().mean())
    assert found["targets"] == len(targets) == sum(len(given.targets) for given in batches)
    assert held_out(ModelView(model), batches) == pytest.approx(found)


def test_held_out_batches_without_a_target_and_a_diverged_model_are_refused(tiny):
    model, given = tiny("bert-mlm"), lm_batch("bert-mlm")
    with pytest.raises(DataError, match="no held-out batch has a target"):
        held_out(model, [given.first(0)])
    with torch.no_grad():
        model.cls.predictions.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="diverged"):
        held_out(model, [given])


@pytest.mark.parametrize("variant", ["token", "word_l2r"])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_pseudo_log_likelihood_masks_each_token_alone_or_with_the_rest_of_its_word(
    monkeypatch, tiny, tokenizer, variant, batch_size
):
    monkeypatch.setattr("sparring.evaluate.language._AT_ONCE", 2)
    model = tiny("bert-mlm").eval()
    found = score_sentences(model, tokenizer, SENTENCES, causal=False, variant=variant, batch_size=batch_size)
    for sentence, score in zip(SENTENCES, found, strict=True):
        ids = tokenizer(sentence)["input_ids"]
        tokens, total = tokenizer.convert_ids_to_tokens(ids), 0.0
        for place in range(1, len(ids) - 1):
            read = list(ids)
            read[place] = tokenizer.mask_token_id
            if variant == "word_l2r" and tokens[place + 1].startswith("##"):  # no word here has three pieces
                read[place + 1] = tokenizer.mask_token_id
            total += float(logits_of(model, read)[place, ids[place]])
        assert score.tokens == len(ids) - 2 and score.total == pytest.approx(total, abs=1e-9)


def test_both_variants_agree_on_words_of_one_token_and_differ_on_longer_ones(tiny, tokenizer):
    assert "##mat" in tokenizer.tokenize(SENTENCES[1])
    token, word = (
        score_sentences(tiny("bert-mlm"), tokenizer, SENTENCES, causal=False, variant=v) for v in ("token", "word_l2r")
    )
    assert token[0].total == pytest.approx(word[0].total) and abs(token[1].total - word[1].total) > 1e-3


@pytest.mark.parametrize("begin", [False, True])
def test_a_causal_score_is_the_sum_of_next_token_log_likelihoods(tiny, plain, begin):
    model = tiny("gpt2-lm").eval()
    sentences = SENTENCES[:2]
    found = score_sentences(model, plain, sentences, causal=True, begin=begin, batch_size=2)
    for sentence, score in zip(sentences, found, strict=True):
        ids = [START] * begin + plain(sentence)["input_ids"]
        likely = logits_of(model, ids)
        total = sum(float(likely[i, ids[i + 1]]) for i in range(len(ids) - 1))
        assert score.tokens == len(ids) - 1 and score.total == pytest.approx(total, abs=1e-9)


def test_pseudo_perplexity_of_a_uniform_model_is_its_vocabulary(tiny, tokenizer):
    model = tiny("bert-mlm")
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_(), model.cls.predictions.bias.zero_()
    scores = score_sentences(model, tokenizer, SENTENCES, causal=False)
    assert pseudo_perplexity(scores) == pytest.approx(50)
    assert pseudo_perplexity([Score(-1e9, 1)]) == math.inf


def test_sentences_that_cannot_be_scored_are_named(tiny, tokenizer, plain):
    with pytest.raises(DataError, match=r"sentence 2 .* has no tokens"):
        score_sentences(tiny("bert-mlm"), tokenizer, ["cat", " "], causal=False)
    with pytest.raises(DataError, match=r"sentence 1 .* has 62 tokens, and the model reads at most 40"):
        score_sentences(tiny("bert-mlm"), tokenizer, ["cat " * 60], causal=False)
    with pytest.raises(SettingError, match="no mask token"):
        score_sentences(tiny("bert-mlm"), plain, ["cat"], causal=False)
    with pytest.raises(SettingError, match="word_l2r or token"):
        score_sentences(tiny("bert-mlm"), tokenizer, ["cat"], causal=False, variant="all")
    assert score_sentences(tiny("bert-mlm"), tokenizer, [], causal=False) == []


def test_the_likelier_sentence_of_each_pair_is_found_and_phenomena_are_told_apart(tiny, plain):
    model = tiny("gpt2-lm").eval()
    pairs = [
        Pair("the cats sleep", "the cats sleeps", "a"),
        Pair("a dog runs", "a dog run", "b"),
        Pair("on mat", "on a", "a"),
    ]
    seen = []
    found = minimal_pairs(model, plain, pairs, causal=True, progress=seen.append)
    scores = [s.total for p in pairs for s in score_sentences(model, plain, [p.good, p.bad], causal=True)]
    assert found.right == tuple(a > b for a, b in zip(scores[::2], scores[1::2], strict=True)) and sum(seen) == 6
    turned = minimal_pairs(model, plain, [Pair(p.bad, p.good, p.phenomenon) for p in pairs], causal=True)
    assert turned.right == tuple(not right for right in found.right)
    summary = found.summary()
    assert summary["pairs"] == 3 and summary["accuracy"] == sum(found.right) / 3
    assert 0 <= summary["low"] < summary["high"] <= 1 and summary["high"] - summary["low"] > 0.5, (
        "three pairs say little"
    )
    assert {kind: part["pairs"] for kind, part in summary["phenomena"].items()} == {"a": 2, "b": 1}
    assert summary["method"] == "log_likelihood"
    equal = minimal_pairs(model, plain, [Pair("on mat", "on  mat")], causal=True)
    assert equal.ties == 1 and not equal.right[0] and equal.summary()["phenomena"] == {}


def test_pairs_are_read_in_blimps_form_and_in_a_short_one(tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"sentence_good": "a b", "sentence_bad": "b a", "linguistics_term": "order", "UID": "u1"},
        {"good": "x", "bad": "y", "phenomenon": "p"},
        {"good": "x\u2028z", "bad": "y"},
    ]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", encoding="utf-8")
    assert read_pairs(file) == [Pair("a b", "b a", "order"), Pair("x", "y", "p"), Pair("x\u2028z", "y")]
    (tmp_path / "also.jsonl").write_text('{"good": "first", "bad": "y"}')
    (tmp_path / "._also.jsonl").write_bytes(b"\xff")
    assert [pair.good for pair in read_pairs(tmp_path)] == ["first", "a b", "x", "x\u2028z"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"no \.jsonl file"):
        read_pairs(tmp_path / "none")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2: a minimal pair needs"),
        ('{"good": "a"}', "line 2: a minimal pair needs"),
        ('{"good": "a", "bad": 3}', "line 2: good and bad must both be texts"),
        ('{"good": "a", "bad": " "}', "line 2: good and bad must both be texts"),
        ('{"good": "a", "bad": "a"}', "line 2: both sentences are the same"),
    ],
)
def test_a_broken_pair_is_an_error_that_names_file_and_line(tmp_path, line, message):
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"good": "a", "bad": "b"}\n' + line)
    with pytest.raises(DataError, match=message) as caught:
        read_pairs(file)
    assert str(file) in str(caught.value)


def test_files_without_pairs_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\x00")
    for name, message in [("empty", "holds no minimal pairs"), ("binary", "not UTF-8"), ("none", "cannot read")]:
        with pytest.raises(DataError, match=message):
            read_pairs(tmp_path / f"{name}.jsonl")


def test_padding_of_shorter_sentences_does_not_matter(tiny, tokenizer):
    model = tiny("roberta-mlm").eval()
    together = score_sentences(model, tokenizer, SENTENCES, causal=False)
    alone = [score_sentences(model, tokenizer, [s], causal=False)[0] for s in SENTENCES]
    assert [s.total for s in together] == pytest.approx([s.total for s in alone], abs=1e-9)
    assert tokenizer.pad_token_id == PAD


def test_text_as_it_comes_is_cut_at_tokens_and_may_be_empty(tiny, tokenizer):
    model = tiny("bert-mlm")
    cut = score_sentences(model, tokenizer, ["the cats sleep on the mat", "", "cats"], causal=False, cut=4)
    whole = score_sentences(model, tokenizer, ["the cats", "cats"], causal=False)
    assert [score.tokens for score in cut] == [2, 0, 1]
    assert [score.total for score in cut] == pytest.approx([whole[0].total, 0.0, whole[1].total])


def test_a_tokenizer_without_padding_scores_sentences_of_several_lengths(tiny, plain):
    model, bare = tiny("gpt2-lm"), copy.deepcopy(plain)
    bare.pad_token = None
    assert score_sentences(model, bare, SENTENCES[:2], causal=True) == pytest.approx(
        score_sentences(model, plain, SENTENCES[:2], causal=True)
    )
