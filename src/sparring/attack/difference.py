"""What an attack changed, for people to read: a word-level difference, and hidden characters made visible."""

from collections import Counter
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

import regex

from .text import WORD

Operation: TypeAlias = Literal["same", "deleted", "inserted"]
Difference: TypeAlias = list[tuple[Operation, str]]

_PIECE = regex.compile(r"\s+|\X")  # between words: white space in one piece, else one visible character each
_COST = 1_000_000
"""Most pairs of equal words that are searched for the best alignment; a text of one word over and over has n²."""

_JOINING = "".join(
    rf"\p{{{script}}}"
    for script in (
        *("Arabic", "Syriac", "Mongolian", "Nko", "Tibetan", "Myanmar", "Khmer", "Sinhala", "Devanagari", "Bengali"),
        *("Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam"),
    )
)
_EMOJI = r"\p{Extended_Pictographic}(?:\p{Emoji_Modifier}|[\ufe0e\ufe0f])?"
_SHOWN = regex.compile(
    r"(?P<ordinary>\U0001f3f4[\U000e0030-\U000e007a]{3,6}\U000e007f"  # flags of England, Scotland, Wales ...
    rf"|{_EMOJI}(?:\u200d{_EMOJI})*"
    r"|\r\n"
    r"|[0-9#*]\ufe0f\u20e3"  # keycaps
    r"|\p{Han}[\U000e0100-\U000e01ef]"  # variants of ideographs
    r"|\p{Mongolian}[\u180b-\u180f]"
    rf"|[{_JOINING}][\u200c\u200d])"  # scripts that are spelled with joiners
    r"|[[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]--[\t\n\p{Prepended_Concatenation_Mark}]]",
    regex.V1,
)


def difference(original: str, adversarial: str) -> Difference:
    """Segments (operation, text) that lead from one text to the other, cut at words.

    Exact: "same" and "deleted" joined are the original, "same" and "inserted" the adversarial text. No segment is
    empty, and no two neighbours have the same operation. A word that was exchanged is a deletion and an insertion.
    """
    if original == adversarial:
        return [("same", original)] if original else []
    return _joined(_align(_pieces(original), _pieces(adversarial)))


def visible(text: str) -> str:
    """The text with its hidden characters written out, such as ⟨U+202E⟩, for a terminal or a page.

    Written out are control characters (line ends and tab excepted), bidirectional marks, embeddings and overrides,
    zero-width and other ignorable characters, line and paragraph separators, and lone surrogates. Left alone is what
    ordinary text is spelled with: joiners and variation selectors of emoji, joiners in Arabic, Indic and like scripts,
    letters of every direction. A text that holds "⟨U+202E⟩" itself reads the same.
    """
    return _SHOWN.sub(lambda match: match[0] if match["ordinary"] else f"⟨U+{ord(match[0]):04X}⟩", text)


def _pieces(text: str) -> list[str]:
    """Words and the pieces between them; joined, they are the text."""
    pieces: list[str] = []
    end = 0
    for match in WORD.finditer(text):
        gap = text[end : match.start()]
        pieces += (gap,) if gap == " " else _PIECE.findall(gap)
        pieces.append(match[0])
        end = match.end()
    return pieces + _PIECE.findall(text[end:])


def _align(old: list[str], new: list[str]) -> Difference:
    """Words that stay, in order, and between each two of them what was put in place of what."""
    segments: Difference = []
    start, begin = 0, 0
    for i, j in [*_kept(old, new), (len(old), len(new))]:
        segments += _exchanged(old[start:i], new[begin:j])
        segments.append(("same", "".join(old[i : i + 1])))
        start, begin = i + 1, j + 1
    return segments


def _kept(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """Positions of the words that both texts have: only words are aligned, for every space is like every other."""
    at = [i for i, piece in enumerate(old) if WORD.match(piece)]
    to = [j for j, piece in enumerate(new) if WORD.match(piece)]
    words, others = [old[i] for i in at], [new[j] for j in to]
    counts = Counter(others)
    if sum(n * counts[word] for word, n in Counter(words).items()) > _COST:
        return []
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return [(at[a + k], to[b + k]) for a, b, size in blocks for k in range(size)]


def _exchanged(old: list[str], new: list[str]) -> Difference:
    """One passage in place of another: word by word where nothing but words differs, whole otherwise."""
    if old == new:
        return [("same", "".join(old))]
    if len(old) == len(new) and all(a == b or (WORD.match(a) and WORD.match(b)) for a, b in zip(old, new, strict=True)):
        pairs: Difference = []
        for a, b in zip(old, new, strict=True):
            pairs += [("same", a)] if a == b else [("deleted", a), ("inserted", b)]
        return pairs
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - head) if old[-1 - i] != new[-1 - i]), shorter - head)
    ends = len(old) - tail, len(new) - tail
    changed: Difference = [("deleted", "".join(old[head : ends[0]])), ("inserted", "".join(new[head : ends[1]]))]
    return [("same", "".join(old[:head])), *changed, ("same", "".join(old[ends[0] :]))]


def _joined(segments: Difference) -> Difference:
    joined: Difference = []
    for operation, text in segments:
        if not text:
            continue
        if joined and joined[-1][0] == operation:
            joined[-1] = (operation, joined[-1][1] + text)
        else:
            joined.append((operation, text))
    return joined
