"""`sparring analyse neurons` as a user meets it: results, what is kept, and one clear message for each mistake."""

import json
from pathlib import Path

import families
import pytest
import torch
from commands import sparring
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, PreTrainedTokenizerFast

from sparring.analyse.folder import names_of
from sparring.errors import SettingError

WORDS = ["the", "films", "were", "good", "[red]bad[/red]", "<script>", "plots", "are", "fine"]
SMALL = ("--words", 300, "--min-count", 1, "--path", 1, "--passes", 30, "--top", 3)


def save(folder, seed):
    """A tiny random BERT whose tokens are words."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    model = families.tiny("bert", dtype=torch.float32)
    with torch.no_grad():
        next(model.parameters()).normal_(generator=torch.Generator().manual_seed(seed))
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two models and a corpus in which words have few tags, one of them hostile."""
    folder = tmp_path_factory.mktemp("neurons")
    save(folder / "plain", 1)
    save(folder / "robust", 2)
    source = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(80):
        for number, word in enumerate(torch.randint(0, len(WORDS), (5,), generator=source).tolist(), 1):
            tag = ("DET", "NOUN", "VERB", "\x1b[31m[bold]ADJ")[word % 4]
            rows.append(f"{number}\t{WORDS[word]}\t_\t{tag}\t_\t_\t_\t_\t_\t_")
        rows.append("")
    (folder / "ud.conllu").write_text("\n".join(rows) + "\n")
    return folder


def analyse(place, output, *more, capsys, runs=("plain", "robust")):
    given = [place / run for run in runs]
    return sparring(
        "analyse", "neurons", *given, "--corpus", place / "ud.conllu", "--output", output, *SMALL, *more, capsys=capsys
    )


@pytest.fixture(scope="module")
def output(place, tmp_path_factory):
    return tmp_path_factory.mktemp("output") / "neurons"


def test_models_are_analysed_compared_and_shown_without_obeying_the_corpus(place, output, capsys):
    code, out, err = analyse(place, output, capsys=capsys)
    assert code == 0, err
    assert "\x1b[31m" not in out
    assert "[bold]ADJ" in out
    for heading in ("selectivity", "embeddings", "words that excite it", "by chance"):
        assert heading in out
    one = json.loads((output / "plain" / "neurons.json").read_text())
    assert one["oracle"]["accuracy"] > 0.9 > 0.5 > one["majority"]
    assert (one["layers"], one["width"], sum(one["layer_profile"])) == (3, 16, one["minimal"]["size"])
    assert len(one["top"]) == 3
    assert (one["run"], one["corpus"]) == (str(place / "plain"), "ud.conllu")
    comparison = json.loads((output / "comparison.json").read_text())
    assert {model["name"] for model in comparison["models"]} == {"plain", "robust"}
    assert len(comparison["pairs"]) == 1


def test_a_model_that_is_no_classifier_yet_is_analysed_always_alike(place, tmp_path, capsys):
    save(tmp_path / "start", 1)
    model = AutoModel.from_pretrained(tmp_path / "start")
    model.save_pretrained(tmp_path / "start")  # without its head
    for number in (1, 2):
        code, _, err = analyse(
            tmp_path, tmp_path / str(number), "--corpus", place / "ud.conllu", runs=("start",), capsys=capsys
        )
        assert code == 0, err
    first, second = (json.loads((tmp_path / name / "start" / "neurons.json").read_text()) for name in "12")
    assert {**first, "seconds": 0, "peak_memory": 0} == {**second, "seconds": 0, "peak_memory": 0}


def test_the_same_command_keeps_what_is_finished_and_makes_what_is_missing(place, output, capsys, monkeypatch):
    analyse(place, output, capsys=capsys)
    kept = (output / "plain" / "neurons.json").read_bytes()
    missing = output / "robust" / "neurons.json"
    before = json.loads(missing.read_text())
    missing.unlink()
    monkeypatch.setattr("sparring.analyse.activations._rows", lambda *a: pytest.fail("the store was made again"))
    code, out, err = analyse(place, output, "--json", capsys=capsys)
    assert code == 0, err
    assert (output / "plain" / "neurons.json").read_bytes() == kept
    told = json.loads(out)
    assert told["models"]["robust"] == json.loads(missing.read_text())
    measured = ("seconds", "peak_memory")
    assert {k: v for k, v in before.items() if k not in measured} == {
        k: v for k, v in told["models"]["robust"].items() if k not in measured
    }


def test_results_of_other_settings_are_not_overwritten(place, output, capsys):
    analyse(place, output, capsys=capsys)
    code, _, err = analyse(place, output, "--seed", 1, capsys=capsys)
    assert code == 2
    assert "other settings" in err
    assert "choose another --output" in err
    (output / "plain" / "neurons.json").write_text("{")
    code, _, err = analyse(place, output, capsys=capsys)
    assert code == 2
    assert "delete it to make it anew" in err
    (output / "plain" / "neurons.json").unlink()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--column", "upoz"), "did you mean 'upos'?"),
        (("--column", "feats:Case"), "no word of"),
        (("--min-count", 1000), "telling tags apart needs two"),
        (("--aggregation", "middle"), "choose one of 'last', 'first', 'average'"),
        (("--corpus", "missing.conllu"), "cannot read the corpus missing.conllu"),
    ],
)
def test_each_mistake_gives_one_message(place, tmp_path, capsys, more, said):
    code, out, err = analyse(place, tmp_path / "o", *more, capsys=capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "o").exists()


def test_models_that_are_not_there_or_twice_are_named(place, tmp_path, capsys):
    code, _, err = analyse(place, tmp_path / "o", capsys=capsys, runs=("nothing",))
    assert (code, "there is no folder" in err) == (2, True)
    code, _, err = analyse(place, tmp_path / "o", capsys=capsys, runs=("plain", "plain"))
    assert (code, "is named twice" in err) == (2, True)


def test_names_are_as_short_as_tells_the_models_apart():
    assert names_of([Path("runs/plain"), Path("runs/alum")]) == ["plain", "alum"]
    assert names_of([Path("a/1/model"), Path("a/2/model")]) == ["1-model", "2-model"]
    with pytest.raises(SettingError, match="twice"):
        names_of([Path("a"), Path("a")])
