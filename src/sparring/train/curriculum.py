"""Curricula: plain training for a first share of the steps, then the adversary, its weight rising if asked for.

Liu et al., 2020 (arXiv:2004.08994) pre-train so from scratch: the adversary enters in the second half.
"""

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction

from ..errors import SettingError
from ..methods.base import Method


def first_step_after(share: float, total: int) -> int:
    """The first of `total` steps, counted from 0, that is behind a share of them: of 0.07 and 100, step 7."""
    # 0.07 * 100 is 7.000000000000001: take the share as it is written
    return math.ceil(Fraction(share).limit_denominator(10**9) * total)


@dataclass(frozen=True)
class Curriculum:
    """When the adversary enters, and how fast its weight rises. Steps count from 0."""

    start: float = 0.0
    """Optimiser step at which the adversary enters; below 1 a share of all steps."""
    ramp: float = 0.0
    """Share of all steps over which the method's `weight` rises linearly to its setting; 0: at once."""

    def first_step(self, total: int) -> float:
        """The first step with an adversary, of `total`."""
        return first_step_after(self.start, total) if 0 < self.start < 1 else self.start

    def method_at(self, step: int, total: int, method: Method, plain: Method) -> Method:
        """What this step does: `plain` before the adversary enters, then `method` with its weight on the ramp."""
        first, length = self.first_step(total), round(self.ramp * total)
        if step < first:
            return plain
        reached = (step - first + 1) / length if length else 1.0
        if reached >= 1:
            return method
        return dataclasses.replace(method, weight=reached * method.weight)  # type: ignore[call-arg, attr-defined]

    def check(self, method: Method) -> None:
        """SettingError for what cannot be."""
        if self.start < 0 or not math.isfinite(self.start):
            raise SettingError(f"adversary_from is {self.start}; give a step number, or a share of all steps below 1")
        if not 0 <= self.ramp <= 1:
            raise SettingError(f"weight_ramp is {self.ramp}; give a share of all steps, 0 to 1")
        if self.ramp and "weight" not in {f.name for f in dataclasses.fields(method)}:
            raise SettingError(
                f"{method.name} has no setting 'weight' that could rise; leave weight_ramp out, or use alum, smart, "
                "vat or r3f"
            )
