"""Labels of data for a classifier that is no run of ours."""

from types import SimpleNamespace

import pytest

from sparring.data.load import Examples
from sparring.errors import DataError, SettingError
from sparring.evaluate.classes import examples_for, matched

NAMED, UNNAMED = ("NEGATIVE", "POSITIVE"), ("LABEL_0", "LABEL_1")


@pytest.fixture
def of(tmp_path):
    """Examples of rows with these labels, for a model with classes of these names."""

    def examples(names, *labels, data="data.csv", **given):
        rows = [f"text {number},{label}" for number, label in enumerate(labels)]
        (tmp_path / "data.csv").write_text("\n".join(["text,label", *rows, ""]))
        config = SimpleNamespace(id2label=dict(enumerate(names)))
        columns = {"split": None, "text": None, "label": None, "limit": None}
        return examples_for("m", config, len(names), data=data and str(tmp_path / data), **columns | given)

    return examples


@pytest.mark.parametrize(
    ("names", "labels", "numbers", "called"),
    [
        (NAMED, ("POSITIVE", "NEGATIVE", "POSITIVE"), (1, 0, 1), NAMED),
        (NAMED, ("positive", "negative"), (1, 0), NAMED),
        (NAMED, ("positive", "positive"), (1, 1), NAMED),
        (NAMED, ("1", "0"), (1, 0), NAMED),
        (UNNAMED, ("LABEL_1", "LABEL_0"), (1, 0), UNNAMED),
        (UNNAMED, ("1", "1"), (1, 1), UNNAMED),
        (UNNAMED, ("pos", "neg"), (1, 0), ("neg", "pos")),
        (("b", "a", "B"), ("B", "b", "a"), (2, 0, 1), ("b", "a", "B")),
    ],
)
def test_labels_are_names_of_the_models_classes_or_their_numbers(of, names, labels, numbers, called):
    found = of(names, *labels)
    assert found.labels == numbers and found.label_names == called
    by_name = of(called, *(called[number] for number in numbers))
    assert found.digest == by_name.digest, "the same rows are the same data, however the file spells their classes"


def test_data_that_number_their_classes_otherwise_are_numbered_as_the_model_does():
    data = Examples((("a",), ("b",)), (0, 1), ("LABEL_1", "LABEL_0"), "accuracy", "data", "", ())
    found = matched(data, "m", UNNAMED)
    assert found.labels == (1, 0) and found.label_names == UNNAMED


def test_what_is_taken_for_granted_is_said(of):
    assert "labels are taken for the numbers of m's classes: 0 NEGATIVE, 1 POSITIVE" in of(NAMED, "0", "1").notes
    said = "m does not name its classes; the labels are numbered in their order: 0 neg, 1 pos"
    assert said in of(UNNAMED, "pos", "neg").notes


@pytest.mark.parametrize(
    ("names", "labels", "said"),
    [
        (NAMED, ("good", "positive"), ["m has no class 'good'", "0 NEGATIVE, 1 POSITIVE", "--label"]),
        (NAMED, ("0", "2"), ["m has no class '2'", "their numbers"]),
        (UNNAMED, ("a", "b", "c"), ["labels a, b, c", "2 classes without names", "0 to 1"]),
        (UNNAMED, ("a", "a"), ["labels a", "2 classes without names"]),
        (NAMED, ("0.5", "1.25"), ["quantities, such as 0.5", "m knows 2 classes", "--label"]),
    ],
)
def test_labels_that_are_not_the_models_are_refused_with_the_way_out(of, names, labels, said):
    with pytest.raises(DataError) as caught:
        of(names, *labels)
    assert all(part in str(caught.value) for part in said), caught.value


def test_without_data_there_is_nothing_to_measure_on(of):
    with pytest.raises(SettingError, match="name labelled data with --data"):
        of(NAMED, "0", data=None)


def test_a_model_of_one_output_gives_quantities(of):
    assert of((), "1", "2.5").labels == (1.0, 2.5) and of((), "1", "2").is_regression
