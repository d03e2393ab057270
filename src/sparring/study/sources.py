"""The rows that a study trains and measures on: parts of a file, drawn rows, classes under other names.

Draws have fixed seeds, so that every arm, seed and machine sees the same rows, and fewer rows are a part of more.
"""

import json
import os
from collections.abc import Sequence
from glob import has_magic
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.batch import make_key
from ..data.files import listed, nearest
from ..data.load import Examples, load
from ..data.tasks import TASKS
from ..errors import DataError
from .options import CrossDomain, DataSet

Part = Literal["train", "dev", "test"]
_FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz", ".xz", ".txt", ".npz", ".conllu")
"""What ends so is the name of a file, also of one that is missing."""


def anchored(source: str, root: Path) -> str:
    """A file or folder that is named relative to the study's, so that it is found from here; other names as they are.

    Several, separated by commas, are anchored one by one, as are globs.
    """
    if source.startswith("~"):
        if "," in source and not _exists(Path(os.path.expanduser(source))):  # noqa: PTH111
            return ",".join(anchored(part.strip(), root) for part in source.split(","))
        source = os.path.expanduser(source)  # noqa: PTH111  # a home that is not there is left as it is
    if source == "demo" or source in TASKS or source.startswith("hub:") or Path(source).is_absolute():
        return source
    if _exists(root / source):
        return str(root / source)
    if "," in source:
        return ",".join(anchored(part.strip(), root) for part in source.split(","))
    return str(root / source) if has_magic(source) or source.lower().endswith(_FILES) else source


