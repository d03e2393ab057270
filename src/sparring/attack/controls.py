"""Attacks without a mind: how often does a text break that is merely changed, with as many queries?"""

from collections.abc import Sequence

from .constrain import Constraint, editable
from .engine import Search
from .game import Game
from .text import Text
from .transform import Transform
from .transform.combine import one_allowed


def random_words(
    game: Game, transform: Transform, constraints: Sequence[Constraint], *, passes: int | None = 1
) -> Search[Text | None]:
    """Words in random order, each to one of its candidates at random, one query a word; what is changed stays changed.

    The scores are not looked at; the search only stops when the victim breaks. passes: how often it begins anew from
    the original. None goes on until the budget of the game is used up, which makes the control as dear as an attack
    with the same budget; without a budget it is one pass.
    """
    words = editable(constraints, game.original)
    if passes is None and game.budget is None:
        passes = 1
    current: Text | None = None
    begun = 0
    while passes is None or begun < passes:
        begun += 1
        text = game.original
        for place in game.random.permutation(len(words)):
            found = yield from one_allowed(transform, constraints, game.original, text, words[int(place)], game.random)
            if found is None:
                continue
            text = found
            answers = yield from game.ask([text])
            current = text
            if answers.broken[0]:
                return text
        if text is game.original:
            return None  # nothing can be changed, however often it is tried
    return current


def random_valid(game: Game, transform: Transform, constraints: Sequence[Constraint]) -> Search[Text | None]:
    """A random text that the constraints allow: words in random order, each to one of its candidates at random.

    The victim is never asked. Words are changed as long as the constraints let one be. Sampling valid perturbations is
    the cheap way to make training texts of Ivgi and Berant (EMNLP 2021, arXiv:2104.05062).
    """
    words = editable(constraints, game.original)
    text = game.original
    for place in game.random.permutation(len(words)):
        found = yield from one_allowed(transform, constraints, game.original, text, words[int(place)], game.random)
        text = text if found is None else found
    return text if text.changed else None
