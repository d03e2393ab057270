"""Published attacks, each a short composition of a search, a way to change words, and constraints.

Every constant says where it comes from. `variant` chooses the behaviour where the toolkit TextAttack (0.3.11) differs
from the paper or its authors' code: "paper" by default. `without` names constraints to be left off (see CONSTRAINTS);
what is off, and what stands in for a resource that the paper used, is part of every result.

Options that recipes share: synonyms, see `transform.synonyms.synonyms`; masked_lm, a folder or hub name (default: the
resource); seed, of random edits.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..errors import DataError, ModelError, SettingError
from ..settings import nearest
from .beam import beam
from .charmer import ALPHABET, AnyCharacter, charmer
from .clare import clare
from .constrain import Constraint, CountOfWords, EditDistance, ShareOfWords, StopWords
from .controls import random_words
from .engine import Ask, Search
from .game import Answers, Game, pick
from .lexical import PartOfSpeech, WordCosine
from .masked_lm import MaskedLM
from .population import genetic as genetic_search
from .population import pso as pso_search
from .recipe import Recipe, Variant
from .search import by_deletion, by_flip, by_flip_of_unknown, by_saliency, by_unknown, greedy
from .search import pwws as pwws_search
from .similarity import Encoder, SentenceSimilarity
from .text import Text
from .transform import Transform
from .transform.characters import CharacterEdits
from .transform.checklist import CheckList
from .transform.combine import AnyOf
from .transform.gradient import HotFlip, gradient_importance
from .transform.masked import BertAttackSwap, MaskedInsert, MaskedMerge, MaskedSwap
from .transform.synonyms import NeighbourSwap
from .transform.synonyms import synonyms as synonyms_from

CONSTRAINTS = ("stop_words", "word_cosine", "part_of_speech", "similarity", "share_of_words", "edit_distance")
"""What `without` may name."""
TEXTATTACK, PAPER, CODE, OURS = "TextAttack 0.3.11", "the paper", "the authors' code", "sparring"
_ENCODER_STANDS_IN = "MiniLM mean pooling stands in for the Universal Sentence Encoder"


def textfooler(
    *, variant: Variant = "paper", synonyms: str | Path = "auto", k: int = 50, without: Sequence[str] = ()
) -> Recipe:
    """TextFooler (Jin, Jin, Zhou, Szolovits, AAAI 2020).

    Its code measures similarity as 1 - arccos(cosine) with threshold 0.5, which is 0.8408 in angular terms, on windows
    of 15 words of the current text, 0.1 where the text is shorter. TextAttack lets short texts pass. Both here ask the
    victim only about candidates that pass; the authors' code asks about all and discards afterwards.
    """
    _known(without)
    swap = synonyms_from(synonyms, k)
    if variant == "paper":
        close = _similar(0.5, metric="radian", window=15, against="current", short="check", short_threshold=0.1)
    else:
        close = _similar(0.840845057, metric="angular", window=15, against="current", short="skip")
    constraints, off = _constraints(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        word_cosine=_word_cosine(0.5, swap),
        part_of_speech=PartOfSpeech,
        similarity=close,
    )
    importance = by_flip if variant == "paper" else by_deletion
    search = partial(greedy, importance=importance, above_clean=variant == "paper", choice=_most_similar(without))
    return Recipe(
        name="textfooler",
        paper="Jin et al. 2020",
        variant=variant,
        search=search,
        transform=swap,
        constraints=constraints,
        off=off,
        stand_ins=_stand_ins(swap, without),
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
    _known(without)
    swap = synonyms_from(synonyms, 50)
    constraints, off = _constraints(without, stop_words=lambda: StopWords(cased=variant == "textattack"))
    return Recipe(
        name="pwws",
        paper="Ren et al. 2019",
        variant=variant,
        search=pwws_search if variant == "paper" else partial(greedy, importance=by_saliency),
        transform=swap,
        constraints=constraints,
        off=(*off, "swaps of named entities with others of the data set"),
        stand_ins=() if synonyms == "wordnet" else (f"{swap.name} in place of WordNet",),
        constants={"order": ("softmax(saliency) * gain", PAPER if variant == "paper" else TEXTATTACK)},
    )


def bert_attack(
    *,
    variant: Variant = "paper",
    masked_lm: str | Path | None = None,
    k: int | None = None,
    without: Sequence[str] = (),
) -> Recipe:
    """BERT-Attack (Li, Ma, Guo, Xue, Qiu, EMNLP 2020).

    The authors' code never scores or attacks the last word, tests the share of words before an edit and so allows one
    more, and leaves the last candidate in the text where none helped: not repeated here.
    """
    _known(without)
    k = (48 if variant == "paper" else 8) if k is None else k
    constraints, off = _constraints(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        share_of_words=lambda: ShareOfWords(0.4),
        **({"similarity": _similar(0.2, metric="cosine", window=None)} if variant == "textattack" else {}),
    )
    paper = variant == "paper"
    return Recipe(
        name="bert-attack",
        paper="Li et al. 2020",
        variant=variant,
        search=partial(
            greedy,
            importance=by_flip_of_unknown if paper else by_unknown,
            choice=_first if paper else _most_similar(without),
        ),
        transform=BertAttackSwap(MaskedLM.load(masked_lm), k, anew=not paper),
        constraints=constraints,
        off=(*off, "antonym filter by counter-fitted vectors (cosine 0.4)") if paper else off,
        stand_ins=() if paper or "similarity" in without else (_ENCODER_STANDS_IN,),
        constants={
            "k": (k, CODE if paper else TEXTATTACK),
            "share of words": (0.4, CODE),
            **({} if paper else {"similarity": ("cosine 0.2, whole text", TEXTATTACK)}),
        },
    )


def bae(
    *,
    variant: Variant = "paper",
    kind: Literal["R", "I", "R+I"] = "R",
    masked_lm: str | Path | None = None,
    k: int = 50,
    without: Sequence[str] = (),
) -> Recipe:
    """BAE (Garg & Ramakrishnan, EMNLP 2020): replace words (R), insert words (I), or both.

    The code that it follows means arccos(cosine) <= 0.2, a cosine of 0.980067. TextAttack takes the angular threshold
    0.936338 for a cosine, which lets more pass.
    """
    _known(without)
    if kind not in ("R", "I", "R+I"):
        raise SettingError(f"bae: kind is {kind!r}; choose R (replace), I (insert) or R+I")
    lm = MaskedLM.load(masked_lm)
    threshold = 0.9800665778 if variant == "paper" else 0.936338023
    replace, insert = MaskedSwap(lm, k), MaskedInsert(lm, k)
    ways: Mapping[str, Transform] = {"R": replace, "I": insert, "R+I": AnyOf(replace, insert)}
    constraints, off = _constraints(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        **({"part_of_speech": PartOfSpeech} if kind == "R" else {}),  # an inserted word replaces none
        similarity=_similar(
            threshold, metric="cosine", window=15, short="skip" if variant == "textattack" else "check"
        ),
    )
    return Recipe(
        name="bae" if kind == "R" else f"bae-{kind.lower()}",
        paper="Garg & Ramakrishnan 2020",
        variant=variant,
        search=partial(greedy, importance=by_deletion, choice=_most_similar(without)),
        transform=ways[kind],
        constraints=constraints,
        off=off,
        stand_ins=() if "similarity" in without else (_ENCODER_STANDS_IN,),
        constants={
            "kind": (kind, PAPER),
            "k": (k, TEXTATTACK),
            "similarity": (
                f"cosine {threshold:.6f}, window 15",
                "arccos(cosine) <= 0.2" if variant == "paper" else TEXTATTACK,
            ),
        },
    )


def textbugger(
    *, variant: Variant = "paper", synonyms: str | Path = "auto", seed: int = 0, without: Sequence[str] = ()
) -> Recipe:
    """TextBugger (Li, Ji, Du, Li, Wang, NDSS 2019), black box: insert, delete, swap, look-alike, synonym.

    Its threshold 0.8 is a cosine in the paper; TextAttack reads it as angular (cosine 0.809).
    """
    _known(without)
    swap = synonyms_from(synonyms, 5)
    constraints, off = _constraints(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        similarity=_similar(0.8, metric="cosine" if variant == "paper" else "angular", window=None),
    )
    bugs = AnyOf(
        CharacterEdits(("space", "delete", "swap"), skip_ends=True, seed=seed),
        CharacterEdits(("homoglyph",), seed=seed),
        swap,
    )
    return Recipe(
        name="textbugger",
        paper="Li et al. 2019",
        variant=variant,
        search=partial(greedy, importance=by_deletion, choice=_most_similar(without)),
        transform=bugs,
        constraints=constraints,
        off=off,
        stand_ins=_stand_ins(swap, without),
        constants={
            "k": (5, TEXTATTACK),
            "similarity": (
                f"{'cosine' if variant == 'paper' else 'angular'} 0.8",
                PAPER if variant == "paper" else TEXTATTACK,
            ),
            "random edits": ("one place a kind, drawn by seed, text and word", TEXTATTACK),
        },
    )


def deepwordbug(
    *, variant: Variant = "paper", seed: int = 0, all_places: bool = False, without: Sequence[str] = ()
) -> Recipe:
    """DeepWordBug (Gao, Lanchantin, Soffa, Qi, 2018), with an unknown word for importance as TextAttack has it.

    The variants differ in stop words alone: TextAttack knows them in lower case only. all_places: try every place of a
    word rather than a random one.
    """
    _known(without)
    constraints, off = _constraints(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        edit_distance=lambda: EditDistance(30),
    )
    return Recipe(
        name="deepwordbug",
        paper="Gao et al. 2018",
        variant=variant,
        search=partial(greedy, importance=by_unknown),
        transform=CharacterEdits(one=not all_places, seed=seed),
        constraints=constraints,
        off=off,
        constants={
            "edit distance": (30, f"{PAPER} and {TEXTATTACK}"),
            "random edits": ("all places" if all_places else "one place a kind", OURS if all_places else TEXTATTACK),
        },
    )


def a2t(*, synonyms: str | Path = "auto", k: int = 20, without: Sequence[str] = ()) -> Recipe:
    """A2T (Yoo & Qi, Findings of EMNLP 2021): gradient order, made for adversarial training.

    The gradient is that of the gold label in eval mode; TextAttack's is of the predicted one in train mode.
    """
    _known(without)
    swap = synonyms_from(synonyms, k)
    return _a2t("a2t", swap, k, without, word_cosine=_word_cosine(0.8, swap))


def a2t_mlm(*, masked_lm: str | Path | None = None, k: int = 20, without: Sequence[str] = ()) -> Recipe:
    """A2T with words from a masked language model (Yoo & Qi 2021)."""
    _known(without)
    return _a2t("a2t-mlm", MaskedSwap(MaskedLM.load(masked_lm), k), k, without)


def _a2t(
    name: str, transform: Transform, k: int, without: Sequence[str], **more: Callable[[], Constraint | str]
) -> Recipe:
    constraints, off = _constraints(
        without,
        stop_words=StopWords,
        share_of_words=lambda: ShareOfWords(0.1, at_least=4),
        **more,
        part_of_speech=lambda: PartOfSpeech(noun_verb=False),
        similarity=_similar(0.9, metric="cosine", window=None),
    )
    return Recipe(
        name=name,
        paper="Yoo & Qi 2021",
        search=partial(greedy, importance=_by_gradient, choice=_most_similar(without)),
        transform=transform,
        constraints=constraints,
        off=off,
        stand_ins=(
            *(stand_in for stand_in in _stand_ins(transform, without) if stand_in != _ENCODER_STANDS_IN),
            *(() if "similarity" in without else ("MiniLM mean pooling stands in for the paper's sentence encoder",)),
        ),
        constants={
            "k": (k, CODE),
            "share of words": ("10 %, or 4", CODE),
            "similarity": ("cosine 0.9, whole text", CODE),
            **({"word cosine": (0.8, CODE)} if more else {}),
        },
    )


def hotflip(*, top_n: int = 50, width: int = 10, without: Sequence[str] = ()) -> Recipe:
    """HotFlip on words (Ebrahimi, Rao, Lowd, Dou, ACL 2018): a white-box attack, tokens and words aligned."""
    _known(without)
    constraints, off = _constraints(
        without,
        stop_words=StopWords,
        share_of_words=lambda: CountOfWords(2),
        word_cosine=_word_cosine(0.8, synonyms_from("auto")),
        part_of_speech=PartOfSpeech,
    )
    return Recipe(
        name="hotflip",
        paper="Ebrahimi et al. 2018",
        search=partial(beam, width=width),
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
    _known(without)
    swap = synonyms_from(synonyms, k)
    constraints, off = _constraints(
        without,
        stop_words=StopWords,
        share_of_words=lambda: ShareOfWords(0.2),
        word_cosine=_word_cosine(0.75, swap),  # |a - b|^2 <= 0.5 of unit vectors
    )
    return Recipe(
        name="genetic",
        paper="Alzantot et al. 2018",
        variant=variant,
        search=partial(genetic_search, population=population, iterations=iterations, variant=variant),
        transform=swap,
        constraints=constraints,
        off=(*off, "filter by the Google 1-billion-words language model"),
        stand_ins=tuple(s for s in _stand_ins(swap, without) if s != _ENCODER_STANDS_IN),
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
    _known(without)
    swap = synonyms_from(synonyms, 50)
    constraints, off = _constraints(without, stop_words=StopWords)
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


def checklist(*, seed: int = 0, without: Sequence[str] = ()) -> Recipe:
    """CheckList (Ribeiro, Wu, Guestrin, Singh, ACL 2020): contractions, numbers, names and places."""
    _known(without)
    return Recipe(
        name="checklist",
        paper="Ribeiro et al. 2020",
        search=partial(beam, width=1),
        transform=CheckList(seed=seed),
        stand_ins=("short lists of names and places in place of a named-entity recogniser",),
        constants={"width": (1, TEXTATTACK)},
    )


def clare_recipe(
    *, variant: Variant = "paper", masked_lm: str | Path | None = None, k: int = 50, without: Sequence[str] = ()
) -> Recipe:
    """CLARE (Li et al., NAACL 2021): replace, insert and merge with a masked language model."""
    _known(without)
    lm = MaskedLM.load(masked_lm)
    constraints, off = _constraints(
        without,
        stop_words=StopWords,
        similarity=_similar(0.7, metric="cosine", window=15),
    )
    return Recipe(
        name="clare",
        paper="Li et al. 2021",
        variant=variant,
        search=clare if variant == "paper" else partial(beam, width=1),
        transform=AnyOf(
            MaskedSwap(lm, k, least=5e-4), MaskedInsert(lm, k, least=0.0, both=False), MaskedMerge(lm, k, least=5e-3)
        ),
        constraints=constraints,
        off=off,
        stand_ins=() if "similarity" in without else (_ENCODER_STANDS_IN,),
        constants={
            "k": (k, TEXTATTACK),
            "least probability": ("replace 5e-4, insert 0, merge 5e-3", TEXTATTACK),
            "similarity": ("cosine 0.7, window 15", TEXTATTACK),
        },
    )


def charmer_recipe(
    *, edits: int = 10, positions: int = 20, alphabet: str = ALPHABET, pruthi: bool = False, without: Sequence[str] = ()
) -> Recipe:
    """Charmer (Abad Rocamora, Wu, Liu, Chrysos, Cevher, ICML 2024): single characters, at most `edits` of them."""
    _known(without)
    return Recipe(
        name="charmer",
        paper="Abad Rocamora et al. 2024",
        search=partial(charmer, edits=edits, positions=positions),
        transform=AnyCharacter(alphabet, pruthi=pruthi),
        constants={
            "edits": (edits, f"{PAPER}'s scripts; 1 in its code's defaults"),
            "positions": (positions, f"{PAPER}'s scripts; 5 in its code's defaults"),
        },
    )


def random_synonyms(*, synonyms: str | Path = "auto", k: int = 50, without: Sequence[str] = ()) -> Recipe:
    """Control: every word in random order to a random synonym, blind but for noticing that the victim broke."""
    return _control("random", synonyms_from(synonyms, k), without)


def random_characters(*, seed: int = 0, without: Sequence[str] = ()) -> Recipe:
    """Control: a random character edit in every word, in random order, blind but for noticing that the victim broke."""
    return _control("random-characters", CharacterEdits(seed=seed), without)


def _control(name: str, transform: Transform, without: Sequence[str]) -> Recipe:
    _known(without)
    constraints, off = _constraints(without, stop_words=StopWords)
    return Recipe(
        name=name,
        paper="control",
        search=random_words,
        transform=transform,
        constraints=constraints,
        off=off,
        stand_ins=tuple(s for s in _stand_ins(transform, without) if s != _ENCODER_STANDS_IN),
    )


RECIPES: Mapping[str, Callable[..., Recipe]] = {
    "textfooler": textfooler,
    "pwws": pwws,
    "bert-attack": bert_attack,
    "bae": bae,
    "textbugger": textbugger,
    "deepwordbug": deepwordbug,
    "a2t": a2t,
    "a2t-mlm": a2t_mlm,
    "hotflip": hotflip,
    "genetic": genetic,
    "pso": pso,
    "checklist": checklist,
    "clare": clare_recipe,
    "charmer": charmer_recipe,
    "random": random_synonyms,
    "random-characters": random_characters,
}


def recipe(name: str, **options: Any) -> Recipe:
    """A recipe by its name; options that it does not know are left out. SettingError for an unknown name."""
    if name not in RECIPES:
        raise SettingError(f"there is no recipe '{name}'; {nearest(name, RECIPES)}")
    known = inspect.signature(RECIPES[name]).parameters
    return RECIPES[name](**{option: value for option, value in options.items() if option in known})


# what recipes are made of


def _known(without: Iterable[str]) -> None:
    if isinstance(without, str):
        raise SettingError(f"without is {without!r}; give a list of names, such as [{without!r}]")
    for name in without:
        if name not in CONSTRAINTS:
            raise SettingError(f"there is no constraint '{name}' to go without; {nearest(name, CONSTRAINTS)}")


def _constraints(
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


def _similar(threshold: float, **settings: Any) -> Callable[[], Constraint]:
    """Sentence similarity by the default encoder, which is loaded when the constraint is made."""
    return lambda: SentenceSimilarity(Encoder.default(), threshold, **settings)


def _word_cosine(threshold: float, swap: Transform) -> Callable[[], Constraint | str]:
    """Word cosine in the vectors that a swap takes its words from.

    Thresholds of papers are meant for counter-fitted vectors. In the embedding table of a BERT hardly any two words are
    that close: the constraint would end the attack without a word, so there it is off, and the results say it.
    """
    if isinstance(swap, NeighbourSwap) and "stands in" not in swap.name:
        return lambda: WordCosine(threshold, swap.neighbours)
    return lambda: f"word cosine at least {threshold:g}: a threshold for counter-fitted vectors, which are not here"


def _stand_ins(swap: Transform, without: Sequence[str]) -> tuple[str, ...]:
    found = [] if "similarity" in without else [_ENCODER_STANDS_IN]
    if "stands in" in swap.name:
        found.append(swap.name)
    return tuple(found)


def _by_gradient(game: Game, transform: Transform, constraints: Sequence[Constraint], words: list[int]) -> Search[Any]:
    importance = yield from gradient_importance(game)
    return importance[words]


def _first(game: Game, current: Text, candidates: list[Text], answers: Answers) -> Search[int]:
    """The first candidate that breaks the victim, in the order that the language model gave them."""
    return int(answers.broken.argmax())
    yield


def _most_similar(without: Sequence[str]) -> Any:
    """Of the candidates that break the victim the one most like the original; without an encoder the strongest."""

    def choice(game: Game, current: Text, candidates: list[Text], answers: Answers) -> Search[int]:
        if "similarity" in without:
            return pick(answers.harm, answers.broken)
        broken = [i for i in range(len(candidates)) if answers.broken[i]]
        texts = [" ".join(game.original.fields), *(" ".join(candidates[i].fields) for i in broken)]
        first, *others = yield Ask(Encoder.default(), texts)
        return broken[pick([float(first @ other) for other in others])]

    return choice
