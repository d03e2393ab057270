"""Labelled data for a classifier that is no run of ours: which of its classes is which label of the data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..data.load import Examples, load
from ..errors import DataError, SettingError


def examples_for(
    name: str,
    config: Any,
    classes: int,
    *,
    data: str | None,
    split: str | None,
    text: Sequence[str] | None,
    label: str | None,
    limit: int | None,
) -> Examples:
    """The rows of `data`, their classes numbered as the model numbers its own.

    name: of the model, for messages. config: the model's, None of a function, whose classes are those of the data.
    classes: how many the model knows, 0 for one that gives a quantity.
    Raises SettingError where no data is named, DataError for labels that are not the model's.
    """
    if data is None:
        raise SettingError(f"{name} is no run of sparring and has no held-out data; name labelled data with --data")
    quantity = config is not None and not classes
    like = Examples((), (), (), "pearson", name, "", ()) if quantity else None
    examples = load(data, split=split or "test", text=text, label=label, like=like, limit=limit)
    if config is None or quantity:
        return examples
    if examples.is_regression:
        raise DataError(
            f"{examples.origin}: its labels are quantities, such as {examples.labels[0]:g}, and {name} knows {classes} "
            "classes; name the column of the classes with --label"
        )
    return matched(examples, name, [str(config.id2label[i]) for i in range(classes)])


def matched(examples: Examples, name: str, names: Sequence[str]) -> Examples:
    """The same rows with the model's class numbers: labels are its classes' names, or their numbers from 0.

    Of a model that does not name its classes (LABEL_0 and so on) the labels may be any, if there are as many: they are
    numbered in their order. Raises DataError for others.
    """
    own = examples.label_names
    exact = {known: number for number, known in enumerate(names)}
    folded = {known.casefold(): number for number, known in enumerate(names)}
    by_number = {str(number): number for number in range(len(names))}
    unnamed = all(known.upper() == f"LABEL_{number}" for number, known in enumerate(names))
    shown = ", ".join(f"{number} {known}" for number, known in enumerate(names))
    called, notes = tuple(names), list[str]()
    if all(label in exact for label in own):
        places = exact
    elif len(folded) == len(names) and all(label.casefold() in folded for label in own):
        places = {label: folded[label.casefold()] for label in own}
    elif all(label in by_number for label in own):
        places = by_number
        notes.append(f"labels are taken for the numbers of {name}'s classes: {shown}")
    elif unnamed and len(own) == len(names):
        places, called = {label: number for number, label in enumerate(own)}, own
        order = ", ".join(f"{number} {label}" for label, number in places.items())
        notes.append(f"{name} does not name its classes; the labels are numbered in their order: {order}")
    elif unnamed:
        raise DataError(
            f"{examples.origin} has the labels {', '.join(own)}, and {name} knows {len(names)} classes without names; "
            f"give their numbers as labels, 0 to {len(names) - 1}, or name another column with --label"
        )
    else:
        unknown = [label for label in own if label not in exact and label.casefold() not in folded]
        strange = next((label for label in unknown if label not in by_number), unknown[0])
        raise DataError(
            f"{examples.origin}: {name} has no class {strange!r}, its classes are {shown}; use their names or their "
            "numbers as labels, or name another column with --label"
        )
    labels = tuple(places[own[int(label)]] for label in examples.labels)
    # `take` makes the digest anew, which is over the names of classes
    return replace(examples, labels=labels, label_names=called).take(range(len(labels)), *notes)
