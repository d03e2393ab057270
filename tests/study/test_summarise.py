import json
from dataclasses import replace

import numpy as np
import pytest
from fake_study import write_study

from sparring.errors import RunError
from sparring.study.job import Job
from sparring.study.questions import (
    GENERALISES,
    MORE_ROBUST,
    SPECIALISED,
    general_verdict,
    neuron_verdict,
    robust_verdict,
)
from sparring.study.records import RECORDS, Records, read_records
from sparring.study.statistics import holm
from sparring.study.summarise import summarise, summarise_records
from sparring.study.summary import Group, Measure

GROUP = Group("sst2", "minilm", "epochs")
FOUR = ("standard", "attack-rows", "a2t", "pgd")
SMALL = {"budgets": ("epochs",), "cross": ("imdb",), "attacks": ("textfooler",), "rows": 200, "attacked_rows": 100}
SMALL |= {"neurons": False}


pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All arms and kinds of jobs, two budgets."""
    folder = write_study(tmp_path_factory.mktemp("whole") / "made-up", rows=200, attacked_rows=120, cross=("imdb",))
    return folder, summarise(folder)


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    """Large effects, many rows and seeds: what there is can be found."""
    arms = ("standard", "eda", "attack-rows", "a2t", "random", "pgd", "freelb", "vat")
    options = {**SMALL, "rows": 1500, "attacked_rows": 300, "attacks": ("textfooler", "bae"), "neurons": True}
    folder = tmp_path_factory.mktemp("strong")
    return summarise(write_study(folder, arms=arms, seeds=range(5), effects=2.0, seed_sd=0.004, **options))


def cells(summary, group=GROUP):
    return {(cell.arm, cell.measure.what, cell.measure.name): cell for cell in summary.cells if cell.group == group}


def lines(folder, kind, arm, budget="epochs", name=None):
    found = [line for line in read_records(folder / RECORDS).done.values() if line["kind"] == kind]
    found = [line for line in found if (line["arm"], line["budget"]) == (arm, budget)]
    return {line["seed"]: line["result"] for line in found if name in (None, line["name"])}


def bits(text, right="1"):
    return np.array([letter == right for letter in text], dtype=float)


def test_figures_are_those_of_the_records(whole):
    folder, summary = whole
    found = cells(summary)
    scores = {seed: result["scores"]["accuracy"] for seed, result in lines(folder, "score", "pgd", name="imdb").items()}
    spread = found["pgd", "cross-domain", "imdb"].spread
    assert spread.values == pytest.approx(scores) and spread.rows == 200
    assert spread.mean == pytest.approx(np.mean(list(scores.values())))
    assert spread.t_interval[0] < spread.mean < spread.bootstrap_interval[1]
    held = {
        seed: bits(r["outcomes"], "h").mean() for seed, r in lines(folder, "attack", "a2t", name="textfooler").items()
    }
    assert found["a2t", "attack", "textfooler"].spread.values == pytest.approx(held)
    assert set(spread.jobs) <= set(summary.jobs)


def test_the_worst_case_is_example_by_example_over_plain_and_calibrated_attackers(whole):
    folder, summary = whole
    worst = {}
    for name in ("textfooler", "deepwordbug"):
        for seed, result in lines(folder, "attack", "a2t", name=name).items():
            for outcomes in (result["outcomes"], result["calibrated"]["outcomes"]):
                worst[seed] = worst.get(seed, 1.0) * bits(outcomes, "h")
    found = cells(summary)["a2t", "worst-case", ""].spread
    assert found.values == pytest.approx({seed: held.mean() for seed, held in worst.items()})
    assert len(found.jobs) == 6


def test_comparisons_are_with_the_baseline_on_the_same_seeds_and_rows(whole):
    folder, summary = whole
    arm, base = (lines(folder, "attack", name, name="textfooler") for name in ("attack-rows", "standard"))
    found = cells(summary)["attack-rows", "attack", "textfooler"].comparison
    a, b = (np.stack([bits(side[seed]["outcomes"], "h") for seed in (0, 1, 2)]) for side in (arm, base))
    assert found.difference == pytest.approx((a - b).mean())
    assert found.discordant == (int(((a - b) > 0).sum()), int(((a - b) < 0).sum()))
    assert (found.seeds, found.rows) == (3, 120)
    assert found.interval[0] < found.difference < found.interval[1]


def test_holm_is_over_the_arms_and_measures_of_a_group(whole):
    _, summary = whole
    for group in summary.groups:
        compared = [cell.comparison for cell in summary.cells if cell.group == group and cell.comparison]
        assert len(compared) == 9 * 9  # nine arms on sst2, imdb, under 2 x 2 attacks and the worst, at 2 radii
        assert [c.p_holm for c in compared] == pytest.approx(holm([c.p for c in compared]))  # against standard: 2
        assert all((c.verdict == "open") == (c.p_holm >= 0.05) for c in compared)


def test_the_baseline_and_radius_nought_are_shown_and_not_tested(whole):
    found = cells(whole[1])
    assert found["standard", "clean", "sst2"].comparison is None
    assert found["pgd", "radius", "0x"].comparison is None and found["pgd", "radius", "0.02x"].comparison is not None


def test_groups_and_arms_keep_the_order_of_the_study_and_shared_work_stands_in_both(whole):
    _, summary = whole
    assert [group.budget for group in summary.groups] == ["epochs", "passes"]
    assert list(summary.arms)[:3] == ["standard", "eda", "attack-rows"] and summary.arms["a2t"] == "input"
    assert [m.what for m in summary.measures[:3]] == ["clean", "cross-domain", "attack"]
    one, other = (cells(summary, group)["freelb", "clean", "sst2"].spread for group in summary.groups)
    assert one.jobs == other.jobs


def test_costs_are_of_training_with_all_it_needs(whole):
    costs = {cost.arm: cost for cost in whole[1].costs if cost.group == GROUP}
    assert costs["standard"].train_seconds.values == {0: 60, 1: 61, 2: 62}
    assert costs["attack-rows"].train_seconds.values[1] == 101 + 21 + 61  # itself, its rows, their victim
    assert costs["attack-rows"].passes.mean == 48 and len(costs["attack-rows"].jobs) == 9
    assert costs["a2t"].train_seconds.values[0] == 240  # attacks on training rows are part of it
    assert costs["alum-pre"].train_seconds.values[0] == 160 + 90 and costs["alum-pre"].passes.mean == 300 + 144
    assert costs["adpmixup"].trainable_parameters == 900_000
    assert costs["pgd"].peak_memory.mean == 1.4e9


def test_claims_are_sentences_with_their_numbers(strong):
    claims = [c for c in strong.claims if c.arm == "a2t" and c.measure == Measure("attack", "textfooler")]
    cell = cells(strong)["a2t", "attack", "textfooler"]
    gain, (low, high) = (100 * cell.comparison.difference, (100 * end for end in cell.comparison.interval))
    assert [claim.sentence for claim in claims] == [
        f"a2t is more robust than standard under textfooler: +{gain:.1f} points, 95 % interval {low:.1f} to "
        f"{high:.1f}, 5 seeds, p < 0.001 after Holm"
    ]
    assert claims[0].verdict == "holds" and set(cell.spread.jobs) < set(claims[0].jobs)
    verdicts = [claim.verdict for claim in strong.claims]
    assert verdicts == sorted(verdicts, key=["holds", "refuted", "open"].index)


def test_families_of_one_arm_repeat_nothing_that_is_said_of_the_arms(tmp_path, strong):
    assert any("the family input (a2t, random)" in claim.sentence for claim in strong.claims)
    found = summarise(write_study(tmp_path, arms=("standard", "pgd"), seeds=range(2), **SMALL))
    assert found.claims and not any("family" in claim.sentence for claim in found.claims)
    assert len({(claim.arm, claim.measure) for claim in found.claims}) == len(found.claims)


def test_what_is_not_shown_is_open_and_what_is_worse_says_so(strong):
    said = {(c.arm, c.measure): c for c in strong.claims}
    worse = said["attack-rows", Measure("clean", "sst2")]
    assert worse.verdict == "refuted" and worse.sentence.startswith("attack-rows is worse than standard on sst2: −")
    is_open = said["eda", Measure("clean", "sst2")]
    assert is_open.verdict == "open"
    assert is_open.sentence.startswith("whether eda is better than standard on sst2 is open: ")


def test_the_questions_are_answered_by_strong_effects(strong):
    robust, general, neurons = strong.questions
    assert (robust.text, general.text, neurons.text) == (MORE_ROBUST, GENERALISES, SPECIALISED)
    assert [question.verdict for question in strong.questions] == ["confirmed"] * 3
    assert "More robust than embedding: augmentation and input." in robust.answer
    assert "in times of standard: augmentation 2.6, input 3.0, embedding 3.2" in robust.answer
    assert "Kendall's tau −" in neurons.answer and "8 arms" in neurons.answer
    family = [c.sentence for c in robust.evidence if c.arm == "input"]
    assert any(
        s.startswith("the family input (a2t, random) is more robust than standard under attacks") for s in family
    )
    assert all(claim.jobs for claim in robust.evidence)


def test_without_effects_everything_is_open(tmp_path):
    arms = ("standard", "eda", "a2t", "pgd")
    summary = summarise(write_study(tmp_path, arms=arms, effects=0.0, **SMALL))
    assert {question.verdict for question in summary.questions} == {"open"}
    assert {cell.comparison.verdict for cell in summary.cells if cell.comparison} == {"open"}


def test_one_seed_is_about_rows_and_says_so(tmp_path):
    summary = summarise(write_study(tmp_path, arms=FOUR, seeds=(0,), effects=2.0, **SMALL))
    found = cells(summary)["a2t", "attack", "textfooler"]
    assert found.spread.t_interval is None and found.spread.sd is None and found.spread.bootstrap_interval is not None
    assert found.comparison.p == found.comparison.mcnemar and "one seed" in found.comparison.test
    sentence = next(c.sentence for c in summary.claims if c.arm == "a2t" and c.measure == found.measure)
    assert ", one seed, p" in sentence
    assert {question.verdict for question in summary.questions} == {"open"}
    assert "One seed decides nothing" in summary.questions[0].answer


@pytest.mark.parametrize(
    ("embedding", "baseline", "verdict"),
    [
        (["better", "better"], ["better", "better"], "confirmed"),
        (["better", "open"], ["better", "better"], "open"),
        (["better", "better"], ["better", "open"], "open"),
        (["better", "worse"], ["better", "better"], "refuted"),
        (["open", "open"], ["worse", "open"], "refuted"),
        ([None, "better"], ["better", "better"], "open"),
    ],
)
def test_robustness_is_confirmed_if_both_families_beat_embedding_and_the_baseline(embedding, baseline, verdict):
    assert robust_verdict(embedding, baseline) == verdict


@pytest.mark.parametrize(
    ("gains", "rivals", "verdict"),
    [
        (["better", "open"], ["open"] * 4, "confirmed"),
        (["open", "better"], ["worse"] * 4, "confirmed"),
        (["better", "worse"], ["open"] * 4, "open"),
        (["better", "better"], ["open", "better"], "open"),
        (["open", "open"], ["open"] * 4, "open"),
        (["open", "worse"], ["open"] * 4, "refuted"),
        (["open", "open"], ["open", "better"], "refuted"),
        (["better"], [None, None], "confirmed"),
    ],
)
def test_generalisation_is_confirmed_if_embedding_gains_somewhere_and_loses_nowhere(gains, rivals, verdict):
    assert general_verdict(gains, rivals) == verdict


def test_specialisation_is_a_correlation_that_is_shown():
    assert neuron_verdict(-0.8, 0.01) == "confirmed"
    assert neuron_verdict(0.8, 0.01) == "refuted"
    assert neuron_verdict(-0.8, 0.2) == neuron_verdict(0.0, float("nan")) == "open"


def test_a_half_finished_study_is_summed_up_as_far_as_it_goes(tmp_path):
    folder = write_study(
        tmp_path,
        arms=FOUR,
        missing=("pgd, seed 1: attack textfooler", "a2t, seed 2"),
        failed=("attack-rows, seed 0: score",),
        damaged=1,
        **{**SMALL, "attacks": ("textfooler", "deepwordbug")},
    )
    summary = summarise(folder)
    found = cells(summary)
    assert found["pgd", "attack", "textfooler"].comparison.seeds == 2
    assert sorted(found["a2t", "clean", "sst2"].spread.values) == [0, 1]
    assert sorted(found["attack-rows", "clean", "sst2"].spread.values) == [1, 2]
    assert "sst2: pgd, seed 1: attack textfooler" in summary.missing
    assert summary.failed["sst2: attack-rows, seed 0: score sst2"].startswith("ModelError: the loss is not finite")
    assert len(summary.damaged) == 1 and "line 1" in summary.damaged[0]
    assert "sst2: pgd, seed 1: the worst case waits for textfooler" in summary.left_out
    assert {cost.arm: sorted(cost.train_seconds.values) for cost in summary.costs}["a2t"] == [0, 1]


def test_a_study_without_a_record_lists_what_is_to_be_done(tmp_path):
    folder = write_study(tmp_path, arms=FOUR, missing=("sst2",), **SMALL)
    summary = summarise(folder)
    assert not summary.cells and not summary.costs and len(summary.missing) > 50
    assert {question.verdict for question in summary.questions} == {"open"}
    assert "Not measured here: the family augmentation" in summary.questions[0].answer


def rewritten(folder, change):
    """The study's summary with its results changed."""
    plan = json.loads((folder / "plan.json").read_text())
    jobs = [Job.read(values) for values in plan["jobs"]]
    records = read_records(folder / RECORDS)
    for line in records.by_job.values():
        change(line, line["result"])
    return summarise_records(plan["study"], jobs, records)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("small"), arms=("standard", "pgd"), **{**SMALL, "cross": ()})


