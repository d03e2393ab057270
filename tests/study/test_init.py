"""Study files to begin with, and where a study stands."""

import json
import re
import shutil

import pytest
import yaml
from commands import sparring
from small_study import write_place, write_rows, write_study

from sparring.methods import METHODS
from sparring.study import presets
from sparring.study.plan import plan, write_plan
from sparring.study.presets import PRESETS, quoted
from sparring.study.read import read_study
from sparring.study.records import RECORDS, append_records


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_place(tmp_path_factory.mktemp("init"))
    (folder / "words.conllu").write_text("1\tgood\t_\tADJ\t_\t_\t_\t_\t_\t_\n\n")
    (folder / "corpus.txt").write_text("the film was good\n\na book is bad\n\n" * 20)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def begun(here, preset, *more, capsys):
    code, out, err = sparring("study", "init", preset, "--data", "train.csv", "--model", "./base", *more, capsys=capsys)
    assert code == 0, err
    path = here / f"{preset}.yaml"
    path.write_text(out)
    return path, out, err


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_study_as_it_is(here, preset, capsys):
    path, text, _ = begun(here, preset, "--cross-domain", "other.csv", "--seeds", 2, capsys=capsys)
    study = read_study(path)
    assert study.seeds == (0, 1) and study.models == {"base": "base"}
    assert study.cross_domain["other"].labels == {"0": "neg", "1": "pos"}
    assert text.startswith("# ") and study.baseline in study.arms
    assert {arm.family for arm in study.arms.values()} > {"baseline"}
    small = preset == "first"
    assert study.attacks.calibrated is not small and (len(study.arms) == 2 if small else len(study.arms) >= 8)


@pytest.mark.parametrize("preset", ["first", "embedding-methods"])
def test_quantities_are_not_attacked(here, preset, capsys):
    rows = "".join(f"the film number {i} was good,{i / 10}\n" for i in range(60))
    (here / "scores.csv").write_text("text,label\n" + rows)
    code, out, err = sparring("study", "init", preset, "--data", "scores.csv", "--model", "./base", capsys=capsys)
    assert code == 0, err
    (here / "scores.yaml").write_text(out)
    assert {job.kind for job in plan(here / "scores.yaml").jobs} == {"train", "score"}


def test_other_data_never_have_the_name_of_the_study(here, capsys):
    path, _, _ = begun(here, "first", "--name", "other", "--cross-domain", "other.csv", capsys=capsys)
    assert set(read_study(path).data) == {"other"} and set(read_study(path).cross_domain) == {"other-2"}


def test_the_first_study_needs_no_resources(here, capsys):
    found = plan(begun(here, "first", capsys=capsys)[0])
    assert {(job.arm, job.kind) for job in found.jobs if job.seed == 0} == {
        (arm, kind) for arm in ("standard", "fgm") for kind in ("train", "score", "attack")
    }


def test_the_preset_of_the_comparison_has_its_three_families(here, capsys):
    path, text, _ = begun(here, "altinisik", "--corpus", "words.conllu", capsys=capsys)
    assert "Which family makes a model more robust" in text
    text = path.read_text().replace(re.search(r"neurons: .*\n", text)[0], "")  # whose settings are checked elsewhere
    path.write_text(text)
    study = read_study(path)
    families = {}
    for arm in study.arms.values():
        families.setdefault(arm.family, set()).add(arm.name)
    assert families["augmentation"] >= {"eda", "attack-rows"} and families["input"] == {"a2t", "random"}
    assert families["embedding"] == {"pgd", "vat", "freelb", "alum"} and study.questions
    assert study.arms["attack-rows"].victim == "standard" == study.baseline


def test_all_methods_are_compared_at_equal_epochs_and_passes(here, capsys, monkeypatch):
    monkeypatch.setattr(presets, "ATTACKS", ("deepwordbug",))
    path, _, _ = begun(here, "embedding-methods", capsys=capsys)
    found = plan(path)
    assert set(found.study.arms) == set(METHODS)
    trained = [job for job in found.jobs if job.kind == "train" and job.seed == 0]
    epochs = {job.arm: job.settings.get("epochs", 3.0) for job in trained if job.budget == "passes"}
    assert epochs == {name: pytest.approx(12 / METHODS[name]().passes, abs=1e-5) for name in METHODS}
    assert {job.settings.get("epochs", 3.0) for job in trained if job.budget == "epochs"} == {3.0}


def test_half_of_the_rows_is_half_of_the_training_rows(here, capsys, monkeypatch):
    monkeypatch.setattr(presets, "ATTACKS", ("deepwordbug",))
    found = read_study(begun(here, "cat-intent", capsys=capsys)[0])
    assert found.data["half"].limit == 30 and found.data["full"].limit is None


