"""The sync's rule: never two calls at once, at once when it is kicked, and again after a crash."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local.processes import wait_until
from infra.local.schedule import Context, Schedule, scheduled_event


class Function:
    """Counts its calls; each lasts until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.running = 0
        self.most = 0
        self.let_go = threading.Event()
        self.crashes = 0

    def __call__(self, event: dict[str, Any], context: Any) -> None:
        assert event["detail-type"] == "Scheduled Event"
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        while not self.let_go.wait(0.01) and context.get_remaining_time_in_millis() > 0:
            pass
        self.running -= 1
        if self.calls <= self.crashes:
            raise RuntimeError("no cluster")


@pytest.fixture
def stopping() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_kick_while_a_call_runs_is_one_more_call_after_it(stopping: threading.Event) -> None:
    function = Function()
    schedule = Schedule("sync", function, stopping)
    schedule.start()
    assert wait_until(lambda: function.calls == 1, 5)
    for _ in range(5):
        schedule.kick()
    function.let_go.set()
    assert wait_until(lambda: function.calls == 2, 5)
    assert function.most == 1
    assert not wait_until(lambda: function.calls > 2, 0.2)


def test_an_idle_schedule_calls_again_when_its_time_has_come(stopping: threading.Event) -> None:
    function = Function()
    function.let_go.set()
    Schedule("sync", function, stopping, every_seconds=0.05).start()
    assert wait_until(lambda: function.calls >= 3, 5)


def test_a_call_ends_when_its_time_is_over_and_the_next_takes_over(stopping: threading.Event) -> None:
    function = Function()
    Schedule("sync", function, stopping, every_seconds=0.05, timeout_seconds=0.1).start()
    assert wait_until(lambda: function.calls >= 2, 5)
    assert function.most == 1


def test_a_crash_ends_neither_the_schedule_nor_its_kicks(stopping: threading.Event) -> None:
    function = Function()
    function.crashes = 1
    function.let_go.set()
    schedule = Schedule("sync", function, stopping)
    schedule.start()
    assert wait_until(lambda: function.calls == 1, 5)
    schedule.kick()
    assert wait_until(lambda: function.calls == 2, 5)


def test_a_stack_that_goes_down_leaves_a_running_call_no_time(stopping: threading.Event) -> None:
    function = Function()
    schedule = Schedule("sync", function, stopping)
    schedule.start()
    assert wait_until(lambda: function.calls == 1, 5)
    stopping.set()
    assert schedule.join(5)


def test_the_context_counts_down() -> None:
    context = Context("sync", 60, threading.Event())
    assert 59_000 < context.get_remaining_time_in_millis() <= 60_000
    assert Context("sync", 0, threading.Event()).get_remaining_time_in_millis() == 0


def test_the_event_is_eventbridges() -> None:
    event = scheduled_event("sync", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert event["time"] == "2026-01-02T03:04:05Z"
    assert event["resources"] == ["arn:aws:events:us-east-1:000000000000:rule/trainyard-sync"]
