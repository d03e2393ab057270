"""A search: trials that are equally many for every arm, and a choice that other studies take."""

import json

import pytest
from commands import sparring
from small_study import SMALL, write_place, write_study

from sparring.errors import RunError, SettingError
from sparring.study.options import Arm
from sparring.study.plan import plan, read_plan, write_choice, write_plan
from sparring.study.records import RECORDS, append_records
from sparring.study.search import tuned

DEV = {"toy": {"train": "train.csv", "test": "dev.csv"}}
TRAIN = {"batch_size": 10, "max_length": 32, "precision": "fp32"}
ARMS = {
    "standard": {"family": "baseline"},
    "pgd": {"train": {"method": "pgd", "settings": {"steps": 2}}, "search": {"settings.radius": ["0.3x", "0.4x"]}},
}
SEARCH = {"trials": 3, "over": {"learning_rate": [0.1, 0.2, 0.3]}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_place(tmp_path_factory.mktemp("search"))


def search(place, **more):
    given = {"name": "search", "output": "search", "data": DEV, "train": TRAIN, "seeds": [7, 8], "arms": ARMS}
    return plan(write_study(place, **given | {"search": SEARCH} | more))


def lines(found, scores, failed=()):
    for job in found.jobs:
        if job.kind == "score" and job.arm not in failed:
            result = {"scores": {"accuracy": scores.get(job.arm, 0.5) + (0.01 if job.seed == 7 else -0.01)}}
            yield {"job": job.id, "status": "done", "result": result}
        elif job.kind == "train" and job.arm in failed:
            yield {"job": job.id, "status": "failed", "error": {"type": "ModelError", "message": "not finite"}}


def test_every_arm_is_tried_equally_often_and_a_draw_of_trials_repeats_nothing(place):
    found = search(place)
    trials = {}
    for job in found.jobs:
        if job.kind == "train" and job.seed == 7:
            trials.setdefault(job.arm.rsplit("-", 1)[0], []).append(job.settings)
    assert {arm: len(jobs) for arm, jobs in trials.items()} == {"standard": 3, "pgd": 3}
    assert [one["learning_rate"] for one in trials["standard"]] == [0.1, 0.2, 0.3]
    assert len({json.dumps(one, sort_keys=True) for one in trials["pgd"]}) == 3
    assert all(one["settings"]["steps"] == 2 and one["settings"]["radius"] in ("0.3x", "0.4x") for one in trials["pgd"])
    write_plan(found)
    assert read_plan(found.folder).study == found.study and found.study.baseline == "standard-1"


def test_the_best_trial_by_the_mean_over_seeds_is_taken_by_another_study_and_its_records_are_named(place):
    found = search(place)
    write_plan(found)
    (found.folder / RECORDS).unlink(missing_ok=True)
    append_records(found.folder / RECORDS, lines(found, {"standard-2": 0.9, "pgd-1": 0.7, "pgd-3": 0.95}, ["pgd-3"]))
    chosen = json.loads(write_choice(found.folder).read_text(encoding="utf-8"))
    standard, pgd = chosen["chosen"]
    assert (standard["settings"], round(standard["score"], 6)) == ({"learning_rate": 0.2}, 0.9)
    assert pgd["score"] == pytest.approx(0.7) and [one["score"] is None for one in pgd["trials"]] == [
        False,
        False,
        True,
    ]
    scored = {job.id for job in found.jobs if job.arm == "standard-2" and job.kind == "score"}
    assert set(standard["trials"][1]["records"]) == scored and standard["trials"][1]["seeds"] == [7, 8]
    arms = {"standard": ARMS["standard"], "pgd": {"train": ARMS["pgd"]["train"]}}
    main = plan(write_study(place, arms=arms, train=TRAIN, tuned="search/chosen.json"))
    for job in (job for job in main.jobs if job.kind == "train"):
        want = pgd["settings"] if job.arm == "pgd" else standard["settings"]
        assert job.settings["learning_rate"] == want["learning_rate"]
        assert job.arm != "pgd" or job.settings["settings"] == {"steps": 2, "radius": want["settings.radius"]}
    by_hand = {**arms, "standard": {"train": {"learning_rate": 0.2}}}
    same = plan(write_study(place, arms=by_hand, train=TRAIN))
    assert {job.id for job in same.jobs if job.arm == "standard"} <= {job.id for job in main.jobs}
    with pytest.raises(SettingError, match="scored on the test rows of 'toy'"):
        plan(write_study(place, arms=arms, data=DEV, train=TRAIN, tuned="search/chosen.json"))
    with pytest.raises(SettingError, match="no settings for arm 'fgm' on 'toy'"):
        plan(write_study(place, arms=arms | {"fgm": {}}, train=TRAIN, tuned="search/chosen.json"))


def test_the_command_shows_and_saves_the_choice(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    found = search(place, name="shown", output="shown")
    write_plan(found)
    code, _, err = sparring("study", "choose", "shown", capsys=capsys)
    assert code == 2 and "12 scores are missing" in err
    append_records(found.folder / RECORDS, lines(found, {"standard-3": 0.75}))
    code, out, _ = sparring("study", "choose", "shown", capsys=capsys)
    assert code == 0 and "learning_rate 0.3" in out and "0.750" in out and "saved in shown/chosen.json" in out
    code, out, _ = sparring("study", "choose", "study.yaml", "--json", capsys=capsys)
    assert code == 0 and json.loads(out)["chosen"][0]["settings"] == {"learning_rate": 0.3}


def test_a_search_that_is_not_at_its_end_chooses_nothing(place):
    found = search(place)
    write_plan(found)
    (found.folder / RECORDS).unlink(missing_ok=True)
    append_records(found.folder / RECORDS, list(lines(found, {}))[:-1])
    with pytest.raises(RunError, match="1 scores are missing"):
        write_choice(found.folder)
    plain = plan(write_study(place, name="plain", output="plain"))
    write_plan(plain)
    with pytest.raises(RunError, match="is no search"):
        write_choice(plain.folder)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"search": SEARCH | {"trials": 4}}, "arm 'standard' has 3 settings to try, and 'trials' is 4"),
        ({"search": {"trials": 1, "over": {"learnin_rate": [0.1]}}}, "no setting 'learnin_rate'"),
        ({"search": {"trials": 1, "over": {"epochs": [1, 2]}}}, "makes all arms equal"),
        ({"search": {"trials": 1, "over": {"learning_rate": 0.1}}}, "list the values that are tried"),
        ({"search": {"trails": 1}}, "did you mean 'trials'"),
        ({"search": SEARCH, "arms": ARMS | {"pgd-1": {}}}, "have one name"),
        ({"search": None}, "arm 'pgd' has `search`, and the study has none"),
    ],
)
def test_a_search_that_would_not_be_fair_or_not_understood_is_an_error(place, more, said):
    with pytest.raises(SettingError, match=r"study\.yaml") as error:
        search(place, **more)
    assert said in str(error.value)


