"""Loading labelled texts: from a file, a folder saved with `datasets`, a named task, the hub, or the embedded demo.

Everything doubtful is either an error that names the file, the row and the way out, or a sentence in `Examples.notes`.
"""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import DataError, SettingError
from .columns import UNIQUE, choose
from .files import Table, from_dataset, nearest, pick_split, printable, quoted, read
from .labels import classes, is_missing, parse, quantities
from .tasks import TASKS, Task

LONG = 20_000
"""Characters from which a text is worth a note: every tokenizer will cut it."""
MOST_ALONE = 20
"""So many training rows may have labels that are all different; more are no labels but names, or numbers of rows."""
_HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)(?::([^:]+))?")


@dataclass(frozen=True)
class Examples:
    """Texts with their labels, checked."""

    texts: tuple[tuple[str, ...], ...]
    """One entry a row: (text,) or (text, text_pair)."""
    labels: tuple[int, ...] | tuple[float, ...]
    """Class numbers, or floats for regression; empty when the source has no labels and none were required."""
    label_names: tuple[str, ...]
    """Class names by class number; empty for regression."""
    metric: str
    """"accuracy", "mcc", "f1" or "pearson"."""
    origin: str
    """What the user named, for messages and records."""
    digest: str
    """SHA-256 (hex) over texts and labels (class names, not numbers, so that it does not depend on the train data)."""
    notes: tuple[str, ...]
    """Sentences saying what was inferred or dropped."""
    columns: tuple[str, ...] = ()
    """Names of the text column(s) and of the label column that the rows came from."""

    @property
    def is_regression(self) -> bool:
        """Whether the labels are quantities rather than classes."""
        return self.metric == "pearson"

    def take(self, rows: Sequence[int], *notes: str) -> "Examples":
        """These rows alone, in this order; notes are added."""
        texts = tuple(self.texts[row] for row in rows)
        labels = tuple(self.labels[row] for row in rows) if self.labels else ()
        digest = _digest(texts, labels, self.label_names)
        return replace(self, texts=texts, labels=labels, digest=digest, notes=(*self.notes, *notes))


def load(
    source: str | Path,
    *,
    split: str = "train",
    text: Sequence[str] | None = None,
    label: str | None = None,
    usual: tuple[Sequence[str] | None, str | None] = (None, None),
    like: Examples | None = None,
    limit: int | None = None,
    require_labels: bool = True,
) -> Examples:
    """Load one split of a data set.

    `source` is "demo", a task name (`sparring.data.tasks.TASKS`), "hub:owner/name[:config]", or the path of a csv,
    tsv, jsonl, json or parquet file (text forms also .gz or .xz) or of a folder saved with `save_to_disk`. A plain
    file is one split: `split` then only says whether it is the training data. `text` (one or two columns) and `label`
    are inferred when not given; before that `usual`, such columns as other data had, are taken where this data has
    them. `like` is the training data that dev and test data must match in classes and kind.
    `limit` keeps that many rows, drawn with a fixed seed, in their order.

    Raises `DataError` for data that cannot be used as it is and `SettingError` for a `text`, `label` or `limit` that
    makes no sense.
    """
    if limit is not None and limit < 1:
        raise SettingError(f"limit: {limit} is not a number of rows. Use 1 or more, or leave it out for all rows.")
    table, task = _open(source, split)
    if task is not None:
        text, label = text or task.texts, label or task.label
    if not text and usual[0] and set(usual[0]) <= table.columns.keys():
        text = usual[0]
    label = label or (usual[1] if usual[1] in table.columns else None)
    choice = choose(table, text, label, require_label=require_labels)
    notes = [*table.notes, *choice.notes]
    if table.local:
        _check_ids(table, {*choice.texts, choice.label})
    name = choice.label
    if name is not None:
        table, name = _drop_unlabelled(table, name, require_labels, notes)
    table = _check_texts(table, choice.texts, notes)
    if like is not None and like.texts and len(like.texts[0]) != len(choice.texts):
        wanted = "pairs of texts" if len(choice.texts) == 1 else "single texts"
        raise DataError(
            f"{table.origin}: the training data has {wanted}, this has not. Name the columns to use: `text`."
        )
    texts = tuple(zip(*(table.columns[column] for column in choice.texts), strict=True))
    metric = like.metric if like else task.metric if task and label == task.label else "accuracy"
    labels: tuple[int, ...] | tuple[float, ...] = ()
    names = like.label_names if like else ()
    if name is not None:
        values = parse(table, name)
        if metric == "pearson" or (like is None and isinstance(values[0], float)):
            metric = "pearson"
            labels = quantities(table, values)
            notes.append(f"the labels are quantities (regression), from {min(labels):g} to {max(labels):g}")
        else:
            labels, names = classes(table, name, values, like.label_names if like else (), notes)
            if split == "train" and like is None and require_labels and len(set(labels)) < 2:
                raise DataError(
                    f"{table.origin}: every row has the label {quoted(names[labels[0]])}. "
                    f"Training needs two classes: check that {quoted(name)} is the label column."
                )
            if split == "train" and like is None and require_labels and len(set(labels)) == len(labels) > MOST_ALONE:
                raise DataError(
                    f"{table.origin}: no two of the {len(labels)} rows have the same label in {quoted(name)}, so that "
                    "nothing can be learned from it. Name the column of the labels: `label`. (A quantity is taken as "
                    "one where some value has decimals.)"
                )
    if limit is not None and limit < len(texts):
        rows = sorted(random.Random(0).sample(range(len(texts)), limit))
        notes.append(f"limit: {limit} of {len(texts)} rows, drawn with a fixed seed")
        texts = tuple(texts[row] for row in rows)
        labels = tuple(labels[row] for row in rows) if labels else ()
    columns = (*choice.texts, *([] if name is None else [name]))
    return Examples(texts, labels, names, metric, str(source), _digest(texts, labels, names), tuple(notes), columns)


