"""The learning curve of a pre-training run as a picture: loss of training and on held-out text, over the steps."""

import json
from pathlib import Path
from typing import Any

from . import folder as run_folder

PICTURE = "curve.svg"


def draw_curve(run: Path, *, adversary_from: int = 0) -> bool:
    """Write curve.svg into a run's folder from its log; False where matplotlib is not installed.

    adversary_from: the step at which the adversary entered, marked if above 0.
    """
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    from matplotlib.figure import Figure

    log = [json.loads(line) for line in (run / run_folder.LOG).read_text(encoding="utf-8").splitlines()]
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
    with matplotlib.rc_context({"svg.hashsalt": "sparring", "svg.fonttype": "none"}):
        figure.savefig(run / PICTURE, metadata={"Date": None})
    return True


def _number(value: Any) -> bool:
    return isinstance(value, int | float)
