"""The questions of Altinisik et al. (Findings of ACL 2023), and what a study's numbers say to them.

Arms belong to three families of theirs: "augmentation" (before training), "input" (input-space perturbation in
training), "embedding" (embedding-space perturbation). Comparisons are those of families.py, after Holm.

Robustness. Their finding: "better robustness can be achieved by pre-training data augmentation or by training with
input space perturbation". Confirmed: augmentation and input are each better than embedding and than the baseline.
Refuted: one of them is worse than embedding, or than the baseline.

Generalisation. Their finding: "training with embedding space perturbation significantly improves generalization".
Confirmed: embedding is better than the baseline in-domain or on other domains, in neither worse, and neither other
family is better than it in either. Refuted: it is better in neither, and worse in one, or another family is better.

Neurons. Their finding: "the improved generalization is due to 'more specialized' neurons". A model is more specialised
if fewer neurons suffice for a property. Over arms (means over seeds), generalisation, the mean of in-domain accuracy
and that on other domains, is correlated with the size of the minimal set, by Kendall's tau. Confirmed: tau below 0 with
p < 0.05. Refuted: above 0. A correlation does not show what is due to what.

Everything else is open, and so is everything with one seed in common:
a finding about training is none about one run.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from .comparisons import LEVEL
from .families import ABROAD, ROBUST, Families
from .figures import Figures
from .sentences import count, listed, probability, value
from .summary import Claim, Cost, Measure, Question

Verdict = Literal["confirmed", "refuted", "open"]
AUGMENTATION, INPUT, EMBEDDING = "augmentation", "input", "embedding"
MORE_ROBUST = "Which family is more robust, and at which cost?"
GENERALISES = "Which family generalises better, in-domain and cross-domain, and at which cost?"
SPECIALISED = "Are the neurons of the better-generalising models more specialised?"
OF_MEASURES = {"attack": MORE_ROBUST, "clean": GENERALISES, "cross-domain": GENERALISES}
FOUND = {
    MORE_ROBUST: "better robustness can be achieved by pre-training data augmentation or by training with input space "
    "perturbation",
    GENERALISES: "training with embedding space perturbation significantly improves generalization",
    SPECIALISED: "the improved generalization is due to 'more specialized' neurons",
}


def answers(
    families: Families,
    claims: Sequence[Claim],
    figures: Figures,
    costs: Sequence[Cost],
    neurons: Sequence[Mapping[str, Any]],
    where: str = "",
) -> tuple[Question, ...]:
    """The three questions, asked of one group. where: its title, for the questions' texts; claims: those of families.

    neurons: records of neuron analyses of the group.
    """
    price = _price(families, costs)
    asked = []
    for text, decide in ((MORE_ROBUST, _robustness), (GENERALISES, _generalisation)):
        verdict, said = decide(families)
        evidence = tuple(claim for claim in claims if claim.question == text)
        asked.append((text, verdict, f"{said} {price}".strip(), evidence))
    verdict, said, evidence = _specialisation(families, figures, neurons)
    asked.append((SPECIALISED, verdict, said, evidence))
    return tuple(
        Question(
            text=f"{text} {where}".strip(),
            answer=f'{verdict.capitalize()}: Altinisik et al. found that "{FOUND[text]}". {said}',
            verdict=verdict,
            evidence=evidence,
        )
        for text, verdict, said, evidence in asked
    )


def robust_verdict(against_embedding: Sequence[str | None], against_baseline: Sequence[str | None]) -> Verdict:
    """From what augmentation and input are against embedding, and against the baseline."""
    all_of_them = [*against_embedding, *against_baseline]
    if "worse" in all_of_them:
        return "refuted"
    return "confirmed" if all(one == "better" for one in all_of_them) else "open"


def general_verdict(gains: Sequence[str | None], rivals: Sequence[str | None]) -> Verdict:
    """gains: embedding against the baseline, in-domain and abroad. rivals: other families against embedding there."""
    against = "worse" in gains or "better" in rivals
    if "better" in gains:
        return "open" if against else "confirmed"
    return "refuted" if against else "open"


def neuron_verdict(tau: float, p: float) -> Verdict:
    """From the correlation of generalisation with how many neurons are needed."""
    if not p < LEVEL:  # not a number where nothing varies
        return "open"
    return "confirmed" if tau < 0 else "refuted"


def _robustness(families: Families) -> tuple[Verdict, str]:
    missing = _missing(families, ROBUST, (AUGMENTATION, INPUT, EMBEDDING))
    if missing:
        return "open", missing
    both = (AUGMENTATION, INPUT)
    verdict = robust_verdict(
        [families.verdict(ROBUST, one, EMBEDDING) for one in both],
        [families.verdict(ROBUST, one, None) for one in both],
    )
    said = [_ranking(families, ROBUST)]
    for other in (EMBEDDING, None):
        by = {one: families.verdict(ROBUST, one, other) for one in both}
        said.append(_grouped(by, families.baseline if other is None else other, "more robust", "less robust"))
    return _honest(verdict, families, [ROBUST], " ".join(said))


def _generalisation(families: Families) -> tuple[Verdict, str]:
    measures = [measure for measure in (families.home, ABROAD) if measure is not None and
                families.verdict(measure, EMBEDDING, None) is not None]  # fmt: skip
    if not measures:
        return "open", _missing(families, families.home or ABROAD, (EMBEDDING,))
    gains = [families.verdict(measure, EMBEDDING, None) for measure in measures]
    rivals = [families.verdict(measure, one, EMBEDDING) for measure in measures for one in (AUGMENTATION, INPUT)]
    said = []
    for measure, gain in zip(measures, gains, strict=True):
        said.append(_ranking(families, measure))
        said.append(_grouped({EMBEDDING: gain}, families.baseline, "better", "worse"))
        ahead = [one for one in (AUGMENTATION, INPUT) if families.verdict(measure, one, EMBEDDING) == "better"]
        said += [f"Better than {EMBEDDING}: {listed(ahead)}."] if ahead else []
    if ABROAD not in measures:
        said.append("Other domains were not measured.")
    return _honest(general_verdict(gains, rivals), families, measures, " ".join(said))


def _specialisation(
    families: Families, figures: Figures, neurons: Sequence[Mapping[str, Any]]
) -> tuple[Verdict, str, tuple[Claim, ...]]:
    sizes: dict[str, dict[int, list[float]]] = {}
    for line in neurons:
        size = ((line.get("result") or {}).get("minimal") or {}).get("size")
        if isinstance(size, int | float):
            sizes.setdefault(str(line["arm"]), {}).setdefault(int(line["seed"]), []).append(float(size))
    points, identities, fewest = [], [str(line["job"]) for line in neurons], list[int]()
    for arm, found in sizes.items():
        skills = _skills(families, figures, arm, list(found))
        if skills:
            own = [size for seed in skills for size in found[seed]]
            points.append((arm, float(np.mean([skill for skill, _ in skills.values()])), float(np.mean(own))))
            identities += [job for _, jobs in skills.values() for job in jobs]
            fewest.append(len(skills))
    if len(points) < 3:
        known = count(len(points), "arm")
        return "open", f"Neurons and generalisation are known of {known}; five arms are needed for a verdict.", ()
    skilled, needed = [skill for _, skill, _ in points], [size for _, _, size in points]
    varies = np.ptp(skilled) > 0 and np.ptp(needed) > 0
    found_tau = stats.kendalltau(skilled, needed) if varies else (0.0, 1.0)
    tau, p = float(found_tau[0]), float(found_tau[1])
    verdict = neuron_verdict(tau, p)
    ordered = sorted(points, key=lambda point: -point[1])
    named = ", ".join(f"{arm} {100 * skill:.1f} % with {size:.0f} neurons" for arm, skill, size in ordered)
    relation = "fewer" if tau < 0 else "more" if tau > 0 else "as many"
    if min(fewest) < 2:
        verdict = "open"
    numbers = f"Kendall's tau {tau:+.2f}, {probability(p)}, {count(len(points), 'arm')}".replace("-", "−")
    sentence = f"arms that generalise better need {relation} neurons: {numbers}"
    if verdict == "open":
        sentence = f"whether arms that generalise better need fewer neurons is open: {numbers}"
    said = f"From the best-generalising arm down: {named}. {sentence[0].upper()}{sentence[1:]}."
    if len(points) < 5:
        said += " Fewer than five arms cannot give a p-value below 0.05."
    if min(fewest) < 2:
        said += " Of some arms one seed was analysed, so this stays open."
    elif verdict != "open":
        said += " A correlation does not show what is due to what."
    state: dict[Verdict, Literal["holds", "refuted", "open"]] = {
        "confirmed": "holds",
        "refuted": "refuted",
        "open": "open",
    }
    jobs = tuple(dict.fromkeys(identities))
    claim = Claim(sentence, state[verdict], families.group, families.baseline, None, SPECIALISED, jobs)
    return verdict, said, (claim,)


def _skills(
    families: Families, figures: Figures, arm: str, seeds: Sequence[int]
) -> dict[int, tuple[float, tuple[str, ...]]]:
    """Of seeds of which both are known: mean of accuracy in-domain and on other domains, and the jobs of the scores."""
    group = families.group
    abroad = [m for m in figures.measures(group) if m.what == "cross-domain" and m.metric == "accuracy"]
    if families.home is None:
        return {}
    found = {}
    for seed in seeds:
        home = figures.of(group, arm, families.home).get(seed)
        away = [one for measure in abroad if (one := figures.of(group, arm, measure).get(seed)) is not None]
        if home is not None and len(away) == len(abroad):
            own = float(home.values.mean())
            others = float(np.mean([one.values.mean() for one in away])) if away else own
            jobs = tuple(job for figure in (home, *away) for job in figure.jobs)
            found[seed] = ((own + others) / 2, jobs)
    return found


def _missing(families: Families, measure: Measure, wanted: Sequence[str]) -> str:
    """A sentence about families that have not been measured; "" if none is missing."""
    absent = [f"the family {name}" for name in wanted if (measure, name) not in families.seeds]
    absent += [] if (measure, None) in families.seeds else [families.baseline]
    return f"Not measured here: {listed(absent)}." if absent else ""


def _ranking(families: Families, measure: Measure) -> str:
    """ "Accuracy under attacks, on average: input 48.1 %, ..."."""
    sides: list[tuple[str, float]] = []
    for name, own in families.seeds:
        mean = families.mean(measure, own) if name == measure else None
        if mean is not None:
            sides.append((families.baseline if own is None else own, mean))
    sides.sort(key=lambda side: -side[1])
    named = ", ".join(f"{name} {value(mean, measure.metric)}" for name, mean in sides)
    title = measure.title
    return f"{title[0].upper()}{title[1:]}: {named}."


def _grouped(verdicts: Mapping[str, str | None], than: str, more: str, less: str) -> str:
    """ "More robust than embedding: input; open: augmentation."."""
    words = {"better": f"{more} than {than}", "worse": f"{less} than {than}", "open": f"no difference shown to {than}"}
    parts = [
        f"{word}: {listed([name for name, found in verdicts.items() if found == verdict])}"
        for verdict, word in words.items()
        if verdict in verdicts.values()
    ]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _honest(verdict: Verdict, families: Families, measures: Sequence[Measure], said: str) -> tuple[Verdict, str]:
    """Nothing is decided where two of the sides have fewer than two seeds in common."""
    sides = (AUGMENTATION, INPUT, EMBEDDING, None)
    known = [len(own) for (name, side), own in families.seeds.items() if name in measures and side in sides]
    shared = [
        one.seeds
        for (name, a, b), one in families.comparisons.items()
        if name in measures and a in sides and b in sides
    ]
    if min(known, default=0) < 2:
        return "open", f"{said} One seed decides nothing about a way of training, so this stays open."
    if min(shared, default=0) < 2:
        return "open", f"{said} Some have one seed in common, which decides nothing, so this stays open."
    return verdict, said


def _price(families: Families, costs: Sequence[Cost]) -> str:
    """How long the families train, in times of the baseline; "" where it is not known."""
    seconds = {cost.arm: cost.train_seconds.mean for cost in costs
               if cost.group == families.group and cost.train_seconds is not None}  # fmt: skip
    unit = seconds.get(families.baseline)
    if not unit:
        return ""
    times = {}
    for family, arms in families.arms.items():
        own = [seconds[arm] for arm in arms if arm in seconds]
        if own:
            times[family] = float(np.mean(own)) / unit
    parts = [f"{family} {time:.1f}" for family, time in times.items()]
    return f"Training with all it needs took, in times of {families.baseline}: {', '.join(parts)}." if parts else ""
