"""The handlers take AWS' own event shapes and hand on what matters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chalicelib import bootstrap
from chalicelib.aws import KICK
from chalicelib.bootstrap import Container
from chalicelib.settings import load
from chalicelib.triggers.maintenance import recount
from chalicelib.triggers.schedule import sync
from chalicelib.triggers.stream import outbox

EVENTS = Path(__file__).parents[2] / "events"
FIRST, SECOND = "job-01kfwq4v80aaaaaaaaaaaaaaaa", "job-01kfwq4v80bbbbbbbbbbbbbbbb"


class Context:
    """Lambda's context, 42 seconds before its end."""

    def get_remaining_time_in_millis(self) -> int:
        return 42_000


@dataclass
class Parts:
    """Stands in for the services: writes down what the handlers ask for."""

    delivered: list[str] = field(default_factory=list)
    undeliverable: set[str] = field(default_factory=set)
    runs: list[tuple[float, bool, bool]] = field(default_factory=list)
    recounted: list[str | None] = field(default_factory=list)

    def deliver(self, job_ids: Iterable[str]) -> list[str]:
        self.delivered += job_ids
        return [job_id for job_id in self.delivered if job_id in self.undeliverable]

    def run(self, seconds_left: Callable[[], float], *, whole: bool, patient: bool) -> int:
        self.runs.append((seconds_left(), whole, patient))
        return 3

    def recount(self, tenant: str | None) -> dict[str, int]:
        self.recounted.append(tenant)
        return {"running": 1}


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    container = Container(load({}))
    vars(container).update(outbox=parts, sync=parts, store=parts)
    with bootstrap.use(container):
        yield parts


def event(name: str) -> Any:
    return json.loads((EVENTS / name).read_text())


def test_the_stream_names_the_jobs_that_changed_and_nothing_else(parts: Parts) -> None:
    assert outbox(event("stream.json"), Context()) == {"batchItemFailures": []}
    assert parts.delivered == [FIRST, SECOND]


def test_a_job_that_could_not_be_worked_off_is_delivered_again(parts: Parts) -> None:
    parts.undeliverable = {SECOND}
    answer = outbox(event("stream.json"), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "4421584500000000017450439093"}]}


@pytest.mark.parametrize(("time", "whole"), [("2026-01-26T10:05:00Z", True), ("2026-01-26T10:01:00Z", False)])
def test_the_schedule_runs_passes_and_looks_for_strays_every_five_minutes(
    parts: Parts, time: str, whole: bool
) -> None:
    assert sync({**event("schedule.json"), "time": time}, Context()) == {"passes": 3}
    assert parts.runs == [(42.0, whole, True)]


def test_a_kick_has_no_time_and_does_not_wait_for_the_lease(parts: Parts) -> None:
    sync(KICK, Context())
    assert parts.runs == [(42.0, False, False)]


@pytest.mark.parametrize("tenant", ["acme", None])
def test_a_recount_is_asked_for_by_tenant(parts: Parts, tenant: str | None) -> None:
    assert recount({"tenant": tenant}, Context()) == {"running": 1}
    assert parts.recounted == [tenant]