def test_other_rows_are_not_compared_and_it_is_said(small):
    def change(line, result):
        if line["kind"] == "score" and line["arm"] == "pgd" and line["seed"] == 1:
            result["sha256"] = "of other rows"

    summary = rewritten(small, change)
    assert cells(summary)["pgd", "clean", "sst2"].comparison.seeds == 2
    assert any("pgd and standard have different rows with seed 1" in text for text in summary.left_out)


@pytest.mark.parametrize("damage", [{"correct": "10"}, {"correct": "2" * 200}, {"correct": None}, {"sha256": None}])
def test_a_record_that_makes_no_sense_is_named_and_left_out(small, damage):
    def change(line, result):
        if line["kind"] == "score" and line["arm"] == "pgd" and line["seed"] == 1:
            result |= damage
            if damage == {"sha256": None}:
                del result["sha256"]

    summary = rewritten(small, change)
    assert sorted(cells(summary)["pgd", "clean", "sst2"].spread.values) == [0, 2]
    assert "pgd, seed 1: score sst2) cannot be used" in summary.damaged[0]


def test_regression_is_compared_by_its_correlation(small):
    def change(line, result):
        if line["kind"] == "score":
            rng = np.random.default_rng(line["seed"])
            targets = np.random.default_rng(9).normal(size=200)
            noise = 2.0 if line["arm"] == "standard" else 0.5
            predictions = targets + noise * rng.normal(size=200)
            del result["correct"]
            result |= {"metric": "pearson", "predictions": predictions.tolist(), "targets": targets.tolist()}
            result["scores"] = {"pearson": float(np.corrcoef(predictions, targets)[0, 1])}
            line["value"] = result["scores"]["pearson"]

    summary = rewritten(small, change)
    cell = next(c for c in summary.cells if c.measure.metric == "pearson" and c.arm == "pgd")
    assert cell.spread.rows == 200 and cell.comparison.verdict == "better"
    assert all(0.8 < value < 0.95 for value in cell.spread.values.values())
    assert 0 < cell.comparison.interval[0] < cell.comparison.difference < 1
    sentence = next(c.sentence for c in summary.claims if c.measure == cell.measure and c.arm == "pgd")
    assert sentence.startswith("pgd is better than standard on sst2 by pearson: +0.") and "points" not in sentence


