"""Many searches at once. Each is straight-line code for one example; together they fill the machine.

A search is a generator. Where it needs something expensive (class scores of candidate texts, words from a masked
language model, sentence vectors) it yields an `Ask` and is sent the answers:

    answers = yield Ask(victim, items)

`play` runs hundreds of searches side by side, pools what they ask, drops duplicates, remembers answers, and gives each
service one long list, which the service sorts by length and cuts into full batches.
"""

import time
from collections import OrderedDict
from collections.abc import Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
K = TypeVar("K")
GATHERED = 128
"""Items of a service with fresh answers that make a batch worth its while."""
PATIENCE = 4
"""Rounds that fewer of them wait: an example that waits to be confirmed is not written yet, and would be lost."""


class Service(Protocol):
    """Something expensive that answers many questions cheaper than one."""

    name: str
    """What the time is booked on."""
    remembered: bool
    """Whether an answer may be given again without asking; false where a fresh one is the point. Questions for fresh
    answers come one by one: they wait for each other until there are GATHERED or nothing else goes on, for PATIENCE
    rounds at most."""

    def answer(self, items: Sequence[Any]) -> Sequence[Any]:
        """One answer an item, in their order. Items are hashable and come without duplicates."""
        ...


@dataclass(frozen=True, eq=False)
class Ask:
    """A question to a service: its items, each hashable."""

    service: Service
    items: Sequence[Hashable]


Search = Generator[Ask, Sequence[Any], T]
"""A search that returns a T. It yields questions and is sent one answer an item."""


@dataclass
class Work:
    """What a run of `play` did: for reports and benchmarks."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Time inside each service."""
    answered: dict[str, int] = field(default_factory=dict)
    """Items that each service really answered."""
    asked: dict[str, int] = field(default_factory=dict)
    """Items asked for, those answered from memory or for another search at the same time included."""
    rounds: int = 0
    """How often the services were called."""


class Memory:
    """Answers by (service, item), the oldest forgotten first."""

    def __init__(self, size: int = 200_000) -> None:
        self.size = size
        self._answers: OrderedDict[tuple[Service, Hashable], Any] = OrderedDict()

    def get(self, service: Service, item: Hashable) -> Any:
        """The answer, or None when there is none."""
        return self._answers.get((service, item))

    def keep(self, service: Service, item: Hashable, answer: Any) -> None:
        """Remember an answer."""
        self._answers[(service, item)] = answer
        if len(self._answers) > self.size:
            self._answers.popitem(last=False)


def play(
    searches: Iterable[tuple[K, Search[T]]],
    *,
    pool: int = 384,
    memory: Memory | None = None,
    work: Work | None = None,
) -> Iterator[tuple[K, T]]:
    """Run searches side by side; (key, what the search returned) as each one ends.

    pool: a new search is begun while fewer items than this wait for an answer. More searches at once make fuller and
    better sorted batches, and take longer until the first one ends. How searches are pooled changes no answer but for
    the last bits of batched arithmetic.
    What a service or a search raises comes out of here; the results so far have been given.
    """
    memory, work = memory or Memory(), work or Work()
    source = iter(searches)
    running: list[tuple[K, Search[T], Ask]] = []
    waited: dict[int, int] = {}
    waiting = 0
    while True:
        while waiting < pool:
            begun = next(source, None)
            if begun is None:
                break
            key, search = begun
            try:
                ask = next(search)
            except StopIteration as stop:
                yield key, stop.value
                continue
            running.append((key, search, ask))
            waiting += len(ask.items)
        if not running:
            return
        fresh = _answer(_ready([ask for _, _, ask in running], waited), memory, work)
        still: list[tuple[K, Search[T], Ask]] = []
        waiting = 0
        for key, search, ask in running:
            known = fresh.get(id(ask.service))
            if known is not None:
                try:
                    ask = search.send([known[item] for item in ask.items])
                except StopIteration as stop:
                    yield key, stop.value
                    continue
            still.append((key, search, ask))
            waiting += len(ask.items)
        running = still


def _ready(asks: list[Ask], waited: dict[int, int]) -> list[Ask]:
    """The questions to services that have enough of them by now, or are asked for long enough; all, if none is.

    waited: by id of a service, the rounds that it has been passed over; kept here.
    """
    counts: dict[int, int] = {}
    for ask in asks:
        counts[id(ask.service)] = counts.get(id(ask.service), 0) + len(ask.items)
    chosen = {
        id(ask.service)
        for ask in asks
        if ask.service.remembered or counts[id(ask.service)] >= GATHERED or waited.get(id(ask.service), 0) >= PATIENCE
    } or set(counts)
    for service in counts:
        waited[service] = 0 if service in chosen else waited.get(service, 0) + 1
    return [ask for ask in asks if id(ask.service) in chosen]


def _answer(asks: list[Ask], memory: Memory, work: Work) -> dict[int, dict[Hashable, Any]]:
    """Answers to all questions of a round: by id of the service, then by item."""
    services: dict[int, Service] = {}
    known: dict[int, dict[Hashable, Any]] = {}
    missing: dict[int, dict[Hashable, None]] = {}
    for ask in asks:
        service, key = ask.service, id(ask.service)
        services[key] = service
        have, wanted = known.setdefault(key, {}), missing.setdefault(key, {})
        work.asked[service.name] = work.asked.get(service.name, 0) + len(ask.items)
        for item in ask.items:
            if item not in have and item not in wanted:
                answer = memory.get(service, item) if service.remembered else None
                if answer is None:
                    wanted[item] = None
                else:
                    have[item] = answer
    work.rounds += 1
    for key, wanted in missing.items():
        if not wanted:
            continue
        service, items = services[key], list(wanted)
        began = time.perf_counter()
        answers = service.answer(items)
        work.seconds[service.name] = work.seconds.get(service.name, 0.0) + time.perf_counter() - began
        work.answered[service.name] = work.answered.get(service.name, 0) + len(items)
        for item, answer in zip(items, answers, strict=True):
            known[key][item] = answer
            if service.remembered:
                memory.keep(service, item, answer)
    return known


def alone(search: Search[T]) -> T:
    """Run one search by itself: for tests, notebooks and the debugger."""
    for _, result in play([(None, search)]):
        return result
    raise AssertionError("a search returns")  # play gives one result a search
