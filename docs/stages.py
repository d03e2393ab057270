"""What the page on pre-training says of ALUM at every stage and of a run on a GPU, from the records alone."""

from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from older import benchmark
from tabled import table

from sparring.evaluate.metrics import interval
from sparring.methods.alum import ALUM
from sparring.train.pace import plain_steps

STAGES = {"scratch": "from scratch", "continual": "continual"}
ARMS = {
    "untouched": "as it is",
    "standard-steps": "plain, as many steps as ALUM",
    "standard-passes": "plain, as many passes as ALUM",
    "alum": "ALUM",
}
Row = dict[str, Any]


def stages_tables() -> str:
    """Tables of each stage and scale, and the comparisons of ALUM with plain training; nothing without records."""
    rows = benchmark("alum_stages")
    parts = []
    for stage, title in STAGES.items():
        scales: list[dict[str, Any]] = []
        for row in rows:
            if row["stage"] == stage and row["scale"] not in scales:
                scales.append(row["scale"])
        for scale in scales:
            own = [row for row in rows if row["stage"] == stage and row["scale"] == scale]
            cells = _cells(own)
            finished = {key[1:] for key in cells} == {key[1:] for key in cells if key[0] == "alum"}
            parts.append(_said(stage, title, scale, own))
            parts += [_pretrained(own), _tuned(own), _compared(own)] if finished else ["Not finished yet."]
    return "\n\n".join(part for part in parts if part)


def gpu_table() -> str:
    """What one run on a GPU says of its pace, plain and with ALUM, from its log; nothing without a record."""
    lines = benchmark("pretrain_on_gpu")
    if not lines:
        return ""
    about, log = lines[0], [line for line in lines[1:] if "tokens_per_second" in line and line["step"] > 1]
    rows = []
    for title, passes, own in (
        ("plain", 1, [line for line in log if line["step"] <= about["switch"]]),
        ("ALUM", plain_steps(ALUM()), [line for line in log if line["step"] > about["switch"]]),
    ):
        pace = [line["tokens_per_second"] for line in own]
        busy = 6 * about["weights"] * passes * median(pace) / about["peak"]
        share = median(line["share_of_bound"] for line in own)
        rows.append([title, f"{median(pace):,.0f}", f"{1 / fmean(1 / one for one in pace):,.0f}", f"{max(pace):,.0f}"])
        rows[-1] += [f"{share:.2f}", f"{100 * busy:.1f}"]
    head = ["steps", "tokens/s, median", "mean", "best", "share of bound, median", "model FLOP utilisation %"]
    said = (
        f"{about['device']}, {about['cores']} cores, torch {about['versions']['torch']}, not compiled, "
        f"{about['steps']} steps in {about['seconds']:.0f} s, by `{about['command']}`. Utilisation is 6 x "
        f"{about['weights'] / 1e6:.1f} million weights x passes x tokens/s over {about['peak'] / 1e12:.0f} TFLOP/s."
    )
    return f"{table(head, rows)}\n\n{said}"


def _said(stage: str, title: str, scale: dict[str, Any], rows: list[Row]) -> str:
    seeds = len({row["seed"] for row in rows})
    what = f"`{scale['size']}`, {scale['steps']} steps of ALUM, vocabulary {scale['vocab']}, learning rate "
    what += f"{scale['learning_rate']:g}"
    if stage == "continual":
        what = f"MiniLM, {scale['continual_steps']} steps of ALUM, learning rate {scale['continual_learning_rate']:g}"
    return (
        f"**{title[0].upper()}{title[1:]}** ({what}; batches of {scale['batch_size']} x {scale['length']} tokens; "
        f"fine-tuned on at most {scale['rows']:,} rows, {scale['epochs']} epochs, learning rate "
        f"{scale['tuning_rate']:g}; {seeds} seed{'s' if seeds > 1 else ''}):"
    )


def _pretrained(rows: list[Row]) -> str:
    lines = []
    for arm, title in ARMS.items():
        own = [row for row in rows if row["arm"] == arm and row["kind"] == "pretrain"]
        if own:
            right = fmean(row["minimal_pairs"]["accuracy"] for row in own)
            cells = [f"{own[0]['steps']:,}", f"{fmean(row['train_seconds'] for row in own) / 60:.0f}"]
            cells.append(_over_seeds([row["held_out"]["loss"] for row in own], ".3f"))
            cells.append(_over_seeds([100 * row["held_out"]["accuracy"] for row in own], ".1f"))
            lines.append([title, *cells, _share(right, own[0]["minimal_pairs"]["pairs"])])
    head = ["pre-training", "steps", "minutes", "held-out loss", "masked tokens right %", "minimal pairs right %"]
    return table(head, lines)


