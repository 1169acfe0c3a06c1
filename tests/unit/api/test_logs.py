"""Log reading over HTTP: both dialects' shapes, cursors, following, Server-Sent Events."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import pytest

from chalicelib.domain.log_cursor import Cursor, encode
from chalicelib.domain.logs import pieces
from chalicelib.domain.states import Status
from chalicelib.errors import ClusterUnavailable
from tests import builders
from tests.builders import JOB_ID
from tests.unit.api.conftest import World
from tests.unit.api.fakes import Reply

POD = builders.pod().name
LINES = f"/api/v1/training/jobs/{JOB_ID}/logs"
TEXT = f"/api/jobs/{JOB_ID}/pods/{POD}/logs"
EPOCHS = ("Epoch 1/100, Loss: 0.5234", "Epoch 2/100, Loss: 0.4123")


def running(world: World, *lines: str, **changes: Any) -> None:
    world.store.jobs[JOB_ID] = builders.job(Status.RUNNING, pods=builders.pods(POD), **changes)
    world.cluster.jobs[JOB_ID] = builders.workload(builders.running_pod())
    world.cluster.printed.print(POD, *lines)


def ended(world: World, *lines: str) -> None:
    running(world, *lines)
    world.store.jobs[JOB_ID] = builders.job(
        Status.SUCCEEDED, pods=builders.pods(POD), finished_at=builders.NOW
    )
    world.cluster.jobs[JOB_ID] = builders.workload(builders.ended_pod(0))


def cursor_of(reply: Reply) -> str:
    return str(reply.body["data"]["cursor"])


@dataclass(frozen=True)
class Sent:
    """One Server-Sent Event as a browser dispatches it."""

    event: str
    id: str
    data: Any


def sent(reply: Reply) -> list[Sent]:
    events = []
    last = ""
    for block in reply.raw.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
        last = fields.get("id", last)
        if "data" in fields:
            events.append(Sent(fields.get("event", "message"), last, json.loads(fields["data"])))
    return events


def test_logs_are_lines_in_one_dialect_and_text_in_the_other(world: World) -> None:
    running(world, *EPOCHS)
    reply = world.api.call("GET", LINES)
    beside = {"cursor": cursor_of(reply), "finished": False, "source": "kubernetes"}
    assert reply.body == {"code": 0, "message": "success", "data": {"logs": list(EPOCHS), **beside}}
    reply = world.api.call("GET", f"{TEXT}?follow=false")
    assert reply.body == {"success": True, "data": {"logs": "\n".join(EPOCHS), **beside}}
    assert world.api.call("GET", f"{LINES}?lines=1").body["data"]["logs"] == [EPOCHS[1]]
    assert world.api.call("GET", f"{TEXT}?tailLines=1").body["data"]["logs"] == EPOCHS[1]


def test_lines_default_to_100_tail_lines_to_1000_and_a_cursor_to_all_that_fits(world: World) -> None:
    running(world, *map(str, range(2000)))
    assert len(world.api.call("GET", LINES).body["data"]["logs"]) == 100
    assert world.api.call("GET", TEXT).body["data"]["logs"].count("\n") == 999
    assert len(world.api.call("GET", f"{LINES}?cursor=start").body["data"]["logs"]) == 2000


def test_a_cursor_goes_on_exactly_where_its_page_ended_in_either_dialect(world: World) -> None:
    running(world, *map(str, range(10)))
    first = world.api.call("GET", f"{LINES}?cursor=start&lines=4")
    assert first.body["data"]["logs"] == ["0", "1", "2", "3"]
    second = world.api.call("GET", f"{TEXT}?cursor={cursor_of(first)}&tailLines=4")
    assert second.body["data"]["logs"] == "4\n5\n6\n7"
    third = world.api.call("GET", f"{LINES}?cursor={cursor_of(second)}")
    assert third.body["data"]["logs"] == ["8", "9"]
    assert world.api.call("GET", f"{LINES}?cursor={cursor_of(third)}").body["data"]["logs"] == []


def test_a_tails_cursor_goes_on_behind_the_tail(world: World) -> None:
    running(world, *map(str, range(10)))
    tail = world.api.call("GET", f"{LINES}?lines=2")
    world.cluster.printed.print(POD, "10")
    assert world.api.call("GET", f"{LINES}?cursor={cursor_of(tail)}").body["data"]["logs"] == ["10"]


def test_a_cursor_of_another_job_is_refused(world: World) -> None:
    running(world, *EPOCHS)
    other = encode(Cursor(JOB_ID[:-1] + "b"))
    reply = world.api.call("GET", f"{LINES}?cursor={other}", Accept_Language="en")
    assert reply.status == 400 and "cursor" in reply.message


def test_a_damaged_cursor_is_refused(world: World) -> None:
    running(world, *EPOCHS)
    good = cursor_of(world.api.call("GET", LINES))
    for place in range(0, len(good), 7):
        bad = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        assert world.api.call("GET", f"{LINES}?cursor={bad}").status == 400, bad


@pytest.mark.parametrize(
    "place",
    ["[1e400, 1, 0]", "[Infinity, 1, 0]", f"[{10**30}, 1, 0]", f"[{2**63}, 1, 0]", "[1, 1, 0]", "[-1, 1, 0]"],
)
def test_a_forged_cursor_that_names_no_time_of_a_log_is_refused(world: World, place: str) -> None:
    ended(world, *EPOCHS)
    body = f'p["{JOB_ID[4:]}", {{"{POD.removeprefix(JOB_ID)}": {place}}}]'.encode()
    forged = urlsafe_b64encode(crc32(body).to_bytes(4, "big") + body).rstrip(b"=").decode()
    reply = world.api.call("GET", f"{LINES}?cursor={forged}", Accept_Language="en")
    assert reply.status == 400 and "cursor" in reply.message


def test_an_ended_log_that_was_read_to_its_end_is_finished(world: World) -> None:
    ended(world, *EPOCHS)
    assert world.api.call("GET", LINES).body["data"]["finished"] is True
    first = world.api.call("GET", f"{LINES}?cursor=start&lines=1")
    assert first.body["data"]["finished"] is False
    assert world.api.call("GET", f"{LINES}?cursor={cursor_of(first)}").body["data"]["finished"] is True


def test_a_job_that_has_not_started_has_an_empty_log_with_the_reason(world: World) -> None:
    job = builders.job(Status.PENDING, reason="Unschedulable", message="0/3 nodes are available")
    world.store.jobs[JOB_ID] = job
    data = world.api.call("GET", LINES).body["data"]
    assert data["logs"] == [] and data["finished"] is False
    assert (data["reason"], data["message"]) == ("Unschedulable", "0/3 nodes are available")
    world.cluster.jobs[JOB_ID] = builders.workload(builders.pod())
    data = world.api.call("GET", TEXT).body["data"]
    assert (data["logs"], data["reason"]) == ("", "Unschedulable")


def test_a_cluster_that_is_down_hides_no_log(world: World) -> None:
    running(world, *EPOCHS)
    world.cluster.printed.ship()
    world.cluster.broken = ClusterUnavailable("down")
    for path in (LINES, TEXT):
        data = world.api.call("GET", path).body["data"]
        assert (data["source"], data["finished"]) == ("cloudwatch", False)
        assert "Epoch 2" in str(data["logs"])
    assert world.api.call("GET", TEXT.replace("abcde", "xyzzy")).status == 503


def test_an_archive_that_is_down_is_a_503_where_its_lines_are_needed(world: World) -> None:
    ended(world, *EPOCHS)
    world.cluster.jobs.clear()
    world.cluster.printed.archive_error = RuntimeError("throttled")
    reply = world.api.call("GET", LINES, Accept_Language="en")
    assert reply.status == 503 and reply.body["code"] == 50307
    assert reply.headers["Retry-After"]


def test_following_returns_as_soon_as_there_is_a_line(world: World) -> None:
    running(world, *EPOCHS)
    cursor = cursor_of(world.api.call("GET", LINES))
    world.cluster.printed.while_waiting = lambda: world.cluster.printed.print(POD, "Epoch 3/100, Loss: 0.3")
    data = world.api.call("GET", f"{LINES}?follow=true&cursor={cursor}").body["data"]
    assert data["logs"] == ["Epoch 3/100, Loss: 0.3"]


def test_following_without_a_line_ends_after_its_wait(world: World) -> None:
    running(world)
    data = world.api.call("GET", f"{TEXT}?follow=true&wait=3").body["data"]
    assert (data["logs"], data["finished"]) == ("", False)
    assert world.clock.slept == [1.0, 1.0, 1.0]


def test_events_carry_a_line_and_the_cursor_behind_it(world: World) -> None:
    ended(world, 'one\r"two"', "\0 three")
    reply = world.api.call("GET", LINES, Accept="text/event-stream")
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.raw.startswith("retry: ")
    one, two, end = sent(reply)
    assert one.data["line"] == 'one\r"two"' and one.data["pod"] == POD
    assert two.data["line"] == "\0 three" and two.data["time"] > one.data["time"]
    assert (end.event, end.data) == ("end", {"finished": True})


def test_a_client_of_events_that_comes_back_misses_and_repeats_nothing(world: World) -> None:
    ended(world, *map(str, range(20)))
    first = sent(world.api.call("GET", f"{LINES}?cursor=start", Accept="text/event-stream"))
    for index in range(19):
        again = world.api.call(
            "GET", f"{LINES}?cursor=start", Accept="text/event-stream", Last_Event_ID=first[index].id
        )
        assert [event.data.get("line") for event in sent(again)] == [*map(str, range(index + 1, 20)), None]


def test_a_client_of_events_is_told_the_end_also_if_its_lines_were_told_before(world: World) -> None:
    ended(world, *EPOCHS)
    job = world.store.jobs[JOB_ID]
    world.store.jobs[JOB_ID] = builders.job(Status.STOPPING, pods=job.pods)
    *_, line = sent(world.api.call("GET", LINES, Accept="text/event-stream"))
    world.store.jobs[JOB_ID] = job
    (end,) = sent(world.api.call("GET", LINES, Accept="text/event-stream", Last_Event_ID=line.id))
    assert end.event == "end"


def test_a_client_of_events_that_comes_back_at_the_end_is_told_to_stop(world: World) -> None:
    ended(world, *EPOCHS)
    last = sent(world.api.call("GET", LINES, Accept="text/event-stream"))[-1]
    reply = world.api.call("GET", LINES, Accept="text/event-stream", Last_Event_ID=last.id)
    assert (reply.status, reply.raw) == (204, "")


def test_a_last_event_id_that_is_none_is_refused(world: World) -> None:
    running(world, *EPOCHS)
    reply = world.api.call("GET", LINES, Accept="text/event-stream", Last_Event_ID="7")
    assert reply.status == 400 and "Last-Event-ID" in reply.message


@pytest.mark.parametrize(
    "lines",
    [
        ["\x1b" * 100] * 10_000,
        ["任" * 3_000] * 1_000,
        ["x" * 5_000_000],
        ["a", "\0" * 5_000_000, "b"],
        ["a", '"' * 999_000, "b"],
    ],
    ids=["escapes", "Chinese", "one long", "long in between", "quotes"],
)
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_what_does_not_fit_into_one_answer_comes_in_the_next(
    world: World, lines: list[str], kind: str
) -> None:
    running(world, *(piece.text for line in lines for piece in pieces(0, line)))
    told, cursor = "", "start"
    for _ in range(40):
        reply = world.api.call("GET", f"{LINES}?cursor={cursor}", Accept=kind)
        assert len(json.dumps(reply.raw)) < 6 * 10**6  # what Lambda may answer with
        if kind == "application/json":
            texts, cursor = reply.body["data"]["logs"], cursor_of(reply)
        else:
            events = [event for event in sent(reply) if event.event == "message"]
            texts, cursor = [event.data["line"] for event in events], events[-1].id
        told += "".join(texts)
        if len(told) == sum(map(len, lines)):
            break
    assert told == "".join(lines)


def test_ranks_that_print_side_by_side_are_named(world: World) -> None:
    pods = [builders.running_pod(name=f"{JOB_ID}-{rank}-abcde", rank=rank) for rank in range(2)]
    running(world, spec=builders.spec(nodes=2))
    world.cluster.jobs[JOB_ID] = builders.workload(*pods)
    for rank, pod in enumerate(pods):
        world.cluster.printed.print(pod.name, f"rank {rank}")
    assert world.api.call("GET", LINES).body["data"]["logs"] == [
        f"[{JOB_ID}-0-abcde] rank 0",
        f"[{JOB_ID}-1-abcde] rank 1",
    ]
