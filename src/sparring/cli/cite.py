"""sparring cite"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import AsJson, print_json, say


def cite(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders of runs, attacks, studies or analyses, study files, rows made by augment; or names of "
            "methods, recipes and the like. Default: sparring itself.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """The BibTeX of what a run used: its method, attacks, adapters, resources, and of what it was built on.

    A name that is both something to cite and a folder is the former; write ./NAME for the folder.
    """
    from ..cite.entries import bibliography, uses_named
    from ..cite.used import Used

    used = Used()
    folders = [name for name in what or [] if _is_path(name)]
    if folders or not what:
        used.uses["software", "sparring"] = None
    for name in what or []:
        if name in folders:
            used.read(Path(name))
        else:
            used.uses.update(dict.fromkeys(uses_named(name)))
    known = bibliography()
    found = known.of(used.uses)
    unknown = [use for use in used.uses if not known.knows(use)]
    if json:
        uses = [{"kind": use[0], "name": use[1], "keys": [entry.key for entry in known.of([use])]} for use in used.uses]
        entries = [{"key": entry.key, "bibtex": entry.bibtex} for entry in found]
        print_json({"used": uses, "entries": entries, "notes": [*map(_unknown, unknown), *used.notes]})
        return
    for entry in found:
        because = ", ".join(f"{kind} {name}" for kind, name in entry.uses if (kind, name) in used.uses)
        sys.stdout.write(f"% {because}\n{entry.bibtex}\n\n")
    if not found:
        say(f"nothing to cite for {', '.join(f'{kind} {name}' for kind, name in used.uses)}")
    for use in unknown:
        say(_unknown(use), "yellow")
    for note in used.notes:
        say(note, "yellow")


def _is_path(name: str) -> bool:
    from ..cite.entries import bibliography

    written_as_path = os.sep in name or name.startswith(".")
    named: Any = {use[1] for entry in bibliography().entries for use in entry.uses}
    named |= {use[1] for use in bibliography().uncited}
    return written_as_path or (name not in named and Path(name).exists())


def _unknown(use: tuple[str, str]) -> str:
    return f"{use[0]} {use[1]}: no entry in citations.bib says what to cite for it"
