"""sparring evaluate"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .console import AsJson, bar, clean, number, out, print_json, quiet, say, size_of


def evaluate(
    runs: Annotated[list[str], typer.Argument(help="Run folders, model folders or hub names; several are compared.")],
    data: Annotated[str | None, typer.Option(help="Labelled data; default: the run's held-out data.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a task, hub data set or the demo.")] = None,
    text: Annotated[str | None, typer.Option(help="Text column, or two separated by a comma.")] = None,
    label: Annotated[str | None, typer.Option(help="Label column.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use this many rows.", min=1)] = None,
    radius: Annotated[
        str | None, typer.Option(help="Also attack the embeddings with PGD at these sizes, such as 0,0.1x,0.25x.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Ascent steps of the attack.", min=1)] = 10,
    restarts: Annotated[int, typer.Option(help="Random restarts of the attack.", min=0)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the attack.", min=0)] = 0,
    sanity: Annotated[bool, typer.Option(help="Check that the attack can be trusted.")] = True,
    batch_size: Annotated[int, typer.Option(help="Sentences in a batch.", min=1)] = 64,
    json: AsJson = False,
) -> None:
    """Score trained models, clean and under perturbations of their embeddings."""
    quiet()
    from ..evaluate.robust import EmbeddingAttack
    from ..evaluate.run import evaluate_run

    attack = None
    if radius is not None:
        sizes = tuple(size_of(part) for part in radius.split(","))
        attack = EmbeddingAttack(radii=sizes, steps=steps, restarts=restarts, seed=seed)
    columns = [part.strip() for part in text.split(",")] if text else None
    records = []
    for run in runs:
        with bar(f"attacking {Path(run).name}", shown=attack is not None and not json) as tick:
            records.append(
                evaluate_run(
                    run,
                    data=data,
                    split=split,
                    text=columns,
                    label=label,
                    limit=limit,
                    attack=attack,
                    sanity=sanity,
                    batch_size=batch_size,
                    progress=tick,
                )
            )
    if json:
        print_json(records if len(records) > 1 else records[0])
        return
    for record in records[:1]:
        for note in record["notes"]:
            say(f"  {note}", "dim")
    out.print(_score_table(records))
    for record in records:
        checks = record.get("checks", [])
        failed = [check for check in checks if not check["passed"]]
        for check in failed:
            say(f"warning: {record['run']}: {check['name']}: {check['detail']}", "yellow")
        if checks and not failed:
            say(f"{record['run']}: all {len(checks)} checks of the attack passed", "dim")


def _score_table(records: list[dict[str, Any]]) -> Table:
    """One row a run: clean scores, then accuracy at each radius with its 95 % interval."""
    scores = dict.fromkeys(name for record in records for name in record["clean"])
    shown = [name for name in scores if name not in ("accuracy_low", "accuracy_high", "examples")]
    radii = [point["radius"] for point in records[0].get("curve", [])]
    table = Table(box=None, header_style="bold")
    for heading in ("run", "method", "rows", *shown, *(f"PGD {radius}" for radius in radii)):
        left = heading in ("run", "method")  # folded, for a name that is cut says nothing
        table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for record in records:
        points = [
            f"{100 * p['accuracy']:.1f} % [dim]({100 * p['low']:.0f}-{100 * p['high']:.0f})[/dim]"
            for p in record.get("curve", [])
        ]
        scores_of = [number(name, record["clean"][name]) if name in record["clean"] else "-" for name in shown]
        named = [escape(clean(str(text))) for text in (record["run"], record["method"].get("name", "-"))]
        table.add_row(*named, str(record["data"]["rows"]), *scores_of, *points)
    return table
