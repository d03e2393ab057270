"""Entropies and gates: golden values, ranges, directions."""

import math

import pytest
import torch

from sparring.adapters.gates import Calibration, Gate, adapter_weights, coefficients, entropy
from sparring.errors import DataError, ModelError, SettingError

GATES = [
    Gate(name="minmax_ratio"),
    Gate(name="entropy_ratio"),
    Gate(name="softmax_neg_entropy", temperature=0.3),
    Gate(name="constant", constant=0.7),
]
named = pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.name)


def range_of(count):
    return Calibration((0.1,) * count, (0.6,) * count, rows=5)


def entropies(rows=200, count=3):
    return math.log(2) * torch.rand(rows, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("probabilities", "wanted"),
    [
        ([0.9, 0.1], 0.325083),
        ([0.95, 0.05], 0.198515),
        ([0.6, 0.4], 0.673012),
        ([0.25] * 4, 1.386294),
        ([1.0, 1e-300], 0.0),
    ],
)
def test_the_entropy_of_a_prediction(probabilities, wanted):
    logits = torch.tensor(probabilities, dtype=torch.float64).log()
    assert float(entropy(logits)) == pytest.approx(wanted, abs=1e-6)
    assert float(entropy(logits + 7)) == pytest.approx(wanted, abs=1e-6)


def test_the_entropy_of_half_precision_logits_is_computed_in_full():
    assert entropy(torch.tensor([[3.0, 1.0]], dtype=torch.bfloat16)).dtype == torch.float32


def test_the_entropy_of_certainty_has_a_finite_gradient():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    entropy(logits).sum().backward()
    assert float(entropy(logits)) == 0 and bool(logits.grad.isfinite().all())


def test_the_ratio_of_entropies():
    beta = coefficients(torch.tensor([[0.2, 0.6, 0.0], [0.0, 0.0, 0.5]]), Gate(name="entropy_ratio"))
    assert beta.tolist() == [[pytest.approx(0.75), 0.0], [0.5, 1.0]]


def test_the_ratio_of_certainties_uses_the_calibrated_range_of_each_adapter():
    fixed = Calibration((0.0, 0.2), (0.5, 0.6), rows=9)
    h = torch.tensor([[0.1, 0.5], [0.5, 0.6], [0.9, 0.1], [0.0, 0.9]], dtype=torch.float64)
    beta = coefficients(h, Gate(name="minmax_ratio"), fixed)
    # a = (0.8, 0.25); (0, 0); (0, 1), both clipped; (1, 0)
    assert beta.flatten().tolist() == pytest.approx([0.8 / 1.05, 0.5, 0.0, 1.0])


def test_the_softmax_is_one_simplex_over_all_adapters():
    gate, h = Gate(name="softmax_neg_entropy", temperature=0.5), torch.tensor([[0.1, 0.4, 0.2]], dtype=torch.float64)
    beta = coefficients(h, gate)
    weights = adapter_weights(beta, h, gate)
    wanted = torch.tensor([math.exp(-0.2), math.exp(-0.8), math.exp(-0.4)], dtype=torch.float64)
    assert torch.allclose(weights[0], wanted / wanted.sum())
    assert torch.allclose(beta, weights[:, :1] / (weights[:, :1] + weights[:, 1:]))


@named
def test_coefficients_lie_between_0_and_1_and_weights_sum_to_1(gate):
    h = torch.cat([entropies(), torch.zeros(1, 3), torch.full((1, 3), 0.7)])
    beta = coefficients(h, gate, range_of(3))
    weights = adapter_weights(beta, h, gate)
    assert beta.shape == (202, 2) and weights.shape == (202, 3)
    for values in (beta, weights):
        assert bool((values >= 0).all()) and bool((values <= 1).all())
    assert torch.allclose(weights.sum(1), torch.ones(202, dtype=h.dtype))


@named
def test_a_less_certain_clean_adapter_never_gets_more_and_a_less_certain_adversarial_one_never_less(gate):
    h = entropies()
    steps = torch.linspace(0, 0.7, 50, dtype=h.dtype)
    for place, sign in ((0, -1), (1, 1)):
        moved = h.unsqueeze(0).repeat(50, 1, 1)
        moved[:, :, place] = steps.unsqueeze(1)
        beta = coefficients(moved.reshape(-1, 3), gate, range_of(3)).reshape(50, -1, 2)[..., 0]
        assert bool((sign * beta.diff(dim=0) >= -1e-12).all())
        if gate.name != "constant":
            assert bool((sign * (beta[-1] - beta[0]) > 0).all())


@named
def test_with_one_attack_the_weights_are_the_coefficient_and_its_complement(gate):
    h = entropies(count=2)
    beta = coefficients(h, gate, range_of(2))
    weights = adapter_weights(beta, h, gate)
    assert torch.allclose(weights, torch.cat([beta, 1 - beta], dim=1), atol=1e-12)


@named
def test_an_attack_named_twice_weighs_as_once(gate):
    h = entropies(count=2)
    twice = h[:, [0, 1, 1]]
    once = adapter_weights(coefficients(h, gate, range_of(2)), h, gate)
    weights = adapter_weights(coefficients(twice, gate, range_of(3)), twice, gate)
    assert torch.equal(coefficients(twice, gate, range_of(3))[:, 1], coefficients(h, gate, range_of(2))[:, 0])
    if gate.name != "softmax_neg_entropy":  # there the second copy takes its share of the simplex
        assert torch.allclose(weights[:, 0], once[:, 0])


@named
def test_an_answer_does_not_depend_on_what_is_asked_beside_it(gate):
    h = entropies()
    beside, alone = coefficients(h, gate, range_of(3))[:7], coefficients(h[:7], gate, range_of(3))
    assert torch.allclose(beside, alone, rtol=0, atol=1e-14)  # a vector's last entries may round otherwise


@named
def test_gradients_through_a_gate_are_finite_everywhere(gate):
    h = torch.tensor([[0.0, 0.0], [0.7, 0.7], [0.3, 0.2], [0.1, 0.6]], requires_grad=True)
    beta = coefficients(h, gate, range_of(2))
    if gate.name != "constant":
        beta.sum().backward()
        assert bool(h.grad.isfinite().all()) and bool((h.grad[2] != 0).all())


def test_the_constants_0_and_1_are_one_adapter_exactly():
    h = entropies(count=4)
    for share, wanted in ((1.0, [1, 0, 0, 0]), (0.0, [0, 1 / 3, 1 / 3, 1 / 3])):
        gate = Gate(name="constant", constant=share)
        assert adapter_weights(coefficients(h, gate), h, gate)[0].tolist() == wanted


def test_a_range_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"1 row; .* at least 2"):
        Calibration((0.1,), (0.2,), rows=1)
    with pytest.raises(DataError, match=r"adapter number 1 has the entropy 0\.3 on all 8 rows"):
        Calibration((0.1, 0.3), (0.2, 0.3), rows=8)
    with pytest.raises(ModelError, match="needs calibration statistics"):
        coefficients(entropies(), Gate())


@pytest.mark.parametrize("wrong", [{"name": "max"}, {"temperature": 0.0}, {"constant": 1.5}, {"constant": math.nan}])
def test_settings_of_a_gate_are_checked(wrong):
    with pytest.raises(SettingError, match="Gate: setting"):
        Gate(**wrong)
