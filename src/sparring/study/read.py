"""From the lines of study.yaml to a `Study`; what is wrong is said with file, line, key, value and the way out."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from ..settings import nearest, parse
from ..train.mix_options import BASELINES, Mix
from ..train.options import FineTune
from ..train.pretrain_options import Pretrain
from .block import Block
from .options import ARM, BUDGETS, FAMILIES, METRICS, Arm, Attacks, CrossDomain, DataSet, NeuronJobs, Study
from .search import expanded

TOP = (
    *("name", "model", "models", "seeds", "data", "cross_domain", "train", "budgets", "baseline", "arms", "evaluate"),
    *("neurons", "questions", "tuned", "search", "output"),
)
ELSEWHERE = {
    "model": "the study's `model`",
    "data": "the study's `data`",
    "eval_data": "`dev` of the study's `data`",
    "text": "the study's `data`",
    "label": "the study's `data`",
    "limit": "the study's `data`",
    "output": "the study's `output`",
    "seed": "the study's `seeds`",
    "fsdp": "`sparring train` or `pretrain` under torchrun, for jobs of a study are single processes",
}
"""Settings of trainings that the study itself has, and where."""
FOLLOW_UPS = (
    *(f.name for f in fields(Pretrain) if f.name.startswith("finetune")),
    "minimal_pairs",
    "pseudo_texts",
)
"""Settings of pre-training for which a study has arms and evaluations."""


def read_study(path: Path) -> Study:
    """A study file, checked as far as that goes without reading data."""
    block = Block.read(path)
    study = study_of(block)
    from .check import check  # methods and recipes live in modules that load torch

    check(study, block)
    return study


def study_of(block: Block) -> Study:
    """The study in a block: its structure, its names, and the settings of trainings."""
    block.only(TOP)
    name = block.text("name")
    if name is None or not re.fullmatch(r"\w[\w.-]*", name):
        raise block.error(
            "name", f"'name' is {name!r}; give the study a name of letters, digits, '-', '_' and '.', fit for a folder"
        )
    seeds = block.numbers("seeds", (0,))
    data = {one: _data_set(inner) for one, inner in block.blocks("data").items()}
    if not data:
        raise block.error("data", "there is no data to train on; add `data: {demo: {train: demo}}`, or files of yours")
    train_block = block.block("train")
    train = {} if train_block is None else _typed(train_block, FineTune, ELSEWHERE)
    arms = {one: _arm(one, inner, data) for one, inner in block.blocks("arms").items()}
    if not arms:
        raise block.error("arms", "there is nothing to compare; add `arms: {standard: {family: baseline}, ...}`")
    _check_arms(arms, block)
    baseline, budgets = _baseline(arms, block), _budgets(block, train, arms)
    arms, baseline = expanded(arms, baseline, block)
    study = Study(
        name=name,
        models=_models(block),
        seeds=seeds,
        data=data,
        arms=arms,
        baseline=baseline,
        cross_domain={one: _cross(inner, data) for one, inner in block.blocks("cross_domain").items()},
        train=train,
        budgets=budgets,
        questions=block.flag("questions"),
        tuned=block.text("tuned"),
        output=block.text("output") or f"studies/{name}",
    )
    return _measured(study, block)


def _models(block: Block) -> dict[str, str]:
    if "models" not in block.values:
        one = block.text("model", "minilm")
        assert one is not None  # there is a default
        return {one: one}
    if "model" in block.values:
        raise block.error("model", "there is `model` and there is `models`; leave one of them out")
    if isinstance(block.values["models"], Block):
        named = block.block("models")
        assert named is not None  # it is a block
        found = {name: named.text(name) or name for name in named.values}
    else:
        found = {name: name for name in block.names("models")}
    if not found:
        raise block.error("models", "'models' is empty; name one, such as minilm")
    return found


def _data_set(block: Block) -> DataSet:
    found = replace(block.parse(DataSet, "frozen"), frozen=block.numbers("frozen"))
    if not found.train.strip():
        raise block.error(None, f"{block.title}: name the training data, such as `train: train.csv`")
    for part in ("dev", "test"):
        if part in block.values and f"{part}_share" in block.values:
            raise block.error(part, f"{block.title}: there is `{part}` and `{part}_share`; leave one of them out")
    if found.metric not in (None, *METRICS):
        raise block.error(
            "metric", f"{block.title}: there is no metric '{found.metric}'; {nearest(found.metric or '', METRICS)}"
        )
    if found.positive is not None and found.metric != "f1":
        raise block.error("positive", f"{block.title}: 'positive' is of f1; add `metric: f1`, or leave it out")
    return found


def _cross(block: Block, data: Mapping[str, DataSet]) -> CrossDomain:
    block.only([f.name for f in fields(CrossDomain) if f.name != "trained_on"] + ["for"])
    found = block.parse(CrossDomain, "labels", "for")
    if not found.data.strip():
        raise block.error(None, f"{block.title}: name the data, such as `data: test.csv`")
    trained_on = _trained_on(block, data)
    labels = block.block("labels")
    mapped = {} if labels is None else {theirs: labels.text(theirs) for theirs in labels.values}
    return replace(found, labels=mapped, trained_on=trained_on)


def _trained_on(block: Block, data: Iterable[str]) -> tuple[str, ...]:
    found = block.names("for")
    for name in found:
        if name not in data:
            raise block.error(
                "for", f"{block.title}: 'for' names {name!r}, which is no training data; {nearest(name, data)}"
            )
    return found


def _typed(block: Block, cls: type[Any], elsewhere: Mapping[str, str]) -> dict[str, Any]:
    """The settings given, with the types of their class."""
    for key in block.values:
        if key in elsewhere:
            raise block.error(key, f"'{key}' cannot be set in {block.title}; it is said by {elsewhere[key]}")
    hints = get_type_hints(cls)
    given = block.plain()
    for key, value in given.items():
        if isinstance(value, list) and hints.get(key) in (str, str | None):
            given[key] = ",".join(map(str, value))
    parsed = block.checked(lambda: parse(cls, given))
    return {key: getattr(parsed, key) for key in given}


# arms


def _arm(name: str, block: Block, data: Iterable[str]) -> Arm:
    block.only(ARM)
    if not name.strip():
        raise block.error(None, "an arm has no name; give it one")
    inner = {part: block.block(part) for part in ARM if part not in ("family", "for")}
    train, augment, pretrain, mix, part = (inner[key] for key in ("train", "augment", "pretrain", "mix", "part"))
    for one, others in (("mix", ("train", "augment")), ("part", ("train", "augment", "pretrain", "mix"))):
        both = next((other for other in others if inner[one] is not None and inner[other] is not None), None)
        if both is not None:
            raise block.error(both, f"arm '{name}': `{one}` and `{both}` do not go together; leave one of them out")
    settings = {} if train is None else _typed(train, FineTune, ELSEWHERE)
    arm = Arm(
        name=name,
        family="",
        train=settings,
        augment=None if augment is None else _augmenting(augment),
        pretrain=None if pretrain is None else _pretraining(pretrain),
        mix=None if mix is None else _typed(mix, Mix, ELSEWHERE),
        part=None if part is None else _part(part),
        trained_on=_trained_on(block, data),
        trial=None if inner["tried"] is None else _trial(inner["tried"]),
    )
    family = block.text("family") or _family(arm)
    if family not in FAMILIES:
        raise block.error("family", f"arm '{name}': there is no family '{family}'; {nearest(family, FAMILIES)}")
    return replace(arm, family=family)


def _family(arm: Arm) -> str:
    """What an arm is if it does not say so."""
    kinds = {
        "mixture": arm.mix is not None or arm.part is not None,
        "pre-training": arm.pretrain is not None,
        "augmentation": arm.augment is not None,
        "input": arm.train.get("online", "none") != "none",
        "embedding": arm.train.get("method", "standard") != "standard",
    }
    return next((family for family, it_is in kinds.items() if it_is), "baseline")


def _augmenting(block: Block) -> dict[str, Any]:
    """Names as names; the rest is checked by those who make the rows."""
    listed = {key: list(block.names(key)) for key in ("recipes", "without") if key in block.values}
    named = {key: block.text(key) for key in ("victim", "synonyms", "masked_lm") if key in block.values}
    return {**block.plain(), **listed, **{key: value for key, value in named.items() if value is not None}}


def _pretraining(block: Block) -> dict[str, Any]:
    why = dict.fromkeys(FOLLOW_UPS, "the study's arms and `evaluate`")
    return _typed(block, Pretrain, {**why, **{name: ELSEWHERE[name] for name in ("output", "seed", "fsdp")}})


def _part(block: Block) -> tuple[str, str]:
    block.only(("of", "name"))
    of, name = block.text("of"), block.text("name")
    if of is None or name not in BASELINES:
        raise block.error(
            "name",
            f"{block.title}: give `of`, an arm with `mix`, and `name`, one of "
            f"{', '.join(BASELINES)}; found of: {of}, name: {name}",
        )
    return of, name


def _trial(block: Block) -> tuple[str, dict[str, Any]]:
    block.only(("of", "settings"))
    of, settings = block.text("of"), block.block("settings")
    if of is None or settings is None:
        raise block.error(None, f"{block.title}: give `of`, the arm that is tried, and `settings`, what is tried")
    return of, settings.plain()


def _check_arms(arms: Mapping[str, Arm], block: Block) -> None:
    blocks = block.blocks("arms")
    for name, arm in arms.items():
        others = [other for other in arms if other != name]
        if arm.victim is not None and arm.victim not in others:
            inner = blocks[name].block("augment")
            assert inner is not None  # that is where the victim was found
            raise inner.error(
                "victim",
                f"arm '{name}': there is no other arm '{arm.victim}' to take for a victim; "
                f"{nearest(str(arm.victim), others)}",
            )
        if arm.part is not None and (arm.part[0] not in arms or arms[arm.part[0]].mix is None):
            mixtures = [other for other, found in arms.items() if found.mix is not None]
            raise blocks[name].error(
                "part", f"arm '{name}': '{arm.part[0]}' is no arm with `mix`; {nearest(arm.part[0], mixtures)}"
            )
        seen, at = [name], arm.victim
        while at is not None:
            if at in seen:
                raise blocks[name].error(
                    "augment",
                    f"arms {' -> '.join([*seen, at])} need each other as victims; take another victim for one of them",
                )
            seen, at = [*seen, at], arms[at].victim


def _baseline(arms: Mapping[str, Arm], block: Block) -> str:
    named = block.text("baseline")
    if named is None:
        named = next((name for name, arm in arms.items() if arm.family == "baseline"), next(iter(arms)))
    if named not in arms:
        raise block.error("baseline", f"'baseline' is {named!r}, which is no arm; {nearest(named, arms)}")
    if arms[named].trained_on:
        raise block.blocks("arms")[named].error(
            "for", f"arm '{named}' is what the others are compared with, on all data; leave its `for` out"
        )
    return named


def _budgets(block: Block, train: Mapping[str, Any], arms: Mapping[str, Arm]) -> dict[str, float | None]:
    if block.values.get("budgets") is None:
        return {"epochs": None}
    if isinstance(block.values["budgets"], Block):
        inner = block.block("budgets")
        assert inner is not None  # it is a block
        inner.only(BUDGETS)
        amounts: dict[str, float | None] = {}
        for name, value in inner.values.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
                raise inner.error(name, f"budgets: '{name}' is {value!r}; give a number above 0")
            amounts[name] = None if value is None else float(value)
    else:
        inner, amounts = block, dict.fromkeys(block.names("budgets"))
    for name, amount in amounts.items():
        if name not in BUDGETS:
            raise inner.error("budgets", f"there is no budget '{name}'; {nearest(name, BUDGETS)}")
        if name == "passes" and amount is None:
            raise inner.error(
                "passes" if "passes" in inner.values else "budgets",
                "say how many passes over the data each arm gets, such as `budgets: {epochs: 3, passes: 9}`",
            )
    if not amounts:
        raise block.error("budgets", "'budgets' is empty; name epochs, passes, or both")
    owners = [("train", train, block.block("train"))]
    owners += [(f"arm '{name}'", arm.train, block.blocks("arms")[name].block("train")) for name, arm in arms.items()]
    mixtures = [(name, arm.mix) for name, arm in arms.items() if arm.mix is not None]
    owners += [(f"arm '{name}'", settings, block.blocks("arms")[name].block("mix")) for name, settings in mixtures]
    for owner, settings, inside in owners:
        for key in ("epochs", "max_steps"):
            same = owner == "train" and key == "epochs" and amounts.get("epochs") in (None, settings.get(key))
            if key in settings and not same and inside is not None:
                raise inside.error(
                    key,
                    f"{owner} sets {key} to {settings[key]:g}, and `budgets` makes all arms equal; "
                    "leave one of them out",
                )
    return {name: amounts[name] for name in BUDGETS if name in amounts}


# what is measured


def _measured(study: Study, block: Block) -> Study:
    inner = block.block("evaluate") or Block(block.file, "evaluate", {}, block.line)
    inner.only(("attacks", "radius", "transfer", "keep_examples"))
    attacks, radius = inner.block("attacks"), inner.block("radius")
    transfer, keep = inner.names("transfer"), inner.values.get("keep_examples", 20)
    _known(transfer, study.arms, inner, "transfer")
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
        raise inner.error("keep_examples", f"'keep_examples' is {keep!r}; give a whole number from 0")
    if transfer and attacks is None:
        raise inner.error("transfer", "'transfer' takes rows that attacks made, and there is no `attacks`; add it")
    return replace(
        study,
        attacks=None if attacks is None else _attacks(attacks, study.data),
        radius=None if radius is None else _radius(radius, study.data),
        transfer=transfer,
        keep_examples=keep,
        neurons=_neurons(study, block.block("neurons")),
    )


def _radius(block: Block, data: Iterable[str]) -> dict[str, Any]:
    on = _trained_on(block, data)
    return block.plain("for") | ({"for": list(on)} if on else {})


def _attacks(block: Block, data: Iterable[str]) -> Attacks:
    block.only([*(f.name for f in fields(Attacks) if f.name != "trained_on"), "for"])
    found = block.parse(Attacks, "recipes", "without", "frozen", "for")
    recipes = block.names("recipes")
    if not recipes:
        raise block.error("recipes", "'recipes' is empty; name attacks, such as [textfooler, deepwordbug]")
    without = tuple(name.replace("-", "_") for name in block.names("without"))
    on = _trained_on(block, data)
    return replace(found, recipes=recipes, without=without, frozen=block.numbers("frozen"), trained_on=on)


def _neurons(study: Study, block: Block | None) -> NeuronJobs | None:
    if block is None:
        return None
    corpus, arms, seeds = block.text("corpus"), block.names("arms"), block.numbers("seeds")
    if corpus is None:
        raise block.error(None, "neurons: name a token-labelled corpus, such as `corpus: en.conllu`")
    _known(arms, study.arms, block, "arms")
    for seed in seeds:
        if seed not in study.seeds:
            raise block.error(
                "seeds", f"neurons: seed {seed} is none of the study's, {', '.join(map(str, study.seeds))}"
            )
    return NeuronJobs(corpus=corpus, settings=block.plain("corpus", "arms", "seeds"), arms=arms, seeds=seeds)


def _known(names: Iterable[str], arms: Mapping[str, Arm], block: Block, key: str) -> None:
    for name in names:
        if name not in arms:
            raise block.error(key, f"'{key}' names {name!r}, which is no arm; {nearest(name, arms)}")
