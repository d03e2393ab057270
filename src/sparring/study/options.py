"""What study.yaml says, as frozen values. Light to import: what needs torch is checked in `check.py`.

Paths are relative to the folder of study.yaml. `Study.write` gives plain values in the layout of the file, which
`read.study_of` reads again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..settings import setting, validate

FAMILIES = ("baseline", "augmentation", "input", "embedding", "pre-training", "mixture")
"""Families of arms, as the comparison by Altinisik et al. (Findings of ACL 2023) has them, and two more.

augmentation: rows made before training. input: rows made during it. embedding: perturbations of embeddings."""
BUDGETS = ("epochs", "passes")
ARM = ("family", "train", "augment", "pretrain", "mix", "part", "for", "search", "tried")
METRICS = ("accuracy", "mcc", "f1")
"""Of classes; quantities have Pearson's correlation."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data to train on, and to measure on."""

    train: str = setting("", "training data: a file, a saved datasets folder, a task name, hub:NAME, or demo")
    dev: str | None = setting(None, "held-out data; default: the dev split of a task or of demo, or dev_share")
    test: str | None = setting(None, "data to measure on; default: the test split of a task or of demo, or test_share")
    dev_share: float | None = setting(None, "share of the rows of train held out as dev", above=0, high=0.5)
    test_share: float | None = setting(None, "share of the rows of train held out as test", above=0, high=0.5)
    limit: int | None = setting(None, "use this many training rows, drawn with a fixed seed", low=1)
    test_limit: int | None = setting(None, "measure on this many test rows, drawn with a fixed seed", low=1)
    dev_limit: int | None = setting(None, "hold this many rows out, drawn with a fixed seed", low=1)
    text: str | None = setting(None, "text column, or two separated by a comma; default: inferred")
    label: str | None = setting(None, "label column; default: inferred")
    metric: str | None = setting(None, "accuracy, mcc or f1; default: that of a task, accuracy of a file")
    positive: str | None = setting(None, "of f1: the class that it is about; default: the second")
    frozen: tuple[int, ...] = ()
    """Numbers of the text columns that no attack may touch; default: what `attacks` says."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class CrossDomain:
    """Data that nothing is trained on, with other names of the classes perhaps."""

    data: str = setting("", "labelled data: a file, a task name, hub:NAME, or demo")
    limit: int | None = setting(None, "use this many rows, drawn with a fixed seed", low=1)
    text: str | None = setting(None, "text column, or two separated by a comma; default: inferred")
    label: str | None = setting(None, "label column; default: inferred")
    labels: Mapping[str, str | None] = field(default_factory=dict)
    """Their class to ours; None: rows of that class are left out."""
    trained_on: tuple[str, ...] = ()
    """Names of the training data whose models are measured on it; `for` in the file. Default: all."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to make a model. Settings are those given, typed; defaults are not among them."""

    name: str
    family: str
    train: Mapping[str, Any] = field(default_factory=dict)
    """FineTune settings over those of the study."""
    augment: Mapping[str, Any] | None = None
    """Augment settings, and `victim`: an arm."""
    pretrain: Mapping[str, Any] | None = None
    mix: Mapping[str, Any] | None = None
    part: tuple[str, str] | None = None
    """Name of an arm that is a mixture, and of a baseline (see `Mix.baselines`) that is made along with it."""
    trained_on: tuple[str, ...] = ()
    """Names of the data sets that it is trained on; `for` in the file. Default: all."""
    trial: tuple[str, Mapping[str, Any]] | None = None
    """In a search: the arm that this one is a trial of, and the settings that are tried."""

    @property
    def victim(self) -> str | None:
        """The arm whose model is attacked to make rows."""
        return None if self.augment is None else self.augment.get("victim")


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Text attacks on every arm, on the same drawn rows."""

    recipes: tuple[str, ...] = ()
    examples: int = setting(200, "test rows that are attacked, drawn with a fixed seed", low=1)
    calibrated: bool = setting(False, "attack a second time at the victim's best temperature")
    budget: int | None = setting(None, "most queries an example", low=1)
    synonyms: str | None = setting(None, "counterfitted, wordnet, minilm, victim, or a file of vectors or neighbours")
    masked_lm: str | None = setting(None, "masked language model of the attacks, folder or hub name")
    variant: str | None = setting(None, "paper, or textattack where that toolkit differs")
    without: tuple[str, ...] = ()
    """Constraints that attacks go without."""
    frozen: tuple[int, ...] = ()
    """Numbers of the text columns that no attack may touch."""
    trained_on: tuple[str, ...] = ()
    """Names of the data sets whose models are attacked; `for` in the file. Default: all."""

    def __post_init__(self) -> None:
        validate(self)

    @property
    def options(self) -> dict[str, Any]:
        """What recipes are built with."""
        given = {name: getattr(self, name) for name in ("synonyms", "masked_lm", "variant")}
        return {name: value for name, value in given.items() if value} | {"without": self.without}


@dataclass(frozen=True, kw_only=True)
class NeuronJobs:
    """Whose neurons are analysed, and how."""

    corpus: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    arms: tuple[str, ...] = ()
    """Default: all."""
    seeds: tuple[int, ...] = ()
    """Default: all."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that study.yaml says, defaults filled in."""

    name: str
    models: Mapping[str, str]
    """Name in tables -> model folder or hub name."""
    seeds: tuple[int, ...]
    data: Mapping[str, DataSet]
    arms: Mapping[str, Arm]
    baseline: str
    cross_domain: Mapping[str, CrossDomain] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    """FineTune settings of all arms: those given."""
    budgets: Mapping[str, float | None] = field(default_factory=lambda: {"epochs": None})
    """How much training each arm gets; None: what `train` says."""
    attacks: Attacks | None = None
    radius: Mapping[str, Any] | None = None
    """EmbeddingAttack settings, `examples`, and `for`: the data sets whose models it is about."""
    transfer: tuple[str, ...] = ()
    keep_examples: int = 20
    neurons: NeuronJobs | None = None
    questions: bool = False
    tuned: str | None = None
    """File of settings that a search chose, which arms have over their own."""
    output: str = ""

    def write(self) -> dict[str, Any]:
        """Plain values in the layout of study.yaml."""
        evaluate: dict[str, Any] = {"transfer": list(self.transfer), "keep_examples": self.keep_examples}
        if self.attacks is not None:
            evaluate["attacks"] = _with_for(self.attacks)
        if self.radius is not None:
            evaluate["radius"] = plain(self.radius)
        found: dict[str, Any] = {
            "name": self.name,
            "models": dict(self.models),
            "seeds": list(self.seeds),
            "data": {name: _given(one) for name, one in self.data.items()},
            "cross_domain": {name: _with_for(one) for name, one in self.cross_domain.items()},
            "train": plain(self.train),
            "budgets": dict(self.budgets),
            "baseline": self.baseline,
            "arms": {name: _arm(arm) for name, arm in self.arms.items()},
            "evaluate": evaluate,
            "questions": self.questions,
            "output": self.output,
        }
        if self.tuned is not None:
            found["tuned"] = self.tuned
        if self.neurons is not None:
            own = {"corpus": self.neurons.corpus, "arms": list(self.neurons.arms), "seeds": list(self.neurons.seeds)}
            found["neurons"] = {**plain(self.neurons.settings), **{name: value for name, value in own.items() if value}}
        return found


