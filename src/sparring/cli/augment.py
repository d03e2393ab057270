"""sparring augment"""

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer
from rich.markup import escape
from rich.table import Table

from ..errors import SettingError
from .attack import recipe_options
from .console import MAIN_PROCESS, AsJson, bar, clean, out, print_json, quiet, say


def augment(
    data: Annotated[str, typer.Option(help="Labelled training data: a file, a task name, hub:NAME, or demo.")],
    output: Annotated[Path, typer.Option(help="The file to write: .csv, .tsv, .jsonl or .parquet.")],
    recipe: Annotated[
        str,
        typer.Option(
            help="How rows are made, separated by commas: synonym, insert, swap, delete, random (one of the four), "
            "resample (masked LM), or attacks of `sparring recipes` (its `random` is random-synonyms here). "
            "A ratio of its own follows a colon, such as random:2,textfooler:0.5."
        ),
    ] = "random",
    model: Annotated[str | None, typer.Option(help="Victim of attacks and of --labels victim.")] = None,
    text: Annotated[str | None, typer.Option(help="Text column, or two separated by a comma.")] = None,
    label: Annotated[str | None, typer.Option(help="Label column.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use this many rows, drawn with a fixed seed.", min=1)] = None,
    ratio: Annotated[
        float, typer.Option(help="New rows per row, of recipes without a ratio; below 1: from a share of the rows.")
    ] = 1.0,
    keep: Annotated[str, typer.Option(help="Of attacks: successes, or all changed texts.")] = "successes",
    labels: Annotated[str, typer.Option(help="Label of a new row: keep, or victim (what it says).")] = "keep",
    alpha: Annotated[float, typer.Option(help="Share of the words that random operations and resample change.")] = 0.1,
    budget: Annotated[int | None, typer.Option(help="Most queries a row of an attack; default: no limit.")] = None,
    frozen: Annotated[
        list[int] | None, typer.Option(help="Number of a text column that stays as it is, from 0; a premise is 0.")
    ] = None,
    synonyms: Annotated[
        str | None, typer.Option(help="counterfitted, wordnet, minilm, victim, or a file of vectors or neighbours.")
    ] = None,
    masked_lm: Annotated[str | None, typer.Option(help="Masked language model: a folder or hub name.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave a constraint of attacks off.")] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the attacks, such as --set k=8; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random draw.", min=0)] = 0,
    originals: Annotated[bool, typer.Option(help="Write the original rows too.")] = True,
    resume: Annotated[
        bool, typer.Option(help="Not needed: the same command goes on by itself where it was interrupted.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make more training rows: random word operations, a masked language model, attacks on a trained model."""
    recipes = tuple(part.strip() for part in recipe.split(",") if part.strip())
    for flag, value, known in (("keep", keep, ("successes", "all")), ("labels", labels, ("keep", "victim"))):
        if value not in known:
            raise SettingError(f"--{flag} is {value!r}; choose {' or '.join(known)}")
    quiet()
    from ..train.augment import Augment, is_attack, parted
    from ..train.augment import augment as run

    attacks = [parted(one)[0] for one in recipes if is_attack(one)]
    attacks = ["random" if name == "random-synonyms" else name for name in attacks]
    job = Augment(
        data=data,
        output=output,
        recipes=recipes,
        text=tuple(part.strip() for part in text.split(",")) if text else None,
        label=label,
        limit=limit,
        model=model,
        ratio=ratio,
        keep=cast(Literal["successes", "all"], keep),
        labels=cast(Literal["keep", "victim"], labels),
        alpha=alpha,
        budget=budget,
        frozen=tuple(frozen or ()),
        seed=seed,
        originals=originals,
        options=_options(attacks, synonyms, masked_lm, without or [], seed, set or []),
    )
    with bar("augment", shown=not json and MAIN_PROCESS) as tick:
        progress = None if tick is None else lambda name, done, total: tick(done, total, name)
        record = run(job, progress=progress)
    if json:
        print_json(record)
        return
    _show(record)


def _options(
    attacks: list[str],
    synonyms: str | None,
    masked_lm: str | None,
    without: list[str],
    seed: int,
    pairs: list[str],
) -> dict[str, Any]:
    if attacks:
        return recipe_options(attacks, "paper", synonyms, masked_lm, without, seed, pairs)
    if pairs or without:
        raise SettingError("--set and --without are of attacks, and none is named")
    return ({"synonyms": synonyms} if synonyms else {}) | ({"masked_lm": masked_lm} if masked_lm else {})


def _show(record: dict[str, Any]) -> None:
    for note in record["notes"]:
        say(f"  {note}", "dim")
    table = Table("provenance", "rows", "tried", "broken", box=None, header_style="bold")
    if "original" in record["rows"]:
        table.add_row("original", str(record["rows"]["original"]), "", "")
    for one in record["recipes"]:
        rate = f"{100 * one['success_rate']:.1f} %" if "success_rate" in one else "-"
        table.add_row(one["provenance"], str(one["rows"]), str(one["tried"]), rate)
    out.print(table)
    counts = ", ".join(f"{name} {count}" for name, count in record["label_counts"].items())
    out.print(escape(clean(f"labels: {counts}")), soft_wrap=True)
    for one in record["recipes"]:
        for kind in ("off", "stand_ins"):
            for name in one.get(kind, []):
                say(f"{one['provenance']}: {kind.replace('_', ' ')}: {name}", "yellow")
    path = escape(clean(record["output"]))
    out.print(f"saved in {path}; next: sparring train --data {path}", soft_wrap=True)
