"""What kind of adapter, and how large. Light to import: command lines are built from it."""

from dataclasses import dataclass
from typing import Literal

from ..settings import setting, validate

Kind = Literal["lora", "houlsby", "pfeiffer"]


@dataclass(frozen=True, kw_only=True)
class AdapterShape:
    """What kind of adapter, and how large. Adapters can be mixed if they have the same shape."""

    kind: Kind = setting("lora", "kind of adapter")
    rank: int = setting(8, "LoRA: rank r of an update", low=1)
    alpha: float = setting(8.0, "LoRA: updates are scaled by alpha / r", above=0)
    targets: str | None = setting(
        None, "LoRA: layers by the end of their names, separated by commas; default the query and value projections"
    )
    reduction: int = setting(16, "bottlenecks: entries of a vector for each hidden unit", low=1)

    def __post_init__(self) -> None:
        validate(self)

    @property
    def scaling(self) -> float:
        """LoRA's alpha / r."""
        return self.alpha / self.rank
