"""From a study's plan and records to what they add up to. A half-finished study is summed up as far as it goes."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import RunError
from .comparisons import Uncorrected, against, common, corrected, scatter
from .costs import costs_of
from .families import Families, families_of
from .figures import Figures, Seeds, group_of, read_figures, spread_of
from .job import Job
from .questions import OF_MEASURES, answers
from .records import RECORDS, Records, read_records
from .sentences import claim, count
from .summary import Cell, Claim, Cost, Group, Measure, Question, Spread, Summary

PLAN = "plan.json"
CLAIMED = ("clean", "cross-domain", "attack", "calibrated", "worst-case")
"""Measures whose comparisons become sentences; those of transfer and radius stand in tables alone."""
SIGNS: Mapping[str, Any] = {"better": "holds", "worse": "refuted", "open": "open"}
"""A claim is that an arm is better; its sentence says what is true."""


Progress = Callable[[int, int], None]
"""Told how many measures of how many are summed up."""


def summarise(folder: Path, progress: Progress | None = None) -> Summary:
    """What the plan.json and records.jsonl of a study's folder say. RunError if there is no plan to read."""
    path = folder / PLAN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        study, jobs = dict(content["study"]), tuple(Job.read(values) for values in content["jobs"])
    except FileNotFoundError:
        raise RunError(f"{folder} holds no study (no {PLAN}); `sparring study run` makes it") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        message = f"{type(error).__name__}: {error}"
        raise RunError(f"{path} is damaged: {message}; `sparring study run` writes it anew") from error
    return summarise_records(study, jobs, read_records(folder / RECORDS), progress)


def summarise_records(
    study: Mapping[str, Any], jobs: Sequence[Job], records: Records, progress: Progress | None = None
) -> Summary:
    """The same of the values of plan.json: study, in the layout of study.yaml, and its jobs."""
    baseline = str(study["baseline"])
    families = {job.arm: job.family for job in jobs}
    named = [str(arm) for arm in study.get("arms") or () if arm in families]
    arms = {arm: families[arm] for arm in dict.fromkeys([*named, *families])}
    figures = read_figures(jobs, records)
    groups = tuple(dict.fromkeys(group_of(job) for job in jobs))
    total, cells = sum(len(figures.measures(group)) for group in groups), list[Cell]()
    for group in groups:
        before = len({(cell.group, cell.measure) for cell in cells})
        tick = (lambda done: None) if progress is None else partial(_tick, progress, total, before)
        cells += _cells(group, arms, baseline, figures, tick)
    costs = costs_of(jobs, records)
    titles, damaged = _titles(jobs), list[str]()
    lines, failed = _labelled(jobs, records, titles, damaged), records.failed
    neurons = tuple(line for line in lines if line["kind"] == "neurons")
    by_family = [families_of(group, arms, baseline, figures, jobs) for group in groups]
    claims = [claim for one in by_family if not one.are_arms for claim in one.claims(OF_MEASURES)]
    claims += _claims(cells, baseline)
    asked = bool(study.get("questions"))
    return Summary(
        name=str(study["name"]),
        baseline=baseline,
        arms=arms,
        groups=groups,
        measures=figures.measures(),
        cells=tuple(cells),
        costs=costs,
        claims=tuple(sorted(claims, key=lambda claim: ("holds", "refuted", "open").index(claim.verdict))),
        questions=tuple(q for one in by_family for q in _asked(one, groups, figures, costs, neurons)) if asked else (),
        neurons=neurons,
        attacks=tuple(line for line in lines if line["kind"] == "attack"),
        missing=tuple(title for identity, title in titles.items() if identity not in records.by_job),
        failed={title: _error(failed[identity]) for identity, title in titles.items() if identity in failed},
        damaged=(*records.damaged, *figures.damaged, *damaged),
        environment=_environment(records, jobs),
        left_out=tuple(dict.fromkeys([*figures.left_out, *(text for one in by_family for text in one.left_out)])),
        jobs={line["job"]: {k: v for k, v in line.items() if k != "result"} for line in reversed(lines)},
    )


