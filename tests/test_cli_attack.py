"""`sparring attack` as a user meets it: what it prints, what it writes, and one clear message for each mistake."""

import io
import json
import math
import sys

import pytest
import torch
from commands import sparring
from puppets import WEIGHTS, exit_code, forked, handset
from rich.console import Console

from sparring import cli
from sparring.attack.recipes import RECIPES

ROWS = [("the film was good", "pos"), ("a great plot and a fine book", "pos"), ("the film was awful", "neg")]
ROWS += [("a bad book", "neg"), ("fine", "pos"), ("the plot was not very good", "pos"), ("good " * 300, "pos")]


def save(folder, *, damage=None, **settings):
    model, tokenizer = handset(**settings)
    if damage is not None:
        with torch.no_grad():
            model.classifier.weight.fill_(damage)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two victims, one whose weights have diverged, and data."""
    folder = tmp_path_factory.mktemp("cli")
    save(folder / "model", bias=0.02)
    save(folder / "other", weights={**WEIGHTS, "[UNK]": 0.5}, bias=0.02)
    save(folder / "diverged", damage=math.nan)
    write(folder / "data.csv", ROWS)
    return folder


def write(path, rows, columns="text,label"):
    path.write_text(columns + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch):
    monkeypatch.setattr("sparring.evaluate.attacks._encoder", lambda: None)


def attack(place, output, *more, capsys, model="model"):
    base = ["attack", place / model, "--data", place / "data.csv", "--output", output, "--precision", "fp32"]
    return sparring(*base, *more, capsys=capsys)


def test_recipes_are_shown_beside_each_other_with_the_worst_case(place, tmp_path, capsys):
    code, out, err = attack(
        place, tmp_path / "o", "--recipe", "deepwordbug, random-characters", "--calibrated", capsys=capsys
    )
    assert code == 0, err
    for part in ("deepwordbug", "random-characters", "T=", "worst case", "minimum", "report.html"):
        assert part in out, out
    assert "…" not in out  # no figure is cut off, in 80 columns
    assert "7 examples" in err and (tmp_path / "o" / "report.html").stat().st_size > 5000
    record = json.loads((tmp_path / "o" / "results.json").read_text())
    titles = [entry["title"] for entry in record["attacks"]]
    assert titles == ["deepwordbug", "deepwordbug.calibrated", "random-characters", "random-characters.calibrated"]
    assert record["attacks"][0]["summary"]["clean_accuracy"] == 1.0
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == sorted(
        [*(f"{title}.jsonl" for title in titles), "report.html", "results.json"]
    )


def test_json_is_one_document_and_nothing_else_is_on_stdout(place, tmp_path, capsys):
    code, out, _ = attack(place, tmp_path / "o", "--recipe", "deepwordbug", "--json", capsys=capsys)
    record = json.loads(out)
    assert code == 0 and record["victims"][0]["attacks"][0]["recipe"] == "deepwordbug"
    assert out == json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    code, out, _ = sparring(
        "attack",
        "--model",
        place / "model",
        "--text",
        "a good film",
        "--recipe",
        "deepwordbug",
        "--json",
        capsys=capsys,
    )
    (found,) = json.loads(out)
    assert code == 0 and found["status"] == "success" and (found["predicted"], found["attacked"]) == ("pos", "neg")


def test_two_models_are_compared(place, tmp_path, capsys):
    code, out, err = attack(
        place, tmp_path / "o", place / "other", "--recipe", "deepwordbug", "--data", place / "data.csv", capsys=capsys
    )
    assert code == 0 and "exact McNemar p = " in err and "7 examples" in err
    assert out.count("report.html") == 2 and (tmp_path / "o" / "comparison.json").is_file()


def test_a_variant_that_there_is_not_is_said_and_recorded(place, tmp_path, capsys):
    path = write(tmp_path / "few.csv", ROWS[:2])
    more = ["--recipe", "charmer,deepwordbug", "--variant", "textattack", "--set", "edits=1", "--data", path]
    code, _, err = attack(place, tmp_path / "o", *more, capsys=capsys)
    said = ["variant textattack: charmer has no other variant than paper"]
    assert code == 0 and f"charmer: ignored: {said[0]}" in err
    assert "deepwordbug: ignored: edits 1: deepwordbug has no such option" in err
    first, second = json.loads((tmp_path / "o" / "results.json").read_text())["attacks"]
    assert (first["variant"], first["ignored"]) == ("paper", said) and second["variant"] == "textattack"
    assert said[0] in (tmp_path / "o" / "report.html").read_text()
    code, _, err = sentence(place, "a good film", capsys=capsys, recipe="checklist", more=("--variant", "textattack"))
    assert code == 0 and "checklist: ignored: variant textattack" in err


def test_one_sentence_says_what_its_attack_went_without(place, capsys):
    more = ("--without", "stop-words", "--synonyms", "victim")
    code, _, err = sentence(place, "a good film", capsys=capsys, recipe="random", more=more)
    assert code == 0 and "random: off: stop words" in err and "random: stands in: synonyms" in err
    code, out, _ = sentence(place, "a good film", capsys=capsys, recipe="random", more=(*more, "--json"))
    (found,) = json.loads(out)
    assert found["off"] == ["stop words"] and "stands in" in found["stand_ins"][0] and found["differs"] == []


def test_what_differs_from_the_paper_is_said_and_recorded(place, tmp_path, capsys):
    code, _, err = attack(place, tmp_path / "o", "--recipe", "deepwordbug", "--examples", 1, capsys=capsys)
    assert code == 0 and "deepwordbug: differs from the paper: words are ordered by" in err
    (found,) = json.loads((tmp_path / "o" / "results.json").read_text())["attacks"]
    assert found["differs"] and found["differs"][0].split(",")[0] in (tmp_path / "o" / "report.html").read_text()


def test_transfer_is_called_so(place, tmp_path, capsys):
    assert attack(place, tmp_path / "a", "--recipe", "deepwordbug", capsys=capsys)[0] == 0
    lines = tmp_path / "a" / "deepwordbug.jsonl"
    more = ["--recipe", "random-characters", "--transfer", lines]
    code, out, err = attack(place, tmp_path / "b", *more, capsys=capsys, model="other")
    assert code == 0 and "transfer: deepwordbug.jsonl" in out, err
    (found,) = json.loads((tmp_path / "b" / "results.json").read_text())["transfer"]
    assert found["kind"] == "transfer" and "model" in found["made_for"] and found["accuracy"] > 0


def test_transfer_alone_scores_its_rows_and_attacks_nothing(place, tmp_path, capsys):
    path = write(tmp_path / "hard.csv", [("the film was good", "pos"), ("a great plot", "neg")])
    code, out, err = attack(place, tmp_path / "o", "--transfer", path, capsys=capsys)
    assert code == 0 and "transfer: hard.csv: 50.0" in out and "report" not in out, err
    assert [file.name for file in (tmp_path / "o").iterdir()] == ["results.json"]
    assert json.loads((tmp_path / "o" / "results.json").read_text())["attacks"] == []
    code, _, err = attack(place, tmp_path / "o", "--transfer", path, "--recipe", "", capsys=capsys)
    assert code == 2 and "results.json exists already" in err
    more = ["--calibrated", "--set", "k=3", "--budget", 9]
    code, _, err = attack(place, tmp_path / "p", "--transfer", path, *more, capsys=capsys)
    assert code == 2 and "--calibrated, --budget, --set: no recipe is named" in err and not (tmp_path / "p").exists()


def test_pairs_are_attacked_in_the_column_that_is_not_frozen(place, tmp_path, capsys):
    rows = [("a book", "the film was good", "pos"), ("a great plot", "a bad film", "neg"), ("the", "fine", "pos")]
    path = write(tmp_path / "pairs.csv", rows, "premise,claim,label")
    more = ["--recipe", "deepwordbug", "--data", path, "--column", "premise, claim", "--frozen", 0, "--json"]
    code, _, err = attack(place, tmp_path / "o", *more, capsys=capsys)
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "o" / "deepwordbug.jsonl").read_text().splitlines()[1:]]
    broken = [line for line in lines if line["status"] == "success"]
    assert broken and all(line["adversarial"][0] == line["original"][0] for line in broken)
    assert {line["words"] for line in lines} == {4, 3, 1}


# one sentence


def sentence(place, *texts, capsys, recipe="deepwordbug", more=()):
    given = [part for text in texts for part in ("--text", text)]
    return sparring("attack", "--model", place / "model", *given, "--recipe", recipe, *more, capsys=capsys)


def test_a_sentence_is_shown_with_marks_where_there_is_no_terminal(place, capsys):
    code, out, err = sentence(place, "a good film", capsys=capsys)
    assert code == 0, err
    first, second = out.splitlines()
    assert first.startswith("deepwordbug: pos (") and "-> neg, 1 of 3 words" in first and "queries" in first
    assert second.strip().startswith("a [-good-]{+") and second.endswith("+} film") and "\x1b" not in out


def test_a_sentence_is_coloured_on_a_terminal(place, capsys, monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, color_system="standard", highlight=False)
    monkeypatch.setattr(sys.modules["sparring.cli.attack"], "out", console)
    assert sentence(place, "a good film", capsys=capsys)[0] == 0
    assert "\x1b[9;31mgood" in shown.getvalue() and "\x1b[1;32m" in shown.getvalue() and "[-" not in shown.getvalue()


def test_a_pair_is_two_texts_of_which_one_may_be_frozen(place, capsys):
    code, out, _ = sentence(place, "a book", "a good film", capsys=capsys, more=("--frozen", 0))
    assert code == 0 and out.splitlines()[1].strip() == "a book" and "a [-good-]{+" in out.splitlines()[2]


def test_options_that_say_nothing_of_a_sentence_are_refused(place, tmp_path, capsys):
    more = ["--data", "nowhere.csv", "--output", tmp_path / "o", "--calibrated", "--resume", "--transfer", "nowhere"]
    code, out, err = sentence(place, "a good film", capsys=capsys, more=more)
    assert code == 2 and not out and "--data, --output, --resume, --calibrated, --transfer: --text attacks one" in err
    for flag, value in (("--split", "test"), ("--column", "x"), ("--label", "y"), ("--examples", 3)):
        code, _, err = sentence(place, "a good film", capsys=capsys, more=(flag, value))
        assert code == 2 and f"{flag}: --text attacks one sentence" in err


def test_a_sentence_that_holds_says_why(place, capsys):
    code, out, _ = sentence(place, "the", capsys=capsys)
    assert code == 0 and "held" in out and "no word may be changed" in out
    code, out, _ = sentence(place, "a good film", capsys=capsys, more=("--budget", 1))
    assert code == 0 and "held" in out and "budget is used up" in out


@pytest.mark.parametrize(
    "text", ["a good \x1b[31mfilm\x07", "a \u202egood film", "[bold]a great great great film[/bold]", "good \x00"]
)
def test_hostile_sentences_are_not_obeyed(place, capsys, text):
    code, out, err = sentence(place, text, capsys=capsys)
    assert code == 0, err
    assert not {"\x1b", "\u202e", "\x07", "\x00"} & set(out)
    assert "[bold]" not in text or "[bold]" in out


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_bytes_that_are_no_utf8_are_no_traceback(place, capfd, more):
    """What a shell hands over of them is half a surrogate pair, and what stdout takes is UTF-8."""
    given = ["attack", "--model", str(place / "model"), "--text", "good caf\udce9", "--recipe", "deepwordbug", *more]

    def run():
        sys.argv, sys.stdout = ["sparring", *given], io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8")
        cli.main()

    assert exit_code(forked(run)) == 0
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err and ("[-good-]" in out or json.loads(out)[0]["status"] == "success")


# mistakes

MISTAKES = {
    "an unknown recipe": (["--recipe", "deepwordbugg"], ["'deepwordbugg'", "did you mean 'deepwordbug'"]),
    "no recipe": (["--recipe", ","], ["no recipe"]),
    "a recipe twice": (["--recipe", "deepwordbug,deepwordbug"], ["each recipe once"]),
    "a budget of nothing": (["--budget", 0], ["--budget is 0", "1 or more"]),
    "a budget below nothing": (["--budget", -1], ["--budget is -1"]),
    "an unknown precision": (["--precision", "fp8"], ["'fp8'", "fp32"]),
    "an unknown variant": (["--variant", "papers"], ["'papers'", "textattack"]),
    "an unknown variant by --set": (["--set", "variant=papers"], ["papers"]),
    "an unknown constraint": (["--without", "edit-distanc"], ["edit_distance"]),
    "an unknown option": (["--set", "alphabett=x"], ["'alphabett'"]),
    "an option that is no number": (["--recipe", "genetic", "--set", "k=many"], ["k=many", "whole number"]),
    "another one": (["--recipe", "bert-attack", "--set", "k=many"], ["k=many"]),
    "an option out of range": (["--recipe", "genetic", "--set", "k=0"], ["k=0", "1 or more"]),
    "an option that is neither true nor false": (["--set", "all_places=maybe"], ["all_places=maybe", "true or false"]),
    "a column that is not there": (["--frozen", 1], ["frozen is 1", "one column"]),
    "all columns frozen": (["--frozen", 0], ["frozen is 0", "every text column"]),
    "data that are nowhere": (["--data", "nowhere.csv"], ["nowhere.csv"]),
    "a text column that is not there": (["--column", "body"], ["body"]),
    "synonyms that are nowhere": (["--recipe", "random", "--synonyms", "nowhere.txt"], ["nowhere.txt"]),
    "synonyms for a recipe that has none": (["--synonyms", "minilm"], ["--synonyms minilm", "none of deepwordbug"]),
    "a masked model that nobody asks": (["--masked-lm", "x"], ["--masked-lm x", "none of deepwordbug"]),
    "an unknown variant of a recipe that has one": (["--recipe", "charmer", "--variant", "papers"], ["'papers'"]),
    "a masked model that is nowhere": (["--recipe", "bae", "--masked-lm", "/no/where"], ["/no/where"]),
    "rows to calibrate on that are nowhere": (["--calibrate-on", "nowhere.csv"], ["nowhere.csv"]),
    "transfer rows that are nowhere": (["--transfer", "nowhere.jsonl"], ["nowhere.jsonl"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_message_with_the_way_out_and_leaves_nothing(mistake, place, tmp_path, capsys):
    flags, wanted = MISTAKES[mistake]
    recipe = [] if "--recipe" in flags else ["--recipe", "deepwordbug"]
    code, out, err = attack(place, tmp_path / "o", *recipe, *flags, capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and "Traceback" not in err + out and not out
    for part in wanted:
        assert part in err, err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("rows", "columns", "wanted"),
    [
        ([("good", "pos"), ("  ", "neg")], "text,label", ["data.csv", "empty"]),
        ([("good", "pos"), ("bad", "sad")], "text,label", ["data.csv", "'sad'"]),
        ([("good", 0.5), ("bad", 0.25)], "text,label", ["data.csv"]),
        ([("good", 0), ("bad", 7)], "text,label", ["data.csv", "'7'", "0 neg, 1 pos"]),
    ],
)
def test_rows_that_cannot_be_attacked_are_named(place, tmp_path, capsys, rows, columns, wanted):
    path = write(tmp_path / "data.csv", rows, columns)
    more = ["--recipe", "deepwordbug", "--data", path]
    code, out, err = attack(place, tmp_path / "o", *more, capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and "Traceback" not in err + out
    assert all(part in err for part in wanted), err
    assert not (tmp_path / "o").exists()


def test_a_victim_that_is_always_wrong_is_no_success_and_is_said_so(place, tmp_path, capsys):
    path = write(tmp_path / "swapped.csv", [(text, "neg" if label == "pos" else "pos") for text, label in ROWS])
    code, out, err = attack(place, tmp_path / "o", "--recipe", "deepwordbug", "--data", path, capsys=capsys)
    assert code == 0 and "Traceback" not in err + out and "nan" not in out.lower()
    assert "no correctly classified example" in err + out
    assert "no correctly classified example" in (tmp_path / "o" / "report.html").read_text()


def test_a_victim_that_has_diverged_is_one_message(place, tmp_path, capsys):
    more = ["--recipe", "deepwordbug", "--calibrated"]
    for flags in (more[:2], more):
        code, out, err = attack(place, tmp_path / "o", *flags, "--resume", capsys=capsys, model="diverged")
        assert code == 2 and err.count("error:") == 1 and "diverged" in err and "Traceback" not in err + out
        assert not (tmp_path / "o" / "results.json").exists()


def test_a_resource_with_a_wrong_checksum_is_one_message(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path / "home"))
    (tmp_path / "v.txt").write_text("good 1 0\nfine 1 0.1\nbad -1 0\n")
    assert sparring("resources", "add", "counterfitted", "--from", tmp_path / "v.txt", capsys=capsys)[0] == 0
    flags = ["--recipe", "random", "--synonyms", "counterfitted"]
    assert attack(place, tmp_path / "good", *flags, capsys=capsys)[0] == 0
    path = next((tmp_path / "home" / "counterfitted").glob("*.npz"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, _, err = attack(place, tmp_path / "o", *flags, capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and "SHA-256" in err and "resources add" in err
    assert not (tmp_path / "o").exists()


def test_paths_of_resources_are_listed_whole(tmp_path, capsys, monkeypatch):
    home = tmp_path / ("long" * 30) / "home"
    monkeypatch.setenv("SPARRING_HOME", str(home))
    (tmp_path / "v.txt").write_text("good 1 0\nfine 1 0.1\nbad -1 0\n")
    assert sparring("resources", "add", "counterfitted", "--from", tmp_path / "v.txt", capsys=capsys)[0] == 0
    code, out, _ = sparring("resources", "list", capsys=capsys)
    (line,) = [line for line in out.splitlines() if str(home / "counterfitted") in line]
    assert code == 0 and line.startswith("counterfitted: ") and "…" not in out


@pytest.mark.parametrize("name", ["a word", "empty", "nowhere"])
def test_what_cannot_be_attacked_is_one_message(name, place, tmp_path, capsys):
    target = tmp_path if name == "empty" else name
    for flags in (["--data", place / "data.csv", "--output", tmp_path / "o"], ["--text", "good"]):
        code, out, err = sparring("attack", target, "--recipe", "deepwordbug", *flags, capsys=capsys)
        assert code == 2 and err.count("error:") == 1 and "Traceback" not in err + out
    assert not (tmp_path / "o").exists()


def test_nothing_to_attack_or_an_empty_sentence_is_one_message(place, capsys):
    assert "name a run folder" in sparring("attack", capsys=capsys)[2]
    assert "nothing to attack" in sparring("attack", "--text", "good", capsys=capsys)[2]
    for text in ("", "  "):
        code, _, err = sentence(place, text, capsys=capsys)
        assert code == 2 and "empty" in err
    code, _, err = sentence(place, "good", capsys=capsys, more=("--frozen", 3))
    assert code == 2 and "frozen" in err


def test_an_output_that_cannot_be_written_is_one_message(place, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, out, err = attack(place, tmp_path / "file", "--recipe", "deepwordbug", capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and "--output" in err and "Traceback" not in err + out


def test_a_disk_that_is_full_when_the_results_are_written_is_one_message(place, tmp_path, capsys, monkeypatch):
    from pathlib import Path

    whole = Path.write_text

    def full(self, *args, **kwargs):
        if "report.html" in self.name:
            raise OSError(28, "No space left on device")
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    code, out, err = attack(place, tmp_path / "o", "--recipe", "deepwordbug", capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and "No space left" in err and "Traceback" not in err + out
    assert (tmp_path / "o" / "deepwordbug.jsonl").is_file() and not (tmp_path / "o" / "report.html").exists()


# recipes


def test_recipes_are_listed_and_each_is_shown_with_its_constants(capsys, monkeypatch, tmp_path):
    code, out, _ = sparring("recipes", "--json", capsys=capsys)
    names = [row["name"] for row in json.loads(out)]
    assert code == 0 and set(names) == set(RECIPES)
    for name in ("deepwordbug", "bert-attack", "charmer", "random-characters"):
        code, out, _ = sparring("recipes", "show", name, "--json", capsys=capsys)
        shown = json.loads(out)
        assert code == 0 and shown["recipe"] == name and shown["about"]
        assert shown["constants"] or name.startswith("random")
    monkeypatch.setattr("sparring.attack.resources._elsewhere", lambda name: None)
    monkeypatch.setenv("SPARRING_HOME", str(tmp_path))
    for name in names:  # no resource anywhere
        code, out, _ = sparring("recipes", "show", name, "--json", capsys=capsys)
        assert code == 0 and (json.loads(out)["constants"] or name.startswith(("random", "checklist"))), name
    code, out, err = sparring("recipes", "show", "bert-attack", capsys=capsys)
    assert "share of words" in out and "missing here: the resource 'masked_lm'" in err
    code, out, _ = sparring("recipes", "show", "deepwordbug", capsys=capsys)
    assert code == 0 and "edit distance" in out and "TextAttack 0.3.11" in out
    code, _, err = sparring("recipes", "show", "pws", capsys=capsys)
    assert code == 2 and "did you mean 'pwws'" in err


def test_ctrl_c_says_how_to_go_on_and_going_on_gives_the_same(place, tmp_path, monkeypatch, capsys):
    assert attack(place, tmp_path / "whole", capsys=capsys)[0] == 0
    from sparring.attack.records import Writer

    add, written = Writer.add, []

    def stopped_after_two(self, outcome):
        add(self, outcome)
        written.append(outcome.row)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "add", stopped_after_two)
    code, _, err = attack(place, tmp_path / "o", capsys=capsys)
    assert code == 130 and f"are kept in {tmp_path / 'o'}; the same command with --resume goes on" in err
    code, _, err = attack(place, tmp_path / "o", "--resume", capsys=capsys)
    assert code == 0, err
    assert sorted(written) == list(range(len(ROWS)))  # none twice
    whole, resumed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "o"))
    assert resumed["attacks"][0]["summary"] == whole["attacks"][0]["summary"]
    monkeypatch.setattr("sparring.evaluate.attacks.as_victim", interrupted)
    code, _, err = attack(place, tmp_path / "early", capsys=capsys)
    assert code == 130 and "stopped before any example had ended; nothing was written" in err


def interrupted(*_, **__):
    raise KeyboardInterrupt
