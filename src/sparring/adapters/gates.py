"""How much of each adapter an example gets, from how sure the adapters are of it.

AdpMixup mixes by the entropies of the adapters' predictions, but the published formula could not be established (no
code was released): these four gates are a reconstruction, each decreasing in the entropy of the clean adapter and
increasing in that of the adversarial one. So is the sum over several attacks, a plain mean,

    theta = theta_0 + 1/m sum_i [ beta_i clean + (1 - beta_i) adversarial_i ].

Statistics are fixed by calibration. None comes from the batch: an answer must not depend on what is asked beside it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import DataError, ModelError
from ..objective import wide
from ..settings import setting, validate

GateName = Literal["minmax_ratio", "entropy_ratio", "softmax_neg_entropy", "constant"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Settings of a gate. H_c and H_i are the entropies of the clean adapter and of that of attack i, in nats.

    minmax_ratio: beta_i = a_c / (a_c + a_i) with a_k = (Hmax_k - H_k) / (Hmax_k - Hmin_k) in [0, 1]; 1/2 if both are 0.
    entropy_ratio: beta_i = H_i / (H_c + H_i), 1/2 if both are 0.
    softmax_neg_entropy: adapters weigh as softmax(-H / T), all together; beta_i = w_c / (w_c + w_i).
    constant: beta_i is the same number for every example.
    """

    name: GateName = setting("minmax_ratio", "how entropies become weights")
    temperature: float = setting(1.0, "T of softmax_neg_entropy, in nats", above=0)
    constant: float = setting(0.5, "share of the clean adapter, for the constant gate", low=0, high=1)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Calibration:
    """Smallest and largest entropy of each adapter on held-out rows, in nats, in the order of the adapters."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: int

    def __post_init__(self) -> None:
        if self.rows < 2:
            raise DataError(f"the calibration set has {self.rows} row; the range of entropies needs at least 2")
        flat = [number for number, (low, high) in enumerate(zip(self.low, self.high, strict=True)) if not low < high]
        if flat:
            raise DataError(
                f"adapter number {flat[0]} has the entropy {self.low[flat[0]]:.6g} on all {self.rows} rows of the "
                "calibration set, so that it has no range; calibrate on more rows, or choose the gate entropy_ratio"
            )


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the predictions in nats: (..., C) to (...), from 0 to log C, in float32 or wider."""
    log_p = wide(logits).log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def coefficients(entropies: Tensor, gate: Gate, calibration: Calibration | None = None) -> Tensor:
    """beta (B, m) in [0, 1], the clean adapter's share against each attack, from entropies (B, m + 1), clean first.

    A small one says that the input resembles that attack. Raises ModelError when minmax_ratio has no calibration.
    """
    h = wide(entropies)
    clean, attacks = h[:, :1], h[:, 1:]
    if gate.name == "constant" or attacks.shape[1] == 0:
        return torch.full_like(attacks, gate.constant)
    if gate.name == "softmax_neg_entropy":
        return torch.sigmoid((attacks - clean) / gate.temperature)
    if gate.name == "entropy_ratio":
        return _share(attacks, clean)
    if calibration is None:
        raise ModelError(
            "the gate minmax_ratio needs calibration statistics: set mixture.calibration to what calibrate(mixture, "
            "batches) returns, or choose the gate entropy_ratio"
        )
    low, high = h.new_tensor(calibration.low), h.new_tensor(calibration.high)
    sure = ((high - h) / (high - low)).clamp(0, 1)
    return _share(sure[:, :1], sure[:, 1:])


def adapter_weights(beta: Tensor, entropies: Tensor, gate: Gate) -> Tensor:
    """(B, m + 1) what each adapter weighs, clean first; rows sum to 1. beta (B, m) as `coefficients` gives it."""
    if gate.name == "softmax_neg_entropy":
        return (-wide(entropies) / gate.temperature).softmax(-1)
    attacks = beta.shape[1]
    if not attacks:
        return beta.new_ones(len(beta), 1)
    return torch.cat([beta.sum(1, keepdim=True), 1 - beta], dim=1) / attacks


def _share(one: Tensor, other: Tensor) -> Tensor:
    """one / (one + other), and 1/2 where both are 0; gradients are finite everywhere."""
    total = one + other
    none = total == 0
    return torch.where(none, 0.5, one / torch.where(none, 1.0, total))
