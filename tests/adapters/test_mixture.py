"""Mixing: what is exact, what depends on nothing beside it, and what goes through the gate."""

import copy
import math

import families
import pytest
import torch
from mixtures import (
    KINDS,
    NAMES,
    adapters_of,
    asked,
    base_model,
    calibration,
    mixture_of,
    only,
    shape_of,
    trained,
)
from torch import nn

from sparring.adapters.adapter import Adapter
from sparring.adapters.base import digest
from sparring.adapters.calibrate import calibrate
from sparring.adapters.gates import Gate, entropy
from sparring.adapters.lora import LoraStack
from sparring.adapters.mixture import AdapterMixture
from sparring.adapters.rows import Rows, running
from sparring.adapters.shape import AdapterShape
from sparring.errors import DataError, ModelError, SettingError

kinds = pytest.mark.parametrize("kind", KINDS)
heads = pytest.mark.parametrize("head", ["shared", "mixed"])
CONSTANT = {share: Gate(name="constant", constant=share) for share in (0.0, 0.25, 1.0)}


def one_hot(place, rows=3, count=3, dtype=torch.float64):
    return torch.eye(count, dtype=dtype)[[place] * rows]


# exactness


@kinds
@heads
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_weight_of_one_is_that_adapter_bit_for_bit_whatever_the_others_are(kind, head, dtype):
    base = base_model(dtype=dtype)
    policy = "trained" if head == "mixed" else "frozen"
    adapters = [trained(base, shape_of(kind), number, policy)[1] for number in range(6)]
    near = 1e-6 if dtype == torch.float32 else 1e-14
    for place in range(3):
        beside, alone = ([*adapters[3:6]] for _ in range(2))
        beside[place], alone[:] = adapters[place], [adapters[place]] * 3
        one, three = (
            AdapterMixture(copy.deepcopy(base), dict(zip(NAMES, given, strict=True)), head=head)
            for given in (alone, beside)
        )
        found = three.mixed(one_hot(place, dtype=dtype), **asked()).logits
        assert torch.equal(found, one.mixed(one_hot(place, dtype=dtype), **asked()).logits)
        for wanted in (three.adapter_logits(**asked())[:, place], only(three, NAMES[place], base)):
            assert torch.allclose(found, wanted, rtol=near, atol=near)


@kinds
@heads
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_coefficients_0_and_1_give_the_adapters_logits_bit_for_bit(kind, head, share):
    mixture = mixture_of(kind, head=head, count=2, gate=CONSTANT[share], dtype=torch.float32)
    output = mixture(**asked())
    assert torch.equal(output.logits, output.adapter_logits[:, 0 if share == 1 else 1])
    assert output.mixing.flatten().tolist() == [share] * 3


@kinds
@heads
def test_each_adapter_says_in_the_mixture_what_it_says_alone(kind, head):
    base = base_model()
    policy = "trained" if head == "mixed" else "frozen"
    models, adapters = zip(*(trained(base, shape_of(kind), i, policy) for i in range(3)), strict=True)
    mixture = AdapterMixture(copy.deepcopy(base), dict(zip(NAMES, adapters, strict=True)), head=head)
    logits = mixture.adapter_logits(**asked())
    for place, model in enumerate(models):  # with LoRA that is peft's own path
        assert torch.allclose(logits[:, place], model(**asked()).logits, atol=1e-12)


@kinds
def test_the_base_keeps_its_weights_through_everything(kind):
    base = base_model()
    mixture = mixture_of(kind, head="mixed")
    before = digest(base)
    assert mixture.digest() == before == mixture.reference.sha256
    mixture.train()
    assert mixture(**asked(), labels=torch.tensor([0, 1, 2])).loss > 0
    mixture.calibration = calibrate(mixture, [families.batch()])
    assert mixture.digest() == before
    assert not any(p.requires_grad for p in mixture.parameters())


