"""What is dear to make is made once for all who ask, and again when it is too old."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from chalicelib.errors import ClusterForbids, ClusterUnavailable
from chalicelib.kept import FAILURE_LASTS, Kept
from tests.unit.store.support import Clock

LASTS = timedelta(minutes=14)
A_MOMENT = timedelta(microseconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Maker:
    """Numbers what it makes; with `gate`, not before that opens."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.made = 0
        self.began = threading.Event()
        self._gate = gate

    def __call__(self) -> str:
        self.began.set()
        if self._gate:
            assert self._gate.wait(10)
        self.made += 1
        return f"value {self.made}"


def test_a_value_is_kept_for_as_long_as_it_lasts(clock: Clock) -> None:
    make = Maker()
    kept = Kept(make, LASTS, clock)
    ages: list[tuple[timedelta, str]] = [
        (timedelta(0), "value 1"),
        (LASTS - A_MOMENT, "value 1"),
        (A_MOMENT, "value 2"),
        (LASTS - A_MOMENT, "value 2"),
    ]
    for step, expected in ages:
        clock.now += step
        assert kept() == expected


def test_threads_that_ask_at_once_get_one_value_that_one_of_them_made(clock: Clock) -> None:
    gate = threading.Event()
    make = Maker(gate)
    kept: Callable[[], str] = Kept(make, LASTS, clock)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(kept) for _ in range(8)]
        assert make.began.wait(10)
        gate.set()
        assert {one.result(10) for one in asked} == {"value 1"}
    assert make.made == 1


def test_a_failure_is_kept_for_a_moment_and_each_who_asks_gets_an_error_of_his_own(clock: Clock) -> None:
    made: list[str] = []

    def make() -> str:
        made.append("tried")
        if len(made) == 1:
            raise ClusterForbids("no")
        return "value"

    kept = Kept(make, LASTS, clock)
    errors: list[ClusterUnavailable] = []
    for step in (timedelta(0), FAILURE_LASTS - A_MOMENT):
        clock.now += step
        with pytest.raises(ClusterForbids, match=r"^no$") as raised:
            kept()
        errors.append(raised.value)
    assert made == ["tried"] and errors[0] is not errors[1]
    clock.now += A_MOMENT
    assert kept() == "value"
