"""What is cited for a run: complete, checked against cards and recipes, and found in every kind of folder."""

import json
import re
from pathlib import Path

import pytest
import yaml
from commands import sparring

from sparring import METHODS, __version__
from sparring.adapters.shape import AdapterShape
from sparring.attack.recipes import RECIPES
from sparring.cite.entries import Entry, bibliography, parse, uses_named
from sparring.cite.used import Used
from sparring.errors import RunError, SettingError
from sparring.train.augment import WAYS
from sparring.train.online import CONTROL, SAMPLERS

ROOT = Path(__file__).parents[1]
ADD = "add an entry below a line '% {0}' to cite/citations.bib, or '{0}' to what there is nothing to cite for there"


def run(folder, *, method="standard", **settings):
    """A run folder as far as citations are concerned."""
    folder.mkdir(parents=True)
    content = {"settings": {"method": method, "model": "minilm", **settings}, "method": {"name": method}}
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    return folder


def keys(path):
    """Keys of what is cited for a folder or file, and the notes."""
    used = Used()
    used.read(path)
    return {entry.key for entry in bibliography().of(used.uses)}, used.notes


MINILM = {"wang2020minilm", "reimers2019sentence"}


@pytest.mark.parametrize("kind, names", [("method", METHODS), ("recipe", RECIPES)])
def test_every_method_and_recipe_is_cited_or_said_to_have_no_paper(kind, names):
    for name in names:
        assert bibliography().knows((kind, name)), ADD.format(f"{kind} {name}")


def test_so_is_every_way_to_attack_training_rows_to_make_rows_and_to_adapt_a_model():
    for name in (*SAMPLERS, CONTROL):
        assert bibliography().knows(("online", name)), ADD.format(f"online {name}")
    for name in WAYS:
        known = any(bibliography().knows((kind, name)) for kind in ("augmentation", "recipe"))
        assert known, ADD.format(f"augmentation {name}")
    for kind in ("lora", "houlsby", "pfeiffer"):
        AdapterShape(kind=kind)
        assert bibliography().knows(("adapter", kind)), ADD.format(f"adapter {kind}")


def test_no_entry_is_for_a_method_or_recipe_that_does_not_exist():
    known = bibliography()
    for kind, name in {use for entry in known.entries for use in entry.uses} | known.uncited:
        if kind in ("method", "recipe"):
            assert name in (METHODS if kind == "method" else RECIPES), (kind, name)


def test_entries_are_whole_bibtex_with_authors_titles_and_years():
    entries = bibliography().entries
    assert len({entry.key for entry in entries}) == len(entries) > 40
    for entry in entries:
        assert entry.uses, entry.key
        depth = 0
        for character in entry.bibtex:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0, entry.key
        assert depth == 0 and entry.bibtex.endswith("\n}"), entry.key
        fields = set(re.findall(r"(\w+)\s*= \{", entry.bibtex))
        assert {"title", "author"} <= fields and "and others" not in entry.bibtex, entry.key
        if entry.key != "sparring":
            assert "year" in fields and fields & {"journal", "booktitle"}, entry.key


def test_the_cards_cite_the_same_papers():
    for name in METHODS:
        card = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        cited = set(re.findall(r"^@\w+\{([^,]+),", card, re.MULTILINE))
        assert cited == {entry.key for entry in bibliography().of([("method", name)])}, name


def test_the_citation_file_the_package_and_the_entry_agree():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (own,) = bibliography().of([("software", "sparring")])
    assert about["version"] == __version__ and f"Version {__version__}" in own.bibtex
    assert about["title"] in own.bibtex and about["license"] == "Apache-2.0"
    assert [author["name"] for author in about["authors"]] == ["The sparring developers"]
    assert about["authors"][0]["name"] in own.bibtex


def test_a_file_of_entries_is_read_as_it_is_written():
    text = "% a comment\n\n% Nothing to cite: method plain\n\n% method one, recipe two\n@misc{key,\n  title = {T}\n}\n"
    found = parse(text)
    assert found.entries == (Entry("key", "@misc{key,\n  title = {T}\n}", (("method", "one"), ("recipe", "two"))),)
    assert found.uncited == {("method", "plain")} and found.knows(("method", "plain"))
    assert found.of([("recipe", "two"), ("method", "one")]) == list(found.entries)


def test_names_mean_methods_before_recipes_and_what_only_has_no_paper_last():
    assert uses_named("cat") == [("method", "cat")]
    assert uses_named("bae") == [("recipe", "bae")]
    assert ("online", "random") in uses_named("random") and ("augmentation", "random") in uses_named("random")
    assert uses_named("augmentation:random") == [("augmentation", "random")]
    assert uses_named("standard") == [("method", "standard")]
    with pytest.raises(SettingError, match="did you mean 'textfooler'"):
        uses_named("textfoler")


