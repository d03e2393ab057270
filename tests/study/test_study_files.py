"""The study files of the six claims: each can be planned, with tiny rows and models in place of its own."""

import json
import re
from pathlib import Path

import pytest
import yaml
from small_study import write_place, write_rows

from sparring.data.load import load
from sparring.errors import SettingError
from sparring.study.plan import plan
from sparring.study.read import read_study
from sparring.study.records import Records
from sparring.study.search import choose

STUDIES = Path(__file__).parents[2] / "studies"
FULL = STUDIES / "full"
FILES = [
    path
    for place in (STUDIES, FULL)
    for path in sorted(place.glob("*.yaml"), key=lambda p: ("search" not in p.name, p))
]
CLAIMS = ("mat", "alum-stages", "cat", "adpmixup", "confidence")
CLASSES = {
    "mrpc": ("different", "paraphrase"),
    "mrpc-hub": ("not_equivalent", "equivalent"),
    "cola": ("acceptable", "unacceptable"),
}
CONLLU = "".join(f"{n}\t{word}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n" for n, word in enumerate(("film", "book"), 1)) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_place(tmp_path_factory.mktemp("files"))
    (folder / "text.txt").write_text("a film\n\na book\n", encoding="utf-8")
    (folder / "words.conllu").write_text(CONLLU, encoding="utf-8")
    for name in ("cola", "single", "mrpc", "mrpc-hub", "pair", "quantity"):
        for seed, part in enumerate(("train", "dev", "test")):
            path = folder / f"{name}-{part}.csv"
            write_rows(path, 60, seed, names=CLASSES.get(name, ("negative", "positive")))
            if name in ("mrpc", "mrpc-hub", "pair", "quantity"):
                rows = [line.rsplit(",", 1) for line in path.read_text(encoding="utf-8").splitlines()]
                values = [f"{n % 5}.5" if name == "quantity" else row[1] for n, row in enumerate(rows)]
                lines = [f"{row[0]},a {row[0]},{value}" for row, value in zip(rows, values, strict=True)]
                path.write_text("\n".join(["text,text_pair,label", *lines[1:]]) + "\n", encoding="utf-8")
    return folder


def stand_in(path, place):
    """A study file of the repository with rows, models and resources of `place`; all else as it is."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    given = found.pop("models", None) or [found.pop("model")]
    found["models"] = dict.fromkeys(given, "base")
    for name, one in found["data"].items():
        if name == "anli-like":  # made up, and in the repository
            one["train"] = str(path.parent / one["train"])
            continue
        pair = "pair" if name in ("rte", "snli", "anli") else "single"
        mrpc = "mrpc-hub" if path.parent == FULL else "mrpc"
        kind = {"mrpc": mrpc, "stsb": "quantity", "cola": "cola"}.get(name, pair)
        for part in ("train", "dev", "test"):
            if part in one or (part != "train" and f"{part}_share" not in one):
                one[part] = f"{kind}-{'dev' if str(one.get(part)).endswith('dev.csv') else part}.csv"
        one |= {key: 20 for key in ("limit", "test_limit") if key in one}
        one |= {key: 0.3 for key in ("dev_share", "test_share") if key in one}
    for one in found.get("cross_domain", {}).values():
        one["data"] = "single-test.csv"
    for arm in found["arms"].values():
        if "pretrain" in arm:
            arm["pretrain"]["corpus"] = "text.txt"
        if "augment" in arm:
            arm["augment"]["recipes"] = ["random-characters" if "victim" in arm["augment"] else "swap"]
        if "mix" in arm:
            arm["mix"]["attacks"] = ["deepwordbug"]
        if "online" in arm.get("train", {}):
            arm["train"]["online"] = "deepwordbug"
    if "attacks" in found.get("evaluate", {}):
        found["evaluate"]["attacks"]["recipes"] = ["deepwordbug"]
    if "neurons" in found:
        found["neurons"]["corpus"] = "words.conllu"
    inside = place / path.relative_to(STUDIES)
    if inside.parent != place:
        inside = place / f"full-{path.name}"
        found["output"] = f"full-{found['output']}"
        found |= {"tuned": f"full-{found['tuned']}"} if "tuned" in found else {}
    inside.write_text(yaml.safe_dump(found, sort_keys=False), encoding="utf-8")
    return inside


def records_of(found):
    """Made-up scores of a search: the second trial of each arm is the best."""
    lines = {}
    for job in found.jobs:
        if job.kind == "score":
            score = 0.9 if job.arm.endswith("-2") else 0.8
            lines[job.id] = {"status": "done", "result": {"scores": {job.settings["metric"]: score}}}
    return Records(lines)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(STUDIES)))
def test_a_study_file_can_be_planned(path, place):
    study = read_study(path)  # its own names, methods, recipes and settings
    found = plan(stand_in(path, place))
    (arms, jobs) = ({arm.name for arm in study.arms.values()}, found.jobs)
    assert {job.arm for job in jobs} == arms and {job.dataset for job in jobs} == set(study.data)
    assert {job.seed for job in jobs} == set(study.seeds) and {job.model for job in jobs} == set(study.models)
    if path.name.startswith("search-"):
        assert not any(spec.test and re.search(r"test\.csv$", spec.test) for spec in study.data.values())
        chosen = choose(found.study.name, found.study.arms, jobs, records_of(found))
        trials = yaml.safe_load(path.read_text(encoding="utf-8"))["search"]["trials"]
        assert {len(one["trials"]) for one in chosen["chosen"]} == {trials} and trials > 1
        found.folder.mkdir(exist_ok=True)
        (found.folder / "chosen.json").write_text(json.dumps(chosen), encoding="utf-8")
    elif study.tuned is not None:
        searched = read_study(path.parent / study.tuned.replace("/chosen.json", ".yaml"))
        assert not set(searched.seeds) & set(study.seeds)
        rates = {job.settings.get("learning_rate") for job in jobs if job.kind == "train"}
        chosen = json.loads((place / found.study.tuned).read_text(encoding="utf-8"))
        assert rates <= {one["settings"]["learning_rate"] for one in chosen["chosen"]}


def test_every_claim_has_a_file_and_one_at_full_size_on_both_models():
    full = {path.stem: read_study(path) for path in FILES if path.parent == FULL}
    for name in (*CLAIMS, "families"):
        assert set(full[name].models) == {"bert-base-uncased", "roberta-base"}
        assert all(spec.limit is None or "half" in one for one, spec in full[name].data.items())
    small = {path.stem: read_study(path) for path in FILES if path.parent == STUDIES}
    assert set(CLAIMS) < set(small) and len(small["mat"].seeds) >= 5 and len(small["cat"].seeds) >= 5
    assert set(small["mat"].budgets) == {"epochs", "passes"}


def test_rows_in_the_format_of_anli_are_read_without_the_reason():
    found = load(STUDIES / "data" / "anli_like.jsonl", text=("premise", "hypothesis"), label="label")
    assert len(found.texts) == 30 and sorted(found.label_names) == ["c", "e", "n"]
    assert not any("follows from" in part for texts in found.texts for part in texts)
    lines = (STUDIES / "data" / "anli_like.jsonl").read_text(encoding="utf-8").splitlines()
    assert {tuple(json.loads(line)) for line in lines} == {("premise", "hypothesis", "label", "reason")}


def test_a_study_without_its_search_says_how_to_get_it(place, tmp_path):
    path = stand_in(STUDIES / "mat.yaml", place)
    text = path.read_text(encoding="utf-8").replace("search-mat/chosen.json", "nowhere/chosen.json")
    (place / "lost.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingError, match="sparring study choose"):
        plan(place / "lost.yaml")
