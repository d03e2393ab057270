"""Text attacks: published recipes, hundreds of searches at once, honest accounts of what came out.

from sparring.attack import attack, recipes
results = attack(victim, rows, recipes.textfooler())
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import attack

__all__ = ["attack"]


def __getattr__(name: str) -> Any:
    if name == "attack":  # torch is imported when it is first used, not with the package
        from .run import attack

        return attack
    raise AttributeError(f"module 'sparring.attack' has no attribute {name!r}")
