"""Documents packed into blocks of one length: what a step of pre-training reads, whoever computes it.

Each row of the step's global batch is a stream of its own, a lane: row k of every step is the next block of lane k.
A run on two processes with batch b therefore sees exactly what one process with batch 2 b sees. Blocks are full:
documents follow one another, and the rest of a document goes on in the lane's next block (as RoBERTa's FULL-SENTENCES
input does, Liu et al. 2019, section 4.2, but told apart by `Block.segments` so that a model can keep them separate).

bert     every piece of a document stands between the tokenizer's special tokens, [CLS] piece [SEP], also one that goes
         on from the block before: each piece looks like a text alone. One or two places that are left at the end of a
         block, too few for a piece, hold padding in a segment of its own.
causal   documents end with the end-of-text token, and begin with the tokenizer's own first token if it has one (Llama's
         <s>); a piece that goes on from the block before has none.
"""

import copy
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, RunError, SettingError
from .corpus import Corpus
from .shuffle import Mark, Window, Windows

Style = Literal["bert", "causal"]
Ids = NDArray[np.integer[Any]]
State = dict[str, Any]
_CALL_BYTES = 1 << 19  # texts of a call of the tokenizer: enough to keep all cores busy
_PER_TOKEN = 4  # bytes of text a token, roughly
_PATIENCE = 8  # passes over the corpus without a token for a lane, more than it has lanes


@dataclass(frozen=True, eq=False)
class Block:
    """`length` tokens: one row of a step's batch."""

    ids: Ids
    """(length,) token ids."""
    segments: Ids
    """(length,) from 1: the number of each token's document within the block."""
    lane: int
    """The row of the global batch."""
    number: int
    """Counted from 0 within the lane: the step, over accumulated batches, that reads it."""
    epoch: int
    """How often the lane had come to the corpus's end before the block's last token."""


