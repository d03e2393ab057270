"""Words drawn anew from a masked language model, as in SSMBA: Ng, Cho, Ghassemi, EMNLP 2020 (arXiv:2009.10195).

A share of the words is masked one after the other, each in the text as it is by then, and a word is drawn from the
model's k likeliest. Differs: SSMBA corrupts all places at once and may draw the old word; here each place gets a new
one.
"""

import numpy as np

from ..attack.engine import Ask, Search
from ..attack.masked_lm import MaskedLM
from ..attack.text import WORD, Text, in_case_of


def resample(
    text: Text, lm: MaskedLM, alpha: float, random: np.random.Generator, *, k: int = 50
) -> Search[Text | None]:
    """max(1, round(alpha * words)) words drawn anew, in proportion to their probability; None where none could be."""
    words = list(text.editable)
    left = max(1, round(alpha * len(words)))
    for place in random.permutation(len(words)):
        index = words[int(place)]
        if not left:
            break
        field, start, end = text.spans[index]
        whole, old = text.fields[field], text.slots[index]
        (found,) = yield Ask(lm.fill, [(whole[:start], whole[end:], k)])
        spaced = whole[:start][-1:].isspace()
        fitting = [(lm.word(piece, spaced), chance) for piece, chance in found]
        fitting = [(word, p) for word, p in fitting if WORD.fullmatch(word) and word.casefold() != old.casefold()]
        if fitting:
            chances = np.array([p for _, p in fitting])
            text = text.replace(
                index, in_case_of(fitting[int(random.choice(len(fitting), p=chances / chances.sum()))][0], old)
            )
            left -= 1
    return text if text.changed else None