def group_title(group: Group, groups: Sequence[Group] = (), between: str = ", ") -> str:
    """For headings: training data, model, and the budget where there are several."""
    several = group.budget != "epochs" or any(other.budget != group.budget for other in groups)
    return between.join([group.dataset, group.model] + ([f"equal {group.budget}"] if several else []))


def _tick(progress: Progress, total: int, before: int, done: int) -> None:
    progress(before + done, total)


def _cells(
    group: Group, arms: Mapping[str, str], baseline: str, figures: Figures, tick: Callable[[int], None]
) -> Iterable[Cell]:
    """Every arm and measure of a group; what can be compared with the baseline is, corrected over the group."""
    found: dict[tuple[str, Measure], Uncorrected] = {}
    spreads: dict[tuple[str, Measure], Spread] = {}
    for done, measure in enumerate(figures.measures(group), 1):
        seeds = {arm: own for arm in arms if (own := figures.of(group, arm, measure))}
        spreads |= {(arm, measure): spread_of(own, measure.metric) for arm, own in seeds.items()}
        pooled = scatter(list(seeds.values()))
        base = seeds.pop(baseline, {})
        for arm, own in seeds.items():
            if base and not _is_clean(measure):
                figures.left_out += _unlike(own, base, f"{group_title(group)}: {measure.title}: {arm} and {baseline}")
                one = against(own, base, pooled, measure.metric)
                if one is not None:
                    found[arm, measure] = one
        tick(done)
    compared = corrected(found)
    for (arm, measure), spread in spreads.items():
        yield Cell(group, arm, arms[arm], measure, spread, compared.get((arm, measure)))


def _unlike(own: Seeds, base: Seeds, where: str) -> Iterable[str]:
    """Why an arm is not, or not on all its seeds, compared with the baseline."""
    same, differ = common(own, base)
    if differ:
        seeds = f"{'seed' if len(differ) == 1 else 'seeds'} {', '.join(map(str, differ))}"
        yield f"{where} have different rows with {seeds}, and are not compared there"
    elif not same:
        yield f"{where} have no seed in common yet"
    elif len(same) == 1 and own[same[0]].rows == 0:
        yield f"{where} cannot be compared: their rows are not known, and they have one seed in common"


def _is_clean(measure: Measure) -> bool:
    """Radius 0 is the clean accuracy of some rows: shown, not tested once more."""
    try:
        return measure.what == "radius" and float(measure.name.removesuffix("x")) == 0
    except ValueError:
        return False


def _claims(cells: Iterable[Cell], baseline: str) -> Iterable[Claim]:
    bases = {(cell.group, cell.measure): cell for cell in cells if cell.arm == baseline}
    for cell in cells:
        if cell.comparison is None or cell.measure.what not in CLAIMED:
            continue
        sentence = claim(cell.arm, baseline, cell.measure, cell.comparison)
        jobs = (*cell.spread.jobs, *bases[cell.group, cell.measure].spread.jobs)
        yield Claim(sentence, SIGNS[cell.comparison.verdict], cell.group, cell.arm, cell.measure, "", jobs)


def _asked(
    families: Families,
    groups: Sequence[Group],
    figures: Figures,
    costs: Sequence[Cost],
    neurons: Sequence[Mapping[str, Any]],
) -> tuple[Question, ...]:
    group = families.group
    own = [line for line in neurons if Group(line["dataset"], line["model"], line["budget"]) == group]
    where = f"({group_title(group, groups)})" if len(groups) > 1 else ""
    return answers(families, families.claims(OF_MEASURES), figures, costs, own, where)


