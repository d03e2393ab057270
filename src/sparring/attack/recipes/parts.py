"""What recipes are made of."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...errors import DataError, ModelError, SettingError
from ...settings import nearest
from ..constrain import Constraint, StopWords
from ..controls import random_words
from ..engine import Ask, Search
from ..game import Answers, Game, pick
from ..lexical import WordCosine
from ..recipe import Recipe
from ..similarity import Encoder, SentenceSimilarity
from ..text import Text
from ..transform import Transform
from ..transform.synonyms import NeighbourSwap

CONSTRAINTS = (
    "stop_words",
    "word_cosine",
    "part_of_speech",
    "lexeme",
    "similarity",
    "share_of_words",
    "edit_distance",
)
"""What `without` may name."""
TEXTATTACK, PAPER, CODE, OURS = "TextAttack 0.3.11", "the paper", "the authors' code", "sparring"
RECALLED = "the paper, not confirmed"
ENCODER_STANDS_IN = "MiniLM mean pooling stands in for the Universal Sentence Encoder"


def known(without: Iterable[str]) -> None:
    """SettingError for a constraint that does not exist."""
    if isinstance(without, str):
        raise SettingError(f"without is {without!r}; give a list of names, such as [{without!r}]")
    for name in without:
        if name not in CONSTRAINTS:
            raise SettingError(f"there is no constraint '{name}' to go without; {nearest(name, CONSTRAINTS)}")


def without_of(*texts: str | None) -> tuple[str, ...]:
    """Names of constraints as people write them, "word-cosine,similarity", as `without` takes them."""
    names = [part.strip().replace("-", "_") for text in texts for part in (text or "").split(",")]
    return tuple(name for name in names if name)


def constraints_of(
    without: Sequence[str], **made: Callable[[], Constraint | str]
) -> tuple[tuple[Constraint, ...], tuple[str, ...]]:
    """The constraints that are on, and the names of those that are off. A missing resource says how to do without.

    made: what makes each of them, or says why it is off.
    """
    found: list[Constraint] = []
    off: list[str] = []
    for name, make in made.items():
        if name in without:
            off.append(name.replace("_", " "))
            continue
        try:
            constraint = make()
            if isinstance(constraint, str):
                off.append(constraint)
            else:
                found.append(constraint)
        except (DataError, ModelError) as error:
            raise type(error)(
                f"{error}. To attack without this constraint, and have the results say so: --without {name}"
            ) from error
    return tuple(found), tuple(off)


def similar(threshold: float, **settings: Any) -> Callable[[], Constraint]:
    """Sentence similarity by the default encoder, which is loaded when the constraint is made."""
    return lambda: SentenceSimilarity(Encoder.default(), threshold, **settings)


def word_cosine_in(threshold: float, swap: Transform, *, own_words: bool = True) -> Callable[[], Constraint | str]:
    """Word cosine in the vectors that a swap takes its words from.

    Thresholds of papers are meant for counter-fitted vectors. In the embedding table of a BERT hardly any two words are
    that close: the constraint would end the attack without a word, so there it is off, and the results say it. So it is
    with a table of neighbours that knows no cosines. own_words: candidates are that table's words.
    """
    if isinstance(swap, NeighbourSwap) and "stands in" not in swap.name:
        table = swap.neighbours
        if table is not None and not table.knows_cosines:
            why = f"{table.name} has no cosines" + ("; its words count as filtered" if own_words else "")
            return lambda: f"word cosine at least {threshold:g}: {why}"
        return lambda: WordCosine(threshold, table)
    return lambda: f"word cosine at least {threshold:g}: a threshold for counter-fitted vectors, which are not here"


def stand_ins_of(swap: Transform, without: Sequence[str]) -> tuple[str, ...]:
    """What stands in for a resource that the paper used."""
    found = [] if "similarity" in without else [ENCODER_STANDS_IN]
    if "stands in" in swap.name:
        found.append(swap.name)
    return tuple(found)


def most_similar(without: Sequence[str]) -> Any:
    """Of the candidates that break the victim the one most like the original; without an encoder the strongest."""
    encoder = None if "similarity" in without else Encoder.default()

    def choice(game: Game, current: Text, candidates: list[Text], answers: Answers) -> Search[int]:
        if encoder is None:
            return pick(answers.harm, answers.broken)
        broken = [i for i in range(len(candidates)) if answers.broken[i]]
        texts = [" ".join(game.original.fields), *(" ".join(candidates[i].fields) for i in broken)]
        first, *others = yield Ask(encoder, texts)
        return broken[pick([float(first @ other) for other in others])]

    return choice


def control(name: str, transform: Transform, without: Sequence[str]) -> Recipe:
    """Changes in random order that look at nothing but whether the victim broke."""
    known(without)
    constraints, off = constraints_of(without, stop_words=StopWords)
    return Recipe(
        name=name,
        paper="control",
        search=random_words,
        transform=transform,
        constraints=constraints,
        off=off,
        stand_ins=tuple(s for s in stand_ins_of(transform, without) if s != ENCODER_STANDS_IN),
    )
