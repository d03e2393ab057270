"""The analysis: planted neurons are found, noise is not, and the same input gives the same result."""

import json

import numpy as np
import planted as made
import pytest

from sparring.analyse.compare import compare
from sparring.analyse.neurons import Neurons, analyse_activations
from sparring.errors import DataError, SettingError

SETTINGS = Neurons(l1=0.01, path=2, top_words=3)
TICKS = []


@pytest.fixture(scope="session")
def found(tmp_path_factory):
    """The analysis of planted neurons; its progress is in TICKS."""
    folder = tmp_path_factory.mktemp("planted")
    return analyse_activations(*made.planted(folder), SETTINGS, lambda *tick: TICKS.append(tick))


def test_five_planted_neurons_of_a_thousand_are_the_top_five_and_the_minimal_set(found):
    assert {one["neuron"] for one in found["top"][:5]} == set(made.PLANTED)
    assert found["minimal"]["size"] == 5
    assert set(found["minimal"]["neurons"]) == set(made.PLANTED)
    assert found["oracle"]["accuracy"] > 0.85
    assert found["minimal"]["accuracy"] >= found["oracle"]["accuracy"] - 0.01
    assert found["layer_profile"] == [2, 1, 1, 1]
    low, high = found["bootstrap"]["size"]
    assert 4 <= low <= 5 == high


def test_each_planted_neuron_serves_its_own_tag_alone_and_is_excited_by_its_words(found):
    by_neuron = {one["neuron"]: one for one in found["top"]}
    for tag, neuron in zip("ABCDE", made.PLANTED, strict=True):
        assert by_neuron[neuron]["tags"] == by_neuron[neuron]["sole"] == [tag]
        assert by_neuron[neuron]["weight"] > 0
        values = [value for _, value in by_neuron[neuron]["words"]]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert values[0] > 2
        assert (by_neuron[neuron]["layer"], by_neuron[neuron]["unit"]) == divmod(neuron, 250)
    assert found["exclusive"]["alone"] == found["exclusive"]["mean_tags"] == 1
    assert found["exclusive"]["effective_tags"] == pytest.approx(1, abs=0.05)


def test_masking_the_set_leaves_nothing_and_keeping_it_loses_nothing(found):
    ablation = found["ablation"]
    assert ablation["kept"] > found["oracle"]["accuracy"] - 0.02
    assert abs(ablation["removed"] - found["majority"]) < 0.08


def test_shuffled_labels_have_no_selectivity(tmp_path):
    noise = analyse_activations(*made.planted(tmp_path, words=1000, shuffled=True), SETTINGS)
    assert abs(noise["control"]["selectivity"]) < 0.08
    assert abs(noise["oracle"]["accuracy"] - 0.2) < 0.08  # five tags, all as frequent


def test_the_same_input_gives_the_same_bits_as_plain_json_also_read_from_disk_in_every_pass(
    found, tmp_path, monkeypatch
):
    monkeypatch.setattr("sparring.analyse.features.HELD", 0)
    again = analyse_activations(*made.planted(tmp_path), SETTINGS)
    assert json.dumps(again, sort_keys=True, allow_nan=False) == json.dumps(found, sort_keys=True, allow_nan=False)


def test_progress_counts_every_stage(found):
    assert {"probe of all neurons", "control task", "probe of layer 3"} <= {what for _, _, what in TICKS}
    assert all(0 < done <= total for done, total, _ in TICKS)


def test_models_are_compared_by_their_sets_and_by_chance(found):
    other = json.loads(json.dumps(found))
    other["minimal"]["neurons"] = [*made.PLANTED[:3], 1, 2, 3]
    other["minimal"]["size"], other["layer_profile"] = 6, [4, 1, 1, 0]
    other["bootstrap"]["size"] = [6, 8]
    both = compare({"late": other, "plain": found})
    assert [model["name"] for model in both["models"]] == ["plain", "late"]
    assert both["fewest"] == {"name": "plain", "clear": True}
    assert both["models"][0]["centre"] == pytest.approx(np.mean([n // 250 for n in made.PLANTED]))
    (pair,) = both["pairs"]
    assert (pair["shared"], pair["jaccard"]) == (3, 3 / 8)
    assert pair["layers"] == [2, 1, 0, 0]
    # of 1,000 neurons, sets of 5 and 6 share 0.03 on average, and their Jaccard index is about 0.03 / 11
    assert pair["expected"] == pytest.approx(0.03 / 10, rel=0.1)
    assert pair["p"] < 1e-5
    with pytest.raises(DataError, match="different sha256"):
        compare({"a": found, "b": {**found, "sha256": "1" * 64}})


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="'held_out' is 0"):
        Neurons(held_out=0.0)
    with pytest.raises(SettingError, match="choose one of 'last', 'first', 'average'"):
        Neurons(aggregation="middle")