def test_the_worked_example_of_lora_in_three_conventions():
    """W0 = 0, b = 0.25: exact, A and B averaged, and for contrast what peft calls linear."""
    a = torch.tensor([[[1.0, 0.0]], [[2.0, 1.0]]])
    b = torch.tensor([[[1.0], [2.0]], [[0.0], [1.0]]])
    weights = torch.tensor([[0.25, 0.75]]).repeat(2, 1)
    stack = LoraStack(nn.Linear(2, 2, bias=False), 1.0, a=a, b=b)
    nn.init.zeros_(stack.inner.weight)
    found = {}
    for parameters in (False, True):
        with running(Rows(2, weights, parameters)):
            found[parameters] = stack(torch.eye(2)).T
    assert torch.allclose(found[False], torch.tensor([[0.25, 0.0], [2.0, 0.75]]), atol=1e-6)
    assert torch.allclose(found[True], torch.tensor([[0.4375, 0.1875], [2.1875, 0.9375]]), atol=1e-6)
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        nn.Sequential(nn.Linear(2, 2, bias=False)), LoraConfig(r=1, lora_alpha=1, target_modules="0")
    )
    model.add_adapter("other", LoraConfig(r=1, lora_alpha=1, target_modules="0"))
    layer = model.base_model.model[0]
    with torch.no_grad():
        for place, name in enumerate(("default", "other")):
            layer.lora_A[name].weight.copy_(a[place])
            layer.lora_B[name].weight.copy_(b[place])
    model.add_weighted_adapter(["default", "other"], [0.25, 0.75], "mixed", combination_type="linear")
    peft = torch.tensor([[1.1160, 0.4330], [4.1652, 1.6160]])
    assert torch.allclose(layer.get_delta_weight("mixed"), peft, atol=1e-4)


def test_adapters_that_are_linear_are_mixed_as_updates_and_others_as_parameters():
    assert mixture_of("lora").space == "updates" and mixture_of("houlsby").space == "parameters"


def test_mixing_updates_is_the_model_with_the_mixed_update_and_mixing_parameters_is_not():
    weights = torch.tensor([[0.5, 0.2, 0.3]], dtype=torch.float64).repeat(3, 1)
    exact, crossed = (mixture_of(space=space, head="shared") for space in ("updates", "parameters"))
    plain = base_model()
    with torch.no_grad():
        for site in exact.stacks():
            for place, name in enumerate(NAMES):
                own = exact.adapter(name).sites[site]
                plain.get_submodule(site).weight += weights[0, place] * 3.0 * own["b"] @ own["a"]
    wanted = plain(**asked()).logits
    assert torch.allclose(exact.mixed(weights, **asked()).logits, wanted, atol=1e-12)
    assert not torch.allclose(crossed.mixed(weights, **asked()).logits, wanted, atol=1e-3)


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer"])
def test_bottlenecks_are_mixed_by_their_parameters_for_each_row(kind):
    mixture = mixture_of(kind, head="shared")
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0]], dtype=torch.float64)
    found = mixture.mixed(weights, **asked()).logits
    adapters = [mixture.adapter(name) for name in NAMES]
    for row, shares in enumerate(weights):
        mean = {n: sum(w * a.tensors[n] for w, a in zip(shares, adapters, strict=True)) for n in adapters[0].tensors}
        alone = AdapterMixture(base_model(), {"mean": Adapter(shape_of(kind), mean)})
        assert torch.allclose(found[row], alone(**asked()).logits[row], atol=1e-12)


def test_mixed_heads_are_mixed_with_the_weights_of_the_adapters():
    mixture = mixture_of(head="mixed", gate=CONSTANT[0.25])
    output = mixture(**asked(), output_hidden_states=True)
    states = nn.functional.linear(output.hidden_states[-1][:, 0], *mixture.base.bert.pooler.dense.parameters()).tanh()
    stack = mixture.base.classifier
    mean = torch.tensor([0.25, 0.375, 0.375], dtype=torch.float64)
    wanted = states @ torch.einsum("k,koi->io", mean, stack.weight) + mean @ stack.bias
    assert torch.allclose(output.logits, wanted, atol=1e-12)


# independence


@kinds
@pytest.mark.parametrize("combine", ["mixup", "logits", "vote"])
def test_answers_follow_their_rows(kind, combine):
    mixture = mixture_of(kind, combine=combine, gate=Gate(), calibration=calibration())
    given = asked((9, 4, 6, 5, 7))
    order = torch.tensor([3, 0, 4, 1, 2])
    found, moved = mixture(**given), mixture(**{name: x[order] for name, x in given.items()})
    for name in ("logits", "mixing", "entropies", "adapter_logits", "weights"):
        if found.get(name) is not None:
            assert torch.allclose(found[name][order], moved[name], atol=1e-12), name


@kinds
@heads
def test_an_answer_does_not_depend_on_the_batch(kind, head):
    mixture = mixture_of(kind, head=head, gate=Gate(), calibration=calibration())
    lengths = (9, 4, 6, 5)
    together = mixture(**asked(lengths))
    for row, length in enumerate(lengths):
        alone = mixture(**asked((length,), first=row))
        assert torch.allclose(together.logits[row], alone.logits[0], atol=1e-12)
        assert torch.allclose(together.mixing[row], alone.mixing[0], atol=1e-12)


