"""The plan of a study: which jobs, what decides them, what is shared, what is found wrong before anything starts."""

import json
import re
import shutil
from pathlib import Path

import pytest
from families import Run, batch, tiny
from small_study import SMALL, write_place, write_rows, write_study

from sparring.data.load import load
from sparring.errors import DataError, ModelError, RunError, SettingError
from sparring.methods import METHODS
from sparring.study.block import Block
from sparring.study.check import augment_of
from sparring.study.options import Study
from sparring.study.perform import Task
from sparring.study.plan import plan, read_plan, write_plan
from sparring.study.read import read_study, study_of
from sparring.study.sources import drawn, read_cross, read_part

PGD = {"train": {"method": "pgd", "settings": {"radius": "0.1x", "steps": 2}}}
EDA = {"augment": {"recipes": ["swap"], "ratio": 0.5}}
ROWS = {"augment": {"recipes": ["random-characters"], "ratio": 0.5, "victim": "standard"}}
EVALUATE = {"attacks": {"recipes": ["deepwordbug"], "examples": 10}, "radius": {"radii": ["0x", 0.1], "examples": 5}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_place(tmp_path_factory.mktemp("plan"))


def planned(place, **more):
    return plan(write_study(place, **more))


def of(found, kind, arm=None, **more):
    jobs = [job for job in found.jobs if job.kind == kind and arm in (None, job.arm)]
    return [job for job in jobs if all(getattr(job, name) == value for name, value in more.items())]


# passes


@pytest.mark.parametrize("name", METHODS)
def test_the_passes_of_a_method_are_those_that_it_makes(name):
    cases = [{}]
    cases += [{"steps": 4}] if name in ("pgd", "freelb", "smart", "alum") else []
    cases += [{"dropout": "off_inner"}] if name in ("vat", "smart", "alum") else []
    cases += {"smart": [{"proximal": 0.0}, {"variant": "released"}], "mat": [{"delta_samples": 2}]}.get(name, [])
    for given in cases:
        run = Run(name, tiny("bert", dropout=0.1), **given)
        for _ in range(2):  # SMART's teacher is there from the first step on
            run.step(batch())
        assert run.view.passes == 2 * run.method.passes, given


# what is planned


def test_needs_come_first_and_every_model_is_measured(place):
    arms = SMALL["arms"] | {"eda": EDA, "pgd": PGD, "rows": ROWS}
    cross = {"other": {"data": "other.csv", "labels": {"0": "neg", "1": "pos"}, "limit": 20}}
    found = planned(place, arms=arms, seeds=[3, 4], cross_domain=cross, evaluate=EVALUATE | {"transfer": ["standard"]})
    seen = set()
    for job in found.jobs:
        assert set(job.needs) <= seen, job.title
        seen.add(job.id)
    assert len(seen) == len(found.jobs)
    for arm in arms:
        for seed in (3, 4):
            (model,) = of(found, "train", arm, seed=seed)
            measured = [job for job in found.jobs if job.arm == arm and job.needs[:1] == (model.id,)]
            kinds = sorted((job.kind, job.name) for job in measured if job.kind not in ("augment", "transfer"))
            assert kinds == [("attack", "deepwordbug"), ("curve", "radius"), ("score", "other"), ("score", "toy")]
    (victim,) = of(found, "train", "standard", seed=3)
    (rows,) = of(found, "augment", "rows", seed=3)
    assert rows.needs == (victim.id,) and of(found, "augment", "eda", seed=3)[0].needs == ()
    assert of(found, "train", "rows", seed=3)[0].needs == (rows.id,)
    assert {job.arm for job in of(found, "transfer")} == {"eda", "pgd", "rows"}
    (asked,) = of(found, "transfer", "pgd", seed=4)
    (source,) = of(found, "attack", "standard", seed=4)
    assert asked.needs == (of(found, "train", "pgd", seed=4)[0].id, source.id)


def test_an_arm_that_says_the_defaults_is_the_same_work(place):
    arms = {
        "standard": {},
        "same": {"family": "input", "train": {"method": "standard", "weight_decay": 0.01}},
        "pgd": PGD,
        "written-out": {"train": {"method": "pgd", "settings": {"radius": "0.1x", "steps": 2, "dropout": "fresh"}}},
    }
    found = planned(place, arms=arms)
    ids = {arm: of(found, "train", arm)[0].id for arm in arms}
    assert ids["standard"] == ids["same"] and ids["pgd"] == ids["written-out"] and len(set(ids.values())) == 2
    assert of(found, "train", "pgd")[0].settings["settings"] == {"steps": 2}


def test_rows_of_an_arm_may_have_a_ratio_each_and_leave_columns_alone():
    found = augment_of({"recipes": ["random:2", "deepwordbug:0.5"], "frozen": [0]}, Path(), model="standard")
    assert found.ratios == {"random": 2.0, "deepwordbug": 0.5} and found.frozen == (0,)
    assert augment_of({"recipes": "random", "ratio": 3}, Path()).frozen == ()
    with pytest.raises(SettingError, match="premise"):
        augment_of({"recipes": ["random"], "frozen": "premise"}, Path())


def test_at_equal_passes_costly_methods_get_fewer_epochs(place):
    arms = SMALL["arms"] | {"pgd": PGD, "eda": EDA, "a2t": {"train": {"online": "random", "share": 0.5}}}
    without = {"without": "part_of_speech,similarity"}
    arms["a2t"]["train"] |= without | {"synonyms": str(synonyms(place))}
    found = planned(place, arms=arms, budgets={"epochs": 2, "passes": 6})
    epochs = {(j.arm, j.budget): j.settings.get("epochs") for j in of(found, "train")}
    assert {epochs[arm, "epochs"] for arm in arms} == {2.0}
    assert epochs["standard", "passes"] == 6 and epochs["pgd", "passes"] == 2
    assert of(found, "train", "eda", budget="passes")[0].settings["rounds"] == 6  # how many rows is known later
    epoch = epochs["a2t", "passes"]  # one clean epoch, then 1.5 passes an epoch
    assert 1 + 1.5 * (epoch - 1) == pytest.approx(6)
    late = {"train": PGD["train"] | {"adversary_from": 0.5}}  # one pass a step in the first half, three in the second
    found_late = planned(place, arms=SMALL["arms"] | {"late": late}, budgets={"passes": 6})
    assert of(found_late, "train", "late")[0].settings.get("epochs", 3.0) == 3
    same = [of(found, "train", "pgd", budget=budget)[0] for budget in ("epochs", "passes")]
    assert same[0].id == same[1].id and same[0] != same[1]


def synonyms(place):
    path = place / "synonyms.json"
    path.write_text(json.dumps({"good": ["fine"], "bad": ["poor"]}))
    return path


def test_everything_that_decides_a_result_is_in_its_identity(place, tmp_path):
    base = shutil.copytree(place, tmp_path / "place")
    arms = {"standard": {}, "rows": ROWS}
    first = planned(base, arms=arms, evaluate=EVALUATE)

    def changed(**more):
        second = planned(base, **{"arms": arms, "evaluate": EVALUATE, **more})
        pairs = zip(first.jobs, second.jobs, strict=True)
        return {job.kind for job, other in pairs if job.id != other.id}

    assert changed() == set()
    assert changed(name="other", questions=True, output="elsewhere") == set()
    everything = {"train", "augment", "score", "attack", "curve"}
    assert changed(train=SMALL["train"] | {"learning_rate": 0.01}) == everything
    more = EVALUATE | {"attacks": EVALUATE["attacks"] | {"budget": 50}}
    assert changed(evaluate=more) == {"attack"}
    assert changed(evaluate=EVALUATE | {"radius": {"radii": [0.2], "examples": 5}}) == {"curve"}
    write_rows(base / "test.csv", 40, 9)
    assert changed() == {"score", "attack", "curve"}
    write_rows(base / "train.csv", 61, 0)
    assert changed() == everything
    (base / "data").mkdir()
    for name in ("train.csv", "dev.csv", "test.csv"):
        shutil.copy(place / name, base / "data" / name)
    moved = {"toy": {part: f"data/{part}.csv" for part in ("train", "dev", "test")}}
    assert changed(data=moved) == set()  # what is read counts, not where it lies


def test_the_same_rows_are_measured_for_every_arm_and_seed(place):
    evaluate = {"attacks": {"recipes": ["deepwordbug"], "examples": 10}}
    found = planned(place, arms=SMALL["arms"] | {"pgd": PGD}, seeds=[0, 1], evaluate=evaluate)
    assert len({job.data["test"] for job in of(found, "attack")}) == 1
    everything = load(place / "test.csv", split="test")
    few, more = drawn(everything, 10), drawn(everything, 20)
    assert of(found, "attack")[0].data["test"] == few.digest
    assert set(few.texts) < set(more.texts) and few.texts == tuple(t for t in everything.texts if t in set(few.texts))


def test_a_part_of_one_file_can_be_held_out(place):
    data = {"toy": {"train": "train.csv", "dev_share": 0.1, "test_share": 0.25, "limit": 30}}
    spec = study_of(Block.of(SMALL | {"data": data}, "x")).data["toy"]
    train, dev, test = (read_part(spec, part, place) for part in ("train", "dev", "test"))
    assert [len(rows.texts) for rows in (train, dev, test)] == [30, 6, 15]
    whole = sorted(load(place / "train.csv").texts)
    parts = [read_part(type(spec)(**{**vars(spec), "limit": None}), part, place) for part in ("train", "dev", "test")]
    assert sorted(text for rows in parts for text in rows.texts) == whole
    assert set(train.texts) <= set(parts[0].texts)
    assert {job.data["test"] for job in of(planned(place, data=data), "score")} == {test.digest}


@pytest.mark.parametrize("given", [{"dev_share": 0.25}, {"dev": "dev.csv"}])
def test_fewer_rows_than_there_are_can_be_held_out(place, given):
    data = {"toy": {"train": "train.csv", "test": "test.csv", **given}}
    few = {"toy": data["toy"] | {"dev_limit": 4}}
    spec, less = (study_of(Block.of(SMALL | {"data": each}, "x")).data["toy"] for each in (data, few))
    every, some = (read_part(each, "dev", place) for each in (spec, less))
    assert len(some.texts) == 4 < len(every.texts) and set(some.texts) < set(every.texts)
    for part in ("train", "test"):
        assert read_part(less, part, place).digest == read_part(spec, part, place).digest
    assert {job.data["dev"] for job in of(planned(place, data=few), "train")} == {some.digest}


def test_a_saved_folder_has_its_own_splits(place, tmp_path):
    from datasets import Dataset, DatasetDict

    parts = {"train": "train.csv", "validation": "dev.csv", "test": "test.csv"}
    saved = {part: Dataset.from_csv(str(place / name), cache_dir=str(tmp_path)) for part, name in parts.items()}
    DatasetDict(saved).save_to_disk(place / "saved")
    spec = study_of(Block.of(SMALL | {"data": {"toy": {"train": "saved"}}}, "x")).data["toy"]
    found = [read_part(spec, part, place) for part in ("train", "dev", "test")]
    assert [rows.digest for rows in found] == [load(place / name, split="test").digest for name in parts.values()]


def test_classes_of_another_domain_are_mapped_by_name(place):
    like = load(place / "train.csv")
    spec = {"data": "other.csv", "labels": {"0": "pos", "1": "neg"}}
    cross = lambda **more: study_of(Block.of(SMALL | {"cross_domain": {"o": spec | more}}, "x")).cross_domain["o"]  # noqa: E731
    found, plain = read_cross(cross(), place, like), load(place / "other.csv", split="test")
    assert found.texts == plain.texts and found.labels == tuple(1 - label for label in plain.labels)
    only = read_cross(cross(labels={"0": None, "1": "pos"}), place, like)
    assert set(only.labels) == {1} and len(only.texts) == 15
    assert len(read_cross(cross(limit=7), place, like).texts) == 7
    for labels, said in (
        ({"0": "neg"}, "which of ours '1' is"),
        ({"0": "neg", "1": "positive"}, "the models do not know"),
        ({"0": "neg", "1": "pos", "2": "pos"}, "a class that does not occur"),
    ):
        with pytest.raises(DataError, match=said):
            read_cross(cross(labels=labels), place, like)


def test_mixtures_bring_their_baselines_and_stay_out_of_equal_passes(place):
    arms = SMALL["arms"] | {
        "mix": {"mix": {"attacks": ["random-characters"]}},
        "union": {"part": {"of": "mix", "name": "union"}},
    }
    found = planned(place, arms=arms, budgets={"epochs": 2, "passes": 4})
    (made,) = of(found, "mix", "mix")
    assert made.settings["baselines"] == "union" and made.settings["epochs"] == 2
    assert made.settings["max_length"] == 32 and "learning_rate" not in made.settings
    (same,) = of(found, "mix", "union")
    assert same.id == made.id and same.family == "mixture"
    (score,) = of(found, "score", "union")
    assert score.settings["part"] == "union" and score.id != of(found, "score", "mix")[0].id
    assert {job.arm for job in found.jobs if job.budget == "passes"} == {"standard"}
    assert any("'mix' is left out at equal passes" in note for note in found.notes)


def test_a_pre_trained_start_is_shared_by_the_arms_that_name_it(place):
    (place / "corpus.txt").write_text("the film was good\n\na book is bad\n\n" * 20)
    pretrain = {"corpus": "corpus.txt", "steps": 2, "method": "alum", "length": 16}
    arms = {"a": {"pretrain": pretrain}, "b": {"pretrain": pretrain, "train": PGD["train"]}}
    found = planned(place, arms=arms)
    first, second = of(found, "pretrain")
    assert first.id == second.id and [job.needs for job in of(found, "train")] == [(first.id,)] * 2
    assert {arm.family for arm in found.study.arms.values()} == {"pre-training"}


def test_a_mixture_needs_held_out_rows_and_its_part_may_be_a_victim(place):
    arms = {
        "mix": {"mix": {"attacks": ["random-characters"]}},
        "union": {"part": {"of": "mix", "name": "union"}},
        "rows": {"augment": ROWS["augment"] | {"victim": "union"}},
    }
    found = planned(place, arms=arms)
    (rows,) = of(found, "augment", "rows")
    assert rows.settings["victim_part"] == "union" and rows.needs == (of(found, "mix", "mix")[0].id,)
    with pytest.raises(SettingError, match="calibrated on held-out rows"):
        planned(place, arms=arms, data={"toy": {"train": "train.csv", "test": "test.csv"}})


def test_how_often_work_is_saved_and_shown_is_no_other_work(place):
    evaluate = EVALUATE | {"keep_examples": 3}
    first = planned(place, evaluate=evaluate)
    second = planned(place, train=SMALL["train"] | {"save_every": 7, "keep": 1}, evaluate=EVALUATE)
    assert [job.id for job in first.jobs] == [job.id for job in second.jobs]


# plan.json


def test_a_plan_is_written_and_read_without_data(place, tmp_path):
    base = shutil.copytree(place, tmp_path / "place")
    found = planned(base, arms=SMALL["arms"] | {"rows": ROWS}, evaluate=EVALUATE, budgets={"epochs": 1, "passes": 2})
    write_plan(found)
    for path in base.glob("*.csv"):
        path.unlink()
    again = read_plan(base / "studies" / "small")
    assert again.jobs == found.jobs and again.study == found.study and isinstance(again.study, Study)
    assert again.root.resolve() == base.resolve()
    shutil.move(base, tmp_path / "moved")
    assert read_plan(tmp_path / "moved" / "studies" / "small").root.resolve() == (tmp_path / "moved").resolve()


def test_an_output_folder_behind_a_link_and_another_spelling_lead_to_the_same_files(place, tmp_path, monkeypatch):
    base = shutil.copytree(place, tmp_path / "place")
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (base / "studies").symlink_to(tmp_path / "disk" / "deep")
    found = planned(base)
    write_plan(found)
    assert read_plan(base / "studies" / "small").root == base.resolve() == found.root
    monkeypatch.chdir(base)
    again = read_plan(Path("../place/studies/small"))
    assert again.root == base.resolve()
    job = again.jobs[0]
    works = {Task.of(job, one, [], None).work for one in (found, again)}
    assert works == {(tmp_path / "disk" / "deep" / "small" / "work" / job.id).resolve()}


def test_a_damaged_plan_and_the_folder_of_another_study_are_named(place, tmp_path):
    base = shutil.copytree(place, tmp_path / "place")
    write_plan(planned(base))
    with pytest.raises(RunError, match="holds the study 'small', not 'other'"):
        write_plan(planned(base, name="other", output="studies/small"))
    path = base / "studies" / "small" / "plan.json"
    content = json.loads(path.read_text())
    content["jobs"][0]["seed"] = 7
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"damaged.*identity"):
        read_plan(path.parent)
    path.write_text("{")
    with pytest.raises(RunError, match="damaged"):
        read_plan(path.parent)
    write_plan(planned(base))  # mends it
    assert read_plan(path.parent).jobs
    with pytest.raises(RunError, match="holds no study"):
        read_plan(base)


