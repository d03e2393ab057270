"""What a recipe is: a search, a way to change words, and constraints, with the source of every constant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import SettingError
from .constrain import Constraint
from .engine import Search
from .game import Game
from .text import Text
from .transform import Transform
from .transform.combine import AnyOf

if TYPE_CHECKING:
    from .victim import Victim

Variant = Literal["paper", "textattack"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """One attack, ready to be run against a victim."""

    name: str
    paper: str
    """Authors and year."""
    search: Callable[[Game, Transform, Sequence[Constraint]], Search[Text | None]]
    transform: Transform
    constraints: tuple[Constraint, ...] = ()
    variant: Variant = "paper"
    """Which behaviour, where the published toolkit TextAttack 0.3.11 differs from the paper or its authors' code."""
    constants: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """Name: (value, source)."""
    stand_ins: tuple[str, ...] = ()
    """What takes the place of something that the paper used; every result repeats it."""
    off: tuple[str, ...] = ()
    """Constraints of the paper that were switched off; every result repeats it."""
    differs: tuple[str, ...] = ()
    """What this variant does otherwise than the paper, where no constant says it; every result repeats it."""
    ignored: tuple[str, ...] = ()
    """What was asked for and this recipe does not have, such as another variant; every result repeats it."""

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise SettingError(f"{self.name}: variant is {self.variant!r}; choose {' or '.join(get_args(Variant))}")

    def bound(self, victim: "Victim") -> "Recipe":
        """The same for a victim, whose embedding table or gradient parts of it may need."""
        constraints = tuple(constraint.bound(victim) for constraint in self.constraints)
        return replace(self, transform=self.transform.bound(victim), constraints=constraints)

    def identity(self) -> dict[str, Any]:
        """`describe`, and what its names leave out: seeds, alphabets, contents of files. An attack is resumed with the
        same and nothing else.
        """
        parts = [self.transform]
        while any(isinstance(part, AnyOf) for part in parts):
            parts = [one for part in parts for one in (part.transforms if isinstance(part, AnyOf) else (part,))]
        made_of = [str(getattr(part, "identity", "")) for part in parts]
        return self.describe() | {"made_of": made_of, "held_by": [part.identity for part in self.constraints]}

    def describe(self) -> dict[str, Any]:
        """For records and reports: plain values that can be written as JSON.

        `differs` and `ignored` decide no outcome and are not among them.
        """
        return {
            "recipe": self.name,
            "paper": self.paper,
            "variant": self.variant,
            "transform": self.transform.name,
            "constraints": [constraint.name for constraint in self.constraints],
            "constants": {name: list(pair) for name, pair in self.constants.items()},
            "stand_ins": list(self.stand_ins),
            "off": list(self.off),
        }
