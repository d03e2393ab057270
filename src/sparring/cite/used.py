"""What a folder used, from what it says of itself: runs, mixtures, attacks, studies, analyses, augmented rows.

Models and data that a run began with are followed to the runs that made them, as far as they are still there.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..settings import read_yaml
from ..study.block import Block
from ..study.options import Study
from ..study.plan import PLAN, STUDY, read_plan
from ..study.read import study_of
from ..study.records import RECORDS, read_records
from ..train.mix_options import Mix
from ..train.options import FineTune
from ..train.pretrain_options import Pretrain
from .entries import Use, bibliography

RUN, RESULTS, NEURONS, MIXTURE = "run.yaml", "results.json", "neurons.json", "mixture.json"
SIGNS = {
    "counter-fitted": ("resource", "counterfitted"),
    "counterfitted_neighbors.json": ("resource", "counterfitted_neighbors.json"),
    "WordNet": ("resource", "wordnet"),
    "MiniLM": ("model", "minilm"),
}
"""Words by which the description of an attack names a resource."""


class Used:
    """Collects uses, each once, in the order in which they are found."""

    def __init__(self) -> None:
        self.uses: dict[Use, None] = {}
        self.notes: list[str] = []
        """Sentences for people: what could not be followed."""
        self._seen: set[Path] = set()

    def read(self, path: Path) -> None:
        """A folder, a study file, or a data file that `sparring augment` wrote. RunError if it is none of them."""
        if path.resolve() in self._seen:
            return
        self._seen.add(path.resolve())
        if not path.exists():
            raise RunError(f"there is no {path}; is the name right?")
        if path.is_dir():
            self._folder(path)
        elif _beside(path).is_file():
            self._augmented(_beside(path))
        elif path.name == RUN:
            self.read(path.parent)
        elif path.suffix in (".yaml", ".yml"):
            content = read_yaml(path)
            if "recipes" in content and "arms" not in content:
                self._augmented(path)
            else:
                self._study(study_of(Block.read(path)), path.parent)
        else:
            raise RunError(f"{path} does not say what it used: give a run's folder, a study, or rows made by augment")

    def _folder(self, path: Path) -> None:
        readers = {RUN: self._run, PLAN: self._planned, STUDY: self._study_file, MIXTURE: self._mixture_alone}
        for name, reader in readers.items():
            if (path / name).is_file():
                return reader(path)
        attacks = [place for place in (path / RESULTS, *sorted(path.glob(f"*/{RESULTS}"))) if place.is_file()]
        neurons = [place for place in (path / NEURONS, *sorted(path.glob(f"*/{NEURONS}"))) if place.is_file()]
        if not attacks and not neurons:
            names = ", ".join((*readers, RESULTS, NEURONS))
            raise RunError(f"{path} does not say what it used (none of {names} is in it); is the name right?")
        for place in attacks:
            self._attacked(_json(place))
        for place in neurons:
            self._add("analysis", "neurons")
            self._model(_json(place).get("run"))

    def _run(self, path: Path) -> None:
        run = read_yaml(path / RUN)
        settings, method = run.get("settings"), run.get("method")
        if not isinstance(settings, dict) or not isinstance(method, dict):
            raise RunError(f"{path / RUN} is damaged: its settings or its method are missing")
        if method.get("name") == "adpmixup":
            self._mixture(settings)
        else:
            self._training(settings)
        for record in sorted((path / "adversarial").glob("epoch-*.json")):
            self._resources(_json(record).get("head"))
        for record in sorted((path / "attacks").glob("*.jsonl")):
            self._resources(_first_line(record).get("attack"))

    def _training(self, settings: Mapping[str, Any], root: Path = Path()) -> None:
        """Fine-tuning or pre-training."""
        self._add("method", settings.get("method"))
        self._add_online(settings.get("online"))
        self._add("adapter", settings.get("adapter"))
        if settings.get("minimal_pairs"):
            self._add("evaluation", "minimal-pairs")
        if settings.get("finetune"):
            for name in _names(settings.get("finetune_methods")):
                self._add("method", name)
        self._start(settings, root)

    def _mixture(self, settings: Mapping[str, Any], root: Path = Path()) -> None:
        self._add("mixture", "adpmixup")
        self._add("adapter", settings.get("adapter"))
        for name in _names(settings.get("attacks")):
            self._add("recipe", name)
        for name in _names(settings.get("baselines")):
            self._part(name)
        self._start(settings, root)

    def _mixture_alone(self, path: Path) -> None:
        """A mixture's folder without the run that made it."""
        about = _json(path / MIXTURE)
        adapters = [one for one in _list(about.get("adapters")) if isinstance(one, dict)]
        attacks = [one["attack"] for one in adapters if isinstance(one.get("attack"), str)]
        self._mixture({"adapter": _dict(about.get("shape")).get("kind"), "attacks": attacks})
        self._model(_dict(about.get("base")).get("name"), path)

    def _start(self, settings: Mapping[str, Any], root: Path) -> None:
        """What a training began with."""
        if settings.get("synonyms") in ("wordnet", "counterfitted"):
            self._add("resource", settings["synonyms"])
        self._model(settings.get("model"), root)
        data = settings.get("data")
        if isinstance(data, str) and _beside(root / data).is_file():
            self.read(root / data)

    def _model(self, name: Any, root: Path = Path()) -> None:
        if name == "minilm":
            self._add("model", name)
        elif isinstance(name, str) and (root / name / RUN).is_file():
            self.read(root / name)
        elif isinstance(name, str):
            note = f"{name} is no run that is here: cite what its authors ask for"
            self.notes += [note] if note not in self.notes else []

    def _augmented(self, path: Path) -> None:
        content = read_yaml(path)
        for made in _list(content.get("recipes")):
            self._add_augmentation(_dict(made).get("provenance"))
            self._resources(made)
        if isinstance(victim := content.get("victim"), str):
            self._model(victim.rpartition(" ")[0] or victim)  # the fingerprint of its weights follows its name

    def _attacked(self, results: Mapping[str, Any]) -> None:
        for one in map(_dict, _list(results.get("attacks"))):
            self._add("recipe", one.get("recipe"))
            self._resources(one)
            if str(one.get("title")).endswith(".calibrated"):
                self._add("evaluation", "calibrated")
        self._model(results.get("victim"))

    def _study_file(self, path: Path) -> None:
        self._study(study_of(Block.read(path / STUDY)), path)

    def _planned(self, path: Path) -> None:
        plan = read_plan(path)
        self._study(plan.study, plan.root)
        for line in read_records(path / RECORDS).done.values():
            self._resources(line["result"].get("described"))
            for made in _list(line["result"].get("report")):
                self._resources(made)

    def _study(self, study: Study, root: Path) -> None:
        for arm in study.arms.values():
            given: dict[str, Any] = {**study.train, **arm.train, "model": None, "data": None}
            if arm.mix is not None:
                self._mixture({**asdict(Mix()), **given, **arm.mix})
            elif arm.part is not None:
                self._part(arm.part[1])
            else:
                self._training({**asdict(FineTune()), **given})
            if arm.pretrain is not None:
                self._training({**asdict(Pretrain()), **arm.pretrain, "model": None}, root)
            for name in _list((arm.augment or {}).get("recipes")):
                self._add_augmentation(name)
        for name in study.models.values():
            self._model(name, root)
        if study.attacks is not None:
            for name in study.attacks.recipes:
                self._add("recipe", name)
            if study.attacks.synonyms in ("wordnet", "counterfitted"):
                self._add("resource", study.attacks.synonyms)
            if study.attacks.calibrated:
                self._add("evaluation", "calibrated")
        for used, use in (
            (study.radius is not None, ("evaluation", "radius")),
            (study.neurons is not None, ("analysis", "neurons")),
            (study.questions, ("study", "questions")),
        ):
            if used:
                self._add(*use)

    def _part(self, name: str) -> None:
        """What a mixture is compared with; "all" of them; most have no paper of their own."""
        names = ("model-soup", "adapter-soup") if name == "all" else (name,)
        for one in names:
            if bibliography().knows(("mixture", one)):
                self._add("mixture", one)

    def _add_online(self, name: Any) -> None:
        if isinstance(name, str) and name != "none":
            self._add("online" if bibliography().knows(("online", name)) else "recipe", name)

    def _add_augmentation(self, name: Any) -> None:
        if isinstance(name, str):
            self._add("augmentation" if bibliography().knows(("augmentation", name)) else "recipe", name)

    def _resources(self, described: Any) -> None:
        """Resources that an attack names where it describes itself."""
        about = _dict(described)
        texts = [about.get("transform"), *_list(about.get("constraints")), *_list(about.get("stand_ins"))]
        for sign, use in SIGNS.items():
            if any(isinstance(text, str) and sign in text for text in texts):
                self._add(*use)

    def _add(self, kind: str, name: Any) -> None:
        if isinstance(name, str) and name:
            self.uses[kind, name] = None


def _beside(path: Path) -> Path:
    """What `sparring augment` writes beside its rows."""
    return path.with_name(path.name + ".yaml")


def _names(value: Any) -> Iterable[str]:
    """ "a, b" or a list of names."""
    given = value.split(",") if isinstance(value, str) else _list(value)
    return [name.strip() for name in given if isinstance(name, str) and name.strip()]


def _json(path: Path) -> dict[str, Any]:
    try:
        return _dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path}: {type(error).__name__}: {error}") from error


def _first_line(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            return _dict(json.loads(file.readline() or "{}"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read the first line of {path}: {type(error).__name__}: {error}") from error


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
