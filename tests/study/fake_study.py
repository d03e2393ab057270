"""A made-up study with known effects: its plan.json and records.jsonl, written without training anything.

`write_study(folder)` writes; CLEAN, CROSS and ATTACKED say by how many points each arm really differs from `standard`.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from sparring.study.job import MAKES, Job
from sparring.study.records import RECORDS, append_records

FAMILIES = {
    "standard": "baseline",
    "eda": "augmentation",
    "attack-rows": "augmentation",
    "a2t": "input",
    "random": "input",
    "pgd": "embedding",
    "freelb": "embedding",
    "vat": "embedding",
    "alum-pre": "pre-training",
    "adpmixup": "mixture",
}
EIGHT = ("standard", "eda", "attack-rows", "a2t", "random", "pgd", "freelb", "vat")
CLEAN = {"pgd": 0.02, "freelb": 0.02, "vat": 0.02, "attack-rows": -0.02, "alum-pre": 0.02}
CROSS = {"pgd": 0.06, "freelb": 0.06, "vat": 0.06, "a2t": -0.02, "alum-pre": 0.03}
ATTACKED = {"eda": 0.1, "attack-rows": 0.25, "a2t": 0.25, "random": 0.12, "pgd": 0.03, "vat": 0.02, "adpmixup": 0.3}
"""True differences from `standard`, as shares; 0 where nothing stands."""
BASE = {"clean": 0.85, "cross": 0.75, "attack": 0.35, "calibrated": 0.3, "transfer": 0.6}
NEURONS = {"standard": 160, "eda": 158, "attack-rows": 165, "a2t": 163, "random": 161, "pgd": 120, "freelb": 122,
           "vat": 125, "alum-pre": 140, "adpmixup": 159}  # fmt: skip
SECONDS = {"standard": 60.0, "eda": 110, "attack-rows": 100, "a2t": 240, "random": 130, "pgd": 230, "freelb": 170,
           "vat": 180, "alum-pre": 160, "adpmixup": 300}  # fmt: skip
PASSES = {"pgd": 4, "freelb": 3, "vat": 3, "alum-pre": 3}
RADII = ("0x", "0.02x", "0.05x")
HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "\x1b[31mred\x1b[0m\x07",
    "\u202egnp.exe",
    "=HYPERLINK(\"http://example.org\",\"click\")",
    "${7*7}{{7*7}}\\input{/etc/passwd} 100 % & # _ ~ ^",
    "</script><!--",
)  # fmt: skip


def write_study(
    folder: Path,
    *,
    arms: Sequence[str] = tuple(FAMILIES),
    seeds: Sequence[int] = (0, 1, 2),
    budgets: Sequence[str] = ("epochs", "passes"),
    attacks: Sequence[str] = ("textfooler", "deepwordbug"),
    cross: Sequence[str] = ("imdb", "yelp"),
    rows: int = 300,
    attacked_rows: int = 150,
    examples: int = 4,
    neurons: bool = True,
    effects: float = 1.0,
    seed_sd: float = 0.01,
    hostile: bool = False,
    missing: Sequence[str] = (),
    failed: Sequence[str] = (),
    damaged: int = 0,
) -> Path:
    """Write a study and return its folder.

    effects: what all true differences are multiplied by. seed_sd: by how much training seeds move a share.
    hostile: names, texts and errors are payloads. missing, failed: a job whose title contains one of these has no
    record, or that of a failure. damaged: so many lines are cut in the middle.
    """
    maker = _Maker(folder, arms, seeds, budgets, attacks, cross, rows, attacked_rows, examples, effects, seed_sd)
    maker.names = dict(zip(arms, (f"{arm}{HOSTILE[i % len(HOSTILE)]}" for i, arm in enumerate(arms)), strict=True))
    if not hostile:
        maker.names = {arm: arm for arm in arms}
    maker.hostile, maker.neurons = hostile, neurons
    pairs = list(maker.all())
    lines: dict[str, dict[str, Any]] = {}
    for job, result in pairs:
        if any(part in job.title for part in missing):
            continue
        broken = any(part in job.title for part in failed)
        message = HOSTILE[0] if hostile else "the loss is not finite in step 17; lower learning_rate"
        lines.setdefault(job.id, _line(job, None if broken else result, message if broken else None))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(maker.plan([job for job, _ in pairs]), indent=1), encoding="utf-8")
    append_records(folder / RECORDS, lines.values())
    if damaged:
        whole = (folder / RECORDS).read_bytes().splitlines()
        cut = [line[: len(line) // 2] if i < damaged else line for i, line in enumerate(whole)]
        (folder / RECORDS).write_bytes(b"\n".join(cut) + b"\n")
    return folder


class _Maker:
    """Jobs and results of one study; rows are as hard for every arm and seed."""

    names: dict[str, str]
    hostile = False
    neurons = True

    def __init__(
        self, folder, arms, seeds, budgets, attacks, cross, rows, attacked_rows, examples, effects, seed_sd
    ) -> None:
        self.folder, self.arms, self.seeds, self.budgets, self.attacks = folder, arms, seeds, budgets, attacks
        self.cross, self.rows, self.attacked_rows, self.examples = cross, rows, attacked_rows, examples
        self.effects, self.seed_sd = effects, seed_sd

    def plan(self, jobs: Sequence[Job]) -> dict[str, Any]:
        arms = {self.names[arm]: {"family": FAMILIES[arm]} for arm in self.arms}
        study = {
            "name": HOSTILE[1] if self.hostile else "made-up",
            "models": {"minilm": "minilm"},
            "seeds": list(self.seeds),
            "data": {"sst2": {"train": "sst2/train.csv", "test": "sst2/test.csv"}},
            "cross_domain": {name: {"data": f"{name}/test.csv"} for name in self.cross},
            "budgets": {budget: 3 for budget in self.budgets},
            "baseline": self.names[self.arms[0]],
            "arms": arms,
            "evaluate": {
                "transfer": [self.names[self.arms[0]]],
                "attacks": {"recipes": list(self.attacks), "examples": self.attacked_rows, "calibrated": True},
            },
            "questions": True,
            "output": str(self.folder.name),
        }
        return {"study": study, "root": "../..", "notes": [], "jobs": [job.write() for job in jobs]}

    def all(self) -> Iterator[tuple[Job, dict[str, Any]]]:
        for budget in self.budgets:
            for seed in self.seeds:
                trained: dict[str, Job] = {}
                broken: dict[str, tuple[Job, str]] = {}
                for arm in self.arms:
                    yield from self._train(budget, seed, arm, trained)
                for arm in self.arms:
                    yield from self._measure(budget, seed, arm, trained[arm], broken)
                for recipe, (attack, sent) in broken.items():
                    for arm in self.arms[1:]:
                        job = self._job("transfer", f"{recipe} rows of {self.names[self.arms[0]]}", budget, seed, arm)
                        job = replace(job, needs=(trained[arm].id, attack.id, trained[self.arms[0]].id))
                        yield job, self._transfer(recipe, seed, arm, budget, sent)

    def _job(self, kind, name, budget, seed, arm, **settings) -> Job:
        own = {} if _shared(arm, budget) else {"epochs": 3 if budget == "epochs" else 9}
        return Job(
            kind=kind,
            name=name,
            arm=self.names[arm],
            family=FAMILIES[arm],
            budget=budget,
            dataset="sst2",
            model="minilm",
            seed=seed,
            settings={**own, **settings, "of": arm},
            data={"train": _digest("train")} if kind in MAKES else {"test": _digest("rows", kind, name)},
        )

    def _train(self, budget, seed, arm, trained) -> Iterator[tuple[Job, dict[str, Any]]]:
        needs: tuple[str, ...] = ()
        if arm in ("eda", "attack-rows"):
            victim = (trained[self.arms[0]].id,) if arm == "attack-rows" else ()
            job = replace(self._job("augment", "rows", budget, seed, arm), needs=victim)
            needs = (job.id,)
            yield job, {"rows": {"original": 500, "made": 400}, "seconds": 21.0, "report": []}
        if arm == "alum-pre":
            job = self._job("pretrain", "model", budget, seed, arm)
            needs = (job.id,)
            yield job, {"steps": 100, "passes": 300, "train_seconds": 90.0, "parameters": 22_700_000, "eval": {}}
        kind = "mix" if arm == "adpmixup" else "train"
        job = trained[arm] = replace(self._job(kind, "model", budget, seed, arm), needs=needs)
        seconds = SECONDS[arm] * (1 if budget == "epochs" or _shared(arm, budget) else 1.5) + seed
        yield (
            job,
            {
                "steps": 48,
                "passes": 48 * PASSES.get(arm, 1),
                "train_seconds": seconds,
                "attack_seconds": 80.0 if arm == "a2t" else 0.0,
                "parameters": 22_700_000,
                "trainable_parameters": 900_000 if arm == "adpmixup" else 22_700_000,
                "precision": "float32",
                "eval": {"accuracy": 0.84},
                **({"storage": 4_000_000} if kind == "mix" else {}),
            },
        )

    def _measure(self, budget, seed, arm, model: Job, broken) -> Iterator[tuple[Job, dict[str, Any]]]:
        def job(kind: Any, name: str, **settings: Any) -> Job:
            return replace(self._job(kind, name, budget, seed, arm, **settings), needs=(model.id,))

        clean = self._right("clean", "sst2", arm, seed, budget, CLEAN, self.rows)
        yield job("score", "sst2", cross_domain=False), _scored("sst2", False, clean)
        for name in self.cross:
            found = self._right("cross", name, arm, seed, budget, CROSS, self.rows)
            yield job("score", name, cross_domain=True), _scored(name, True, found)
        attacked = self.attacked_rows
        for recipe in self.attacks:
            held = self._right("attack", recipe, arm, seed, budget, ATTACKED, attacked) & clean[:attacked]
            warm = self._right("calibrated", recipe, arm, seed, budget, ATTACKED, attacked) & clean[:attacked]
            this = job("attack", recipe, recipe=recipe)
            result = self._attack(recipe, clean[:attacked], held)
            calibrated = self._attack(recipe, clean[:attacked], warm) | {"temperature": 1.7}
            result |= {"calibrated": {k: v for k, v in calibrated.items() if k not in ("examples", "seconds")}}
            if arm == self.arms[0]:
                broken[recipe] = (this, result["outcomes"])
            yield this, result
        points = []
        for i, radius in enumerate(RADII):
            less = self._right("radius", str(i), arm, seed, budget, CLEAN, attacked, BASE["clean"] - 0.2 * i)
            right = clean[:attacked] & less if i else clean[:attacked]
            points.append({"radius": radius, "radius_absolute": 0.02 * i, "accuracy": float(right.mean()), "low": 0.1,
                           "high": 0.9, "random_accuracy": 0.84, "correct": _bits(right)})  # fmt: skip
        yield job("curve", "radius"), {"points": points, "rows": attacked, "sha256": _digest("attacked")}
        if self.neurons:
            yield job("neurons", "ud"), self._neurons(arm, seed)

    def _right(self, what, name, arm, seed, budget, gains, rows, base=None) -> np.ndarray:
        """(rows,) bool: which are right. The difficulty of a row is that of all arms and seeds."""
        budget = "epochs" if _shared(arm, budget) else budget
        hard = _rng("row", name).normal(size=rows)
        own = 0.35 * _rng("arm", what, name, arm, budget).normal(size=rows)
        again = 0.5 * _rng("seed", what, name, arm, budget, seed).normal(size=rows)
        share = (BASE[what] if base is None else base) + self.effects * gains.get(arm, 0.0)
        share += self.seed_sd * _rng("shift", arm, budget, seed).normal()
        limit = norm.ppf(np.clip(share, 0.001, 0.999)) * np.sqrt(1 + 0.35**2 + 0.5**2)
        return hard + own + again < limit

    def _attack(self, recipe: str, clean: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        outcomes = "".join("s" if not c else "h" if h else "b" for c, h in zip(clean, held, strict=True))
        status = {"s": "skipped", "h": "failed", "b": "success"}
        shown = []
        for row, letter in enumerate(outcomes[: self.examples]):
            text = HOSTILE[row % len(HOSTILE)] if self.hostile else f"a gripping film , the {row}th of its kind"
            changed = None if letter != "b" else f"{text} !" if self.hostile else text.replace("gripping", "gripp1ng")
            shown.append({"row": row, "label": "positive", "original": [text], "predicted": "positive",
                          "adversarial": None if changed is None else [changed], "status": status[letter],
                          "attacked": "negative" if letter == "b" else None, "queries": 40 + row})  # fmt: skip
        return {
            "recipe": recipe,
            "temperature": 1.0,
            "rows": len(outcomes),
            "sha256": _digest("attacked"),
            "outcomes": outcomes,
            "queries_mean": 55.5,
            "changed_share": 0.12,
            "seconds": 31.0,
            "described": {"recipe": recipe, "constants": {"similarity": 0.84}},
            "examples": shown,
        }

    def _transfer(self, recipe, seed, arm, budget, outcomes) -> dict[str, Any]:
        rows = outcomes.count("b")
        right = self._right("transfer", recipe, arm, seed, budget, ATTACKED, rows)
        numbers = [i for i, letter in enumerate(outcomes) if letter == "b"]
        return {"source": self.names[self.arms[0]], "recipe": recipe, "rows": rows, "numbers": numbers,
                "sha256": _digest("broken", recipe, str(seed), outcomes), "correct": _bits(right)}  # fmt: skip

    def _neurons(self, arm: str, seed: int) -> dict[str, Any]:
        size = NEURONS[arm] + seed
        tags = [HOSTILE[0], HOSTILE[1]] if self.hostile else ["NOUN", "VERB", "ADJ"]
        word = HOSTILE[2] if self.hostile else "film"
        profile = [size // 7 + (size % 7 if layer == 6 else 0) for layer in range(7)]
        return {
            "corpus": "ud", "column": "upos", "words": 20_000, "tags": tags, "layers": 7, "width": 384,
            "aggregation": "last", "probe": {"l1": 0.001, "l2": 0.001, "l2_norm": "squared"},
            "oracle": {"accuracy": 0.91, "low": 0.905, "high": 0.915}, "majority": 0.17,
            "control": {"accuracy": 0.55, "selectivity": 0.36},
            "minimal": {"size": size, "accuracy": 0.902, "tolerance": 0.01,
                        "curve": [[20, 0.6], [80, 0.85], [size, 0.902], [2688, 0.91]]},
            "layer_profile": profile, "layer_accuracy": [0.7, 0.8, 0.84, 0.86, 0.87, 0.87, 0.86],
            "ablation": {"kept": 0.82, "removed": 0.7}, "exclusive": {"mean_tags": 1.3, "alone": 0.71},
            "bootstrap": {"size": [size - 6, size + 7], "accuracy": [0.897, 0.907]},
            "top": [{"neuron": 17 + i, "layer": i, "unit": 3 * i, "tags": tags[:1], "weight": 1.5 - 0.1 * i,
                     "words": [[word, 4.1], ["plot", 3.7]]} for i in range(4)],
            "seconds": 44.0, "peak_memory": 900_000_000,
        }  # fmt: skip


def _shared(arm: str, budget: str) -> bool:
    """freelb gets the same training under both budgets: one piece of work with two labels."""
    return arm == "freelb"


def _line(job: Job, result: dict[str, Any] | None, error: str | None) -> dict[str, Any]:
    labels = {key: value for key, value in job.write().items() if key != "id"}
    return {
        "job": job.id,
        "status": "failed" if error else "done",
        "title": job.title,
        **labels,
        "result": result,
        "error": {"type": "ModelError", "message": error} if error else None,
        "cost": {"seconds": 61.5, "peak_memory": 1_400_000_000},
        "environment": {
            "versions": {"sparring": "0.1.0", "torch": "2.13.0"},
            "machine": {"processor": "x86_64", "cores": 2, "system": "Linux x86_64"},
            "gpu": "One GPU" if job.kind == "train" else None,
            "threads": 1,
        },
        "started": "2026-01-01T10:00:00+00:00",
        "ended": "2026-01-01T10:01:01+00:00",
    }


def _scored(name: str, cross_domain: bool, right: np.ndarray) -> dict[str, Any]:
    return {
        "data": name,
        "cross_domain": cross_domain,
        "metric": "accuracy",
        "scores": {"accuracy": float(right.mean())},
        "rows": len(right),
        "sha256": _digest("rows", name),
        "correct": _bits(right),
    }


def _bits(right: np.ndarray) -> str:
    return "".join("1" if one else "0" for one in right)


def _digest(*parts: str) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _rng(*parts: Any) -> np.random.Generator:
    return np.random.default_rng(int(_digest(*map(str, parts))[:16], 16))
