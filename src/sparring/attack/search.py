"""Greedy search in the order of word importance: what most published attacks do.

    order  = words, the most important one first
    for i in order:
        candidates of word i that satisfy the constraints
        take the one that harms most, if it harms more than what we have
        done, if it breaks the victim

Importance, and how the best candidate is picked, are what attacks differ in; each is a plain function here.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import softmax

from .constrain import Constraint, allowed, editable
from .engine import Search
from .game import Answers, Game, pick
from .text import Text
from .transform import Transform
from .transform.combine import InTurn, allowed_candidates, together

Importance = Callable[[Game, Transform, Sequence[Constraint], list[int]], Search[np.ndarray]]
"""How much each of the words (indices) matters: (n,) float64."""
Choice = Callable[[Game, Text, list[Text], Answers], Search[int]]
"""Which of the candidates that break the victim to end with: its position. Called when at least one does."""


def greedy(
    game: Game,
    transform: Transform,
    constraints: Sequence[Constraint],
    *,
    importance: Importance,
    choice: Choice | None = None,
    above_clean: bool = False,
    most_words: int | None = None,
) -> Search[Text | None]:
    """Change one word after the other, the most important first, each to what harms most.

    choice: picks among candidates that break the victim; default the one that harms most.
    above_clean: a change is kept if it harms more than the original text does (the code of TextFooler's authors),
    which may undo progress; otherwise if it harms more than what was reached (TextAttack).
    most_words: try only so many words.
    Returns the text it ends with, or None when no word could be changed.
    """
    words = editable(constraints, game.original)
    if not words:
        return None
    scores = yield from importance(game, transform, constraints, words)
    order = [words[i] for i in np.argsort(-scores, kind="stable")][:most_words]
    clean = game.clean().harm[0]
    current, reached = game.original, clean
    turns = transform.transforms if isinstance(transform, InTurn) else (transform,)
    for index, change in itertools.product(order, turns):
        candidates = yield from change.candidates(current, index)
        candidates = yield from allowed(constraints, game.original, current, candidates)
        if not candidates:
            continue
        answers = yield from game.ask(candidates)
        if answers.broken.any():
            best = pick(answers.harm, answers.broken)
            if choice is not None:
                best = yield from choice(game, current, candidates, answers)
            return candidates[best]
        best = pick(answers.harm)
        if best >= 0 and answers.harm[best] > (clean if above_clean else reached):
            current, reached = candidates[best], answers.harm[best]
    return current


# importance


def by_deletion(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """Harm of the text without the word. Reads as I_i = p(x) - p(x without i), which has the same order."""
    answers = yield from game.ask([game.original.delete(i) for i in words])
    return answers.harm


def by_unknown(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """Harm of the text with an unknown word in its place."""
    answers = yield from game.ask([game.original.replace(i, game.victim.unknown) for i in words])
    return answers.harm


def by_flip(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """TextFooler's importance (Jin et al. 2020, eq. 2): the fall of P(gold), and the rise of another winner."""
    answers = yield from game.ask([game.original.delete(i) for i in words])
    return flip_importance(game.clean().probabilities[0], answers.probabilities, game.gold)


def by_flip_of_unknown(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """The same with an unknown word in place of the deletion, as BERT-Attack has it (Li et al. 2020)."""
    answers = yield from game.ask([game.original.replace(i, game.victim.unknown) for i in words])
    return flip_importance(game.clean().probabilities[0], answers.probabilities, game.gold)


def flip_importance(clean: np.ndarray, without: np.ndarray, gold: int) -> np.ndarray:
    """(n,) importance from P(x) (C,) and P(x without word i) (n, C).

    p_y(x) - p_y(x_i), and where the winner y' of x_i is another class, p_y'(x_i) - p_y'(x) on top.
    """
    winner = without.argmax(-1)
    rows = np.arange(len(without))
    bonus = np.where(winner != gold, without[rows, winner] - clean[winner], 0.0)
    importance: np.ndarray = clean[gold] - without[:, gold] + bonus
    return importance


def by_head_and_tail(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """DeepWordBug's combined score (Gao et al. 2018), the mean of two, as `combined` of its authors' scoring.py.

    Head: P(gold) of the text up to the word, less that of the text up to the word before. Tail: of the text from the
    word on, less that from the word after. Of no word it is 1 / classes. 2 n queries for n words, stop words included.
    """
    places = game.original.editable
    n = len(places)
    heads = [game.original.edit(dict.fromkeys(places[i + 1 :], "")) for i in range(n)]
    tails = [game.original.edit(dict.fromkeys(places[:i], "")) for i in range(n)]
    answers = yield from game.ask([*heads, *tails])
    gold, nothing = answers.probabilities[:, game.gold], 1.0 / answers.probabilities.shape[1]
    scores: np.ndarray = (np.diff(gold[:n], prepend=nothing) - np.diff(gold[n:], append=nothing)) / 2
    return scores[np.searchsorted(places, words)]


def by_saliency(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """PWWS as TextAttack has it: softmax of saliencies times the highest raw harm 1 - P of the candidates."""
    saliency = yield from by_unknown(game, transform, constraints, words)
    candidates, owners = yield from all_candidates(game.original, transform, constraints, words)
    answers = yield from game.ask(candidates)
    best = np.zeros(len(words))  # a word without candidates is worth nothing
    np.maximum.at(best, owners, np.where(np.isfinite(answers.harm), answers.harm, 0.0))
    weighted: np.ndarray = softmax(saliency) * best
    return weighted


def at_random(
    game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[np.ndarray]:
    """A random order: the control for every importance. No query."""
    return game.random.permutation(len(words)).astype(np.float64)
    yield


def all_candidates(
    text: Text, transform: Transform, constraints: Sequence[Constraint], words: list[int]
) -> Search[tuple[list[Text], np.ndarray]]:
    """The allowed candidates of all words, and (N,) which of the words (its position) each belongs to."""
    parts = yield from together(
        [allowed_candidates(transform, constraints, text.start, text, index) for index in words]
    )
    owners = np.repeat(np.arange(len(words)), [len(part) for part in parts])
    return [candidate for part in parts for candidate in part], owners


# the search of PWWS


def pwws_order(saliency: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """(n,) H = softmax(saliency) * gain (Ren et al. 2019, as recalled).

    saliency: P(x) - P(x with unknown i). gain: P(x) - P(x*_i).
    """
    order: np.ndarray = softmax(saliency) * gains
    return order


def pwws(game: Game, transform: Transform, constraints: Sequence[Constraint]) -> Search[Text | None]:
    """Probability-weighted word saliency (Ren et al. 2019).

    Each word's substitute is the candidate that lowers P(gold) most, in the original text. They are put in one after
    the other in the order of H, until the victim breaks. TextAttack instead searches all candidates anew at every word,
    on the text as it is by then, which costs more queries and finds more: `greedy` with `by_saliency`.
    """
    words = editable(constraints, game.original)
    if not words:
        return None
    clean = game.clean().harm[0]
    saliency = (yield from by_unknown(game, transform, constraints, words)) - clean
    candidates, owners = yield from all_candidates(game.original, transform, constraints, words)
    answers = yield from game.ask(candidates)
    best = [pick(answers.harm, owners == place) for place in range(len(words))]
    gains = np.array([answers.harm[b] - clean if b >= 0 else 0.0 for b in best])
    current = game.original
    for place in np.argsort(-pwws_order(np.where(np.isfinite(saliency), saliency, 0.0), gains), kind="stable"):
        if best[place] < 0 or gains[place] <= 0:
            continue
        index = words[place]
        step = current.replace(index, candidates[best[place]].slots[index])
        kept = yield from allowed(constraints, game.original, current, [step])
        if not kept:
            continue
        current = step
        answer = yield from game.ask([current])
        if answer.broken[0]:
            return current
    return current