def test_a_run_cites_its_method_and_what_it_began_with(tmp_path):
    run(tmp_path / "pretrained", method="alum", model=None, minimal_pairs="pairs.jsonl")
    run(tmp_path / "tuned", method="mat", adapter="lora", model=str(tmp_path / "pretrained"), online="none")
    expected = {"zhong2023mat", "hu2022lora", "liu2020alum", "salazar2020masked", "warstadt2020blimp"}
    expected |= {"kauf2023better"}
    assert keys(tmp_path / "tuned") == (expected, [])


def test_online_attacks_and_resources_are_read_from_the_records_of_a_run(tmp_path):
    folder = run(tmp_path / "run", online="textfooler")
    (folder / "adversarial").mkdir()
    head = {"recipe": "textfooler", "transform": "synonyms: WordNet 3.0", "constraints": ["by MiniLM (x)"]}
    (folder / "adversarial" / "epoch-1.json").write_text(json.dumps({"head": head, "texts": ["counter-fitted"]}))
    assert keys(folder)[0] == {"jin2020bert", "miller1995wordnet", *MINILM}
    assert keys(run(tmp_path / "a2t", online="a2t"))[0] == {"yoo2021improving", *MINILM}
    assert keys(run(tmp_path / "control", online="random-synonyms"))[0] == MINILM


def test_mixtures_cite_their_attacks_adapters_and_baselines(tmp_path):
    settings = {"attacks": "pwws, genetic", "adapter": "pfeiffer", "baselines": "vote,model-soup"}
    found, _ = keys(run(tmp_path / "mix", method="adpmixup", **settings))
    papers = {"nguyen2024adapters", "ren2019generating", "alzantot2018generating", "pfeiffer2021adapterfusion"}
    assert found == papers | {"wortsman2022model"} | MINILM
    about = {"adapters": [{"name": "clean", "attack": None}, {"name": "pso", "attack": "pso"}]}
    (tmp_path / "alone").mkdir()
    about |= {"shape": {"kind": "lora"}, "base": {"name": "roberta-base"}}
    (tmp_path / "alone" / "mixture.json").write_text(json.dumps(about))
    found, notes = keys(tmp_path / "alone")
    assert found == {"nguyen2024adapters", "zang2020word", "hu2022lora"}
    assert notes == ["roberta-base is no run that is here: cite what its authors ask for"]


def test_attacks_and_analyses_cite_their_victims_too(tmp_path):
    victim = str(run(tmp_path / "victim", method="smart"))
    for name in ("one", "two"):
        (tmp_path / "attacks" / name).mkdir(parents=True)
        attacks = [{"recipe": "clare", "title": "clare"}, {"recipe": "clare", "title": "clare.calibrated"}]
        content = {"victim": victim, "attacks": attacks if name == "two" else []}
        (tmp_path / "attacks" / name / "results.json").write_text(json.dumps(content))
    found, _ = keys(tmp_path / "attacks")
    assert found == {"li2021contextualized", "raina2024extreme", "jiang2020smart", *MINILM}
    (tmp_path / "neurons" / "victim").mkdir(parents=True)
    (tmp_path / "neurons" / "victim" / "neurons.json").write_text(json.dumps({"run": victim}))
    assert keys(tmp_path / "neurons")[0] == {"dalvi2019grain", "durrani2020analyzing", "jiang2020smart", *MINILM}


def test_rows_that_were_made_cite_how_and_so_does_a_run_on_them(tmp_path):
    rows = tmp_path / "more.csv"
    rows.write_text("text,label\n")
    made = [{"provenance": "swap"}, {"provenance": "hotflip", "recipe": "hotflip", "transform": "counter-fitted"}]
    beside = {"recipes": made, "victim": f"{run(tmp_path / 'victim', method='vat')} 0123456789abcdef"}
    (tmp_path / "more.csv.yaml").write_text(yaml.safe_dump(beside))
    expected = {"wei2019eda", "ebrahimi2018hotflip", "mrksic2016counterfitting", *MINILM}
    expected |= {"miyato2018virtual", "miyato2017adversarial"}
    assert keys(rows)[0] == keys(tmp_path / "more.csv.yaml")[0] == expected
    assert keys(run(tmp_path / "run", method="rdrop", data=str(rows)))[0] == expected | {"liang2021rdrop"}


