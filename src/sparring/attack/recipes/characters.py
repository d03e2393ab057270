"""Attacks on the characters of words, and on surface forms."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..beam import beam
from ..charmer import ALPHABET, AnyCharacter
from ..charmer import charmer as charmer_search
from ..constrain import EditDistance, StopWords
from ..recipe import Recipe, Variant
from ..search import by_deletion, by_head_and_tail, by_unknown, greedy
from ..transform.characters import CharacterEdits
from ..transform.checklist import CheckList
from ..transform.combine import AnyOf
from ..transform.synonyms import synonyms as synonyms_from
from .parts import CODE, OURS, PAPER, TEXTATTACK, constraints_of, control, known, most_similar, similar, stand_ins_of


def textbugger(
    *, variant: Variant = "paper", synonyms: str | Path = "auto", seed: int = 0, without: Sequence[str] = ()
) -> Recipe:
    """TextBugger (Li, Ji, Du, Li, Wang, NDSS 2019), black box: insert, delete, swap, look-alike, synonym.

    Its threshold 0.8 is a cosine in the paper; TextAttack reads it as angular (cosine 0.809).
    """
    known(without)
    swap = synonyms_from(synonyms, 5)
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        similarity=similar(0.8, metric="cosine" if variant == "paper" else "angular", window=None),
    )
    bugs = AnyOf(
        CharacterEdits(("space", "delete", "swap"), skip_ends=True, seed=seed),
        CharacterEdits(("homoglyph",), one=variant == "paper", seed=seed),
        swap,
    )
    return Recipe(
        name="textbugger",
        paper="Li et al. 2019",
        variant=variant,
        search=partial(greedy, importance=by_deletion, choice=most_similar(without)),
        transform=bugs,
        constraints=constraints,
        off=off,
        differs=()
        if variant == "textattack"
        else (
            "words are ordered by the harm of deleting them; the paper orders sentences first, then their words",
            "a letter becomes one that looks like it, none becomes its neighbour on the keyboard",
        ),
        stand_ins=stand_ins_of(swap, without),
        constants={
            "k": (5, TEXTATTACK),
            "similarity": (
                f"{'cosine' if variant == 'paper' else 'angular'} 0.8",
                PAPER if variant == "paper" else TEXTATTACK,
            ),
            "random edits": ("one place a kind, drawn by seed, text and word", TEXTATTACK),
            "look-alikes": ("one place", PAPER) if variant == "paper" else ("all places", TEXTATTACK),
        },
    )


def deepwordbug(
    *,
    variant: Variant = "paper",
    seed: int = 0,
    all_places: bool = False,
    combined: bool = False,
    without: Sequence[str] = (),
) -> Recipe:
    """DeepWordBug (Gao, Lanchantin, Soffa, Qi, 2018), with an unknown word for importance as TextAttack has it.

    The variants differ in stop words alone: TextAttack knows them in lower case only. all_places: try every place of a
    word rather than a random one. combined: order words by their head and tail scores, `combined` in the authors' code.
    """
    known(without)
    constraints, off = constraints_of(
        without,
        stop_words=lambda: StopWords(cased=variant == "textattack"),
        edit_distance=lambda: EditDistance(30),
    )
    return Recipe(
        name="deepwordbug",
        paper="Gao et al. 2018",
        variant=variant,
        search=partial(greedy, importance=by_head_and_tail if combined else by_unknown),
        transform=CharacterEdits(one=not all_places, seed=seed),
        constraints=constraints,
        off=off,
        differs=()
        if variant == "textattack" or combined
        else (
            "words are ordered by the harm of an unknown word in their place, as in TextAttack; combined=true orders "
            "them by head and tail scores",
        ),
        constants={
            "edit distance": (30, TEXTATTACK),
            **({"importance": ("head and tail scores", CODE)} if combined else {}),
            "random edits": ("all places" if all_places else "one place a kind", OURS if all_places else TEXTATTACK),
        },
    )


def charmer(
    *, edits: int = 10, positions: int = 20, alphabet: str = ALPHABET, pruthi: bool = False, without: Sequence[str] = ()
) -> Recipe:
    """Charmer (Abad Rocamora, Wu, Liu, Chrysos, Cevher, ICML 2024): single characters, at most `edits` of them."""
    known(without)
    return Recipe(
        name="charmer",
        paper="Abad Rocamora et al. 2024",
        search=partial(charmer_search, edits=edits, positions=positions),
        transform=AnyCharacter(alphabet, pruthi=pruthi),
        constants={
            "edits": (edits, f"{PAPER}'s scripts; 1 in its code's defaults"),
            "positions": (positions, f"{PAPER}'s scripts; 5 in its code's defaults"),
        },
    )


def checklist(*, seed: int = 0, without: Sequence[str] = ()) -> Recipe:
    """CheckList (Ribeiro, Wu, Guestrin, Singh, ACL 2020): contractions, numbers, names and places."""
    known(without)
    return Recipe(
        name="checklist",
        paper="Ribeiro et al. 2020",
        search=partial(beam, width=1),
        transform=CheckList(seed=seed),
        stand_ins=("short lists of names and places in place of a named-entity recogniser",),
        constants={"width": (1, TEXTATTACK)},
    )


def random_characters(*, seed: int = 0, without: Sequence[str] = ()) -> Recipe:
    """Control: a random character edit in every word, in random order, blind but for noticing that the victim broke."""
    return control("random-characters", CharacterEdits(seed=seed), without)
