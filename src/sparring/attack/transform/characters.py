"""Edits of one character: neighbours swapped, a letter exchanged, dropped or put in, a look-alike, a space inside.

What DeepWordBug (Gao et al. 2018) and TextBugger (Li et al. 2019) do to a word. A character is what a reader sees as
one (a grapheme cluster), so an accent never leaves its letter.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
import regex

from ...data.batch import make_key
from ...errors import SettingError
from ..engine import Search
from ..text import Text

if TYPE_CHECKING:
    from ..victim import Victim

_GRAPHEME = regex.compile(r"\X")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

HOMOGLYPHS = dict(
    zip(
        _LETTERS + _LETTERS.upper(),
        "\u0430\u042c\u0441\u0501\u0435\u0584\u0261\u04bb\u0456\u0458\u043a\u04cf\u217f"  # a to m
        "\u0578\u043e\u0440\u051b\u0433\u0455\u0442\u057d\u0475\u051d\u0445\u0443\u1d22"  # n to z
        "\u0410\u0412\u0421\u13a0\u0415\u03dc\u050c\u041d\u0406\u0408\u041a\u13de\u041c"  # A to M
        "\u039d\u041e\u0420\u051a\u13a1\u0405\u0422\u054d\u0474\u051c\u0425\u03a5\u0396",  # N to Z
        strict=True,
    )
)
"""A look-alike of each ASCII letter, from Cyrillic, Greek, Armenian, Cherokee and phonetic letters. Chosen by us in the
spirit of Unicode's confusables; TextAttack's table covers lower-case letters and digits and differs in places."""


def graphemes(word: str) -> list[str]:
    """A word as characters that a reader sees."""
    return _GRAPHEME.findall(word)


# the edits: each makes a new word of the old one's characters, at a place


def _swap(units: list[str], at: int, random: np.random.Generator) -> list[str]:
    return [*units[:at], units[at + 1], units[at], *units[at + 2 :]]


def _substitute(units: list[str], at: int, random: np.random.Generator) -> list[str]:
    return [*units[:at], _letter(units, random), *units[at + 1 :]]


def _delete(units: list[str], at: int, random: np.random.Generator) -> list[str]:
    return [*units[:at], *units[at + 1 :]]


def _insert(units: list[str], at: int, random: np.random.Generator) -> list[str]:
    return [*units[:at], _letter(units, random), *units[at:]]


def _space(units: list[str], at: int, random: np.random.Generator) -> list[str]:
    return [*units[:at], " ", *units[at:]]


def _homoglyph(units: list[str], at: int, random: np.random.Generator) -> list[str]:
    return [*units[:at], HOMOGLYPHS.get(units[at], units[at]), *units[at + 1 :]]


def _letter(units: list[str], random: np.random.Generator) -> str:
    # TextAttack draws from both cases; a capital amid small letters is a second error, so we follow the word
    letter = _LETTERS[int(random.integers(len(_LETTERS)))]
    return letter.upper() if "".join(units).isupper() and len(units) > 1 else letter


_EDITS: dict[str, Callable[[list[str], int, np.random.Generator], list[str]]] = {
    "swap": _swap,
    "substitute": _substitute,
    "delete": _delete,
    "insert": _insert,
    "space": _space,
    "homoglyph": _homoglyph,
}


class CharacterEdits:
    """Words with one character edited, for each of the kinds in turn.

    kinds: of "swap" (with the next character), "substitute" and "insert" (a random small letter, a capital in a word of
    capitals), "delete", "space" (a space inside, which splits the word), "homoglyph".
    one: one random place for each kind, among those that change the word, as both attacks have it in TextAttack; False
    gives all places.
    skip_ends: the first and the last character stay (TextBugger); not for look-alikes.
    Random draws depend on seed, kind, text and index alone. A word of one character keeps it, but for a look-alike.
    """

    def __init__(
        self,
        kinds: Sequence[str] = ("swap", "substitute", "delete", "insert"),
        *,
        one: bool = True,
        skip_ends: bool = False,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        unknown = [kind for kind in kinds if kind not in _EDITS]
        if unknown or not kinds:
            raise SettingError(f"kinds of character edits: {list(kinds)!r}; known are {', '.join(_EDITS)}")
        self.kinds, self.one, self.skip_ends, self.seed = tuple(kinds), one, skip_ends, seed
        self.identity = f"seed {seed}"
        ends = ", ends kept" if skip_ends else ""
        self.name = name or f"character edits: {', '.join(kinds)} ({'one random place' if one else 'all places'}{ends})"

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """One text a kind, or one a kind and place; fewer where an edit would change nothing or leave stray spaces."""
        word = text.slots[index]
        units = graphemes(word)
        found: dict[str, None] = {}
        for kind in self.kinds:
            key = make_key("characters", kind, self.seed, *text.fields, index)
            random = np.random.default_rng(key & (2**63 - 1))
            places = self._places(kind, units)
            if self.one:
                places = [int(place) for place in random.permutation(places)]  # the first that changes the word
            for place in places:
                new = "".join(_EDITS[kind](units, place, random))
                if new == word or not well_spaced(new):
                    continue
                found[new] = None
                if self.one:
                    break
        return list(dict.fromkeys(text.replace(index, new) for new in found))
        yield

    def bound(self, victim: "Victim") -> Self:
        """The same: nothing of the victim is needed."""
        return self

    def _places(self, kind: str, units: list[str]) -> list[int]:
        if kind == "homoglyph":
            return [place for place, unit in enumerate(units) if unit in HOMOGLYPHS]
        if len(units) < 2:
            return []
        first, end = (1, len(units) - 1) if self.skip_ends else (0, len(units))
        if kind == "space":
            first = max(first, 1)
        return list(range(first, end - 1 if kind == "swap" else end))  # never after the last character, as TextAttack


def well_spaced(slot: str) -> bool:
    """Whether a slot holds words with single spaces between them and none around: nothing is left to tidy up."""
    return bool(slot) and slot == slot.strip() and "  " not in slot