def _open(source: str | Path, split: str) -> tuple[Table, Task | None]:
    word = str(source)
    named = isinstance(source, str)
    if named and word == "demo":
        return _demo(split), None
    if named and word in TASKS:
        table = _task(TASKS[word], split)
        if Path(word).exists():
            note = f"{quoted(word)} is the task of that name; for the file or folder write {quoted('./' + word)}"
            table = replace(table, notes=(*table.notes, note))
        return table, TASKS[word]
    if named and word.startswith("hub:"):
        match = _HUB.fullmatch(word)
        if match is None:
            raise DataError(f"{quoted(word)}: write hub:owner/name or hub:owner/name:config")
        return _hub(match[1], match[2], split), None
    if not word.strip():
        raise DataError("No data named. Name a file, a task, hub:owner/name, or demo.")
    path = Path(source).expanduser()
    if named and not path.suffix and not _exists(path):
        hint = f" For the hub write {quoted('hub:' + word)}." if re.fullmatch(r"[\w-]+/[\w.-]+", word) else ""
        hint = nearest(word.lower(), [*TASKS, "demo"]) or hint or f" The tasks are {', '.join(TASKS)} and demo."
        raise DataError(f"{printable(word)}: there is no such file, and no task of this name.{hint}")
    return read(path, split), None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True  # there is something that we may not look at: reading it gives the reason


def _demo(split: str) -> Table:
    from .demo import LABELS, SPLITS, reviews

    name = pick_split(split, SPLITS, "demo")
    rows = reviews(name)
    columns: dict[str, list[Any]] = {"text": [row.text for row in rows], "label": [row.label for row in rows]}
    return Table(f"demo [{name}]", columns, range(1, len(rows) + 1), "row", {"label": LABELS}, local=False)


def _task(task: Task, split: str) -> Table:
    name = pick_split(split, task.splits, task.name)
    notes = (f"{task.name}: {task.note}",) if task.note else ()
    dataset = _download(task.hub, task.config, task.splits[name])
    table = from_dataset(dataset, f"{task.name} [{name}]", local=False)
    names = dict(table.names)
    if task.labels and isinstance(table.columns.get(task.label, [None])[0], int):
        names[task.label] = task.labels
    return replace(table, notes=notes, names=names)


def _hub(owner_name: str, config: str | None, split: str) -> Table:
    dataset = _download(owner_name, config, None)
    name = pick_split(split, dataset, owner_name)
    return from_dataset(dataset[name], f"{owner_name} [{name}]", local=False)


def _download(owner_name: str, config: str | None, split: str | None) -> Any:
    import datasets

    try:
        return datasets.load_dataset(owner_name, config, split=split)
    except Exception as error:  # the library and the network raise many kinds; none of them helps as a traceback
        why = printable(str(error).partition("\n")[0])[:300]
        if isinstance(error, ConnectionError) or "onnect" in type(error).__name__ or "Offline" in why:
            raise DataError(
                f"{owner_name}: the hub cannot be reached and the data set is not in the local cache ({why}). "
                "Connect (and unset HF_HUB_OFFLINE), or name a file of your own, or use demo."
            ) from None
        raise DataError(
            f"{owner_name}: the hub's data set cannot be loaded ({type(error).__name__}: {why}). "
            "Check owner, name and config (hub:owner/name:config), or save it as a file and name that."
        ) from None


