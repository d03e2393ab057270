"""Layer-wise learning rates: every weight that trains is in one group, with the rate of its depth."""

import pytest
import torch
from families import FAMILIES, LANGUAGE_MODELS

from sparring.errors import ModelError, SettingError
from sparring.train.layers import depths, freeze_embeddings, parameter_groups


@pytest.mark.parametrize("family", [*FAMILIES, *LANGUAGE_MODELS])
def test_every_weight_is_in_exactly_one_group_and_the_first_has_the_full_rate(tiny, family):
    model = tiny(family)
    groups = parameter_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.5)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    rates = [group["lr"] for group in groups]
    layers = 1 if family == "albert" else 2
    assert rates == sorted(rates, reverse=True)
    assert set(rates) == {0.5**below for below in range(layers + 2)}
    for group in groups:
        assert {p.dim() < 2 for p in group["params"]} == {group["weight_decay"] == 0}
    word = model.get_input_embeddings().weight
    if family not in ("t5", "bart"):
        assert any(p is word for group in groups if group["depth"] == 0 for p in group["params"])


def test_depths_of_bert_are_those_of_its_parts(tiny):
    found = depths(tiny("bert-mlm"))
    assert found["bert.embeddings.position_embeddings.weight"] == found["bert.embeddings.LayerNorm.bias"] == 0
    assert found["bert.encoder.layer.0.output.dense.weight"] == 1
    assert found["bert.encoder.layer.1.output.LayerNorm.weight"] == 2
    assert found["cls.predictions.transform.dense.weight"] == 3
    assert {n for n, d in depths(tiny("gpt2-lm")).items() if d in (0, 3)} == {
        "transformer.wte.weight", "transformer.wpe.weight", "transformer.ln_f.weight", "transformer.ln_f.bias",
    }  # fmt: skip
    assert depths(tiny("albert"))["albert.encoder.embedding_hidden_mapping_in.weight"] == 0
    assert depths(tiny("electra"))["electra.embeddings_project.weight"] == 0


def test_without_decay_there_are_two_groups_as_in_plain_training(tiny):
    groups = parameter_groups(tiny("bert-mlm"), learning_rate=3e-4, weight_decay=0.01)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(3e-4, 0.01), (3e-4, 0.0)]


def test_a_step_moves_each_layer_as_far_as_its_rate_says(tiny):
    model = tiny("bert-mlm")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(parameter_groups(model, learning_rate=1.0, weight_decay=0.0, layer_decay=0.5))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for name, depth in depths(model).items():
        moved = before[name] - model.get_parameter(name)
        assert torch.allclose(moved, torch.full_like(moved, 0.5 ** (3 - depth))), name


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_frozen_embeddings_do_not_train_and_all_else_does(tiny, name):
    model = tiny(name)
    frozen = freeze_embeddings(model)
    assert frozen and set(frozen) == {n for n, p in model.named_parameters() if not p.requires_grad}
    assert all("embed" in n or "wte" in n or "wpe" in n for n in frozen)
    groups = parameter_groups(model, learning_rate=1.0, weight_decay=0.1, layer_decay=0.9)
    assert all(group["depth"] > 0 for group in groups)


def test_a_decay_that_makes_no_sense_and_a_model_without_anything_to_train_are_refused(tiny):
    model = tiny("bert-mlm")
    for decay in (0, 1.1, -1, float("nan")):
        with pytest.raises(SettingError, match="layer_decay"):
            parameter_groups(model, learning_rate=1.0, weight_decay=0.0, layer_decay=decay)
    with pytest.raises(ModelError, match="frozen"):
        parameter_groups(model.requires_grad_(False), learning_rate=1.0, weight_decay=0.0)
