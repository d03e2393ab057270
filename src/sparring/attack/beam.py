"""Beam search: the best few texts so far are all taken one word further, again and again."""

from collections.abc import Sequence

import numpy as np

from .constrain import Constraint, editable
from .engine import Search
from .game import Game, pick
from .text import Text
from .transform import Transform
from .transform.combine import allowed_candidates, together


def beam(
    game: Game, transform: Transform, constraints: Sequence[Constraint], *, width: int = 10
) -> Search[Text | None]:
    """Keep the `width` most harmful texts; expand each by every candidate of every word not yet changed; repeat.

    How many words may be changed is the constraints' affair: the search ends when they allow nothing more. Width 10 is
    HotFlip's in TextAttack 0.3.11; width 1 is the greedy search over all words that its CLARE and CheckList use.
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