def test_chosen_settings_go_to_the_mixture_of_an_arm_that_is_one():
    arm = Arm(name="a", family="mixture", mix={"attacks": "deepwordbug"})
    assert tuned(arm, {"learning_rate": 0.1}).mix == {"attacks": "deepwordbug", "learning_rate": 0.1}
    assert tuned(arm, {}) is arm


# data sets with metrics, arms and attacks of their own


def of(found, kind):
    return {(job.dataset, job.arm) for job in found.jobs if job.kind == kind}


def test_arms_attacks_and_radii_can_be_for_some_of_the_data(place):
    lines_of = (place / "train.csv").read_text(encoding="utf-8").splitlines()[1:]
    graded = "\n".join(["text,label", *(f"{line.rsplit(',', 1)[0]},{n % 4}.5" for n, line in enumerate(lines_of))])
    (place / "graded.csv").write_text(graded + "\n", encoding="utf-8")
    data = SMALL["data"] | {"graded": {"train": "graded.csv", "test": "graded.csv"}}
    arms = {"standard": {}, "pgd": {"for": ["toy"], "train": {"method": "pgd"}}}
    evaluate = {
        "attacks": {"recipes": ["deepwordbug"], "examples": 5, "for": ["toy"]},
        "radius": {"radii": [0.1], "examples": 5, "for": ["toy"]},
    }
    found = plan(write_study(place, data=data, arms=arms, evaluate=evaluate))
    assert of(found, "score") == {("toy", "standard"), ("toy", "pgd"), ("graded", "standard")}
    assert of(found, "attack") == of(found, "curve") == {("toy", "standard"), ("toy", "pgd")}
    write_plan(found)
    assert read_plan(found.folder).study == found.study
    alone = plan(write_study(place, evaluate={"attacks": {"recipes": ["deepwordbug"], "examples": 5}}))
    both = {job.id for job in found.jobs}
    assert {job.id for job in alone.jobs} <= both  # what an arm or attack is for changes no work
    evaluate["attacks"].pop("for")
    with pytest.raises(SettingError, match="say which data they are `for`"):
        plan(write_study(place, data=data, arms=arms, evaluate=evaluate))
    with pytest.raises(SettingError, match="'for' names 'tou', which is no training data; did you mean 'toy'"):
        plan(write_study(place, arms={"standard": {}, "pgd": {"for": ["tou"]}}))
    with pytest.raises(SettingError, match="leave its `for` out"):
        plan(write_study(place, arms={"standard": {"for": ["toy"]}}))


def test_a_data_set_is_scored_by_the_metric_it_names(place):
    toy = SMALL["data"]["toy"]
    (job,) = (j for j in plan(write_study(place, data={"toy": toy | {"metric": "mcc"}})).jobs if j.kind == "score")
    assert job.settings == {"metric": "mcc", "cross_domain": False}
    for given, positive in (({"positive": "neg"}, "neg"), ({}, "pos")):
        data = {"toy": toy | {"metric": "f1"} | given}
        (job,) = (j for j in plan(write_study(place, data=data)).jobs if j.kind == "score")
        assert job.settings["positive"] == positive
    cases = (
        ({"metric": "f2"}, "there is no metric 'f2'"),
        ({"positive": "pos"}, "'positive' is of f1"),
        ({"metric": "f1", "positive": "pso"}, "did you mean 'pos'"),
    )
    for given, said in cases:
        with pytest.raises(SettingError, match=said):
            plan(write_study(place, data={"toy": toy | given}))


def test_text_columns_that_attacks_leave_alone_can_be_named_for_one_data_set(place):
    evaluate = {"attacks": {"recipes": ["deepwordbug"], "examples": 5}}
    with pytest.raises(SettingError, match="'frozen' is \\[0\\]; 'toy' has 1 text"):
        plan(write_study(place, data={"toy": SMALL["data"]["toy"] | {"frozen": [0]}}, evaluate=evaluate))
