"""The order of a corpus's documents, and who gets them: keyed shuffling in windows, dealt to the rows of a batch.

A window is a stretch of the corpus; its documents are put in an order drawn from (seed, epoch, window) and dealt one by
one, each to the lane that got the fewest bytes so far. Lanes therefore advance alike, whatever the lengths of the
documents, and what has to be kept for a lane that lags behind stays small. Since a window follows from where it begins
in the corpus alone, a checkpoint holds that place instead of the documents.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError
from .batch import make_key
from .corpus import Corpus

WINDOW_BYTES = 1 << 26
"""A window ends, however few its documents are, when it holds this much text."""

Mark = dict[str, Any]


@dataclass(frozen=True)
class Window:
    """One stretch of the corpus, dealt."""

    number: int
    """Counted over all epochs."""
    epoch: int
    texts: dict[int, list[str]]
    """Documents by lane, of the wanted lanes alone."""


class Windows:
    """Reads windows one after the other, beginning again at the end of the corpus; every process deals alike."""

    def __init__(self, corpus: Corpus, lanes: Iterable[int], all_lanes: int, *, seed: int, shuffle: int) -> None:
        """shuffle: documents in a window; 0 or 1 leaves them in the order of the corpus."""
        self._corpus, self._lanes, self._all, self._seed = corpus, tuple(lanes), all_lanes, seed
        self._shuffle = shuffle
        self.go_to(None)

    def mark(self) -> Mark:
        """Where the next window begins; JSON can hold it."""
        return {"number": self.number, "epoch": self.epoch, "place": self._reader.place(), "dealt": list(self._dealt)}

    def go_to(self, mark: Mark | None) -> None:
        """Go on from a mark; from None, from the beginning."""
        mark = mark or {"number": 0, "epoch": 0, "place": None, "dealt": [0] * self._all}
        self.number: int = mark["number"]
        """Number of the next window."""
        self.epoch: int = mark["epoch"]
        """Times the corpus was read to its end before the next document."""
        self._reader = self._corpus.reader(mark["place"])
        self._dealt: list[int] = list(mark["dealt"])

    def read(self) -> Window:
        """The next window. Raises DataError when the corpus has no document any more."""
        begins = self._reader.count == 0
        texts = self._texts(self._size(begins))
        if not texts:
            self.epoch += 1
            self._reader = self._corpus.reader()
            texts = self._texts(self._size(True))
            if not texts:
                raise DataError(f"{self._corpus.origin}: no document is left in it. Was it changed during the run?")
        order: Iterable[int] = range(len(texts))
        if self._shuffle > 1:
            order = _draws(self._seed, "documents", self.epoch, self.number).permutation(len(texts)).tolist()
        window = Window(self.number, self.epoch, self._deal([texts[place] for place in order]))
        self.number += 1
        return window

    def _size(self, begins: bool) -> int:
        if self._shuffle <= 1:
            return max(64, self._all)
        # Of another length in each epoch, so that the windows of two epochs do not hold the same documents.
        least = max(1, self._shuffle // 2)
        return (
            int(_draws(self._seed, "first", self.epoch).integers(least, self._shuffle + 1)) if begins else self._shuffle
        )

    def _texts(self, most: int) -> list[str]:
        texts: list[str] = []
        held = 0
        for text in self._reader:
            texts.append(text)
            held += len(text)
            if len(texts) == most or held >= WINDOW_BYTES:
                break
        return texts

    def _deal(self, texts: list[str]) -> dict[int, list[str]]:
        dealt: dict[int, list[str]] = {lane: [] for lane in self._lanes}
        heap = [(got, lane) for lane, got in enumerate(self._dealt)]
        heapq.heapify(heap)
        for text in texts:
            got, lane = heap[0]
            heapq.heapreplace(heap, (got + len(text.encode()), lane))
            if lane in dealt:
                dealt[lane].append(text)
        for got, lane in heap:
            self._dealt[lane] = got
        least = min(self._dealt)
        self._dealt = [got - least for got in self._dealt]
        return dealt


def _draws(*key: int | str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(make_key(*key)))
