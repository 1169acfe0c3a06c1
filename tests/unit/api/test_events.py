"""A job's events over HTTP: their shape, their pages, and whose they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.api.cursors import to_cursor
from chalicelib.domain.events import Event
from chalicelib.errors import ClusterUnavailable
from tests import builders
from tests.builders import JOB_ID, NOW
from tests.unit.api.conftest import World
from tests.unit.api.fakes import Reply

OTHER_ID = JOB_ID[:-1] + "b"
EVENTS = f"/api/jobs/{JOB_ID}/events"
POD = f"Pod/{JOB_ID}-abcde"


def happened(number: int, **changes: Any) -> Event:
    moment = NOW + timedelta(seconds=number)
    values: dict[str, Any] = {
        "type": "Normal",
        "reason": f"Reason{number}",
        "message": "it happened",
        "timestamp": moment,
        "first_timestamp": moment,
        "count": 1,
        "object": POD,
        "key": str(number),
    }
    return Event(**(values | changes))


@pytest.fixture
def told(world: World) -> World:
    """A job with five events, and another with none."""
    for job_id in (JOB_ID, OTHER_ID):
        world.store.jobs[job_id] = builders.job(id=job_id)
    for number in range(5):
        world.store.add_event(JOB_ID, happened(number))
    return world


def get(world: World, query: str = "", **given: Any) -> Reply:
    return world.api.call("GET", EVENTS + query, Accept_Language="en", **given)


def reasons(reply: Reply) -> list[str]:
    return [event["reason"] for event in reply.body["data"]["events"]]


def test_events_have_the_contracts_fields_and_three_more(world: World) -> None:
    world.store.jobs[JOB_ID] = builders.job()
    last = NOW + timedelta(minutes=1)
    world.store.add_event(JOB_ID, happened(0, reason="Started", message="m", count=2, timestamp=last))
    assert world.api.call("GET", EVENTS).body == {
        "success": True,
        "data": {
            "events": [
                {
                    "type": "Normal",
                    "reason": "Started",
                    "message": "m",
                    "timestamp": "2026-01-26T10:01:00Z",
                    "firstTimestamp": "2026-01-26T10:00:00Z",
                    "count": 2,
                    "object": POD,
                }
            ],
            "nextCursor": None,
        },
    }


def test_a_job_to_which_nothing_happened_has_an_empty_list(told: World) -> None:
    reply = told.api.call("GET", f"/api/jobs/{OTHER_ID}/events")
    assert reply.body["data"] == {"events": [], "nextCursor": None}


def test_cursors_lead_through_all_pages_oldest_first(told: World) -> None:
    seen: list[str] = []
    query = "?limit=2"
    for _ in range(3):
        reply = get(told, query)
        seen += reasons(reply)
        query = f"?limit=2&cursor={reply.body['data']['nextCursor']}"
    assert seen == [f"Reason{number}" for number in range(5)]
    assert reply.body["data"]["nextCursor"] is None


def test_the_same_said_again_of_the_same_object_is_one_event_with_its_counts_added(world: World) -> None:
    world.store.jobs[JOB_ID] = builders.job()
    same: dict[str, Any] = {"reason": "BackOff", "type": "Warning"}
    for event in (
        happened(1, **same, count=3),
        happened(2),
        happened(3, **same, count=4),
        happened(4, **same, object="Pod/another"),
        happened(5, **same, message="another"),
    ):
        world.store.add_event(JOB_ID, event)
    events = get(world).body["data"]["events"]
    assert [(event["reason"], event["count"]) for event in events] == [
        ("BackOff", 7),
        ("Reason2", 1),
        ("BackOff", 1),
        ("BackOff", 1),
    ]
    times = (events[0]["firstTimestamp"], events[0]["timestamp"])
    assert times == ("2026-01-26T10:00:01Z", "2026-01-26T10:00:03Z")


GOOD = to_cursor(JOB_ID, "1") or ""


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param(to_cursor(OTHER_ID, "1"), id="another job's"),
        pytest.param(GOOD[:-1], id="cut short"),
        pytest.param("A" + GOOD[1:], id="with a slip"),
        pytest.param(GOOD + "=", id="padded"),
        pytest.param(GOOD + "A" * 400, id="drawn out"),
        pytest.param("null", id="a word"),
        pytest.param("%F0%9F%9A%82", id="no ASCII"),
        pytest.param("A" * 600, id="far too long"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_cursor_that_this_list_did_not_give_is_refused_by_name(told: World, cursor: str) -> None:
    reply = get(told, f"?cursor={cursor}")
    assert reply.status == 400
    assert reply.body["error"]["code"] == "InvalidRequest"
    assert [detail["field"] for detail in reply.body["error"]["details"]] == ["cursor"]


def test_a_refused_cursor_says_what_to_do_in_both_languages(told: World) -> None:
    query = f"?cursor={to_cursor(OTHER_ID, '1')}"
    assert "is not a cursor that this job's list gave; leave it out to begin anew" in get(told, query).message
    assert "游标" in told.api.call("GET", EVENTS + query).message


def test_a_cursor_is_fit_for_a_url() -> None:
    cursor = to_cursor(JOB_ID, "2026-01-26T10:00:00.000000+00:00#" + "f" * 32)
    assert cursor is not None and cursor.replace("-", "").replace("_", "").isalnum()


def test_viewers_read_events_and_other_tenants_do_not_know_the_job(told: World) -> None:
    assert get(told, token="acme:viewer").status == 200
    assert get(told, token="ops:admin").status == 200
    refused = get(told, f"?cursor={GOOD}", token="globex:member")
    assert (refused.status, refused.body["error"]["code"]) == (404, "JobNotFound")


def test_events_are_answered_while_the_cluster_is_down(told: World) -> None:
    told.cluster.broken = ClusterUnavailable("no route")
    assert len(reasons(get(told))) == 5
