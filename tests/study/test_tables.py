import csv
import io
import json
import re
from dataclasses import replace

import pytest
from fake_study import write_study

from sparring.errors import SettingError
from sparring.study.summarise import summarise
from sparring.study.tables import COLUMNS, tables

SMALL = {
    "arms": ("standard", "attack-rows", "a2t", "pgd"),
    "attacks": ("textfooler",),
    "rows": 200,
    "attacked_rows": 100,
}


pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return summarise(
        write_study(folder, effects=2.0, missing=("pgd, seed 2",), failed=("a2t, seed 1: curve",), **SMALL)
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    arms = ("standard", "eda", "attack-rows", "a2t", "random", "pgd", "vat")  # one for each payload
    options = {**SMALL, "arms": arms, "budgets": ("epochs",), "cross": ()}
    return summarise(write_study(folder, hostile=True, failed=("seed 2: attack",), damaged=1, **options))


def cell_of(summary, arm="a2t", what="attack"):
    return next(c for c in summary.cells if c.arm == arm and c.measure.what == what and c.group.budget == "epochs")


def records(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_markdown_shows_figures_differences_costs_claims_and_what_is_missing(summary):
    text, cell = tables(summary, "md"), cell_of(summary)
    low, high = cell.spread.bootstrap_interval
    assert f"{100 * cell.spread.mean:.1f} ({100 * low:.1f} to {100 * high:.1f}) ▲" in text
    assert f"+{100 * cell.comparison.difference:.1f} (" in text and "p &lt; 0.001" in text
    assert "| standard | 61 | 1.0 | 48 | 1.40 | 22.7 |" in text
    assert "- a2t is more robust than standard under textfooler: +" in text
    assert "## Not done yet\n\n- sst2: pgd, seed 2: train" in text
    assert "- sst2: a2t, seed 1: curve radius: ModelError: the loss is not finite" in text
    assert text.startswith("# Study made-up\n\n## Questions\n\n### Which family is more robust")


def test_markdown_tables_have_as_many_cells_in_each_row(summary):
    blocks = re.findall(r"(?:^\|.*\n)+", tables(summary, "md"), flags=re.M)
    assert len(blocks) >= 8
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_latex_has_booktabs_tables_of_even_rows_and_balanced_braces(summary):
    text = tables(summary, "tex")
    found = re.findall(r"\\begin\{tabular\}\{(l r*|lr*)\}\n\\toprule\n(.*?)\\bottomrule", text, flags=re.S)
    assert len(found) >= 8
    for columns, body in found:
        for row in (line for line in body.splitlines() if line.endswith(r"\\")):
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
    assert text.count("\\begin{") == text.count("\\end{") and "$^{+}$" in text and "−" not in text
    assert r"95 \% intervals" in text


def test_csv_is_one_line_an_arm_and_measure_and_one_a_cost(summary):
    lines, cell = records(tables(summary, "csv")), cell_of(summary)
    assert len(lines) == len(summary.cells) + 3 * len(summary.costs)
    wanted = {"arm": "a2t", "what": "attack", "name": "textfooler", "budget": "epochs"}
    (line,) = [line for line in lines if wanted.items() <= line.items()]
    assert float(line["mean"]) == cell.spread.mean and float(line["p_holm"]) == cell.comparison.p_holm
    assert (line["verdict"], line["seeds"], line["records"].split()) == ("better", "3", list(cell.spread.jobs))
    assert int(line["only_arm_right"]) == cell.comparison.discordant[0]
    assert list(line) == list(COLUMNS)
    cost = next(
        line for line in lines if line["what"] == "cost" and line["arm"] == "a2t" and line["budget"] == "epochs"
    )
    assert (cost["name"], float(cost["mean"]), cost["p"]) == ("train_seconds", 241.0, "")


def test_json_holds_everything(summary):
    read = json.loads(tables(summary, "json"))
    assert len(read["cells"]) == len(summary.cells) and len(read["claims"]) == len(summary.claims)
    assert read["cells"][0]["spread"]["jobs"] == list(summary.cells[0].spread.jobs)
    assert read["questions"][0]["verdict"] == summary.questions[0].verdict
    assert read["missing"] == list(summary.missing)


def test_an_unknown_format_is_an_error_that_names_the_nearest():
    with pytest.raises(SettingError, match="md"):
        tables(None, "mdd")


def test_hostile_texts_are_inert_in_markdown(hostile):
    text = tables(hostile, "md")
    assert "document.title" in text  # they are shown
    assert not re.search(r"<(script|img|/script|!--)", text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    assert "\\`" not in text.replace("\\\\`", "") or "`" not in re.sub(r"\\`", "", text)
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_hostile_texts_are_inert_in_latex(hostile):
    text = tables(hostile, "tex")
    assert "\\input" not in text and "\\textbackslash{}input" in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    own = re.sub(r"\$(-|\^\{[+-]\}|\\[lr]angle)\$|\\[$%#&_{}\\]", "", body)
    assert not re.search(r"[$%#_^~]", own)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)
    opened = len(re.findall(r"(?<!\\)\{", body))
    assert opened == len(re.findall(r"(?<!\\)\}", body))


def test_no_cell_of_the_csv_is_a_formula(hostile):
    text = tables(hostile, "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert len({len(row) for row in rows}) == 1
    for value in (value for row in rows for value in row):
        number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value)
        assert number or not re.match(r"\s*[=+\-@\t\r]", value), value


def test_names_that_begin_like_formulas_get_an_apostrophe(tmp_path):
    plan = json.loads((write_study(tmp_path, budgets=("epochs",), seeds=(0, 1), **SMALL) / "plan.json").read_text())
    from sparring.study.job import Job
    from sparring.study.records import Records
    from sparring.study.summarise import summarise_records

    jobs = [Job.read(values) for values in plan["jobs"] if values["kind"] == "score"]
    bad = '=1+1+cmd|"/c calc"!A1'
    jobs = [Job(**{**vars(job), "arm": bad} if job.arm == "standard" else {**vars(job)}) for job in _plain(jobs)]
    lines = {}
    for job in jobs:
        right = "10" * 50
        result = {"cross_domain": False, "metric": "accuracy", "rows": 100, "sha256": "0", "correct": right}
        lines[job.id] = {"job": job.id, "status": "done", "result": {**result, "scores": {"accuracy": 0.5}}}
    found = summarise_records({**plan["study"], "baseline": bad}, jobs, Records(lines))
    assert f"'{bad}" in {line["arm"] for line in records(tables(found, "csv"))}
    assert "| =1+1+cmd\\|" in tables(found, "md")


def _plain(jobs):
    for job in jobs:
        vars(job).pop("id", None)  # asked before, and kept
        yield job


def test_quotes_and_carriage_returns_are_harmless_in_latex(summary):
    text = tables(replace(summary, name='a\r"b"\\input{x}'), "tex")
    assert text.startswith("% Study a") and "\r" not in text and "textquotedbl" not in text
    assert "\\input" not in "\n".join(line for line in text.splitlines() if not line.startswith("%"))