class Lanes:
    """Iterator over steps: one block of each own lane, in the order of the lanes. It never ends.

    After the corpus's last document comes its first again, in another order.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Any,
        *,
        length: int,
        lanes: range,
        all_lanes: int,
        seed: int,
        shuffle: int = 10_000,
        style: Style = "bert",
    ) -> None:
        """
        lanes: the rows of the global batch that are made here, of `all_lanes` in all.
        shuffle: documents, over all lanes, that are shuffled together; 0 or 1 keeps the order of the corpus.

        Raises SettingError for settings that make no sense and DataError for a corpus with fewer tokens than one step.
        """
        if style not in ("bert", "causal"):
            raise SettingError(f"packing: style {style!r} is not known; use 'bert' or 'causal'")
        if shuffle < 0:
            raise SettingError(f"shuffle ({shuffle}) must be 0 or more")
        if not lanes or lanes.step != 1 or lanes.start < 0 or lanes.stop > all_lanes:
            raise SettingError(f"lanes {lanes} are not rows of a batch of {all_lanes}")
        self._encode = Encoder(tokenizer, style)
        if length < self._encode.least:
            raise SettingError(f"length: {length} tokens are too few for a block; use {self._encode.least} or more")
        _check_size(corpus, self._encode, length * all_lanes, f"{all_lanes} blocks of {length}")
        self._settings = {"length": length, "all_lanes": all_lanes, "seed": seed, "shuffle": shuffle, "style": style}
        self.corpus, self.length, self._own = corpus, length, lanes
        self._packer = _Packer(corpus, self._encode, lanes, self._settings)
        self._last = self._packer.state()

    def __iter__(self) -> Iterator[list[Block]]:
        return self

    def __next__(self) -> list[Block]:
        blocks, self._last = next(self._packer)
        return blocks

    def state(self) -> State:
        """Where the blocks that were given out end; a few numbers a lane, which JSON can hold."""
        return {**self._last, "settings": self._settings, "corpus": self.corpus.digest}

    def load(self, *states: State) -> None:
        """Go on from a state: the next blocks are those that would have come.

        Several states, of processes that shared the lanes, give any process its lanes: their number may change.
        Raises RunError when the corpus or a setting is not that of the states.
        """
        for state in states:
            if state["corpus"] != self.corpus.digest:
                raise RunError(
                    f"the corpus {self.corpus.origin} is not the one of the checkpoint (other files, sizes or "
                    "contents). Put the old one back, or start a new run from the checkpoint's model."
                )
            for name, value in self._settings.items():
                if state["settings"][name] != value:
                    raise RunError(
                        f"{name} is {value} and was {state['settings'][name]} at the checkpoint: the order of the data "
                        "depends on it. Resume with the old value, or start a new run from the checkpoint's model."
                    )
        whole = merged(states)
        cursors = {lane: cursor for lane, *cursor in whole["lanes"]}
        missing = [lane for lane in self._own if lane not in cursors]
        if missing:
            raise RunError(f"the checkpoint does not say where row {missing[0]} of the batch goes on; it is damaged")
        packer = _Packer(self.corpus, self._encode, self._own, self._settings)
        packer.load({"window": whole["window"], "lanes": [[lane, *cursors[lane]] for lane in self._own]})
        self._packer, self._last = packer, packer.state()

    @property
    def epoch(self) -> int:
        """How often the corpus was read to its end, as of the blocks given out: by the own lane that is least far."""
        return min(row[-1] for row in self._last["lanes"])


def merged(states: Sequence[State]) -> State:
    """The state of all rows, from those of lanes that shared them."""
    first: Mark = min((state["window"] for state in states), key=lambda mark: mark["number"])
    return {**states[0], "window": first, "lanes": [row for state in states for row in state["lanes"]]}


class Encoder:
    """Texts to token ids without special tokens, and what the tokenizer puts around a text."""

    def __init__(self, tokenizer: Any, style: Style) -> None:
        """Raises SettingError for a tokenizer without an end-of-text token where one is needed."""
        self.style = style
        # A copy: another thread may be padding or cutting with the original, which are settings of the object.
        self._slow = copy.deepcopy(tokenizer)
        self._fast = getattr(self._slow, "backend_tokenizer", None)
        if self._fast is not None:
            self._fast.no_truncation()
            self._fast.no_padding()
            # A text that says "[MASK]" is about the token; it does not become one.
            self._fast.encode_special_tokens = True
        before, after = _around(tokenizer)
        if style == "causal":
            end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
            if end is None:
                raise SettingError("the tokenizer has no end-of-text token (eos_token); give it one")
            after = [end]
        self.before, self.after = np.array(before, np.int64), np.array(after, np.int64)
        pad = tokenizer.pad_token_id
        self.pad: int = pad if pad is not None else after[-1] if after else 0
        self.least = 2 if style == "causal" else len(before) + len(after) + 1

    def __call__(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text; with the tokens around it for causal packing, where they are part of the stream."""
        if self._fast is not None:
            rows = [one.ids for one in self._fast.encode_batch_fast(list(texts), add_special_tokens=False)]
        else:
            rows = self._slow(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ids: list[Ids] = [np.array(row, np.int32) for row in rows]
        if self.style == "causal":
            ids = [np.concatenate([self.before, row, self.after]).astype(np.int32) if len(row) else row for row in ids]
        return ids


def before_document(tokenizer: Any) -> list[int]:
    """Ids that packing puts in front of every document, in both styles: [CLS], Llama's <s>, or none (GPT-2).

    A model trained on such blocks has seen texts begin with these, and with nothing else.
    Raises SettingError when the tokenizer does not show them.
    """
    return _around(tokenizer)[0]


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before and behind a text."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a")["input_ids"])
    at = next((i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare), None)
    if at is None:
        raise SettingError("cannot tell which special tokens the tokenizer puts around a text; use another tokenizer")
    return whole[:at], whole[at + len(bare) :]


class _At(NamedTuple):
    """Where a document of a lane comes from."""

    window: int
    document: int
    """Among the lane's documents of the window."""
    epoch: int


class _Lane:
    """One stream: texts that wait, ids that wait, and how much of the first ids is used."""

    def __init__(self, number: int, skip: Sequence[int] = (0, 0, 0, 0, 0)) -> None:
        self.number = number
        window, index, self.offset, self.blocks, self.epoch = skip
        self._next = (window, index)
        self.texts: deque[tuple[_At, str]] = deque()
        self.ids: deque[tuple[_At, Ids]] = deque()
        self.held = -self.offset
        self.fed = self.epoch
        """Epoch of the last ids that came in."""

    def add(self, window: Window) -> None:
        """Put the lane's documents of a window behind those that wait, less those before the place to go on from."""
        for index, text in enumerate(window.texts[self.number]):
            if (window.number, index) >= self._next:
                self.texts.append((_At(window.number, index, window.epoch), text))

    def tokenised(self, at: _At, ids: Ids) -> None:
        """Take the ids of a text that waited."""
        self.ids.append((at, ids))
        self.held += len(ids)
        self.fed = at.epoch

    def cursor(self, next_window: int) -> list[int]:
        """[window, document of the lane within it, ids used of it, blocks given, epoch of the last id given]."""
        waiting = self.ids or self.texts
        window, index = waiting[0][0][:2] if waiting else max(self._next, (next_window, 0))
        return [window, index, self.offset, self.blocks, self.epoch]

    def take(self, most: int) -> Ids:
        """The next ids of one document, at most so many."""
        at, ids = self.ids[0]
        self.epoch = at.epoch
        part = ids[self.offset : self.offset + most]
        self.offset += len(part)
        self.held -= len(part)
        if self.offset == len(ids):
            self.ids.popleft()
            self.offset = 0
        return part