def has_split(source: str, split: str) -> bool:
    """Whether a data set that is not one file has a split of its own."""
    if source == "demo" or source in TASKS:
        return source == "demo" or split in TASKS[source].splits
    try:
        content = json.loads((Path(source) / "dataset_dict.json").read_text(encoding="utf-8"))
        names = [str(name) for name in content["splits"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return split in names or (split == "dev" and any(name in names for name in ("validation", "valid", "val")))


def columns_of(text: str | None) -> tuple[str, ...] | None:
    """Names of text columns, of "premise,hypothesis"."""
    return tuple(part.strip() for part in text.split(",")) if text else None


def read_part(spec: DataSet, part: Part, root: Path, *, like: Examples | None = None) -> Examples | None:
    """Training, held-out or test rows of a data set; None where it has no held-out rows.

    like: what the classes must be; for dev and test the training rows, or rows like them.
    """
    given: dict[str, Any] = {"text": columns_of(spec.text), "label": spec.label}
    if spec.dev_share or spec.test_share:
        shared = part == "train" or getattr(spec, f"{part}_share") is not None
        if shared:
            whole = load(anchored(spec.train, root), split="train", like=like, **given)
            rows = _parts(spec, len(whole.texts))[part]
            note = f"{part}: {len(rows)} of {len(whole.texts)} rows, drawn with a fixed seed"
            return _limited(whole.take(rows, note), spec, part)
    if part == "train":
        return load(anchored(spec.train, root), split="train", like=like, limit=spec.limit, **given)
    named = spec.dev if part == "dev" else spec.test
    source = anchored(named or spec.train, root)
    split = _measured_on(spec, root)[1] if part == "test" else "dev"
    if named is None and not has_split(source, split):
        if part == "dev":
            return None
        raise DataError(
            f"{spec.train}: there is nothing to measure on; add `test: FILE`, or `test_share: 0.2` to hold out a part "
            "of the training rows"
        )
    if part == "dev" and spec.test_share is None and _measured_on(spec, root) == (source, split):
        if named is None:  # its only held-out rows are measured on
            return None
        if split == "dev" and has_split(source, "dev"):
            raise DataError(
                f"{spec.dev}: its dev split is what is measured on, for there is no test split; take `dev_share: 0.1` "
                "in place of `dev`, or name other rows as `test`"
            )
    return _limited(load(source, split=split, like=like, **given), spec, part)


def read_cross(spec: CrossDomain, root: Path, like: Examples) -> Examples:
    """Rows of another domain, their classes by our names. like: the training rows, or rows like them.

    DataError for a class that is none of ours and is not mapped, and for a mapping of or to one that is not there.
    """
    source, text = anchored(spec.data, root), columns_of(spec.text)
    split = "test" if has_split(source, "test") or not has_split(source, "dev") else "dev"
    if like.is_regression:
        found = load(source, split=split, text=text, label=spec.label, like=like)
        return drawn(found, spec.limit)
    found = load(source, split=split, text=text, label=spec.label)
    if found.is_regression:
        raise DataError(
            f"{source}: the labels are quantities, and the training data has the classes {listed(like.label_names)}"
        )
    if len(found.texts[0]) != len(like.texts[0]):
        one, two = ("pairs", "single texts") if len(like.texts[0]) == 2 else ("single texts", "pairs")
        raise DataError(f"{source}: it has {two} and the training data has {one}; name the columns to use: `text`")
    ours = {name: number for number, name in enumerate(like.label_names)}
    number = {theirs: _ours(theirs, spec, ours, found, source) for theirs in found.label_names}
    unknown = next((theirs for theirs in spec.labels if theirs not in number), None)
    if unknown is not None:
        raise DataError(
            f"{source}: `labels` maps {unknown!r}, a class that does not occur; the classes are "
            f"{listed(found.label_names)}.{nearest(unknown, found.label_names)}"
        )
    kept = [row for row, label in enumerate(found.labels) if number[found.label_names[int(label)]] is not None]
    if not kept:
        raise DataError(f"{source}: `labels` leaves every row out; map at least one class to one of {listed(ours)}")
    labels = tuple(number[found.label_names[int(label)]] or 0 for label in found.labels)
    mapped = Examples(
        texts=found.texts,
        labels=labels,
        label_names=like.label_names,
        metric=like.metric,
        origin=found.origin,
        digest="",
        notes=tuple(note for note in found.notes if "classes, from the data" not in note),
        columns=found.columns,
    )
    return drawn(mapped.take(kept), spec.limit)


def drawn(examples: Examples, count: int | None) -> Examples:
    """So many rows, always the same ones, in their order; all if there are no more. Fewer are a part of more."""
    total = len(examples.texts)
    if count is None or count >= total:
        return examples
    order = np.random.default_rng(make_key("study rows")).permutation(total)
    return examples.take(sorted(int(row) for row in order[:count]), f"{count} of {total} rows, drawn with a fixed seed")


def write_rows(examples: Examples, path: Path) -> None:
    """Rows as a jsonl file that `load` reads as the same rows."""
    *texts, label = examples.columns
    names: Sequence[Any] = examples.label_names
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        for fields, value in zip(examples.texts, examples.labels, strict=True):
            row = {**dict(zip(texts, fields, strict=True)), label: names[int(value)] if names else value}
            file.write(json.dumps(row) + "\n")
    partial.replace(path)


def _ours(theirs: str, spec: CrossDomain, ours: dict[str, int], found: Examples, source: str) -> int | None:
    name = spec.labels.get(theirs, theirs)
    if name is None:
        return None
    if name in ours:
        return ours[name]
    if theirs in spec.labels:
        raise DataError(
            f"{source}: `labels` maps {theirs!r} to {name!r}, which the models do not know; their classes are "
            f"{listed(ours)}.{nearest(name, ours)}"
        )
    raise DataError(
        f"{source}: its classes are {listed(found.label_names)}, those of the training data {listed(ours)}. Say which "
        f"of ours {theirs!r} is: `labels: {{{theirs}: {next(iter(ours))}, ...}}`; null leaves its rows out"
    )


def _parts(spec: DataSet, total: int) -> dict[Part, list[int]]:
    order = [int(row) for row in np.random.default_rng(make_key("study parts")).permutation(total)]
    test, dev = (round((share or 0.0) * total) for share in (spec.test_share, spec.dev_share))
    for part, count, share in (("test", test, spec.test_share), ("dev", dev, spec.dev_share)):
        if share and not count:
            raise DataError(f"{spec.train}: {part}_share is {share:g}, which is no row of {total}; give more")
    return {"test": sorted(order[:test]), "dev": sorted(order[test : test + dev]), "train": sorted(order[test + dev :])}


def _limited(examples: Examples, spec: DataSet, part: Part) -> Examples:
    limits = {"train": spec.limit, "test": spec.test_limit, "dev": spec.dev_limit}
    return drawn(examples, limits[part])


def _measured_on(spec: DataSet, root: Path) -> tuple[str, str]:
    """Source and split of the test rows that are no part of train."""
    source = anchored(spec.test or spec.train, root)
    return source, "test" if has_split(source, "test") or not has_split(source, "dev") else "dev"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
