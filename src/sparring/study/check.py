"""Settings that only methods, recipes and analyses know, as the values that jobs are made of."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..attack.recipe import Recipe
from ..attack.recipes import RECIPES
from ..attack.recipes import recipe as attack_recipe
from ..attack.recipes.parts import known as known_constraints
from ..attack.records import fingerprint
from ..attack.resources import find
from ..attack.transform.synonyms import synonyms as synonyms_from
from ..errors import SettingError
from ..evaluate.robust import EmbeddingAttack
from ..methods import METHODS, method
from ..methods.base import Method
from ..settings import nearest, parse
from ..train.augment import RESAMPLE, Augment, is_attack
from ..train.mix_options import Mix
from ..train.online import CONTROL, SAMPLERS, sampler
from ..train.options import FineTune, columns_of
from .block import Block
from .options import Arm, Study, plain
from .sources import anchored

AUGMENT = ("recipes", "ratio", "keep", "labels", "alpha", "budget", "frozen", "originals", "victim")
OPTIONS = ("synonyms", "masked_lm", "without")
"""Settings of `augment` that go to its recipes."""

SAVING = ("save_every", "keep")
"""Settings of trainings that decide nothing but what is lost when they are cut off."""


def check(study: Study, block: Block) -> None:
    """SettingError, with its line, for a method, recipe or setting that there is none of."""
    arms, shared = block.blocks("arms"), _inside(block, "train")
    for name, arm in study.arms.items():
        own = arms[name if arm.trial is None or name in arms else arm.trial[0]]
        if arm.trial is not None and arm.mix is None:
            tried = [name for name in arm.trial[1] if not name.startswith("settings.")]
            given = {name: arm.train[name] for name in tried}
            _inside(_inside(block, "search"), "over").checked(
                partial(parse, FineTune, given), key=next(iter(tried), None)
            )
        train = _inside(own, "train")
        blocks = [inner for one in (train, shared) for inner in (_inside(one, "settings"), one)]
        blocks[0].checked(partial(method_of, study, arm), *blocks[1:], key="method")
        train.checked(partial(_check_online, study, arm), shared, key="online")
        if arm.augment is not None:
            inner = _inside(own, "augment")
            inner.only((*AUGMENT, *OPTIONS))
            inner.checked(partial(augment_of, arm.augment, Path(), model=arm.victim), key="recipes")
        if arm.pretrain is not None:
            inner = _inside(own, "pretrain")
            inner.checked(partial(pretraining_method, arm.pretrain), _inside(inner, "settings"), key="method")
        if arm.mix is not None:
            inner = _inside(own, "mix")
            inner.checked(partial(_check_recipes, mixture(study, arm).known_attacks), key="attacks")
    evaluate = _inside(block, "evaluate")
    if study.attacks is not None:
        attacks, inner = study.attacks, _inside(evaluate, "attacks")
        inner.checked(lambda: _check_recipes(attacks.recipes), key="recipes")
        inner.checked(lambda: known_constraints(attacks.without), key="without")
        if attacks.variant not in (None, "paper", "textattack"):
            raise inner.error("variant", f"'variant' is {attacks.variant!r}; choose paper or textattack")
    if study.radius is not None:
        _inside(evaluate, "radius").checked(lambda: embedding_attack(study))
    if study.neurons is not None:
        neurons = study.neurons
        _inside(block, "neurons").checked(lambda: neuron_settings(neurons.settings, neurons.corpus))


# what jobs are made of


def merged(study: Study, arm: Arm) -> dict[str, Any]:
    """FineTune settings of an arm over those of the study."""
    given = {**study.train, **arm.train}
    if "method" in arm.train and "settings" not in arm.train:
        given.pop("settings", None)  # those of another method
    return given


def method_of(study: Study, arm: Arm) -> Method:
    """The training method of an arm."""
    given = merged(study, arm)
    return method(given.get("method", "standard"), given.get("preset", "default"), **given.get("settings", {}))


def pretraining_method(settings: Mapping[str, Any]) -> Method:
    """The method of a pre-training."""
    name, preset = settings.get("method", "standard"), settings.get("preset", "default")
    return method(name, preset, **settings.get("settings", {}))


def own_settings(found: Method) -> dict[str, Any]:
    """The settings of a method that differ from its defaults."""
    default = METHODS[found.name]()
    return {name: plain(value) for name, value in found.settings().items() if value != getattr(default, name)}


def augment_of(values: Mapping[str, Any], root: Path, **more: Any) -> Augment:
    """What makes rows, from the values of the block `augment`. more: other settings of `Augment`."""
    given = {name: value for name, value in values.items() if name in AUGMENT and name != "victim"}
    names = values.get("recipes", ("random",))
    given["recipes"] = tuple(part.strip() for part in names.split(",")) if isinstance(names, str) else tuple(names)
    for name in ("ratio", "alpha"):
        if name in given:
            given[name] = _number(given[name], name)
    for name, choices in (("keep", ("successes", "all")), ("labels", ("keep", "victim"))):
        if given.get(name, choices[0]) not in choices:
            raise SettingError(f"setting '{name}' is {given[name]!r}; choose {' or '.join(choices)}")
    if not isinstance(given.get("originals", True), bool):
        raise SettingError(f"setting 'originals' is {given['originals']!r}; write true or false")
    if not isinstance(given.get("budget"), int | None) or isinstance(given.get("budget"), bool):
        raise SettingError(f"setting 'budget' is {given['budget']!r}; it must be a whole number")
    if given.get("frozen") is not None:
        numbers = given["frozen"] if isinstance(given["frozen"], list | tuple) else [given["frozen"]]
        given["frozen"] = columns_of(",".join(map(str, numbers)))
    options = {name: values[name] for name in OPTIONS if values.get(name)}
    attacks = any(is_attack(name) for name in given["recipes"])
    if attacks and "seed" in more:
        options["seed"] = more["seed"]
    if "without" in options:
        if not attacks:
            raise SettingError("setting 'without' is of attacks, and 'recipes' names none")
        options["without"] = _names(options["without"])
        known_constraints(options["without"])
    where: dict[str, Any] = {"data": "", "output": Path("rows.jsonl")}
    return Augment(**{**where, **given, **more, "options": anchored_options(options, root)})


def mixture(study: Study, arm: Arm, epochs: float | None = None) -> Mix:
    """The mixture of an arm, with the baselines that other arms take from it."""
    assert arm.mix is not None  # asked of such arms alone
    shared = ("batch_size", "warmup", "weight_decay", "max_grad_norm", "max_length", "precision", "save_every")
    given = {name: value for name, value in study.train.items() if name in shared}
    amount = epochs or study.train.get("epochs")
    given |= {"epochs": amount} if amount else {}
    found = parse(Mix, {**given, **arm.mix})
    parts = [other.part[1] for other in study.arms.values() if other.part is not None and other.part[0] == arm.name]
    wanted = [name for name in dict.fromkeys([*found.compared, *parts])]
    return parse(Mix, {**given, **arm.mix, "baselines": ",".join(wanted) or None})


def saving_of(study: Study, arm: Arm, kind: str) -> dict[str, Any]:
    """How often the training of an arm is saved, which no job's identity knows."""
    given = arm.pretrain if kind == "pretrain" else vars(mixture(study, arm)) if arm.mix else merged(study, arm)
    given = given or {}
    return {name: given[name] for name in SAVING if name in given}


