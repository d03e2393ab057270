"""Which jobs a study is made of, each with everything that decides its result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from ..attack.recipe import Recipe
from ..attack.records import fingerprint
from ..data.corpus import Corpus
from ..data.load import Examples
from ..errors import DataError, ModelError, SettingError
from ..model.load import load_tokenizer
from ..settings import nearest, parse
from ..train.augment import Augment, is_attack
from ..train.options import FineTune
from ..train.pretrain_options import Pretrain
from .check import (
    AUGMENT,
    OPTIONS,
    SAVING,
    augment_of,
    embedding_attack,
    merged,
    method_of,
    mixture,
    neuron_settings,
    own_settings,
    pretraining_method,
    recipe_of,
    sampler_of,
    ways_of,
)
from .job import MAKES, Job, Kind
from .options import Arm, DataSet, Study, changed, plain
from .plan import RESOURCES, digest_of, resource_of, sha256_of
from .search import Chosen, tuned
from .sources import anchored, drawn, read_cross, read_part


def jobs_of(study: Study, root: Path) -> tuple[tuple[Job, ...], tuple[str, ...]]:
    """The jobs, needs first, and sentences about them. Reads all data; SparringError for what does not fit."""
    return _Planner(study, root).all()


@dataclass(frozen=True)
class _Place:
    """The labels that a group of comparable arms has in common."""

    dataset: str
    model: str
    seed: int
    budget: str


@dataclass(frozen=True)
class _Rows:
    """What the plan needs to know of a data set once it has been read."""

    digests: Mapping[str, str]
    """Of train, dev, test, the rows that are attacked, those of the curve, and other domains."""
    metric: str
    positive: str | None
    """Of f1: the class that it is about."""
    cross: tuple[str, ...]


class _Planner:
    def __init__(self, study: Study, root: Path) -> None:
        self.study, self.root = study, root
        self.jobs: list[Job] = []
        self.notes: list[str] = []
        self.models: dict[tuple[_Place, str], Job] = {}
        self.attacks: dict[str, dict[str, str]] = {}
        self.curve = embedding_attack(study) if study.radius is not None else None
        self.chosen = Chosen.read(root / study.tuned) if study.tuned is not None else None
        self.rows = {name: self._read(name) for name in study.data}
        self.weights = {name: self._weights(source) for name, source in study.models.items()}

    def all(self) -> tuple[tuple[Job, ...], tuple[str, ...]]:
        study = self.study
        places = [
            _Place(dataset, model, seed, budget)
            for seed in study.seeds
            for dataset in study.data
            for model in study.models
            for budget in study.budgets
        ]
        for place in places:
            arms = [arm for arm in study.arms.values() if self._takes_part(arm, place)]
            for arm in arms:
                self._model(place, arm)
            attacks: dict[tuple[str, str], Job] = {}
            for arm in arms:
                self._measured(place, arm, attacks)
            self._transferred(place, arms, attacks)
        return tuple(self.jobs), tuple(dict.fromkeys(self.notes))

    # models

    def _takes_part(self, arm: Arm, place: _Place) -> bool:
        if arm.trained_on and place.dataset not in arm.trained_on:
            return False
        if place.budget == "epochs" or (arm.mix is None and arm.part is None):
            return True
        self.notes.append(
            f"'{arm.name}' is left out at equal passes: a mixture is trained in parts, on rows that attacks find"
        )
        return False

    def _model(self, place: _Place, arm: Arm) -> Job:
        """The job that makes an arm's model, after those that it needs."""
        known = self.models.get((place, arm.name))
        if known is not None:
            return known
        if self.chosen is not None:
            labels = (place.dataset, place.model, place.budget)
            arm = tuned(arm, self.chosen.settings_of(arm, *labels))
        if arm.part is not None:
            whole = self._model(place, self.study.arms[arm.part[0]])
            job = replace(whole, arm=arm.name, family=arm.family)
            self.jobs.append(job)
        else:
            needs = [self._pretrained(place, arm)] if arm.pretrain is not None else []
            needs += [self._augmented(place, arm)] if arm.augment is not None else []
            make = self._mixed if arm.mix is not None else self._tuned
            job = make(place, arm, tuple(job.id for job in needs))
        self.models[place, arm.name] = job
        return job

    def _tuned(self, place: _Place, arm: Arm, needs: tuple[str, ...]) -> Job:
        found = method_of(self.study, arm)
        given = merged(self.study, arm) | {"settings": own_settings(found), "preset": "default"}
        seen: dict[str, float] = {}
        if place.budget == "passes":
            rounds = (self.study.budgets["passes"] or 0.0) / _passes(arm, found.passes, given)
            given["epochs"] = _online_epochs(given, rounds)
            if arm.augment is not None:  # how many rows there are is known when they are made
                seen = {"rounds": given.pop("epochs")}
        elif self.study.budgets["epochs"] is not None:  # the only other budget there is
            given["epochs"] = self.study.budgets["epochs"]
        tuning = parse(FineTune, given)
        self._check_online(arm, tuning, place)
        settings = changed(tuning, "model", "data", "eval_data", "text", "label", "limit", "output", "seed", *SAVING)
        data = self._data(place, "train", "dev") | self._resources(settings)
        data |= self._attack(arm.name, "online", settings, lambda: _said(sampler_of(settings, self.root, 0)))
        return self._job("train", "model", place, arm, {**settings, **seen}, data, needs)

    def _mixed(self, place: _Place, arm: Arm, needs: tuple[str, ...]) -> Job:
        if self.rows[place.dataset].metric == "pearson":
            raise SettingError(f"arm '{arm.name}': a mixture needs classes, and '{place.dataset}' has quantities")
        if "dev" not in self.rows[place.dataset].digests:  # or it would hold out rows that other arms train on
            raise SettingError(
                f"arm '{arm.name}': a mixture is calibrated on held-out rows, and '{place.dataset}' has none; add "
                "`dev: FILE` or `dev_share: 0.1` to it"
            )
        found, frozen = (
            mixture(self.study, arm, self.study.budgets.get("epochs")),
            self.study.data[place.dataset].frozen,
        )
        if frozen and found.frozen is None:
            found = replace(found, frozen=",".join(map(str, frozen)))
        own = {"synonyms": found.synonyms, "masked_lm": found.masked_lm}
        options = {name: value for name, value in own.items() if value} | {"without": _names(found.without)}
        settings = changed(found, "model", "data", "eval_data", "text", "label", "limit", "output", "seed", *SAVING)
        data = self._data(place, "train", "dev") | self._resources(settings)
        makes = [partial(recipe_of, name, options, self.root, 0) for name in found.known_attacks]
        data |= self._attack(arm.name, "mix", [found.known_attacks, options], lambda: [_said(make()) for make in makes])
        return self._job("mix", "mixture", place, arm, settings, data, needs)

    def _augmented(self, place: _Place, arm: Arm) -> Job:
        assert arm.augment is not None  # asked of such arms alone
        victim, needs = arm.victim, tuple[str, ...]()
        found = augment_of(arm.augment, self.root, model=victim, seed=place.seed)
        attacks = [name for name in found.recipes if is_attack(name)]
        if self.rows[place.dataset].metric == "pearson" and (attacks or found.labels == "victim"):
            raise SettingError(f"arm '{arm.name}': attacks need classes, and '{place.dataset}' has quantities")
        if victim is not None:  # the same rows under every budget: those that the victim of the first one gives
            first = replace(place, budget=next(iter(self.study.budgets)))
            needs = (self._model(first, self.study.arms[victim]).id,)
        own = [f for f in fields(Augment) if f.name in AUGMENT and getattr(found, f.name) != f.default]
        settings = {f.name: plain(getattr(found, f.name)) for f in own}
        settings |= {name: plain(arm.augment[name]) for name in OPTIONS if arm.augment.get(name)}
        data = self._data(place, "train") | self._resources(settings)
        data |= self._attack(arm.name, "augment", settings, lambda: ways_of(found))
        part = self.study.arms[victim].part if victim is not None else None
        settings |= {} if part is None else {"victim_part": part[1]}
        return self._job("augment", "rows", place, arm, settings, data, needs)

    def _pretrained(self, place: _Place, arm: Arm) -> Job:
        assert arm.pretrain is not None  # asked of such arms alone
        found = pretraining_method(arm.pretrain)
        given = {**arm.pretrain, "settings": own_settings(found), "preset": "default"}
        settings = changed(parse(Pretrain, given), "output", "seed", *SAVING)
        data = {}
        for name in ("corpus", "eval_corpus"):
            spec = given.get(name, "demo" if name == "corpus" else None)
            if spec is not None:
                data[name] = self._corpus(spec, given.get("field"))
        return self._job("pretrain", "model", place, arm, settings, data | self._resources(settings), ())

    # measurements

    def _measured(self, place: _Place, arm: Arm, attacks: dict[tuple[str, str], Job]) -> None:
        study, rows, model = self.study, self.rows[place.dataset], self._model(place, arm)
        part = {} if arm.part is None else {"part": arm.part[1]}
        scored = {"metric": rows.metric} | ({} if rows.positive is None else {"positive": rows.positive})
        for name, digest in (("test", place.dataset), *((f"cross {one}", one) for one in rows.cross)):
            settings = {**scored, **part, "cross_domain": name != "test"}
            self._job("score", digest, place, arm, settings, {"test": rows.digests[name]}, (model.id,))
        if study.attacks is not None and "attacks" in rows.digests:
            for name in study.attacks.recipes:
                options = study.attacks.options
                make = partial(recipe_of, name, options, self.root, 0)
                settings = {**self._attack_settings(place.dataset, name), **part}
                data = {"test": rows.digests["attacks"]} | self._resources(options)
                data |= self._attack("", name, options, lambda make=make: _said(make()))  # type: ignore[misc]
                attacks[arm.name, name] = self._job("attack", name, place, arm, settings, data, (model.id,))
        if self.curve is not None and "curve" in rows.digests:
            attack, examples = self.curve
            settings = {**changed(attack), **part, "examples": examples}
            self._job("curve", "radius", place, arm, settings, {"test": rows.digests["curve"]}, (model.id,))
        neurons = study.neurons
        if neurons and arm.name in (neurons.arms or study.arms) and place.seed in (neurons.seeds or study.seeds):
            self._neurons(place, arm, model, part)

    def _attack_settings(self, dataset: str, name: str) -> dict[str, Any]:
        attacks = self.study.attacks
        assert attacks is not None  # asked of such studies alone
        return {
            "recipe": name,
            "options": plain(attacks.options),
            "examples": attacks.examples,
            "budget": attacks.budget,
            "frozen": list(self.study.data[dataset].frozen or attacks.frozen),
            "calibrated": attacks.calibrated,
        }

    def _neurons(self, place: _Place, arm: Arm, model: Job, part: dict[str, str]) -> None:
        assert self.study.neurons is not None  # asked of such studies alone
        corpus = Path(anchored(self.study.neurons.corpus, self.root))
        settings = {**changed(neuron_settings(self.study.neurons.settings, str(corpus)), "corpus"), **part}
        self._job("neurons", corpus.stem, place, arm, settings, {"corpus": sha256_of(corpus)}, (model.id,))

    def _transferred(self, place: _Place, arms: list[Arm], attacks: Mapping[tuple[str, str], Job]) -> None:
        for source in self.study.transfer:
            for arm in arms:
                for (owner, name), attack in attacks.items():
                    if owner == source and arm.name != source:
                        part = {} if arm.part is None else {"part": arm.part[1]}
                        settings = {"source": source, "recipe": name, **part}
                        needs = (self._model(place, arm).id, attack.id)
                        self._job("transfer", f"{name} rows of {source}", place, arm, settings, {}, needs)

    # what they are made of

    def _job(
        self,
        kind: Kind,
        name: str,
        place: _Place,
        arm: Arm,
        settings: Mapping[str, Any],
        data: Mapping[str, str],
        needs: tuple[str, ...],
    ) -> Job:
        weights = self.weights[place.model]
        if kind in MAKES and weights is not None and "model" not in data:
            data = {**data, "model": weights}
        job = Job(
            kind=kind,
            name=name,
            arm=arm.name,
            family=arm.family,
            **asdict(place),
            settings=plain(settings),
            data=data,
            needs=needs,
        )
        self.jobs.append(job)
        return job

    def _read(self, name: str) -> _Rows:
        study, spec = self.study, self.study.data[name]
        train = read_part(spec, "train", self.root)
        assert train is not None  # there are always training rows
        like = replace(train, texts=train.texts[:1])
        dev, test = (read_part(spec, part, self.root, like=like) for part in ("dev", "test"))
        assert test is not None  # a data set without is an error
        digests = {"train": train.digest, "test": test.digest} | ({"dev": dev.digest} if dev is not None else {})
        if self.chosen is not None:
            self.chosen.check(name, test.digest)
        attacked = study.attacks is not None and name in (study.attacks.trained_on or study.data)
        curved = self.curve is not None and name in ((study.radius or {}).get("for") or study.data)
        if train.is_regression and (attacked or curved):
            raise SettingError(
                f"'{name}' has quantities for labels, and attacks need classes; take `attacks` and `radius` out, or "
                "say which data they are `for`"
            )
        if attacked and study.attacks is not None:
            digests["attacks"] = drawn(test, study.attacks.examples).digest
            columns = len(test.texts[0])
            frozen = spec.frozen or study.attacks.frozen
            if any(n >= columns for n in frozen) or len(frozen) >= columns:
                raise SettingError(
                    f"evaluate, attacks: 'frozen' is {list(frozen)}; '{name}' has {columns} text "
                    "columns, numbered from 0, and one at least must be left to change"
                )
        if curved and self.curve is not None:
            digests["curve"] = drawn(test, self.curve[1]).digest
        cross = [one for one, other in study.cross_domain.items() if name in (other.trained_on or study.data)]
        for one in cross:
            digests[f"cross {one}"] = read_cross(study.cross_domain[one], self.root, like).digest
        self.notes += [f"{name}: {note}" for note in (*train.notes, *(test.notes if test is not None else ()))]
        return _Rows(digests, *_metric(name, spec, train), tuple(cross))

    def _data(self, place: _Place, *parts: str) -> dict[str, str]:
        digests = self.rows[place.dataset].digests
        return {part: digests[part] for part in parts if part in digests}

    def _weights(self, source: str) -> str | None:
        """Of a model in a folder: what its weights are. ModelError if there is no such model."""
        found = anchored(source, self.root)
        load_tokenizer(found)
        return fingerprint(found).rsplit(" ", 1)[1] if Path(found).is_dir() else None

    def _corpus(self, spec: str, field: str | None) -> str:
        return Corpus.open(anchored(spec, self.root), field=field).digest

    def _resources(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Of files and folders that settings name."""
        found: dict[str, str] = {}
        for name in RESOURCES:
            value = settings.get(name)
            digest = _resource(anchored(str(value), self.root)) if value else None
            found |= {} if digest is None else {name: digest}
        return found

    def _attack(self, arm: str, name: str, settings: Any, make: Callable[[], Any]) -> dict[str, str]:
        """Of attacks: what they are made of here, for resources may stand in for others. Says now what is missing."""
        key = digest_of([name, plain(settings)])
        if key not in self.attacks:
            try:
                made = make()
            except (DataError, ModelError) as error:
                raise type(error)(f"{f'arm {arm!r}' if arm else f'evaluate, attacks, {name}'}: {error}") from error
            self.attacks[key] = {"recipe": digest_of(made)} if made else {}
        return self.attacks[key]

    def _check_online(self, arm: Arm, tuning: FineTune, place: _Place) -> None:
        if tuning.online == "none":
            return
        if self.rows[place.dataset].metric == "pearson":
            raise SettingError(f"arm '{arm.name}': attacks need classes, and '{place.dataset}' has quantities")
        if tuning.max_steps < 0 and tuning.epochs <= tuning.clean_epochs:
            raise SettingError(
                f"arm '{arm.name}' would never attack its rows: at equal {place.budget} it has {tuning.epochs:g} "
                f"epochs, and {tuning.clean_epochs} are clean; use more, or fewer clean_epochs"
            )


def _metric(name: str, spec: DataSet, train: Examples) -> tuple[str, str | None]:
    """What the models of a data set are scored by, and of f1 the class that it is about."""
    if spec.metric is not None and train.is_regression:
        raise SettingError(f"data, {name}: 'metric' is {spec.metric}, and the labels are quantities; leave it out")
    metric, names = spec.metric or train.metric, train.label_names
    if metric != "f1":
        return metric, None
    if len(names) != 2:
        raise SettingError(
            f"data, {name}: f1 is about one of two classes, and there are {len(names)}; take accuracy or mcc"
        )
    if spec.positive is not None and spec.positive not in names:
        raise SettingError(
            f"data, {name}: 'positive' is {spec.positive!r}, which is no class; {nearest(spec.positive, names)}"
        )
    return metric, spec.positive or names[1]


def _passes(arm: Arm, passes: int, given: Mapping[str, Any]) -> float:
    """Passes a step of a training whose adversary enters late, on average."""
    plain = float(given.get("adversary_from", 0.0))
    if plain >= 1:
        raise SettingError(
            f"arm '{arm.name}': 'adversary_from' is step {plain:g}; at equal passes give a share, such as 0.5"
        )
    return plain + (1 - plain) * max(1, passes)


def _online_epochs(given: Mapping[str, Any], rounds: float) -> float:
    """Epochs in which rows and adversarial rows together are passed as often as rows alone in `rounds` epochs."""
    if given.get("online", "none") == "none":
        return round(rounds, 6)
    share, clean = float(given.get("share", 0.2)), int(given.get("clean_epochs", 1))
    return round((rounds + share * clean) / (1 + share), 6) if rounds > clean else round(rounds, 6)


def _said(recipe: Recipe | None) -> Any:
    return None if recipe is None else json.loads(json.dumps(recipe.describe()))


@cache
def _resource(source: str) -> str | None:
    return resource_of(source)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip().replace("-", "_") for part in (text or "").split(",") if part.strip())
