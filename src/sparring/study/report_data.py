"""What the script of a study's page works with, small enough to stand in it: records, and examples of attacks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..attack.difference import difference, visible

ROOM = 1_400_000
"""Bytes of examples on a page; beyond them, those of further seeds stay in the records."""
COLUMNS = ("job", "title", "seconds", "memory", "started")
INTERNED = ("status", "settings", "data", "environment", "error")


class Book:
    """Records by their place in a list, and what many of them have in common written once."""

    def __init__(self, lines: Mapping[str, Mapping[str, Any]]) -> None:
        self.lines: dict[str, Mapping[str, Any]] = dict(lines)
        self._places = {job: i for i, job in enumerate(self.lines)}
        self._values: dict[str, int] = {}

    def place(self, job: str) -> int:
        """Of a record; one that is nowhere gets a place too, and says so."""
        if job not in self._places:
            self._places[job] = len(self._places)
            self.lines[job] = {"job": job, "status": "not in the records"}
        return self._places[job]

    def value(self, value: Any) -> int:
        """Place of any JSON value."""
        return self._values.setdefault(json.dumps(value, sort_keys=True, default=str), len(self._values))

    def written(self) -> dict[str, Any]:
        """All of it as JSON values."""
        rows = []
        for job in list(self.lines):
            line = self.lines[job]
            cost = line.get("cost") or {}
            seconds, memory = cost.get("seconds"), cost.get("peak_memory")
            known = {**line, "job": job, "seconds": _short(seconds), "memory": _short(memory)}
            needs = [self._places.get(need, need) for need in line.get("needs") or ()]
            shared = [self.value(line[name]) if line.get(name) else None for name in INTERNED]
            rows.append([*(known.get(name) for name in COLUMNS), *shared, needs])
        columns = [*COLUMNS, *INTERNED, "needs"]
        return {"jobs": rows, "columns": columns, "values": [json.loads(text) for text in self._values]}


def pack_examples(
    records: Sequence[Mapping[str, Any]], arms: Mapping[str, str], styles: Mapping[str, int], book: Book
) -> tuple[dict[str, Any], str]:
    """Examples of attack records as rows of numbers into lists of texts, and a sentence on what had no room.

    A text is written once, and what an attack made of it as edits: n letters that stay, -n that go, texts that come.
    """
    names, texts = _Places(), _Places()
    rows: list[list[Any]] = []
    size, left = 0, 0
    seeds = sorted({record.get("seed", 0) for record in records})
    for record in sorted(records, key=lambda record: seeds.index(record.get("seed", 0))):
        found = list(_examples(record))
        if size > ROOM:
            left += len(found)
            continue
        where = [
            names.of(_label(record)),
            styles.get(arms.get(record.get("arm", ""), ""), 0),
            names.of(f"{record.get('dataset', '')} · {record.get('model', '')}"),
            record.get("seed"),
            book.place(record["job"]),
        ]
        for recipe, example in found:
            original, edits = _edited(example, texts)
            row = [*where, names.of(recipe), example.get("row"), names.of(example.get("status"))]
            row += [names.of(example.get(key)) for key in ("label", "predicted", "attacked")]
            row += [example.get("queries"), original, edits]
            rows.append(row)
            size += len(json.dumps(row)) + texts.added()
    note = f"{left:,} examples had no room on this page; they are in the records." if left else ""
    return {"rows": rows, "names": names.all, "texts": texts.all}, note


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}") if value < 1000 else round(value)


class _Places:
    """Places of texts in a list without repetitions; None has none."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._at: dict[Any, int] = {}
        self._new = 0

    def of(self, text: Any) -> int | None:
        if text is None:
            return None
        if text not in self._at:
            self._at[text] = len(self.all)
            self.all.append(text)
            self._new += len(str(text))
        return self._at[text]

    def added(self) -> int:
        """Letters that are new since this was asked."""
        new, self._new = self._new, 0
        return new


def _examples(record: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    result = record.get("result") or {}
    recipe = str(result.get("recipe") or record.get("name"))
    yield from ((recipe, example) for example in result.get("examples") or ())
    calibrated = result.get("calibrated") or {}
    yield from ((f"{recipe}, calibrated attacker", example) for example in calibrated.get("examples") or ())


def _label(record: Mapping[str, Any]) -> str:
    budget = record.get("budget", "epochs")
    return f"{record.get('arm')}" + ("" if budget == "epochs" else f" at equal {budget}")


def _edited(example: Mapping[str, Any], texts: _Places) -> tuple[list[int | None], list[list[int | str]]]:
    """Places of the original fields, and the edits of each."""
    originals, edits = [], []
    before = example.get("original") or []
    for old, new in zip(before, example.get("adversarial") or example.get("attempt") or before, strict=False):
        segments = [(what, visible(part)) for what, part in difference(str(old), str(new))]
        originals.append(texts.of("".join(part for what, part in segments if what != "inserted")))
        signs = {"same": 1, "deleted": -1}
        edits.append([part if what == "inserted" else signs[what] * _units(part) for what, part in segments])
    return originals, edits


def _units(text: str) -> int:
    """Length as JavaScript counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
