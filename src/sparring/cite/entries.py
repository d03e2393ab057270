"""citations.bib: BibTeX entries, and above each what it is cited for: "% method vat, recipe textfooler".

A method or a recipe of your own is cited as soon as the file has an entry below a line that names it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import SettingError
from ..settings import nearest

FILE = Path(__file__).with_name("citations.bib")
Use = tuple[str, str]
"""Kind and name of something that was used: ("method", "mat"), ("recipe", "textfooler"), ("resource", "wordnet")."""
FIRST = ("method", "recipe")
"""Kinds in which a bare name is looked for before the others."""


@dataclass(frozen=True)
class Entry:
    """One paper."""

    key: str
    bibtex: str
    uses: tuple[Use, ...]
    """What it is cited for."""


@dataclass(frozen=True)
class Bibliography:
    """What the file holds."""

    entries: tuple[Entry, ...]
    uncited: frozenset[Use]
    """What is known and has no paper, such as plain training."""

    def knows(self, use: Use) -> bool:
        """Whether the file says what to cite for something, or that there is nothing to cite."""
        return use in self.uncited or any(use in entry.uses for entry in self.entries)

    def of(self, uses: Iterable[Use]) -> list[Entry]:
        """The entries for what was used, each once, in the order of the uses."""
        found = [entry for use in uses for entry in self.entries if use in entry.uses]
        return list(dict.fromkeys(found))


@cache
def bibliography() -> Bibliography:
    """The file of this installation."""
    return parse(FILE.read_text(encoding="utf-8"))


def parse(text: str) -> Bibliography:
    """Paragraphs of comments and entries; a paragraph that begins with "% Nothing to cite:" names what has no paper."""
    entries, uncited = [], set[Use]()
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = paragraph.splitlines()
        comment = " ".join(line.lstrip("% ") for line in lines if line.startswith("%"))
        bibtex = "\n".join(line for line in lines if not line.startswith("%"))
        if named := re.match(r"@\w+\{([^,\s]+),", bibtex):
            entries.append(Entry(named[1], bibtex, _uses(comment)))
        elif comment.startswith("Nothing to cite:"):
            uncited.update(_uses(comment.removeprefix("Nothing to cite:")))
    return Bibliography(tuple(entries), frozenset(uncited))


def uses_named(name: str) -> list[Use]:
    """What a name on the command line means: a method, else a recipe, else whatever has it; or KIND:NAME.

    SettingError for a name that stands for nothing.
    """
    known = bibliography()
    uses = list(dict.fromkeys([*(use for entry in known.entries for use in entry.uses), *sorted(known.uncited)]))
    if ":" in name:
        kind, _, own = name.partition(":")
        uses = [use for use in uses if use == (kind, own)]
    else:
        uses = [use for use in uses if use[1] == name]
    for kind in FIRST:
        chosen = [use for use in uses if use[0] == kind]
        if chosen and (known.of(chosen) or not known.of(uses)):
            return chosen
    if not uses:
        names = {use[1] for entry in known.entries for use in entry.uses} | {use[1] for use in known.uncited}
        raise SettingError(f"there is nothing to cite by the name '{name}', and no such folder; {nearest(name, names)}")
    return uses


def _uses(comment: str) -> tuple[Use, ...]:
    words = (part.split() for part in comment.split(","))
    return tuple((pair[0], pair[1]) for pair in words if len(pair) == 2)
