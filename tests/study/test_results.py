"""The result pages: every number comes from a record, and a page that is not what its records say fails."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from fake_study import write_study

from sparring.study import statistics
from sparring.study.figures import read_figures
from sparring.study.job import Job
from sparring.study.records import Records
from sparring.study.summary import Comparison

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.usefixtures("few_draws")
ARMS = ("standard", "eda", "attack-rows", "a2t", "pgd", "freelb")


def module(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def claims():
    module("verdicts")
    return module("claims")


@pytest.fixture(scope="module")
def pictures(claims):
    return module("forest")


@pytest.fixture(scope="module")
def verdicts(claims):
    return sys.modules["verdicts"]


@pytest.fixture(scope="module")
def results(claims, pictures):
    return module("build_results")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A repository with one study that has been run, with known effects."""
    root = tmp_path_factory.mktemp("repository")
    options = {"rows": 240, "attacked_rows": 120, "cross": ("imdb",), "budgets": ("epochs",), "effects": 2.0}
    write_study(root / "studies" / "sst2-families", arms=ARMS, neurons=False, **options)
    return root


@pytest.fixture(scope="module")
def written(results):
    """The pages as the command writes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 2000)
        return results.pages()


def sizeless(sentence):
    """A verdict without what it was run on."""
    return re.sub(r" here \([^:]*\):", " here:", sentence)


def tables_of(text):
    """Every table of a page as (head, rows), cells as they are written."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|\n").split(" | ")] for line in block.splitlines())
        yield head, rows


def plainly(cell):
    return cell.replace("\\", "")


# with what is in the repository


def test_the_pages_in_the_repository_are_those_of_its_records(written):
    files = [path for path in (DOCS / "results").iterdir() if path.suffix in (".md", ".svg")]
    there = {path.name: path.read_text(encoding="utf-8") for path in files}
    assert there.keys() == written.keys()
    for name, text in written.items():
        assert there[name] == text, f"{name} is out of date, run docs/build_results.py"


def test_a_claim_without_records_is_not_run_and_shows_no_figure(results, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["older"], "RECORDS", tmp_path)
    for name, text in results.pages(tmp_path).items():
        assert name.endswith(".md"), "a picture of nothing"
        if name != "index.md":
            assert text.split("\n")[2].startswith("**Not run yet here**"), name
            assert not list(tables_of(text)) and "sparring study run studies/" in text
            for part in ("## The claim", "## Limits", "## What the paper did otherwise", "## At full size"):
                assert part in text, (name, part)


def test_figures_from_the_records_of_benchmarks_are_their_means(written):
    root = DOCS.parent / "benchmarks" / "results"
    lines = [json.loads(line) for line in (root / "mixture_on_real_data.jsonl").read_text("utf-8").splitlines()]
    found = [(head, rows) for head, rows in tables_of(written["adpmixup.md"]) if head[0] == "model"]
    tasks = list(dict.fromkeys(line["task"] for line in lines))
    assert len(found) == len(tasks)
    for task, (head, rows) in zip(tasks, found, strict=True):
        for row in rows:
            own = [line for line in lines if (line["task"], line["model"]) == (task, row[0])]
            for title, cell in zip(head[1:], row[1:], strict=True):
                attack = title.removesuffix(" (unknown)")
                values = [line["under_attack"] for line in own if line["attack"] == attack]
                if title == "clean":
                    values = list({line["seed"]: line["clean"] for line in own}.values())
                if values:
                    assert cell.split(" ")[0] == f"{100 * sum(values) / len(values):.1f}", (task, row[0], title)
                if len(values) > 1:
                    assert cell.split("± ")[1] == f"{100 * np.std(values, ddof=1):.1f}"
    runs = [json.loads(line) for line in (root / "methods_on_sst2.jsonl").read_text("utf-8").splitlines()]
    (table,) = (rows for head, rows in tables_of(written["cat.md"]) if head[0] == "method")
    for name, accuracy, *_ in table:
        own = [r["accuracy"] for r in runs if (r["method"], r["preset"], r["settings"]) == (name, "default", {})]
        assert accuracy.split(" ")[0] == f"{100 * sum(own) / len(own):.1f}"


# pictures


