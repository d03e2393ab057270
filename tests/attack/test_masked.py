"""The masked language model as a service, and what is made of its answers."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from sparring.attack.engine import alone
from sparring.attack.masked_lm import MaskedLM
from sparring.attack.text import Text
from sparring.attack.transform.masked import BertAttackSwap, MaskedInsert, MaskedMerge, MaskedSwap
from sparring.errors import DataError, ModelError

SPECIAL = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("<pad>", "<unk>", "<s>", "</s>", "<mask>"),
}
WORDS = ("the", "a", "film", "movie", "is", "was", "good", "great", "bad", "dull", "slow", "very", "quite", "plot")
WORDS += ("un", "mask", "sep", "s")
HOSTILE = "a [MASK] <mask> [SEP] </s> film [CLS] <s>"


def tokenizer_of(kind):
    pad, unknown, start, end, mask = SPECIAL[kind]
    names = dict(pad_token=pad, unk_token=unknown, cls_token=start, sep_token=end, mask_token=mask)
    if kind == "bert":
        pieces = [*SPECIAL[kind], *WORDS, *"[]<>/.,!?'-()", "##ing", "##watch", "##able"]
        made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token=unknown))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    else:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges, pieces = [], [*SPECIAL[kind], *letters]
        for word in WORDS:
            for whole in ("Ġ" + word, word):
                for cut in range(1, len(whole)):
                    if whole[: cut + 1] not in pieces:
                        merges.append((whole[:cut], whole[cut]))
                        pieces.append(whole[: cut + 1])
        made = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=10**30, **names)


def model_of(kind, tokenizer, positions=40):
    torch.manual_seed(0)
    config, family = {"bert": (BertConfig, BertForMaskedLM), "roberta": (RobertaConfig, RobertaForMaskedLM)}[kind]
    given = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    model = family(
        config(**given, intermediate_size=24, max_position_embeddings=positions, pad_token_id=0, initializer_range=0.5)
    )
    return model.train()  # as a stranger may hand it over: with dropout


@cache
def lm(kind, **settings):
    tokenizer = tokenizer_of(kind)
    return MaskedLM(model_of(kind, tokenizer), tokenizer, half=False, **settings)


class Given:
    """A service that answers every item the same, or by a function; it keeps what it was asked."""

    name, remembered = "given", True

    def __init__(self, answer):
        self.given, self.items = answer, []

    def answer(self, items):
        self.items += items
        return [self.given(item) if callable(self.given) else self.given for item in items]


def words_of(kind, *answer):
    made = MaskedLM(lm(kind).model, lm(kind).tokenizer, half=False)
    made.fill = Given([(piece, chance) for piece, chance in answer])
    return made


def slots(transform, text, index, **more):
    text = Text.of(text, **more) if isinstance(text, str) else text
    return [candidate.slots[index] for candidate in alone(transform.candidates(text, index))]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_gap_is_filled_as_the_whole_model_fills_a_mask(kind):
    made = lm(kind)
    assert made._split  # the head is run apart
    (found,) = made.fill.answer([("the film is ", ".", 5)])
    mask = made.tokenizer.mask_token_id
    ids = [*made.start, *made.encode(["the film is"])[0], mask, *made.encode(["."])[0], *made.end]
    made.model.eval()
    with torch.no_grad():
        chances = made.model(torch.tensor([ids])).logits[0, ids.index(mask)].softmax(-1)
    made.model.train()
    best = chances.topk(5)
    assert [piece for piece, _ in found] == made.tokenizer.convert_ids_to_tokens(best.indices.tolist())
    assert [chance for _, chance in found] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert made.model.training


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_special_tokens_that_a_text_names_are_only_characters(kind):
    made = lm(kind)
    (ids,) = made.encode([HOSTILE])
    assert not set(ids) & set(made.tokenizer.all_special_ids) - {made.tokenizer.unk_token_id}
    seen = []
    original = made.scored
    made.scored = lambda rows, places: (seen.extend(zip(rows, places, strict=True)), original(rows, places))[1]
    try:
        made.fill.answer([(HOSTILE + " ", " " + HOSTILE, 3)])
        made.pieces.answer([(HOSTILE, ((0, 1),), 3)])
    finally:
        del made.scored
    (gap, (place,)), (whole, _) = seen
    assert [at for at, i in enumerate(gap) if i == made.tokenizer.mask_token_id] == [place]
    for row in (gap, whole):
        assert row[:1] == made.start and row[-1:] == made.end
        assert not set(row[1:-1]) & {*made.start, *made.end}


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_company_of_a_question_changes_no_answer(kind):
    made, small = lm(kind), lm(kind, tokens=40)
    gaps = [("the film is ", ".", 4), ("", " movie was very slow", 6), ("a " * 9, " plot", 3), ("", "", 2)]
    texts = [("the film is unwatchable", ((0, 3), (4, 8), (12, 23)), 5), ("", (), 3), ("good", ((0, 4),), 2)]
    sequences = [(7, 9, 11), (8, 30), (12, 5, 6, 9, 20)]
    together = made.fill.answer(gaps), made.pieces.answer(texts), made.perplexity.answer(sequences)
    for other in (made, small):
        for items, answers, service in zip(
            (gaps, texts, sequences), together, (other.fill, other.pieces, other.perplexity), strict=True
        ):
            for item, answer in reversed(list(zip(items, answers, strict=True))):
                (by_itself,) = service.answer([item])
                _same(answer, by_itself)
    assert [len(answer) for answer in together[0]] == [4, 6, 3, 2]


def _same(one, other):
    if isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-4)
    elif len(one) and isinstance(one[0], tuple) and isinstance(one[0][0], str):
        assert [piece for piece, _ in one] == [piece for piece, _ in other]
        assert [chance for _, chance in one] == pytest.approx([chance for _, chance in other], rel=1e-4)
    else:
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a.ids, b.ids)
            np.testing.assert_allclose(a.logits, b.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_long_texts_are_cut_around_the_gap(kind):
    made = lm(kind, context=12)
    room = 12 - 3
    cases = [("good " * 50, " bad" * 50, 1 + 4), ("good ", " bad" * 50, 1 + 1), ("good " * 50, " bad", 1 + room - 1)]
    seen = []
    original = made.scored
    made.scored = lambda rows, places: (seen.extend(zip(rows, places, strict=True)), original(rows, places))[1]
    try:
        made.fill.answer([(before, after, 1) for before, after, _ in cases])
    finally:
        del made.scored
    assert [(len(row), places) for row, places in seen] == [(12, [place]) for *_, place in cases]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_no_text_is_longer_than_the_position_table(kind):
    made = lm(kind)  # 40 positions, of which RoBERTa's first is the padding's
    assert made.longest == {"bert": 40, "roberta": 39}[kind]
    text = "good " * 100
    spans = tuple((5 * i, 5 * i + 4) for i in range(100))
    (found,) = made.pieces.answer([(text, spans, 3)])
    seen = [len(pieces.ids) > 0 for pieces in found]
    assert seen == [True] * sum(seen) + [False] * (100 - sum(seen))
    assert sum(seen) == made.longest - 2
    assert len(made.fill.answer([(text, text, 3)])[0]) == 3


def test_the_pieces_of_a_word_are_those_at_its_characters():
    made = lm("bert")
    (found,) = made.pieces.answer([("Is unwatchable, good", ((0, 2), (3, 14), (16, 20), (20, 20)), 4)])
    assert [pieces.ids.shape for pieces in found] == [(1, 4), (3, 4), (1, 4), (0, 4)]
    ids = torch.tensor([[*made.start, *made.encode(["is unwatchable , good"])[0], *made.end]])
    made.model.eval()
    with torch.no_grad():
        best = made.model(ids).logits[0].topk(4)
    made.model.train()
    expected = [best.indices[1:2], best.indices[2:5], best.indices[6:7]]
    for pieces, ids_of_word in zip(found, expected, strict=False):
        np.testing.assert_array_equal(pieces.ids, ids_of_word)


def test_the_perplexity_of_a_sequence_is_exp_of_its_mean_cross_entropy():
    made = lm("bert")
    (found,) = made.perplexity.answer([(7, 9, 11)])
    made.model.eval()
    with torch.no_grad():
        logits = made.model(torch.tensor([[7, 9, 11]])).logits[0]
    made.model.train()
    loss = -logits.log_softmax(-1)[[0, 1, 2], [7, 9, 11]].mean()
    assert found == pytest.approx(float(loss.exp()), rel=1e-4)


def test_a_half_surrogate_is_no_obstacle():
    assert len(lm("roberta").fill.answer([("bad \ud83d ", " film", 2)])[0]) == 2
    assert len(lm("bert").pieces.answer([("\ud83d film", ((2, 6),), 2)])[0][0].ids) == 1


@pytest.mark.parametrize(
    ("kind", "piece", "spaced", "word"),
    [
        ("bert", "good", True, "good"),
        ("bert", "##ing", True, ""),
        ("bert", "##ing", False, ""),
        ("roberta", "Ġgood", True, "good"),
        ("roberta", "Ġgood", False, "good"),
        ("roberta", "good", True, ""),
        ("roberta", "good", False, "good"),
    ],
)
def test_a_piece_is_a_word_if_nothing_goes_on(kind, piece, spaced, word):
    assert lm(kind).word(piece, spaced) == word


def test_a_swap_keeps_whole_words_in_the_case_of_the_old_one():
    answer = [("good", 0.4), ("##ing", 0.2), ("film", 0.1), ("!", 0.1), ("[SEP]", 0.05), ("bad", 0.04), ("dull", 0.01)]
    made = words_of("bert", *answer)
    assert slots(MaskedSwap(made), "The Film is slow", 1) == ["Good", "Bad", "Dull"]
    assert slots(MaskedSwap(made), "The FILM is slow", 1) == ["GOOD", "BAD", "DULL"]
    assert slots(MaskedSwap(made, 7, least=0.04), "The film is slow", 1) == ["good", "bad"]
    assert made.fill.items[-1] == ("The ", " is slow", 7)


def test_a_byte_level_piece_that_goes_on_a_word_is_no_candidate():
    made = words_of("roberta", ("Ġgood", 0.4), ("ing", 0.2), ("Ġ,", 0.1), ("<mask>", 0.1), ("dull", 0.1))
    assert slots(MaskedSwap(made), "the film", 1) == ["good"]
    assert slots(MaskedSwap(made), "film the", 0) == ["good", "ing", "dull"]


def test_a_deleted_word_has_no_candidates_and_a_doubled_slot_is_masked_whole():
    made = words_of("bert", ("good", 0.4))
    text = Text.of("a very dull film")
    for transform in (MaskedSwap(made), MaskedInsert(made), MaskedMerge(made)):
        assert alone(transform.candidates(text.delete(2), 2)) == []
    assert slots(MaskedSwap(made), text.replace(2, "dull slow"), 2) == ["good"]
    assert made.fill.items[-1] == ("a very ", " film", 50)


def test_an_insertion_stands_left_or_right_of_the_word():
    made = words_of("bert", ("very", 0.4), ("film", 0.3), ("quite", 0.2))
    assert slots(MaskedInsert(made), "a film.", 1) == ["very film", "quite film", "film very", "film quite"]
    assert made.fill.items == [("a ", " film.", 50), ("a film ", ".", 50)]
    assert slots(MaskedInsert(made, both=False), "A FILM.", 1) == ["VERY FILM", "QUITE FILM"]
    (text, *_) = alone(MaskedInsert(made).candidates(Text.of("a film."), 1))
    assert text.fields == ("a very film.",)


def test_a_merge_puts_one_word_for_two_that_only_space_parts():
    made = words_of("bert", ("movie", 0.4), ("dull", 0.3), ("plot", 0.001))
    text = Text.of("A Dull film, slow", "plot twist", frozen=(1,))
    (merged,) = alone(MaskedMerge(made).candidates(text, 1))
    assert merged.fields == ("A Movie, slow", "plot twist")
    assert merged.changed == (1, 2)
    assert made.fill.items == [("A ", ", slow", 50)]
    assert alone(MaskedMerge(made).candidates(text, 2)) == []  # across a comma
    assert alone(MaskedMerge(made).candidates(text, 3)) == []  # across fields
    assert alone(MaskedMerge(made).candidates(text.delete(2), 1)) == []


def _bert_attack(pieces, perplexity=0.0):
    made = words_of("bert")
    ids = {piece: i for i, piece in enumerate(made.vocabulary)}
    known = {word: [[ids[piece] for piece in row] for row in rows] for word, rows in pieces.items()}

    def answer(item):
        text, spans, _ = item
        width = max((len(row) for rows in known.values() for row in rows), default=1)
        empty = np.zeros((0, width))
        rows = [np.array(known.get(text[start:end], empty)) for start, end in spans]
        return tuple(_pieces(row) for row in rows)

    made.pieces, made.perplexity = Given(answer), Given(perplexity)
    return made


def _pieces(ids):
    from sparring.attack.masked_lm import Pieces

    ids = ids.astype(np.int64)
    return Pieces(ids, np.tile(np.arange(ids.shape[1])[::-1].astype(np.float32), (len(ids), 1)))


def test_bert_attack_takes_the_pieces_of_the_original_down_to_a_logit():
    made = _bert_attack({"slow": [["slow", "dull", "very", "##ing", "good", "."]], "Film": [["film", "movie"] * 3]})
    text = Text.of("a Film is slow")
    stop = frozenset({"very"})
    assert slots(BertAttackSwap(made, stopwords=stop), text, 3) == ["dull", "good"]
    assert slots(BertAttackSwap(made, stopwords=stop, threshold=2.0), text, 3) == ["dull"]  # logits 5, 4, 3, 2, 1, 0
    assert slots(BertAttackSwap(made, 8), text.replace(1, "Movie"), 1) == []  # not back to the original
    assert made.pieces.items[-1] == ("a Film is slow", ((0, 1), (2, 6), (7, 9), (10, 14)), 8)
    assert slots(BertAttackSwap(made), text, 0) == []  # a word that the model did not see


def test_bert_attack_ranks_combinations_of_pieces_by_their_perplexity():
    made = _bert_attack(
        {"unwatchable": [["un", "##ing", "good", "bad", "dull"], ["##watch", "film", "##able", "plot", "movie"]]},
        perplexity=lambda ids: -float(ids[0] * 100 + ids[1]),  # the last of the vocabulary first
    )
    found = slots(BertAttackSwap(made), "unwatchable", 0)
    assert len(made.perplexity.items) == 16  # 4 x 4: the fifth of each row is left out
    assert found[0] == "unable" and found[1] == "unwatch"  # "##able" stands behind "##watch" in the vocabulary
    assert set(found) == {
        *("unwatch", "un film", "unable", "un plot"),
        *("goodwatch", "good film", "goodable", "good plot"),
        *("badwatch", "bad film", "badable", "bad plot"),
    }
    assert slots(BertAttackSwap(made, 8), "unwatchable", 0) == found[:8]  # as many as of a word of one piece


def test_bert_attack_looks_at_the_first_24_combinations():
    row = ["un", "good", "bad", "dull"]
    made = _bert_attack({"unwatchable": [row, row, row]}, perplexity=1.0)
    alone(BertAttackSwap(made).candidates(Text.of("unwatchable"), 0))
    ids = {piece: i for i, piece in enumerate(made.vocabulary)}
    assert len(made.perplexity.items) == 24
    assert made.perplexity.items[23] == (ids["good"], ids["good"], ids["dull"])  # the last piece runs first


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_hostile_texts_go_through_every_transform(kind):
    made = lm(kind)
    text = Text.of(HOSTILE + " , un, ' \u200b é 中 \U0001f600")
    for transform in (MaskedSwap(made), MaskedInsert(made), MaskedMerge(made), BertAttackSwap(made, 8)):
        for index in range(len(text)):
            found = alone(transform.candidates(text, index))
            assert text not in found and len(set(found)) == len(found)
            assert all(set(each.changed) <= {index, index + 1} for each in found)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_a_saved_model_answers_the_same(kind, tmp_path):
    made = lm(kind)
    made.model.save_pretrained(tmp_path / "lm")
    made.tokenizer.save_pretrained(tmp_path / "lm")
    again = MaskedLM.load(tmp_path / "lm", half=False)
    gap = ("the film is ", ".", 5)
    _same(made.fill.answer([gap])[0], again.fill.answer([gap])[0])
    assert again.name == "lm"


def test_a_model_without_a_head_is_refused(tmp_path):
    tokenizer = tokenizer_of("bert")
    BertModel(model_of("bert", tokenizer).config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match=r"is no masked LM: it has no weights for cls.*resources add masked_lm --from"):
        MaskedLM.load(tmp_path / "base")


def test_what_cannot_fill_gaps_is_named(tmp_path):
    made = lm("bert")
    with pytest.raises(ModelError, match=r"needs a tokenizer\.json"):
        MaskedLM(made.model, SimpleNamespace(is_fast=False))
    with pytest.raises(ModelError, match="has no mask token: it is no masked LM"):
        MaskedLM(made.model, SimpleNamespace(is_fast=True, mask_token_id=None))
    made.model.save_pretrained(tmp_path / "lm")
    made.tokenizer.save_pretrained(tmp_path / "lm")
    (tmp_path / "lm" / "model.safetensors").write_bytes(b"{")
    with pytest.raises(ModelError, match=r"cannot load a masked LM from .*lm.*name a folder or hub model"):
        MaskedLM.load(tmp_path / "lm")


def test_a_missing_masked_lm_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path))
    with pytest.raises(DataError, match="resources add masked_lm --from FOLDER"):
        MaskedLM.load()
    with pytest.raises(ModelError, match="nowhere"):
        MaskedLM.load(tmp_path / "nowhere")