STUDY = """
name: small
model: minilm
data: {demo: {train: demo}}
train: {epochs: 1}
arms:
  standard: {family: baseline}
  eda: {family: augmentation, augment: {recipes: [random, deepwordbug], victim: standard}}
  a2t: {family: input, train: {online: a2t}}
  freelb: {family: embedding, train: {method: freelb, adapter: lora}}
  scratch: {family: pre-training, pretrain: {corpus: demo, method: alum, steps: 5}}
  mix: {family: mixture, mix: {attacks: [checklist]}}
  soup: {family: mixture, part: {of: mix, name: adapter-soup}}
  vote: {family: mixture, part: {of: mix, name: vote}}
evaluate:
  attacks: {recipes: [bae], calibrated: true}
  radius: {radii: ["0.1x"]}
questions: true
"""
OF_STUDY = {"wei2019eda", "gao2018blackbox", "yoo2021improving", "zhu2020freelb", "li2021searching", "hu2022lora"}
OF_STUDY |= {"liu2020alum", "nguyen2024adapters", "ribeiro2020beyond", "chronopoulou2023adaptersoup", "garg2020bae"}
OF_STUDY |= {"raina2024extreme", "madry2018towards", "altinisik2023impact", *MINILM}


def test_a_study_cites_its_arms_attacks_and_questions_before_anything_has_run(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    assert keys(tmp_path / "study.yaml") == keys(tmp_path) == (OF_STUDY, [])


def test_a_planned_study_adds_what_its_records_name(tmp_path):
    from sparring.study.block import Block
    from sparring.study.read import study_of

    plan = {"study": study_of(Block.of(yaml.safe_load(STUDY), "study.yaml")).write(), "root": ".", "jobs": []}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    line = {"job": "0", "status": "done", "result": {"described": {"transform": "synonyms: WordNet 3.0"}}}
    (tmp_path / "records.jsonl").write_text(json.dumps(line) + "\n")
    assert keys(tmp_path)[0] == OF_STUDY | {"miller1995wordnet"}


def test_a_run_that_names_itself_ends(tmp_path):
    assert keys(run(tmp_path / "run", model=str(tmp_path / "run"), method="fgm"))[0] == {"miyato2017adversarial"}


@pytest.mark.parametrize("content", ["settings: 3", "settings: {}\nmethod: mat", "- a list", "a: [", "settings: {}"])
def test_a_damaged_run_is_named(tmp_path, content):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises((RunError, SettingError), match=r"run\.yaml"):
        keys(tmp_path)


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"attacks": 3}', '{"attacks": [3, {"recipe": ["x"]}]}'])
def test_results_of_any_shape_give_a_message_or_nothing(tmp_path, content):
    (tmp_path / "results.json").write_text(content)
    try:
        assert keys(tmp_path)[0] == set()
    except RunError as error:
        assert "results.json" in str(error)


def test_the_command_prints_bibtex_with_the_reason_above_each_entry(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "mat", method="cat", model="org/model\x1b[31m")
    code, out, err = sparring("cite", "mat", "textfooler", capsys=capsys)  # a name goes before a folder of that name
    assert code == 0 and err == "" and out.startswith("% method mat\n@inproceedings{zhong2023mat,")
    assert "% recipe textfooler\n@inproceedings{jin2020bert," in out and "sparring," not in out
    code, out, err = sparring("cite", "./mat", capsys=capsys)
    assert code == 0 and "@misc{sparring," in out and "pan2022improved" in out and "zhong2023mat" not in out
    assert "cite what its authors ask for" in err and "\x1b" not in out + err
    code, out, err = sparring("cite", capsys=capsys)
    assert code == 0 and out.count("@") == 1 and "The sparring developers" in out


def test_as_json_it_says_what_was_used_and_what_it_does_not_know(tmp_path, capsys):
    run(tmp_path / "run", method="mine")
    code, out, _ = sparring("cite", tmp_path / "run", "--json", capsys=capsys)
    found = json.loads(out)
    assert code == 0
    assert {"kind": "model", "name": "minilm", "keys": sorted(MINILM, reverse=True)} in found["used"]
    assert found["entries"][0]["key"] == "sparring"
    assert found["notes"] == ["method mine: no entry in citations.bib says what to cite for it"]


def test_a_mistake_is_one_message(tmp_path, capsys):
    (tmp_path / "file.txt").write_text("")
    for what, why in (("mta", "did you mean 'mat'"), (tmp_path / "no", "there is no"), (tmp_path, "does not say")):
        code, out, err = sparring("cite", what, capsys=capsys)
        assert code == 2 and out == "" and why in err
    assert sparring("cite", tmp_path / "file.txt", capsys=capsys)[0] == 2
    code, out, err = sparring("cite", "standard", capsys=capsys)
    assert code == 0 and out == "" and "nothing to cite for method standard" in err


def test_a_method_is_cited_by_its_own_command_too(capsys):
    code, out, _ = sparring("methods", "cite", "vat", capsys=capsys)
    assert code == 0 and "@article{miyato2018virtual," in out and "@inproceedings{miyato2017adversarial," in out
    code, _, err = sparring("methods", "cite", "standard", capsys=capsys)
    assert code == 2 and "no paper" in err