def lines_of(picture):
    """Of an SVG: names, and the x of the ends and of the mark of each interval; and the x of the line at nought."""
    names = re.findall(r'stroke-width="4"[^>]*>([^<]+)</text>', picture)
    ends = [(float(a), float(b)) for a, b in re.findall(r'stroke-width="2" d="M([\d.]+) [\d.]+H([\d.]+)"', picture)]
    marks = [float(x) for x in re.findall(r"translate\(([\d.]+) ", picture)]
    nought = re.findall(r'stroke="#374151" d="M([\d.]+) ', picture)[0]
    return names, ends, marks, float(nought)


def test_a_picture_shows_each_difference_where_it_is(pictures):
    made = [("a < b", 2.0, 1.0, 3.0, "better"), ("b", -1.0, -2.5, 0.5, "open"), ("c", -4.0, -4.5, -3.5, "worse")]
    picture = pictures.forest([pictures.Difference(*one) for one in made])
    names, ends, marks, nought = lines_of(picture)
    assert names == ["a &lt; b", "b", "c"]
    (per_point,) = {round((x - nought) / one[1], 2) for x, one in zip(marks, made, strict=True)}
    for (low, high), (_, _, *given, _) in zip(ends, made, strict=True):
        assert [low, high] == pytest.approx([nought + per_point * end for end in given], abs=0.11)
    for verdict in ("better", "open", "worse"):
        assert picture.count(pictures.MARKS[verdict]) == 1
    assert all(0 <= x <= pictures.WIDTH for x in (*marks, *sum(ends, ())))


def test_correlations_have_an_axis_of_their_own(pictures):
    rows = [
        pictures.Difference("points", 20.0, 10.0, 30.0, "open"),
        pictures.Difference("r", 0.1, -0.1, 0.3, "open", True),
    ]
    picture = pictures.forest(rows)
    assert all(picture.count(caption) == 1 for caption in pictures.CAPTIONS.values())
    ends = [(float(a), float(b)) for a, b in re.findall(r'stroke-width="2" d="M([\d.]+) [\d.]+H([\d.]+)"', picture)]
    noughts = [float(x) for x in re.findall(r'stroke="#374151" d="M([\d.]+) ', picture)]
    assert len(noughts) == 2 and ends[0][0] > noughts[0] and ends[1][0] < noughts[1] < ends[1][1]
    assert pictures.CAPTIONS[True] not in pictures.forest(rows[:1])


def test_of_very_many_differences_the_farthest_are_drawn(pictures):
    rows = [pictures.Difference(str(i), (-1) ** i * i, -50, 50, "open") for i in range(pictures.SHOWN + 5)]
    names, *_ = lines_of(pictures.forest(rows))
    assert names == [str(i) for i in range(5, pictures.SHOWN + 5)]
    assert f"Drawn are the {pictures.SHOWN} farthest" in "".join(pictures.told("x.svg", rows, ""))


def test_what_is_equal_because_models_answer_alike_is_not_drawn(pictures, verdicts):
    one = Comparison(0.02, (-0.01, 0.05), 0.3, 0.6, "", None, None, 0.1, 3, 90, "open")
    pairs = [verdicts.Pair(name, "accuracy", one, same) for name, same in (("a", False), ("b", True))]
    shown, whom = pictures.drawn(pairs, [])
    assert [(row.name, row.mean, row.low, row.high) for row in shown] == [("a", 2.0, -1.0, 5.0)] and whom == ""
    (row,), _ = pictures.drawn([verdicts.Pair("a", "pearson", one, False)], [])
    assert (row.mean, row.low, row.high, row.unit) == (0.02, -0.01, 0.05, True)
    assert pictures.drawn(pairs[1:], []) == ([], "")


def test_a_picture_has_the_comparisons_of_its_page(written):
    shown = [name for name in written if name.endswith(".svg")]
    assert {"cat.svg", "families.svg"} <= set(shown)
    for name in shown:
        page = written[name.replace(".svg", ".md")]
        table = [rows for head, rows in tables_of(page) if head[0] == "comparison"]
        names = lines_of(written[name])[0]
        assert len(set(names)) == len(names)
        counted = re.search(r"intervals: (\d+) better, (\d+) worse, (\d+) open\]", page)
        assert counted
        if table:
            drawn = [row for row in table[0] if row[-1] != "open: same rows right"]
            assert set(names) <= {plainly(row[0]) for row in drawn}, name
            assert sum(map(int, counted.groups())) == len(drawn)


