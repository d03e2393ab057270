"""Soups are means, and an exported mixture says what the mixture says with those weights."""

import copy

import pytest
import torch
from mixtures import KINDS, NAMES, adapters_of, asked, base_model, mixture_of, shape_of, trained
from puppets import random_model

from sparring.adapters.load import load_trained
from sparring.adapters.mixture import AdapterMixture
from sparring.adapters.soup import adapter_soup, export, fixed, merge, model_soup
from sparring.errors import ModelError, RunError, SettingError
from sparring.model.load import load_classifier

WEIGHTS = {"clean": 0.5, "textfooler": 0.2, "deepwordbug": 0.3}
ROWS = torch.tensor([[0.5, 0.2, 0.3]] * 3, dtype=torch.float64)


@pytest.mark.parametrize("head", ["shared", "mixed"])
@pytest.mark.parametrize("space", ["updates", "parameters"])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_merged_mixture_is_a_plain_model_that_says_the_same(family, space, head):
    mixture = mixture_of(family=family, space=space, head=head)
    plain = merge(mixture, WEIGHTS)
    assert type(plain) is type(base_model(family))
    assert plain.state_dict().keys() == base_model(family).state_dict().keys()
    assert torch.allclose(plain(**asked()).logits, mixture.mixed(ROWS, **asked()).logits, atol=1e-12)
    clean = merge(mixture, {"clean": 1.0})
    assert torch.allclose(clean(**asked()).logits, mixture(**asked()).adapter_logits[:, 0], atol=1e-12)


@pytest.mark.parametrize("head", ["shared", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_mixture_is_one_adapter_that_says_the_same_as_mixed_parameters(kind, head):
    mixture = mixture_of(kind, space="parameters", head=head)
    one = fixed(mixture, WEIGHTS)
    assert one.names == ("fixed",)
    assert torch.allclose(one(**asked()).logits, mixture.mixed(ROWS, **asked()).logits, atol=1e-12)
    assert mixture.digest() == one.digest()


def test_bottlenecks_cannot_be_merged_and_the_way_out_is_said():
    with pytest.raises(ModelError, match=r"pfeiffer adapters .* cannot be merged .*fixed\(mixture, weights\)"):
        merge(mixture_of("pfeiffer"), WEIGHTS)


@pytest.mark.parametrize("kind", ["lora", "houlsby"])
def test_an_export_can_be_loaded_and_says_the_same(kind, tmp_path):
    model, words = random_model()
    model.save_pretrained(tmp_path / "base")
    base = load_classifier(str(tmp_path / "base"), ["neg", "pos"], words).eval()
    mixture = AdapterMixture(base, adapters_of(base, kind), head="mixed", space="parameters")
    export(mixture, WEIGHTS, tmp_path / "out", words)
    loaded, _ = load_trained(tmp_path / "out")
    assert torch.allclose(loaded(**asked()).logits, mixture.mixed(ROWS.float(), **asked()).logits, atol=1e-5)
    assert isinstance(loaded, AdapterMixture) == (kind != "lora")
    with pytest.raises(RunError, match="exists"):
        export(mixture, WEIGHTS, tmp_path / "out", words)


@pytest.mark.parametrize("wrong", [{"clean": 0.5}, {"clean": 1.5, "textfooler": -0.5}, {"other": 1.0}, {}])
def test_weights_that_are_no_shares_are_refused(wrong):
    with pytest.raises(SettingError, match=r"sum to 1|there is no adapter 'other'"):
        merge(mixture_of(), wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_soup_is_the_mean_of_every_tensor(kind):
    adapters = adapters_of(base_model(), kind, count=2)
    soup = adapter_soup(adapters)
    for name, value in soup.tensors.items():
        assert torch.allclose(value, (adapters["clean"].tensors[name] + adapters["textfooler"].tensors[name]) / 2)
    for name, value in soup.head.items():
        assert torch.allclose(value, (adapters["clean"].head[name] + adapters["textfooler"].head[name]) / 2)
    uneven = adapter_soup(adapters, {"clean": 1.0, "textfooler": 0.0})
    assert all(torch.equal(x, adapters["clean"].tensors[name]) for name, x in uneven.tensors.items())


def test_soups_of_what_is_not_alike_are_refused():
    base = base_model()
    with pytest.raises(ModelError, match="cannot be averaged"):
        adapter_soup({"a": trained(base, shape_of("lora"), 0)[1], "b": trained(base, shape_of("pfeiffer"), 0)[1]})
    with pytest.raises(ModelError, match="only one holds a classification head"):
        adapter_soup({"a": trained(base, shape_of("lora"), 0)[1], "b": trained(base, shape_of("lora"), 0, "frozen")[1]})
    with pytest.raises(ModelError, match="models 1 and 2 are not built alike: they differ in classifier"):
        model_soup([base, base_model(labels=2)])
    with pytest.raises(ModelError, match="at least one model"):
        model_soup([])


def test_a_model_soup_is_the_mean_of_every_weight_and_leaves_its_models_alone():
    one, other = base_model(), base_model()
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.1)
    before = copy.deepcopy(one.state_dict())
    soup = model_soup([one, other], [0.25, 0.75])
    for name, weight in soup.named_parameters():
        assert torch.allclose(weight, before[name] + 0.075)
    assert all(torch.equal(x, before[name]) for name, x in one.state_dict().items())
    assert NAMES[0] == "clean"
