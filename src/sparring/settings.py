"""Settings: frozen dataclasses whose fields carry help, unit and range; YAML and `name=value` strings map onto them.

A field is declared with `setting(default, help, ...)`; `validate` checks every field of an instance once, `parse`
turns strings (from the command line or YAML) into typed values and suggests the nearest name for an unknown one.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from .errors import SettingError

T = TypeVar("T")

Size = float | str
"""A length in embedding space: a number is absolute, "0.25x" is a multiple of the model's own mean token norm."""


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    number: bool = False,
) -> Any:
    """A dataclass field with a help text (state the unit) and its range: low <= value <= high, value > above.

    number: a text that may spell a number, which a settings file then gives as one.
    """
    known = {"help": help, "low": low, "high": high, "above": above, "number": number}
    return dataclasses.field(default=default, metadata=known)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the likeliest intended spelling and all the known ones."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(known)}"


def multiple(value: Size) -> tuple[float, bool]:
    """Split a size into its number and whether it is relative: 0.3 -> (0.3, False), "0.3x" -> (0.3, True)."""
    if isinstance(value, str):
        number, relative = value.strip().lower().removesuffix("x"), value.strip().lower().endswith("x")
        try:
            return float(number), relative
        except ValueError:
            raise SettingError(
                f"{value!r} is not a size; write a number such as 0.05, or a multiple such as 0.25x"
            ) from None
    return float(value), False


def validate(settings: Any) -> None:
    """Check type, finiteness and range of every field of a settings dataclass; SettingError names field and value."""
    owner, hints = type(settings).__name__, get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value, hint = getattr(settings, field.name), hints[field.name]
        where = f"{owner}: setting '{field.name}'"
        if get_origin(hint) is Literal:
            if value not in get_args(hint):
                raise SettingError(f"{where} is {value!r}; choose one of {', '.join(map(repr, get_args(hint)))}")
            continue
        if value is None and type(None) in get_args(hint):
            continue
        number = _number(value, hint, where)
        if number is None:
            continue
        if not math.isfinite(number):
            raise SettingError(f"{where} is {value!r}; it must be a finite number")
        low, high, above = (field.metadata.get(key) for key in ("low", "high", "above"))
        if low is not None and number < low:
            raise SettingError(f"{where} is {value!r}; it must be at least {low:g}")
        if above is not None and number <= above:
            raise SettingError(f"{where} is {value!r}; it must be greater than {above:g}")
        if high is not None and number > high:
            raise SettingError(f"{where} is {value!r}; it must be at most {high:g}")


def _number(value: Any, hint: Any, where: str) -> float | None:
    """The number to range-check, or None for a field that holds none; wrong types are an error."""
    kinds = set(get_args(hint)) if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union else {hint}
    if bool in kinds:
        if not isinstance(value, bool):
            raise SettingError(f"{where} is {value!r}; it must be true or false")
        return None
    if str in kinds and float not in kinds:
        if not isinstance(value, str):
            raise SettingError(f"{where} is {value!r}; it must be a text")
        return None
    if str in kinds and isinstance(value, str):
        return multiple(value)[0]
    if int in kinds and float not in kinds and (isinstance(value, bool) or not isinstance(value, int)):
        raise SettingError(f"{where} is {value!r}; it must be a whole number")
    if (int in kinds or float in kinds) and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise SettingError(f"{where} is {value!r}; it must be a number")
    return float(value) if isinstance(value, int | float) else None


def parse(cls: type[T], values: Mapping[str, Any], *, base: T | None = None) -> T:
    """An instance of settings dataclass `cls` from names and strings or plain values; the rest comes from `base`.

    Raises SettingError for an unknown name (with the nearest known one) or a value of the wrong type or range.
    """
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    spelt = {f.name for f in dataclasses.fields(cls) if f.metadata.get("number")}  # type: ignore[arg-type]
    typed: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            raise SettingError(f"{cls.__name__} has no setting '{name}'; {nearest(name, names)}")
        typed[name] = _typed(value, hints[name]) if isinstance(value, str) else value
        if name in spelt and isinstance(value, int | float) and not isinstance(value, bool):
            typed[name] = str(value)  # `curriculum: 0.3` of a file is the same as on the command line
        if isinstance(typed[name], int) and not isinstance(typed[name], bool) and hints[name] in (float, Size):
            try:
                typed[name] = float(typed[name])
            except OverflowError:
                raise SettingError(f"{cls.__name__}: setting '{name}' is too large a number") from None
    return dataclasses.replace(base, **typed) if base is not None else cls(**typed)  # type: ignore[type-var]


def _typed(text: str, hint: Any) -> Any:
    """A string as the number or truth value it spells, unless the field wants the string itself."""
    kinds = set(get_args(hint)) if get_args(hint) and get_origin(hint) is not Literal else {hint}
    if kinds <= {str, type(None)} or (str in kinds and float in kinds and text.strip().lower().endswith("x")):
        return text
    if bool not in kinds and kinds & {int, float}:
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
    if bool in kinds and text.strip().lower() in ("true", "yes", "on", "false", "no", "off"):
        return text.strip().lower() in ("true", "yes", "on")
    return None if type(None) in kinds and str not in kinds and text.strip().lower() in ("null", "none") else text


def assignments(pairs: Iterable[str]) -> dict[str, str]:
    """`["radius=0.1", "steps=3"]` as a dict; SettingError for a pair without '='."""
    split: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SettingError(f"--set {pair!r} is not of the form name=value, such as --set radius=0.1")
        split[name.strip()] = value.strip()
    return split


MOST_VALUES = 100_000
"""In one file; aliases of aliases can stand for more than any memory holds."""


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values that a node stands for, each alias counted as what it points to."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # of a node inside itself
        inner = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_size(one, known) for one in inner)
    return known[id(node)]


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read with the safe loader; SettingError names the file and what is wrong."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is not None and _size(node, {}) > MOST_VALUES:
            raise SettingError(f"{path} stands for more than {MOST_VALUES:,} values, by aliases of aliases")
        content = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise SettingError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path} must hold 'name: value' lines, found {type(content).__name__}")
    return {str(name): value for name, value in content.items()}
