"""Analyses of several models in one folder: NAME/neurons.json of each, comparison.json, and the activations."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError, SettingError
from ..train.folder import write_json
from .compare import compare
from .neurons import complete, key_of, prepare, read
from .options import Neurons

RESULT, COMPARISON = "neurons.json", "comparison.json"


def analyse_runs(
    runs: Sequence[Path],
    settings: Neurons,
    output: Path,
    *,
    progress: Callable[[str, int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Results by the model's name and their comparison: {"models", "comparison"}.

    What is finished in `output` is kept, activations of the same model and words are used again. progress: called with
    (name of the model, done, total, what is being done).
    Raises RunError where `output` holds a result of other settings, words or weights, or cannot be written.
    """
    corpus = read(settings)
    names = names_of(runs)
    results: dict[str, Any] = {}
    for name, run in zip(names, runs, strict=True):
        tick = None if progress is None else _named(progress, name)
        try:
            (output / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {output / name}: {error.strerror}; choose another --output") from error
        began = time.monotonic()
        activations = prepare(run, corpus, settings, output / name, tick)
        found = _finished(output / name / RESULT, key_of(activations, corpus, settings))
        if found is None:
            found = {"run": str(run), **complete(activations, corpus, settings, began, tick)}
            write_json(output / name / RESULT, found)
        results[name] = found
    comparison = compare(results)
    write_json(output / COMPARISON, comparison)
    return {"models": results, "comparison": comparison}


def names_of(runs: Sequence[Path]) -> list[str]:
    """A folder's name for each run, with as many of its parents as tell them apart. SettingError if a run is twice."""
    parts = [run.resolve().parts[1:] if run.exists() else run.parts for run in runs]
    if len(set(parts)) < len(parts):
        twice = next(run for place, run in enumerate(runs) if parts[place] in parts[:place])
        raise SettingError(f"{twice} is named twice")
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["-".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{number}-{name}" for number, name in enumerate(names, 1)]


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    """The result in a file if it is that of this key; None if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = found["key"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"cannot read {path}: {type(error).__name__}: {error}; delete it to make it anew") from error
    if known != key:
        raise RunError(
            f"{path} is the result of another model, corpus or other settings (column {found.get('column')!r}); choose "
            "another --output, or delete it"
        )
    return dict(found)


def _named(progress: Callable[[str, int, int, str], None], name: str) -> Callable[[int, int, str], None]:
    return lambda done, total, what: progress(name, done, total, what)
