"""Searches that keep a population of texts: the genetic algorithm and particle swarms.

What the members of a generation want to know is asked at once. An attacker remembers what the victim said, so a text
that several members reach is one query; toolkits that count answers from their cache report more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import softmax

from .constrain import Constraint, allowed, editable
from .engine import Search
from .game import Game, OutOfQueries, pick
from .recipe import Variant
from .text import Text
from .transform import Transform
from .transform.combine import allowed_candidates, together


@dataclass
class _Lab:
    """What all members of a population share: candidates of words and scores of texts, each found out once."""

    game: Game
    transform: Transform
    constraints: Sequence[Constraint]
    words: list[int]
    options: dict[tuple[Text, int], list[Text]] = field(default_factory=dict)
    harm: dict[Text, float] = field(default_factory=dict)

    def candidates(self, places: Sequence[tuple[Text, int]]) -> Search[list[list[Text]]]:
        """The allowed candidates for each (text, index of a word)."""
        missing = [place for place in dict.fromkeys(places) if place not in self.options]
        found = yield from together(
            [allowed_candidates(self.transform, self.constraints, self.game.original, *place) for place in missing]
        )
        self.options.update(zip(missing, found, strict=True))
        return [self.options[place] for place in places]

    def score(self, texts: Sequence[Text]) -> Search[Text | None]:
        """Ask about those texts that are not in `harm`; the most harmful that breaks the victim, or None.

        Raises OutOfQueries as soon as the budget has cut an answer off.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self.harm]
        if not missing:
            return None
        answers = yield from self.game.ask(missing)
        best = pick(answers.harm, answers.broken)
        if best >= 0:
            return missing[best]
        if answers.answered < len(missing):
            raise OutOfQueries
        self.harm.update(zip(missing, answers.harm.tolist(), strict=True))
        return None

    def best(self, texts: Sequence[Text]) -> Text:
        """The most harmful of some texts, the first of equals."""
        return texts[pick([self.harm[text] for text in texts])]

    def within(self, texts: Sequence[Text]) -> Search[list[bool]]:
        """Whether each text satisfies the constraints against the original."""
        original = self.game.original
        kept = yield from allowed(self.constraints, original, original, list(texts))
        chosen = {id(text) for text in kept}
        return [id(text) in chosen for text in texts]

    def draw(self, weights: np.ndarray) -> int:
        """A position with probability proportional to its weight."""
        return int(self.game.random.choice(len(weights), p=weights / weights.sum()))


# the genetic algorithm


def parent_probabilities(scores: np.ndarray, temperature: float = 0.3, *, variant: Variant = "paper") -> np.ndarray:
    """(N,) probability of being drawn as a parent: softmax(scores / temperature), so that the better breed more.

    So a genetic algorithm (Alzantot et al. 2018) is meant to work; TextAttack 0.3.11 has exp(-score / temperature),
    which favours the worse members (variant "textattack").
    """
    scaled = np.asarray(scores, dtype=np.float64) / (temperature if variant == "paper" else -temperature)
    probabilities: np.ndarray = softmax(scaled)
    return probabilities


def genetic(
    game: Game,
    transform: Transform,
    constraints: Sequence[Constraint],
    *,
    population: int = 60,
    iterations: int = 20,
    temperature: float = 0.3,
    retries: int = 20,
    variant: Variant = "paper",
) -> Search[Text | None]:
    """The genetic algorithm of Alzantot et al. (2018), with the settings of TextAttack's recipe.

    Members begin as the original with one word changed. A generation is the best member and children: two parents are
    drawn (see `parent_probabilities`), each word comes from either, and one more word is changed. Children that break a
    constraint are drawn again, at most `retries` times, and are then a copy of a parent; TextAttack's recipe lets them
    pass (`post_crossover_check=False`).
    """
    lab = _Lab(game, transform, constraints, editable(constraints, game.original))
    found = yield from lab.candidates([(game.original, i) for i in lab.words])
    if not any(found):
        return None
    weights = word_weights([len(candidates) for candidates in found])
    lab.harm[game.original] = float(game.clean().harm[0])
    members = [game.original] * population
    won = yield from _one_word_further(lab, members, weights)
    for _ in range(iterations):
        if won is not None:
            return won
        scores = np.array([lab.harm[member] for member in members])
        chances = parent_probabilities(scores, temperature, variant=variant)
        parents = game.random.choice(population, size=(population - 1, 2), p=chances)
        children = yield from _children(lab, [(members[a], members[b]) for a, b in parents], retries)
        won = yield from lab.score(children)
        if won is None:
            won = yield from _one_word_further(lab, children, weights)
        members = [members[int(scores.argmax())], *children]
    return won if won is not None else lab.best(members)


