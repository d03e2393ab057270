"""What the arms of a study cost to train, with everything that has to be made before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .figures import group_of
from .job import Job
from .records import Records
from .statistics import bootstrap_interval, sd, t_interval
from .summary import Cost, Group, Spread


def costs_of(jobs: Sequence[Job], records: Records) -> tuple[Cost, ...]:
    """Of every arm whose training is done for one seed at least.

    Seconds are those of the training and of all it needs: rows made before, the victim that they were made against,
    pre-training. Passes leave the victim out, whose training is another arm's. Peak memory is the largest of all: the
    GPU's where one was used, else main memory. Parts of a mixture have no cost of their own: what is known is that of
    the whole, which is the arm's that trains it.
    """
    parts = {job.arm for job in jobs if "part" in job.settings}
    by_id, done = {job.id: job for job in jobs}, records.done
    trained: dict[tuple[Group, str], dict[int, Job]] = {}
    for job in jobs:
        if job.kind in ("train", "mix") and job.arm not in parts:
            trained.setdefault((group_of(job), job.arm), {})[job.seed] = job
    found = []
    for (group, arm), by_seed in trained.items():
        whole = {seed: chain for seed, job in by_seed.items() if (chain := _chain(job, by_id, done)) is not None}
        if not whole:
            continue
        identities = tuple(dict.fromkeys(job.id for chain in whole.values() for job in chain))
        seconds, passes, memory = (
            _spread({seed: value for seed, chain in whole.items() if (value := count(chain, done)) is not None}, whole)
            for count in (_seconds, _passes, _memory)
        )
        parameters = [done[chain[0].id]["result"].get("trainable_parameters") for chain in whole.values()]
        known = next((int(number) for number in parameters if isinstance(number, int | float)), None)
        family = next(iter(by_seed.values())).family
        found.append(Cost(group, arm, family, seconds, passes, memory, known, identities))
    return tuple(found)


def _chain(job: Job, by_id: Mapping[str, Job], done: Mapping[str, Any]) -> list[Job] | None:
    """A training and all it needs, each once, the training first; None if something is not there yet."""
    chain, waiting = [], [job]
    while waiting:
        one = waiting.pop(0)
        if one.id not in done or not all(need in by_id for need in one.needs):
            return None
        if one not in chain:
            chain.append(one)
            waiting += [by_id[need] for need in one.needs]
    return chain


def _seconds(chain: Sequence[Job], done: Mapping[str, Any]) -> float | None:
    """train_seconds of a fine-tuning include the attacks on its rows; those of a mixture do not."""
    total = 0.0
    for job in chain:
        result = done[job.id]["result"]
        found = result.get("seconds" if job.kind == "augment" else "train_seconds")
        if not isinstance(found, int | float):
            return None
        total += found + (result.get("attack_seconds") or 0.0 if job.kind == "mix" else 0.0)
    return total


def _passes(chain: Sequence[Job], done: Mapping[str, Any]) -> float | None:
    own = [job for job in chain if job is chain[0] or job.kind == "pretrain"]
    found = [done[job.id]["result"].get("passes") for job in own]
    return float(sum(found)) if all(isinstance(value, int | float) for value in found) else None


def _memory(chain: Sequence[Job], done: Mapping[str, Any]) -> float | None:
    costs = [done[job.id].get("cost") or {} for job in chain]
    used = [float(peak) for cost in costs if isinstance(peak := cost.get("gpu_peak_memory"), int | float)]
    if used:
        return max(used)
    found = [cost.get("peak_memory") for cost in costs]
    known = [float(value) for value in found if isinstance(value, int | float)]
    return max(known) if len(known) == len(found) else None


def _spread(values: Mapping[int, float], whole: Mapping[int, Sequence[Job]]) -> Spread | None:
    """Over seeds; None where nothing is known."""
    if not values:
        return None
    ordered = {seed: values[seed] for seed in sorted(values)}
    means = list(ordered.values())
    return Spread(
        values=ordered,
        mean=float(np.mean(means)),
        sd=sd(means),
        t_interval=t_interval(means),
        bootstrap_interval=bootstrap_interval([np.array([value]) for value in means]),
        rows=0,
        jobs=tuple(dict.fromkeys(job.id for seed in ordered for job in whole[seed])),
    )
