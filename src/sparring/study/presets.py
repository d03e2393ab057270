"""Studies to begin with: commented study files for the questions that published comparisons ask.

Each preset is a text that `sparring study run` takes as it is; what it compares and why stands in it as comments.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from ..attack.resources import available
from ..errors import SettingError
from ..methods import METHODS, method
from ..settings import nearest

ATTACKS = ("textfooler", "pwws", "textbugger", "deepwordbug")
"""What presets attack with: synonyms of two kinds, words and characters, characters alone."""
_NEEDS = {"textfooler": ("pos_tagger",), "pwws": ("wordnet",), "a2t": ("pos_tagger",)}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a preset is told about the user's data; paths as the file is to have them."""

    name: str
    data: str
    """Name of the training data in the study."""
    sources: Mapping[str, Any]
    """Its `train`, `dev`, `test`, or shares of them."""
    rows: int
    """Training rows."""
    classes: int
    pairs: bool = False
    cross: Mapping[str, Mapping[str, Any]]
    """Other domains: name -> `data` and `labels`."""
    model: str = "minilm"
    seeds: tuple[int, ...] = (0, 1, 2)
    corpus: str | None = None
    """Token-labelled for the analysis of neurons; plain text for pre-training."""


def preset(name: str, facts: Facts) -> str:
    """The study file of a preset. SettingError for an unknown one."""
    if name not in PRESETS:
        raise SettingError(f"there is no preset '{name}'; {nearest(name, PRESETS)}")
    return PRESETS[name](facts)


# the presets


def _first(facts: Facts) -> str:
    attacks = """\
  attacks:
    recipes: [deepwordbug]   # changes characters and needs no resources; see `sparring recipes`
    examples: 100     # test rows, the same for every arm and seed
    # calibrated: true   # and once more by an attacker whom confidence cannot blind
"""
    if not facts.classes:
        attacks = "  # no attacks: they need classes, and these labels are quantities\n"
    return f"""\
# A first study: does an adversary gain anything over plain training on these data? Put another method of
# `sparring methods` in the place of fgm, or a line of its own below it.
{_head(facts)}
{_train(facts)}
budgets: {{epochs: 3}}   # add `passes: 6` to compare at equal passes over the data as well: fgm makes two a step
baseline: standard
arms:
  standard: {{family: baseline}}
  fgm:      {{family: embedding, train: {{method: fgm}}}}
evaluate:
{attacks}  keep_examples: 20
"""


def _altinisik(facts: Facts) -> str:
    attack = "textfooler" if _has("textfooler") else "deepwordbug"
    resample = (
        "resample:    {family: augmentation, augment: {recipes: [resample], ratio: 1.0}}   # masked language model"
    )
    if not available("masked_lm"):
        resample = f"# needs a resource, `sparring resources add masked_lm --from FOLDER`:\n  # {resample}"
    options = _online(facts)
    return f"""\
# Three families of adversarial training compared, after Altinisik et al., "Impact of Adversarial Training on Robustness
# and Generalizability of Language Models" (Findings of ACL 2023). Its questions:
#   Which family makes a model more robust to text attacks: rows added before training, rows changed during training
#   (input space), or perturbed embeddings? Which makes it generalise better, in-domain and to other domains, and at
#   which cost? Are the neurons of the better-generalising models more specialised?
# Its findings: data augmentation before training and input-space training are more robust; embedding-space training
# generalises better; its neurons are more specialised. `questions: true` has the report confirm or refute them.
{_head(facts)}
{_train(facts)}
budgets: {{epochs: 3}}   # add `passes: 9` to compare at equal passes over the data as well
baseline: standard
arms:
  standard:    {{family: baseline}}
  # rows made before training
  eda:         {{family: augmentation, augment: {{recipes: [random], ratio: 1.0}}}}   # random word operations
  {resample}
  attack-rows: {{family: augmentation, augment: {{recipes: [{attack}], ratio: 0.5, victim: standard{_bare(attack)}}}}}
  # rows changed while training, against the model as it is by then; random asks the model nothing: the control
  a2t:         {{family: input, train: {{online: a2t, share: 0.2{options}}}}}
  random:      {{family: input, train: {{online: random, share: 0.2{options}}}}}
  # perturbed embeddings; vat is what the paper calls LDS (local distributional smoothness)
  pgd:         {{family: embedding, train: {{method: pgd}}}}
  vat:         {{family: embedding, train: {{method: vat}}}}
  freelb:      {{family: embedding, train: {{method: freelb}}}}
  alum:        {{family: embedding, train: {{method: alum}}}}
{_evaluate(facts, transfer="standard")}
{_neurons(facts, ["standard", "eda", "a2t", "pgd", "vat", "freelb", "alum"])}
questions: true
"""