def word_weights(candidates: Sequence[int]) -> np.ndarray:
    """(n,) weights by which a word is picked: its number of candidates, but at least 1 and a tenth of the smallest.

    The floor is TextAttack's: a word without a candidate now may have one in another context. Here it is taken over the
    words that may be changed; TextAttack also gives it to stop words, which it then tries in vain.
    """
    counts = np.asarray(candidates, dtype=np.float64)
    floored: np.ndarray = np.maximum(counts, max(1, int(0.1 * counts.min())))
    return floored


def _one_word_further(lab: _Lab, members: list[Text], weights: np.ndarray) -> Search[Text | None]:
    """Change one more word of each member, in place: the best candidate of a word picked by weight, if it harms more.

    If it does not, another word is tried, until none is left. Returns a text that breaks the victim, if one was found.
    """
    original = lab.game.original
    left = {
        number: weights * [member.slots[i] == original.slots[i] for i in lab.words]
        for number, member in enumerate(members)
    }
    while left := {number: chances for number, chances in left.items() if chances.any()}:
        drawn = {number: lab.draw(chances) for number, chances in left.items()}
        found = yield from lab.candidates([(members[number], lab.words[place]) for number, place in drawn.items()])
        won = yield from lab.score([candidate for candidates in found for candidate in candidates])
        if won is not None:
            return won
        for (number, place), candidates in zip(drawn.items(), found, strict=True):
            if candidates and lab.harm[best := lab.best(candidates)] > lab.harm[members[number]]:
                members[number] = best
                del left[number]
            else:
                left[number][place] = 0.0
    return None


def _children(lab: _Lab, parents: list[tuple[Text, Text]], retries: int) -> Search[list[Text]]:
    """Each word from either parent; a copy of one of them where no mixture satisfies the constraints."""
    random, words = lab.game.random, len(lab.game.original)

    def mixed(a: Text, b: Text) -> Text:
        from_b = random.random(words) < 0.5
        return a.with_slots(y if other else x for x, y, other in zip(a.slots, b.slots, from_b, strict=True))

    children = [parents[number][int(random.integers(2))] for number in range(len(parents))]
    trying = list(range(len(parents)))
    for _ in range(1 + retries):
        mixtures = [mixed(*parents[number]) for number in trying]
        good = yield from lab.within(mixtures)
        for number, child, fits in zip(trying, mixtures, good, strict=True):
            if fits:
                children[number] = child
        trying = [number for number, fits in zip(trying, good, strict=True) if not fits]
        if not trying:
            break
    return children


# particle swarm optimisation

MOST_VELOCITY = 3.0
"""Of a particle in one dimension; sigmoid(3) = 0.953 is the highest probability of a turn (Zang et al. 2020)."""
_MOST_CANDIDATES = 10  # weight of a word in a mutation: min(candidates, 10), the authors' attack_dpso_sem.py


