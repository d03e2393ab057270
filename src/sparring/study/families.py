"""Families of arms against the baseline and against each other.

A family is judged by the mean over its arms, seed by seed and row by row, on three things: robustness, the share of
attacks that an example holds against (each by the better of its plain and its calibrated attacker); accuracy in-domain;
accuracy on all rows of other domains. Holm's correction is over all pairs of a group and the three
of them, apart from that of its arms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from .comparisons import against, corrected, scatter
from .figures import Figure, Figures, Seeds, group_of
from .job import Job
from .sentences import claim, listed
from .summary import Claim, Comparison, Group, Measure

ROBUST = Measure("attack", "attacks, on average")
ABROAD = Measure("cross-domain", "other domains")
FLIPPED = {"better": "worse", "worse": "better", "open": "open"}


@dataclass(frozen=True)
class Families:
    """What the families of one group are worth."""

    group: Group
    baseline: str
    arms: dict[str, tuple[str, ...]]
    """Of each family, without the baseline."""
    home: Measure | None
    """The in-domain measure."""
    seeds: dict[tuple[Measure, str | None], Seeds]
    """By measure and family; None is the baseline."""
    comparisons: dict[tuple[Measure, str, str | None], Comparison]
    """First family minus second; each pair in one order."""
    left_out: list[str] = field(default_factory=list)

    def verdict(self, measure: Measure | None, a: str, b: str | None) -> str | None:
        """Of a against b: "better", "worse" or "open" (also of one common seed); None where they were not compared."""
        if measure is None:
            return None
        found = self.comparisons.get((measure, a, b))
        turned = None if b is None else self.comparisons.get((measure, b, a))
        one = found or turned
        if one is None:
            return None
        if one.seeds < 2:
            return "open"
        return one.verdict if found else FLIPPED[one.verdict]

    def mean(self, measure: Measure, family: str | None) -> float | None:
        """Over seeds."""
        seeds = self.seeds.get((measure, family))
        return float(np.mean([figure.values.mean() for figure in seeds.values()])) if seeds else None

    def title(self, family: str | None) -> str:
        """For sentences: "the family input (a2t, random)"."""
        return self.baseline if family is None else f"the family {family} ({', '.join(self.arms[family])})"

    @property
    def are_arms(self) -> bool:
        """Whether there is one arm: all that can be said of its family is said of it."""
        return sum(map(len, self.arms.values())) == 1

    def claims(self, questions: Mapping[str, str]) -> tuple[Claim, ...]:
        """One sentence a comparison. questions: what a kind of measure answers, by `Measure.what`."""
        signs = {"better": "holds", "worse": "refuted", "open": "open"}
        made = []
        for (measure, a, b), comparison in self.comparisons.items():
            sides = [self.seeds[measure, side] for side in (a, b)]
            jobs = tuple(dict.fromkeys(job for seeds in sides for figure in seeds.values() for job in figure.jobs))
            sentence = claim(self.title(a), self.title(b), measure, comparison)
            verdict = signs[comparison.verdict]
            question = questions.get(measure.what, "")
            made.append(Claim(sentence, verdict, self.group, a, measure, question, jobs))  # type: ignore[arg-type]
        return tuple(made)


def families_of(
    group: Group, arms: Mapping[str, str], baseline: str, figures: Figures, jobs: Sequence[Job]
) -> Families:
    """Arms and their families -> what the families of a group are worth, as far as it is known."""
    members: dict[str, list[str]] = {}
    for arm, family in arms.items():
        if arm != baseline and any(own == group and name == arm for own, name, _ in figures.found):
            members.setdefault(family, []).append(arm)
    home = next((m for m in figures.measures(group) if m.what == "clean"), None)
    planned = [job for job in jobs if group_of(job) == group]
    seeds: dict[tuple[Measure, str | None], Seeds] = {}
    left_out: list[str] = []
    for measure in [ROBUST, *([home] if home is not None else []), ABROAD]:
        everyone = [baseline, *(arm for names in members.values() for arm in names)]
        own = {arm: _composite(measure, group, arm, figures, planned) for arm in everyone}
        if not any(own.values()):
            continue
        if own[baseline]:
            seeds[measure, None] = own[baseline]
        for family, names in members.items():
            known = [arm for arm in names if own[arm]]
            found = _mean([own[arm] for arm in known])
            if found:
                seeds[measure, family] = found
            missing = [arm for arm in names if arm not in known]
            if missing:
                what = f"{measure.title}: the family {family}"
                left_out.append(f"{what} is judged without {listed(missing)}, not measured yet")
    return Families(
        group, baseline, {f: tuple(a) for f, a in members.items()}, home, seeds, _compared(seeds, members), left_out
    )


def _compared(
    seeds: Mapping[tuple[Measure, str | None], Seeds], families: Mapping[str, Sequence[str]]
) -> dict[tuple[Measure, str, str | None], Comparison]:
    """Each family against the baseline, and each pair of families."""
    found = {}
    pairs = [*((family, None) for family in families), *combinations(families, 2)]
    for measure in dict.fromkeys(measure for measure, _ in seeds):
        pooled = scatter([own for (name, _), own in seeds.items() if name == measure])
        for a, b in pairs:
            if (measure, a) in seeds and (measure, b) in seeds:
                one = against(seeds[measure, a], seeds[measure, b], pooled, measure.metric)
                if one is not None:
                    found[measure, a, b] = one
    return corrected(found)


def _composite(measure: Measure, group: Group, arm: str, figures: Figures, planned: Sequence[Job]) -> Seeds:
    """Of one arm, for the seeds of which all that belongs to it has been measured."""
    if measure not in (ROBUST, ABROAD):
        return figures.of(group, arm, measure)
    kind = "attack" if measure == ROBUST else "score"
    by_seed: dict[int, list[str]] = {}
    for job in planned:
        if job.arm == arm and job.kind == kind and (measure == ROBUST or job.settings.get("cross_domain")):
            by_seed.setdefault(job.seed, []).append(job.name)
    whole = {}
    for seed, names in by_seed.items():
        parts = [_attacked(group, arm, seed, name, figures) if measure == ROBUST else
                 figures.of(group, arm, Measure("cross-domain", name)).get(seed) for name in names]  # fmt: skip
        known = [part for part in parts if part is not None]
        if len(known) < len(names):
            continue
        identities = tuple(dict.fromkeys(job for part in known for job in part.jobs))
        if measure == ABROAD:
            values, digest = np.concatenate([part.values for part in known]), " ".join(part.digest for part in known)
        elif len({(part.digest, len(part.values)) for part in known}) > 1:
            continue
        else:
            values, digest = np.mean([part.values for part in known], axis=0), known[0].digest
        whole[seed] = Figure(values, digest, identities)
    return whole


def _attacked(group: Group, arm: str, seed: int, recipe: str, figures: Figures) -> Figure | None:
    """Whether an example held against a recipe, by the better of both attackers."""
    plain, warm = (figures.of(group, arm, Measure(what, recipe)).get(seed) for what in ("attack", "calibrated"))
    if plain is None or warm is None:
        return plain
    return Figure(np.minimum(plain.values, warm.values), plain.digest, plain.jobs)


def _mean(arms: Sequence[Seeds]) -> Seeds:
    """The mean of arms row by row, on the seeds that all of them have with the same rows."""
    if not arms:
        return {}
    found = {}
    for seed in sorted(set.intersection(*(set(seeds) for seeds in arms))):
        figures = [seeds[seed] for seeds in arms]
        if len({(figure.digest, len(figure.values)) for figure in figures}) == 1:
            identities = tuple(dict.fromkeys(job for figure in figures for job in figure.jobs))
            values = np.mean([figure.values for figure in figures], axis=0)
            found[seed] = Figure(values, figures[0].digest, identities)
    return found
