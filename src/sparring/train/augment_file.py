"""The file that `augment` makes: text and label columns as in the data, how each row was made, and OUTPUT.yaml."""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..data.columns import MADE
from ..data.load import Examples
from .folder import write_yaml


def write(output: Path, sidecar: Path, examples: Examples, rows: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Both files beside and renamed, the data last: it is there when everything is. OSError where that cannot be."""
    *texts, label = examples.columns
    names: Sequence[Any] = examples.label_names
    if names and all(name.isdecimal() and str(int(name)) == name for name in names):
        names = [int(name) for name in names]
    table = [
        dict(zip(texts, row["text"], strict=True))
        | {label: names[row["label"]] if names else row["label"]}
        | {name: row[name] for name in MADE}
        for row in rows
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    try:
        FORMATS[output.suffix](partial, table)
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        plain = json.loads(json.dumps({**record, "sha256": digest}))
        write_yaml(sidecar, plain)
        os.replace(partial, output)  # noqa: PTH105
    finally:
        partial.unlink(missing_ok=True)


def _delimited(delimiter: str) -> Callable[[Path, list[dict[str, Any]]], None]:
    def write(path: Path, table: list[dict[str, Any]]) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)

    return write


def _jsonl(path: Path, table: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table), encoding="utf-8")


def _parquet(path: Path, table: list[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(table), path)


FORMATS = {".csv": _delimited(","), ".tsv": _delimited("\t"), ".jsonl": _jsonl, ".parquet": _parquet}
"""How a table is written, by the suffix of its file."""
