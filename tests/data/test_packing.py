import json
from functools import cache

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sparring.data import shuffle
from sparring.data.corpus import Corpus
from sparring.data.packing import Lanes, before_document
from sparring.data.sources import Rows
from sparring.errors import DataError, RunError, SettingError
from sparring.train.held_out import held_out_batches

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CLS, SEP, PAD, UNK = 1, 2, 0, 3


@cache
def tokenizer(kind="bert"):
    """A token a letter: ids 4 to 29."""
    words = {"[PAD]": PAD, "[CLS]": CLS, "[SEP]": SEP, "[UNK]": UNK, **{w: 4 + i for i, w in enumerate(LETTERS)}}
    words["[MASK]"] = 30
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("\u200b", "")])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    if kind == "bert":
        specials = [("[CLS]", CLS), ("[SEP]", SEP)]
        backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=specials)
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    else:
        if kind == "llama":
            backend.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", CLS)])
        names |= {"eos_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def documents(count=60, most=23, seed=0):
    """Random documents, the shortest of one letter; some are longer than a block."""
    draws = np.random.default_rng(seed)
    return [" ".join(draws.choice(list(LETTERS), draws.integers(1, most))) for _ in range(count)]


def corpus(texts=None, digest="x"):
    return Corpus("texts", [Rows("texts", texts if texts is not None else documents())], digest=digest)


def lanes(own=range(4), texts=None, kind="bert", **settings):
    style = "bert" if kind == "bert" else "causal"
    given = {"length": 16, "all_lanes": 4, "seed": 0, "shuffle": 20, "style": style} | settings
    return Lanes(corpus(texts), tokenizer(kind), lanes=own, **given)


def rows(steps):
    """Blocks as plain numbers, for comparing."""
    return [[(b.lane, b.number, b.ids.tolist(), b.segments.tolist()) for b in step] for step in steps]


def take(source, count):
    return rows(next(source) for _ in range(count))


def joined(*parts):
    """Steps of several processes as those of one."""
    return [[block for part in step for block in part] for step in zip(*parts, strict=True)]


def letters(ids):
    return [i for i in ids if i >= 4]


def test_a_block_holds_pieces_between_special_tokens_and_numbers_them():
    source = lanes(range(1), ["a b c", "d e", "f g h i j k l", "m n o"], length=10, all_lanes=1, shuffle=0)
    a = dict(zip(LETTERS, range(4, 30), strict=True))
    first, second = take(source, 2)
    assert first[0][2] == [CLS, a["a"], a["b"], a["c"], SEP, CLS, a["d"], a["e"], SEP, PAD]
    assert first[0][3] == [1, 1, 1, 1, 1, 2, 2, 2, 2, 3]
    assert second[0][2] == [CLS, *(a[w] for w in "fghijkl"), SEP, PAD]
    assert take(source, 1)[0][0][2] == [CLS, *(a[w] for w in "mno"), SEP, CLS, *(a[w] for w in "abc"), SEP]


def test_the_rest_of_a_document_goes_on_in_the_next_block():
    source = lanes(range(1), ["a b c d e f g h i"], length=6, all_lanes=1, shuffle=0)
    assert [letters(step[0][2]) for step in take(source, 2)] == [[4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize(("kind", "first"), [("gpt2", []), ("llama", [CLS])])
def test_causal_blocks_are_one_stream_of_documents_with_ends(kind, first):
    texts = ["a b c", "d e", "f g h i j k l"]
    source = lanes(range(1), texts, kind, length=7, all_lanes=1, shuffle=0)
    stream = [i for step in take(source, 6) for i in step[0][2]]
    ids = [4 + LETTERS.index(w) for text in texts for w in text.split()]
    one = [*first, *ids[:3], SEP, *first, *ids[3:5], SEP, *first, *ids[5:], SEP]
    assert stream == (one * 4)[: len(stream)]
    source.load(lanes(range(1), texts, kind, length=7, all_lanes=1, shuffle=0).state())
    block = next(source)[0]
    assert block.segments.tolist() == [1] * (4 + len(first)) + [2] * (3 - len(first))


@pytest.mark.parametrize(("kind", "ids"), [("bert", [CLS]), ("llama", [CLS]), ("gpt2", [])])
def test_what_stands_before_a_document_can_be_asked(kind, ids):
    assert before_document(tokenizer(kind)) == ids
    assert next(lanes(kind=kind))[0].ids.tolist()[: len(ids)] == ids


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("shuffled", [0, 7, 1000])
def test_every_token_of_every_document_occurs_exactly_once_an_epoch(kind, shuffled):
    texts = [f"{LETTERS[i // 26]} {LETTERS[i % 26]} " * (1 + i % 9) for i in range(200)]
    wanted = np.bincount([4 + LETTERS.index(w) for text in texts for w in text.split()], minlength=30)
    one = lanes(range(1), texts, kind, all_lanes=1, shuffle=shuffled)
    flat: list[int] = []
    while len(flat) < 2 * wanted.sum():
        flat += letters(next(one)[0].ids)
    for epoch in range(2):
        seen = flat[epoch * wanted.sum() : (epoch + 1) * wanted.sum()]
        assert (np.bincount(seen, minlength=30) == wanted).all()


@pytest.mark.parametrize("shuffled", [0, 7, 1000])
def test_all_lanes_together_are_dealt_every_document_exactly_once_an_epoch(shuffled):
    texts = documents(200)
    read = shuffle.Windows(corpus(texts), range(3), 3, seed=0, shuffle=shuffled)
    dealt: dict[int, list[str]] = {0: [], 1: [], 2: []}
    while (window := read.read()).epoch < 3:
        dealt[window.epoch] += [text for lane in window.texts.values() for text in lane]
    assert all(sorted(found) == sorted(texts) for found in dealt.values())


def test_the_epoch_is_that_of_the_blocks_given_out():
    texts = ["a " * 8] * 6  # 8 ids and an end each: 54, which is 3 blocks of 16 and a rest
    source = lanes(range(1), texts, "gpt2", all_lanes=1, shuffle=0)
    blocks, epochs, state = [], [], None
    for number in range(8):
        blocks += next(source)
        epochs.append(source.epoch)
        state = json.loads(json.dumps(source.state())) if number == 3 else state
    assert [block.epoch for block in blocks] == epochs == [(16 * (n + 1) - 1) // 54 for n in range(8)]
    again = lanes(range(1), texts, "gpt2", all_lanes=1, shuffle=0)
    again.load(state)
    assert again.epoch == 1 and [next(again)[0].epoch for _ in range(4)] == epochs[4:]


@pytest.mark.parametrize(
    ("kind", "text", "full"),
    [
        ("gpt2", "a " * 4, 3),  # 60 tokens with the ends of 12 documents: 3.75 blocks
        ("bert", "a " * 3, 4),  # 3 documents a block, which leave one place: the pass ends with a block
    ],
)
def test_held_out_blocks_are_those_of_one_pass(kind, text, full):
    settings = {"causal": kind != "bert", "length": 16, "batch_size": 2}
    for asked, given in ((2, 2), (full, full), (100, full)):
        batches = held_out_batches(corpus([text] * 12), tokenizer(kind), blocks=asked, **settings)
        assert sum(len(batch.inputs["input_ids"]) for batch in batches) == given


def test_the_second_epoch_comes_in_another_order():
    texts = documents(40, 2)
    one = lanes(range(1), texts, "gpt2", all_lanes=1, length=2, shuffle=100)
    first, second = ([step[0][2][0] for step in take(one, 40)] for _ in range(2))
    assert sorted(first) == sorted(second) and first != second
    assert first != [step[0][2][0] for step in take(lanes(range(1), texts, "gpt2", all_lanes=1, length=2, seed=1), 40)]


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_lanes_do_not_depend_on_who_makes_them(kind):
    whole = take(lanes(kind=kind), 40)
    for split in [(range(2), range(2, 4)), (range(1), range(1, 2), range(2, 4))]:
        parts = [take(lanes(own, kind=kind), 40) for own in split]
        assert joined(*parts) == whole


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize("shuffled", [0, 8, 10_000])
def test_blocks_after_a_load_are_those_that_would_have_come(kind, shuffled):
    settings = {"kind": kind, "shuffle": shuffled}
    source, states, steps = lanes(**settings), [], []
    states.append(json.loads(json.dumps(source.state())))
    for _ in range(90):  # several epochs
        steps.append(rows([next(source)])[0])
        states.append(json.loads(json.dumps(source.state())))
    assert source.epoch > 3
    for at in (0, 1, 2, 3, 5, 13, 21, 22, 23, 40, 77):
        again = lanes(**settings)
        again.load(states[at])
        assert again.state() == states[at]
        assert take(again, 12) == steps[at : at + 12]
        assert again.state() == states[at + 12]
    source.load(states[4])
    assert take(source, 3) == steps[4:7]


def test_the_state_is_small_whatever_the_shuffling_buffer_holds():
    source = lanes(texts=documents(5000), shuffle=5000)
    next(source)
    assert len(json.dumps(source.state())) < 600


def test_states_of_two_processes_serve_one_and_three():
    whole = take(lanes(), 30)
    parts = [lanes(range(2)), lanes(range(2, 4))]
    for part in parts:
        take(part, 17)
    states = [part.state() for part in parts]
    for split in [(range(4),), (range(1), range(1, 3), range(3, 4))]:
        again = [lanes(own) for own in split]
        for part in again:
            part.load(*states)
        assert [part.state()["lanes"] for part in again] == [
            [row for state in states for row in state["lanes"] if row[0] in own] for own in split
        ]
        assert joined(*(take(part, 13) for part in again)) == whole[17:]


def test_lanes_advance_alike_although_every_other_document_is_long():
    texts = [text for i in range(400) for text in ("a " * 40, "b")]
    source = lanes(texts=texts, shuffle=0)
    take(source, 100)
    windows = [row[1] for row in source.state()["lanes"]]
    assert max(windows) - min(windows) <= 1


def test_a_state_of_another_corpus_or_setting_is_refused():
    state = lanes().state()
    other = Lanes(corpus(digest="y"), tokenizer(), length=16, lanes=range(4), all_lanes=4, seed=0, shuffle=20)
    with pytest.raises(RunError, match="not the one of the checkpoint"):
        other.load(state)
    with pytest.raises(RunError, match="seed is 1 and was 0"):
        lanes(seed=1).load(state)
    with pytest.raises(RunError, match="where row 2"):
        lanes().load(lanes(range(2)).state())


def test_a_corpus_smaller_than_a_step_says_what_it_has_and_what_is_needed():
    with pytest.raises(DataError, match=r"has 9 tokens \(2 documents\) and one step needs 64 .*4 blocks of 16"):
        lanes(texts=["a b c", "d e"])


def test_few_large_documents_fill_many_lanes():
    steps = take(lanes(range(8), ["a b c d " * 50] * 3, all_lanes=8), 3)
    assert all(len(step) == 8 for step in steps)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"length": 2}, "use 3 or more"),
        ({"own": range(3, 5)}, "not rows of a batch of 4"),
        ({"own": range(0)}, "not rows"),
        ({"shuffle": -1}, "must be 0 or more"),
        ({"style": "t5"}, "style 't5'"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        lanes(**settings)


def test_a_text_that_names_a_special_token_does_not_become_one():
    block = next(lanes(range(1), ["a [SEP] b " * 9], length=16, all_lanes=1))[0]
    assert block.ids.tolist().count(SEP) == 1 and UNK in block.ids


def test_a_document_without_tokens_is_passed_over():
    texts = ["a b c", "\u200b", "d e f"] * 20
    source = lanes(range(1), texts, "gpt2", length=4, all_lanes=1, shuffle=0)
    assert [letters(step[0][2]) for step in take(source, 4)] == [[4, 5, 6], [7, 8, 9]] * 2


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_corpus_without_a_token_is_refused(kind):
    with pytest.raises(DataError, match=r"has 0 tokens \(40 documents\) .* The tokenizer finds nothing in them"):
        lanes(texts=["\u200b" * 200] * 40, kind=kind)
    with pytest.raises(DataError, match=r"has 12 tokens \(41 documents\)"):
        lanes(texts=["\u200b" * 200] * 40 + ["a " * (10 if kind == "bert" else 11)], kind=kind)


def test_a_lane_that_never_gets_a_token_ends_the_reading():
    texts = [
        "\u200b" * 10,
        "a " * 15,
    ] * 20  # 30 bytes each: dealt in turns, always the same
    with pytest.raises(DataError, match="row 0 of the batch got no token"):
        take(lanes(range(2), texts, all_lanes=2, shuffle=0), 1)


def test_one_document_serves_all_lanes_in_turn():
    steps = take(lanes(range(9), ["a b c d " * 50], all_lanes=9), 5)
    assert all(len(step) == 9 for step in steps)
