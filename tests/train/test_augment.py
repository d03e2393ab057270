"""More training rows before training: what is made of which row, the file, and going on after a kill."""

import csv
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "attack")]

from commands import sparring
from fakes import Lexicon, Scores
from puppets import exit_code, forked, handset, random_model
from transformers import AutoModelForMaskedLM

from sparring.attack.engine import alone
from sparring.attack.masked_lm import MaskedLM
from sparring.attack.text import Text
from sparring.data.load import load
from sparring.errors import DataError, RunError, SettingError
from sparring.train.augment import Augment, augment
from sparring.train.resample import resample
from sparring.train.word_operations import OPERATIONS

LINES = [("the film was good", "pos"), ("a great plot, and a fine book", "pos"), ("the film was awful", "neg")]
LINES += [("a bad book", "neg"), ("fine", "pos"), ("a very poor and dull film", "neg")]
SYNONYMS = Lexicon({"film": ["book", "plot"], "good": ["great"], "was": ["is"]})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A victim, data whose text column has an unusual name, and a file of synonyms."""
    folder = tmp_path_factory.mktemp("augment")
    model, tokenizer = handset(bias=0.02)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    with (folder / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("phrase", "verdict"), *LINES])
    words = {"good": ["fine"], "film": ["book"], "bad": ["poor"], "awful": ["bad"], "plot": ["film"], "dull": ["poor"]}
    (folder / "synonyms.json").write_text(json.dumps(words))
    return folder


def job(place, output, *recipes, **given):
    named = {"text": ("phrase",), "label": "verdict", "options": {"synonyms": str(place / "synonyms.json")}}
    return Augment(data=str(place / "data.csv"), output=output, recipes=recipes or ("random",), **named | given)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# operations


def operated(name, text, seed=0, alpha=0.3):
    return alone(OPERATIONS[name](Text.of(text), SYNONYMS, alpha, np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_operations_do_what_they_are_called(seed):
    text = "the film was very good, I say"  # 7 words: 2 edits
    assert sorted(operated("swap", text, seed).slots) == sorted(Text.of(text).slots)
    assert set(operated("synonym", text, seed).fields[0].split()) & {"book", "plot"}
    assert "great," in operated("synonym", text, seed).fields[0]  # "was" is a stop word, and stays
    assert " was " in operated("synonym", text, seed).fields[0]
    longer = operated("insert", text, seed).fields[0].split()
    assert len(longer) == 9 and "great" in longer and {"book", "plot"} & set(longer)
    deleted = operated("delete", text, seed, 0.2)
    assert 0 < len(deleted.changed) < 7 and {deleted.slots[i] for i in deleted.changed} == {""}
    assert operated("swap", text, seed) == operated("swap", text, seed)


def test_operations_change_nothing_where_nothing_can_be_changed():
    for name in OPERATIONS:
        assert operated(name, "...!") is None
    assert operated("swap", "film film") is None and operated("synonym", "unknown words") is None
    assert operated("delete", "film", alpha=1.0) is None  # one word stays
    assert len(operated("delete", "a b c d", alpha=1.0).fields[0].split()) == 1


def test_resampling_draws_other_words_by_their_probability():
    lm = MaskedLM(*random_model("bert", task=AutoModelForMaskedLM), half=False)
    text = Text.of("the film was good and the plot was not bad")
    draws = [alone(resample(text, lm, 0.3, np.random.default_rng(seed))) for seed in range(6)]
    assert all(len(draw.changed) == 3 for draw in draws) and len(set(draws)) > 3
    assert draws[0] == alone(resample(text, lm, 0.3, np.random.default_rng(0)))
    assert alone(resample(Text.of("..."), lm, 0.3, np.random.default_rng(0))) is None


def test_resampling_never_draws_the_old_word_and_the_others_as_often_as_they_are_likely():
    lm = SimpleNamespace(fill=None, word=lambda piece, spaced: piece)
    lm.fill = Scores(lambda item: [("Film", 0.9), ("book", 0.08), ("plot", 0.02)], name="masked words")
    draws = [alone(resample(Text.of("film"), lm, 1.0, np.random.default_rng(seed))) for seed in range(300)]
    counts = Counter(draw.fields[0] for draw in draws)
    assert set(counts) == {"book", "plot"} and 210 <= counts["book"] <= 270  # 240, give or take four deviations


# the file


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_the_file_is_ordinary_data_with_a_provenance(place, tmp_path, suffix):
    output = tmp_path / f"more.{suffix}"
    record = augment(job(place, output, "random", "swap", ratio=1.5))
    found = load(str(output))
    assert found.columns == ("phrase", "verdict") and found.label_names == ("neg", "pos")
    assert found.texts[:6] == tuple((text,) for text, _ in LINES)
    assert len(found.texts) == sum(record["rows"].values()) and record["rows"]["original"] == 6
    assert set(record["rows"]) == {"original", "random", "swap"}
    assert record["label_counts"]["pos"] == sum(found.labels)
    sidecar = yaml.safe_load((tmp_path / f"more.{suffix}.yaml").read_text())
    assert sidecar["rows"] == record["rows"] and sidecar["seed"] == 0 and len(sidecar["sha256"]) == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"more.{suffix}", f"more.{suffix}.yaml"]


def test_a_row_keeps_its_label_and_says_where_it_came_from(place, tmp_path):
    augment(job(place, tmp_path / "a.csv", "synonym", "deepwordbug", model=str(place / "model")))
    rows = table(tmp_path / "a.csv")
    new = [row for row in rows if row["provenance"] != "original"]
    assert {row["provenance"] for row in new} == {"synonym", "deepwordbug"}
    for row in new:
        text, label = LINES[int(row["source_row"])]
        assert row["verdict"] == label and row["phrase"] != text
    broken = [row for row in new if row["provenance"] == "deepwordbug"]
    model, tokenizer = handset(bias=0.02)
    for row in broken:
        answer = int(model(**tokenizer(row["phrase"], return_tensors="pt")).logits.argmax())
        assert ("neg", "pos")[answer] != row["verdict"]


def test_the_victim_may_give_the_label_and_failed_attacks_may_be_kept(place, tmp_path):
    given = {"model": str(place / "model")}
    augment(job(place, tmp_path / "a.csv", "deepwordbug", labels="victim", **given))
    broken = [row for row in table(tmp_path / "a.csv") if row["provenance"] == "deepwordbug"]
    assert broken
    for row in broken:
        assert row["verdict"] != LINES[int(row["source_row"])][1]
    few, more = (
        augment(job(place, tmp_path / f"{keep}.csv", "deepwordbug", keep=keep, **given))
        for keep in ("successes", "all")
    )
    assert sum(more["rows"].values()) > sum(few["rows"].values())
    assert [one["successes"] for one in few["recipes"]] == [one["successes"] for one in more["recipes"]]
    assert len(few["victim"].split()[-1]) == 16 and few["recipes"][0]["recipe"] == "deepwordbug"


def test_the_same_seed_makes_the_same_file_and_another_one_does_not(place, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        augment(job(place, tmp_path / f"{name}.csv", "random", ratio=0.5, seed=seed))
    first, again, other = (table(tmp_path / f"{name}.csv") for name in "abc")
    assert first == again != other
    assert sum(row["provenance"] == "random" for row in first) <= 3


def test_a_recipe_may_have_a_ratio_of_its_own(place, tmp_path, capsys):
    recipes = ("random:2", "deepwordbug:0.5", "swap")
    record = augment(job(place, tmp_path / "a.csv", *recipes, ratio=1.5, model=str(place / "model")))
    assert [one["tried"] for one in record["recipes"]] == [12, 3, 9]
    assert [one["ratio"] for one in record["recipes"]] == [2.0, 0.5, 1.5]
    assert set(record["rows"]) <= {"original", "random", "deepwordbug", "swap"}
    augment(job(place, tmp_path / "b.csv", "swap:0.5"))
    augment(job(place, tmp_path / "c.csv", "swap", ratio=0.5))
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()
    base = ["augment", "--data", place / "data.csv", "--text", "phrase", "--label", "verdict", "--json"]
    code, out, err = sparring(*base, "--recipe", "swap:2, delete", "--output", tmp_path / "d.csv", capsys=capsys)
    assert code == 0, err
    assert [one["tried"] for one in json.loads(out)["recipes"]] == [12, 6]


def test_a_call_killed_in_an_attack_goes_on_and_ends_in_the_same_file(place, tmp_path):
    given = {"model": str(place / "model")}
    augment(job(place, tmp_path / "whole.csv", "swap", "deepwordbug", **given))

    def killed():
        def progress(name, done, total):
            if name == "deepwordbug" and done == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        augment(job(place, tmp_path / "a.csv", "swap", "deepwordbug", **given), progress=progress)

    assert exit_code(forked(killed)) == 137
    assert not (tmp_path / "a.csv").exists()
    assert len((tmp_path / "a.csv.parts" / "deepwordbug.jsonl").read_text().splitlines()) == 4
    with pytest.raises(RunError, match="another attack"):
        augment(job(place, tmp_path / "a.csv", "deepwordbug", seed=1, **given))
    augment(job(place, tmp_path / "a.csv", "swap", "deepwordbug", **given))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "a.csv.parts").exists()


# a premise that stays

PAIRS = [(f"a {noun} was shown", text, label) for noun in ("film", "book") for text, label in LINES]


@pytest.fixture(scope="module")
def pairs(place):
    with (place / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("premise", "hypothesis", "label"), *PAIRS])
    return place / "pairs.csv"


def test_no_way_touches_a_frozen_column(place, pairs, tmp_path):
    ways = (*OPERATIONS, "deepwordbug")
    given = {"data": str(pairs), "text": ("premise", "hypothesis"), "label": "label", "model": str(place / "model")}
    given |= {"recipes": ways, "alpha": 0.5, "options": {"synonyms": str(place / "synonyms.json")}}
    for name, frozen in (("free", ()), ("kept", (0,))):
        record = augment(Augment(output=tmp_path / f"{name}.csv", frozen=frozen, **given))
    touched = {name: set() for name in ("free", "kept")}
    for name, found in touched.items():
        for row in table(tmp_path / f"{name}.csv"):
            before = PAIRS[int(row["source_row"])]
            if row["premise"] != before[0]:
                found.add(row["provenance"])
            elif row["provenance"] != "original":
                assert row["hypothesis"] != before[1]
    assert touched["free"] >= set(OPERATIONS) and not touched["kept"]
    assert set(record["rows"]) == {"original", *ways} and record["frozen"] == [0]


def test_a_frozen_column_that_is_not_there_is_named_before_anything_is_made(place, pairs, tmp_path, capsys):
    base = ["--data", pairs, "--model", place / "model"]
    more = ["augment", *base, "--recipe", "swap", "--output", tmp_path / "a.csv"]
    online = ["train", *base, "--online", "deepwordbug", "--output", tmp_path / "run"]
    for command in (more, online):
        code, _, err = sparring(*command, "--frozen", 2, capsys=capsys)
        assert code == 2 and "frozen is 2; the texts have the columns 0 to 1" in err
    code, _, err = sparring(*more, "--frozen", 0, "--frozen", 1, capsys=capsys)
    assert code == 2 and "every text column" in err
    assert list(tmp_path.iterdir()) == []


def test_training_rows_are_attacked_with_the_premise_frozen(place, pairs, tmp_path, capsys):
    run = ["train", "--data", pairs, "--model", place / "model", "--output", tmp_path / "run", "--frozen", 0]
    more = ["--online", "deepwordbug", "--share", 1, "--epochs", 2, "--precision", "fp32", "--json"]
    code, _, err = sparring(*run, *more, capsys=capsys)
    assert code == 0, err
    made = json.loads((tmp_path / "run" / "adversarial" / "epoch-1.json").read_text())
    assert made["texts"] and made["head"]["frozen"] == [0]
    for row, (premise, hypothesis) in made["texts"]:
        assert premise == PAIRS[row][0] and hypothesis != PAIRS[row][1]
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["settings"]["frozen"] == "0"


# mistakes


def test_mistakes_are_named(place, tmp_path):
    victim = {"model": str(place / "model")}
    output = tmp_path / "a.csv"
    for given, match in (
        ({"recipes": ("textfoler",)}, "did you mean 'textfooler'"),
        ({"recipes": ("deepwordbug",)}, "--model"),
        ({"labels": "victim"}, "--model"),
        ({"recipes": ("deepwordbug",), "ratio": 2.0, **victim}, "one text a row"),
        ({"ratio": 0.0}, "ratio is 0"),
        ({"recipes": ("random:2", "deepwordbug:2"), **victim}, "of deepwordbug, ratio is at most 1, not 2"),
        ({"recipes": ("swap:0", "delete")}, "swap: ratio is 0"),
        ({"recipes": ("swap:much",)}, "a ratio follows the colon, such as swap:0.5"),
        ({"recipes": ("swap:2", "swap")}, "each recipe once"),
        ({"output": tmp_path / "a.xlsx"}, "suffix"),
    ):
        with pytest.raises(SettingError, match=match):
            Augment(**{"data": str(place / "data.csv"), "output": output, **given})
    (tmp_path / "no.json").write_text(json.dumps({"none": ["nothing"], "nothing": ["none"]}))
    with pytest.raises(DataError, match="synonym made no new text out of 6 rows"):
        augment(job(place, output, "synonym", options={"synonyms": str(tmp_path / "no.json")}))
    (tmp_path / "one.json").write_text(json.dumps({"awful": ["bad"], "bad": ["awful"]}))
    with pytest.raises(DataError, match="no row of the class 'pos' is left"):
        augment(job(place, output, "synonym", originals=False, options={"synonyms": str(tmp_path / "one.json")}))
    assert not output.exists() and sorted(p.name for p in tmp_path.iterdir()) == ["no.json", "one.json"]
    output.write_text("")
    with pytest.raises(RunError, match="exists already"):
        augment(job(place, output))


def test_the_command_makes_a_file_that_train_reads(place, tmp_path, capsys):
    base = ["augment", "--data", place / "data.csv", "--text", "phrase", "--label", "verdict", "--seed", 3]
    more = ["--recipe", "swap,deepwordbug", "--model", place / "model", "--output", tmp_path / "a.parquet"]
    code, out, err = sparring(*base, *more, capsys=capsys)
    assert code == 0, err
    assert "deepwordbug" in out and "labels: neg" in out and "sparring train --data" in out
    run = ["train", "--model", place / "model", "--data", tmp_path / "a.parquet", "--output", tmp_path / "run"]
    online = ["--online", "deepwordbug", "--epochs", 2, "--precision", "fp32", "--share", 1, "--json"]
    code, out, err = sparring(*run, *online, capsys=capsys)
    assert code == 0, err
    record = json.loads(out)["online"]
    assert record["attack"] == "deepwordbug" and [one["epoch"] for one in record["epochs"]] == [1]
    assert 0 < record["share_of_time"] < 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any("online_success_rate" in line for line in lines)
    code, out, err = sparring(*base, "--recipe", "nothing", "--output", tmp_path / "b.csv", capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and "'nothing'" in err
    clean = ["train", "--data", tmp_path / "a.parquet", "--online", "a2t", "--epochs", 1, "--output", tmp_path / "r2"]
    code, out, err = sparring(*clean, capsys=capsys)
    assert code == 2 and "would never attack" in err and not (tmp_path / "r2").exists()
