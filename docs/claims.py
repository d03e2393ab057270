"""What the records of a study say about the claim of a paper: a sentence, and the comparisons that it rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from verdicts import NONE, Side, Verdict, alike, compared, ends_of, tally, verdict

from sparring.study.comparisons import common
from sparring.study.figures import Figure, Figures, Seeds, group_of, read_figures
from sparring.study.job import Job
from sparring.study.plan import read_plan
from sparring.study.records import RECORDS, Records, read_records
from sparring.study.sentences import count, listed
from sparring.study.summarise import summarise
from sparring.study.summary import Group, Measure, Summary

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


def sizes_of(books: Sequence[Book]) -> str:
    """What several studies were run on."""
    return "; ".join(dict.fromkeys(book.size for book in books))


# the claims


def side(book: Book, group: Group, measure: Measure, what: str, arms: tuple[str, str]) -> Side:
    """Two arms of a group by a measure."""
    a, b = (book.figures.of(group, arm, measure) for arm in arms)
    right = replace(measure, metric="accuracy")  # by which two models may be equal whose F1 says nothing of rows
    same = alike(*(book.figures.of(group, arm, right) for arm in arms))
    return Side(what, measure.metric, a, b, book.everyone(group, measure), same)


def mat(books: Sequence[Book]) -> Verdict:
    """MAT against each pure-strategy method: the metric of each task, and the worst attack of each example."""
    sides: list[Side] = []
    for book, group in [(one, group) for one in books for group in one.groups]:
        planned = [job for job in book.jobs if group_of(job) == group]
        arms, attacked = {job.arm for job in planned}, any(job.kind == "attack" for job in planned)
        for measure in (book.home(group), WORST if attacked else None):
            for rival in [name for name in RIVALS if name in arms] if measure is not None else ():
                about = f"{book.place(group)} {'under attack' if measure == WORST else f'by {measure.metric}'}"
                what = f"MAT against {rival} on {about} at equal {group.budget}"
                sides.append(side(book, group, measure, what, ("mat", rival)))
    return verdict("That MAT beats pure-strategy adversarial fine-tuning", sides, compared(sides), sizes_of(books))


def alum(book: Book) -> Verdict:
    """ALUM against none at each stage; and plain continued pre-training against none."""
    helps: list[Side] = []
    plain: list[Side] = []
    for group in book.groups:
        measure = book.home(group)
        if measure is None:
            continue
        where = f"on {book.place(group)} by {measure.metric}"
        for stage, with_it, without in STAGES:
            helps.append(side(book, group, measure, f"ALUM in {stage} {where}", (with_it, without)))
        arms = ("continual-plain-standard", "untouched-standard")
        plain.append(side(book, group, measure, f"plain continued pre-training {where}", arms))
    pairs = compared([*helps, *plain])
    others = [pair for pair in pairs if not pair.what.startswith("ALUM")]
    found = verdict("That ALUM helps at every stage", helps, pairs, book.size)
    if not others or not found.sentence:
        return found
    better, worse, _ = tally(others)
    shown = "helps" if better and not worse else "harms" if worse and not better else "is not shown to help"
    return replace(found, more=(f"Plain continued pre-training {shown}: {ends_of(others)}.", *found.more))


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
            what = f"CAT on {book.place(group)} by {measure.metric}"
            clean.append(side(book, group, measure, what, ("cat", "standard")))
            whole = by_name.get((group.dataset.removesuffix("-half"), group.model, group.budget))
            if whole is not None and whole != group and (measured := book.home(whole)) is not None:
                full, everyone = book.figures.of(whole, "standard", measured), book.everyone(whole, measured)
                what = f"CAT on half of {book.place(whole)} against plain training on all of it"
                half.append(
                    replace(clean[-1], what=what, b=full, everyone=[*clean[-1].everyone, *everyone], same=False)
                )
    pairs = compared([*clean, *half])
    on_half = [pair for pair in pairs if " on half of " in pair.what]
    found = verdict("That CAT improves clean accuracy", clean, pairs, sizes_of(books))
    if not found.sentence:
        return found
    _, worse, _ = tally(on_half)
    shown = "does not suffice" if worse else "is not shown to be too little"
    more = (f"Half of the rows {shown}: {ends_of(on_half)}.",) if on_half else ()
    return replace(found, more=(*more, *_without_parts(books), *found.more))


def _without_parts(books: Sequence[Book]) -> tuple[str, ...]:
    """What is left of CAT without a part of it, against plain training: differences with intervals, no verdicts."""
    sides = [
        side(book, group, measure, f"{words} on {book.place(group)}", (arm, "standard"))
        for book in books
        for group in book.groups
        if (measure := book.home(group)) is not None
        for arm, words in ABLATIONS.items()
    ]
    said = [f"{pair.what} {pair.numbers}" for pair in compared(sides)]
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
    sides = [
        Side(f"AdpMixup against {other} on {task}", "accuracy", arms.get("adpmixup", {}), seeds, list(arms.values()))
        for task, arms in by_task.items()
        for other, seeds in arms.items()
        if other != "adpmixup"
    ]
    pairs = compared(sides)
    claim = "That AdpMixup gives the best trade-off of clean accuracy and accuracy under attack"
    found = verdict(claim, sides, pairs, size)
    lower = [pair for pair in pairs if round(pair.found.difference, 3) < 0]  # as it is printed
    ahead = [pair.what.removeprefix("AdpMixup against ") for pair in lower]
    more = (f"On average it is behind {listed(ahead)}.",) if ahead else ()
    return replace(found, more=(*more, *found.more))


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

    Both attack the same models, so that what is tested are differences by seed and row, against none. None is taken to
    vary over seeds like an arm, which errs on the side of caution.
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
                    sides.append(Side(what, "accuracy", found, none, list(differ.values())))
    pairs = compared(sides)
    if not pairs:
        return NONE
    _, worse, _ = tally(pairs)
    fooled = [pair for pair in pairs if pair.found.verdict == "worse"]
    deepest = min(pairs, key=lambda pair: pair.found.difference)
    sizes = sizes_of(books)
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
