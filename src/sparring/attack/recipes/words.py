"""Attacks that change words for words like them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..beam import beam, first_order_beam
from ..constrain import Constraint, CountOfWords, ShareOfWords, StopWords
from ..engine import Search
from ..game import Game
from ..lexical import OtherLexeme, PartOfSpeech
from ..masked_lm import MaskedLM
from ..population import genetic as genetic_search
from ..population import pso as pso_search
from ..recipe import Recipe, Variant
from ..search import by_deletion, by_flip, by_saliency, greedy
from ..search import pwws as pwws_search
from ..transform import Transform
from ..transform.gradient import HotFlip, gradient_importance
from ..transform.masked import MaskedSwap
from ..transform.synonyms import synonyms as synonyms_from
from .parts import (
    CODE,
    ENCODER_STANDS_IN,
    OURS,
    RECALLED,
    TEXTATTACK,
    constraints_of,
    control,
    known,
    most_similar,
    similar,
    stand_ins_of,
    word_cosine_in,
)


def textfooler(
    *, variant: Variant = "paper", synonyms: str | Path = "auto", k: int = 50, without: Sequence[str] = ()
) -> Recipe:
    """TextFooler (Jin, Jin, Zhou, Szolovits, AAAI 2020).

    Its code measures similarity as 1 - arccos(cosine) with threshold 0.5, which is 0.8408 in angular terms, on windows
    of 15 words of the current text, 0.1 where the text is shorter. TextAttack lets short texts pass. Both here ask the
    victim only about candidates that pass; the authors' code asks about all and discards afterwards. A word's
    importance is measured by its deletion, as the paper has it (eq. 2); the authors' code writes <oov> in its place.
    """
    known(without)
    swap = synonyms_from(synonyms, k)
    if variant == "paper":
        close = similar(0.5, metric="radian", window=15, against="current", short="check", short_threshold=0.1)
    else:
        close = similar(0.840845057, metric="angular", window=15, against="current", short="skip")
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        word_cosine=word_cosine_in(0.5, swap),
        part_of_speech=PartOfSpeech,
        similarity=close,
    )
    importance = by_flip if variant == "paper" else by_deletion
    search = partial(greedy, importance=importance, above_clean=variant == "paper", choice=most_similar(without))
    return Recipe(
        name="textfooler",
        paper="Jin et al. 2020",
        variant=variant,
        search=search,
        transform=swap,
        constraints=constraints,
        off=off,
        stand_ins=stand_ins_of(swap, without),
        constants={
            "k": (k, f"{CODE}: synonym_num 50"),
            "word cosine": (0.5, CODE),
            "similarity": (
                "1 - arccos(cosine) >= 0.5" if variant == "paper" else "angular >= 0.840845",
                CODE if variant == "paper" else TEXTATTACK,
            ),
            "window": (15, CODE),
            "a change is kept": (
                "if it harms more than the original" if variant == "paper" else "if it harms more than before",
                CODE if variant == "paper" else TEXTATTACK,
            ),
        },
    )


def pwws(*, variant: Variant = "paper", synonyms: str | Path = "wordnet", without: Sequence[str] = ()) -> Recipe:
    """Probability-weighted word saliency (Ren, Deng, He, Che, ACL 2019), without its swaps of named entities.

    TextAttack multiplies raw scores rather than differences, and searches the candidates of every word anew.
    """
    known(without)
    swap = synonyms_from(synonyms, 50)
    constraints, off = constraints_of(without, stop_words=lambda: StopWords(cased=variant == "textattack"))
    return Recipe(
        name="pwws",
        paper="Ren et al. 2019",
        variant=variant,
        search=pwws_search if variant == "paper" else partial(greedy, importance=by_saliency),
        transform=swap,
        constraints=constraints,
        off=(*off, "swaps of named entities with others of the data set"),
        stand_ins=() if synonyms == "wordnet" else (f"{swap.name} in place of WordNet",),
        constants={"order": ("softmax(saliency) * gain", RECALLED if variant == "paper" else TEXTATTACK)},
    )


def a2t(*, synonyms: str | Path = "auto", k: int = 20, without: Sequence[str] = ()) -> Recipe:
    """A2T (Yoo & Qi, Findings of EMNLP 2021): gradient order, made for adversarial training.

    The gradient is that of the gold label in eval mode; TextAttack's is of the predicted one in train mode.
    """
    known(without)
    swap = synonyms_from(synonyms, k)
    return _a2t("a2t", swap, k, without, word_cosine=word_cosine_in(0.8, swap))


def a2t_mlm(*, masked_lm: str | Path | MaskedLM | None = None, k: int = 20, without: Sequence[str] = ()) -> Recipe:
    """A2T with words from a masked language model (Yoo & Qi 2021)."""
    known(without)
    return _a2t("a2t-mlm", MaskedSwap(MaskedLM.load(masked_lm), k), k, without)


def _a2t(
    name: str, transform: Transform, k: int, without: Sequence[str], **more: Callable[[], Constraint | str]
) -> Recipe:
    constraints, off = constraints_of(
        without,
        stop_words=StopWords,
        share_of_words=lambda: ShareOfWords(0.1, at_least=4),
        **more,
        part_of_speech=lambda: PartOfSpeech(noun_verb=False),
        similarity=similar(0.9, metric="cosine", window=None),
    )
    return Recipe(
        name=name,
        paper="Yoo & Qi 2021",
        search=partial(greedy, importance=_by_gradient, choice=most_similar(without)),
        transform=transform,
        constraints=constraints,
        off=off,
        stand_ins=(
            *(stand_in for stand_in in stand_ins_of(transform, without) if stand_in != ENCODER_STANDS_IN),
            *(() if "similarity" in without else ("MiniLM mean pooling stands in for the paper's sentence encoder",)),
        ),
        constants={
            "k": (k, CODE),
            "share of words": ("10 %, or 4", CODE),
            "similarity": ("cosine 0.9, whole text", CODE),
            **({"word cosine": (0.8, CODE)} if more else {}),
        },
    )


def hotflip(*, variant: Variant = "paper", top_n: int = 50, width: int = 10, without: Sequence[str] = ()) -> Recipe:
    """HotFlip on words (Ebrahimi, Rao, Lowd, Dou, ACL 2018): a white-box attack, tokens and words aligned.

    The paper's beam search asks about `width` texts a change and ranks the others by their gradients; TextAttack asks
    about every candidate, and lets a word become another form of itself.
    """
    known(without)
    paper = variant == "paper"
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        share_of_words=lambda: CountOfWords(2),
        word_cosine=lambda: word_cosine_in(0.8, synonyms_from("auto"), own_words=False)(),
        part_of_speech=PartOfSpeech,
        **({"lexeme": OtherLexeme} if paper else {}),
    )
    return Recipe(
        name="hotflip",
        paper="Ebrahimi et al. 2018",
        variant=variant,
        search=partial(first_order_beam if paper else beam, width=width),
        transform=HotFlip(top_n),
        constraints=constraints,
        off=off,
        constants={
            "width": (width, TEXTATTACK),
            "words": (2, TEXTATTACK),
            "word cosine": (0.8, TEXTATTACK),
            "top_n": (top_n, f"{OURS}; 1 in {TEXTATTACK}, which mostly fails the constraints"),
        },
    )


def genetic(
    *,
    variant: Variant = "paper",
    synonyms: str | Path = "auto",
    k: int = 8,
    population: int = 60,
    iterations: int = 20,
    without: Sequence[str] = (),
) -> Recipe:
    """The genetic attack (Alzantot et al., EMNLP 2018), fitter parents likelier; TextAttack's sign is reversed."""
    known(without)
    swap = synonyms_from(synonyms, k)
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        share_of_words=lambda: ShareOfWords(0.2),
        word_cosine=word_cosine_in(0.75, swap),  # |a - b|^2 <= 0.5 of unit vectors
    )
    return Recipe(
        name="genetic",
        paper="Alzantot et al. 2018",
        variant=variant,
        search=partial(genetic_search, population=population, iterations=iterations, variant=variant),
        transform=swap,
        constraints=constraints,
        off=(*off, "filter by the Google 1-billion-words language model"),
        stand_ins=tuple(s for s in stand_ins_of(swap, without) if s != ENCODER_STANDS_IN),
        constants={
            "k": (k, TEXTATTACK),
            "population": (population, TEXTATTACK),
            "iterations": (iterations, TEXTATTACK),
            "temperature": (0.3, TEXTATTACK),
            "share of words": (0.2, TEXTATTACK),
            "word cosine": (0.75, f"{TEXTATTACK}: squared distance 0.5"),
        },
    )