def _embedding_methods(facts: Facts) -> str:
    arms = []
    for name in METHODS:
        family = "baseline" if name == "standard" else "embedding"
        train = "" if name == "standard" else f", train: {{method: {name}}}"
        arms.append(f"  {name + ':':<9} {{family: {family}{train}}}   # {method(name).passes} passes a step")
    return f"""\
# Every training method of `sparring methods`, at equal epochs and at equal passes over the data: a method that makes
# four passes a step gets a quarter of the epochs there. The radii are the defaults of each method.
{_head(facts)}
{_train(facts)}
budgets: {{epochs: 3, passes: 12}}
baseline: standard
arms:
{chr(10).join(arms)}
{_evaluate(facts, transfer="standard")}
{_neurons(facts, [])}
"""


def _adpmixup(facts: Facts) -> str:
    known = [name for name in ("textfooler", "deepwordbug") if _has(name)]
    bare = _bare_of(known)
    parts = ("union", "model-soup", "adapter-soup", "logits", "vote", "constant")
    arms = [f"  {name + ':':<13} {{family: mixture, part: {{of: adpmixup, name: {name}}}}}" for name in parts]
    return f"""\
# Adapter mixtures (AdpMixup; Nguyen and Le, EMNLP 2024): one adapter for clean text, one for each known attack, mixed
# for each text, beside what the paper compares them with. Attacks that the mixture does not know ask whether it
# generalises to others.
{_head(facts)}
{_train(facts, "adapter: lora", rate=1e-3)}
budgets: {{epochs: 3}}
baseline: plain
arms:
  plain:        {{family: baseline}}   # one adapter, trained on clean rows
  adpmixup:
    family: mixture
    mix: {{attacks: [{", ".join(known)}], attack_rows: {min(1000, facts.rows)}, budget: 500, train_on: both{bare}}}
  # made along with it: one adapter on all rows; means of models, of adapters, of logits; the majority of the answers;
  # the same shares for every text
{chr(10).join(arms)}
{_evaluate(facts, transfer="plain")}
"""


def _alum_stages(facts: Facts) -> str:
    corpus = _scalar(facts.corpus or "demo")
    common = "length: 64, batch_size: 16"
    scratch, steps, passes = "family: bert, size: mini, learning_rate: 0.0005", 500, method("alum").passes
    starts = {
        "continual-plain": f"method: standard, steps: {passes * steps}, {common}",
        "continual-alum": f"method: alum, steps: {steps}, {common}",
        "scratch-plain": f"method: standard, steps: {(1 + passes) * steps // 2}, {common}, {scratch}",
        "scratch-alum": f"method: alum, steps: {steps}, curriculum: half, {common}, {scratch}",
    }
    arms = [
        f"  {start}-{name}:\n    family: pre-training\n    pretrain: {{corpus: {corpus}, {given}}}\n"
        f"    train: {{method: {name}}}"
        for start, given in starts.items()
        for name in ("standard", "alum")
    ]
    return f"""\
# ALUM at every stage (Liu et al. 2020): adversarial pre-training, from scratch or continued from the model, times
# adversarial fine-tuning. Plain pre-training gets as many passes as ALUM, not as few steps. Each pre-trained model is
# made once for a seed and fine-tuned twice.
{_head(facts)}
{_train(facts)}
budgets: {{epochs: 3}}
baseline: untouched-standard
arms:
  untouched-standard: {{family: baseline}}
  untouched-alum: {{family: embedding, train: {{method: alum}}}}
{chr(10).join(arms)}
{_evaluate(facts, transfer="untouched-standard")}
"""


