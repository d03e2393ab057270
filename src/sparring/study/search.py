"""A search of settings: every arm is tried the same number of times, and judged on rows that no result is about.

A study file with `search` is a study whose arms are the trials; what it measures on (`test`, or `test_share` of the
training rows) are the development rows of the study that takes its choice by `tuned`. `choose` writes chosen.json:

{"search": name, "rows": {data: sha256 of the rows}, "chosen": [{"data", "model", "budget", "arm", "metric", "settings",
 "score", "trials": [{"settings", "score": mean over seeds or null, "seeds", "records": [identities]}]}]}
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import RunError, SettingError
from .block import Block
from .job import Job
from .options import Arm, plain
from .records import Records

CHOSEN = "chosen.json"


def expanded(arms: Mapping[str, Arm], baseline: str, block: Block) -> tuple[dict[str, Arm], str]:
    """The arms of a search, each as its trials, and the first trial of the baseline; others as they are.

    search: `trials` (of each arm), `seed` (of the draw), `over`: lists of settings that every arm tries. An arm's own
    `search` adds to them; "settings.radius" is a setting of its method. SettingError for an arm without enough to try.
    """
    search, blocks = block.block("search"), block.blocks("arms")
    owners = {name: inner for name in arms if (inner := blocks[name].block("search")) is not None}
    if search is None:
        for name in owners:
            raise blocks[name].error(
                "search", f"arm '{name}' has `search`, and the study has none; add `search: {{..}}`"
            )
        return dict(arms), baseline
    search.only(("trials", "seed", "over"))
    shared = _lists(search.block("over"))
    import numpy as np  # as the next: slow to load, and studies without a search do not wait for them

    from ..data.batch import make_key

    (trials,), (seed,) = search.numbers("trials", (3,))[:1], search.numbers("seed", (0,))[:1]
    if trials < 1:
        raise search.error("trials", f"'trials' is {trials}; try every arm once at least")
    found: dict[str, Arm] = {}
    for name, arm in arms.items():
        if arm.part is not None or arm.victim is not None:
            raise blocks[name].error(
                None, f"arm '{name}' is made with another arm, which a search varies; leave it out"
            )
        grid = shared | _lists(owners.get(name))
        tried = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        if len(tried) < trials:
            raise blocks[name].error(
                None, f"arm '{name}' has {len(tried)} settings to try, and 'trials' is {trials}: every arm is tried "
                "equally often; list more values, or fewer trials",
            )  # fmt: skip
        order = np.random.default_rng(make_key("study search", seed, len(tried))).permutation(len(tried))
        for number, place in enumerate(sorted(int(place) for place in order[:trials]), 1):
            one = tuned(replace(arm, name=f"{name}-{number}", trial=(name, tried[place])), tried[place])
            if one.name in arms or one.name in found:
                raise blocks[name].error(None, f"arm '{one.name}' and a trial of '{name}' have one name; rename it")
            found[one.name] = one
    return found, f"{baseline}-1"


def tuned(arm: Arm, settings: Mapping[str, Any]) -> Arm:
    """The arm with settings over its own: of its mixture if it is one, else of its training."""
    own = dict(arm.mix if arm.mix is not None else arm.train)
    for name, value in settings.items():
        if name.startswith("settings."):
            own["settings"] = {**own.get("settings", {}), name.removeprefix("settings."): value}
        else:
            own[name] = value
    if not settings:
        return arm
    return replace(arm, mix=own) if arm.mix is not None else replace(arm, train=own)


def choose(name: str, arms: Mapping[str, Arm], jobs: Iterable[Job], records: Records) -> dict[str, Any]:
    """The best trial of each arm, data set, model and budget, by the mean of its scores; of equals the first.

    RunError where something has not been run, or arms were not tried equally often. A trial that failed has no score.
    """
    if not any(arm.trial for arm in arms.values()):
        raise RunError(f"the study '{name}' is no search: nothing in it is tried; add `search` to its file")
    scores = [job for job in jobs if job.kind == "score" and not job.settings["cross_domain"] and arms[job.arm].trial]
    missing = [job.title for job in scores if job.id not in records.by_job and not _failed(job, records)]
    if missing:
        raise RunError(f"{len(missing)} scores are missing, the first of them '{missing[0]}'; run the study to its end")
    groups: dict[tuple[str, str, str, str], dict[str, list[Job]]] = {}
    for job in scores:
        trial = arms[job.arm].trial
        assert trial is not None  # filtered above
        groups.setdefault((job.dataset, job.model, job.budget, trial[0]), {}).setdefault(job.arm, []).append(job)
    counts = {len(trials) for trials in groups.values()}
    if len(counts) > 1:
        raise RunError(f"arms were tried {' and '.join(map(str, sorted(counts)))} times; try all equally often")
    chosen = [_best(labels, trials, arms, records) for labels, trials in groups.items()]
    return {"search": name, "rows": {job.dataset: job.data["test"] for job in scores}, "chosen": chosen}


def _best(
    labels: tuple[str, str, str, str], trials: Mapping[str, Sequence[Job]], arms: Mapping[str, Arm], records: Records
) -> dict[str, Any]:
    found, metric = [], ""
    for name, jobs in trials.items():
        trial, done = arms[name].trial, [job for job in jobs if job.id in records.done]
        assert trial is not None  # only trials are asked
        metric = str(jobs[0].settings["metric"])
        known = [float(records.done[job.id]["result"]["scores"][metric]) for job in done]
        score = fmean(known) if len(known) == len(jobs) else None
        found.append({"settings": plain(trial[1]), "score": score, "seeds": [job.seed for job in done],
                      "records": [job.id for job in done]})  # fmt: skip
    whole = [one for one in found if one["score"] is not None]
    if not whole:
        raise RunError(f"{labels[0]}: no trial of '{labels[3]}' came to its end; see `sparring study status`")
    best: Any = max(whole, key=lambda one: one["score"])  # of equals the first
    head = dict(zip(("data", "model", "budget", "arm"), labels, strict=True))
    return {**head, "metric": metric, "settings": best["settings"], "score": best["score"], "trials": found}


def _failed(job: Job, records: Records) -> bool:
    return job.id in records.failed or any(need in records.failed for need in job.needs)


@dataclass(frozen=True)
class Chosen:
    """What a search chose."""

    path: Path
    content: Mapping[str, Any]

    @staticmethod
    def read(path: Path) -> "Chosen":
        """SettingError if it is not there or no such file."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            keys = ("data", "model", "budget", "arm", "settings")
            if not isinstance(content["rows"], dict) or any(
                key not in one for one in content["chosen"] for key in keys
            ):
                raise ValueError("not what `sparring study choose` writes")
        except OSError:
            raise SettingError(
                f"tuned: there is no {path}; run the search, then `sparring study choose` its folder"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise SettingError(f"tuned: {path} cannot be used: {error}; `sparring study choose` writes it") from None
        return Chosen(path, content)

    def settings_of(self, arm: Arm, dataset: str, model: str, budget: str) -> dict[str, Any]:
        """The settings of an arm. SettingError for one that was not searched; parts of mixtures have none."""
        if arm.part is not None:
            return {}
        for one in self.content["chosen"]:
            if (one["data"], one["model"], one["budget"], one["arm"]) == (dataset, model, budget, arm.name):
                return dict(one["settings"])
        raise SettingError(
            f"tuned: {self.path} has no settings for arm '{arm.name}' on '{dataset}' with '{model}' at equal {budget}; "
            "every arm is tried equally often: add it to the search"
        )

    def check(self, dataset: str, test: str) -> None:
        """SettingError if the search has read the rows that results are to be about."""
        if test in self.content["rows"].values():
            raise SettingError(
                f"tuned: the search was scored on the test rows of '{dataset}'; let it measure on development rows"
            )


def _lists(block: Block | None) -> dict[str, list[Any]]:
    """Of each setting the values that are tried."""
    if block is None:
        return {}
    found = {}
    for name, value in block.plain().items():
        if name in ("epochs", "max_steps"):
            raise block.error(name, f"'{name}' cannot be searched: `budgets` makes all arms equal")
        if not isinstance(value, list) or not value or any(isinstance(one, dict | list) for one in value):
            raise block.error(name, f"'{name}' is {value!r}; list the values that are tried, such as [0.0001, 0.0002]")
        found[name] = value
    return found