@pytest.mark.parametrize("name", ["minmax_ratio", "entropy_ratio", "constant"])
@kinds
def test_an_attack_that_is_there_twice_changes_nothing(kind, name):
    adapters = adapters_of(base_model(), kind, count=2)
    settings = {"head": "mixed", "gate": Gate(name=name)}
    once = AdapterMixture(base_model(), adapters, calibration=calibration(count=2), **settings)
    twice = {**adapters, "again": adapters[NAMES[1]]}
    found = AdapterMixture(base_model(), twice, calibration=calibration(), **settings)(**asked())
    assert torch.allclose(found.logits, once(**asked()).logits, atol=1e-12)


def test_a_mixture_of_one_adapter_is_that_adapter():
    model, adapter = trained(base_model(), shape_of("pfeiffer"), 0)
    output = AdapterMixture(base_model(), {"clean": adapter}, gate=Gate(name="entropy_ratio"))(**asked())
    assert torch.allclose(output.logits, model(**asked()).logits, atol=1e-12) and output.mixing.shape == (3, 0)


def test_a_gate_sends_each_input_to_the_adapter_that_is_sure_of_it():
    mixture = mixture_of(gate=Gate(name="softmax_neg_entropy", temperature=0.1))
    output = mixture(**asked())
    assert torch.equal(output.weights.argmax(1), output.entropies.argmin(1))
    assert torch.equal(output.entropies, entropy(output.adapter_logits))


def test_the_output_is_that_of_a_hugging_face_classifier():
    mixture, labels = mixture_of(), torch.tensor([0, 1, 2])
    output = mixture(**asked(), labels=labels, output_hidden_states=True)
    assert list(output.keys())[:2] == ["loss", "logits"] and torch.equal(output["logits"], output.logits)
    assert len(output.hidden_states) == 3 and output.hidden_states[0].shape == (3, 6, 16)
    loss, logits, *_ = mixture(**asked(), labels=labels, return_dict=False)
    assert torch.equal(logits, output[1]) and torch.equal(loss, nn.functional.cross_entropy(logits, labels))
    assert not mixture.can_generate() and mixture.device.type == "cpu" and mixture.dtype == torch.float64


def test_one_forward_asks_all_adapters_and_a_second_the_mixture():
    mixture, seen = mixture_of(), []
    mixture.base.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    mixture(**asked())
    assert seen == [9, 3]
    mixture.combine = "vote"
    mixture(**asked())
    assert seen == [9, 3, 9]


@pytest.mark.parametrize("family", ["distilbert", "albert", "gpt2", "t5", "llama", "modernbert", "deberta-v2"])
def test_lora_can_be_mixed_in_other_architectures_too(family):
    base = base_model(family)
    models, adapters = zip(*(trained(base, shape_of("lora"), i, "frozen") for i in range(2)), strict=True)
    mixture = AdapterMixture(copy.deepcopy(base), dict(zip(NAMES, adapters, strict=False)), gate=CONSTANT[0.25])
    output = mixture(**asked())
    for place, model in enumerate(models):
        assert torch.allclose(output.adapter_logits[:, place], model(**asked()).logits, atol=1e-10)
    assert torch.isfinite(output.logits).all() and not torch.allclose(output.logits, output.adapter_logits[:, 0])


def test_layers_that_do_not_see_the_rows_of_the_batch_are_named():
    base = base_model("deberta-v2")
    base.config.share_att_key = True
    base = type(base)(base.config).double()
    clean = trained(base, shape_of("lora"), 0, "frozen")[1]
    adapters = {"clean": clean, "other": clean}
    with pytest.raises(ModelError, match="not those of the rows of the batch"):
        AdapterMixture(base, adapters)(**asked())


# baselines


def test_the_logits_baseline_is_their_mean_and_the_vote_is_hard():
    mixture = mixture_of(combine="logits")
    output = mixture(**asked())
    assert torch.allclose(output.logits, output.adapter_logits.mean(1)) and output.mixing is None
    from sparring.adapters.mixture import _votes

    says = lambda *classes: torch.eye(3, dtype=torch.float64)[list(classes)].unsqueeze(0)  # noqa: E731
    assert _votes(says(0, 1, 1)).argmax().item() == 1
    assert _votes(says(2, 1, 1, 2)).argmax().item() == 2  # a draw: the clean adapter decides
    assert _votes(says(1, 2, 2, 1)).argmax().item() == 1
    shares = _votes(says(0, 1, 1)).exp()
    assert shares[0].tolist() == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-3) and bool(shares.log().isfinite().all())
    logits = says(0, 1).requires_grad_()
    _votes(logits)[0, 0].backward()
    assert not bool(logits.grad.any())


# calibration


