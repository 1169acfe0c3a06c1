"""Two things at once, where one would only wait for the other: reads that do not need each other.

Nothing that is begun here outlives what began it: a Lambda function freezes between its calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import NoReturn, Protocol, TypeVar

T = TypeVar("T")
Other = TypeVar("Other")
Key = TypeVar("Key")

HEAD_START_SECONDS = 0.0003


class Aside(Protocol):
    """Begins work. What it returns waits for the end of it, and gives what it gave or raises what it raised;
    it is to be called once, whatever happens."""

    def __call__(self, work: Callable[[], T], /) -> Callable[[], T]: ...


def in_turn(work: Callable[[], T]) -> Callable[[], T]:
    """An Aside that does the work before anything else: for tests, the same each time."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 (raised where the work is waited for)
        return partial(_fail, error)
    return lambda: result


class Threads:
    """An Aside in threads that wait for the next work when they have done one: to start one may take longer
    than the work. Who began it has a head start, to get a request of its own on its way: a thread that wakes
    just then was measured to hold up the one that is to answer it (docs/performance.md)."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], None]]] = []

    def __call__(self, work: Callable[[], T]) -> Callable[[], T]:
        ended: SimpleQueue[Callable[[], T]] = SimpleQueue()
        try:
            works = self._idle.pop()
        except IndexError:
            works = self._started()

        def do() -> None:
            time.sleep(HEAD_START_SECONDS)
            done = in_turn(work)
            self._idle.append(works)
            ended.put(done)

        works.put(do)
        return lambda: ended.get()()

    def _started(self) -> SimpleQueue[Callable[[], None]]:
        works: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # A process that is told to end does not wait for an answer from far away.
        threading.Thread(target=_serve, args=(works,), daemon=True).start()
        return works


def both(aside: Aside, one: Callable[[], T], other: Callable[[], Other]) -> tuple[T, Other]:
    """What both give. One that fails does not leave the other behind."""
    wait = aside(one)
    try:
        second = other()
    finally:
        first = wait()
    return first, second


def ahead(aside: Aside, values: Iterator[T]) -> Generator[T, None, None]:
    """The same values, the next one fetched while one is used."""
    end = object()

    def fetch() -> T | object:
        return next(values, end)

    wait = aside(fetch)
    while (value := wait()) is not end:
        wait = aside(fetch)
        try:
            yield value  # type: ignore[misc]
        except GeneratorExit:
            with suppress(Exception):
                wait()
            raise


def as_they_end(
    aside: Aside, works: Mapping[Key, Callable[[], T]]
) -> Generator[tuple[Key, Callable[[], T]], None, None]:
    """All works at once: each one's key when it has ended, with what then gives what it gave, or raises."""
    ended: SimpleQueue[Key] = SimpleQueue()

    def run(key: Key, work: Callable[[], T]) -> T:
        try:
            return work()
        finally:
            ended.put(key)

    waits = {key: aside(partial(run, key, work)) for key, work in works.items()}
    try:
        while waits:
            key = ended.get()
            yield key, waits.pop(key)
    finally:
        for wait in waits.values():
            with suppress(Exception):
                wait()


def _serve(works: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        works.get()()


def _fail(error: BaseException) -> NoReturn:
    raise error


in_a_thread = Threads()
