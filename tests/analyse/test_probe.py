"""The probe, its penalties, the ranking and the control task, against closed forms and the references' examples."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from sparring.analyse.control import control_tags
from sparring.analyse.features import Features, Scale
from sparring.analyse.minimal import Curve, bootstrap, search
from sparring.analyse.probe import Penalty, fit, path
from sparring.analyse.ranking import prefix, rank, serves

EXAMPLE = np.array([[0.5, 0.1, 0, 0.2], [0.1, 0.05, 0.6, 0.05]]).T


def blobs(words=300, neurons=6, seed=0):
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 3, size=words)
    x = rng.normal(size=(words, neurons)) + 1.2 * np.eye(3, neurons)[tags]
    table = x.astype(np.float16)
    return Features(table, np.arange(words), torch.from_numpy(tags), Scale.of(table, np.arange(words)))


def test_the_norms_are_those_of_the_textbook_and_of_the_reference_code():
    weight = torch.tensor([[3.0, -4.0]])
    assert Penalty(1, 0).value(weight) == 7
    assert Penalty(0, 1, "unsquared").value(weight) == 5
    assert Penalty(0, 1, "squared").value(weight) == 25


@pytest.mark.parametrize("norm", ["squared", "unsquared"])
def test_the_proximal_operator_is_the_nearest_point_with_a_small_penalty(norm):
    penalty, step = Penalty(0.7, 0.4, norm), 0.8
    weight = torch.tensor([[3.0, -4.0], [0.2, 1.0]], dtype=torch.float64)

    def value(v):
        return float((v - weight).square().sum()) / 2 + step * penalty.value(v)

    best = penalty.nearest(weight, step)
    assert best[1, 0] == 0
    source = torch.Generator().manual_seed(0)
    for size in (1e-1, 1e-3):
        for _ in range(50):
            moved = best + size * torch.randn(2, 2, generator=source, dtype=torch.float64)
            assert value(best) <= value(moved)
    assert float(Penalty(0, 9, "unsquared").nearest(weight, step).abs().sum()) == 0


def test_without_l1_the_probe_is_scikit_learns_logistic_regression():
    features = blobs()
    l2 = 0.01
    probe = fit(features, 3, Penalty(0, l2), passes=2000, tolerance=0)
    x = np.concatenate([x.numpy() for x, _ in features]).astype(np.float64)
    theirs = LogisticRegression(C=1 / (2 * l2 * len(x)), tol=1e-8, max_iter=5000).fit(x, features.tags.numpy())
    assert np.abs(probe.weight.numpy().T - theirs.coef_).max() < 2e-3


def test_l1_makes_weights_exactly_zero_and_more_of_it_makes_more():
    features = blobs(neurons=40)
    probes = path(features, 3, [Penalty(l1, 0) for l1 in (0.5, 0.05, 0.005)])
    counts = [int((probe.weight != 0).sum()) for probe in probes]
    assert counts[0] == 0
    assert 0 < counts[1] < counts[2] < 120
    # at the optimum the gradient of the loss is at most l1 where the weight is zero, and l1 against its sign elsewhere
    l1 = 0.05
    probe = fit(features, 3, Penalty(l1, 0), passes=3000, tolerance=0)
    x = torch.cat([x for x, _ in features])
    residual = torch.softmax(x @ probe.weight + probe.bias, 1) - torch.eye(3)[features.tags]
    gradient = x.T @ residual / len(x)
    assert float(gradient.abs().max()) < l1 * 1.01
    used = probe.weight != 0
    assert torch.allclose(gradient[used], -l1 * probe.weight[used].sign(), atol=1e-3)
    assert float(residual.mean(0).abs().max()) < 1e-3  # the bias is free


def test_where_a_probe_starts_changes_its_passes_and_not_its_answer():
    features, penalty = blobs(), Penalty(0.01, 0.01)
    cold = fit(features, 3, penalty, tolerance=1e-7, passes=1000)
    warm = fit(features, 3, penalty, start=cold, tolerance=1e-7, passes=1000)
    assert warm.passes < cold.passes
    assert float((cold.weight - warm.weight).abs().max()) < 1e-2


def test_standardised_features_have_mean_zero_and_deviation_one_and_constants_stay():
    table = np.stack([np.arange(50), np.full(50, 3.0), np.arange(50) * -0.5], axis=1).astype(np.float16)
    features = Features(table, np.arange(50), torch.zeros(50).long(), Scale.of(table, np.arange(50)))
    ((x, _),) = features
    assert np.allclose(x.mean(0), 0, atol=1e-5)
    assert np.allclose(x.std(0, unbiased=False), [1, 0, 1], atol=1e-5)
    ((part, _),) = features.of(np.array([2]))
    assert torch.equal(part[:, 0], x[:, 2])


def test_the_ranking_is_that_of_the_references_example():
    assert prefix(EXAMPLE[:, 0], 0.9).tolist() == [0, 3, 1]
    assert prefix(EXAMPLE[:, 1], 0.9).tolist() == [2, 0, 3]
    for share in (0, 0.5):
        assert [prefix(EXAMPLE[:, tag], share).tolist() for tag in (0, 1)] == [[0], [2]]
    ranking = rank(EXAMPLE)
    assert ranking.order.tolist() == [2, 0, 3, 1]  # 0 and 2 come in at 0 %, the larger weight first
    assert ranking.share[:2].tolist() == [0, 0]
    assert serves(EXAMPLE, 0.5).sum() == 2
    assert serves(EXAMPLE, 0.9).all(1).tolist() == [True, False, False, True]


def test_a_ranking_names_every_neuron_once_and_those_without_weight_last():
    weight = np.random.default_rng(0).normal(size=(50, 4))
    weight[[3, 30]] = 0
    ranking = rank(weight)
    assert sorted(ranking.order.tolist()) == list(range(50))
    assert ranking.order[-2:].tolist() == [3, 30]
    assert (np.diff(ranking.share) >= 0).all()
    assert ranking.share[-1] > 1 >= ranking.share[-3]
    moved = np.random.default_rng(1).permutation(50)
    assert np.array_equal(moved[rank(weight[moved]).order][:48], ranking.order[:48])
    assert rank(np.zeros((3, 2))).order.tolist() == [0, 1, 2]


def test_the_search_finds_the_smallest_size_that_is_enough():
    asked = []

    def correct_with(size):
        asked.append(size)
        return np.arange(100) < min(40 + size, 90)

    curve = search(correct_with, np.arange(100) < 95, 1000, tolerance=0.06)
    assert curve.sizes[curve.minimal] == 49
    assert len(asked) == len(set(asked)) <= 13
    assert curve.sizes[-1] == 1000
    hopeless = search(lambda size: np.zeros(100, bool), np.arange(100) < 95, 3, tolerance=0.01)
    assert hopeless.sizes[hopeless.minimal] == 3


def test_the_interval_of_an_accuracy_is_that_of_the_binomial_and_holds_the_size():
    rng = np.random.default_rng(0)
    draws = rng.random(2000)
    correct = np.stack([draws < share for share in (0.5, 0.7, 0.78, 0.795, 0.8)])
    curve = Curve(np.array([1, 2, 7, 8, 100]), correct, 0.01)
    found = bootstrap(curve, np.arange(2000), seed=0)
    error = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert found["accuracy"] == pytest.approx([correct[-1].mean() - error, correct[-1].mean() + error], abs=0.003)
    assert found["size"][0] <= curve.sizes[curve.minimal] <= found["size"][1]
    assert found == bootstrap(curve, np.arange(2000), seed=0)


def test_in_the_control_task_a_word_type_has_one_tag_and_tags_are_as_frequent_as_before():
    words = [f"w{i % 5000}" for i in range(20000)]
    tags = np.random.default_rng(0).choice(3, size=20000, p=[0.6, 0.3, 0.1])
    control = control_tags(words, tags, seed=0)
    assert (control.reshape(4, 5000) == control[:5000]).all()
    assert np.bincount(control) / 20000 == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    assert (control != control_tags(words, tags, seed=1)).any()
    assert control_tags(words[:10], tags, seed=0).tolist() == control[:10].tolist()