def pso_schedule(iteration: int, iterations: int) -> tuple[float, float, float]:
    """(omega, P1, P2): inertia and the probabilities of a turn towards a particle's own and towards the swarm's best.

    omega and P1 fall from 0.8 to 0.2, P2 rises from 0.2 to 0.8 (Zang et al. 2020).
    """
    passed = iteration / iterations
    return 0.2 + 0.6 * (1 - passed), 0.8 - 0.6 * passed, 0.2 + 0.6 * passed


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    """1 / (1 + exp(-x)): the probability that a word turns, from its velocity."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(x, dtype=np.float64))))


def pso(
    game: Game,
    transform: Transform,
    constraints: Sequence[Constraint],
    *,
    population: int = 60,
    iterations: int = 20,
    retries: int = 20,
    variant: Variant = "paper",
) -> Search[Text | None]:
    """Particle swarm optimisation of Zang et al. (2020): texts drift towards the best that they and the swarm found.

    A turn that breaks a constraint is drawn again, at most `retries` times, and not made after that.
    Variant "paper" follows the authors' code. TextAttack 0.3.11 differs in two things (variant "textattack"): a turn
    begins at the best text and takes over words of the particle, the other way round; and a mutation scores the
    candidates of all words, and draws a word with probability proportional to what its best candidate gains, where the
    authors draw one word by its number of candidates and score these alone.
    """
    lab = _Lab(game, transform, constraints, editable(constraints, game.original))
    found = yield from lab.candidates([(game.original, i) for i in lab.words])
    if not any(found):
        return None
    weights = np.minimum([len(candidates) for candidates in found], _MOST_CANDIDATES).astype(np.float64)
    original, random = game.original, game.random
    lab.harm[original] = float(game.clean().harm[0])
    swarm = [original] * population
    won = yield from _mutate(lab, swarm, list(range(population)), weights, variant)
    velocity = np.repeat(random.uniform(-MOST_VELOCITY, MOST_VELOCITY, (population, 1)), len(original), axis=1)
    own = list(swarm)
    leader = lab.best(swarm)
    for iteration in range(iterations):
        if won is not None:
            return won
        omega, towards_own, towards_leader = pso_schedule(iteration, iterations)
        for k, text in enumerate(swarm):
            pull = _pull(text, own[k]) + _pull(text, leader)
            velocity[k] = omega * velocity[k] + (1 - omega) * pull
        for chance, best in ((towards_own, own), (towards_leader, [leader] * population)):
            moving = [k for k in range(population) if random.random() < chance]
            yield from _turn(lab, swarm, best, moving, sigmoid(velocity), retries, variant)
        won = yield from lab.score(swarm)
        if won is not None:
            return won
        mutating = [k for k, text in enumerate(swarm) if random.random() < 1 - 2 * _share_changed(text)]
        won = yield from _mutate(lab, swarm, mutating, weights, variant)
        own = [new if lab.harm[new] > lab.harm[old] else old for new, old in zip(swarm, own, strict=True)]
        leader = lab.best([leader, *swarm])
    return won if won is not None else leader


def _pull(text: Text, best: Text) -> np.ndarray:
    """(n,) +3 where the words differ, -3 where they are the same."""
    differs = [a != b for a, b in zip(text.slots, best.slots, strict=True)]
    return np.where(differs, MOST_VELOCITY, -MOST_VELOCITY)


def _share_changed(text: Text) -> float:
    return len(text.changed) / len(text.editable)


def _turn(
    lab: _Lab,
    swarm: list[Text],
    best: list[Text],
    moving: list[int],
    chances: np.ndarray,
    retries: int,
    variant: Variant,
) -> Search[None]:
    """Some particles, in place, take over words of their best text, each word with its chance (population, n)."""
    for _ in range(1 + retries):
        if not moving:
            return
        turned = []
        for k in moving:
            start, end = (swarm[k], best[k]) if variant == "paper" else (best[k], swarm[k])
            turns = lab.game.random.random(len(start)) < chances[k]
            slots = (new if turn else old for old, new, turn in zip(start.slots, end.slots, turns, strict=True))
            turned.append(start.with_slots(slots))
        good = yield from lab.within(turned)
        for k, text, fits in zip(moving, turned, good, strict=True):
            if fits:
                swarm[k] = text
        moving = [k for k, fits in zip(moving, good, strict=True) if not fits]


def _mutate(
    lab: _Lab, swarm: list[Text], mutating: list[int], weights: np.ndarray, variant: Variant
) -> Search[Text | None]:
    """Change a word of some particles, in place; a text that breaks the victim, if one was found."""
    original = lab.game.original
    places: list[tuple[int, int]] = []  # particle, place of a word
    for k in mutating:
        free = [place for place, i in enumerate(lab.words) if swarm[k].slots[i] == original.slots[i]]
        chances = np.zeros(len(weights))
        chances[free] = weights[free]
        if variant == "textattack":
            places += [(k, place) for place in free]
        elif chances.any():
            places.append((k, lab.draw(chances)))
    found = yield from lab.candidates([(swarm[k], lab.words[place]) for k, place in places])
    won = yield from lab.score([candidate for candidates in found for candidate in candidates])
    if won is not None:
        return won
    best: dict[int, list[Text]] = {k: [] for k in mutating}
    for (k, _), candidates in zip(places, found, strict=True):
        if candidates:
            best[k].append(lab.best(candidates))
    for k, tops in best.items():
        gains = np.array([max(lab.harm[top] - lab.harm[swarm[k]], 0.0) for top in tops])
        if gains.any():
            swarm[k] = tops[lab.draw(gains)]
        elif variant == "textattack" and tops:  # where nothing helps it draws evenly from all words, and may worsen
            place = int(lab.game.random.integers(len(original)))
            swarm[k] = tops[place] if place < len(tops) else swarm[k]
    return None
