"""What the records of a study say about the claim of a paper: a sentence, and the comparisons that it rests on."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sparring.study.comparisons import against, common, corrected, scatter
from sparring.study.figures import Figure, Figures, Seeds, group_of, read_figures
from sparring.study.job import Job
from sparring.study.plan import read_plan
from sparring.study.records import RECORDS, Records, read_records
from sparring.study.sentences import count, ends, listed, points, probability
from sparring.study.summarise import summarise
from sparring.study.summary import Comparison, Group, Measure, Summary

RIVALS = ("freelb", "smart", "alum", "r3f", "rdrop")
"""What MAT is compared with: methods whose adversary plays one strategy, or none."""
STAGES = (
    ("continued pre-training", "continual-alum-standard", "continual-plain-standard"),
    ("pre-training from scratch", "scratch-alum-standard", "scratch-plain-standard"),
    ("fine-tuning", "untouched-alum", "untouched-standard"),
)
ABLATIONS = {"no-contrast": "without the contrastive term", "no-adversary": "without the adversary"}
"""Of CAT."""
WORST = Measure("worst-case", "")
RULE = (
    "A claim is a set of paired comparisons, on the same seeds and test rows, corrected together after Holm. "
    "It *holds* if all of them are better, *holds in part* if at least half of them are and none is worse, "
    "*does not hold* if some are worse and none is better, *is mixed* if both occur, and *is open* if these numbers "
    "cannot tell. The interval is of one difference alone; p is corrected for their number, and decides: a difference "
    "can be open though its interval leaves nought out. Both take an arm to vary over seeds at least as much as arms "
    "do on average, and err on the side of caution."
)
"""What the words of a verdict mean."""


@dataclass(frozen=True)
class Book:
    """A study that has been run, as far as it has."""

    folder: Path

    @cached_property
    def study(self) -> Mapping[str, Any]:
        """Plain values of its file."""
        return read_plan(self.folder).study.write()

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All that is planned."""
        return read_plan(self.folder).jobs

    @cached_property
    def records(self) -> Records:
        """All that is done."""
        return read_records(self.folder / RECORDS)

    @cached_property
    def figures(self) -> Figures:
        """What was measured."""
        return read_figures(self.jobs, self.records)

    @cached_property
    def summary(self) -> Summary:
        """What it adds up to."""
        return summarise(self.folder)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Arms that are compared with each other: data, model, budget."""
        return tuple(dict.fromkeys(group_of(job) for job in self.jobs))

    @property
    def missing(self) -> int:
        """Jobs without a record of success."""
        return len({job.id for job in self.jobs} - set(self.records.done))

    def place(self, group: Group) -> str:
        """A group in a sentence: its data, and its model where there are several."""
        return group.dataset if len(self.study["models"]) == 1 else f"{group.dataset} with {group.model}"

    def home(self, group: Group) -> Measure | None:
        """The measure of the task: its own metric where that is not accuracy."""
        clean = [measure for measure in self.figures.measures(group) if measure.what == "clean"]
        return next((one for one in clean if one.metric != "accuracy"), clean[0] if clean else None)

    def attacks(self, group: Group) -> list[Measure]:
        """Accuracy under each attack."""
        return [measure for measure in self.figures.measures(group) if measure.what == "attack"]

    def everyone(self, group: Group, measure: Measure) -> list[Seeds]:
        """Of all arms that were measured."""
        return [seeds for (one, _, what), seeds in self.figures.found.items() if (one, what) == (group, measure)]

    @property
    def size(self) -> str:
        """What it was run on, for sentences."""
        specs = self.study["data"]
        limits = sorted({spec["limit"] for spec in specs.values() if "limit" in spec})
        rows = f"{listed([f'{limit:,}' for limit in limits])} training rows of " if limits else ""
        return f"{rows}{listed(list(specs))}, {listed(list(self.study['models']))}, {self.seeds}"

    @property
    def seeds(self) -> str:
        """How many, and how many of them have all their records where that is not so of each."""
        planned = list(self.study["seeds"])
        begun = {job.seed for job in self.jobs if job.id not in self.records.done}
        whole = [seed for seed in planned if seed not in begun]
        part = "" if len(whole) == len(planned) else f"{len(whole)} complete of "
        return part + count(len(planned), "seed")


@dataclass(frozen=True)
class Pair:
    """One comparison of a claim."""

    what: str
    metric: str
    found: Comparison

    @property
    def numbers(self) -> str:
        """ "+1.2 points (95 %: 0.3 to 2.1)"."""
        return f"{points(self.found.difference, self.metric)} (95 %: {ends(self.found.interval, self.metric)})"


@dataclass(frozen=True)
class Verdict:
    """The first sentence of a page and what it rests on."""

    sentence: str
    pairs: tuple[Pair, ...] = ()
    more: tuple[str, ...] = ()
    """Further sentences."""


Side = tuple[str, str, Seeds, Seeds, Sequence[Seeds]]
"""What is compared, by which metric, a, b, and all arms that a and b vary like."""


def compared(sides: Iterable[Side]) -> tuple[Pair, ...]:
    """Comparisons, corrected together. What has no seeds or rows in common is not among them."""
    found: dict[Hashable, Any] = {}
    for what, metric, a, b, everyone in sides:
        one = against(a, b, scatter(everyone), metric) if a and b else None
        if one is not None:
            assert (what, metric) not in found, what
            found[what, metric] = one
    return tuple(Pair(what, metric, one) for (what, metric), one in corrected(found).items())  # type: ignore[misc]


def telling(sides: Sequence[Side]) -> tuple[list[Side], tuple[str, ...]]:
    """Those whose two models are not right on exactly the same rows in every seed, and sentences about the others.

    Models that give every text one class are; that they are equal is no finding about how they were trained. And about
    those for which there are too few seeds yet.
    """
    same = [what for what, metric, a, b, _ in sides if metric == "accuracy" and _alike(a, b)]
    left = [side for side in sides if side[0] not in same]
    early = [what for what, metric, a, b, _ in left if not (a and b and against(a, b, None, metric))]
    said = {
        "Left out, since both are right on exactly the same rows (of one class, say)": same,
        "Not compared yet, for want of seeds": early,
    }
    return left, tuple(f"{about}: {'; '.join(names)}." for about, names in said.items() if names)


def _alike(a: Seeds, b: Seeds) -> bool:
    seeds, _ = common(a, b)
    return bool(seeds) and all(a[s].rows and np.array_equal(a[s].values, b[s].values) for s in seeds)


def word(pairs: Sequence[Pair]) -> str:
    """What comparisons say of a claim that needs them all to be better."""
    better, worse, _ = tally(pairs)
    if better and worse:
        return "is mixed"
    if worse:
        return "does not hold"
    return "holds" if better == len(pairs) else "holds in part" if 2 * better >= len(pairs) else "is open"


def tally(pairs: Sequence[Pair]) -> tuple[int, int, int]:
    """How many are better, worse and open."""
    verdicts = [pair.found.verdict for pair in pairs]
    return verdicts.count("better"), verdicts.count("worse"), verdicts.count("open")


def ends_of(pairs: Sequence[Pair]) -> str:
    """The smallest and the largest difference, each with its interval."""
    ordered = sorted(pairs, key=lambda pair: pair.found.difference)
    low, high = ordered[0], ordered[-1]
    if len(ordered) == 1:
        return f"{low.numbers}, {low.what}"
    return f"differences go from {low.numbers}, {low.what}, to {high.numbers}, {high.what}"


def said(claim: str, pairs: Sequence[Pair], size: str) -> str:
    """The sentence of a claim that needs all comparisons to be better."""
    better, worse, unclear = tally(pairs)
    return (
        f"{claim} **{word(pairs)}** here ({size}): of {count(len(pairs), 'comparison')} {better} better, {worse} worse "
        f"and {unclear} open after Holm; {ends_of(pairs)}."
    )


# the claims


def mat(book: Book) -> Verdict:
    """MAT against each pure-strategy method: the metric of each task, and the worst attack of each example."""
    sides: list[Side] = []
    for group in book.groups:
        for measure in (book.home(group), WORST):
            if measure is None:
                continue
            about = f"{book.place(group)} {'under attack' if measure == WORST else f'by {measure.metric}'}"
            for rival in RIVALS:
                a, b = (book.figures.of(group, arm, measure) for arm in ("mat", rival))
                what = f"MAT against {rival} on {about} at equal {group.budget}"
                sides.append((what, measure.metric, a, b, book.everyone(group, measure)))
    sides, out = telling(sides)
    pairs = compared(sides)
    if not pairs:
        return NONE
    return Verdict(said("That MAT beats pure-strategy adversarial fine-tuning", pairs, book.size), pairs, out)


def alum(book: Book) -> Verdict:
    """ALUM against none at each stage; and plain continued pre-training against none."""
    helps: list[Side] = []
    plain: list[Side] = []
    for group in book.groups:
        measure = book.home(group)
        if measure is None:
            continue
        arms = {stage: (with_it, without) for stage, with_it, without in STAGES}
        arms["plain"] = ("continual-plain-standard", "untouched-standard")
        for stage, names in arms.items():
            a, b = (book.figures.of(group, arm, measure) for arm in names)
            where = f"on {book.place(group)} by {measure.metric}"
            what = f"plain continued pre-training {where}" if stage == "plain" else f"ALUM in {stage} {where}"
            (plain if stage == "plain" else helps).append((what, measure.metric, a, b, book.everyone(group, measure)))
    sides, out = telling([*helps, *plain])
    pairs = compared(sides)
    own = [pair for pair in pairs if pair.what.startswith("ALUM")]
    others = [pair for pair in pairs if not pair.what.startswith("ALUM")]
    if not own:
        return NONE
    sentence = said("That ALUM helps at every stage", own, book.size)
    if not others:
        return Verdict(sentence, pairs, out)
    better, worse, _ = tally(others)
    shown = "helps" if better and not worse else "is not shown to help"
    return Verdict(sentence, pairs, (f"Plain continued pre-training {shown}: {ends_of(others)}.", *out))


def cat(books: Sequence[Book]) -> Verdict:
    """CAT against plain training; and CAT on half of the rows against plain training on all of them."""
    clean: list[Side] = []
    half: list[Side] = []
    for book in books:
        by_name = {(group.dataset, group.model, group.budget): group for group in book.groups}
        for group in book.groups:
            measure = book.home(group)
            if measure is None:
                continue
            own, base = (book.figures.of(group, arm, measure) for arm in ("cat", "standard"))
            everyone = book.everyone(group, measure)
            clean.append((f"CAT on {book.place(group)} by {measure.metric}", measure.metric, own, base, everyone))
            whole = by_name.get((group.dataset.removesuffix("-half"), group.model, group.budget))
            if whole is not None and whole != group and (measured := book.home(whole)) is not None:
                full = book.figures.of(whole, "standard", measured)
                what = f"CAT on half of {book.place(whole)} against plain training on all of it"
                half.append((what, measure.metric, own, full, [*everyone, *book.everyone(whole, measured)]))
    pairs = compared([*clean, *half])
    parts = _without_parts(books)
    on_clean, on_half = ([pair for pair in pairs if (" on half of " in pair.what) == which] for which in (False, True))
    if not on_clean:
        return NONE
    sizes = "; ".join(dict.fromkeys(book.size for book in books))
    sentence = said("That CAT improves clean accuracy", on_clean, sizes)
    if not on_half:
        return Verdict(sentence, pairs, parts)
    _, worse, _ = tally(on_half)
    shown = "does not suffice" if worse else "is not shown to be too little"
    return Verdict(sentence, pairs, (f"Half of the rows {shown}: {ends_of(on_half)}.", *parts))


def _without_parts(books: Sequence[Book]) -> tuple[str, ...]:
    """What is left of CAT without a part of it, against plain training: differences with intervals, no verdicts."""
    said = []
    for book in books:
        for group in book.groups:
            measure = book.home(group)
            for arm, words in ABLATIONS.items() if measure is not None else ():
                own, base = (book.figures.of(group, name, measure) for name in (arm, "standard"))
                one = against(own, base, scatter(book.everyone(group, measure)), measure.metric) if own else None
                if one is not None:
                    gain, interval = points(one.paired.difference, measure.metric), one.paired.interval
                    said.append(f"{words} on {book.place(group)} {gain} (95 %: {ends(interval, measure.metric)})")
    return (f"CAT without one of its parts against plain training: {'; '.join(said)}.",) if said else ()


def trade_offs(book: Book, group: Group, without: Sequence[str] = ()) -> dict[str, Seeds]:
    """By arm, the mean of clean accuracy and accuracy under each attack, row by row of those that were attacked.

    without: attacks that do not count.
    """
    found: dict[str, dict[int, list[tuple[str, np.ndarray, str]]]] = {}
    recipes: dict[str, set[str]] = {}
    for job in book.jobs:
        if job.kind == "attack" and group_of(job) == group and job.name not in without:
            recipes.setdefault(job.arm, set()).add(job.name)
            if job.id in book.records.done:
                result = book.records.done[job.id]["result"]
                letters = np.array(list(result["outcomes"]))
                values = (np.stack([letters != "s", letters == "h"]) * 1.0).mean(axis=0)
                one = (job.id, values, str(result["sha256"]))
                found.setdefault(job.arm, {}).setdefault(job.seed, []).append(one)
    return {
        arm: {
            seed: Figure(np.mean([v for _, v, _ in own], axis=0), own[0][2], tuple(job for job, _, _ in own))
            for seed, own in seeds.items()
            if len(own) == len(recipes[arm]) and len({digest for _, _, digest in own}) == 1
        }
        for arm, seeds in found.items()
    }


def adpmixup(by_task: Mapping[str, Mapping[str, Seeds]], size: str) -> Verdict:
    """The mixture against everything else, by trade-off. by_task: task -> arm -> seeds."""
    sides: list[Side] = []
    for task, arms in by_task.items():
        for other, seeds in arms.items():
            if other != "adpmixup":
                own = arms.get("adpmixup", {})
                sides.append((f"AdpMixup against {other} on {task}", "accuracy", own, seeds, list(arms.values())))
    pairs = compared(sides)
    if not pairs:
        return NONE
    sentence = said("That AdpMixup gives the best trade-off of clean accuracy and accuracy under attack", pairs, size)
    ahead = [pair.what.removeprefix("AdpMixup against ") for pair in pairs if pair.found.difference < 0]
    return Verdict(sentence, pairs, (f"On average it is behind {listed(ahead)}.",) if ahead else ())


def families(book: Book) -> Verdict:
    """The findings of Altinisik et al., by the study's own questions."""
    asked = book.summary.questions
    if not any(question.evidence for question in asked):
        return NONE
    names = {
        "robustness by augmentation and input space": "input",
        "generalisation by embedding space": "embedding",
        "specialised neurons": "",
    }
    parts = []
    for (name, family), question in zip(names.items(), asked, strict=False):
        decided = {"confirmed": "holds", "refuted": "refuted"}.get(question.verdict, "")
        rests = [claim for claim in question.evidence if claim.verdict == decided]
        own = [claim for claim in rests or question.evidence if claim.arm == family]
        sentences = [claim.sentence for claim in own or rests or question.evidence]  # against the baseline comes first
        first = f" ({sentences[0]})" if sentences else ""
        parts.append(f"{name} **{question.verdict}**{first}")
    return Verdict(f"Of the findings of Altinisik et al., here: {'; '.join(parts)} ({book.size}).")


