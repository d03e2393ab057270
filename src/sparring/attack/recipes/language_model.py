"""Attacks that ask a masked language model for words."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from ...errors import DataError, SettingError
from ..beam import beam
from ..clare import clare as clare_search
from ..constrain import Constraint, ShareOfWords, StopWords
from ..engine import Search
from ..game import Answers, Game
from ..lexical import PartOfSpeech, WordCosine
from ..masked_lm import MaskedLM
from ..recipe import Recipe, Variant
from ..search import by_deletion, by_flip_of_unknown, by_unknown, greedy
from ..text import Text
from ..transform import Transform
from ..transform.combine import AnyOf, InTurn
from ..transform.masked import BertAttackSwap, MaskedInsert, MaskedMerge, MaskedSwap
from ..transform.synonyms import counterfitted
from .parts import CODE, ENCODER_STANDS_IN, PAPER, TEXTATTACK, constraints_of, known, most_similar, similar

ANTONYMS = "antonym filter by counter-fitted vectors (cosine 0.4), for sentiment: antonym_filter=true switches it on"


def bert_attack(
    *,
    variant: Variant = "paper",
    masked_lm: str | Path | MaskedLM | None = None,
    k: int | None = None,
    antonym_filter: bool = False,
    without: Sequence[str] = (),
) -> Recipe:
    """BERT-Attack (Li, Ma, Guo, Xue, Qiu, EMNLP 2020).

    antonym_filter: no word whose counter-fitted vector has a cosine below 0.4 to the old one's, words without a vector
    excepted. The authors' code has it where the vectors are loaded, for sentiment; it needs the resource
    `counterfitted`, made from vectors.
    The authors' code never scores or attacks the last word, tests the share of words before an edit and so allows one
    more, and leaves the last candidate in the text where none helped: not repeated here.
    """
    known(without)
    k = (48 if variant == "paper" else 8) if k is None else k
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        share_of_words=lambda: ShareOfWords(0.4),
        **({"word_cosine": _no_antonyms} if antonym_filter else {}),
        **({"similarity": similar(0.2, metric="cosine", window=None)} if variant == "textattack" else {}),
    )
    paper = variant == "paper"
    return Recipe(
        name="bert-attack",
        paper="Li et al. 2020",
        variant=variant,
        search=partial(
            greedy,
            importance=by_flip_of_unknown if paper else by_unknown,
            choice=_first if paper else most_similar(without),
        ),
        transform=BertAttackSwap(MaskedLM.load(masked_lm), k, anew=not paper),
        constraints=constraints,
        off=(*off, ANTONYMS) if paper and not antonym_filter else off,
        stand_ins=() if paper or "similarity" in without else (ENCODER_STANDS_IN,),
        constants={
            "k": (k, CODE if paper else TEXTATTACK),
            "share of words": (0.4, CODE),
            **({"word cosine": (0.4, CODE)} if antonym_filter else {}),
            **({} if paper else {"similarity": ("cosine 0.2, whole text", TEXTATTACK)}),
        },
    )


def bae(
    *,
    variant: Variant = "paper",
    kind: Literal["R", "I", "R/I", "R+I"] = "R",
    masked_lm: str | Path | MaskedLM | None = None,
    k: int = 50,
    without: Sequence[str] = (),
) -> Recipe:
    """BAE (Garg & Ramakrishnan, EMNLP 2020): replace words (R), insert words (I), or both.

    The recipe `bae` replaces; `bae-i`, `bae-r-or-i` and `bae-r+i` are the others, and kind chooses between all four.
    The authors (in a letter that TextAttack's recipe quotes) hold a window of 15 words against the text just before the
    change, 1 - arccos(cosine) >= 0.8 as TextFooler's code measures it, and 0.1 where the text is shorter. TextAttack
    holds it against the original, takes the angular threshold 0.936338 for a cosine, and lets shorter texts pass.
    """
    known(without)
    if kind not in ("R", "I", "R/I", "R+I"):
        raise SettingError(f"bae: kind is {kind!r}; choose R (replace), I (insert), R/I (either) or R+I (both in turn)")
    lm = MaskedLM.load(masked_lm)
    paper = variant == "paper"
    replace, insert = MaskedSwap(lm, k), MaskedInsert(lm, k)
    ways: Mapping[str, Transform] = {
        "R": replace,
        "I": insert,
        "R/I": AnyOf(replace, insert),
        "R+I": InTurn(replace, insert),
    }
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        # an inserted word replaces none
        **({} if kind == "I" else {"part_of_speech": lambda: PartOfSpeech(insertions_pass=kind != "R")}),
        similarity=similar(0.8, metric="radian", against="current", short="check", short_threshold=0.1)
        if paper
        else similar(0.936338023, metric="cosine"),
    )
    return Recipe(
        name="bae" if kind == "R" else f"bae-{kind.lower().replace('/', '-or-')}",
        paper="Garg & Ramakrishnan 2020",
        variant=variant,
        search=partial(greedy, importance=by_deletion, choice=most_similar(without)),
        transform=ways[kind],
        constraints=constraints,
        off=off,
        stand_ins=() if "similarity" in without else (ENCODER_STANDS_IN,),
        constants={
            "kind": (kind, PAPER),
            "k": (k, TEXTATTACK),
            "similarity": (
                "1 - arccos 0.8 to the text before, window 15; 0.1 where shorter"
                if paper
                else "cosine 0.936338, window 15",
                f"the authors, quoted in {TEXTATTACK}" if paper else TEXTATTACK,
            ),
        },
    )


def bae_i(
    *,
    variant: Variant = "paper",
    masked_lm: str | Path | MaskedLM | None = None,
    k: int = 50,
    without: Sequence[str] = (),
) -> Recipe:
    """BAE-I: BAE (Garg & Ramakrishnan, EMNLP 2020) that inserts words, to the left or the right of a word."""
    return bae(kind="I", variant=variant, masked_lm=masked_lm, k=k, without=without)


def bae_r_or_i(
    *,
    variant: Variant = "paper",
    masked_lm: str | Path | MaskedLM | None = None,
    k: int = 50,
    without: Sequence[str] = (),
) -> Recipe:
    """BAE-R/I: BAE (Garg & Ramakrishnan, EMNLP 2020) that replaces a word or inserts one, whichever harms more."""
    return bae(kind="R/I", variant=variant, masked_lm=masked_lm, k=k, without=without)


def bae_r_i(
    *,
    variant: Variant = "paper",
    masked_lm: str | Path | MaskedLM | None = None,
    k: int = 50,
    without: Sequence[str] = (),
) -> Recipe:
    """BAE-R+I: BAE (Garg & Ramakrishnan, EMNLP 2020) that replaces a word, then inserts one beside it."""
    return bae(kind="R+I", variant=variant, masked_lm=masked_lm, k=k, without=without)


def clare(
    *,
    variant: Variant = "paper",
    masked_lm: str | Path | MaskedLM | None = None,
    k: int = 50,
    without: Sequence[str] = (),
) -> Recipe:
    """CLARE (Li et al., NAACL 2021): replace, insert and merge with a masked language model."""
    known(without)
    lm = MaskedLM.load(masked_lm)
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        similarity=similar(0.7, metric="cosine", window=15),
    )
    return Recipe(
        name="clare",
        paper="Li et al. 2021",
        variant=variant,
        search=clare_search if variant == "paper" else partial(beam, width=1),
        transform=AnyOf(
            MaskedSwap(lm, k, least=5e-4), MaskedInsert(lm, k, least=0.0, both=False), MaskedMerge(lm, k, least=5e-3)
        ),
        constraints=constraints,
        off=off,
        stand_ins=() if "similarity" in without else (ENCODER_STANDS_IN,),
        constants={
            "k": (k, TEXTATTACK),
            "least probability": ("replace 5e-4, insert 0, merge 5e-3", TEXTATTACK),
            "similarity": ("cosine 0.7, window 15", TEXTATTACK),
        },
    )


def _no_antonyms() -> Constraint:
    vectors = counterfitted()
    if vectors.vectors is None:
        raise DataError(
            "antonym_filter needs word vectors, and the resource counterfitted holds the nearest neighbours of words "
            "alone; add it from vectors: sparring resources add counterfitted --from FILE"
        )
    return WordCosine(0.4, vectors)


def _first(game: Game, current: Text, candidates: list[Text], answers: Answers) -> Search[int]:
    """The first candidate that breaks the victim, in the order that the language model gave them."""
    return int(answers.broken.argmax())
    yield
