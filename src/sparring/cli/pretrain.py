"""sparring pretrain"""

import os
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ..train.pretrain_options import Pretrain
from .console import MAIN_PROCESS, clean, out, print_json, quiet, say, watched_training
from .flags import with_flags
from .job import JOB_FLAGS, settings_of_job


@with_flags(Pretrain, *JOB_FLAGS, without=("settings",))
def pretrain(**flags: Any) -> None:
    """Pre-train a language model on text, from scratch or from a checkpoint; plainly unless a --method is named.

    Without --corpus: the reviews that come with sparring. Without --model: from scratch, tokenizer included.
    """
    as_json, resume = flags.pop("json"), flags.pop("resume")
    config, pairs = flags.pop("config"), flags.pop("set")
    given = {name: value for name, value in flags.items() if value is not None}
    settings = settings_of_job(Pretrain(), given, config, pairs, _settings_of if resume else None)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # text is tokenised beside training, and nothing forks
    quiet()
    from ..train.pretrain import pretrain

    if not as_json and "corpus" not in given and config is None and not resume:
        say("no --corpus given: using the embedded reviews")
    with watched_training(as_json) as (bar, report):
        metrics = pretrain(
            settings,
            resume=resume,
            callbacks=[bar] if bar else [],
            report=report,
            progress=bar.at_work if bar else (lambda what, done, total: None),
        )
    if not MAIN_PROCESS:
        return
    if as_json:
        print_json({"run": settings.output, **metrics})
        return
    _show(settings, metrics)


def _show(settings: Pretrain, metrics: dict[str, Any]) -> None:
    """The run in a table, its fine-tunings in another, and what to do with it."""
    held_out = metrics.get("held_out", {})
    cells = {
        "method": settings.method,
        "steps": str(metrics["steps"]),
        "tokens": f"{metrics['tokens']:,}",
        "time": f"{metrics['train_seconds']:.0f} s",
    }
    if held_out:
        cells["held-out loss"] = f"{held_out['loss']:.3f}"
        if settings.objective == "mlm":
            cells["masked tokens right"] = f"{100 * held_out['accuracy']:.1f} %"
        else:
            cells["perplexity"] = f"{held_out['perplexity']:.1f}"
    if "pseudo" in metrics:
        cells["pseudo-perplexity"] = f"{metrics['pseudo']['pseudo_perplexity']:.1f}"
    if "minimal_pairs" in metrics:
        pairs = metrics["minimal_pairs"]
        low, high = 100 * pairs["low"], 100 * pairs["high"]
        cells["minimal pairs"] = f"{100 * pairs['accuracy']:.1f} % ({low:.1f} to {high:.1f})"
    table = Table(*cells, box=None)
    table.add_row(*cells.values())
    out.print(table)
    if "finetune" in metrics:
        scores = Table("fine-tuned on", "with", "score", "under attack", box=None)
        for data, methods in metrics["finetune"].items():
            for name, found in methods.items():
                plain = {key: value for key, value in found.items() if isinstance(value, float) and key != "examples"}
                shown = ", ".join(f"{key} {value:.3f}" for key, value in plain.items())
                scores.add_row(escape(clean(data)), name, shown, _held(found))
        out.print(scores)
    for what, why in metrics.get("not_scored", {}).items():
        out.print(f"not scored: {escape(clean(what))}: {escape(clean(why))}")
    folder = escape(clean(settings.output))
    out.print(f"saved in {folder}; next: sparring train --model {folder} --data ... --method {settings.method}")


def _held(found: dict[str, Any]) -> str:
    """Accuracies under attack, each with its 95 % interval."""
    named = {}
    if "attack" in found:
        named[found["attack"]["recipe"]] = found["attack"]
    if "radius" in found:
        named[f"PGD {found['radius']['radius']}"] = found["radius"]
    return ", ".join(
        f"{name} {100 * one['accuracy']:.1f} % ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
        for name, one in named.items()
    )


def _settings_of(run: Path) -> Pretrain:
    from ..train.pretrain import settings_of

    return settings_of(run)
