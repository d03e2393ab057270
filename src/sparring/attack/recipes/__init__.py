"""Published attacks, each a short composition of a search, a way to change words, and constraints.

Every constant says where it comes from. `variant` chooses the behaviour where the toolkit TextAttack (0.3.11) differs
from the paper or its authors' code: "paper" by default. `without` names constraints to be left off (see CONSTRAINTS);
what is off, and what stands in for a resource that the paper used, is part of every result.

Options that recipes share: synonyms, see `transform.synonyms.synonyms`; masked_lm, a folder or hub name (default: the
resource); seed, of random edits.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...errors import SettingError
from ...settings import nearest
from ..recipe import Recipe
from .characters import charmer, checklist, deepwordbug, random_characters, textbugger
from .language_model import bae, bae_i, bae_r_i, bae_r_or_i, bert_attack, clare
from .parts import CONSTRAINTS, without_of
from .words import a2t, a2t_mlm, genetic, hotflip, pso, pwws, random, textfooler

__all__ = [
    "CONSTRAINTS",
    "RECIPES",
    "a2t",
    "a2t_mlm",
    "bae",
    "bae_i",
    "bae_r_i",
    "bae_r_or_i",
    "bert_attack",
    "charmer",
    "checklist",
    "clare",
    "deepwordbug",
    "genetic",
    "hotflip",
    "pso",
    "pwws",
    "random",
    "random_characters",
    "recipe",
    "takes",
    "textbugger",
    "textfooler",
    "without_of",
]

RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "textfooler": textfooler,
    "pwws": pwws,
    "bert-attack": bert_attack,
    "bae": bae,
    "bae-i": bae_i,
    "bae-r-or-i": bae_r_or_i,
    "bae-r+i": bae_r_i,
    "textbugger": textbugger,
    "deepwordbug": deepwordbug,
    "a2t": a2t,
    "a2t-mlm": a2t_mlm,
    "hotflip": hotflip,
    "genetic": genetic,
    "pso": pso,
    "checklist": checklist,
    "clare": clare,
    "charmer": charmer,
    "random": random,
    "random-characters": random_characters,
}


def recipe(name: str, **options: Any) -> Recipe:
    """A recipe by its name; options that it does not know are left out, and `ignored` names them.

    SettingError for an unknown name.
    """
    if name not in RECIPES:
        raise SettingError(f"there is no recipe '{name}'; {nearest(name, RECIPES)}")
    built = RECIPES[name](**{option: value for option, value in options.items() if takes(name, option)})
    ignored = []
    for option, value in options.items():
        if value is None or takes(name, option) or option == "seed" or (option, value) == ("variant", built.variant):
            continue
        if option == "variant":
            replace(built, variant=value)  # refuses one that there is not
            ignored.append(f"variant {value}: {name} has no other variant than {built.variant}")
        else:
            ignored.append(f"{option} {value}: {name} has no such option")
    return replace(built, ignored=tuple(ignored))


def takes(name: str, option: str) -> bool:
    """Whether a recipe has an option."""
    return option in inspect.signature(RECIPES[name]).parameters
