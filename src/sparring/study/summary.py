"""What a study's records add up to: the values that tables, claims, plots and reports are made of.

`summarise.summarise` makes them out of a plan and records; nothing here computes.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

What = Literal["clean", "cross-domain", "attack", "calibrated", "worst-case", "transfer", "radius"]


@dataclass(frozen=True, order=True)
class Measure:
    """Something an arm is judged by: larger is better."""

    what: What
    name: str
    """Data, recipe, rows or radius; "" for the worst case over all attacks."""
    metric: str = "accuracy"

    @property
    def title(self) -> str:
        """For people: "accuracy under textfooler"."""
        return {
            "clean": f"{self.metric} on {self.name}",
            "cross-domain": f"{self.metric} on {self.name} (never trained on)",
            "attack": f"{self.metric} under {self.name}",
            "calibrated": f"{self.metric} under {self.name}, calibrated attacker",
            "worst-case": f"{self.metric} under the worst attack of each example",
            "transfer": f"{self.metric} on {self.name}, made against another model",
            "radius": f"{self.metric} at radius {self.name} in embedding space",
        }[self.what]


@dataclass(frozen=True)
class Group:
    """Arms that may be compared: the same training data, starting model and budget."""

    dataset: str
    model: str
    budget: str


@dataclass(frozen=True)
class Spread:
    """A value over seeds. Shares are in [0, 1], not percent. Intervals are 95 %; None where one seed gives none."""

    values: dict[int, float]
    """By seed."""
    mean: float
    sd: float | None
    t_interval: tuple[float, float] | None
    bootstrap_interval: tuple[float, float] | None
    """Over seeds and rows; of rows alone where there is one seed."""
    rows: int
    jobs: tuple[str, ...]
    """Identities of the records it comes from."""


@dataclass(frozen=True)
class Comparison:
    """An arm against the baseline, on the same seeds and the same test rows."""

    difference: float
    """Arm minus baseline, in shares; positive: the arm is better."""
    interval: tuple[float, float]
    """95 %, of the same test as `p` (beside exact McNemar: Agresti and Min's); not corrected."""
    p: float
    """Two-sided, before correction; `test` says of what."""
    p_holm: float
    """After Holm's correction over the arms and measures of the group."""
    test: str
    discordant: tuple[int, int] | None
    """(row, seed) pairs that only the arm, only the baseline got right; None of other values."""
    mcnemar: float | None
    """Exact two-sided p of the discordant pairs, rows of all seeds pooled; takes models as given. None as those are."""
    effect: float
    """Cohen's h of the two shares; of other metrics: paired Cohen's d over seeds, or over rows with one seed."""
    seeds: int
    rows: int
    verdict: Literal["better", "worse", "open"]
    """better, worse: p_holm below 0.05, of two seeds or more."""


@dataclass(frozen=True)
class Cell:
    """One arm, one measure."""

    group: Group
    arm: str
    family: str
    measure: Measure
    spread: Spread
    comparison: Comparison | None
    """None for the baseline itself, and where seeds or rows do not match."""


@dataclass(frozen=True)
class Cost:
    """What an arm cost to train, over seeds; None: not known."""

    group: Group
    arm: str
    family: str
    train_seconds: Spread | None
    """Training with everything it needed of its own: rows that were made, attacks on training rows."""
    passes: Spread | None
    peak_memory: Spread | None
    """Bytes."""
    trainable_parameters: int | None
    jobs: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A plain sentence with its numbers: "a2t is more robust than standard under textfooler: +12.4 points, ..."."""

    sentence: str
    verdict: Literal["holds", "refuted", "open"]
    group: Group
    arm: str
    """An arm, or a family."""
    measure: Measure | None
    question: str = ""
    """The study's question that it answers, in the study's words."""
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """A question that the study asks, and what its numbers say."""

    text: str
    answer: str
    verdict: Literal["confirmed", "refuted", "open"]
    evidence: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Summary:
    """Everything a report shows, traceable to records by their identities."""

    name: str
    baseline: str
    arms: dict[str, str]
    """Arm -> family, in the order of the study."""
    groups: tuple[Group, ...]
    measures: tuple[Measure, ...]
    cells: tuple[Cell, ...]
    costs: tuple[Cost, ...]
    claims: tuple[Claim, ...]
    questions: tuple[Question, ...]
    neurons: tuple[dict[str, Any], ...]
    """Records of neuron analyses (whole lines)."""
    attacks: tuple[dict[str, Any], ...]
    """Records of attacks with their examples (whole lines)."""
    missing: tuple[str, ...]
    """Titles of the jobs without a record."""
    failed: dict[str, str]
    """Title -> error of the jobs that failed; titles are unique."""
    damaged: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions, machine, command; data hashes."""
    left_out: tuple[str, ...] = ()
    """Sentences: seeds or rows that did not match, and the like."""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Records without their results, by identity: to trace a figure to its settings, data, cost and environment."""