def _tuned(rows: list[Row]) -> str:
    cells = _cells(rows)
    tasks = sorted({task for _, task, _ in cells})
    lines = []
    for arm, title in ARMS.items():
        for method in ("standard", "alum"):
            if any((arm, task, method) in cells for task in tasks):
                found = [cells.get((arm, task, method)) for task in tasks]
                shown = [
                    [_share(*one.mean("dev")), _share(*one.mean("attacked"))] if one else ["", ""] for one in found
                ]
                lines.append([title, method, *(cell for pair in shown for cell in pair)])
    head = [
        "pre-training",
        "fine-tuned with",
        *(f"{task.upper()}{more}" for task in tasks for more in (" %", " attacked %")),
    ]
    return table(head, lines)


def _compared(rows: list[Row]) -> str:
    """ALUM against as many passes of plain pre-training, and ALUM against plain fine-tuning."""
    cells = _cells(rows)
    lines, shown = [], 0
    for (arm, task, method), one in sorted(cells.items()):
        other = ("standard-passes", task, method) if arm == "alum" else None
        if other in cells:
            lines.append((f"pre-training, {task.upper()}, fine-tuned with {method}", one, cells[other]))
        if method == "alum" and (arm, task, "standard") in cells:
            lines.append((f"fine-tuning, {task.upper()}, {ARMS[arm]}", one, cells[arm, task, "standard"]))
    body, alike = [], 0
    for title, one, plain in sorted(lines, key=lambda line: line[0]):
        told = []
        for measure in ("dev", "attacked"):
            difference, low, high = newcombe(*one.mean(measure), *plain.mean(measure))
            by_seed = one.minus(plain, measure)
            if low > 0 or high < 0:
                shown += 1
                alike += bool(by_seed) and (min(by_seed) > 0 or max(by_seed) < 0)
            each = f"; by seed {', '.join(f'{100 * d:+.1f}' for d in by_seed)}" if len(by_seed) > 1 else ""
            told.append(f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}){each}")
        body.append([title, *told])
    if not body:
        return ""
    shown_as = table(["ALUM minus plain", "dev, points", "under attack, points"], body)
    signs = f" ({alike} of them with one sign in every seed)" if "by seed" in shown_as else ""
    return (
        f"{shown_as}\n\nIntervals of {shown} of these {2 * len(body)} differences leave zero out{signs}. They are "
        "Newcombe's 95 %, of one seed's examples: not corrected for their number, as if the two had answered other "
        "examples, and without what varies from seed to seed."
    )


@dataclass(frozen=True)
class Tuned:
    """A way to make a classifier, over the seeds that it was made with."""

    runs: dict[int, Row]
    """By seed."""

    def mean(self, measure: str) -> tuple[float, int]:
        """Mean share and the examples of one seed, of "dev" rows or "attacked" ones."""
        found = [_right(row, measure) for row in self.runs.values()]
        return fmean(share for share, _ in found), found[0][1]

    def minus(self, other: "Tuned", measure: str) -> list[float]:
        """Differences of shares, seed by seed."""
        seeds = sorted(self.runs.keys() & other.runs.keys())
        return [_right(self.runs[seed], measure)[0] - _right(other.runs[seed], measure)[0] for seed in seeds]


def _right(row: Row, measure: str) -> tuple[float, int]:
    if measure == "dev":
        return row["eval"]["accuracy"], row["dev_rows"]
    return row["attack"]["under_attack"], row["attack"]["examples"]


def _cells(rows: list[Row]) -> dict[tuple[str, str, str], Tuned]:
    """By arm, task and method."""
    found: dict[tuple[str, str, str], Tuned] = {}
    for row in rows:
        if row["kind"] == "tuned":
            found.setdefault((row["arm"], row["task"], row["method"]), Tuned({})).runs[row["seed"]] = row
    return found


def newcombe(a: float, of_a: int, b: float, of_b: int) -> tuple[float, float, float]:
    """Difference of two shares and its 95 % interval (Newcombe 1998, method 10: from the two Wilson intervals)."""
    (low_a, high_a), (low_b, high_b) = (interval(round(share * of), of) for share, of in ((a, of_a), (b, of_b)))
    low = ((a - low_a) ** 2 + (high_b - b) ** 2) ** 0.5
    high = ((high_a - a) ** 2 + (b - low_b) ** 2) ** 0.5
    return a - b, a - b - low, a - b + high


def _over_seeds(values: list[float], form: str) -> str:
    """The mean, with the range of the seeds if there are several."""
    shown = format(fmean(values), form)
    return shown if len(values) == 1 else f"{shown} ({min(values):{form}}-{max(values):{form}})"


def _share(share: float, of: int) -> str:
    low, high = interval(round(share * of), of)
    return f"{100 * share:.1f} ({100 * low:.1f}-{100 * high:.1f})"
