"""What is masked: how much, which tokens, with which fate; and that draws belong to a row and to nothing else."""

import numpy as np
import pytest
import torch
from families import lm_batch

from sparring.data.batch import IGNORED, Batch
from sparring.data.masking import Masking, MaskingRate, next_tokens, word_borders
from sparring.errors import SettingError

SPECIAL = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "[UNK]": 4}


class Words:
    """A tokenizer as far as masking asks it: five special tokens, then words of which every third goes on the last."""

    mask_token_id, all_special_ids = 3, list(range(5))

    def __init__(self, tokens=None, size=60):
        self.tokens = tokens or [*SPECIAL, *(f"##{i}" if i % 3 == 0 else f"w{i}" for i in range(5, size))]

    def __len__(self):
        return len(self.tokens)

    def convert_ids_to_tokens(self, ids):
        return [self.tokens[i] for i in ids]


def blocks(rows=4, length=128, seed=3):
    """Rows of two documents, [CLS] words [SEP] [CLS] words [SEP]."""
    ids = np.random.default_rng(seed).integers(5, 60, (rows, length))
    middle = length // 3
    ids[:, [0, middle]], ids[:, [middle - 1, -1]] = 1, 2
    return ids, np.where(np.arange(length) < middle, 1, 2) * np.ones((rows, 1), dtype=np.int64)


def masked(unit="token", rate=0.15, rows=4, step=5, **kwargs):
    ids, segments = blocks(rows, **kwargs)
    found = Masking(Words(), rate, unit=unit)(ids, segments, seed=0, step=step, total=10, rows=range(rows))
    return ids, segments, found["input_ids"].numpy(), found["labels"].numpy()


each_unit = pytest.mark.parametrize("unit", ["token", "word", "span"])


@each_unit
def test_the_rate_is_met_no_special_token_is_chosen_and_labels_are_the_tokens_that_stood_there(unit):
    ids, _, given, labels = masked(unit, 0.2, rows=50)
    chosen = labels != IGNORED
    assert not chosen[ids < 5].any()
    assert (labels[chosen] == ids[chosen]).all() and (given[~chosen] == ids[~chosen]).all()
    shares = chosen.sum(1) / (ids >= 5).sum(1)
    assert abs(shares - 0.2).max() < (0.005 if unit == "token" else 0.06)


@each_unit
def test_of_the_chosen_tokens_80_percent_are_masked_10_are_others_and_10_stay(unit):
    ids, _, given, labels = masked(unit, 0.3, rows=300)
    chosen = labels != IGNORED
    stays, is_mask = (given == ids)[chosen].mean(), (given == 3)[chosen].mean()
    # another token is drawn from all 55 words, so that one in 55 is the same as before
    assert is_mask == pytest.approx(0.8, abs=0.02) and stays == pytest.approx(0.1 + 0.1 / 55, abs=0.015)
    assert given[chosen & (given != 3)].min() >= 5


def test_all_tokens_of_a_word_are_chosen_or_none():
    ids, _, _, labels = masked("word", 0.3, rows=20)
    chosen = labels != IGNORED
    goes_on = (ids % 3 == 0) & (ids >= 5)
    goes_on[:, 1:] &= ids[:, :-1] >= 5
    together = chosen[:, 1:] == chosen[:, :-1]
    assert together[goes_on[:, 1:]].all()


def test_spans_are_runs_of_whole_words_with_a_common_fate_and_never_cross_documents():
    ids, _, given, labels = masked("span", 0.2, rows=200)
    chosen = labels != IGNORED
    goes_on = (ids[:, 1:] % 3 == 0) & (ids[:, :-1] >= 5) & (ids[:, 1:] >= 5)
    same = chosen[:, 1:] == chosen[:, :-1]
    assert same[goes_on].mean() > 0.995, "only the last span of a row may be cut"
    inside = chosen[:, 1:] & chosen[:, :-1]
    is_mask = given == 3
    agree = (is_mask[:, 1:] == is_mask[:, :-1])[inside].mean()
    independent = 0.8**2 + 0.2**2
    assert agree > 0.9 > independent, "neighbours share their fate unless two spans touch"
    runs = np.diff(np.flatnonzero(np.diff(np.pad(chosen, ((0, 0), (1, 1))).astype(int).ravel())))[::2]
    assert runs.mean() > 3, "a geometric length cut off at ten words has a mean of 3.8 words"


