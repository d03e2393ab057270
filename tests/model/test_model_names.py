"""Names of models: folders, the packaged one, the hub's."""

import pytest

from sparring.errors import ModelError
from sparring.model.load import load_checkpoint, load_classifier, load_tokenizer, source_of


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/plian", r"no folder runs/plian \(the hub was not asked, since the folder runs is here\)"),
        ("./plian", r"no folder ./plian"),
        ("runs/deep/plian", r"no folder runs/deep/plian\. "),
        ("~/plian", r"no folder ~/plian\. "),
    ],
)
@pytest.mark.parametrize(
    "load", [load_tokenizer, load_checkpoint, lambda name: load_classifier(name, ["a", "b"], None)]
)
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(load, name, said, tmp_path, monkeypatch):
    (tmp_path / "runs" / "plain").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("transformers.utils.hub.cached_files", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(ModelError, match=said):
        load(name)


@pytest.mark.parametrize("name", ["bert-base-uncased", "somebody/bert", "."])
def test_hub_names_and_folders_stay_as_they_are(name):
    assert source_of(name) == name


@pytest.mark.parametrize("load", [load_tokenizer, load_checkpoint])
def test_a_hub_that_cannot_be_reached_is_no_dead_end(load, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # without it it is asked again and again
    with pytest.raises(ModelError, match="hf download"):
        load("somebody/bert")