def test_a_metric_without_rows_is_compared_over_seeds(small):
    def change(line, result):
        if line["kind"] == "score":
            high = 0.01 * line["seed"] + (0.3 if line["arm"] == "pgd" else 0.0)
            result |= {"metric": "f1", "scores": {"f1": 0.5 + high, "accuracy": 0.8}}

    summary = rewritten(small, change)
    cell = next(c for c in summary.cells if c.measure.metric == "f1" and c.arm == "pgd")
    assert cell.spread.rows == 0 and cell.comparison.test.startswith("t over seeds")
    assert cell.comparison.difference == pytest.approx(0.3) and cell.comparison.p < 0.001
    assert ("pgd", "clean", "sst2") in cells(summary)  # and by accuracy, with rows


def test_a_transfer_set_without_rows_is_left_out(small):
    def change(line, result):
        if line["kind"] == "transfer" and line["seed"] == 0:
            result |= {"rows": 0, "correct": ""}

    summary = rewritten(small, change)
    assert not any(0 in cell.spread.values for cell in summary.cells if cell.measure.what == "transfer")
    assert any("there are no rows" in text for text in summary.left_out)


def test_records_give_environment_and_data(small):
    def change(line, result):
        if line["seed"] == 1:
            line["environment"] = {**line["environment"], "threads": 2}
        line["environment"] = {**line["environment"], "command": "sparring study run study.yaml"}

    environment = rewritten(small, change).environment
    assert environment["versions"] == {"sparring": "0.1.0", "torch": "2.13.0"} and environment["threads"] == [1, 2]
    assert len(environment["data"]["sst2"]["test of sst2"]) == 64
    assert "study run" in environment["command"]