@each_unit
def test_a_rows_masks_depend_on_seed_step_and_row_and_on_nothing_else(unit):
    ids, segments = blocks()
    mask = Masking(Words(), 0.2, unit=unit)

    def of(rows, seed=0, step=5):
        return mask(ids[rows], segments[rows], seed=seed, step=step, total=10, rows=rows)["input_ids"]

    whole = of([0, 1, 2, 3])
    assert torch.equal(of([2, 3]), whole[2:]) and torch.equal(of([3, 0]), whole[[3, 0]])
    assert not torch.equal(of([0, 1, 2, 3], seed=1), whole) and not torch.equal(of([0, 1, 2, 3], step=6), whole)
    same_text = mask(ids[[0, 0]], segments[[0, 0]], seed=0, step=5, total=10, rows=[0, 1])["input_ids"]
    assert not torch.equal(same_text[0], same_text[1])


@each_unit
def test_a_row_has_at_least_one_target_unless_it_holds_nothing_that_can_be_masked(unit):
    ids, segments = np.array([[1, 7, 2, 0], [1, 2, 1, 2]]), np.array([[1, 1, 1, 0], [1, 1, 2, 2]])
    found = Masking(Words(), 0.01, unit=unit)(ids, segments, seed=0, step=0, total=1, rows=[0, 1])
    assert found["labels"].tolist() == [[IGNORED, 7, IGNORED, IGNORED], [IGNORED] * 4]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_a_ramp_rises_in_stairs_of_equal_width_from_the_first_rate_to_the_last():
    ramp = MaskingRate.parse("0.05:0.25")
    assert [round(ramp.at(step, 10), 4) for step in range(10)] == [
        0.05,
        0.05,
        0.1,
        0.1,
        0.15,
        0.15,
        0.2,
        0.2,
        0.25,
        0.25,
    ]
    assert ramp.at(99, 10) == ramp.last
    assert [MaskingRate.parse("0.2:0.1:2").at(step, 4) for step in range(4)] == [0.2, 0.2, 0.1, 0.1]
    assert MaskingRate.parse("0.15") == MaskingRate.parse(0.15) == MaskingRate(0.15, 0.15)


@pytest.mark.parametrize("text", ["a", "0.1:", "1", "0", "0.1:0.2:3:4", "0.1:0.2:1", "0.1:0.2:x", "-0.1", "nan"])
def test_a_rate_that_makes_no_sense_is_refused(text):
    with pytest.raises(SettingError):
        MaskingRate.parse(text)


def test_a_tokenizer_without_a_mask_token_and_an_unknown_unit_are_refused():
    tokenizer = Words()
    with pytest.raises(SettingError, match="token, word or span"):
        Masking(tokenizer, unit="letter")
    tokenizer.mask_token_id = None
    with pytest.raises(SettingError, match="no mask token"):
        Masking(tokenizer)


def test_words_are_found_in_wordpiece_byte_level_and_plain_vocabularies():
    starts, ends = word_borders(Words(["[CLS]", "un", "##able", ","]))
    assert starts.tolist() == [True, True, False, True] and not ends.any()
    starts, ends = word_borders(Words(["\u0120the", "able", ",", "\u0120("]))
    assert starts.tolist() == [True, False, True, True] and ends.tolist() == [False, False, True, True]
    assert word_borders(Words(["a", "b"]))[0].all()


def test_a_causal_target_is_the_next_token_of_the_same_document():
    given = next_tokens([[11, 12, 13, 21, 22, 0]], [[1, 1, 1, 2, 2, 0]])
    assert given["labels"].tolist() == [[IGNORED, 12, 13, IGNORED, 22, IGNORED]]
    batch = Batch.from_inputs(given, shift=True)
    assert batch.scored.tolist() == [[True, True, False, True, False, False]] and batch.targets.tolist() == [12, 13, 22]
    plain = Batch.from_inputs(given | {"labels": given["input_ids"]}, shift=True)  # as a plain collator has them
    assert plain.scored[0, :4].tolist() == [True, True, False, True]


def test_segments_stay_with_their_rows_when_a_batch_is_cut_and_say_what_is_padding():
    given = next_tokens([[5, 6, 7], [8, 9, 0]], [[1, 2, 2], [1, 1, 0]])
    batch = Batch.from_inputs({k: given[k] for k in ("input_ids", "labels", "segments")}, shift=True)
    assert batch.real.tolist() == [[True, True, True], [True, True, False]] and "segments" not in batch.inputs
    assert batch.first(1).segments.tolist() == [[1, 2, 2]]
    assert batch.joined(batch, 0).segments.shape == (4, 3)
    assert lm_batch("gpt2-lm").segments is None
