"""What the report of an attacked victim shows, out of the record of its attacks and their outcomes."""

from collections.abc import Sequence
from typing import Any

from ..attack.outcome import Outcome


def report_of(
    record: dict[str, Any],
    outcomes: dict[str, list[Outcome]],
    command: str | None,
    comparison: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """What the report of one victim shows, see `attack.report.Content`.

    record: as in results.json. outcomes: of each attack, by its title. comparison: as in comparison.json.
    """
    labels = record["labels"]

    def label(number: int | None) -> str | None:
        return None if number is None else labels[number] if number < len(labels) else str(number)

    recipes = []
    for entry in record["attacks"]:
        figures = dict(entry["summary"])
        for name, key in (
            ("clean_accuracy", "clean_interval"),
            ("accuracy_under_attack", "attacked_interval"),
            ("success_rate", "success_interval"),
        ):
            figures[f"{name}_low"], figures[f"{name}_high"] = figures.pop(key)
        recipes.append(
            {
                "recipe": entry["recipe"],
                "variant": entry["variant"],
                "calibrated": entry["title"].endswith(".calibrated"),
                "temperature": entry["temperature"],
                "stand_ins": entry["stand_ins"],
                "off": entry["off"],
                "differs": entry["differs"],
                "ignored": entry["ignored"],
                "settings": entry["constants"],
                "summary": {**figures, "seconds": entry["seconds"]},
                "outcomes": [
                    {
                        **o.write(),
                        "label": label(o.label),
                        "predicted": label(o.predicted),
                        "attacked": label(o.attacked),
                        "clean_confidence": o.gold_before,
                        "attacked_confidence": o.gold_after,
                    }
                    for o in outcomes[entry["title"]]
                ],
            }
        )
    return {
        "title": f"{record['victim']} under attack",
        "victim": record["victim"],
        "data": record["data"],
        "versions": record["versions"],
        "command": command,
        "recipes": recipes,
        "worst_case": record["worst_case"],
        "calibration": record["calibration"],
        "minimum": record["minimum"],
        "comparison": [_compared(line) for line in comparison] or None,
        "transfer": record["transfer"] or None,
        "notes": record["notes"],
    }


def _compared(line: dict[str, Any]) -> dict[str, Any]:
    """Two victims under one attack, as a row of a table."""
    found = line["result"]
    return {
        "attack": line["attack"],
        "a": line["a"],
        "b": line["b"],
        "examples": found["examples"],
        "a_holds": f"{100 * found['a']:.1f} %",
        "b_holds": f"{100 * found['b']:.1f} %",
        "only_a_holds": found["only_a"],
        "only_b_holds": found["only_b"],
        "exact_McNemar_p": float(found["p"]),
    }
