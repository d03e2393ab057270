"""CLARE's search (Li et al. 2021): the best action for each place first, then the places one after the other."""

from collections.abc import Sequence

import numpy as np

from .constrain import Constraint, allowed, editable
from .engine import Search
from .game import Game, pick
from .text import Text
from .transform import Transform
from .transform.combine import allowed_candidates, together


def clare(
    game: Game, transform: Transform, constraints: Sequence[Constraint], *, anew: bool = False
) -> Search[Text | None]:
    """Find the most harmful action for each place of the original; put them in, the most harmful first.

    transform: what may be done to a word; CLARE's is any of replace, insert and merge. An action that touches a word
    which an earlier one has changed is left out.
    anew: search the candidates of each place again in the text as it is by then, and keep the best if it harms more,
    as the authors' code does (in place of their bookkeeping of forbidden neighbours, changed words are left alone).
    TextAttack instead takes the best action of all places at every step: `beam` of width 1, at many more queries.
    """
    words = editable(constraints, game.original)
    parts = yield from together(
        [allowed_candidates(transform, constraints, game.original, game.original, i) for i in words]
    )
    actions = [candidate for part in parts for candidate in part]
    if not actions:
        return None
    answers = yield from game.ask(actions)
    if answers.broken.any():
        return actions[pick(answers.harm, answers.broken)]
    owner = np.repeat(np.arange(len(words)), [len(part) for part in parts])
    best = [pick(answers.harm, owner == place) for place in range(len(words))]
    found = [place for place in range(len(words)) if best[place] >= 0]
    current, reached = game.original, game.clean().harm[0]
    for place in sorted(found, key=lambda place: -answers.harm[best[place]]):  # equals stay in the text's order
        if anew:
            steps = yield from allowed_candidates(transform, constraints, game.original, current, words[place])
        else:
            steps = yield from _applied(actions[best[place]], game.original, current, constraints)
        if not steps:
            continue
        scores = yield from game.ask(steps)
        if scores.broken.any():
            return steps[pick(scores.harm, scores.broken)]
        chosen = pick(scores.harm)
        if not anew or scores.harm[chosen] > reached:
            current, reached = steps[chosen], scores.harm[chosen]
    return current


def _applied(action: Text, original: Text, current: Text, constraints: Sequence[Constraint]) -> Search[list[Text]]:
    """The action's change, made to the current text; nothing if it meets an earlier one or a constraint."""
    if set(action.changed) & set(current.changed):
        return []
    step = current.edit({index: action.slots[index] for index in action.changed})
    return (yield from allowed(constraints, original, current, [step]))