def confidence(books: Sequence[Book]) -> Verdict:
    """Each arm under each attack, by the calibrated attacker against the usual one: where worse, confidence hid it.

    Both attack the same models, so that what is tested are differences by seed and row, against none.
    """
    sides: list[Side] = []
    for book in books:
        groups = [group for group in book.groups if book.attacks(group)]
        for group in groups:
            place = str(book.study["name"])
            if len(groups) > 1:
                place = f"{place}, {book.place(group)} at equal {group.budget}"
            for measure in book.attacks(group):
                warm = Measure("calibrated", measure.name)
                differ = {
                    arm: differences(*(book.figures.of(group, arm, one) for one in (warm, measure)))
                    for arm in book.summary.arms
                }
                for arm, found in differ.items():
                    none = {seed: replace(one, values=np.zeros_like(one.values)) for seed, one in found.items()}
                    what = f"{arm} under {measure.name} ({place})"
                    sides.append((what, "accuracy", found, none, list(differ.values())))
    pairs = compared(sides)
    if not pairs:
        return NONE
    _, worse, _ = tally(pairs)
    fooled = [pair for pair in pairs if pair.found.verdict == "worse"]
    deepest = min(pairs, key=lambda pair: pair.found.difference)
    sizes = "; ".join(dict.fromkeys(book.size for book in books))
    state = "holds" if worse else "is open"
    names = f": {listed([pair.what for pair in fooled])}" if fooled else ""
    sentence = (
        f"That extreme confidence fakes robustness **{state}** here: a calibrated attacker breaks more than the usual "
        f"one in {worse} of {count(len(pairs), 'case')} after Holm{names}; the largest difference is "
        f"{deepest.numbers}, {deepest.what} ({sizes})."
    )
    return Verdict(sentence, pairs)


def differences(a: Seeds, b: Seeds) -> Seeds:
    """a minus b, row by row, of the seeds on which both have the same rows."""
    same, _ = common(a, b)
    return {seed: replace(a[seed], values=a[seed].values - b[seed].values) for seed in same}


NONE = Verdict("")
"""Nothing has been measured yet."""


def line(pair: Pair) -> list[str]:
    """Of a table: what, difference, interval, p, verdict."""
    found = pair.found
    numbers = [points(found.difference, pair.metric), ends(found.interval, pair.metric), probability(found.p_holm)]
    return [pair.what, *numbers, found.verdict]
