"""Changes that keep the answer, after CheckList (Ribeiro et al. 2020): contractions, numbers, names and places."""

from typing import TYPE_CHECKING, Self

import numpy as np

from ...data.batch import make_key
from ..engine import Search
from ..text import Text, in_case_of

if TYPE_CHECKING:
    from ..victim import Victim

CONTRACTIONS = {
    ("are", "not"): "aren't",
    ("can", "not"): "can't",
    ("could", "not"): "couldn't",
    ("did", "not"): "didn't",
    ("does", "not"): "doesn't",
    ("do", "not"): "don't",
    ("had", "not"): "hadn't",
    ("has", "not"): "hasn't",
    ("have", "not"): "haven't",
    ("is", "not"): "isn't",
    ("might", "not"): "mightn't",
    ("must", "not"): "mustn't",
    ("need", "not"): "needn't",
    ("should", "not"): "shouldn't",
    ("was", "not"): "wasn't",
    ("were", "not"): "weren't",
    ("will", "not"): "won't",
    ("would", "not"): "wouldn't",
    ("i", "am"): "i'm",
    ("i", "have"): "i've",
    ("i", "will"): "i'll",
    ("i", "would"): "i'd",
    ("you", "are"): "you're",
    ("you", "have"): "you've",
    ("you", "will"): "you'll",
    ("you", "would"): "you'd",
    ("he", "is"): "he's",
    ("he", "will"): "he'll",
    ("he", "would"): "he'd",
    ("she", "is"): "she's",
    ("she", "will"): "she'll",
    ("she", "would"): "she'd",
    ("it", "is"): "it's",
    ("it", "will"): "it'll",
    ("we", "are"): "we're",
    ("we", "have"): "we've",
    ("we", "will"): "we'll",
    ("we", "would"): "we'd",
    ("they", "are"): "they're",
    ("they", "have"): "they've",
    ("they", "will"): "they'll",
    ("they", "would"): "they'd",
    ("that", "is"): "that's",
    ("there", "is"): "there's",
    ("what", "is"): "what's",
    ("where", "is"): "where's",
    ("who", "is"): "who's",
    ("who", "will"): "who'll",
    ("how", "is"): "how's",
}
"""Two words and their contraction; a list of our own. Those that stand for two phrases ("he's") have the commoner."""

EXPANSIONS = {short: " ".join(long) for long, short in CONTRACTIONS.items()} | {"cannot": "can not"}


def _listed(names: str) -> tuple[str, ...]:
    return tuple(names.split())


FIRST_NAMES = _listed("""
    James Mary John Patricia Robert Jennifer Michael Linda William Elizabeth David Barbara Richard Susan Joseph Jessica
    Thomas Sarah Charles Karen Daniel Nancy Matthew Lisa Anthony Betty Mark Margaret Donald Sandra Steven Ashley Paul
    Emily Andrew Donna Joshua Michelle Kenneth Carol Kevin Amanda Brian Dorothy George Melissa Edward Deborah Peter
    Laura Helen Anna Alice Emma Julia Oliver Jack Harry Simon Lucy Sophie Martin
""")
LAST_NAMES = _listed("""
    Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez Wilson Anderson
    Taylor Moore Jackson Lee Perez Thompson White Harris Sanchez Clark Ramirez Lewis Robinson Walker Young Allen King
    Wright Scott Torres Nguyen Hill Flores Green Adams Nelson Baker Hall Rivera Campbell Mitchell Carter Roberts Evans
    Turner Phillips Parker Edwards Collins Stewart Morris Murphy Cook Rogers
""")
CITIES = _listed("""
    London Paris Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Athens Moscow Istanbul Cairo Tokyo Beijing
    Shanghai Delhi Mumbai Bangkok Singapore Sydney Melbourne Toronto Montreal Chicago Boston Seattle Houston Dallas
    Denver Miami Atlanta Philadelphia Detroit Phoenix Portland Baltimore Amsterdam Brussels Stockholm Oslo Copenhagen
    Helsinki Budapest Barcelona Milan Munich Hamburg Manchester Liverpool Glasgow Edinburgh Nairobi Lagos Lima Bogota
""")
COUNTRIES = _listed("""
    France Germany Spain Italy Austria Poland Portugal Ireland Greece Russia Turkey Egypt Japan China India Thailand
    Australia Canada Mexico Brazil Argentina Chile Peru Colombia Norway Sweden Denmark Finland Hungary Belgium
    Netherlands Switzerland Ukraine Romania Kenya Nigeria Ghana Morocco Israel Iran Iraq Pakistan Vietnam Indonesia
    Malaysia Philippines Cuba England Scotland Wales
""")
_LISTS = (FIRST_NAMES, LAST_NAMES, CITIES, COUNTRIES)
_LONGEST = 15  # digits of a number that is changed: what 64 bits hold with room to spare


