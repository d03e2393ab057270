"""The list of planted faults does not rot, and a fault that nobody notices is reported."""

import ast

import mutations
import pytest
from mutations import MUTATIONS, ROOT


def test_every_fault_can_be_planted_and_names_a_test_that_exists():
    assert len(MUTATIONS) >= 10
    for mutation in MUTATIONS:
        assert not (wrong := mutations.problem(mutation)), f"{mutation.breaks}: {wrong}"
        path, name = mutation.test.split("::")
        tree = ast.parse((ROOT / "tests" / path).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, mutation.test


@pytest.mark.parametrize(("code", "verdict"), [(1, "caught"), (0, "SURVIVED"), (4, "the test did not run")])
def test_a_fault_is_caught_if_its_test_fails_and_is_taken_out_again(tmp_path, monkeypatch, code, verdict):
    mutation = MUTATIONS[0]
    place = tmp_path / "sparring" / mutation.file
    place.parent.mkdir(parents=True)
    right = (mutations.SOURCE / mutation.file).read_text("utf-8")
    place.write_text(right, "utf-8")
    seen = []

    def run(tests, source):
        seen.append((tests, place.read_text("utf-8")))
        return code, ""

    monkeypatch.setattr(mutations, "run", run)
    assert mutations.planted(mutation, tmp_path).startswith(verdict)
    ((tests, text),) = seen
    assert tests == [f"tests/{mutation.test}"] and text == right.replace(mutation.old, mutation.new) != right
    assert place.read_text("utf-8") == right


def test_a_fault_whose_place_is_gone_is_not_counted_as_caught(tmp_path):
    gone = MUTATIONS[0]._replace(old="no such text")
    assert "holds the text to be replaced 0 times" in mutations.planted(gone, tmp_path)
