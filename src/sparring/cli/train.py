"""sparring train"""

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..train.data import load_data
from ..train.options import FineTune
from .console import MAIN_PROCESS, clean, number, out, print_json, quiet, say, watched_training
from .flags import with_flags
from .job import JOB_FLAGS, settings_of_job


@with_flags(
    FineTune,
    *JOB_FLAGS,
    without=("settings",),
)
def command(**flags: Any) -> None:
    """Fine-tune a model on labelled texts; plain training unless a --method is named.

    Without --model and --data: the MiniLM and the reviews that come with sparring.
    """
    as_json, resume = flags.pop("json"), flags.pop("resume")
    config, pairs = flags.pop("config"), flags.pop("set")
    given = {name: value for name, value in flags.items() if value is not None}
    settings = settings_of_job(FineTune(), given, config, pairs, _settings_of if resume else None)
    if MAIN_PROCESS and not as_json:
        defaults = [name for name in ("model", "data") if name not in given and config is None and not resume]
        named = {"model": "the MiniLM that comes with sparring[demo]", "data": "the embedded reviews"}
        for name in defaults:
            say(f"no --{name} given: using {named[name]}")
    data = load_data(settings)  # before anything heavy is imported: most mistakes are here
    quiet()
    from ..train.finetune import finetune

    with watched_training(as_json) as (bar, report):
        metrics = finetune(
            settings,
            data=data,
            resume=resume,
            callbacks=[bar] if bar else [],
            report=report,
            attack_progress=bar.attacking if bar else None,
        )
    if not MAIN_PROCESS:
        return
    if as_json:
        print_json({"run": settings.output, **metrics})
        return
    table = Table("method", "steps", "time", *metrics.get("eval", {}), box=None)
    scores = [number(name, value) for name, value in metrics.get("eval", {}).items()]
    table.add_row(settings.method, str(metrics["steps"]), f"{metrics['train_seconds']:.0f} s", *scores)
    out.print(table)
    if "online" in metrics:
        _show_online(metrics["online"])
    folder = escape(clean(settings.output))
    held_out = "" if "eval" in metrics else " --data test.csv"
    out.print(f"saved in {folder}; next: sparring evaluate {folder}{held_out} --radius 0,0.03x", soft_wrap=True)


def _show_online(record: dict[str, Any]) -> None:
    """What the attacks on training rows found, epoch by epoch."""
    table = Table("after epochs", "attacked", "adversarial", "broken", "queries", "time", box=None)
    for one in record["epochs"]:
        rate = "-" if one["success_rate"] is None else f"{100 * one['success_rate']:.1f} %"
        cells = (one["epoch"], one["rows"], one["adversarial"], rate)
        table.add_row(*map(str, cells), f"{one['queries_mean']:.1f}", f"{one['seconds']:.0f} s")
    out.print(table)
    say(f"{record['attack']}: {100 * record['share_of_time']:.0f} % of the time went into attacks", "dim")


def _settings_of(run: Path) -> FineTune:
    from ..train.finetune import settings_of

    return settings_of(run)
