"""What is done beside something else: its result, its trouble, and that nothing of it is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from chalicelib.aside import Aside, T, Threads, ahead, as_they_end, both, in_a_thread, in_turn
from infra.local.processes import wait_until

PATIENCE = 30.0

either = pytest.mark.parametrize("aside", [in_turn, in_a_thread], ids=["in turn", "in a thread"])


class Watched:
    """An Aside in threads that knows whether they were waited for, and how many are at work."""

    def __init__(self) -> None:
        self.awaited = threading.Event()
        self.left = 0

    def __call__(self, work: Callable[[], T]) -> Callable[[], T]:
        self.left += 1

        def working() -> T:
            try:
                return work()
            finally:
                self.left -= 1

        wait = in_a_thread(working)

        def waiting() -> T:
            self.awaited.set()
            return wait()

        return waiting


def good() -> int:
    return 1


def bad() -> int:
    raise ValueError("bad")


def worse() -> int:
    raise KeyError("worse")


@either
def test_both_give_what_they_give(aside: Aside) -> None:
    assert both(aside, lambda: 1, lambda: "two") == (1, "two")


def test_both_are_under_way_at_once() -> None:
    met = threading.Barrier(2, timeout=PATIENCE)
    assert sorted(both(in_a_thread, met.wait, met.wait)) == [0, 1]


def test_who_begins_is_ahead_of_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("chalicelib.aside.time.sleep", lambda _: goes_on.wait(PATIENCE))
    order: list[str] = []

    def here() -> None:
        order.append("here")
        goes_on.set()

    both(in_a_thread, lambda: order.append("aside"), here)
    assert order == ["here", "aside"]


def test_a_thread_that_has_done_one_work_does_the_next() -> None:
    threads, before = Threads(), set(threading.enumerate())
    for number in range(5):
        assert threads(lambda number=number: number)() == number  # type: ignore[misc]
    assert len(set(threading.enumerate()) - before) == 1


def test_what_not_even_is_an_error_ends_the_wait_and_no_thread() -> None:
    threads = Threads()

    def leave() -> int:
        raise SystemExit

    with pytest.raises(SystemExit):
        threads(leave)()
    assert threads(good)() == 1


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        pytest.param(bad, good, ValueError, id="the first fails"),
        pytest.param(good, bad, ValueError, id="the second fails"),
        pytest.param(worse, bad, KeyError, id="both fail: the first is told"),
    ],
)
@either
def test_the_failure_of_one_is_raised(
    aside: Aside, one: Callable[[], int], other: Callable[[], int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        both(aside, one, other)


def test_one_that_fails_waits_for_the_other() -> None:
    watched = Watched()
    with pytest.raises(ValueError, match="bad"):
        both(watched, lambda: watched.awaited.wait(PATIENCE), bad)
    assert watched.awaited.is_set() and wait_until(lambda: not watched.left, PATIENCE)


@either
def test_what_is_fetched_ahead_comes_in_order(aside: Aside) -> None:
    assert list(ahead(aside, iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(ahead(aside, iter([]))) == []


def test_the_next_is_fetched_while_one_is_used() -> None:
    fetched = threading.Event()

    def values() -> Iterator[int]:
        yield 1
        fetched.set()

    for _ in ahead(in_a_thread, values()):
        assert fetched.wait(PATIENCE)


@either
def test_trouble_with_one_comes_after_those_before_it(aside: Aside) -> None:
    def values() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    fetched = ahead(aside, values())
    assert next(fetched) == 1
    with pytest.raises(ValueError, match="the second"):
        next(fetched)


def test_who_stops_early_leaves_nothing_behind() -> None:
    watched = Watched()

    def values() -> Iterator[int]:
        yield 1
        watched.awaited.wait(PATIENCE)

    fetched = ahead(watched, values())
    assert next(fetched) == 1
    watched.awaited.clear()
    fetched.close()
    assert watched.awaited.is_set() and wait_until(lambda: not watched.left, PATIENCE)


@either
def test_each_is_told_of_when_it_has_ended(aside: Aside) -> None:
    with pytest.raises(ValueError, match="bad"):
        for name, result in as_they_end(aside, {"a": good, "b": good}):
            assert name in ("a", "b") and result() == 1
        for _, result in as_they_end(aside, {"c": bad}):
            result()


def test_what_ends_first_is_told_of_first() -> None:
    may_end = threading.Event()
    works = {"slow": lambda: may_end.wait(PATIENCE), "quick": lambda: True}
    told = []
    for name, result in as_they_end(in_a_thread, works):
        may_end.set()
        told.append((name, result()))
    assert told == [("quick", True), ("slow", True)]


def test_who_stops_listening_leaves_nothing_behind() -> None:
    watched = Watched()
    works = {"quick": lambda: True, "slow": lambda: watched.awaited.wait(PATIENCE)}
    ending = as_they_end(watched, works)
    assert next(ending)[0] == "quick"
    ending.close()
    assert watched.awaited.is_set() and wait_until(lambda: not watched.left, PATIENCE)