def pso(
    *,
    variant: Variant = "paper",
    synonyms: str | Path = "wordnet",
    population: int = 60,
    iterations: int = 20,
    without: Sequence[str] = (),
) -> Recipe:
    """Particle swarm optimisation (Zang et al., ACL 2020), with WordNet or neighbours in place of HowNet's sememes."""
    known(without)
    swap = synonyms_from(synonyms, 50)
    constraints, off = constraints_of(without, stop_words=lambda: StopWords(cased=variant == "textattack"))
    return Recipe(
        name="pso",
        paper="Zang et al. 2020",
        variant=variant,
        search=partial(pso_search, population=population, iterations=iterations, variant=variant),
        transform=swap,
        constraints=constraints,
        off=off,
        stand_ins=(f"{swap.name} in place of HowNet's sememes",),
        constants={"population": (population, TEXTATTACK), "iterations": (iterations, TEXTATTACK)},
    )


def random(*, synonyms: str | Path = "auto", k: int = 50, without: Sequence[str] = ()) -> Recipe:
    """Control: every word in random order to a random synonym, blind but for noticing that the victim broke."""
    return control("random", synonyms_from(synonyms, k), without)


def _by_gradient(game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]) -> Search[Any]:
    importance = yield from gradient_importance(game)
    return importance[words]
