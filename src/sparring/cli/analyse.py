"""sparring analyse"""

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
    out.print(_models(results))
    out.print()
    out.print(_layers(results))
    for name, result in results.items():
        out.print()
        out.print(f"[bold]{_safe(name)}[/bold]: the neurons that weigh most", soft_wrap=True)
        out.print(_top(result["top"][:5]))
    if found["comparison"]["pairs"]:
        out.print()
        out.print(_pairs(found["comparison"]["pairs"]))
    out.print(f"saved in {_safe(output)}", soft_wrap=True)


def _models(results: dict[str, Any]) -> Table:
    """One row a model: how well the tags can be told, and with how few neurons."""
    table = Table(box=None, header_style="bold")
    table.add_column("model")
    for heading in ("accuracy", "majority", "selectivity", "neurons", "95 %", "of", "tags each", "kept", "removed"):
        table.add_column(heading, justify="right")
    for name, result in results.items():
        low, high = result["bootstrap"]["size"]
        table.add_row(
            _safe(name),
            f"{100 * result['oracle']['accuracy']:.1f} %",
            f"{100 * result['majority']:.1f} %",
            f"{100 * result['control']['selectivity']:+.1f}",
            str(result["minimal"]["size"]),
            f"{low}-{high}",
            f"{result['layers'] * result['width']:,}",
            f"{result['exclusive']['mean_tags']:.1f}",
            f"{100 * result['ablation']['kept']:.1f} %",
            f"{100 * result['ablation']['removed']:.1f} %",
        )
    return table


def _layers(results: dict[str, Any]) -> Table:
    """One row a model, one column a layer: neurons of the minimal set, and the accuracy of the layer alone."""
    deepest = max(result["layers"] for result in results.values())
    table = Table(box=None, header_style="bold")
    table.add_column("layer")
    for layer in range(deepest):
        table.add_column("embeddings" if layer == 0 else str(layer), justify="right")
    for name, result in results.items():
        cells = [
            f"{count} [dim]({100 * accuracy:.0f} %)[/dim]"
            for count, accuracy in zip(result["layer_profile"], result["layer_accuracy"], strict=True)
        ]
        table.add_row(_safe(name), *cells, *[""] * (deepest - len(cells)))
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
