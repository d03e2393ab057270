"""Sentences as words and what stands between them: a word can be exchanged, every other byte stays.

A `Text` has one slot for each word of the original. An edit changes what a slot holds: another word, nothing (the word
is deleted), or several words (one was inserted beside it, or it was split). Slots never move, so "which words were
changed" is a comparison with the original, and an index means the same word all through a search.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import regex

_LETTER = r"[\p{L}\p{N}_]"
_INSIDE = r"[\p{L}\p{M}\p{N}_\u200c\u200d]"  # marks belong to the letter before them, joiners to the word
WORD = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}]"  # written without spaces: each character is a word
    rf"|{_LETTER}{_INSIDE}*(?:['’ʼ\-·]{_LETTER}{_INSIDE}*)*"  # contractions and hyphenated words are one
)
"""What a word is. Thai, Lao, Khmer and Burmese, written without spaces too, come out as one word a run of letters."""


@dataclass(frozen=True, eq=False)
class _Frame:
    """What the texts of one search share: the original, taken apart."""

    fields: tuple[str, ...]
    frozen: frozenset[int]
    words: tuple[str, ...]
    field_of: tuple[int, ...]
    """Which field each word stands in."""
    before: tuple[str, ...]
    """What stands between a word and the one before it, or the beginning of its field."""
    after: tuple[str, ...]
    """What stands after the last word of each field: all of it where the field has no word."""


class Text:
    """One or several fields (a sentence; premise and hypothesis), as slots that hold words. Immutable.

    Two texts are equal when they read the same.
    """

    __slots__ = ("__dict__", "_frame", "slots")

    def __init__(self, frame: _Frame, slots: tuple[str, ...]) -> None:
        self._frame = frame
        self.slots = slots
        """What each word of the original has become."""

    @classmethod
    def of(cls, *fields: str, frozen: Iterable[int] = ()) -> "Text":
        """Take fields apart. frozen: numbers of the fields that no edit may touch, such as 0 for a premise."""
        words: list[str] = []
        field_of: list[int] = []
        before: list[str] = []
        after: list[str] = []
        for number, field in enumerate(fields):
            end = 0
            for match in WORD.finditer(field):
                words.append(match[0])
                field_of.append(number)
                before.append(field[end : match.start()])
                end = match.end()
            after.append(field[end:])
        frame = _Frame(fields, frozenset(frozen), tuple(words), tuple(field_of), tuple(before), tuple(after))
        return cls(frame, frame.words)

    # reading

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The text as it reads, one string a field."""
        return self._rendered[0]

    @cached_property
    def spans(self) -> tuple[tuple[int, int, int], ...]:
        """(field, start, end) of each slot in `fields`, in characters; start = end where a word was deleted."""
        return self._rendered[1]

    @property
    def original(self) -> tuple[str, ...]:
        """What the slots held at first."""
        return self._frame.words

    @property
    def frozen(self) -> frozenset[int]:
        """Numbers of the fields that no edit may touch."""
        return self._frame.frozen

    @cached_property
    def editable(self) -> tuple[int, ...]:
        """Indices of the words that are not in a frozen field."""
        frame = self._frame
        return tuple(i for i, field in enumerate(frame.field_of) if field not in frame.frozen)

    @cached_property
    def changed(self) -> tuple[int, ...]:
        """Indices of the slots that differ from the original."""
        return tuple(i for i, (new, old) in enumerate(zip(self.slots, self.original, strict=True)) if new != old)

    def field_of(self, index: int) -> int:
        """Number of the field that a word stands in."""
        return self._frame.field_of[index]

    def differs(self, other: "Text") -> tuple[int, ...]:
        """Indices of the slots that differ between two texts of one search."""
        if other.slots is self.slots:
            return ()
        return tuple(i for i, (a, b) in enumerate(zip(self.slots, other.slots, strict=True)) if a != b)

    def __len__(self) -> int:
        return len(self.slots)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and other.fields == self.fields

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return f"Text{self.fields!r}"

    # editing

    def replace(self, index: int, new: str) -> "Text":
        """The text with another content in one slot; "" deletes the word and the space that came with it."""
        slots = list(self.slots)
        slots[index] = new
        return Text(self._frame, tuple(slots))

    def delete(self, index: int) -> "Text":
        """The text without a word, and without the space before it (or after it where none stands before)."""
        return self.replace(index, "")

    def edit(self, edits: Mapping[int, str]) -> "Text":
        """The text with several slots changed at once."""
        slots = list(self.slots)
        for index, new in edits.items():
            slots[index] = new
        return Text(self._frame, tuple(slots))

    def with_slots(self, slots: Iterable[str]) -> "Text":
        """The text with all slots given; as many as there are."""
        slots = tuple(slots)
        if len(slots) != len(self.slots):
            raise ValueError(f"{len(slots)} slots for a text of {len(self.slots)}")
        return Text(self._frame, slots)

    @property
    def start(self) -> "Text":
        """The original."""
        return Text(self._frame, self._frame.words)

    @cached_property
    def _rendered(self) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
        frame = self._frame
        parts: list[list[str]] = [[] for _ in frame.fields]
        lengths = [0] * len(frame.fields)
        spans: list[tuple[int, int, int]] = []
        hungry = [False] * len(frame.fields)  # a deleted word that found no space before it takes the one after
        for field, gap, slot, old in zip(frame.field_of, frame.before, self.slots, frame.words, strict=True):
            if hungry[field]:
                gap, hungry[field] = gap.lstrip(), False
            if not slot and old:
                shorter = gap.rstrip()
                hungry[field] = shorter == gap
                gap = shorter
            start = lengths[field] + len(gap)
            spans.append((field, start, start + len(slot)))
            lengths[field] = start + len(slot)
            parts[field] += (gap, slot)
        ends = (end.lstrip() if hungry[field] else end for field, end in enumerate(frame.after))
        return tuple("".join(part) + end for part, end in zip(parts, ends, strict=True)), tuple(spans)


def in_case_of(new: str, old: str) -> str:
    """A replacement in the case of the word that it replaces: CAPITALS, Capitalised, or as it is."""
    if len(old) > 1 and old.isupper():
        return new.upper()
    if old[:1].isupper():
        return new[:1].upper() + new[1:]
    return new


def encodable(text: str) -> str:
    """The text as tokenizers take it: half of a surrogate pair is no character, and becomes "?", as long as it was."""
    return text.encode("utf-8", "replace").decode("utf-8")
