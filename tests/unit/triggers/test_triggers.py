"""The handlers take AWS' own event shapes and hand on what matters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chalicelib import bootstrap
from chalicelib.aws import KICK
from chalicelib.bootstrap import Container
from chalicelib.domain.job import Job
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.settings import load
from chalicelib.store.items import to_item
from chalicelib.triggers.maintenance import recount
from chalicelib.triggers.schedule import sync
from chalicelib.triggers.stream import outbox, state_changes
from infra.local import filters, template
from infra.local.config import RESOURCES
from infra.local.delivery import Policy
from tests.builders import job, later

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
    published: list[StateChange] = field(default_factory=list)
    refused: int = 0  # as many of the last ones the bus does not take

    def deliver(self, job_ids: Iterable[str]) -> list[str]:
        self.delivered += job_ids
        return [job_id for job_id in self.delivered if job_id in self.undeliverable]

    def run(self, seconds_left: Callable[[], float], *, whole: bool, patient: bool) -> int:
        self.runs.append((seconds_left(), whole, patient))
        return 3

    def publish(self, changes: Sequence[StateChange]) -> int:
        self.published = list(changes)
        return len(changes) - self.refused

    def recount(self, tenant: str | None) -> dict[str, int]:
        self.recounted.append(tenant)
        return {"running": 1}


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    container = Container(load({}))
    vars(container).update(outbox=parts, sync=parts, store=parts, state_changes=parts)
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


NEW = job()
SUBMITTED = NEW.changed(later(1), submitted_at=later(1))
RUNNING = SUBMITTED.changed(later(2), status=Status.RUNNING)


def written(*records: tuple[Job, Job | None]) -> dict[str, Any]:
    """The stream's records of writes, each of a job over what it was."""
    sample = event("stream.json")["Records"]
    found = []
    for number, (now, was) in enumerate(records):
        item = to_item(now, was)
        change = {
            "Keys": {"pk": item["pk"], "sk": item["sk"]},
            "NewImage": item,
            "SequenceNumber": str(number),
        }
        name = "MODIFY" if was else "INSERT"
        found.append(sample[0] | {"eventName": name, "dynamodb": sample[0]["dynamodb"] | change})
    return {"Records": [*found, sample[1], sample[3], sample[4]]}


def test_a_new_job_and_each_change_of_its_status_are_published_and_nothing_else(parts: Parts) -> None:
    answer = state_changes(written((NEW, None), (SUBMITTED, NEW), (RUNNING, SUBMITTED)), Context())
    assert answer == {"batchItemFailures": []}
    assert [(one.was, one.job) for one in parts.published] == [(None, NEW), (Status.PENDING, RUNNING)]


def test_the_first_change_that_the_bus_did_not_take_is_where_delivery_begins_again(parts: Parts) -> None:
    parts.refused = 1
    answer = state_changes(written((NEW, None), (SUBMITTED, NEW), (RUNNING, SUBMITTED)), Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "2"}]}


def test_the_filter_hands_the_publisher_just_what_it_publishes() -> None:
    patterns = Policy.of(template.stream_mapping(template.read(RESOURCES), "StateChanges")).patterns
    records = written((NEW, None), (SUBMITTED, NEW), (RUNNING, SUBMITTED))["Records"]
    assert [filters.passes(record, patterns) for record in records] == [True, False, True] + [False] * 3