def test_the_same_records_give_the_same_summary(small):
    assert summarise(small) == summarise(small)


def test_records_of_jobs_that_are_planned_no_more_are_ignored(small):
    plan = json.loads((small / "plan.json").read_text())
    jobs = [Job.read(values) for values in plan["jobs"] if values["arm"] != "pgd"]
    summary = summarise_records(plan["study"], jobs, read_records(small / RECORDS))
    assert {cell.arm for cell in summary.cells} == {"standard"} and not summary.claims


def test_a_folder_without_a_plan_or_with_a_damaged_one_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(RunError, match="holds no study"):
        summarise(tmp_path)
    (tmp_path / "plan.json").write_text('{"study": {"name": "x"}, "jobs": [{"id": "0"}]}')
    with pytest.raises(RunError, match="is damaged"):
        summarise(tmp_path)


def test_progress_counts_the_measures(small):
    seen = []
    summarise(small, lambda done, total: seen.append((done, total)))
    assert seen == [(i, len(seen)) for i in range(1, len(seen) + 1)]


def test_an_empty_set_of_records_is_no_error(small):
    plan = json.loads((small / "plan.json").read_text())
    jobs = [replace(Job.read(values)) for values in plan["jobs"]]
    summary = summarise_records({**plan["study"], "questions": False}, jobs, Records({}))
    assert not summary.cells and not summary.questions and len(summary.missing) == len({job.id for job in jobs})


