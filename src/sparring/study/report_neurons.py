"""The neurons on a study's page: how many a property needs, in which layers, and what the foremost ones stand for."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..attack.page import plain
from .plots import NARROW, WIDE, Line, Value, lines
from .report_data import Book
from .wording import traced

SHADES = 10
"""Of the heat maps, in the style sheet."""
TOP, WORDS = 30, 12
"""Neurons of a model, and words of a neuron, that are shown."""


MEANS = ("size", "needed", "oracle", "selectivity", "kept", "removed", "mean_tags", "effective_tags", "alone")
"""Figures of a model."""


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
    by_name: dict[str, list[dict[str, Any]]] = {}
    for model in models:
        by_name.setdefault(model["name"], []).append(model)
    first = records[0].get("result") or {}
    head = {
        "corpus": corpus,
        "column": column,
        "words": first.get("words"),
        "tags": first.get("tags") or [],
        "aggregation": first.get("aggregation"),
        "probe": first.get("probe") or {},
        "majority": first.get("majority"),
        "layers": max(len(model["profile"] or model["by_layer"]) for model in models),
        "models": models,
        "arms": [_together(own) for own in by_name.values()],
        "several": len(by_name) < len(models),
    }
    return {**plain(head), "curve": _curve(records, models, dashes)}


def _model(record: Mapping[str, Any], styles: Mapping[str, int], book: Book, told: Sequence[str]) -> dict[str, Any]:
    result = record.get("result") or {}
    minimal, oracle = result.get("minimal") or {}, result.get("oracle") or {}
    control, ablation = result.get("control") or {}, result.get("ablation") or {}
    exclusive, bootstrap = result.get("exclusive") or {}, result.get("bootstrap") or {}
    parts = [f"equal {record.get(key)}" if key == "budget" else str(record.get(key)) for key in told]
    low, high = oracle.get("low"), oracle.get("high")
    return {
        "name": " · ".join([str(record.get("arm")), *parts]),
        "seeds": f"seed {record.get('seed')}",
        "style": styles.get(str(record.get("family")), 0),
        "jobs": str(book.place(record["job"])),
        "title": traced([record["job"]]),
        "size": minimal.get("size"),
        "size_ends": bootstrap.get("size"),
        "needed": minimal.get("accuracy"),
        "oracle": oracle.get("accuracy"),
        "oracle_ends": None if low is None or high is None else [low, high],
        "selectivity": control.get("selectivity"),
        "kept": ablation.get("kept"),
        "removed": ablation.get("removed"),
        "mean_tags": exclusive.get("mean_tags"),
        "effective_tags": exclusive.get("effective_tags"),
        "alone": exclusive.get("alone"),
        "profile": shaded(result.get("layer_profile") or [], 0.0),
        "by_layer": shaded(result.get("layer_accuracy") or [], None),
        "top": [_neuron(neuron) for neuron in (result.get("top") or [])[:TOP]],
    }


def _together(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An arm: means over its seeds, with the least and the largest in place of intervals."""
    if len(models) == 1:
        return dict(models[0])
    made = dict(models[0]) | {"seeds": f"{len(models)} seeds", "jobs": " ".join(model["jobs"] for model in models)}
    made["title"] = "; ".join(model["title"] for model in models)
    for key in MEANS:
        values = [model[key] for model in models if model[key] is not None]
        made[key] = sum(values) / len(values) if values else None
        if f"{key}_ends" in made:
            made[f"{key}_ends"] = [min(values), max(values)] if values else None
    for key, low in (("profile", 0.0), ("by_layer", None)):
        rows = [[value for value, _ in model[key]] for model in models if model[key]]
        made[key] = shaded([sum(column) / len(rows) for column in zip(*rows, strict=False)], low)
    return made


def _neuron(neuron: Mapping[str, Any]) -> dict[str, Any]:
    words = [(str(word), float(activation)) for word, activation in (neuron.get("words") or [])[:WORDS]]
    most = max((abs(activation) for _, activation in words), default=0.0) or 1.0
    return {
        "layer": neuron.get("layer"),
        "unit": neuron.get("unit"),
        "tags": [(tag, tag in (neuron.get("sole") or ())) for tag in neuron.get("tags") or []],
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
    """Accuracy of probes retrained on the first n neurons, of the first seed, wide and narrow; none if not recorded."""
    series: list[Line] = []
    for record, model in zip(records, models, strict=True):
        curve = ((record.get("result") or {}).get("minimal") or {}).get("curve") or []
        if not curve or any(line.name == model["name"] for line in series):
            continue
        found = tuple((float(n), Value(float(accuracy))) for n, accuracy in sorted(curve))
        dash = dashes.get(str(record.get("arm")), 0)
        series.append(Line(model["name"], model["style"], dash, found, title=f"{model['seeds']}; {model['title']}"))
    writers = (lambda x: f"{x:g}"), (lambda y: f"{100 * y:.3g}\u00a0%")
    return [lines(series, width, writers, shares=True, log=True) for width in (WIDE, NARROW)] if series else []