def _cat_intent(facts: Facts) -> str:
    sources = {key: value for key, value in facts.sources.items() if key != "limit"}
    half = {**sources, "limit": max(2, facts.rows // 2)}
    data = f"data:\n  full: {_flow(sources)}\n  half: {_flow(half)}   # half of the training rows"
    return f"""\
# Contrastive adversarial training (CAT; Pan et al., AAAI 2022) on intents, with all and with half of the training rows,
# and what is left of it without its parts.
{_head(facts, data)}
{_train(facts, "batch_size: 32")}
budgets: {{epochs: {10 if facts.classes > 20 else 3}}}
baseline: standard
arms:
  standard:        {{family: baseline}}
  cat:             {{family: embedding, train: {{method: cat}}}}
  no-contrast:     {{family: embedding, train: {{method: cat, settings: {{weight: 0}}}}}}
  no-perturbation: {{family: embedding, train: {{method: cat, settings: {{radius: 0}}}}}}
  row-norm:        {{family: embedding, train: {{method: cat, settings: {{norm: row_l2}}}}}}
  more-contrast:   {{family: embedding, train: {{method: cat, settings: {{weight: 0.1}}}}}}
  fgm:             {{family: embedding, train: {{method: fgm}}}}
  rdrop:           {{family: embedding, train: {{method: rdrop}}}}
{_evaluate(facts, transfer="standard")}
"""


PRESETS: Mapping[str, Callable[[Facts], str]] = {
    "first": _first,
    "altinisik": _altinisik,
    "embedding-methods": _embedding_methods,
    "adpmixup": _adpmixup,
    "alum-stages": _alum_stages,
    "cat-intent": _cat_intent,
}


# what they have in common


def _head(facts: Facts, data: str | None = None) -> str:
    lines = [
        f"name: {_scalar(facts.name)}",
        f"model: {_scalar(facts.model)}",
        f"seeds: {json.dumps(list(facts.seeds))}   # more seeds, narrower intervals",
        data or f"data:\n  {_scalar(facts.data)}: {_flow(facts.sources)}",
        "  # `limit: 2000` uses so many training rows, `test_limit: 1000` so many test rows",
    ]
    if facts.cross:
        lines.append(
            "cross_domain:   # measured with every arm; `labels`: their class -> ours, null leaves its rows out"
        )
        lines += [f"  {_scalar(name)}: {_flow(one)}" for name, one in facts.cross.items()]
    return "\n".join(lines)


def _train(facts: Facts, *more: str, rate: float | None = None) -> str:
    """Settings of all arms. The small packaged model wants larger steps than the default."""
    small = 2e-4 if facts.model == "minilm" else None
    given = [*([f"learning_rate: {rate or small:.4f}"] if rate or small else []), *more, "max_length: 128"]
    return f"train: {{{', '.join(given)}}}   # settings of `sparring train`, for all arms"


def _evaluate(facts: Facts, *, transfer: str) -> str:
    if not facts.classes:
        return "# no attacks and radii: they need classes, and these labels are quantities"
    recipes = [name for name in ATTACKS if _has(name)]
    lines = [
        "evaluate:",
        "  attacks:",
        f"    recipes: [{', '.join(recipes)}]",
        "    examples: 200     # test rows, the same for every arm and seed",
        "    calibrated: true  # and once more by an attacker whom confidence cannot blind",
    ]
    without = sorted({one for name in recipes for one in _without(name)})
    if without:
        lines.append(f"    without: [{', '.join(without)}]   # their resources are not here: see `sparring resources`")
    if facts.pairs:
        lines.append("    # frozen: [0]     # leave the first text as it is")
    lines += [
        '  radius: {radii: ["0x", "0.02x", "0.05x", "0.1x"], examples: 200, steps: 10}   # perturbed embeddings',
        f"  transfer: [{transfer}]   # adversarial rows made against it, asked of the others",
        "  keep_examples: 20",
    ]
    return "\n".join(lines)


def _neurons(facts: Facts, arms: Sequence[str]) -> str:
    some = f", arms: [{', '.join(arms)}]" if arms else ""
    if facts.corpus is None:
        return (
            "# the neurons of each model, with any token-labelled corpus, such as a UD treebank:\n"
            f"# neurons: {{corpus: en.conllu, column: upos{some}}}"
        )
    return f"neurons: {{corpus: {_scalar(facts.corpus)}, column: upos{some}}}"


def _online(facts: Facts) -> str:
    without = _without("a2t")
    return f", without: [{', '.join(without)}]" if without else ""


def _has(name: str) -> bool:
    """Whether a recipe can be run here, without a constraint perhaps."""
    return name != "pwws" or available("wordnet")


def _without(name: str) -> list[str]:
    """Constraints of a recipe whose resources are not here."""
    missing = [need for need in _NEEDS.get(name, ()) if not available(need)]
    return ["part_of_speech"] if "pos_tagger" in missing else []


def _bare(name: str) -> str:
    return _bare_of([name])


def _bare_of(names: Sequence[str]) -> str:
    without = sorted({one for name in names for one in _without(name)})
    return f", without: [{', '.join(without)}]" if without else ""


def _flow(values: Mapping[str, Any]) -> str:
    """A mapping on one line."""
    inner = ", ".join(f"{_scalar(key)}: {_value(value)}" for key, value in values.items())
    return f"{{{inner}}}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _flow(value)
    return "null" if value is None else _scalar(value) if isinstance(value, str) else json.dumps(value)


def _scalar(text: str) -> str:
    """A text that YAML reads as that text: bare where that is safe."""
    safe = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]*", text)
    reserved = text.lower() in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
    return text if safe and not reserved else quoted(text)


def quoted(text: str) -> str:
    """A text in double quotes, on one line, whatever is in it."""
    return yaml.safe_dump(text, default_style='"', width=math.inf, allow_unicode=True).rstrip("\n")
