"""Many searches at once give what each gives alone."""

import numpy as np
import pytest
from fakes import Scores

from sparring.attack.engine import PATIENCE, Ask, Memory, Work, alone, play


def climb(service, start, steps):
    """Asks about three numbers, goes to the best."""
    at = start
    for _ in range(steps):
        answers = yield Ask(service, [at, at + 1, at + 2])
        at += int(np.argmax(answers))
    return at


def wobble():
    return Scores(lambda x: (x * 7919) % 101)


@pytest.mark.parametrize("pool", [1, 5, 10_000])
def test_pooling_changes_no_result(pool):
    together = dict(play(((i, climb(wobble(), i, i % 5)) for i in range(40)), pool=pool))
    assert together == {i: alone(climb(wobble(), i, i % 5)) for i in range(40)}


def test_no_question_is_answered_twice_even_for_other_searches():
    service, work = wobble(), Work()
    results = list(play(((i, climb(service, 3, 4)) for i in range(10)), work=work))
    assert len(results) == 10
    assert len(service.items) == len(set(service.items)) == work.answered["victim"]
    assert work.asked["victim"] == 10 * 4 * 3


def test_a_service_that_wants_to_be_asked_afresh_is():
    service = Scores(lambda x: x, remembered=False)
    list(play([(i, climb(service, 3, 1)) for i in range(2)], pool=1))
    assert service.items == [3, 4, 5, 3, 4, 5]


def test_a_few_fresh_answers_wait_a_few_rounds_and_not_for_the_longest_search():
    exact = Scores(lambda x: x, remembered=False)

    def confirmed():
        yield Ask(quick, [0])
        (answer,) = yield Ask(exact, [1])
        return answer

    quick = Scores(lambda x: x)  # so that each round asks about two numbers more
    ended = []
    for key, _ in play([("long", climb(quick, 100, 20)), ("short", confirmed())]):
        ended.append((key, len(quick.items)))
    assert [key for key, _ in ended] == ["short", "long"]
    assert ended[0][1] == 1 + 3 + 2 * PATIENCE + 2


def test_searches_begin_only_when_there_is_room():
    begun = []

    def source():
        for i in range(100):
            begun.append(i)
            yield i, climb(wobble(), i, 3)

    run = play(source(), pool=6)
    next(run)
    assert len(begun) <= 4  # two at a time, and the next pair at most


def test_what_a_service_raises_comes_out_after_the_results_so_far():
    def fail(x):
        if x > 40:
            raise RuntimeError("boom")
        return x

    finished = []
    with pytest.raises(RuntimeError, match="boom"):
        for key, _ in play(((i, climb(Scores(fail), i, 1)) for i in range(100)), pool=1):
            finished.append(key)
    assert finished == list(range(39))


def test_memory_forgets_the_oldest():
    memory, service = Memory(2), wobble()
    for item in "abc":
        memory.keep(service, item, item)
    assert [memory.get(service, item) for item in "abc"] == [None, "b", "c"]
