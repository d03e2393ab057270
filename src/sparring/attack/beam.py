"""Beam search: the best few texts so far are all taken one word further, again and again."""

from collections.abc import Sequence

import numpy as np

from ..errors import SettingError
from .constrain import Constraint, allowed, editable
from .engine import Search
from .game import Game, pick
from .text import Text
from .transform import Transform
from .transform.combine import allowed_candidates, together
from .transform.gradient import HotFlip


def beam(
    game: Game, transform: Transform, constraints: Sequence[Constraint], *, width: int = 10
) -> Search[Text | None]:
    """Keep the `width` most harmful texts; expand each by every candidate of every word not yet changed; repeat.

    How many words may be changed is the constraints' affair: the search ends when they allow nothing more. Every
    candidate is a query, as in TextAttack 0.3.11, whose HotFlip has width 10; width 1 is the greedy search over all
    words that its CLARE and CheckList use.
    """
    words = editable(constraints, game.original)
    members = [game.original]
    best: Text | None = None
    reached = -np.inf
    while True:
        places = [(member, i) for member in members for i in words]
        parts = yield from together(
            [allowed_candidates(transform, constraints, game.original, *place) for place in places]
        )
        candidates = list(dict.fromkeys(candidate for part in parts for candidate in part))
        if not candidates:
            return best
        answers = yield from game.ask(candidates)
        if answers.broken.any():
            return candidates[pick(answers.harm, answers.broken)]
        order = np.argsort(-answers.harm, kind="stable")[:width]
        members = [candidates[i] for i in order if answers.harm[i] > -np.inf]
        if answers.harm[order[0]] > reached:
            best, reached = candidates[order[0]], answers.harm[order[0]]


def first_order_beam(
    game: Game, transform: Transform, constraints: Sequence[Constraint], *, width: int = 10
) -> Search[Text | None]:
    """HotFlip's beam search (Ebrahimi et al. 2018, "Multiple Changes"): candidates are ranked without asking.

    A path of changes c1, c2, ... through the texts x0, x1, ... scores dJ(x0)/dc1 + dJ(x1)/dc2 + ..., each from the
    gradient of the text that it changes. Only the `width` best are asked about, and only they are taken further:
    r changes need at most width * r forward passes and as many backward passes.
    """
    if not isinstance(transform, HotFlip):
        raise SettingError(f"a first-order beam ranks by the gradients of HotFlip, not by {transform.name}")
    words = editable(constraints, game.original)
    members = [(game.original, 0.0)]
    best: Text | None = None
    reached = -np.inf
    while True:
        free = [[i for i in words if i not in text.changed] for text, _ in members]
        flips = yield from together(
            [transform.gains(text, places) for (text, _), places in zip(members, free, strict=True)]
        )
        scored = [
            (gone + gain, text, candidate)
            for (text, gone), parts in zip(members, flips, strict=True)
            for part in parts
            for candidate, gain in part
        ]
        members = yield from _best_allowed(scored, constraints, game.original, width)
        if not members:
            return best
        answers = yield from game.ask([text for text, _ in members])
        if answers.broken.any():
            return members[pick(answers.harm, answers.broken)][0]
        first = pick(answers.harm)
        if answers.harm[first] > reached:
            best, reached = members[first][0], answers.harm[first]


def _best_allowed(
    scored: list[tuple[float, Text, Text]], constraints: Sequence[Constraint], original: Text, width: int
) -> Search[list[tuple[Text, float]]]:
    """The `width` best different candidates that satisfy the constraints, of (score, made from, candidate)."""
    order = sorted(range(len(scored)), key=lambda number: -scored[number][0])
    found: dict[Text, float] = {}
    for number in order:
        score, current, candidate = scored[number]
        if candidate not in found and (yield from allowed(constraints, original, current, [candidate])):
            found[candidate] = score
        if len(found) == width:
            break
    return list(found.items())
