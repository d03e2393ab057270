"""Names of models: folders, the packaged one, the hub's."""

import pytest

from sparring.errors import ModelError
from sparring.model.load import load_checkpoint, load_classifier, load_tokenizer, source_of


def asked(*_, **__):
    pytest.fail("the hub was asked")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("runs/plian", r"no folder runs/plian\. The hub was not asked for it, since the folder runs is here"),
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
    monkeypatch.setattr("huggingface_hub.file_download.http_backoff", asked, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", asked)
    with pytest.raises(ModelError, match=said):
        load(name)


def test_the_packaged_model_is_no_trained_classifier_and_is_not_looked_for_on_the_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.http_backoff", asked, raising=False)
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", asked)
    with pytest.raises(ModelError, match="minilm is pre-trained and no classifier yet"):
        load_checkpoint("minilm")


def test_a_hub_model_in_the_cache_is_found_beside_a_folder_of_the_same_owner(tmp_path, monkeypatch):
    (tmp_path / "google").mkdir()
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "hub" / "models--google--electra" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert source_of("google/electra") == "google/electra"
    with pytest.raises(ModelError, match="run the command in another folder"):
        source_of("google/none")


def test_a_folder_that_may_not_be_looked_into_is_one_message(monkeypatch):
    def locked(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", locked)
    for load in (load_tokenizer, load_checkpoint):
        with pytest.raises(ModelError, match=r"cannot look at locked/m: Permission denied"):
            load("locked/m")


@pytest.mark.parametrize("name", ["bert-base-uncased", "somebody/bert", "."])
def test_hub_names_and_folders_stay_as_they_are(name):
    assert source_of(name) == name


@pytest.mark.parametrize("load", [load_tokenizer, load_checkpoint])
def test_a_hub_that_cannot_be_reached_is_no_dead_end(load, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # without it it is asked again and again
    with pytest.raises(ModelError, match="hf download"):
        load("somebody/bert")
