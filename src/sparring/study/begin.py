"""What `sparring study init` finds out about the user's data: columns, parts, classes of other domains."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.files import listed
from ..data.load import Examples, load
from ..data.tasks import TASKS
from ..errors import DataError, SettingError
from .options import DataSet
from .presets import Facts
from .sources import has_split, read_part

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_PARTS = ("train", "dev", "test")
_SAME = (
    ("negative", "neg", "0", "-1", "bad", "unfavorable"),
    ("positive", "pos", "1", "good", "favorable"),
    ("entailment", "entails", "entailed"),
    ("contradiction", "contradicts"),
    ("not_entailment", "not entailment", "non-entailment"),
)
"""Names of one class in different data sets."""


@dataclass(frozen=True)
class Begun:
    """The facts, and sentences for people: what was inferred, and what they have to add."""

    facts: Facts
    notes: tuple[str, ...]
    open: tuple[str, ...]
    """What the file still lacks before it can be run."""


def facts_of(
    data: str,
    cross: Sequence[str],
    base: Path,
    *,
    columns: Mapping[str, str | None] | None = None,
    name: str | None = None,
    model: str = "minilm",
    seeds: int = 3,
    corpus: str | None = None,
    preset: str = "",
) -> Begun:
    """What a preset needs to know. data: a file, a folder with train and test files, a task name, or demo.

    base: the folder that paths in the file are relative to. columns: `text` and `label` of the data, where they are not
    to be inferred. DataError for data that cannot be used.
    """
    if seeds < 1:
        raise SettingError(f"--seeds is {seeds}; give 1 or more, 3 or better 5 for a comparison")
    named = {key: column for key, column in (columns or {}).items() if column is not None}
    sources = _sources(data) | named
    spec = DataSet(**sources)
    train = read_part(spec, "train", Path())
    assert train is not None  # there are always training rows
    read_part(spec, "test", Path(), like=train.take([0]))
    called = _called(data, name)
    beside = [str(value) for key, value in sources.items() if key in ("dev", "test") and isinstance(value, str)]
    others: dict[str, dict[str, Any]] = {}
    missing = []
    for source in cross:
        other = _unused(_called(source), {called: None, **others})
        labels, gap = _mapped(source, train)
        others[other] = {"data": _from(source, base)} | ({"labels": labels} if labels else {})
        missing += [gap] if gap else []
    if corpus is not None and not Path(corpus).exists():
        raise DataError(f"--corpus {corpus}: there is no such file")
    facts = Facts(
        name=name or f"{called}-{preset}",
        data=called,
        sources={
            key: _from(value, base) if isinstance(value, str) and key not in named else value
            for key, value in sources.items()
        },
        rows=len(train.texts),
        classes=len(train.label_names),
        pairs=len(train.texts[0]) == 2,
        cross=others,
        model=_from(model, base) if Path(model).exists() else model,
        seeds=tuple(range(seeds)),
        corpus=None if corpus is None else _from(corpus, base),
    )
    found = (f"found beside it and taken: {listed(beside)}",) if beside and Path(data).is_file() else ()
    return Begun(facts, (*train.notes, *found), tuple(missing))


def _sources(data: str) -> dict[str, Any]:
    """Where train, dev and test are: siblings of a train file, files of a folder, or shares of one file."""
    if data == "demo" or data in TASKS or data.startswith("hub:"):
        test, dev = has_split(data, "test"), has_split(data, "dev")
        shares = {} if dev and test else {"dev_share": 0.1}  # without a test split, dev is measured on
        return {"train": data, **shares, **({} if test or dev else {"test_share": 0.2})}
    path = Path(data)
    if path.is_dir():
        found = _siblings(path)
        if "train" in found:
            return _completed(found)
        return {"train": data, "dev_share": 0.1, "test_share": 0.2}
    if path.stem == "train" and path.is_file():
        return _completed({**_siblings(path.parent), "train": str(path)})
    return {"train": data, "dev_share": 0.1, "test_share": 0.2}


def _siblings(folder: Path) -> dict[str, str]:
    paths = {part: [folder / f"{part}{suffix}" for suffix in _SUFFIXES] for part in _PARTS}
    first = {part: next((path for path in some if path.is_file()), None) for part, some in paths.items()}
    return {part: str(path) for part, path in first.items() if path is not None}


def _completed(found: Mapping[str, str]) -> dict[str, Any]:
    shares = {f"{part}_share": share for part, share in (("dev", 0.1), ("test", 0.2)) if part not in found}
    return {part: found[part] for part in _PARTS if part in found} | shares


def _mapped(source: str, train: Examples) -> tuple[dict[str, str], str | None]:
    """Their classes by our names, where they differ; a sentence if that cannot be told."""
    if train.is_regression:
        load(source, split="test", like=train)
        return {}, None
    split = "test" if has_split(source, "test") or not has_split(source, "dev") else "dev"
    found = load(source, split=split)
    ours = train.label_names
    unknown = [theirs for theirs in found.label_names if theirs not in ours]
    if not unknown:
        return {}, None
    guessed = {theirs: match for theirs in unknown if (match := _match(theirs, ours)) is not None}
    if len(guessed) == len(unknown) and len(set(guessed.values())) == len(guessed):
        return guessed, None
    return {}, (
        f"{source} has the classes {listed(found.label_names)}, the training data {listed(ours)}: say under "
        "`cross_domain` which is which, as in `labels: {theirs: ours}`"
    )


def _match(theirs: str, ours: Sequence[str]) -> str | None:
    group = next((names for names in _SAME if theirs.lower() in names), ())
    found = [name for name in ours if name.lower() == theirs.lower() or name.lower() in group]
    return found[0] if len(found) == 1 else None


def _called(source: str, study: str | None = None) -> str:
    """What a data set is called: its file, or of a file called train or test the study, or the folder it is in."""
    path = Path(source.removeprefix("hub:"))
    stem = path.name.split(".")[0]
    named = study or path.resolve().parent.name if stem in _PARTS else stem
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in named) or "data"


def _unused(name: str, known: Mapping[str, Any]) -> str:
    return next(one for one in (name, *(f"{name}-{n}" for n in range(2, 10_000))) if one not in known)


def _from(source: str, base: Path) -> str:
    """A path as seen from a folder; names of tasks and the like as they are."""
    if source == "demo" or source in TASKS or source.startswith("hub:") or not Path(source).exists():
        return source
    return Path(os.path.relpath(Path(source).resolve(), base.resolve())).as_posix()