def test_one_seed_in_common_decides_nothing(tmp_path):
    gone = tuple(f"pgd, seed {seed}: score imdb" for seed in (1, 2))
    gone += tuple(f"{arm}, seed {seed}: attack" for arm, seed in (("a2t", 0), ("a2t", 1), ("pgd", 2)))
    summary = summarise(write_study(tmp_path, arms=FOUR, effects=4.0, missing=gone, **SMALL))
    found = cells(summary)
    assert found["a2t", "attack", "textfooler"].comparison.seeds == 1
    single = [cell.comparison for cell in summary.cells if cell.comparison and cell.comparison.seeds == 1]
    assert {comparison.verdict for comparison in single} == {"open"}
    assert all(", one seed, " not in claim.sentence or claim.verdict == "open" for claim in summary.claims)
    assert [question.verdict for question in summary.questions[:2]] == ["open", "open"]
    assert "decides nothing" in summary.questions[0].answer and "decides nothing" in summary.questions[1].answer


def test_jobs_of_two_models_have_titles_of_their_own_and_count_once(tmp_path):
    one, other = (
        Job(kind="train", name="pgd", arm="pgd", family="embedding", budget="epochs", dataset="sst2", model=m, seed=0)
        for m in ("minilm", "deberta")
    )
    shared = replace(one, budget="passes")
    failed = {job.id: {"job": job.id, "status": "failed", "error": {"type": "X", "message": job.model}}
              for job in (one, other)}  # fmt: skip
    study = {"name": "two", "baseline": "standard"}
    summary = summarise_records(study, [one, other, shared], Records(failed))
    assert [title.rpartition(" ")[2] for title in summary.failed] == ["(minilm)", "(deberta)"]
    assert len(summarise_records(study, [one, other, shared], Records({})).missing) == 2


