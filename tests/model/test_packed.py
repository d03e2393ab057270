"""A document in a packed row is read as if it stood alone."""

import pytest
import torch
from families import END, FAMILIES, LANGUAGE_MODELS, VOCABULARY

from sparring.data.batch import Batch
from sparring.data.masking import next_tokens
from sparring.model.packed import positions
from sparring.model.view import ModelView
from sparring.objective import task_loss
from sparring.perturb.draws import uniform

LENGTHS = ((5, 7, 4), (16,), (1, 9, 6))
SEGMENTS = torch.tensor([[i + 1 for i, n in enumerate(row) for _ in range(n)] for row in LENGTHS])
IDS = torch.randint(5, VOCABULARY, SEGMENTS.shape, generator=torch.Generator().manual_seed(2))


def batch(causal, ids=IDS, segments=SEGMENTS):
    given = next_tokens(ids, segments)
    return Batch.from_inputs(given if causal else given | {"labels": ids.clone()}, shift=causal)


def documents():
    """Row, slice of each document."""
    for row, lengths in enumerate(LENGTHS):
        first = 0
        for n in lengths:
            yield row, slice(first, first + n)
            first += n


@pytest.mark.parametrize("name", [*LANGUAGE_MODELS, "bert-mlm eager", "gpt2-lm eager", "llama-lm eager"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_logits_of_a_packed_document_are_those_of_the_document_alone(tiny, name, dtype):
    name, _, attention = name.partition(" ")
    model = tiny(name, dtype=dtype).eval()
    model.set_attn_implementation(attention or "sdpa")
    view, causal = ModelView(model), name.endswith("-lm")
    assert view.packing == ("positions" if causal else "mask")
    given = batch(causal)
    with torch.no_grad():
        packed = torch.full((*IDS.shape, VOCABULARY), float("nan"), dtype=dtype)
        packed[given.scored] = view.logits(given)
        for row, place in documents():
            alone = model(input_ids=IDS[row : row + 1, place]).logits[0]
            asked = given.scored[row, place]
            assert torch.allclose(
                packed[row, place][asked], alone[asked], atol=1e-6 if dtype == torch.float64 else 5e-6
            )


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_gradient_of_a_packed_row_is_the_sum_of_its_documents_gradients(tiny, name):
    packed, apart, causal = tiny(name), tiny(name), name.endswith("-lm")
    given, view, other = batch(causal), ModelView(packed), ModelView(apart)
    delta = uniform(given, view.zeros(given), "anything")
    task_loss(view.logits(given, delta), given, "sum").backward()
    for row, place in documents():
        one = batch(causal, IDS[row : row + 1, place], SEGMENTS[row : row + 1, place])
        task_loss(other.logits(one, delta[row : row + 1, place]), one, "sum").backward()
    for (key, mine), theirs in zip(packed.named_parameters(), apart.parameters(), strict=True):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-9), key


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_padding_behind_packed_documents_changes_nothing(tiny, name):
    view, causal = ModelView(tiny(name).eval()), name.endswith("-lm")
    fill = torch.zeros(len(IDS), 3, dtype=torch.long)
    longer = batch(causal, torch.cat([IDS, fill], 1), torch.cat([SEGMENTS, fill], 1))
    if not causal:
        longer.scored[:, -3:] = False
    with torch.no_grad():
        logits = view.logits(longer)
        assert bool(logits.isfinite().all())
        assert torch.allclose(logits, view.logits(batch(causal)), atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_architecture_that_cannot_keep_documents_apart_says_so_and_attends_to_the_whole_row(tiny, family):
    view = ModelView(tiny(family))
    assert view.packing == {
        **dict.fromkeys(("gpt2", "llama", "qwen2", "qwen3", "gemma", "gemma3"), "positions"),
        **dict.fromkeys(("deberta-v2", "t5", "bart"), None),
    }.get(family, "mask")
    ids = IDS.index_fill(1, torch.tensor([15]), END)  # BART's classifier looks for the end of its text
    plain = {"input_ids": ids, "labels": torch.tensor([0, 1, 2])}
    with torch.no_grad():
        packed = view.logits(Batch.from_inputs(plain | {"segments": SEGMENTS}))
        together = view.logits(Batch.from_inputs(plain | {"attention_mask": torch.ones_like(ids)}))
    assert torch.equal(packed, together) == (view.packing is None)
    assert view.passes == 2, "finding out is no pass of the training"


def test_sliding_windows_are_kept_inside_a_packed_document(tiny):
    model = tiny("modernbert").eval()
    model.config.sliding_window = 2
    view = ModelView(model)
    ids = torch.randint(5, VOCABULARY, (1, 24), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        first = model.model(input_ids=ids[:, :12], attention_mask=torch.ones(1, 12)).last_hidden_state
        states = []
        model.model.register_forward_hook(lambda _, __, out: states.append(out.last_hidden_state))
        segments = torch.tensor([[1] * 12 + [2] * 12])
        view.logits(Batch.from_inputs({"input_ids": ids, "labels": torch.tensor([0]), "segments": segments}))
    assert torch.allclose(states[-1][:, :12], first, atol=1e-12)


def test_positions_begin_again_with_each_document():
    assert positions(torch.tensor([[1, 1, 1, 2, 3, 3, 0, 0]]), 2).tolist() == [[2, 3, 4, 2, 2, 3, 2, 3]]
