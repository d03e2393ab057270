"""Adversarial rows beside the rows that they were made from: how they reach a step, and what they add to its loss.

A row of the training set that has an adversarial version carries it along, so an epoch has as many steps as without,
in the same order. With n rows and m adversarial ones in a step (over micro-batches and processes):

L = 1/n sum L_method(x, y) + weight * 1/m sum L_method(x', y)          adversarial_loss="ce"
L = 1/n sum L_method(x, y) + weight * 1/m sum KL(p(x) || p(x'))        adversarial_loss="kl"

L_method is the loss of the training method, plain cross entropy for `standard`: an adversarial row is one more row for
the method, which perturbs its embeddings as it does those of any other. The gradient of the KL flows through both of
its sides. A method that makes its own updates (MAT) gets the rows of both kinds as one batch, each counted once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from ..data.batch import Batch
from ..errors import SettingError
from ..methods.base import Engine, GradientMethod, Logs, Method
from ..model import world
from ..model.view import ModelView
from ..objective import kl

PARTNER, OF = "partner", "of"
_APART = 1 << 40
"""Added to the row number of an adversarial row: its random draws are its own."""

AdversarialLoss = Literal["ce", "kl"]


class Rows(Dataset[dict[str, Any]]):
    """A training set whose rows carry their adversarial version under the name `partner`, if they have one."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        self.partners: Mapping[int, dict[str, Any]] = {}
        """Adversarial rows, encoded, by the number of the row they belong to."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        partner = self.partners.get(row)
        return self.rows[row] if partner is None else {**self.rows[row], PARTNER: partner}


class Collate:
    """Another collator's batch of the rows, and inside it under `partner` one of the adversarial rows.

    `of` (m,) says to which row of the batch each adversarial one belongs, in rising order.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Two batches in one."""
        batch = dict(self.collate([{name: x for name, x in row.items() if name != PARTNER} for row in rows]))
        of = [place for place, row in enumerate(rows) if PARTNER in row]
        if of:
            batch[PARTNER] = {**self.collate([rows[place][PARTNER] for place in of]), OF: torch.tensor(of)}
        return batch


def count(inputs: Mapping[str, Any], rows: int) -> int:
    """How many adversarial rows belong to the first `rows` rows of a collator's dict."""
    return int((inputs[PARTNER][OF] < rows).sum()) if PARTNER in inputs else 0


@dataclass(frozen=True)
class Term:
    """What adversarial rows add to the loss of a step."""

    weight: float
    loss: AdversarialLoss = "ce"

    def check(self, method: Method) -> None:
        """SettingError for a method that cannot follow."""
        if isinstance(method, GradientMethod) or self.weight == 0:
            return
        if self.weight != 1 or self.loss != "ce":
            raise SettingError(
                f"{method.name} makes its own updates, and adversarial rows are rows of its batch like others; set "
                f"adversarial_weight=1 (it is {self.weight:g}) and adversarial_loss=ce (it is {self.loss})"
            )

    def batch(self, inputs: Mapping[str, Any] | None, batch: Batch, unperturbed: Sequence[int]) -> Batch | None:
        """The adversarial rows of a micro-batch, those of filler rows left out; None where there are none.

        Their numbers are those of their rows, far away, so that random draws depend neither on micro-batches nor on
        processes.
        """
        if inputs is None:
            return None
        named = dict(inputs)
        of = named.pop(OF)
        of = of[of < (len(batch) if len(batch.targets) else 0)]
        if not len(of):
            return None
        made = Batch.from_inputs(named, key=batch.key, unperturbed=unperturbed, smoothing=batch.smoothing)
        return replace(made.first(len(of)), rows=batch.rows[of] + _APART)

    def accumulate(
        self,
        method: GradientMethod,
        view: ModelView,
        batch: Batch,
        partners: Batch | None,
        engine: Engine,
        share: float,
    ) -> Logs:
        """Back-propagate weight * share * the mean over the adversarial rows; return terms named `online_...`.

        partners: None on a process that has none in this micro-batch; it takes part with a row that does not count.
        """
        if self.loss == "kl":
            terms = self._divergence(view, batch, partners, engine, share)
        else:
            terms = method.accumulate(
                view, batch.first(0) if partners is None else partners, engine, self.weight * share
            )
        return {f"online_{name}": value for name, value in terms.items()}

    def _divergence(self, view: ModelView, batch: Batch, partners: Batch | None, engine: Engine, share: float) -> Logs:
        if partners is None:
            partners, share = batch.take(torch.zeros(1, dtype=torch.long, device=batch.rows.device)), 0.0
        places = torch.searchsorted(batch.rows, partners.rows % _APART)
        logits = view.logits(together(batch.take(places), partners, view))
        clean, adversarial = logits.chunk(2)
        value = kl(clean, adversarial)
        engine.backward(self.weight * share * value)
        return {"kl": value.detach()}


def together(batch: Batch, partners: Batch | None, view: ModelView) -> Batch:
    """Rows and adversarial rows as one batch."""
    if partners is None:
        return batch
    config: Any = view.model.config
    return batch.joined(partners, int(config.pad_token_id or 0))


def shares(counts: Sequence[int], total: float) -> list[float | None]:
    """Of each micro-batch, its share of the adversarial rows of the step; None where no process has any to add.

    Data-parallel wrappers average over processes: times their number, shares add up to one over all of them. With
    several processes every one takes part in every micro-batch of a step that has adversarial rows anywhere.
    """
    if not total:
        return [None] * len(counts)
    return [n * world.size() / total if n or world.size() > 1 else None for n in counts]