def test_the_documented_file_is_a_study(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text(encoding="utf-8")
    path = tmp_path / "study.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1], encoding="utf-8")
    study = read_study(path)
    assert len(study.arms) == 8 and study.budgets == {"epochs": 3, "passes": 9} and study.neurons.arms
    assert study_of(Block.of(json.loads(json.dumps(study.write())), "plan.json")) == study


# bad input

HEAD = "name: small\nmodels: {tiny: base}\ndata:\n  toy: {train: train.csv, test: test.csv}\n"


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        ("arms: {a: {}}\nsedes: [0]\n", 6, "no setting 'sedes'; did you mean 'seeds'"),
        ("arms:\n  one: {}\n  one: {}\n", 7, "'one' stands twice in arms, first in line 6"),
        ("arms:\n  a:\n    trian: {}\n", 7, "no setting 'trian' in arms, a; did you mean 'train'"),
        ("arms:\n  a:\n    train:\n      learning_rat: 1\n", 8, "did you mean 'learning_rate'"),
        ("arms:\n  a:\n    train:\n      method: pgd\n      settings:\n        radus: 1\n", 10, "you mean 'radius'"),
        ("arms:\n  a:\n    train:\n      epochs: 2\n      method: pdg\n", 9, "no method 'pdg'; did you mean 'pgd'"),
        ("arms:\n  a: {train: {batch_size: 0}}\n", 6, "'batch_size' is 0; it must be at least 1"),
        ("arms:\n  a: {train: {seed: 3}}\n", 6, "'seed' cannot be set in arms, a, train"),
        ("arms:\n  a: {train: {fsdp: true}}\n", 6, "jobs of a study are single processes"),
        ("arms:\n  a: {pretrain: {corpus: c.txt, fsdp: true}}\n", 6, "jobs of a study are single processes"),
        ("arms:\n  a: {family: embeding}\n", 6, "no family 'embeding'; did you mean 'embedding'"),
        ("arms:\n  a: {train: {online: a2tt}}\n", 6, "no online attack 'a2tt'; did you mean 'a2t'"),
        ("arms:\n  a: {augment: {recipes: [rando]}}\n", 6, "did you mean 'random'"),
        ("arms:\n  a: {augment: {recipes: [random], ratios: 1}}\n", 6, "no setting 'ratios'"),
        ("arms:\n  a: {augment: {recipes: [pwws]}}\n", 6, "pwws needs a victim"),
        ("arms:\n  a: {augment: {recipes: [pwws], victim: b}}\n", 6, "no other arm 'b'"),
        ("arms:\n  a: {mix: {attacks: pws}}\n", 6, "did you mean 'pwws'"),
        ("arms:\n  a: {part: {of: a, name: union}}\n", 6, "'a' is no arm with `mix`"),
        ("arms: {a: {}}\nbaseline: b\n", 6, "'baseline' is 'b', which is no arm"),
        ("arms: {a: {}}\nevaluate:\n  attacks: {recipes: [textfoler]}\n", 7, "did you mean 'textfooler'"),
        ("arms: {a: {}}\nevaluate:\n  attacks: {recipes: [pwws], without: [lexem]}\n", 7, "did you mean 'lexeme'"),
        ("arms: {a: {}}\nevaluate:\n  radius:\n    step: 3\n", 8, "did you mean 'steps'"),
        ("arms: {a: {}}\nevaluate:\n  transfer: [a]\n", 7, "there is no `attacks`"),
        ("arms: {a: {}}\nbudgets: [passes]\n", 6, "how many passes"),
        ("arms: {a: {}}\nbudgets: {epochs: 0}\n", 6, "'epochs' is 0; give a number above 0"),
        ("arms: {a: {train: {epochs: 5}}}\nbudgets: {epochs: 3}\n", 5, "`budgets` makes all arms equal"),
        ("arms:\n  a: {mix: {attacks: pwws, epochs: 5}}\nbudgets: {epochs: 3}\n", 6, "`budgets` makes all arms equal"),
        ("arms: {a: {}}\nseeds: [0, 0]\n", 6, "each number once"),
        ("arms: {a: {}}\nseeds: [0, x\n", 7, "not valid YAML"),
        ("arms: {a: {}}\ntrain: {learning_rate: .inf}\n", 6, "not a finite number"),
        ("arms: {a: !!python/name:os.system {}}\n", 5, "not allowed"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_the_way_out(place, lines, line, said):
    path = place / "bad.yaml"
    path.write_text(HEAD + lines)
    with pytest.raises(SettingError) as error:
        plan(path)
    assert f"bad.yaml, line {line}: " in str(error.value)
    assert said in str(error.value)


def paths_of(values, *before):
    for key, value in values.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths_of(value, *before, key)


@pytest.mark.slow
def test_no_value_whatever_its_kind_is_worse_than_an_error(place):
    whole = SMALL | {
        "seeds": [0],
        "cross_domain": {"o": {"data": "other.csv", "labels": {"0": "neg", "1": "pos"}, "for": ["toy"], "limit": 3}},
        "budgets": {"epochs": 1, "passes": 2},
        "baseline": "standard",
        "arms": {
            "standard": {"family": "baseline"},
            "pgd": PGD | {"family": "embedding"},
            "rows": {"augment": ROWS["augment"] | {"keep": "all", "budget": 9, "alpha": 0.1, "originals": True}},
            "pre": {"pretrain": {"corpus": "c.txt", "steps": 2, "method": "alum", "settings": {"steps": 2}}},
            "mix": {"mix": {"attacks": ["deepwordbug"]}},
            "union": {"part": {"of": "mix", "name": "union"}},
        },
        "evaluate": EVALUATE | {"transfer": ["standard"], "keep_examples": 2},
        "questions": False,
        "output": "there",
    }
    path = place / "fuzz.yaml"
    tried = 0
    for keys in paths_of(whole):
        for junk in (None, [], [[1]], {"a": {"b": 1}}, True, -1, 10**400, "x: y"):
            values = json.loads(json.dumps(whole))
            inner = values
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = junk
            path.write_text(json.dumps(values))
            tried += 1
            try:
                study = read_study(path)
            except SettingError as error:
                assert "fuzz.yaml" in str(error), (keys, junk)
            else:
                assert study_of(Block.of(json.loads(json.dumps(study.write())), "plan.json")) == study, (keys, junk)
    assert tried > 500


def test_aliases_and_merges_are_read_and_bombs_are_not(place):
    path = place / "alias.yaml"
    path.write_text(
        HEAD
        + "arms:\n  a: &a {train: &t {method: pgd}}\n  b: {<<: *a, family: input}\n  c: {train: {<<: *t, epochs: 1}}\n"
    )
    arms = study_of(Block.read(path)).arms
    assert arms["a"].train == arms["b"].train == {"method": "pgd"} and arms["c"].train["epochs"] == 1
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path.write_text("\n".join(lines))
    with pytest.raises(SettingError, match="more than"):
        Block.read(path)
    path.write_text("a: &a [*a]\n")
    with pytest.raises(SettingError):
        Block.read(path)


@pytest.mark.parametrize(
    ("more", "kind", "said"),
    [
        ({"data": {"toy": {"train": "trian.csv"}}}, DataError, "trian.csv"),
        ({"data": {"toy": {"train": "train.csv"}}}, DataError, "nothing to measure on"),
        ({"data": {"toy": {"train": "train.csv", "test": "other.csv"}}}, DataError, "does not occur in the train"),
        ({"cross_domain": {"o": {"data": "other.csv"}}}, DataError, "Say which of ours '0' is"),
        ({"cross_domain": {"o": {"data": "missing.csv"}}}, DataError, "missing.csv"),
        ({"models": {"tiny": "nowhere"}}, ModelError, "nowhere"),
        ({"evaluate": {"attacks": {"recipes": ["bae"], "masked_lm": "no/model"}}}, ModelError, "attacks, bae"),
        ({"arms": {"a": {"train": {"online": "random"}}}, "budgets": {"epochs": 1}}, SettingError, "never attack"),
        ({"evaluate": {"attacks": {"recipes": ["deepwordbug"], "frozen": [0]}}}, SettingError, "'frozen' is"),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_found_before_anything_starts(place, more, kind, said, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or the hub is asked, again and again
    with pytest.raises(kind, match=said):
        planned(place, **more)


def test_quantities_cannot_be_attacked(place):
    (place / "numbers.csv").write_text("text,label\n" + "\n".join(f"a film,{i / 3}" for i in range(12)) + "\n")
    data = {"toy": {"train": "numbers.csv", "test": "numbers.csv"}}
    found = planned(place, data=data)
    assert of(found, "score")[0].settings["metric"] == "pearson"
    with pytest.raises(SettingError, match="attacks need classes"):
        planned(place, data=data, evaluate=EVALUATE)
