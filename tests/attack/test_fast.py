"""The form of a model that answers fast is the same function."""

import copy

import pytest
import torch
from families import FAMILIES, LANGUAGE_MODELS, inputs, tiny
from torch import nn

from sparring.attack.fast import fast

BY_FIRST_TOKEN = ("bert", "electra", "roberta")
"""Their classifiers read the first token of the last layer and nothing else."""


def logits(model, **changes):
    with torch.no_grad():
        return model(**{key: x for key, x in (inputs() | changes).items() if x is not None and key != "labels"}).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_what_it_answered(family):
    model = tiny(family).eval()
    made = fast(model, half=False)
    assert (made is not model) == (family in BY_FIRST_TOKEN)
    assert logits(made) == pytest.approx(logits(model), abs=1e-12)
    if made is not model:
        unpadded = {"input_ids": inputs()["input_ids"][:, :4], "attention_mask": None}
        assert logits(made, **unpadded) == pytest.approx(logits(model, **unpadded), abs=1e-12)


@pytest.mark.parametrize("family", BY_FIRST_TOKEN)
def test_in_full_precision_the_weights_are_shared_and_the_model_is_left_alone(family):
    model = tiny(family).train()
    layer = model.base_model.encoder.layer[-1]
    made = fast(model, half=False)
    assert model.base_model.encoder.layer[-1] is layer and model.training and layer.training
    assert {id(p) for p in made.parameters()} == {id(p) for p in model.parameters()}
    before = logits(made)
    with torch.no_grad():
        model.base_model.get_input_embeddings().weight *= 2
    assert not torch.allclose(logits(made), before)


def test_the_last_layer_works_on_one_token_after_the_attention():
    made = fast(tiny("bert").eval(), half=False)
    rows = []
    last = made.bert.encoder.layer[-1].layer
    last.intermediate.dense.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[1]))
    logits(made)
    assert rows == [1]


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_language_model_needs_all_its_tokens(name):
    model = tiny(name).eval()
    assert fast(model, half=False) is model


def test_a_classifier_that_averages_its_tokens_needs_them_all():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            inner = tiny("bert")
            self.config, self.base_model, self.head = inner.config, inner.bert, nn.Linear(16, 3).double()

        def get_input_embeddings(self):
            return self.base_model.get_input_embeddings()

        def forward(self, **given):
            from transformers.modeling_outputs import SequenceClassifierOutput

            return SequenceClassifierOutput(logits=self.head(self.base_model(**given).last_hidden_state.mean(1)))

    model = Mean().eval()
    assert fast(model, half=False) is model


def test_in_half_precision_it_is_a_copy_near_the_model():
    model = tiny("bert", dtype=torch.float32).eval()
    before = copy.deepcopy(model.state_dict())
    made = fast(model, half=True)
    assert next(made.parameters()).dtype == torch.bfloat16
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (logits(made).float() - logits(model)).abs().max() < 0.1