class _Packer:
    """Makes the blocks. Iterates over (blocks, state behind them)."""

    def __init__(self, corpus: Corpus, encode: Encoder, own: range, settings: dict[str, Any]) -> None:
        self._encode, self._length = encode, settings["length"]
        shuffle, seed = settings["shuffle"], settings["seed"]
        self._windows = Windows(corpus, own, settings["all_lanes"], seed=seed, shuffle=shuffle)
        self._origin, self._patience = corpus.origin, settings["all_lanes"] + _PATIENCE
        self._lanes = [_Lane(number) for number in own]
        self._marks: dict[int, Mark] = {}

    def __iter__(self) -> "_Packer":
        return self

    def __next__(self) -> tuple[list[Block], State]:
        while short := [lane for lane in self._lanes if lane.held < self._length]:
            self._tokenise(short)
        return [self._block(lane) for lane in self._lanes], self.state()

    def state(self) -> State:
        """The window from which all own lanes can go on, and each lane's place."""
        lanes = [[lane.number, *lane.cursor(self._windows.number)] for lane in self._lanes]
        oldest = min(row[1] for row in lanes)
        if not any(number <= oldest for number in self._marks):
            self._marks[self._windows.number] = self._windows.mark()
        oldest = max(number for number in self._marks if number <= oldest)
        self._marks = {number: mark for number, mark in self._marks.items() if number >= oldest}
        return {"window": self._marks[oldest], "lanes": lanes}

    def load(self, state: State) -> None:
        """Go on from a state of the same lanes."""
        self._windows.go_to(state["window"])
        self._lanes = [_Lane(number, cursor) for number, *cursor in state["lanes"]]
        self._marks = {}

    def _tokenise(self, short: list[_Lane]) -> None:
        """Turn texts of lanes that lack ids into ids, many at a time, reading a window where texts are lacking."""
        each = max(_PER_TOKEN * self._length, _CALL_BYTES // len(self._lanes))
        work: list[tuple[_Lane, _At, str]] = []
        for lane in short:
            taken = 0
            while taken < each:
                if not lane.texts:
                    if taken:
                        break
                    self._read()
                    continue
                at, text = lane.texts.popleft()
                work.append((lane, at, text))
                taken += len(text)
        for (lane, at, _), ids in zip(work, self._encode([row[2] for row in work]), strict=True):
            if len(ids):
                lane.tokenised(at, ids)
            elif at.epoch - lane.fed > self._patience:
                raise DataError(
                    f"{self._origin}: the corpus was read {self._patience} times and row {lane.number} of the batch "
                    "got no token of it: the tokenizer finds none in most documents. Take those out, or use another "
                    "tokenizer."
                )

    def _read(self) -> None:
        mark = self._windows.mark()
        window = self._windows.read()
        self._marks[window.number] = mark
        for lane in self._lanes:
            lane.add(window)

    def _block(self, lane: _Lane) -> Block:
        ids, segments = np.empty(self._length, np.int64), np.empty(self._length, np.int64)
        around = (self._encode.before, self._encode.after) if self._encode.style == "bert" else (_NONE, _NONE)
        extra = len(around[0]) + len(around[1])
        at, segment = 0, 1
        while at < self._length:
            if self._length - at <= extra:
                ids[at:], segments[at:] = self._encode.pad, segment
                break
            piece = np.concatenate([around[0], lane.take(self._length - at - extra), around[1]])
            ids[at : at + len(piece)], segments[at : at + len(piece)] = piece, segment
            at, segment = at + len(piece), segment + 1
        block = Block(ids, segments, lane.number, lane.blocks, lane.epoch)
        lane.blocks += 1
        return block


_NONE = np.empty(0, np.int64)


def _check_size(corpus: Corpus, encode: Encoder, needed: int, step: str) -> None:
    """DataError when a corpus holds fewer tokens than a step; reads no more than is needed to know."""
    around = len(encode.before) + len(encode.after) if encode.style == "bert" else 0
    tokens = documents = held = 0
    texts: list[str] = []
    for text in itertools.chain(corpus.reader(), [None]):
        if text is not None:
            texts.append(text)
            documents, held = documents + 1, held + len(text)
        if text is None or held >= min(_PER_TOKEN * needed, _CALL_BYTES):
            tokens += sum(len(row) + around for row in encode(texts) if len(row))
            if tokens >= needed:
                return
            texts, held = [], 0
    found = "The tokenizer finds nothing in them: use another one." if not tokens else ""
    raise DataError(
        f"{corpus.origin}: the corpus has {tokens:,} tokens ({documents:,} documents) and one step needs {needed:,} "
        f"({step}). {found or 'Use a smaller length or batch size, or more text.'}"
    )
