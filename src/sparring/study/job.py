"""One piece of work of a study, as a frozen value with a hash of all that decides its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

Kind = Literal["augment", "pretrain", "train", "mix", "score", "attack", "transfer", "curve", "neurons"]
"""augment: rows made before training. pretrain, train, mix: a model. The others measure a model:
score (clean, in-domain and cross-domain), attack (one recipe, also calibrated), transfer (rows made against another
model), curve (accuracy over radii of embedding perturbations), neurons (linguistic correlation analysis)."""

MAKES = ("augment", "pretrain", "train", "mix")
"""Kinds that leave something behind which other jobs use; the others leave a record alone."""

FORMAT = 1
"""Part of every hash: raised when the same settings begin to mean something else."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done, with what, and where its record belongs in tables.

    Labels (`arm`, `family`, `budget`; of pre-training also `dataset`) are not hashed: arms that share a piece of work
    share its record.
    """

    kind: Kind
    name: str
    """Of measurements: the data, recipe or corpus; of others: what is made."""
    arm: str
    family: str
    budget: str
    """"epochs" or "passes": by what arms are made equal."""
    dataset: str
    """Name of the training data in the study."""
    model: str
    """Model that training starts from."""
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Plain values (JSON): everything that decides the result, apart from data and needs."""
    data: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 (hex) of what is read, by the name that `settings` use."""
    needs: tuple[str, ...] = ()
    """Identities of the jobs whose products it uses, in the order that its kind expects."""

    def __post_init__(self) -> None:
        assert self.kind in get_args(Kind), self.kind

    @cached_property
    def id(self) -> str:
        """16 hex digits over all that decides the result; the same on every machine."""
        labels = ("arm", "family", "budget", *(("dataset",) if self.kind == "pretrain" else ()))
        decides = {name: value for name, value in asdict(self).items() if name not in labels}
        text = json.dumps({**decides, "format": FORMAT}, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """For people: what it is, of which arm, from which seed."""
        what = self.kind if self.kind in MAKES else f"{self.kind} {self.name}"
        budget = "" if self.budget == "epochs" else f" at equal {self.budget}"
        return f"{self.dataset}: {self.arm}{budget}, seed {self.seed}: {what}"

    def write(self) -> dict[str, Any]:
        """As JSON values, with the identity."""
        return {"id": self.id, **asdict(self), "needs": list(self.needs)}

    @staticmethod
    def read(values: Mapping[str, Any]) -> "Job":
        """What `write` wrote. ValueError where the identity does not belong to the values."""
        job = Job(**{**{k: v for k, v in values.items() if k != "id"}, "needs": tuple(values["needs"])})
        if job.id != values["id"]:
            raise ValueError(f"identity {values['id']} is not that of these settings, {job.id}")
        return job
