"""Whole jobs: several recipes, victims and processes, and what they leave in their folder."""

import json
import os
import socket
from dataclasses import replace

import numpy as np
import pytest
from puppets import WORDS, exit_code, forked, handset, random_model

from sparring.attack import recipes
from sparring.attack.calibrate import calibrated
from sparring.attack.records import read_lines
from sparring.attack.run import attack
from sparring.attack.victim import ModelVictim
from sparring.errors import DataError, RunError, SettingError
from sparring.evaluate.attacks import AttackJob, attack_job

SYNONYMS = {
    "good": ["fine", "dull"],
    "great": ["good", "not"],
    "fine": ["was", "dull"],
    "bad": ["dull", "poor", "fine"],
}
SYNONYMS |= {"awful": ["bad", "plot"], "poor": ["dull", "very"], "film": ["book", "plot"], "book": ["film", "dull"]}
WEIGHTS = {
    "good": 1.0,
    "great": 1.6,
    "fine": 0.6,
    "bad": -1.0,
    "awful": -1.6,
    "poor": -0.6,
    "dull": -0.25,
    "[UNK]": -0.3,
}
WEIGHTS |= {"not": 0.2, "very": -0.1, "plot": 0.15}


def save(folder, **settings):
    model, tokenizer = handset(WEIGHTS, **settings)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Three victims of one mind (one is very sure of itself, one is biased), data, and a table of synonyms."""
    folder = tmp_path_factory.mktemp("jobs")
    save(folder / "plain", bias=0.05)
    save(folder / "sure", bias=0.05, sharpness=200.0)
    save(folder / "biased", bias=0.45)
    random = np.random.default_rng(2)
    victim = ModelVictim(*handset(WEIGHTS, bias=0.05), half=False)
    texts = [" ".join(random.choice(WORDS, size=random.integers(4, 12))) for _ in range(150)]
    chance = [np.exp(found[1]) for found in victim.exact.answer([(text,) for text in texts])]
    rows = [f"{text},{'pos' if random.random() < p else 'neg'}" for text, p in zip(texts, chance, strict=True)]
    (folder / "data.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (folder / "synonyms.json").write_text(json.dumps(SYNONYMS))
    return folder


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch):
    monkeypatch.setattr("sparring.evaluate.attacks._encoder", lambda: None)


def job(place, output, *victims, **given):
    names = tuple(str(place / name) for name in victims or ("plain",))
    made = given.pop("recipes", (recipes.pwws(synonyms=place / "synonyms.json"),))
    data = given.pop("data", str(place / "data.csv"))
    return AttackJob(victims=names, recipes=made, data=data, output=output, half=False, **given)


def accuracy(entry):
    return entry["summary"]["accuracy_under_attack"]


def test_a_job_leaves_lines_results_and_a_report(place, tmp_path):
    both = (recipes.pwws(synonyms=place / "synonyms.json"), recipes.deepwordbug())
    record = attack_job(job(place, tmp_path / "out", recipes=both, examples=40, seed=3, budget=60))
    (victim,) = record["victims"]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == json.loads(json.dumps(victim))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "deepwordbug.jsonl", "pwws.jsonl", "report.html", "results.json",
    ]  # fmt: skip
    first, second = victim["attacks"]
    assert [entry["title"] for entry in (first, second)] == ["pwws", "deepwordbug"]
    assert victim["data"]["rows"] == 40 and len(victim["data"]["sha256"]) == 64 and victim["labels"] == ["neg", "pos"]
    assert first["seed"] == 3 and first["budget"] == 60 and first["temperature"] == 1.0 and victim["minimum"] is None
    assert first["stand_ins"] == ["synonyms: 50 neighbours in synonyms.json in place of WordNet"]
    for entry in (first, second):
        head, outcomes = read_lines(tmp_path / "out" / f"{entry['title']}.jsonl")
        assert sorted(o.row for o in outcomes) == list(range(40)) and max(o.queries for o in outcomes) <= 60
        held = sum(o.status == "failed" for o in outcomes)
        assert accuracy(entry) == held / 40 and head["recipe"] == entry["recipe"]
    assert victim["worst_case"]["accuracy"] <= min(accuracy(first), accuracy(second))
    assert victim["worst_case"]["examples"] == 40 and victim["versions"]["torch"]
    assert first["service_answers"]["victim"] > 40 and first["seconds"] > 0


def test_a_calibrated_attacker_undoes_a_sure_model(place, tmp_path):
    (plain,) = attack_job(job(place, tmp_path / "plain"))["victims"]
    (sure,) = attack_job(job(place, tmp_path / "sure", "sure", calibrated=True))["victims"]
    base = accuracy(plain["attacks"][0])
    blind, seeing = sure["attacks"]
    assert (blind["title"], seeing["title"]) == ("pwws", "pwws.calibrated") and seeing["temperature"] > 20
    assert blind["summary"]["clean_accuracy"] == plain["attacks"][0]["summary"]["clean_accuracy"] > 0.6
    assert accuracy(blind) > base + 0.05, (base, accuracy(blind))
    assert abs(accuracy(seeing) - base) <= 0.02, (base, accuracy(seeing))
    (line,) = sure["minimum"]
    assert line["recipe"] == "pwws" and line["plain"] == accuracy(blind) and line["calibrated"] == accuracy(seeing)
    assert line["low"] < line["accuracy"] <= min(line["plain"], line["calibrated"]) < line["high"]


def test_the_temperature_may_be_fitted_to_other_rows_and_the_results_say_to_which(place, tmp_path):
    header, *rows = (place / "data.csv").read_text().splitlines()
    for name, part in (("first", rows[:75]), ("second", rows[75:])):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *part]) + "\n")
    given = job(place, tmp_path / "out", "sure", calibrated=True, data=str(tmp_path / "first.csv"))
    given = replace(given, calibrate_on=str(tmp_path / "second.csv"))
    (found,) = attack_job(given)["victims"]
    victim = ModelVictim(*handset(WEIGHTS, bias=0.05, sharpness=200.0), half=False)
    labels = [int(row.endswith("pos")) for row in rows]
    wanted, other = (
        calibrated(victim, [(row.split(",")[0],) for row in rows[part]], labels[part])
        for part in (slice(75, None), slice(75))
    )
    fitted = found["calibration"]
    assert fitted["temperature"] == found["attacks"][1]["temperature"] == pytest.approx(wanted, rel=1e-3)
    assert abs(wanted - other) > 0.01 * wanted and fitted["rows"] == 75 and "second.csv" in fitted["fitted_on"]
    assert "second.csv" in (tmp_path / "out" / "report.html").read_text()
    (found,) = attack_job(replace(given, calibrate_on=None, output=tmp_path / "plain"))["victims"]
    assert found["calibration"]["fitted_on"] == "the attacked rows"
    assert found["calibration"]["temperature"] == pytest.approx(other, rel=1e-3)
    with pytest.raises(SettingError, match="--calibrated"):
        attack_job(replace(given, calibrated=False, output=tmp_path / "o"))


def test_what_the_plain_attacker_asked_costs_the_calibrated_one_nothing(place, tmp_path):
    (found,) = attack_job(job(place, tmp_path / "out", calibrated=True, examples=20))["victims"]
    first, second = found["attacks"]
    assert second["service_answers"].get("victim", 0) < first["service_answers"]["victim"] / 4


def test_two_victims_are_compared_on_the_same_examples(place, tmp_path):
    record = attack_job(job(place, tmp_path / "out", "plain", "biased"))
    (line,) = record["comparison"]
    lines = [read_lines(tmp_path / "out" / name / "pwws.jsonl")[1] for name in ("plain", "biased")]
    a, b = ({o.row: o.status == "failed" for o in outcomes} for outcomes in lines)
    found = line["result"]
    assert line["attack"] == "pwws" and found["examples"] == 150 and line["b"].endswith("biased")
    assert found["only_a"] == sum(a[row] and not b[row] for row in a) > 0
    assert found["only_b"] == sum(b[row] and not a[row] for row in a) > 0 and 0 < found["p"] <= 1
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == record["comparison"]


def test_every_report_shows_the_comparison_and_so_does_that_of_a_resumed_run(place, tmp_path):
    both = (recipes.pwws(synonyms=place / "synonyms.json"), recipes.deepwordbug())
    given = job(place, tmp_path / "out", "plain", "biased", recipes=both, examples=40)
    record = attack_job(given)
    pages = [tmp_path / "out" / name / "report.html" for name in ("plain", "biased")]
    first = [page.read_text(encoding="utf-8") for page in pages]
    for page in first:
        section = page.split("Comparison on the same examples", 1)[1].split("<h2>", 1)[0]
        assert section.count("<tr>") == 3 and "exact McNemar p" in section
        for line in record["comparison"]:
            found = line["result"]
            cells = [
                line["attack"],
                line["a"],
                line["b"],
                "40",
                f"{100 * found['a']:.1f} %",
                f"{100 * found['b']:.1f} %",
            ]
            cells += [found["only_a"], found["only_b"], f"{found['p']:.4g}"]
            assert "".join(f"<td><bdi>{cell}</bdi></td>" for cell in cells) in section
    for path in (pages[0], pages[1], tmp_path / "out" / "comparison.json"):
        path.unlink()
    attack_job(replace(given, resume=True))
    again = [page.read_text(encoding="utf-8") for page in pages]
    assert all(page.count("exact McNemar p") == 1 for page in again)


def test_rows_made_against_another_victim_are_called_transfer(place, tmp_path):
    attack_job(job(place, tmp_path / "a"))
    lines = tmp_path / "a" / "pwws.jsonl"
    (tmp_path / "mine.csv").write_text("text,label\nthe film was good,pos\na bad book,pos\nan awful plot,neg\n")
    given = job(place, tmp_path / "b", "biased", transfer=(lines, tmp_path / "mine.csv"), recipes=())
    (found,) = attack_job(given)["victims"]
    first, second = found["transfer"]
    assert first["kind"] == second["kind"] == "transfer" and "plain" in first["made_for"]
    broken = [o for o in read_lines(lines)[1] if o.status == "success"]
    victim = ModelVictim(*handset(WEIGHTS, bias=0.45), half=False)
    right = [int(victim.exact.answer([o.adversarial])[0].argmax()) == o.label for o in broken]
    assert first["rows"] == len(broken) > 20 and first["accuracy"] == pytest.approx(np.mean(right))
    assert 0 < first["low"] < first["accuracy"] < first["high"]
    assert second["rows"] == 3 and second["accuracy"] == pytest.approx(2 / 3)
    assert found["attacks"] == [] and json.loads((tmp_path / "b" / "results.json").read_text())["transfer"]
    attack_job(replace(given, output=tmp_path / "c", recipes=(recipes.checklist(),), examples=3))
    page = (tmp_path / "c" / "report.html").read_text()
    assert "<h2>Transfer</h2>" in page and "mine.csv" in page and "pwws.jsonl" in page


def test_columns_of_the_data_are_those_of_transfer_rows_too(place, tmp_path):
    rows = "other,remark,verdict\nx,the film was good,pos\ny,a bad book,neg\n"
    for name in ("data", "mine"):
        (tmp_path / f"{name}.csv").write_text(rows)
    named = {"data": str(tmp_path / "data.csv"), "text": ("remark",), "label": "verdict"}
    given = job(place, tmp_path / "out", transfer=(tmp_path / "mine.csv",), recipes=(), **named)
    assert attack_job(given)["victims"][0]["transfer"][0]["rows"] == 2


def test_transfer_against_the_victim_they_were_made_for_breaks_every_row(place, tmp_path):
    attack_job(job(place, tmp_path / "a"))
    given = job(place, tmp_path / "b", transfer=(tmp_path / "a" / "pwws.jsonl",), recipes=())
    assert attack_job(given)["victims"][0]["transfer"][0]["accuracy"] == 0


def test_a_file_without_adversarial_rows_is_named(place, tmp_path):
    attack_job(job(place, tmp_path / "a", recipes=(recipes.checklist(),), examples=5))
    with pytest.raises(DataError, match=r"checklist\.jsonl holds no adversarial row"):
        attack_job(job(place, tmp_path / "b", transfer=(tmp_path / "a" / "checklist.jsonl",), recipes=()))
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        attack_job(job(place, tmp_path / "c", transfer=(tmp_path / "nowhere.jsonl",), recipes=()))


def test_rows_of_transfer_are_read_before_anything_is_attacked(place, tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\nthe film was good,perhaps\n")
    with pytest.raises(DataError, match=r"mine\.csv, line 2.*perhaps"):
        attack_job(job(place, tmp_path / "b", transfer=(tmp_path / "mine.csv",)))
    assert not (tmp_path / "b").exists()


def test_progress_names_what_is_going_on(place, tmp_path):
    seen = []
    attack_job(job(place, tmp_path / "o", examples=10, calibrated=True), progress=lambda *given: seen.append(given))
    assert [title for title, *_ in seen] == ["pwws"] * 10 + ["pwws.calibrated"] * 10
    assert [done for _, done, _, _ in seen] == [*range(1, 11)] * 2 and {total for _, _, total, _ in seen} == {10}


def test_jobs_that_make_no_sense_are_refused_before_anything_is_written(place, tmp_path):
    good = job(place, tmp_path / "out", examples=4)
    pwws = good.recipes[0]
    for bad, message in (
        (replace(good, recipes=()), "nothing to do"),
        (replace(good, recipes=(pwws, pwws)), "each recipe once"),
        (replace(good, budget=0), "budget"),
        (replace(good, frozen=(0,)), "frozen"),
        (replace(good, frozen=(3,)), "frozen"),
        (replace(good, victims=(str(place / "plain"), str(place / "plain"))), "same name"),
        (replace(good, data=None), "no held-out data"),
    ):
        with pytest.raises(SettingError, match=message):
            attack_job(bad)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_in_use_is_not_written_over(place, tmp_path):
    given = job(place, tmp_path / "out", examples=4)
    (before,) = attack_job(given)["victims"]
    with pytest.raises(RunError, match=r"exists already.*--resume"):
        attack_job(given)
    lines = (tmp_path / "out" / "pwws.jsonl").stat()
    (after,) = attack_job(replace(given, resume=True))["victims"]
    assert (tmp_path / "out" / "pwws.jsonl").stat().st_mtime_ns == lines.st_mtime_ns
    assert after["attacks"] == before["attacks"] and after["attacks"][0]["resumed_after"] == 0


def test_results_of_another_recipe_are_not_written_over(place, tmp_path):
    attack_job(job(place, tmp_path / "out", examples=4))
    before = (tmp_path / "out" / "results.json").read_bytes()
    with pytest.raises(RunError, match=r"results\.json exists already.*--resume"):
        attack_job(job(place, tmp_path / "out", examples=4, recipes=(recipes.deepwordbug(),)))
    assert (tmp_path / "out" / "results.json").read_bytes() == before


def test_going_on_keeps_what_other_attacks_found_and_what_all_of_them_cost(place, tmp_path):
    given = job(place, tmp_path / "out", examples=4)
    (before,) = attack_job(given)["victims"]
    other = replace(given, recipes=(recipes.deepwordbug(),), resume=True)
    with pytest.raises(RunError, match=r"has results of pwws; go on with --resume --recipe pwws,deepwordbug, or"):
        attack_job(other)
    (after,) = attack_job(replace(other, recipes=(*given.recipes, *other.recipes)))["victims"]
    assert [entry["title"] for entry in after["attacks"]] == ["pwws", "deepwordbug"]
    assert after["worst_case"] is not None and after["attacks"][1]["resumed_after"] == 0
    for key in ("seconds", "service_seconds", "service_answers"):
        assert after["attacks"][0][key] == before["attacks"][0][key], key
    (tmp_path / "mine.csv").write_text("text,label\na bad book,neg\n")
    scored = replace(given, output=tmp_path / "t", transfer=(tmp_path / "mine.csv",))
    attack_job(scored)
    with pytest.raises(RunError, match=r"results of .*mine\.csv; go on with --resume --recipe pwws --transfer .*mine"):
        attack_job(replace(scored, transfer=(), resume=True))
    (tmp_path / "out" / "results.json").write_text("[]")
    with pytest.raises(RunError, match=r"results\.json cannot be read.*remove it"):
        attack_job(replace(given, resume=True))


def test_a_calibrated_attack_goes_on_at_the_temperature_that_it_began_with(place, tmp_path, monkeypatch):
    """Fitted again, on other threads, it differs in its last digits."""
    given = job(place, tmp_path / "out", "sure", calibrated=True, examples=20)
    (before,) = attack_job(given)["victims"]
    fitted = before["calibration"]["temperature"]
    for name in ("results.json", "report.html"):
        (tmp_path / "out" / name).unlink()
    monkeypatch.setattr("sparring.evaluate.attacks.calibrated_temperature", lambda *rows: fitted * 1.0001)
    (after,) = attack_job(replace(given, resume=True))["victims"]
    assert after["calibration"]["temperature"] == fitted and after["attacks"][1]["resumed_after"] == 20
    monkeypatch.setattr("sparring.evaluate.attacks.calibrated_temperature", lambda *rows: fitted * 1.1)
    with pytest.raises(RunError, match=r"belongs to another attack: temperature differ"):
        attack_job(replace(given, resume=True))


def test_runs_with_different_held_out_data_are_not_compared(tmp_path):
    for name, rows in (("a", "good"), ("b", "bad")):
        save(tmp_path / name, bias=0.05, names=("no", "yes"))
        (tmp_path / f"{name}.csv").write_text(f"text,label\nthe film was {rows},yes\na bad book,no\n")
        described = {
            "settings": {"data": "train.csv", "eval_data": str(tmp_path / f"{name}.csv"), "text": None, "label": None},
            "method": {"name": "fgm"}, "data": {}, "labels": ["no", "yes"], "fields": 1, "metric": "accuracy",
        }  # fmt: skip
        (tmp_path / name / "run.yaml").write_text(json.dumps(described))
    runs = (str(tmp_path / "a"), str(tmp_path / "b"))
    given = AttackJob(victims=runs, recipes=(recipes.deepwordbug(),), output=tmp_path / "o")
    with pytest.raises(SettingError, match=r"different held-out data.*--data"):
        attack_job(given)
    assert not (tmp_path / "o").exists()
    assert attack_job(replace(given, data=str(tmp_path / "a.csv")))["comparison"]


def test_a_run_is_attacked_on_its_own_held_out_data(place, tmp_path):
    save(tmp_path / "run", bias=0.05, names=("no", "yes"))
    (tmp_path / "dev.csv").write_text("body,other,y\nthe film was good,x,yes\na bad book,x,no\n")
    described = {
        "settings": {"data": "train.csv", "eval_data": str(tmp_path / "dev.csv"), "text": "body", "label": "y"},
        "method": {"name": "fgm"}, "data": {}, "labels": ["no", "yes"], "fields": 1, "metric": "accuracy",
    }  # fmt: skip
    (tmp_path / "run" / "run.yaml").write_text(json.dumps(described))
    given = AttackJob(victims=(str(tmp_path / "run"),), recipes=(recipes.deepwordbug(),), output=tmp_path / "o")
    (found,) = attack_job(given)["victims"]
    assert found["labels"] == ["no", "yes"] and found["data"]["rows"] == 2
    assert found["attacks"][0]["summary"]["clean_accuracy"] == 1.0


# processes and batches


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def in_processes(count, function):
    """Run a function in several processes that know of each other, as torchrun starts them."""
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    children = [forked(function, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]
    return [exit_code(child) for child in children]


def test_two_processes_do_what_one_does(place, tmp_path, capfd):
    both = (recipes.pwws(synonyms=place / "synonyms.json"), recipes.deepwordbug())
    given = {"calibrated": True, "recipes": both, "examples": 50}
    alone = attack_job(job(place, tmp_path / "one", "plain", "biased", **given))

    def share():
        record = attack_job(job(place, tmp_path / "two", "plain", "biased", **given))
        shown = [[accuracy(entry) for entry in victim["attacks"]] for victim in record["victims"]]
        (tmp_path / f"{os.environ['RANK']}.json").write_text(json.dumps(shown))

    assert in_processes(2, share) == [0, 0], capfd.readouterr().err
    wanted = [[accuracy(entry) for entry in victim["attacks"]] for victim in alone["victims"]]
    assert all(json.loads((tmp_path / f"{rank}.json").read_text()) == wanted for rank in (0, 1))
    same = rows = 0
    for victim in ("plain", "biased"):
        for name in ("pwws", "pwws.calibrated", "deepwordbug", "deepwordbug.calibrated"):
            one = {o.row: o for o in read_lines(tmp_path / "one" / victim / f"{name}.jsonl")[1]}
            parts = [read_lines(tmp_path / "two" / victim / f"{name}{rank}.jsonl")[1] for rank in ("", ".1")]
            assert [{o.row % 2 for o in part} for part in parts] == [{0}, {1}]
            two = {o.row: o for part in parts for o in part}
            assert one.keys() == two.keys() and sum(map(len, parts)) == 50
            same += sum(one[row].adversarial == two[row].adversarial for row in one)
            rows += len(one)
    assert same / rows >= 0.995
    one, two = (json.loads((tmp_path / n / "comparison.json").read_text()) for n in ("one", "two"))
    assert one == two
    before = {path: path.read_bytes() for path in (tmp_path / "two").rglob("*.jsonl")}

    def again():
        attack_job(job(place, tmp_path / "two", "plain", "biased", **given, resume=True))

    assert in_processes(2, again) == [0, 0], capfd.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    again()  # and one process may go on with what two began
    assert {path: path.read_bytes() for path in before} == before


def test_how_large_batches_are_changes_nothing_but_the_last_bits():
    model, tokenizer = random_model("bert")
    random = np.random.default_rng(4)
    texts = [(" ".join(random.choice(WORDS, size=random.integers(2, 7))),) for _ in range(120)]
    victims = [ModelVictim(model, tokenizer, tokens=10**6, batch=n, half=False, max_length=40) for n in (1, 32, 512)]
    gold = [int(found.argmax()) for found in victims[0].exact.answer(texts)]
    runs = [attack(victim, list(zip(texts, gold, strict=True)), recipes.deepwordbug()).outcomes for victim in victims]
    assert sum(o.status == "success" for o in runs[0]) > 60 and sum(o.status == "failed" for o in runs[0]) > 5
    asked = list(dict.fromkeys(o.adversarial for run in runs for o in run if o.adversarial) | dict.fromkeys(texts))
    scores = [np.stack(victim.quick.answer(asked)) for victim in victims]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(scores[one] - scores[other]).max() < 1e-5
        same = [a.adversarial == b.adversarial for a, b in zip(runs[one], runs[other], strict=True)]
        assert np.mean(same) >= 0.995