def embedding_attack(study: Study) -> tuple[EmbeddingAttack, int]:
    """The attack of the curve over radii, and on how many rows."""
    values = {name: value for name, value in (study.radius or {}).items() if name != "for"}
    examples = values.pop("examples", 200)
    if isinstance(examples, bool) or not isinstance(examples, int) or examples < 1:
        raise SettingError(f"setting 'examples' is {examples!r}; it must be a whole number, at least 1")
    if isinstance(values.get("radii"), str):
        values["radii"] = [part.strip() for part in values["radii"].split(",")]
    radii = values.get("radii", [])
    sizes = isinstance(radii, list | tuple)
    if not sizes or any(isinstance(one, bool) or not isinstance(one, int | float | str) for one in radii):
        raise SettingError(f"setting 'radii' is {values['radii']!r}; list sizes, such as [0x, 0.05x]")
    return parse(EmbeddingAttack, values), examples


def neuron_settings(values: Mapping[str, Any], corpus: str) -> Any:
    """Settings of the analysis of neurons."""
    from ..analyse.options import Neurons

    return parse(Neurons, {**values, "corpus": corpus})


def recipe_of(name: str, options: Mapping[str, Any], root: Path, seed: int) -> Recipe:
    """An attack on finished models."""
    return attack_recipe(name, **anchored_options(options, root), seed=seed)


def sampler_of(settings: Mapping[str, Any], root: Path, seed: int) -> Recipe | None:
    """The attack on training rows that FineTune settings name, None if they name none."""
    name = settings.get("online", "none")
    if name == "none":
        return None
    options: dict[str, Any] = {"without": _names(settings.get("without") or ()), "seed": seed}
    options |= {"masked_lm": settings.get("masked_lm")}
    if settings.get("synonyms", "auto") != "auto":
        options["synonyms"] = settings["synonyms"]
    return sampler(name, **anchored_options(options, root))


def ways_of(job: Augment) -> list[Any]:
    """What the ways of an augmentation are made of here: attacks described, sources of words by name."""
    found: list[Any] = []
    for name in job.ratios:
        if is_attack(name):
            made = sampler(name, **job.options) if name == CONTROL else attack_recipe(name, **job.options)
            found.append(json.loads(json.dumps(made.describe())))
        elif name == RESAMPLE:
            found.append(job.options.get("masked_lm") or fingerprint(str(find("masked_lm"))).rsplit(" ", 1)[1])
        elif name in ("synonym", "insert", "random"):
            found.append(synonyms_from(job.options.get("synonyms", "auto"), 50).name)
    return found


def anchored_options(options: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Options of recipes with files and folders that are found from here."""
    found = dict(options)
    for name in ("synonyms", "masked_lm"):
        if found.get(name):
            found[name] = anchored(str(found[name]), root)
    return found


# checks


def _check_online(study: Study, arm: Arm) -> None:
    given = merged(study, arm)
    name, known = given.get("online", "none"), ["none", *SAMPLERS, *RECIPES, CONTROL]
    if name not in known:
        raise SettingError(f"there is no online attack '{name}'; {nearest(name, dict.fromkeys(known))}")
    known_constraints(_names(given.get("without") or ()))


def _check_recipes(names: Sequence[str]) -> None:
    for name in names:
        if name not in RECIPES:
            raise SettingError(f"there is no recipe '{name}'; {nearest(name, RECIPES)}")


def _inside(block: Block, key: str) -> Block:
    return block.block(key) or Block(block.file, key, {}, block.lines.get(key, block.line))


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip().replace("-", "_") for part in parts if str(part).strip())


def _number(value: Any, name: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise SettingError(f"setting '{name}' is {value!r}; it must be a number") from None
