"""What one step of a method costs, read from its cost line: "(steps + 2)F + steps b + 2B"."""

import re
from collections.abc import Mapping
from typing import Any

_TERM = re.compile(r"(\([^()]*\)|[\w ]+?)\s*([FbB])(?!\w)")


def counted(method: Any) -> Mapping[str, int]:
    """Forwards F, backwards to the input b and full backwards B of one step, by the method's settings."""
    found = {"F": 0, "b": 0, "B": 0}
    for count, kind in _TERM.findall(method.cost):
        found[kind] += _value(count.strip("() "), method)
    return found


def _value(text: str, method: Any) -> int:
    """A sum of products such as "1 + 2 theta_samples", names being the method's settings."""
    total = 0
    for term in text.split("+"):
        product = 1
        for factor in term.split():
            product *= int(factor) if factor.isdigit() else int(getattr(method, factor))
        total += product
    return total
