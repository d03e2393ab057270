"""sparring analyse"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ..analyse.options import Neurons
from ..settings import parse
from .console import AsJson, bar, clean, out, print_json, quiet, say
from .flags import keyword, with_flags

app = typer.Typer(help="Look inside trained models.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _analyse() -> None:
    """Look inside trained models."""


@app.command("neurons")
@with_flags(
    Neurons,
    keyword("runs", Annotated[list[Path], typer.Argument(help="Run folders (or minilm); several are compared.")], ...),
    keyword("output", Annotated[Path, typer.Option(help="Folder for results; finished models there are kept.")], ...),
    keyword("json", AsJson, False),
)
def neurons(**flags: Any) -> None:
    """Which neurons know what words are, and how few it takes (linguistic correlation analysis).

    The same command again goes on after Ctrl-C or a crash.
    """
    runs, output, as_json = (flags.pop(name) for name in ("runs", "output", "json"))
    settings = parse(Neurons, {name: value for name, value in flags.items() if value is not None})
    quiet()
    from ..analyse.folder import analyse_runs

    with bar("", shown=not as_json) as tick:
        watched = None if tick is None else lambda title, done, total, note: tick(done, total, f"{title}: {note}")
        found = analyse_runs(runs, settings, output, progress=watched)
    if as_json:
        print_json(found)
        return
    results = found["models"]
    for note in dict.fromkeys(note for result in results.values() for note in result["notes"]):
        say(f"  {note}", "dim")
    for table in (_models(results), _sets(results), _layers(results)):
        out.print(table)
        out.print()
    for name, result in results.items():
        out.print(f"[bold]{_safe(name)}[/bold]: the neurons that weigh most", soft_wrap=True)
        out.print(_top(result["top"][:5]))
        out.print()
    if found["comparison"]["pairs"]:
        out.print(_pairs(found["comparison"]["pairs"]))
    out.print(f"saved in {_safe(output)}", soft_wrap=True)


def _models(results: dict[str, Any]) -> Table:
    """One row a model: how well the tags can be told, and with how few neurons."""
    rows = []
    for result in results.values():
        low, high = result["bootstrap"]["size"]
        rows.append(
            (
                f"{100 * result['oracle']['accuracy']:.1f} %",
                f"{100 * result['majority']:.1f} %",
                f"{100 * result['control']['selectivity']:+.1f}",
                f"{result['minimal']['size']} of {result['layers'] * result['width']:,}",
                f"{low}-{high}",
            )
        )
    return _table(results, ("accuracy", "majority", "selectivity", "neurons needed", "95 %"), rows)


def _sets(results: dict[str, Any]) -> Table:
    """One row a model: what its minimal set does."""
    rows = [
        (
            f"{result['exclusive']['mean_tags']:.2f}",
            f"{100 * result['exclusive']['alone']:.0f} %",
            f"{100 * result['ablation']['kept']:.1f} %",
            f"{100 * result['ablation']['removed']:.1f} %",
        )
        for result in results.values()
    ]
    return _table(results, ("tags a neuron", "with one tag", "others masked", "set masked"), rows)


def _table(results: dict[str, Any], headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("model")
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, row in zip(results, rows, strict=True):
        table.add_row(_safe(name), *row)
    return table


def _layers(results: dict[str, Any]) -> Table:
    """One row a layer, one column a model: neurons of the minimal set, and the accuracy of the layer alone."""
    table = Table(box=None, header_style="bold")
    table.add_column("layer")
    for name in results:
        table.add_column(_safe(name), justify="right")
    for layer in range(max(result["layers"] for result in results.values())):
        cells = [
            f"{result['layer_profile'][layer]} [dim]({100 * result['layer_accuracy'][layer]:.1f} %)[/dim]"
            if layer < result["layers"]
            else ""
            for result in results.values()
        ]
        table.add_row("embeddings" if layer == 0 else str(layer), *cells)
    return table


def _top(neurons: list[dict[str, Any]]) -> Table:
    table = Table("layer", "unit", "tags", "words that excite it", box=None, header_style="bold")
    for neuron in neurons:
        words = " ".join(word for word, _ in neuron["words"][:8])
        table.add_row(str(neuron["layer"]), str(neuron["unit"]), _safe(" ".join(neuron["tags"])), _safe(words))
    return table


def _pairs(pairs: list[dict[str, Any]]) -> Table:
    table = Table("models", "neurons in both sets", "Jaccard", "by chance", "p", box=None, header_style="bold")
    for pair in pairs:
        table.add_row(
            f"{_safe(pair['one'])} and {_safe(pair['other'])}",
            str(pair["shared"]),
            f"{pair['jaccard']:.3f}",
            f"{pair['expected']:.3f}",
            f"{pair['p']:.2g}",
        )
    return table


def _safe(text: object) -> str:
    return escape(clean(str(text)))
