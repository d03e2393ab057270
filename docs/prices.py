"""What trainings of a study cost, side by side where that is fair: on the same data and the same kind of machine."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from claims import Book

from sparring.study.sentences import listed
from sparring.study.tables import Markdown

HEAD = ["data", "budget", "machine", "arm", "seconds of training", "forward passes"]
SAID = (
    "Cost of a training with all it needs, mean over seeds and data. Passes are exact. Seconds are of machines that "
    "did other jobs at the same time: compare them roughly, and only between rows with the same data and machine."
)
TO = Markdown()


def machine_of(record: Mapping[str, Any]) -> str:
    """Where a job was done: the GPU's name where there was one, else the processor's."""
    where = record["environment"]
    return str(where["gpu"] or where["machine"]["processor"])


def costs(book: Book) -> list[list[str]]:
    """Rows of HEAD: data sets that the same arms were trained on, on the same machine, are one block."""
    seed_of, done = {job.id: job.seed for job in book.jobs}, book.records.done
    found: dict[tuple[str, str, str], dict[str, list[tuple[float, float | None]]]] = {}
    for cost in book.summary.costs:
        for seed, seconds in cost.train_seconds.values.items() if cost.train_seconds else ():
            machines = {machine_of(done[name]) for name in cost.jobs if seed_of[name] == seed}
            passes = cost.passes.values.get(seed) if cost.passes else None
            place = (cost.group.budget, listed(sorted(machines)), book.place(cost.group))
            found.setdefault(place, {}).setdefault(cost.arm, []).append((seconds, passes))
    blocks: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (budget, machine, data), arms in found.items():
        blocks.setdefault((budget, machine, tuple(sorted(arms, key=list(book.summary.arms).index))), []).append(data)
    rows = []
    for (budget, machine, arms), data in sorted(blocks.items(), key=lambda block: (block[1], block[0][:2])):
        for arm in arms:
            own = [found[budget, machine, one][arm] for one in data]
            seconds = fmean(fmean(value for value, _ in runs) for runs in own)
            counted = [fmean(known) for runs in own if (known := [value for _, value in runs if value is not None])]
            shown = f"{fmean(counted):.0f}" if counted else ""
            rows.append([TO.text(listed(data)), budget, TO.text(machine), TO.text(arm), f"{seconds:.0f}", shown])
    return rows