def _titles(jobs: Sequence[Job]) -> dict[str, str]:
    """One title for each identity, the first label's, with the model where there are several; no two are the same."""
    several = len({job.model for job in jobs}) > 1
    titles, taken = dict[str, str](), set[str]()
    for job in jobs:
        if job.id not in titles:
            title = f"{job.title} ({job.model})" if several else job.title
            titles[job.id] = title if title not in taken else f"{title} [{job.id}]"
            taken.add(titles[job.id])
    return titles


def _labelled(
    jobs: Sequence[Job], records: Records, titles: Mapping[str, str], damaged: list[str]
) -> list[dict[str, Any]]:
    """The lines of finished jobs, once for each label that the plan gives them; `damaged` gets what makes no sense."""
    done, lines, odd = records.done, [], dict[str, str]()
    labels = ("kind", "name", "arm", "family", "budget", "dataset", "model", "seed")
    for job in (job for job in jobs if job.id in done):
        wrong = _shape(job.kind, done[job.id]["result"])
        if wrong:
            odd[job.id] = f"the record {job.id} ({titles[job.id]}) cannot be used: {wrong}"
        else:
            own = {name: getattr(job, name) for name in labels}
            lines.append({**done[job.id], **own, "title": titles[job.id]})
    damaged += odd.values()
    return lines


PARTS = ("minimal", "oracle", "control", "ablation", "exclusive", "bootstrap", "probe")
"""Of a result of neurons: mappings."""
SERIES = ("layer_profile", "layer_accuracy", "top", "tags")
"""Lists."""


def _shape(kind: str, result: Mapping[str, Any]) -> str:
    """What is wrong with a result that reports take apart, "" if nothing is."""
    found: list[tuple[str, Any, type, type]] = []
    if kind == "attack":
        found.append((f"examples of {kind}", result.get("examples"), list, dict))
    if kind == "neurons":
        found += [(name, result.get(name), dict, object) for name in PARTS]
        found += [(name, result.get(name), list, dict if name == "top" else object) for name in SERIES]
        minimal = result.get("minimal")
        size = minimal.get("size") if isinstance(minimal, dict) else None
        if isinstance(size, bool) or not isinstance(size, int | float | None):
            return f"the size of the minimal set is no number: {size!r}"[:200]
    for name, value, whole, item in found:
        if value is not None and not isinstance(value, whole):
            return f"{name} is of another kind than expected: {value!r}"[:200]
        if isinstance(value, list) and not all(isinstance(one, item) for one in value):
            return f"{name} has parts of another kind than expected: {value!r}"[:200]
    return ""


def _error(line: Mapping[str, Any]) -> str:
    error = line.get("error") or {}
    return f"{error.get('type', 'an error')}: {error.get('message', 'not said')}"


def _environment(records: Records, jobs: Sequence[Job]) -> dict[str, Any]:
    """What the records were made with; where they differ, all there is. And the hashes of what was read."""
    merged = _merged([line["environment"] for line in records.done.values() if line.get("environment")])
    data: dict[str, dict[str, str]] = {}
    for job in jobs:
        known = data.setdefault(job.dataset, {})
        for name, digest in job.data.items():
            if digest not in known.values():
                label = f"{name} of {job.name}" if job.kind == "score" else name
                known[label if label not in known else f"{label} ({job.kind} {job.name})"] = digest
    count_of = f"{len(records.done)} finished, {count(len(records.failed), 'failure')}"
    return {**merged, "records": count_of, "data": data}


def _merged(values: Sequence[Any]) -> dict[str, Any]:
    """Values of many mappings: the one that all have, or a list of those that there are."""
    found: dict[str, Any] = {}
    maps = [value for value in values if isinstance(value, Mapping)]
    for name in dict.fromkeys(name for value in maps for name in value):
        own = [value[name] for value in maps if name in value]
        if all(isinstance(value, Mapping) for value in own):
            found[str(name)] = _merged(own)
        else:
            distinct = list({json.dumps(value, sort_keys=True, default=str): value for value in own}.values())
            found[str(name)] = distinct[0] if len(distinct) == 1 else distinct
    return found
