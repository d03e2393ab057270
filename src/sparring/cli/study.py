"""sparring study init, run, status, choose"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import RunError, SettingError
from ..settings import nearest
from .console import AsJson, clean, out, print_json, quiet, say
from .study_run import run, time_of

app = typer.Typer(help="Studies: one file, many runs, one report.", no_args_is_help=True, rich_markup_mode=None)


@app.command("init")
def init(
    preset: Annotated[
        str,
        typer.Argument(help="first (two arms), altinisik, embedding-methods, adpmixup, alum-stages or cat-intent."),
    ],
    data: Annotated[
        str, typer.Option(help="Training data: a file, a folder with train, dev and test files, a task name, or demo.")
    ] = "demo",
    text: Annotated[str | None, typer.Option(help="Text column, or two separated by a comma.")] = None,
    label: Annotated[str | None, typer.Option(help="Label column.")] = None,
    cross_domain: Annotated[
        str | None, typer.Option(help="Data of other domains, measured only, separated by commas.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model folder or hub name.")] = "minilm",
    name: Annotated[str | None, typer.Option(help="Name of the study; default: from data and preset.")] = None,
    seeds: Annotated[int, typer.Option(help="Training seeds of every arm.")] = 3,
    corpus: Annotated[
        str | None, typer.Option(help="Token-labelled corpus (neurons); of alum-stages: text to pre-train on.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write this file; default: print.")] = None,
) -> None:
    """Print a commented study file that `sparring study run` takes as it is."""
    quiet()
    from ..study.begin import facts_of
    from ..study.presets import PRESETS
    from ..study.presets import preset as text_of

    if preset not in PRESETS:
        raise SettingError(f"there is no preset '{preset}'; {nearest(preset, PRESETS)}")
    if output is not None and output.exists():
        raise RunError(f"{output} exists already; choose another --output, or delete it")
    base = Path() if output is None else output.parent
    cross = [part.strip() for part in (cross_domain or "").split(",") if part.strip()]
    begun = facts_of(
        data,
        cross,
        base,
        columns={"text": text, "label": label},
        name=name,
        model=model,
        seeds=seeds,
        corpus=corpus,
        preset=preset,
    )
    written = text_of(preset, begun.facts)
    for note in begun.notes:
        say(f"  {note}", "dim")
    for gap in begun.open:
        say(f"to be completed: {gap}", "yellow")
    if output is None:
        sys.stdout.write(written)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(written, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {output}: {error.strerror}; choose another --output") from error
    shown = escape(clean(str(output)))
    out.print(f"saved in {shown}; next: sparring study run {shown}", soft_wrap=True)


app.command("run")(run)


@app.command("status")
def status(
    study: Annotated[Path, typer.Argument(help="A study file, or the folder of a study.")], json: AsJson = False
) -> None:
    """What is done, running, failed and missing, and how long the rest will take."""
    quiet()
    from ..study.status import status_of

    found = status_of(study)
    if json:
        print_json(found.write())
        return
    table = Table("job", "done", "running", "failed", "missing", "work left", box=None, header_style="bold")
    rows = found.rows if len(found.rows) < 2 else (*found.rows, found.total)
    for row in rows:
        counts = (row.done, row.running, row.failed, row.missing)
        table.add_row(row.kind, *(str(n) if n else "-" for n in counts), _left(row.seconds_left, row.unknown))
    out.print(table)
    for one in found.running:
        share = f", {one['done']} of {one['total']}" if one.get("total") else ""
        out.print(escape(clean(f"running: {one.get('title')}: {one.get('what') or 'starting'}{share}")), soft_wrap=True)
    for title, error in found.failed.items():
        say(f"failed: {title}: {error}", "red")
    if found.left_out:
        say(
            f"{len(found.left_out)} jobs wait for one that failed; `sparring study run --retry-failed` tries again",
            "red",
        )
    for note in found.notes:
        say(f"  {note}", "dim")


@app.command("choose")
def choose(
    study: Annotated[Path, typer.Argument(help="The file of a search, or its folder.")], json: AsJson = False
) -> None:
    """Of a search that has been run: the best settings of each arm, as the file that other studies take by `tuned`."""
    quiet()
    from json import loads

    from ..study.plan import folder_of, write_choice

    path = write_choice(folder_of(study))
    found = loads(path.read_text(encoding="utf-8"))
    if json:
        print_json({"file": str(path), **found})
        return
    table = Table("data", "model", "budget", "arm", "settings", "score", "trials", box=None, header_style="bold")
    for one in found["chosen"]:
        said = ", ".join(f"{name} {value}" for name, value in one["settings"].items())
        cells = [*(str(one[key]) for key in ("data", "model", "budget", "arm")), said, f"{one['score']:.3f}"]
        table.add_row(*(escape(clean(cell)) for cell in cells), str(len(one["trials"])))
    out.print(table)
    out.print(f"saved in {escape(clean(str(path)))}", soft_wrap=True)


def _left(seconds: float, unknown: int) -> str:
    """Time as people say it. What nobody can tell of yet is more."""
    if not seconds:
        return "?" if unknown else "-"
    return f"{time_of(seconds)} and more" if unknown else time_of(seconds)