def plain(value: Any) -> Any:
    """As JSON has it: lists for tuples, dicts for mappings."""
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def changed(settings: Any, *without: str) -> dict[str, Any]:
    """The settings of a dataclass that differ from its defaults, as plain values."""
    default = type(settings)()
    named = [f.name for f in fields(settings) if f.name not in without]
    return {name: plain(getattr(settings, name)) for name in named if getattr(settings, name) != getattr(default, name)}


def _given(settings: Any) -> dict[str, Any]:
    return {name: plain(value) for name, value in asdict(settings).items() if value is not None and value != ()}


def _with_for(one: CrossDomain | Attacks) -> dict[str, Any]:
    found = _given(one)
    trained_on = found.pop("trained_on", None)
    return found | ({"for": trained_on} if trained_on else {})


def _arm(arm: Arm) -> dict[str, Any]:
    parts = ("family", "train", "augment", "pretrain", "mix", "part")
    found = {name: plain(value) for name in parts if (value := getattr(arm, name)) is not None}
    if not arm.train:
        del found["train"]
    if arm.part is not None:
        found["part"] = {"of": arm.part[0], "name": arm.part[1]}
    if arm.trained_on:
        found["for"] = list(arm.trained_on)
    if arm.trial is not None:
        found["tried"] = {"of": arm.trial[0], "settings": plain(arm.trial[1])}
    return found
