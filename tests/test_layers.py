"""The order of the modules: each may import only from entries above its own."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "sparring"
ORDER = [
    "errors",
    "allocator",
    "settings",
    "data",
    "model",
    "perturb",
    "objective",
    "methods",
    "evaluate.metrics",
    "evaluate.clean",  # a finished training run is scored: the clean score is a tool of training
    "evaluate.language",  # as is the held-out loss of a language model,
    "evaluate.pairs",  # and whether it tells minimal pairs apart,
    "evaluate.robust",  # and how a model that was fine-tuned from it stands perturbations
    "adapters",
    "attack",
    "train",
    "evaluate",
    "analyse",
    "study",
    "cite",
    "cli",
]
MODULES = sorted(p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in ROOT.rglob("*.py"))


def level(module: str) -> int:
    """Place in the order; `evaluate.clean` is found before `evaluate`."""
    known = [entry for entry in ORDER if module == entry or module.startswith(entry + ".")]
    assert known, f"{module} has no place in the order"
    return ORDER.index(max(known, key=len))


def imports(module: str) -> list[str]:
    """Modules of ours that a module imports, as dotted names without the package."""
    path = ROOT / (module.replace(".", "/") + ".py")
    package = module.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - (node.level - 1)]
                prefix = [*base, *(node.module.split(".") if node.module else [])]
                names = [alias.name for alias in node.names]
                found += [".".join(prefix)] if node.module else [".".join([*prefix, name]) for name in names]
            else:
                assert not (node.module or "").startswith("sparring"), f"{module}: import relatively, not from sparring"
    return [name.removesuffix(".__init__") for name in found if name]


@pytest.mark.parametrize("module", [m for m in MODULES if m not in ("__init__", "__main__")])
def test_a_module_imports_only_from_entries_above_its_own(module):
    own = module.removesuffix(".__init__")
    for imported in imports(module):
        same_package = own.split(".")[0] == imported.split(".")[0]
        assert level(imported) < level(own) or same_package, f"{own} imports {imported}"


def test_the_order_has_no_entry_without_a_module():
    for entry in ORDER:
        assert any(m == entry or m.startswith(entry + ".") for m in MODULES), entry


def test_every_public_name_can_be_imported_and_is_listed():
    import sparring

    assert sparring.__all__ == sorted(sparring.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for name in sparring.__all__:
        assert getattr(sparring, name) is not None


def test_the_word_with_five_meanings_is_not_used():
    for path in ROOT.rglob("*.py"):
        assert "epsilon" not in path.read_text(encoding="utf-8").lower(), path


def test_only_the_command_line_prints():
    for path in ROOT.rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call)]
        printed = [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
        assert not printed, path
