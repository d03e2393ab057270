"""How a fine-tuned model holds: accuracy under a text attack and under perturbations of its embeddings.

FOLDER/attack/RECIPE.jsonl    finished rows of the attack; it goes on from there after a crash
FOLDER/robustness.json        what came out, and what was asked
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..attack.outcome import summary
from ..attack.recipe import Recipe
from ..attack.records import Record, fingerprint
from ..attack.run import attack
from ..attack.victim import ModelVictim, as_victim
from ..data.load import Examples
from ..evaluate.clean import make_batches
from ..evaluate.robust import EmbeddingAttack, robust_curve
from ..model import world
from .folder import write_json
from .mix_data import rows_to_attack

FILE, FOLDER = "robustness.json", "attack"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Robustness:
    """What a model is attacked with."""

    recipe: Recipe | None
    embeddings: EmbeddingAttack | None
    """Of one radius."""
    rows: int
    """So many, always the same ones; 0: all."""

    def of(self, folder: Path, examples: Examples, progress: Progress) -> dict[str, Any]:
        """{"attack": {...}, "radius": {...}} of the classifier in a run's folder, on rows of labelled examples.

        What an earlier call found is not looked for again. Raises ModelError when the model gives no finite scores.
        """
        rows = examples.take(rows_to_attack(len(examples.texts), self.rows, 0))
        asked = {
            "victim": fingerprint(str(folder)).rsplit(" ", 1)[1],  # a folder may be moved
            "data": rows.digest,
            "recipe": None if self.recipe is None else self.recipe.describe(),
            "radius": None if self.embeddings is None else list(self.embeddings.radii),
        }
        asked = json.loads(json.dumps(asked))
        kept = world.from_first(lambda: _read(folder / FILE))
        if kept.get("asked") == asked:
            return dict(kept["found"])
        victim = as_victim(folder)
        assert isinstance(victim, ModelVictim)  # a folder is
        found: dict[str, Any] = {}
        if self.recipe is not None:
            record = Record(folder / FOLDER, self.recipe.name, asked)
            found["attack"] = self._attacked(self.recipe, victim, rows, record, progress)
        if self.embeddings is not None:
            found["radius"] = self._perturbed(self.embeddings, victim, rows, progress)
        if world.rank() == 0:
            write_json(folder / FILE, {"asked": asked, "found": found})
        return found

    def _attacked(
        self, recipe: Recipe, victim: ModelVictim, rows: Examples, record: Record, progress: Progress
    ) -> dict[str, Any]:
        if world.rank() == 0:
            record.drop_foreign()
        world.wait()
        tick = lambda done, total, broken: progress(f"{recipe.name}: {broken} broken", done, total)  # noqa: E731
        attack(victim, rows, recipe, record=record, progress=tick)
        world.wait()  # each process has attacked its share
        s = summary(list(record.read().values()))
        low, high = s.attacked_interval
        return {
            "recipe": recipe.name,
            "accuracy": s.accuracy_under_attack,
            "low": low,
            "high": high,
            "clean_accuracy": s.clean_accuracy,
            "success_rate": s.success_rate,
            "queries_mean": s.queries_mean,
            "examples": s.examples,
        }

    def _perturbed(
        self, embeddings: EmbeddingAttack, victim: ModelVictim, rows: Examples, progress: Progress
    ) -> dict[str, Any]:
        batches = make_batches(
            victim.tokenizer, rows.texts, rows.labels, max_length=victim.max_length, batch_size=64, device=victim.device
        )
        total, title = len(rows.texts), f"embeddings at {embeddings.radii[0]}"
        (point,) = robust_curve(victim.model, batches, embeddings, progress=lambda done: progress(title, done, total))
        shown = ("radius", "radius_absolute", "accuracy", "low", "high", "examples")
        return {name: getattr(point, name) for name in shown}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "found" in found else {}
