"""The neurons on a study's page: how many a property needs, in which layers, and what the foremost ones stand for."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..attack.page import plain
from .plots import NARROW, WIDE, Line, Value, lines
from .report_data import Book

SHADES = 10
"""Of the heat maps, in the style sheet."""
TOP, WORDS = 30, 12
"""Neurons of a model, and words of a neuron, that are shown."""


def neuron_view(
    records: Sequence[Mapping[str, Any]], styles: Mapping[str, int], dashes: Mapping[str, int], book: Book
) -> list[dict[str, Any]]:
    """A section for each property (corpus and column) that was probed; the template's values."""
    sections: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        result = record.get("result") or {}
        sections.setdefault((str(result.get("corpus", record.get("name"))), str(result.get("column", ""))), []).append(
            record
        )
    return [_section(*name, found, styles, dashes, book) for name, found in sections.items()]


def _section(
    corpus: str,
    column: str,
    records: Sequence[Mapping[str, Any]],
    styles: Mapping[str, int],
    dashes: Mapping[str, int],
    book: Book,
) -> dict[str, Any]:
    told = [key for key in ("dataset", "model", "budget") if len({record.get(key) for record in records}) > 1]
    models = plain([_model(record, styles, book, told) for record in records])
    first = records[0].get("result") or {}
    head = {
        "corpus": corpus,
        "column": column,
        "words": first.get("words"),
        "tags": first.get("tags") or [],
        "width": first.get("width"),
        "aggregation": first.get("aggregation"),
        "probe": first.get("probe") or {},
        "layers": max((len(model["profile"]) for model in models), default=0),
        "models": models,
    }
    return {**plain(head), "curve": _curve(records, models, dashes)}


def _model(record: Mapping[str, Any], styles: Mapping[str, int], book: Book, told: Sequence[str]) -> dict[str, Any]:
    result = record.get("result") or {}
    minimal, oracle = result.get("minimal") or {}, result.get("oracle") or {}
    control, ablation = result.get("control") or {}, result.get("ablation") or {}
    exclusive, bootstrap = result.get("exclusive") or {}, result.get("bootstrap") or {}
    parts = [f"equal {record.get(key)}" if key == "budget" else str(record.get(key)) for key in told]
    name = " · ".join([str(record.get("arm")), *parts])
    profile, layers = result.get("layer_profile") or [], result.get("layer_accuracy") or []
    return {
        "name": name,
        "seed": record.get("seed"),
        "style": styles.get(str(record.get("family")), 0),
        "job": book.place(record["job"]),
        "title": f"record {record['job']}",
        "size": minimal.get("size"),
        "size_ends": bootstrap.get("size"),
        "kept_accuracy": minimal.get("accuracy"),
        "tolerance": minimal.get("tolerance"),
        "oracle": oracle.get("accuracy"),
        "oracle_ends": [oracle.get("low"), oracle.get("high")],
        "majority": result.get("majority"),
        "selectivity": control.get("selectivity"),
        "kept": ablation.get("kept"),
        "removed": ablation.get("removed"),
        "mean_tags": exclusive.get("mean_tags"),
        "alone": exclusive.get("alone"),
        "seconds": result.get("seconds"),
        "profile": shaded(profile, 0.0),
        "by_layer": shaded(layers, None),
        "top": [_neuron(neuron) for neuron in (result.get("top") or [])[:TOP]],
    }


def _neuron(neuron: Mapping[str, Any]) -> dict[str, Any]:
    words = [(str(word), float(activation)) for word, activation in (neuron.get("words") or [])[:WORDS]]
    most = max((abs(activation) for _, activation in words), default=0.0) or 1.0
    return {
        "layer": neuron.get("layer"),
        "unit": neuron.get("unit"),
        "tags": neuron.get("tags") or [],
        "weight": neuron.get("weight"),
        "words": [(word, f"{value:.2f}", round(SHADES * 0.6 * abs(value) / most)) for word, value in words],
    }


def shaded(values: Sequence[float], low: float | None) -> list[tuple[float, int]]:
    """Values with their shade, from 0 (at `low`, or the least of them) to `SHADES` (at the largest)."""
    if not values:
        return []
    start, most = (min(values) if low is None else low), max(values)
    return [(value, round(SHADES * (value - start) / (most - start)) if most > start else 0) for value in values]


def _curve(
    records: Sequence[Mapping[str, Any]], models: Sequence[Mapping[str, Any]], dashes: Mapping[str, int]
) -> list[Any]:
    """Accuracy of probes retrained on the first n neurons, wide and narrow; none if it was not recorded."""
    series = []
    for record, model in zip(records, models, strict=True):
        curve = ((record.get("result") or {}).get("minimal") or {}).get("curve") or []
        if not curve:
            continue
        name = plain(f"{model['name']}, seed {model['seed']}")
        found = tuple((float(n), Value(float(accuracy))) for n, accuracy in sorted(curve))
        series.append(Line(name, model["style"], dashes.get(str(record.get("arm")), 0), found, title=model["title"]))
    writers = (lambda x: f"{x:g}"), (lambda y: f"{100 * y:.3g}\u00a0%")
    return [lines(series, width, writers, shares=True, log=True) for width in (WIDE, NARROW)] if series else []
