"""The learning curve of a pre-training run as a picture: loss of training and on held-out text, over the steps."""

import json
from pathlib import Path
from typing import Any

from ..errors import RunError
from . import folder as run_folder

PICTURE = "curve.svg"


def draw_curve(run: Path, *, adversary_from: int = 0) -> bool:
    """Write curve.svg into a run's folder from its log, whole or not at all; False where matplotlib is not installed.

    adversary_from: the step at which the adversary entered, marked if above 0.
    Raises RunError when the log cannot be read or the picture cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure  # a figure of its own: the caller's backend stays as it is
    except ImportError:
        return False

    try:
        log = [json.loads(line) for line in (run / run_folder.LOG).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {run / run_folder.LOG}: {run_folder.reason(error)}") from error
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    terms = sorted(
        {key for row in log for key in row if key.startswith("loss_")}, key=lambda key: (key != "loss_task", key)
    )
    for key in (*terms, "held_out_loss"):
        label = "held out" if key == "held_out_loss" else f"training, {key.removeprefix('loss_')}"
        points = [(row["step"], row[key]) for row in log if _number(row.get(key))]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o" if key == "held_out_loss" else None, ms=3)
    if adversary_from:
        axes.axvline(adversary_from, color="grey", lw=0.8, ls=":", label="adversary enters")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss, nats a scored token")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    partial = run / f".{PICTURE}.partial"
    try:
        with rc_context({"svg.hashsalt": "sparring", "svg.fonttype": "none"}):
            figure.savefig(partial, format="svg", metadata={"Date": None})
        partial.replace(run / PICTURE)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write {run / PICTURE}: {run_folder.reason(error)}") from error
    return True


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
