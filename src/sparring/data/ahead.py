"""Steps of pre-training made ahead of their reader: read, tokenised, packed and masked, in a thread or in processes.

A process makes some rows of every step. What a row holds follows from the corpus, the seed and the row's number alone
(`packing`), so how many there are changes nothing but the speed.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from ..errors import RunError, SparringError
from .corpus import Corpus
from .masking import Masking, next_tokens
from .packing import Block, Lanes, State, merged
from .prefetch import Prefetch
from .processes import without_interrupts

Inputs = dict[str, Tensor]
"""Of the rows of a step, (rows, length) each."""
Prepare = Callable[[Sequence[Block]], Inputs]
"""Blocks of a step to what the model reads and is asked."""
Made = tuple[Inputs, State]
"""The inputs of a step, and the place behind it."""
_TOKENS_AHEAD, _STEPS_AHEAD = 1 << 21, (4, 64)
"""What processes make before it is asked for: so many tokens (about 40 bytes each), at least and at most so many steps.

All of them read a new window of documents at the same moment; what lies ready bridges that."""


class Steps:
    """Iterator over the inputs of steps: the rows of `own`, in order. It never ends."""

    def __init__(self, make: Callable[..., Lanes], own: range, prepare: Prepare, *, workers: int = 0) -> None:
        """
        make: called with lanes=rows, gives the lanes of these rows. It and `prepare` must be picklable for processes.
        own: the rows of the global batch that are made here.
        workers: 0 makes a step when it is asked for, 1 ahead in a thread, more in so many processes.

        Raises what `make` raises.
        """
        self._make, self._own, self._prepare, self._workers = make, own, prepare, min(workers, len(own))
        self._lanes = make(lanes=own)
        self._last = self._lanes.state()
        self._source: Iterator[Made] | None = None
        self._crew: _Crew | None = None

    def __iter__(self) -> Iterator[Inputs]:
        return self

    def __next__(self) -> Inputs:
        if self._source is None:
            self._source = self._begin()
        inputs, self._last = next(self._source)
        return inputs

    def state(self) -> State:
        """The place behind the steps that were given out; a few numbers a row, which JSON can hold."""
        return self._last

    def load(self, *states: State) -> None:
        """Go on from a state, or several of processes that shared the rows: see `Lanes.load`."""
        self.close()
        self._lanes.load(*states)
        self._last = self._lanes.state()

    @property
    def epoch(self) -> int:
        """How often the corpus was read to its end, as of the rows given out: by the one that is least far."""
        return min(row[-1] for row in self._last["lanes"])

    def close(self) -> None:
        """Stop the thread or the processes, if there are any."""
        if isinstance(self._source, Prefetch):
            self._source.close()
        if self._crew is not None:
            self._crew.close()
        self._source = self._crew = None

    def _begin(self) -> Iterator[Made]:
        if self._workers > 1:
            self._crew = _Crew(
                self._make, _split(self._own, self._workers), self._prepare, self._last, self._lanes.corpus
            )
            least, most = _STEPS_AHEAD
            steps = _TOKENS_AHEAD // (len(self._own) * self._lanes.length)
            return Prefetch(self._crew, min(most, max(least, steps)))
        self._lanes.load(self._last)  # it may be further: a thread ran ahead before `close`
        made = _made(self._lanes, self._prepare)
        return Prefetch(made) if self._workers else made


def masked_of(masking: Masking, blocks: Sequence[Block], *, seed: int, total: int) -> Inputs:
    """What a masked language model reads of blocks, and is asked."""
    return masking(
        [block.ids for block in blocks],
        [block.segments for block in blocks],
        seed=seed,
        step=blocks[0].number,
        total=total,
        rows=[block.lane for block in blocks],
    )


def next_of(blocks: Sequence[Block]) -> Inputs:
    """The same of a causal one."""
    return next_tokens([block.ids for block in blocks], [block.segments for block in blocks])


def _made(lanes: Lanes, prepare: Prepare) -> Iterator[Made]:
    for blocks in lanes:
        yield prepare(blocks), lanes.state()


def _split(rows: range, parts: int) -> list[range]:
    """Neighbouring rows together, as many in one part as in another."""
    cuts = [rows.start + len(rows) * part // parts for part in range(parts + 1)]
    return [range(first, last) for first, last in pairwise(cuts)]


class _Crew:
    """Iterator over steps whose rows are made by processes: the next one of each, put together."""

    def __init__(
        self, make: Callable[..., Lanes], parts: Sequence[range], prepare: Prepare, state: State, corpus: Corpus
    ) -> None:
        self._corpus = corpus
        # Not forked from here: a fork of a process that has used a GPU, or threads, as tokenizers do, may stand still.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._crew = []
        with without_interrupts():
            for part in parts:
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(theirs, make, part, prepare, state), daemon=True)
                process.start()
                theirs.close()
                self._crew.append((ours, process))

    def __iter__(self) -> Iterator[Made]:
        return self

    def __next__(self) -> Made:
        found = [self._next(number) for number in range(len(self._crew))]
        inputs = {name: torch.cat([torch.from_numpy(one[0][name]) for one in found]) for name in found[0][0]}
        for _, _, noted in found:
            self._corpus.recall(noted)
        return inputs, merged([state for _, state, _ in found])

    def _next(self, number: int) -> Any:
        ours, process = self._crew[number]
        try:
            found = ours.recv()
        except (EOFError, OSError):
            process.join(1)
            raise RunError(
                f"a process that prepares text ended (exit code {process.exitcode}): is there memory left? Go on with "
                "--resume, and use fewer --workers"
            ) from None
        if isinstance(found, SparringError):
            raise found
        return found

    def close(self) -> None:
        """No process is left when this returns."""
        for ours, process in self._crew:
            ours.close()
            process.kill()  # it holds nothing that could be lost
            process.join()


def _work(reader: Connection, make: Callable[..., Lanes], own: range, prepare: Prepare, state: State) -> None:
    """What a process does until nobody reads what it makes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its processes
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there are as many processes as are wanted
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            lanes = make(lanes=own)
            lanes.load(state)
            for inputs, place in _made(lanes, prepare):
                arrays = {name: x.numpy() for name, x in inputs.items()}
                reader.send((arrays, place, lanes.corpus.noted()))
        except (BrokenPipeError, ConnectionResetError):
            raise
        except SparringError as error:
            reader.send(error)
        except Exception as error:
            reader.send(RunError(f"a process that prepares text failed: {type(error).__name__}: {error}"))
