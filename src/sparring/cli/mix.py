"""sparring mix: adapter mixtures (AdpMixup)"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..settings import parse
from ..train.mix_options import Mix
from .console import AsJson, bar, clean, number, out, print_json, quiet, say
from .flags import keyword, with_flags

app = typer.Typer(
    help="Adapter mixtures (AdpMixup): one adapter for clean text, one a known attack, mixed for each text.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(help="Folder of a mixture.")]


@app.command("train")
@with_flags(Mix, keyword("json", AsJson, False))
def train(**flags: Any) -> None:
    """Train a clean adapter and one for each known attack, and calibrate their mixture.

    The same command again goes on after a crash or Ctrl-C. The base model is not trained, nor stored.
    """
    as_json = flags.pop("json")
    settings = parse(Mix, {name: value for name, value in flags.items() if value is not None})
    quiet()
    from ..train.mix import train_mixture

    _run(train_mixture, settings, folder=Path(settings.output), as_json=as_json)


@app.command("add")
def add(
    folder: Folder,
    attack: Annotated[str, typer.Option(help="The attack that is known from now on; see `sparring recipes`.")],
    json: AsJson = False,
) -> None:
    """Teach a mixture one more attack: one more small adapter, nothing is trained again."""
    quiet()
    from ..train.mix import add_attack

    _run(add_attack, folder, attack, folder=folder, as_json=json)


@app.command("export")
def export(
    folder: Folder,
    output: Annotated[Path, typer.Option(help="New folder for the model.")],
    coefficient: Annotated[
        float, typer.Option(help="Share of the clean adapter, from 0 to 1; the attacks' adapters share the rest.")
    ] = 0.5,
) -> None:
    """Fix the mixture, the same for every text, and write a plain model (of bottlenecks: a mixture of one adapter)."""
    quiet()
    from ..train.mix import export_mixture

    export_mixture(folder, output, coefficient)
    out.print(f"saved in {escape(clean(str(output)))}", soft_wrap=True)


@app.command("rebase")
def rebase(
    folder: Folder,
    base: Annotated[str, typer.Option(help="The base model as it is to be found now: a folder or hub name.")],
    json: AsJson = False,
) -> None:
    """Write down where the base model is, after it was moved; its weights must be those that the mixture was made with.

    The baselines beside the mixture follow it.
    """
    quiet()
    from ..train.mix import rebase_mixture

    changed = [str(place) for place in rebase_mixture(folder, base)]
    if json:
        print_json({"mixture": str(folder), "base": base, "changed": changed})
        return
    for place in changed:
        out.print(f"{escape(clean(place))}: the base model is {escape(clean(base))}", soft_wrap=True)


@app.command("show")
def show(
    folder: Folder,
    text: Annotated[
        list[str] | None, typer.Option(help="A text (twice for a pair): what it resembles, and what is answered.")
    ] = None,
    json: AsJson = False,
) -> None:
    """What a mixture is made of; with --text, how it mixes for that text."""
    quiet()
    from ..train.mix import describe_mixture

    record = describe_mixture(folder, tuple(text or ()))
    if json:
        print_json(record)
        return
    out.print(
        f"{record['kind']} adapters on {escape(clean(record['base']))}, gate {escape(clean(record['gate']))}, "
        f"{escape(clean(record['space']))} mixed, {escape(clean(record['head']))} head",
        soft_wrap=True,
    )
    table = Table(
        "adapter", "attack", "parameters", "entropy, low to high", *(["here", "weight"] if text else []), box=None
    )
    for row in record["adapters"]:
        span = "-" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        here = [f"{row['entropy']:.3f}", f"{row['weight']:.2f}"] if text else []
        table.add_row(
            escape(clean(row["name"])), escape(clean(str(row["attack"] or "-"))), f"{row['parameters']:,}", span, *here
        )
    out.print(table)
    if text:
        out.print(f"answer: {escape(clean(record['answer']))} ({record['confidence']:.0%})")
        for name, share in record["mixing"].items():
            out.print(f"against {escape(clean(name))}: {share:.2f} clean, {1 - share:.2f} {escape(clean(name))}")


def _run(job: Any, *arguments: Any, folder: Path, as_json: bool) -> None:
    """A job with its bars, and what came out."""
    report = (lambda line: None) if as_json else (lambda line: say(f"  {line}", "dim"))
    with bar("", shown=not as_json) as tick:
        watched: dict[str, Any] = {"report": report}
        if tick is not None:
            watched["progress"] = lambda title, done, total, note: tick(done, total, f"{title} {note}".strip())
        metrics = job(*arguments, **watched)
    if as_json:
        print_json({"mixture": str(folder), **metrics})
        return
    table = Table("adapter", "rows", "seconds", "attack seconds", "rows broken", "kB", box=None)
    stages = metrics["stages"]
    for name, own in metrics["adapters"].items():
        attacked = stages.get(f"attack {name}", {})
        tried = f"{attacked['broken']} of {attacked['rows']}" if "rows" in attacked else "-"
        table.add_row(
            escape(clean(name)),
            str(stages.get(name, {}).get("rows", "-")),
            f"{stages.get(name, {}).get('seconds', 0):.0f}",
            f"{attacked['seconds']:.0f}" if "seconds" in attacked else "-",
            tried,
            f"{own['bytes'] / 1e3:,.0f}",
        )
    out.print(table)
    shown = ", ".join(f"{name} {number(name, value)}" for name, value in metrics["eval"].items() if name != "loss")
    alone = ", ".join(
        f"{number(n, v)}" for n, v in metrics["eval_clean_adapter"].items() if n not in ("loss", "examples")
    )
    out.print(f"held out: {shown} (clean adapter alone: {alone})", soft_wrap=True)
    where = escape(clean(str(folder)))
    out.print(
        f"saved in {where}; next: sparring attack {where} --data test.csv --recipe textfooler --output attacks/",
        soft_wrap=True,
    )
