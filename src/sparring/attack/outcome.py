"""What an attack did to one example, and what outcomes add up to."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from ..evaluate.metrics import interval, mcnemar

Status = Literal["success", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One example under one attack."""

    row: int
    """Number of the example in the data, from 0."""
    status: Status
    """success: broken, confirmed in full precision. failed: the victim held. skipped: it was wrong before."""
    label: int
    """The gold class."""
    original: tuple[str, ...]
    adversarial: tuple[str, ...] | None = None
    """Of a success."""
    attempt: tuple[str, ...] | None = None
    """Of a failure, the text that the search ended with, where it ended with one: changed, and not broken by it."""
    predicted: int
    """What the victim says to the original."""
    attacked: int | None = None
    """What it says to the adversarial text."""
    gold_before: float
    """P(gold) of the original, at the attacker's temperature; by the victim's quick answer, where its side is sure."""
    gold_after: float | None = None
    """P(gold) of the adversarial text, at the attacker's temperature."""
    queries: int
    """Texts that the victim was asked about, the original included, repetitions included."""
    repeats: int = 0
    """Those of them that were asked before in this example, and answered from memory."""
    words: int
    """Words of the fields that may be changed."""
    changed: int = 0
    """Words changed in a success."""
    similarity: float | None = None
    """Cosine of the sentence vectors of original and adversarial text; None without an encoder."""
    violations: tuple[str, ...] = ()
    """Constraints that the adversarial text breaks when it is held against the original; the audit's finding."""
    note: str = ""
    """Why a search ended early, such as "budget"."""

    @classmethod
    def read(cls, record: dict[str, Any]) -> "Outcome":
        """From what `write` gave; KeyError or TypeError for anything else."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        for name in ("original", "adversarial", "attempt", "violations"):
            if values.get(name) is not None:
                values[name] = tuple(values[name])
        return cls(**values)

    def write(self) -> dict[str, Any]:
        """Plain values for one JSON line."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the outcomes of one attack add up to. Shares have Wilson 95 % intervals (low, high)."""

    examples: int
    clean_accuracy: float
    clean_interval: tuple[float, float]
    accuracy_under_attack: float
    """Examples that were right and stayed right, as a share of all."""
    attacked_interval: tuple[float, float]
    success_rate: float
    """Broken examples as a share of those that were right: misclassified ones do not count as successes."""
    success_interval: tuple[float, float]
    changed_share: float | None
    """Share of words changed, mean over successes."""
    similarity: float | None
    """Mean over successes."""
    queries_mean: float
    """Over the examples that were right at first, as are the next two."""
    queries_median: float
    queries_p95: float
    repeats_mean: float
    violations: int
    """Successes that break a constraint when they are held against the original."""


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """Of one attack; a share of nothing is 0 with the interval (0, 1)."""
    right = [o for o in outcomes if o.status != "skipped"]
    broken = [o for o in outcomes if o.status == "success"]
    queries = np.array([o.queries for o in right] or [0])
    similarities = [o.similarity for o in broken if o.similarity is not None]
    return Summary(
        examples=len(outcomes),
        clean_accuracy=_share(len(right), len(outcomes)),
        clean_interval=_interval(len(right), len(outcomes)),
        accuracy_under_attack=_share(len(right) - len(broken), len(outcomes)),
        attacked_interval=_interval(len(right) - len(broken), len(outcomes)),
        success_rate=_share(len(broken), len(right)),
        success_interval=_interval(len(broken), len(right)),
        changed_share=_mean([o.changed / max(1, o.words) for o in broken]),
        similarity=_mean(similarities),
        queries_mean=float(queries.mean()),
        queries_median=float(np.median(queries)),
        queries_p95=float(np.percentile(queries, 95)),
        repeats_mean=_mean([o.repeats for o in right]) or 0.0,
        violations=sum(bool(o.violations) for o in broken),
    )


def standing(attacks: Iterable[Sequence[Outcome]]) -> dict[int, bool]:
    """By row: whether the example was right and no attack broke it. Rows that not all attacks saw are left out."""
    columns = [{o.row: o.status == "failed" for o in outcomes} for outcomes in attacks]
    rows = set.intersection(*(set(column) for column in columns)) if columns else set()
    return {row: all(column[row] for column in columns) for row in sorted(rows)}


def worst_case(attacks: Iterable[Sequence[Outcome]]) -> dict[str, float]:
    """Accuracy under all attacks at once, example by example: {"accuracy", "low", "high", "examples"}."""
    held = list(standing(attacks).values())
    low, high = _interval(sum(held), len(held))
    return {"accuracy": _share(sum(held), len(held)), "low": low, "high": high, "examples": len(held)}


def compare(a: Sequence[Outcome], b: Sequence[Outcome]) -> dict[str, float]:
    """Two victims under the same attack on the same examples: accuracies, discordant pairs, exact McNemar p-value."""
    first, second = standing([a]), standing([b])
    rows = sorted(first.keys() & second.keys())
    x, y = [first[row] for row in rows], [second[row] for row in rows]
    return {
        "examples": len(rows),
        "a": _share(sum(x), len(rows)),
        "b": _share(sum(y), len(rows)),
        "only_a": sum(p and not q for p, q in zip(x, y, strict=True)),
        "only_b": sum(q and not p for p, q in zip(x, y, strict=True)),
        "p": mcnemar(x, y) if rows else 1.0,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _interval(part: int, whole: int) -> tuple[float, float]:
    return interval(part, whole) if whole else (0.0, 1.0)


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