# with a made-up study


def raw_of(folder):
    """Jobs of plan.json, each with the result of its line: nothing of the library is asked."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text("utf-8").splitlines()]
    results = {line["job"]: line["result"] for line in lines if line["status"] == "done"}
    return [(job, results[job["id"]]) for job in plan["jobs"] if job["id"] in results]


def share(jobs, arm, title):
    """The mean over seeds of what a column is titled, from raw lines."""
    name = title.split(" under ")[-1]
    found = {}
    for job, result in jobs:
        if job["arm"] != arm:
            continue
        if title == "sst2, accuracy" and job["kind"] == "score" and not result["cross_domain"]:
            found[job["seed"]] = result["correct"].count("1") / len(result["correct"])
        if title == "accuracy on imdb (never trained on)" and job["kind"] == "score" and result["cross_domain"]:
            found[job["seed"]] = result["correct"].count("1") / len(result["correct"])
        if job["kind"] == "attack" and " under " in title:
            both = [result["outcomes"], result["calibrated"]["outcomes"]]
            if "worst" in title:
                old = found.get(job["seed"], [True] * len(both[0]))
                found[job["seed"]] = [kept and a == b == "h" for kept, a, b in zip(old, *both, strict=True)]
            elif job["name"] == name.split(",")[0]:
                letters = both["calibrated" in title]
                found[job["seed"]] = letters.count("h") / len(letters)
        if job["kind"] == "curve" and " at radius " in title:
            points = {point["radius"]: point["correct"] for point in result["points"]}
            letters = points[title.split(" at radius ")[1].split(" ")[0]]
            found[job["seed"]] = letters.count("1") / len(letters)
    values = [sum(value) / len(value) if isinstance(value, list) else value for value in found.values()]
    return sum(values) / len(values)


def test_every_figure_of_a_study_follows_from_its_raw_lines(results, place):
    text = results.pages(place)["families.md"]
    jobs, seen = raw_of(place / "studies" / "sst2-families"), 0
    for head, rows in tables_of(text):
        if head[0] != "arm":
            continue
        assert [plainly(row[0]) for row in rows] == list(ARMS)
        for row in rows:
            for title, cell in zip(head[1:], row[1:], strict=True):
                want = share(jobs, plainly(row[0]), plainly(title))
                assert cell.split(" ")[0] == f"{100 * want:.1f}", (row[0], title)
                seen += 1
    assert seen == len(ARMS) * (1 + 1 + 2 * 2 + 1 + 3)
    (costs,) = (rows for head, rows in tables_of(text) if head[:4] == ["data", "budget", "machine", "arm"])
    trained = len({job["id"] for job, _ in jobs if job["kind"] == "train"})
    others = len({job["id"] for job, _ in jobs}) - trained
    assert f"jobs done, on One GPU ({trained}) and x86_64 ({others}): " in plainly(text)
    plain = [result["train_seconds"] for job, result in jobs if (job["kind"], job["arm"]) == ("train", "standard")]
    assert costs[0][:4] == ["sst2", "epochs", "One GPU", "standard"]
    assert costs[0][4] == f"{sum(plain) / len(plain):.0f}"


def test_the_first_sentence_says_what_the_records_say_and_what_is_missing(results, place):
    texts = results.pages(place)
    families, confidence = (texts[f"{name}.md"].split("\n")[2] for name in ("families", "confidence"))
    assert families.startswith("Of the findings of Altinisik et al., here: robustness by augmentation and input space")
    assert "**confirmed** (the family" in families or "**open** (whether the family" in families
    assert "the family input (a2t) is more robust than standard under attacks, on average" in families
    assert "the family embedding (pgd, freelb) is better than standard on sst2" in families
    assert "95 % interval" in families and "minilm, 3 seeds" in families
    assert confidence.startswith("That extreme confidence fakes robustness **")
    assert confidence.endswith(" Not run yet here: confidence, mat and alum-stages.")
    jobs, gaps = raw_of(place / "studies" / "sst2-families"), {}
    for job, result in jobs:
        if job["kind"] == "attack":
            both = [result["calibrated"]["outcomes"], result["outcomes"]]
            values = [letters.count("h") / len(letters) for letters in both]
            gaps.setdefault((job["arm"], job["name"]), []).append(values[0] - values[1])
    low = min(100 * sum(values) / len(values) for values in gaps.values())
    assert f"the largest difference is {low:+.1f}".replace("-", "−") in confidence
    rows = next(rows for head, rows in tables_of(texts["confidence.md"]) if head[0] == "comparison")
    assert len(rows) == len(gaps) and {row[-1] for row in rows} <= {"better", "worse", "open"}
    for row in rows:
        arm, name = re.match(r"(\S+) under (\S+)", plainly(row[0])).groups()
        values = gaps[arm, name]
        assert plainly(row[1]).split(" ")[0] == f"{100 * sum(values) / len(values):+.1f}".replace("-", "−")
    assert confidence in texts["index.md"] and families in texts["index.md"]
    folder = place / "studies" / "sst2-families"
    whole = (folder / "records.jsonl").read_text("utf-8")
    cut = [line for line in whole.splitlines() if "freelb, seed 2: attack textfooler" not in line]
    (folder / "records.jsonl").write_text("\n".join(cut) + "\n", "utf-8")
    try:
        shown = results.pages(place)["families.md"].split("\n")[2]
        assert shown.endswith(" Not finished: one job still to be done.")
    finally:
        (folder / "records.jsonl").write_text(whole, "utf-8")


# verdicts


def book(claims, shares, *, seeds=5, kind="score", rows=400, metric="accuracy"):
    """A study in memory: shares: {(dataset, arm): share of the rows that are right}; rows are as hard for all."""
    jobs, lines = [], {}
    hard = np.random.default_rng(0).permutation(rows)
    for (dataset, arm), value in shares.items():
        for seed in range(seeds):
            again = np.random.default_rng([seed, crc32(arm.encode())]).normal(scale=rows / 100, size=rows)
            right = hard + again < value * rows
            job = Job(
                kind=kind, name=dataset, arm=arm, family="embedding", budget="epochs", dataset=dataset, model="tiny",
                seed=seed, settings={"of": arm, "cross_domain": False},
            )  # fmt: skip
            letters = "".join("01"[int(one)] for one in right)
            digest = dataset.removesuffix("-half")
            result = {"data": dataset, "cross_domain": False, "metric": metric, "rows": rows, "sha256": digest}
            result["scores"] = {metric: float(right.mean())}
            lines[job.id] = {"status": "done", "result": result | {"correct": letters}}
            if kind == "attack":
                lines[job.id]["result"]["outcomes"] = "".join("sh"[int(one)] for one in right)
            jobs.append(job)
    found = claims.Book(Path("nowhere"))
    study = {"data": {dataset: {"limit": 400} for dataset, _ in shares}, "models": {"tiny": ""}, "seeds": range(seeds)}
    study["name"] = "made-up"
    found.__dict__.update(study=study, jobs=tuple(jobs), records=Records(lines))
    found.__dict__["figures"] = read_figures(jobs, found.records)
    return found


@pytest.mark.parametrize(
    ("own", "rivals", "said"),
    [
        (0.9, (0.6, 0.6, 0.6), "**holds** here: of 3 comparisons 3 better, 0 worse and 0 open"),
        (0.9, (0.6, 0.6, 0.9), "**holds in part** here: of 3 comparisons 2 better, 0 worse and 1 open"),
        (0.8, (0.8, 0.8, 0.8), "**is open** here: of 3 comparisons 0 better, 0 worse and 3 open"),
        (0.9, (0.9, 0.6, 0.9), "**is open** here: of 3 comparisons 1 better, 0 worse and 2 open"),
        (0.5, (0.8, 0.8, 0.5), "**does not hold** here: of 3 comparisons 0 better, 2 worse and 1 open"),
        (0.6, (0.8, 0.3, 0.6), "**is mixed** here: of 3 comparisons 1 better, 1 worse and 1 open"),
    ],
)
def test_mat_holds_if_it_beats_every_rival(claims, own, rivals, said):
    shares = {("cola", "mat"): own, **{("cola", name): r for name, r in zip(claims.RIVALS, rivals, strict=False)}}
    found = claims.mat([book(claims, shares)])
    assert f"That MAT beats pure-strategy adversarial fine-tuning {said}" in sizeless(found.sentence)
    gaps = [own - rival for rival in rivals]
    assert len(found.pairs) == 3 and "(400 training rows of cola, tiny, 5 seeds)" in found.sentence
    for pair, gap in zip(found.pairs, gaps, strict=True):
        assert pair.found.difference == pytest.approx(gap, abs=0.02)
        assert pair.found.interval[0] <= pair.found.difference <= pair.found.interval[1]
        assert pair.numbers in found.sentence or gap not in (min(gaps), max(gaps)) or gaps.count(gap) > 1


def test_a_page_says_how_many_seeds_are_whole(claims):
    whole = book(claims, {("cola", "mat"): 0.8, ("cola", "smart"): 0.7})
    assert whole.seeds == "5 seeds"
    gone = [job.id for job in whole.jobs if job.seed == 3 or (job.seed == 4 and job.arm == "mat")]
    whole.__dict__["records"] = Records({name: line for name, line in whole.records.done.items() if name not in gone})
    assert whole.seeds == "3 complete of 5 seeds" and whole.size.endswith("cola, tiny, 3 complete of 5 seeds")


def test_models_that_are_right_on_the_same_rows_are_named(results, claims):
    same = book(claims, {("rte", arm): -1.0 for arm in ("a", "b", "c")} | {("rte", "d"): 0.6}, seeds=2)
    assert "rte at equal epochs: 3 of 4 models of seed 0 and 3 of 4 models of seed 1." in results.alike(same)[0]
    assert results.alike(book(claims, {("rte", "a"): -1.0, ("rte", "b"): -1.0, ("rte", "c"): 0.6}, seeds=2)) == []


def test_models_of_one_class_are_open_and_what_cannot_be_compared_yet_is_not_better(claims):
    arms = {"untouched-standard": 0.6, "untouched-alum": 0.85, "continual-plain-standard": -1.0,
            "continual-alum-standard": -1.0, "scratch-plain-standard": 0.4}  # fmt: skip
    for metric in ("accuracy", "f1"):
        made = book(claims, {("rte", arm): value for arm, value in arms.items()}, metric=metric)
        found = claims.alum(made)
        fine = f"ALUM in fine-tuning on rte by {metric}"
        assert [(pair.what, pair.same) for pair in found.pairs] == [
            (f"ALUM in continued pre-training on rte by {metric}", True),
            (fine, False),
            (f"plain continued pre-training on rte by {metric}", False),
        ]
        assert "**is open** here: of 2 comparisons (1 more cannot be compared yet) 1 better" in sizeless(found.sentence)
        assert found.sentence.endswith(f", {fine}.") and found.pairs[0].line[-1] == "open: same rows right"
        assert found.more[0].startswith("Plain continued pre-training harms: −")
        about = f"(of one class, say): ALUM in continued pre-training on rte by {metric}."
        assert about in found.more[1] and len(found.more) == 3
        late = f"ALUM in pre-training from scratch on rte by {metric}."
        assert found.more[2] == f"Not compared yet, for want of seeds: {late}"


def test_a_claim_about_models_of_one_class_alone_says_so(claims):
    found = claims.cat([book(claims, {("rte", "cat"): -1.0, ("rte", "standard"): -1.0})])
    assert "**is open** here" in found.sentence and "all of them are of models that are right on" in found.sentence


def test_mat_is_compared_under_attack_only_where_it_is_attacked(claims):
    found = claims.mat([book(claims, {("sst2", "mat"): 0.9, ("sst2", "smart"): 0.6}, kind="attack")])
    assert [pair.what for pair in found.pairs] == []  # one attack: there is no worst of several
    clean = claims.mat([book(claims, {("cola", "mat"): 0.9, ("cola", "smart"): 0.6})])
    assert [pair.what for pair in clean.pairs] == ["MAT against smart on cola by accuracy at equal epochs"]
    assert clean.more == () and "**holds** here" in clean.sentence


def test_alum_is_judged_at_each_stage_and_plain_continued_pre_training_apart(claims):
    arms = {"untouched-standard": 0.6, "untouched-alum": 0.85, "continual-plain-standard": 0.6,
            "continual-alum-standard": 0.85, "scratch-plain-standard": 0.4, "scratch-alum-standard": 0.65}  # fmt: skip
    found = claims.alum(book(claims, {("sst2", arm): value for arm, value in arms.items()}))
    assert "That ALUM helps at every stage **holds** here: of 3 comparisons 3 better" in sizeless(found.sentence)
    assert found.more[0].startswith("Plain continued pre-training is not shown to help: ") and len(found.pairs) == 4
    arms["continual-plain-standard"] = 0.85
    found = claims.alum(book(claims, {("sst2", arm): value for arm, value in arms.items()}))
    assert "**holds in part** here: of 3 comparisons 2 better" in sizeless(found.sentence)
    assert found.more[0].startswith("Plain continued pre-training helps: +2")


def test_cat_on_half_of_the_rows_is_compared_with_plain_training_on_all(claims):
    shares = {("clinc", "standard"): 0.8, ("clinc", "cat"): 0.95, ("clinc-half", "standard"): 0.5}
    found = claims.cat([book(claims, shares | {("clinc-half", "cat"): 0.8})])
    assert "That CAT improves clean accuracy **holds** here: of 2 comparisons 2 better" in sizeless(found.sentence)
    assert found.more[0].startswith("Half of the rows is not shown to be too little: ")
    (half,) = (pair for pair in found.pairs if " on half of clinc against plain training on all" in pair.what)
    assert half.found.difference == pytest.approx(0, abs=0.01) and half.found.rows == 400
    found = claims.cat([book(claims, shares | {("clinc-half", "cat"): 0.6})])
    assert found.more[0].startswith("Half of the rows does not suffice: −2")


def test_the_trade_off_counts_clean_and_attacked_rows_alike(claims):
    shares = {("sst2", "adpmixup"): 0.9, ("sst2", "plain"): 0.5}
    made = book(claims, shares, kind="attack")
    (group,) = made.groups
    found = claims.trade_offs(made, group)
    for arm in ("adpmixup", "plain"):
        for seed, figure in found[arm].items():
            (line,) = (made.records.done[job]["result"]["outcomes"] for job in figure.jobs)
            clean, held = 1 - line.count("s") / len(line), line.count("h") / len(line)
            assert figure.values.mean() == pytest.approx((clean + held) / 2), seed
    behind = claims.adpmixup({"sst2": {"adpmixup": found["plain"], "union": found["adpmixup"]}}, "made-up")
    assert "**does not hold** here" in behind.sentence and behind.more == ("On average it is behind union on sst2.",)
    sentence = claims.adpmixup({"sst2": found}, "made-up").sentence
    assert "best trade-off of clean accuracy and accuracy under attack **holds** here (made-up): of one" in sentence


def test_the_cheapest_arm_that_holds_better_under_the_worst_attack_is_taken(results, tmp_path, monkeypatch):
    choices = module("choices")
    options = {"rows": 1500, "attacked_rows": 300, "budgets": ("epochs",), "effects": 2.0, "seed_sd": 0.004}
    options |= {"attacks": ("textfooler", "bae"), "seeds": range(5), "neurons": False}
    arms = ("standard", "a2t", "attack-rows", "pgd")
    monkeypatch.setattr(choices, "STUDY", write_study(tmp_path / "study", arms=arms, **options))
    ((_, _, take, said),) = choices._studied()
    summary = choices.Book(choices.STUDY).summary
    better = {
        cell.arm: next(cost.train_seconds.mean for cost in summary.costs if cost.arm == cell.arm)
        for cell in summary.cells
        if cell.measure.what == "worst-case" and cell.comparison and cell.comparison.verdict == "better"
    }
    assert len(better) > 1 and take == min(better, key=better.get)
    assert all(f"{arm} under the worst attack of each example " in said for arm in better)


def test_nothing_measured_is_no_verdict(claims):
    empty = book(claims, {})
    assert not claims.mat([empty]).sentence and not claims.alum(empty).sentence and not claims.cat([empty]).sentence
    assert not claims.adpmixup({}, "").sentence and not claims.confidence([]).sentence
