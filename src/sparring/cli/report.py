"""sparring report"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from .console import AsJson, bar, clean, out, print_json, say

Format = Literal["html", "md", "tex", "csv", "json"]
SIGNS = {"confirmed": "[green]confirmed[/green]", "refuted": "[red]refuted[/red]", "open": "[yellow]open[/yellow]"}


def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study, or its study.yaml.")],
    output: Annotated[
        Path | None, typer.Option(help="File to write (default: report.html in the folder; tables: the terminal).")
    ] = None,
    format: Annotated[Format, typer.Option(help="One page of everything, or the tables alone.")] = "html",
    json: AsJson = False,
) -> None:
    """What a study found: one self-contained page, or its tables as Markdown, LaTeX, CSV or JSON.

    A study that is not finished has a report too; it says what is missing.
    """
    from ..attack.page import write_page
    from ..study.plan import folder_of
    from ..study.report import write_report
    from ..study.summarise import summarise
    from ..study.tables import tables

    folder = folder_of(study)
    written = folder / "report.html" if output is None and format == "html" else output
    with bar("reading records", shown=not json):
        summary = summarise(folder)
    if format == "html" and written is not None:
        with bar("writing the report", shown=not json):
            write_report(summary, written)
    else:
        text = tables(summary, format)
        if written is not None:
            write_page(written, text)
        elif not json:
            out.print(clean(text), markup=False, soft_wrap=True, end="" if text.endswith("\n") else "\n")
    if json:
        print_json(_record(summary, written))
    elif written is not None:
        _say(summary, written)


def _record(summary: Any, written: Path | None) -> dict[str, Any]:
    """The answers, and what is missing, as JSON values."""
    return {
        "study": summary.name,
        "file": None if written is None else str(written),
        "bytes": None if written is None else written.stat().st_size,
        "questions": [{"text": q.text, "verdict": q.verdict, "answer": q.answer} for q in summary.questions],
        "claims": [{"sentence": claim.sentence, "verdict": claim.verdict} for claim in summary.claims],
        "missing": list(summary.missing),
        "failed": summary.failed,
        "damaged": list(summary.damaged),
    }


def _say(summary: Any, written: Path) -> None:
    """What stands at the top of the report, and where that is."""
    for question in summary.questions:
        out.print(f"{SIGNS[question.verdict]}  {escape(clean(question.text))}", soft_wrap=True)
        out.print(f"  {escape(clean(question.answer))}", soft_wrap=True)
    for count, one, many in ((len(summary.failed), "failed", "failed"), (len(summary.missing), "is", "are")):
        if count:
            what = (f"job {one}" if count == 1 else f"jobs {many}") + ("" if one == "failed" else " missing")
            say(f"{count:,} {what}; the report names them", "yellow")
    for text in summary.damaged:
        say(text, "yellow")
    size = written.stat().st_size / 1e6
    out.print(f"{escape(clean(str(written)))} ({size:.1f} MB)", soft_wrap=True)