def test_parts_and_paths_are_found(here, capsys):
    code, _, _ = sparring("study", "init", "cat-intent", "--data", ".", "--output", "deep/one.yaml", capsys=capsys)
    assert code == 0
    data = yaml.safe_load((here / "deep" / "one.yaml").read_text())["data"]["full"]
    assert data == {"train": "../train.csv", "dev": "../dev.csv", "test": "../test.csv"}
    code, out, _ = sparring("study", "init", "cat-intent", "--data", "other.csv", capsys=capsys)
    assert yaml.safe_load(out)["data"]["full"] == {"train": "other.csv", "dev_share": 0.1, "test_share": 0.2}
    assert yaml.safe_load(out)["data"]["half"]["limit"] == 10  # of the 21 that are left
    code, _, err = sparring("study", "init", "cat-intent", "--data", ".", "--output", "deep/one.yaml", capsys=capsys)
    assert code == 2 and "exists already" in err


def test_columns_can_be_named(here, capsys):
    (here / "named.csv").write_text((here / "other.csv").read_text().replace("text,label", "remark,verdict", 1))
    found = ["--data", "named.csv", "--text", "remark", "--label", "verdict", "--output", "sub/named.yaml"]
    code, _, err = sparring("study", "init", "cat-intent", *found, capsys=capsys)
    assert code == 0, err
    data = read_study(here / "sub" / "named.yaml").data["full"]
    assert (data.train, data.text, data.label) == ("../named.csv", "remark", "verdict")


def test_classes_that_cannot_be_guessed_are_left_to_the_user(here, capsys):
    write_rows(here / "odd.csv", 10, 0, names=("dull", "bright"))
    _, out, err = begun(here, "altinisik", "--cross-domain", "odd.csv,other.csv", capsys=capsys)
    assert "to be completed: odd.csv has the classes 'bright', 'dull'" in err
    assert yaml.safe_load(out)["cross_domain"] == {
        "odd": {"data": "odd.csv"},
        "other": {"data": "other.csv", "labels": {"0": "neg", "1": "pos"}},
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["altinisk"], "there is no preset 'altinisk'; did you mean 'altinisik'"),
        (["altinisik", "--data", "missing.csv"], "missing.csv"),
        (["altinisik", "--data", "train.csv", "--cross-domain", "missing.csv"], "missing.csv"),
        (["altinisik", "--data", "train.csv", "--seeds", 0], "--seeds is 0"),
        (["altinisik", "--data", "train.csv", "--corpus", "missing.conllu"], "there is no such file"),
    ],
)
def test_bad_requests_are_named(here, arguments, said, capsys):
    code, out, err = sparring("study", "init", *arguments, capsys=capsys)
    assert code == 2 and said in err and not out


@pytest.mark.parametrize(
    "text", ["a: b", "#x", "no", "1e3", "\x1b[31m", "ü 'x' \"y\" \\ \u2028 \U0001f600", "- x", "line\nend"]
)
def test_any_text_stays_itself_in_a_study_file(text):
    written = quoted(text)
    assert "\n" not in written and yaml.safe_load(f"a: {{b: {written}}}") == {"a": {"b": text}}


# status


def test_the_status_counts_what_is_done_and_says_how_long_the_rest_takes(place, tmp_path, capsys):
    base = shutil.copytree(place, tmp_path / "place")
    path = write_study(base, seeds=[0, 1], arms={"standard": {}, "pgd": {"train": {"method": "pgd"}}})
    code, out, _ = sparring("study", "status", path, "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0 and found["missing"] == 8 and found["unknown"] == 8 and "not been run yet" in found["notes"][0]
    planned = plan(path)
    write_plan(planned)
    lines = []
    for job in planned.jobs:
        if job.seed == 0:
            failed = job.kind == "train" and job.arm == "pgd"
            line = {**job.write(), "job": job.id, "title": job.title, "cost": {"seconds": 60.0, "peak_memory": 1}}
            line |= {"status": "failed", "result": None, "error": {"type": "RunError", "message": "no \x1b[31mroom"}}
            lines.append(line if failed else line | {"status": "done", "result": {}, "error": None})
    append_records(
        planned.folder / RECORDS, [line for line in lines if line["kind"] == "train" or line["arm"] != "pgd"]
    )
    code, out, _ = sparring("study", "status", planned.folder, "--json", capsys=capsys)
    found = json.loads(out)
    kinds = {row["kind"]: row for row in found["kinds"]}
    assert (kinds["train"]["done"], kinds["train"]["failed"], kinds["train"]["missing"]) == (1, 1, 2)
    assert kinds["score"]["missing"] == 3 and len(found["left_out_jobs"]) == 1
    assert found["seconds_left"] == 60 * 4 and found["unknown"] == 0  # not what waits for the failed one
    path.write_text(path.read_text() + "questions: true\n")
    code, out, err = sparring("study", "status", path, capsys=capsys)
    assert code == 0 and "train" in out and "4 min" in out
    assert "failed: toy: pgd, seed 0: train: RunError: no \\x1b[31mroom" in err and "has changed since" in err


def test_a_study_that_is_not_there_is_named(tmp_path, capsys):
    code, _, err = sparring("study", "status", tmp_path / "none.yaml", capsys=capsys)
    assert code == 2 and "none.yaml: there is no such study; name its folder or its file" in err
    code, _, err = sparring("study", "status", tmp_path, capsys=capsys)
    assert code == 2 and "holds no study" in err