def _check_ids(table: Table, used: set[str | None]) -> None:
    for name in table.columns:
        if name.lower() not in UNIQUE or name in used:
            continue
        seen: dict[str, int] = {}
        for row, value in enumerate(table.columns[name]):
            if is_missing(value):
                continue
            first = seen.setdefault(str(value), row)
            if first != row:
                raise DataError(
                    f"{table.at(row)}: the {quoted(name)} {quoted(value)} was already used in {table.unit} "
                    f"{table.lines[first]}. Remove the double row, or rename the column if it does not number the rows."
                )


def _drop_unlabelled(table: Table, name: str, require_labels: bool, notes: list[str]) -> tuple[Table, str | None]:
    """The labelled rows and the label column, or all rows and None when labels are not needed and no row has one."""
    values = table.columns[name]
    if name in table.names:
        empty = [row for row, value in enumerate(values) if value is None or value == -1]
    elif name == "gold_label":
        empty = [row for row, value in enumerate(values) if value == "-"]  # as SNLI and MNLI are distributed
    else:
        empty = []
    none = [row for row, value in enumerate(values) if is_missing(value)] if name not in table.names else []
    if len(empty) + len(none) == len(values) and not require_labels:
        notes.append(f"the label column {quoted(name)} is empty: unlabelled data")
        return table, None
    if none:
        raise DataError(
            f"{table.at(none[0])}: the label {quoted(values[none[0]])} in column {quoted(name)} is missing "
            f"({table.at_all(none)}). Fill the labels in or remove the rows."
        )
    if empty:
        if len(empty) == len(values):
            raise DataError(f"{table.origin}: no row has a label (all are -1). Name another split, such as dev.")
        notes.append(f"{len(empty)} of {len(values)} rows are unlabelled ({quoted(values[empty[0]])}) and were dropped")
        left = set(empty)
        table = table.take([row for row in range(len(values)) if row not in left])
    return table, name


def _check_texts(table: Table, names: Sequence[str], notes: list[str]) -> Table:
    """Every text is there; rows of a public data set that have none are dropped, as the user cannot mend them."""
    empty: set[int] = set()
    for name in names:
        values = table.columns[name]
        odd = next((row for row, value in enumerate(values) if value is not None and type(value) is not str), None)
        if odd is not None:
            raise DataError(
                f"{table.at(odd)}: the text column {quoted(name)} holds {quoted(values[odd])} "
                f"({type(values[odd]).__name__}), not a string. Quote it, or name another column: `text`."
            )
        none = [row for row, value in enumerate(values) if value is None or not value.strip()]
        if none and table.local:
            what = "one side of the pair is missing" if len(names) == 2 else "the text is empty"
            raise DataError(
                f"{table.at(none[0])}: {what}: column {quoted(name)} holds {quoted(values[none[0]])} "
                f"({table.at_all(none)}). Fill the texts in or remove the rows."
            )
        empty.update(none)
    if empty:
        notes.append(f"{len(empty)} of {len(table.lines)} rows have an empty text and were dropped")
        table = table.take([row for row in range(len(table.lines)) if row not in empty])
    if not table.lines:
        raise DataError(f"{table.origin}: no row has a text. Name another column: `text`.")
    for name in names:
        _check_characters(table, name)
        longest = max(range(len(table.lines)), key=lambda row: len(table.columns[name][row]))
        size = len(table.columns[name][longest])
        if size >= LONG:
            where = f"{table.unit} {table.lines[longest]}"
            notes.append(
                f"the longest text has {size} characters ({where}); the tokenizer cuts what the model cannot read"
            )
    return table


def _check_characters(table: Table, name: str) -> None:
    values = table.columns[name]
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        row = next(row for row, value in enumerate(values) if re.search("[\ud800-\udfff]", value))
        raise DataError(
            f"{table.at(row)}: half a character (a lone surrogate) in the text {quoted(values[row])}. "
            "Write the text again as UTF-8."
        ) from None


def _digest(
    texts: tuple[tuple[str, ...], ...], labels: tuple[int, ...] | tuple[float, ...], names: tuple[str, ...]
) -> str:
    shown: Sequence[object] = [names[int(label)] for label in labels] if names else labels
    return hashlib.sha256(json.dumps([texts, shown], separators=(",", ":")).encode()).hexdigest()
