"""sparring methods"""

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ..errors import RunError, SettingError
from .console import AsJson, out, print_json

app = typer.Typer(help="The training methods: list them, show one, cite one.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _methods(context: typer.Context, json: AsJson = False) -> None:
    """List the methods."""
    if context.invoked_subcommand is not None:
        return
    from ..methods import METHODS

    rows = [(name, (inspect.getdoc(m) or "").splitlines()[0], m.cost) for name, m in METHODS.items()]
    if json:
        print_json([{"name": name, "summary": text, "cost": cost} for name, text, cost in rows])
        return
    table = Table("method", "what it is", "passes of one step", box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    out.print(table)


@app.command("show")
def _show(name: str, json: AsJson = False) -> None:
    """The card of a method: algorithm, settings, cost, when to use it, what goes wrong."""
    method = _known(name)
    if json:
        settings = [
            {"name": f.name, "default": f.default, "printed": method.printed.get(f.name), **f.metadata}
            for f in dataclasses.fields(method)
        ]
        print_json({"name": name, "cost": method.cost, "neutral": dict(method.neutral), "settings": settings})
        return
    from rich.markdown import Markdown

    out.print(Markdown(re.sub(r"<!--.*?-->", "", _card(name), flags=re.DOTALL)))


@app.command("cite")
def _cite(name: str) -> None:
    """The BibTeX entry of a method's paper."""
    from ..cite.entries import bibliography

    _known(name)
    entries = bibliography().of([("method", name)])
    if not entries:
        raise SettingError(f"method '{name}' has no paper to cite")
    sys.stdout.write("\n".join(entry.bibtex for entry in entries) + "\n")


def _known(name: str) -> Any:
    from ..methods import METHODS, method

    method(name)
    return METHODS[name]


def _card(name: str) -> str:
    """The text of docs/methods/NAME.md, which an installed package carries along as cards/NAME.md."""
    here = Path(__file__).parents[1]
    for folder in (here / "cards", here.parents[1] / "docs" / "methods"):
        if (folder / f"{name}.md").is_file():
            return (folder / f"{name}.md").read_text(encoding="utf-8")
    raise RunError(f"the card of '{name}' is missing from this installation; reinstall sparring")