def test_calibration_is_the_range_of_entropies_over_all_rows_however_they_are_cut():
    mixture = mixture_of()
    batches = [families.batch((9, 4), total=9), families.batch((6,), first=2), families.batch((5, 7), first=3)]
    done = []
    found = calibrate(mixture, batches, progress=done.append)
    h = entropy(mixture.adapter_logits(**asked((9, 4, 6, 5, 7))))
    assert found.low == pytest.approx(h.min(0).values.tolist()) and found.high == pytest.approx(
        h.max(0).values.tolist()
    )
    assert found.rows == 5 and done == [2, 3, 5]
    mixture.calibration, mixture.gate = found, Gate()
    assert bool(mixture(**asked()).logits.isfinite().all())


@pytest.mark.parametrize("lengths", [(), (5,)])
def test_a_calibration_set_of_one_row_is_refused(lengths):
    with pytest.raises(DataError, match=f"has {len(lengths)} row.*at least 2"):
        calibrate(mixture_of(), [families.batch(lengths)] if lengths else [])


def test_a_mixture_that_was_not_calibrated_says_so():
    with pytest.raises(ModelError, match="needs calibration"):
        mixture_of(gate=Gate())(**asked())


# what does not fit


def test_adapters_that_do_not_fit_each_other_are_refused():
    base = base_model()
    clean = trained(base, shape_of("lora"), 0)[1]
    for other, message in [
        (trained(base, shape_of("pfeiffer"), 1)[1], "one is lora, the other pfeiffer"),
        (trained(base, shape_of("lora", rank=3), 1)[1], "is .* in one and .* in the other"),
        (trained(base, shape_of("lora", targets="query"), 1)[1], "only one of them adapts"),
        (trained(base, shape_of("lora", alpha=1.0), 1)[1], "scaled by 3 in one and 0.5"),
        (trained(families.tiny("roberta").eval(), shape_of("lora"), 1)[1], "only one of them adapts"),
    ]:
        with pytest.raises(ModelError, match=f"'clean' and 'other' cannot be mixed: .*{message}"):
            AdapterMixture(copy.deepcopy(base), {"clean": clean, "other": other}, head="mixed")


def test_adapters_of_another_base_are_refused():
    base = base_model()
    adapters = adapters_of(base, "lora")
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.bert.encoder.layer[0].output.dense.bias[0] += 1e-3
    with pytest.raises(ModelError, match="'clean' was trained on another base"):
        AdapterMixture(copy.deepcopy(other), adapters, head="mixed")
    strange = {"clean": adapters["clean"], "other": trained(other, shape_of("lora"), 1)[1]}
    with pytest.raises(ModelError, match="trained on different bases"):
        AdapterMixture(copy.deepcopy(base), strange, head="mixed")
    small = families.tiny("electra").eval()
    with pytest.raises(ModelError, match=r"another base|has no layer"):
        AdapterMixture(small, adapters, head="mixed")


def test_heads_that_differ_cannot_be_shared_and_those_of_other_classes_do_not_fit():
    base = base_model()
    adapters = adapters_of(base, "lora")
    with pytest.raises(ModelError, match=r"'clean' and 'textfooler' have different heads.*head='mixed'"):
        AdapterMixture(copy.deepcopy(base), adapters, head="shared")
    with pytest.raises(ModelError, match="does not fit"):
        AdapterMixture(base_model(labels=2), adapters, head="mixed")
    with pytest.raises(ModelError, match="two or more classes"):
        AdapterMixture(base_model(labels=1), adapters)


def test_the_head_trained_with_the_clean_adapter_can_be_shared():
    base = base_model()
    clean, other = trained(base, shape_of("lora"), 0)[1], trained(base, shape_of("lora"), 1, "frozen")[1]
    mixture = AdapterMixture(copy.deepcopy(base), {"clean": clean, "other": other}, head="shared")
    families.assert_same(dict(mixture.base.classifier.named_parameters(prefix="classifier")), clean.head)


def test_settings_that_do_not_go_together_are_refused():
    base = base_model()
    with pytest.raises(SettingError, match="space='parameters'"):
        mixture_of("pfeiffer", space="updates")
    with pytest.raises(ModelError, match="at least one adapter"):
        AdapterMixture(copy.deepcopy(base), {})
    mixture = mixture_of()
    with pytest.raises(ModelError, match="holds adapters already"):
        AdapterMixture(mixture.base, adapters_of(base, "lora"))
    with pytest.raises(ModelError, match="call the mixture"):
        mixture.base(**asked())
    assert AdapterShape().scaling == 1.0 and math.isclose(mixture.shape.scaling, 3.0)
