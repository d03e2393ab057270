"""Which column holds the texts and which the labels: by name where the name is usual, else the only ones that can."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, SettingError
from .files import Table, listed, nearest, quoted

PAIRS = (
    *(("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2")),
    *(("text1", "text2"), ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("sentence_1", "sentence_2")),
    *(("question", "sentence"), ("question", "passage"), ("question", "context"), ("question", "answer")),
    *(("query", "passage"), ("query", "document"), ("claim", "evidence")),
)
"""Names of two text columns that belong together."""
TEXTS = (
    *("text", "sentence", "review", "content", "comment", "utterance", "tweet", "message", "document", "body"),
    *("question", "query", "headline", "premise", "sentence1", "comment_text", "review_text", "abstract", "input"),
)
"""Names of a text column, the most telling first."""
LABELS = (
    *("label", "labels", "gold_label", "class", "target", "category", "intent", "sentiment", "polarity", "score"),
    *("similarity", "similarity_score", "rating", "stars", "topic", "emotion", "stance", "is_duplicate", "y"),
)
"""Names of a label column, the most telling first."""
IDS = ("id", "idx", "guid", "uid", "index", "")
"""Names of columns that number the rows ("" is the one pandas writes)."""
MADE = ("provenance", "source_row")
"""Columns that `sparring augment` writes beside texts and labels: how a row was made, and out of which."""
UNIQUE = ("id", "idx", "guid")
"""Names of columns in which a value must not occur twice."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_SAMPLE = 200
"""Rows looked at to tell what a column holds."""


@dataclass(frozen=True)
class Choice:
    """The columns chosen."""

    texts: tuple[str, ...]
    label: str | None
    notes: tuple[str, ...]


def is_number(text: str) -> bool:
    """Whether a string writes a number ("nan" and "inf" included)."""
    return _NUMBER.fullmatch(text) is not None


def choose(table: Table, text: Sequence[str] | None, label: str | None, *, require_label: bool) -> Choice:
    """Choose the text column(s) and the label column, those the user named or the obvious ones.

    Raises `DataError` when a named column is missing or nothing is obvious, `SettingError` for three text columns.
    """
    texts = (text,) if isinstance(text, str) else tuple(text or ())
    if len(texts) > 2 or len(set(texts)) < len(texts):
        raise SettingError(f"text: one column, or two different ones for pairs, not {listed(texts)}.")
    if label is not None and label in texts:
        raise SettingError(f"label: the column {quoted(label)} is already a text column. Name another one.")
    named = (*texts, *([] if label is None else [label]))
    if not (named and all(name in table.columns for name in named)):
        _check_first_line(table)
    for name in named:
        if name not in table.columns:
            raise DataError(
                f"{table.origin}: there is no column {quoted(name)}; the columns are {listed(table.columns)}."
                + (nearest(name, table.columns) or " Name one of these.")
            )
    lower = {name.lower(): name for name in reversed(table.columns)}
    notes = []
    found_label = label or _by_name(lower, LABELS, texts)
    if not texts:
        texts = _find_texts(table, lower, found_label)
        which = "text column" if len(texts) == 1 else "text columns"
        notes.append(f"{which}: {' and '.join(map(quoted, texts))} (inferred)")
    if found_label is None and require_label:
        rest = [name for name in table.columns if name not in texts and name.lower() not in (*IDS, *MADE)]
        if len(rest) != 1:
            raise DataError(
                f"{table.origin}: no label column found among {listed(table.columns)}. "
                "Name it (`label`, on the command line `--label`), or call the column 'label'."
            )
        found_label = rest[0]
    if label is None and found_label is not None:
        notes.append(f"label column: {quoted(found_label)} (inferred)")
    unused = [name for name in table.columns if name not in texts and name != found_label]
    if unused:
        notes.append(f"columns not used: {listed(unused)}")
    return Choice(texts, found_label, tuple(notes))


def _by_name(lower: dict[str, str], names: Sequence[str], taken: Sequence[str] = ()) -> str | None:
    return next((lower[name] for name in names if name in lower and lower[name] not in taken), None)


def _find_texts(table: Table, lower: dict[str, str], label: str | None) -> tuple[str, ...]:
    for first, second in PAIRS:
        if first in lower and second in lower and label not in (lower[first], lower[second]):
            return (lower[first], lower[second])
    known = _by_name(lower, TEXTS, () if label is None else (label,))
    if known is not None:
        return (known,)
    rest = [name for name in table.columns if name != label and name.lower() not in (*IDS, *MADE)]
    strings = [name for name in rest if _is_text(table.columns[name])]
    wordy = [name for name in strings if _is_wordy(table.columns[name])]
    if len(strings) == 1:
        return (strings[0],)
    if len(wordy) == 1 or (len(wordy) == 2 and len(strings) == 2 and label is not None):
        return tuple(wordy)
    raise DataError(
        f"{table.origin}: cannot tell which column holds the text; the columns are {listed(table.columns)}. "
        "Name it with the setting `text`, or call the column 'text'."
    )


def _sample(values: list[Any]) -> list[str]:
    return [value for value in values[:_SAMPLE] if isinstance(value, str) and value.strip()]


def _is_text(values: list[Any]) -> bool:
    return any(not is_number(value.strip()) for value in _sample(values))


def _is_wordy(values: list[Any]) -> bool:
    sample = _sample(values)
    return sum(len(value.split()) > 1 for value in sample) * 2 > len(sample)


def _check_first_line(table: Table) -> None:
    """Refuse a file whose first line seems to be a row, which would otherwise be lost in silence."""
    known = {*LABELS, *TEXTS, *IDS[:-1], *(name for pair in PAIRS for name in pair)}
    if not table.header or any(name.lower() in known for name in table.columns):
        return
    for name, values in table.columns.items():
        if not name:
            continue
        if is_number(name):
            why = f"{quoted(name)} is a number"
        elif name in values:
            why = f"{quoted(name)} occurs again below"
        elif len(name.split()) > 4 or len(name) > 60:
            why = f"{quoted(name)} reads like a text"
        else:
            continue
        example = "text,label" if len(table.columns) == 2 else "text,text_pair,label"
        raise DataError(
            f"{table.origin}, line 1: the first line must name the columns, but it looks like a row ({why}). "
            f"Add a header line such as {example} (if it is a header, name its columns: `text` and `label`)."
        )