class CheckList:
    """Contractions drawn together and apart, numbers, names and places exchanged.

    - "is not" and "isn't": both ways. Drawing together puts the new word in slot i and empties slot i + 1.
    - numbers in ASCII digits: others of as many digits, at most `share` away (TextAttack: up to 100 %).
    - first names, last names, cities, countries: others from the same short list of ours. A name is a capitalised word
      that is in a list. TextAttack asks flair's tagger for named entities, so it finds names that no list has.

    draws: how many numbers or names are tried (TextAttack 0.3.11: 3). Random draws depend on seed, text and index.
    """

    def __init__(self, *, draws: int = 3, share: float = 0.2, seed: int = 0) -> None:
        self.draws, self.share, self.seed = draws, share, seed
        self.identity = f"seed {seed}"
        self.name = (
            f"contractions, numbers within {share:.0%}, names and places from lists of "
            f"{', '.join(str(len(names)) for names in _LISTS)}"
        )

    def candidates(self, text: Text, index: int) -> Search[list[Text]]:
        """The contraction first, then numbers or names."""
        word = text.slots[index]
        key = make_key("checklist", self.seed, *text.fields, index)
        random = np.random.default_rng(key & (2**63 - 1))
        words = [expanded(word), *self._numbers(word, random), *self._names(word, random)]
        found = [text.replace(index, new) for new in words if new and new != word]
        found += contracted(text, index)
        return list(dict.fromkeys(found))
        yield

    def bound(self, victim: "Victim") -> Self:
        """The same: nothing of the victim is needed."""
        return self

    def _numbers(self, word: str, random: np.random.Generator) -> list[str]:
        if not (word.isascii() and word.isdigit() and len(word) <= _LONGEST):
            return []
        value, width = int(word), len(word)
        spread = max(1, int(value * self.share))
        smallest = 10 ** (width - 1) if width > 1 and word[0] != "0" else 0
        low, high = max(value - spread, smallest), min(value + spread, 10**width - 1)
        others = [number for number in range(low, high + 1) if number != value] if high - low < 1000 else None
        if others is not None:
            drawn = [others[place] for place in random.permutation(len(others))[: self.draws]]
        else:  # too many to list: a draw of the number itself is dropped by the caller
            drawn = [int(number) for number in random.integers(low, high + 1, self.draws)]
        return [str(number).zfill(width) for number in drawn]

    def _names(self, word: str, random: np.random.Generator) -> list[str]:
        found: list[str] = []
        for names in _LISTS:
            if word in names:  # capitalised, or it would not be in the list
                others = [name for name in names if name != word]
                found += [others[place] for place in random.permutation(len(others))[: self.draws]]
        return found


def expanded(word: str) -> str | None:
    """A contraction as two words, in the case of the word; None where it is none."""
    long = EXPANSIONS.get(word.lower().replace("\u2019", "'"))
    return None if long is None else in_case_of(long, word)


def contracted(text: Text, index: int) -> list[Text]:
    """The text with words index and index + 1 drawn together, if that is a contraction and one space parts them."""
    if index + 1 >= len(text) or text.field_of(index) != text.field_of(index + 1):
        return []
    first, second = text.slots[index], text.slots[index + 1]
    short = CONTRACTIONS.get((first.lower(), second.lower()))
    (field, _, end), (_, start, _) = text.spans[index], text.spans[index + 1]
    if short is None or text.fields[field][end:start] != " ":
        return []
    return [text.edit({index: in_case_of(short, f"{first} {second}"), index + 1: ""})]
