"""sparring resources"""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .console import AsJson, bar, clean, out, print_json, quiet, say

app = typer.Typer(help="Lexical resources of attacks: list them, add one, fetch one.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def _resources(context: typer.Context, json: AsJson = False) -> None:
    """List the resources."""
    if context.invoked_subcommand is None:
        _list(json)


@app.command("list")
def _list(json: AsJson = False) -> None:
    """What there is, where it was found, and how to get what is missing."""
    from ..attack.resources import status

    rows = status()
    if json:
        print_json(
            [
                {
                    "name": row.resource.name,
                    "what": row.resource.what,
                    "path": None if row.path is None else str(row.path),
                    "bytes": row.bytes,
                    "problem": row.problem,
                    "how": row.resource.how,
                    "licence": row.resource.licence,
                }
                for row in rows
            ]
        )
        return
    table = Table("resource", "what it is", "state", box=None, header_style="bold")
    for row in rows:
        state = "missing" if row.path is None else f"{(row.bytes or 0) / 1e6:.1f} MB"
        table.add_row(row.resource.name, row.resource.what, state if row.problem is None else "damaged")
    out.print(table)
    for row in rows:
        if row.path is not None:  # outside the table, which would cut it
            out.print(f"{row.resource.name}: {escape(clean(str(row.path)))}", soft_wrap=True)
    for row in rows:
        if row.problem is not None:
            say(f"{row.resource.name}: {row.problem}", "yellow")
        elif row.path is None:
            say(f"{row.resource.name}: {row.resource.how}", "dim")


@app.command("add")
def _add(
    name: Annotated[str, typer.Argument(help="Name of the resource.")],
    source: Annotated[Path, typer.Option("--from", help="The file or folder that holds it.")],
) -> None:
    """Take a resource over from a file or folder; of word vectors the table of neighbours is computed once."""
    from ..attack.resources import add

    quiet()
    with bar(f"adding {name}", shown=True) as tick:
        path = add(name, source, progress=lambda share: tick(round(100 * share), 100))
    out.print(f"{name}: {escape(clean(str(path)))}")


@app.command("fetch")
def _fetch(name: Annotated[str, typer.Argument(help="Name of the resource.")]) -> None:
    """Download a resource."""
    from ..attack.resources import fetch

    out.print(f"{name}: {escape(clean(str(fetch(name))))}")
