"""The documentation says what the code does: generated blocks are current, and the recipe for a new method works."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TRY_IT = """
import torch
from transformers import BertConfig, BertForSequenceClassification
from sparring import METHODS, Batch, LoopEngine
method = METHODS["randomstep"]()
small = dict(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
model = BertForSequenceClassification(BertConfig(**small))
view = method.view(model)
engine = LoopEngine(method, view, torch.optim.SGD(model.parameters(), lr=0.1))
terms = engine.iterate(Batch.from_inputs({"input_ids": torch.ones(2, 3).long(), "labels": torch.tensor([0, 1])}))
assert terms.keys() == {"task", "noisy"} and terms["noisy"] != terms["task"], terms
"""


def test_the_generated_blocks_of_the_documentation_are_up_to_date():
    done = subprocess.run([sys.executable, ROOT / "docs" / "build_cards.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_method_has_a_card_with_all_its_sections():
    from sparring import METHODS

    for name in METHODS:
        card = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
        for section in ("Algorithm", "Settings", "Neutral setting", "Cost", "When to use", "What is known to go wrong"):
            assert f"## {section}" in card, f"{name}: {section}"


def test_following_the_recipe_for_a_new_method_to_the_letter_gives_a_working_one(tmp_path):
    recipe = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    name = re.search(r"`src/(sparring/methods/\w+\.py)`", recipe)[1]
    file, _, line = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)
    assert len(file.splitlines()) <= 40
    shutil.copytree(ROOT / "src" / "sparring", tmp_path / "sparring")
    (tmp_path / name).write_text(file, encoding="utf-8")
    methods = tmp_path / "sparring" / "methods" / "__init__.py"
    text = methods.read_text(encoding="utf-8").replace('    "mat": MAT,\n', '    "mat": MAT,\n' + line)
    imported = "from .randomstep import RandomStep\n"
    methods.write_text(text.replace("from .rdrop", imported + "from .rdrop"), encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", TRY_IT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_method_in_a_file_of_ones_own_trains_a_run(tmp_path):
    recipe = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    file, own, _ = re.findall(r"```python\n(.*?)```", recipe, re.DOTALL)
    (tmp_path / "randomstep.py").write_text(file, encoding="utf-8")
    (tmp_path / "own.py").write_text(own.replace("limit=64, ", "limit=4, max_length=8, "), encoding="utf-8")
    done = subprocess.run([sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = (tmp_path / "runs" / "own" / "run.yaml").read_text(encoding="utf-8")
    assert "name: randomstep" in run and "radius: 0.5x" in run


def test_the_examples_run(tmp_path, monkeypatch):
    import importlib.util

    for name, arguments in (("own_training_loop", {"steps": 2, "batch_size": 2}),):
        spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
        example = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(example)
        assert all(loss > 0 for loss in example.main(**arguments))
    spec = importlib.util.spec_from_file_location("three_lines", ROOT / "examples" / "three_lines.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert example.main(rows=4, output=str(tmp_path / "run")) > 0


def test_every_test_that_the_documentation_names_exists():
    named = {
        (page.name, name)
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"tests/[\w/]+\.py::\w+", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 60
    for page, name in named:
        file, test = name.split("::")
        assert (ROOT / file).is_file() and f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), (
            f"{page}: {name}"
        )


def test_fidelity_has_a_line_with_a_test_for_every_method_and_every_recipe():
    from sparring import METHODS
    from sparring.attack.recipes import RECIPES

    lines = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8").splitlines()
    for name in [f"[{method}](methods/{method}.md)" for method in METHODS] + [f"`{recipe}`" for recipe in RECIPES]:
        (line,) = [line for line in lines if line.startswith("| ") and name in line.split(" | ")[0]]
        assert line.count(" | ") == 5 and "tests/" in line.split(" | ")[-1], name


def test_every_paper_of_a_method_or_recipe_is_in_the_index():
    from sparring import METHODS
    from sparring.attack.recipes import RECIPES

    index = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    controls = {"standard", "random", "random-characters"}
    assert not [name for name in METHODS.keys() - controls if f"(methods/{name}.md" not in index]
    assert not [name for name in RECIPES.keys() - controls if f"`{name}`" not in index]


def test_every_paper_that_can_be_cited_is_in_the_index():
    index = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    text = (ROOT / "src" / "sparring" / "cite" / "citations.bib").read_text(encoding="utf-8")
    first = re.findall(r"^ +author += \{+(?:\\. ?)?([A-Za-z ]+)", text, re.M)
    assert len(first) > 40
    papers = {name for name in first if name not in ("The sparring developers", "NLTK Team")}
    assert not sorted(name for name in papers if name.strip() not in index)


def test_no_code_of_a_model_is_run_and_no_pickle_is_read():
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for call in re.findall(r"Auto\w+\.from_pretrained\((?:[^()]|\([^()]*\))*\)", text):
            assert "trust_remote_code=False" in call, f"{path}: {call}"
        assert "trust_remote_code=True" not in text and "allow_pickle=True" not in text, path
        assert not re.search(r"\bpickle\.(load|loads)\(|weights_only=False", text), path


def test_every_public_name_is_in_the_reference():
    import sparring

    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    homes = {name: home for name, home in sparring._HOMES.items() if name != "METHODS"}
    assert not [name for name, home in homes.items() if f"::: sparring.{home}.{name}\n" not in shown]


def choices_of(folder, monkeypatch, scores):
    """The decision table of made-up records: accuracies by method, a seed each."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    import choices

    lines = [
        {"method": name, "preset": "default", "settings": {}, "seed": seed, "accuracy": score, "pgd": {"0.03x": score}}
        for name, own in scores.items()
        for seed, score in enumerate(own)
    ]
    (folder / "methods_on_sst2.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    cost = [
        {"method": name, "dtype": "float32", "relative_time": time, "peak_memory_ratio": 1.0}
        for name, time in {"standard": 1.0, "fgm": 2.0, "pgd": 3.0}.items()
    ]
    (folder / "step_cost.json").write_text(json.dumps(cost), encoding="utf-8")
    monkeypatch.setattr("older.RECORDS", folder)
    return choices.decisions()[1]


STANDARD, FGM, PGD = (f"[{name}](methods/{name}.md)" for name in ("standard", "fgm", "pgd"))


@pytest.mark.parametrize(
    ("gains", "takes", "said"),
    [
        ({"fgm": (0.05, -0.04, 0.03), "pgd": (0.01, 0.02, 0.0)}, [STANDARD] * 3, f"the highest mean is {FGM} +1.3 ("),
        (
            {"fgm": (0.2, 0.2, 0.2), "pgd": (0.202, 0.2, 0.2)},
            [FGM] * 3,
            f"better than plain training too, but not than this: {PGD}",
        ),
        ({"fgm": (0.1, 0.1, 0.1), "pgd": (0.4, 0.4, 0.4)}, [FGM, PGD, PGD], f"but not than this: {FGM}"),
        ({"fgm": (-0.2, -0.2, -0.2), "pgd": (0.4, 0.4, 0.4)}, [STANDARD, PGD, PGD], "+40.0 (+38.0 to +42.0)"),
    ],
)
def test_the_cheapest_method_that_is_shown_to_be_better_and_not_outdone_is_taken(
    gains, takes, said, tmp_path, monkeypatch
):
    plain = [0.40, 0.41, 0.42]
    scores = {"standard": plain}
    scores |= {name: [x + d for x, d in zip(plain, own, strict=True)] for name, own in gains.items()}
    rows = choices_of(tmp_path, monkeypatch, scores)
    assert [row[2] for row in rows[:3]] == [row[2] for row in rows[3:6]] == takes
    assert said in rows[2][3]


def test_what_a_study_shows_under_text_attacks_is_among_the_choices(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    import choices

    ((goal, _, take, said),) = choices._studied()
    lines = [
        line for line in (ROOT / "docs" / "results" / "families.md").read_text("utf-8").splitlines() if "▲" in line
    ]
    better = {line.split("|")[1].strip() for line in lines if line.startswith("|")}
    assert goal == "text attacks" and better and take == STANDARD  # none of them under the worst attack
    assert {one.split(" under ")[0] for one in said.split("; ") if "→" in one} == better
    assert "nothing is shown under deepwordbug, a2t and the worst attack of each example" in said and "3 seeds" in said


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert not [page for page in pages if not re.search(rf"[ :]{re.escape(page)}$", text, re.M)]
