"""A YAML file as nested blocks that know their lines: every complaint says file, line, key, value and the way out."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..errors import SettingError
from ..settings import MOST_VALUES, nearest, parse

T = TypeVar("T")
_KINDS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null", "str"))
_PLAIN = (*_KINDS, *(f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "timestamp", "value", "merge")))


@dataclass(frozen=True)
class Block:
    """The `name: value` lines of one mapping."""

    file: str
    title: str
    """Where in the file: "arms, pgd, train"."""
    values: Mapping[str, Any]
    """Numbers, texts, truth values, None, lists of them, and blocks."""
    line: int | None = None
    """Of the file, from 1; None where the values come from no file."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Of each key."""

    @staticmethod
    def read(path: Path) -> "Block":
        """The mapping in a YAML file. SettingError for a file that cannot be read, is no mapping, names a key twice or
        holds anything but plain values."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SettingError(f"cannot read {path}: {error.strerror}") from error
        except ValueError:
            raise SettingError(f"{path} is not UTF-8 text; save it as UTF-8") from None
        try:
            loader = yaml.SafeLoader(text)
            try:
                node = loader.get_single_node()
                found = _Reader(str(path), loader).value(node, "") if node is not None else None
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = "" if mark is None else f", line {mark.line + 1}"
            raise SettingError(f"{path}{line}: this is not valid YAML: {error.problem or error.context}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise SettingError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(found, Block):
            raise SettingError(f"{path} must hold 'name: value' lines; see `sparring study init`")
        return found

    @staticmethod
    def of(values: Mapping[str, Any], file: str, title: str = "") -> "Block":
        """Plain values, such as those of a JSON file."""

        def taken(value: Any, inner: str) -> Any:
            if isinstance(value, Mapping):
                return Block.of(value, file, inner)
            return [taken(one, inner) for one in value] if isinstance(value, list | tuple) else value

        return Block(file, title, {str(key): taken(value, _joined(title, key)) for key, value in values.items()})

    def plain(self, *without: str) -> dict[str, Any]:
        """The values, blocks as dicts."""
        return {key: _plain(value) for key, value in self.values.items() if key not in without}

    # complaints

    def error(self, key: str | None, message: str) -> SettingError:
        """About a key, or about the block as a whole."""
        line = self.line if key is None else self.lines.get(key, self.line)
        return SettingError(f"{self.file}{'' if line is None else f', line {line}'}: {message}")

    def only(self, known: Iterable[str]) -> None:
        """SettingError for the first key that is not known, with the nearest one."""
        known = list(known)
        for key in self.values:
            if key not in known:
                raise self.error(key, f"there is no setting '{key}'{self._here}; {nearest(key, known)}")

    def checked(self, make: Callable[[], T], *others: "Block", key: str | None = None) -> T:
        """What `make` makes; where it raises SettingError, the line of the setting that it names is added.

        others: blocks that the values may come from as well. key: what it is about where no setting is named.
        """
        try:
            return make()
        except SettingError as error:
            named = re.search(r"setting '(\w+)'", str(error))
            for wanted in (named[1] if named else None, key):
                owner = next((block for block in (self, *others) if wanted in block.values), None)
                if owner is not None:
                    raise owner.error(wanted, str(error)) from None
            raise self.error(None, str(error)) from None

    def parse(self, cls: type[T], *without: str) -> T:
        """The values as a settings dataclass."""
        return self.checked(lambda: parse(cls, self.plain(*without)))

    # values

    def block(self, key: str) -> "Block | None":
        """A block inside, None if there is none."""
        value = self.values.get(key)
        if value is None or isinstance(value, Block):
            return value
        raise self.error(key, f"'{key}' is {value!r}; it must hold 'name: value' lines")

    def blocks(self, key: str) -> "dict[str, Block]":
        """The blocks inside a block by name, in their order."""
        outer = self.block(key)
        if outer is None:
            return {}
        found = {}
        for name, value in outer.values.items():
            if value is not None and not isinstance(value, Block):
                raise outer.error(name, f"'{name}' is {value!r}; it must hold 'name: value' lines")
            line = outer.lines.get(name)
            found[name] = value or Block(self.file, _joined(outer.title, name), {}, line)
        return found

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text; a number is taken as it is written."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool | Block | list) or not str(value).strip():
            raise self.error(key, f"'{key}' is {_plain(value)!r}; it must be a text")
        return str(value)

    def names(self, key: str) -> tuple[str, ...]:
        """Texts: a list, or one text with commas. None of them twice."""
        value = self.values.get(key)
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        if value is None:
            return ()
        if any(isinstance(part, bool | Block | list) or part is None for part in parts):
            raise self.error(key, f"'{key}' is {_plain(value)!r}; give names, such as [one, other]")
        found = tuple(name for part in parts if (name := str(part).strip()))
        twice = next((name for name in found if found.count(name) > 1), None)
        if twice is not None:
            raise self.error(key, f"'{key}' names {twice!r} twice")
        return found

    def numbers(self, key: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Whole numbers from 0, each once: a list or one."""
        value = self.values.get(key)
        if value is None:
            return default
        found = value if isinstance(value, list) else [value]
        if not found or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in found):
            raise self.error(key, f"'{key}' is {_plain(value)!r}; give whole numbers from 0, such as [0, 1, 2]")
        if len(set(found)) < len(found):
            raise self.error(key, f"'{key}' is {value!r}; each number once")
        return tuple(found)

    def flag(self, key: str) -> bool:
        """true or false; false if it is not there."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, f"'{key}' is {_plain(value)!r}; write true or false")
        return bool(value)

    @property
    def _here(self) -> str:
        return f" in {self.title}" if self.title else ""


class _Reader:
    """From nodes to blocks, with the lines that PyYAML forgets and the double keys that it lets pass."""

    def __init__(self, file: str, loader: yaml.SafeLoader) -> None:
        self.file, self.loader, self.count = file, loader, 0
        self.flat: set[int] = set()

    def value(self, node: yaml.Node, title: str) -> Any:
        self.count += 1
        if self.count > MOST_VALUES:
            raise SettingError(f"{self.file} holds more than {MOST_VALUES:,} values; is it a study?")
        if node.tag not in _PLAIN:
            raise SettingError(f"{self._at(node)}: the tag {node.tag!r} is not allowed; write a plain value")
        if isinstance(node, yaml.MappingNode):
            return self._block(node, title)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, title) for one in node.value]
        if node.tag not in _KINDS:  # a date is a text here, as is "="
            return node.value
        found = self.loader.construct_object(node, deep=True)
        if isinstance(found, float) and not math.isfinite(found):
            raise SettingError(f"{self._at(node)}: {node.value} is not a finite number")
        if isinstance(found, int) and abs(found) >= 2**63:
            raise SettingError(f"{self._at(node)}: {node.value:.20}... is too large a number")
        return found

    def _block(self, node: yaml.MappingNode, title: str) -> Block:
        seen: dict[str, int] = {}
        for key, _ in [] if id(node) in self.flat else node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise SettingError(f"{self._at(key)}: a name must be a text")
            line = key.start_mark.line + 1
            if key.value in seen:
                where = f" in {title}" if title else ""
                raise SettingError(
                    f"{self._at(key)}: '{key.value}' stands twice{where}, first in line {seen[key.value]}; rename one "
                    "of them or take it out"
                )
            seen[key.value] = line
        if id(node) not in self.flat:  # an alias brings the same node again
            self.loader.flatten_mapping(node)  # "<<", whose keys one's own overrule
            self.flat.add(id(node))
        values, lines = {}, {}
        for key, inner in node.value:
            values[key.value] = self.value(inner, _joined(title, key.value))
            lines[key.value] = key.start_mark.line + 1
        return Block(self.file, title, values, node.start_mark.line + 1, lines)

    def _at(self, node: yaml.Node) -> str:
        return f"{self.file}, line {node.start_mark.line + 1}"


def _joined(title: str, key: Any) -> str:
    return f"{title}, {key}" if title else str(key)


def _plain(value: Any) -> Any:
    if isinstance(value, Block):
        return value.plain()
    return [_plain(one) for one in value] if isinstance(value, list) else value