@pytest.mark.parametrize("odd", [{"minimal": [1]}, {"top": ["x"]}, {"minimal": {"size": "ten"}}])
def test_a_neuron_record_of_another_shape_is_named_and_left_out(tmp_path, odd):
    folder = write_study(tmp_path, arms=("standard", "pgd"), **{**SMALL, "cross": (), "neurons": True})

    def change(line, result):
        if line["kind"] == "neurons" and line["arm"] == "pgd" and line["seed"] == 0:
            result |= odd

    summary = rewritten(folder, change)
    assert len(summary.damaged) == 1 and "cannot be used" in summary.damaged[0]
    assert ("pgd", 0) not in {(line["arm"], line["seed"]) for line in summary.neurons}


def test_a_record_with_no_number_is_damaged(tmp_path):
    path = tmp_path / RECORDS
    path.write_text(
        '{"job": "a", "status": "done", "result": {"x": NaN}}\n{"job": "b", "status": "done", "result": {}}\n'
    )
    found = read_records(path)
    assert list(found.by_job) == ["b"] and "NaN" in found.damaged[0]


def test_half_an_attack_record_is_left_out_whole(small):
    def change(line, result):
        if line["kind"] == "attack" and line["arm"] == "pgd" and line["seed"] == 1:
            result["calibrated"] = {"outcomes": "?"}

    summary = rewritten(small, change)
    assert sorted(cells(summary)["pgd", "attack", "textfooler"].spread.values) == [0, 2]


def test_an_open_claim_about_neurons_states_no_relation_and_a_claim_names_its_scores(strong, whole):
    claim = strong.questions[2].evidence[0]
    scores = {line["job"] for line in strong.jobs.values() if line["kind"] == "score"}
    assert claim.sentence.startswith("arms that generalise better need fewer neurons: ") and scores & set(claim.jobs)
    for question in whole[1].questions:
        for one in question.evidence:
            if one.verdict == "open" and one.measure is None:
                assert one.sentence.startswith("whether arms that generalise better need fewer neurons is open: ")
