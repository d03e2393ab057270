"""The rows that an adapter mixture is made from: clean, held out, to be attacked, attacked."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..attack.outcome import Outcome
from ..attack.recipe import Recipe
from ..attack.recipes import recipe, without_of
from ..data.batch import make_key
from ..data.load import Examples
from ..errors import DataError, SettingError
from .data import load_data
from .mix_options import Mix

HELD_OUT = 10
"""Every so manieth training row, in a random order, is held out where no held-out data is named."""


def training_data(settings: Mix) -> tuple[Examples, Examples]:
    """Training rows, and held-out ones: a tenth of the training rows if none are named."""
    found = load_data(settings)
    train = found.train
    if train.is_regression:
        raise SettingError("a mixture needs classes, and these labels are quantities")
    if found.held_out is not None:
        if len(found.held_out.texts) < 2:
            raise DataError(f"{found.held_out.origin} has one row; calibration needs at least 2")
        return train, found.held_out
    if len(train.texts) < 2 * HELD_OUT:
        raise DataError(
            f"{train.origin} has {len(train.texts)} rows, too few to hold some out for calibration; name held-out data "
            "with --eval-data"
        )
    draws = np.random.default_rng(make_key("held out", settings.seed))
    order = [int(row) for row in draws.permutation(len(train.texts))]
    out = len(order) // HELD_OUT
    note = "a tenth of the training rows is held out"
    return _part(train, sorted(order[out:])), _part(train, sorted(order[:out]), note)


def rows_to_attack(count: int, most: int, seed: int) -> list[int]:
    """Numbers of the training rows that every attack is tried on, the same for all; most 0: all."""
    if not most or most >= count:
        return list(range(count))
    draws = np.random.default_rng(make_key("rows to attack", seed))
    return sorted(int(row) for row in draws.choice(count, most, replace=False))


def attacked_examples(examples: Examples, outcomes: Sequence[Outcome], name: str) -> Examples:
    """The texts of successes as examples with the gold labels."""
    texts = tuple(o.adversarial for o in outcomes if o.adversarial is not None)
    return replace(examples, texts=texts, labels=tuple(o.label for o in outcomes), origin=f"{examples.origin} ({name})")


def recipe_of(settings: Mix, name: str) -> Recipe:
    """An attack as the settings want it."""
    more = {"synonyms": settings.synonyms, "masked_lm": settings.masked_lm}
    given = {option: value for option, value in more.items() if value}
    return recipe(name, without=without_of(settings.without), seed=settings.seed, **given)


def _part(examples: Examples, rows: Sequence[int], *notes: str) -> Examples:
    return replace(
        examples,
        texts=tuple(examples.texts[row] for row in rows),
        labels=tuple(int(examples.labels[row]) for row in rows),
        notes=notes,
    )
