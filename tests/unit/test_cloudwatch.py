"""Shipped logs, read through a client that pages as GetLogEvents is documented to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from chalicelib.cloudwatch import PAGE, CloudWatchArchive
from chalicelib.domain.logs import LONG_LINE, SECOND, Mark, Stamped, advance, nanoseconds, rfc3339
from chalicelib.errors import LogsUnavailable
from tests.builders import JOB_ID

POD = f"{JOB_ID}-abcde"
STREAM = f"{JOB_ID}.{POD}.training"
BEGIN = nanoseconds("2026-01-26T10:00:00Z")
MANY = 10**9


class FakeClient:
    """GetLogEvents over lists. A page has at most `page` events, and an empty one may come before it."""

    def __init__(self) -> None:
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.page = PAGE
        self.hiccups = False
        self.calls: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def get_log_events(self, **request: Any) -> dict[str, Any]:
        self.calls.append(request)
        if self.error:
            raise self.error
        if request["logStreamName"] not in self.streams:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetLogEvents")
        events = self.streams[request["logStreamName"]]
        first = request.get("startTime", 0)
        last = request.get("endTime", 2**60)
        events = [event for event in events if first <= event["timestamp"] < last]
        forward, size = request["startFromHead"], min(self.page, request["limit"])
        place = int(request.get("nextToken", f"f/{0 if forward else len(events)}/0").split("/")[1])
        hiccup = self.hiccups and not request.get("nextToken", "/1").endswith("/1")
        if hiccup:
            low = high = place
        else:
            low, high = (place, min(place + size, len(events))) if forward else (max(0, place - size), place)
        at_end = low == high and not hiccup
        token = f"f/{high if forward else low}/{int(hiccup)}"
        token = request["nextToken"] if at_end and "nextToken" in request else token
        return {"events": events[low:high], "nextForwardToken": token, "nextBackwardToken": token}

    def describe_log_streams(self, **request: Any) -> dict[str, Any]:
        """Two a page."""
        self.calls.append(request)
        if self.error:
            raise self.error
        names = sorted(name for name in self.streams if name.startswith(request["logStreamNamePrefix"]))
        place = int(request.get("nextToken", 0))
        more = {"nextToken": str(place + 2)} if len(names) > place + 2 else {}
        return {"logStreams": [{"logStreamName": name} for name in names[place : place + 2]], **more}


class Shipper:
    """Ships records as Fluent Bit does; each record's file offset follows from those before it."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client
        self._offset = 0
        self._client.streams[STREAM] = []

    def ship(self, time: int, text: str, tag: str = "F", offset: int | None = None) -> None:
        offset = self._offset if offset is None else offset
        record = {"time": rfc3339(time), "stream": "stdout", "logtag": tag, "log": text, "offset": offset}
        self._offset = offset + len(text) + 50
        events = self._client.streams[STREAM]
        events.append({"timestamp": time // 10**6, "message": json.dumps(record)})
        events.sort(key=lambda event: event["timestamp"])

    def rotate(self) -> None:
        self._offset = 0


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def shipper(client: FakeClient) -> Shipper:
    return Shipper(client)


@pytest.fixture
def archive(client: FakeClient) -> CloudWatchArchive:
    return CloudWatchArchive("/trainyard/jobs", lambda: client)


def every(archive: CloudWatchArchive, lines: int, *, limit_bytes: int = MANY) -> list[Stamped]:
    """The whole log, read page by page."""
    told: list[Stamped] = []
    mark: Mark | None = None
    for _ in range(10_000):
        chunk = archive.after(JOB_ID, POD, mark, lines, limit_bytes, ended=True)
        told += chunk.lines
        mark = advance(mark, chunk.lines)
        if chunk.whole and not chunk.lines:
            return told
    raise AssertionError("the log has no end")


@pytest.mark.parametrize("hiccups", [False, True])
@pytest.mark.parametrize("page", [1, 3, 10_000])
@pytest.mark.parametrize("lines", [1, 7, 10_000])
def test_every_line_comes_once_and_in_order(
    client: FakeClient, shipper: Shipper, archive: CloudWatchArchive, lines: int, page: int, hiccups: bool
) -> None:
    client.page, client.hiccups = page, hiccups
    for number in range(40):
        shipper.ship(BEGIN + number * 10**8 // 3, str(number))
    assert [line.text for line in every(archive, lines)] == [str(number) for number in range(40)]


def test_lines_of_one_millisecond_keep_their_order_and_their_nanoseconds(
    shipper: Shipper, archive: CloudWatchArchive
) -> None:
    for number in range(50):
        shipper.ship(BEGIN + number * 1000, str(number))
    assert every(archive, 3) == [Stamped(BEGIN + number * 1000, str(number)) for number in range(50)]


def test_records_that_were_shipped_twice_are_told_once(shipper: Shipper, archive: CloudWatchArchive) -> None:
    for _ in range(2):
        for number in range(20):
            shipper.ship(BEGIN + number * 1000, "same", offset=number * 60)
    assert len(every(archive, 5)) == 20


def test_a_burst_that_was_shipped_twice_is_no_rotation(shipper: Shipper, archive: CloudWatchArchive) -> None:
    for _ in range(2):
        for number in range(100):
            shipper.ship(BEGIN + number, f"{number} {'x' * 16_000}", offset=number * 16_100)
    assert [int(line.text.split()[0]) for line in every(archive, 1000)] == list(range(100))


def test_equal_lines_are_no_repeats(shipper: Shipper, archive: CloudWatchArchive) -> None:
    for _ in range(20):
        shipper.ship(BEGIN, "same")
    assert len(every(archive, 5)) == 20


@pytest.mark.parametrize("lines", [1, 2, 5, 100])
def test_output_and_error_streams_keep_the_files_order(
    shipper: Shipper, archive: CloudWatchArchive, lines: int
) -> None:
    """The runtime stamped them a little out of order, and CloudWatch orders by time."""
    for number in range(30):
        late = 3 * 10**6 if number % 2 else 0
        shipper.ship(BEGIN + number * 10**6 - late + 10**7 + number, str(number))
    assert [line.text for line in every(archive, lines)] == [str(number) for number in range(30)]


def test_a_rotated_log_goes_on_in_its_next_file(shipper: Shipper, archive: CloudWatchArchive) -> None:
    for number in range(30):
        if number in (10, 20):
            shipper.rotate()
        shipper.ship(BEGIN + number * 10**7, str(number) + "x" * 40_000)
    assert [int(line.text.rstrip("x")) for line in every(archive, 4)] == list(range(30))


def test_a_line_of_a_megabyte_is_put_together_again(shipper: Shipper, archive: CloudWatchArchive) -> None:
    shipper.ship(BEGIN, "before")
    for number in range(64):
        shipper.ship(BEGIN + 1000 + number, chr(97 + number % 26) * 16_384, tag="P" if number < 63 else "F")
    shipper.ship(BEGIN + 2000, "behind")
    before, long, behind = every(archive, 2)
    assert (before.text, behind.text, len(long.text)) == ("before", "behind", 2**20)
    assert long.time == BEGIN + 1000
    tail = archive.tail(JOB_ID, POD, None, 2, MANY)
    assert [len(line.text) for line in tail.lines] == [2**20, len("behind")]


def test_a_line_without_an_end_is_told_once_its_container_has_ended(
    shipper: Shipper, archive: CloudWatchArchive
) -> None:
    shipper.ship(BEGIN, "whole")
    shipper.ship(BEGIN + 1, "half", tag="P")
    running = archive.after(JOB_ID, POD, None, 10, MANY, ended=False)
    assert [line.text for line in running.lines] == ["whole"]
    ended = archive.after(JOB_ID, POD, Mark(BEGIN, 1), 10, MANY, ended=True)
    assert [line.text for line in ended.lines] == ["half"]


def test_a_tail_costs_what_its_lines_cost(client: FakeClient, archive: CloudWatchArchive) -> None:
    client.streams[STREAM] = []
    for number in range(5000):
        record = {
            "time": rfc3339(BEGIN + number * 10**6),
            "logtag": "F",
            "log": str(number),
            "offset": number * 60,
        }
        client.streams[STREAM].append({"timestamp": BEGIN // 10**6 + number, "message": json.dumps(record)})
    chunk = archive.tail(JOB_ID, POD, None, 100, MANY)
    assert [line.text for line in chunk.lines] == [str(number) for number in range(4900, 5000)]
    assert [call["limit"] for call in client.calls] == [101]
    assert not chunk.cut


def test_a_tail_that_begins_within_a_long_line_ends_where_reading_goes_on(
    shipper: Shipper, archive: CloudWatchArchive
) -> None:
    shipper.ship(BEGIN, "x" * (2 * LONG_LINE))
    tail = archive.tail(JOB_ID, POD, None, 2, MANY)
    shipper.ship(BEGIN + 1, "next")
    rest = archive.after(JOB_ID, POD, advance(None, tail.lines), 10, MANY, ended=True)
    assert [line.text for line in rest.lines] == ["next"]


def test_a_tail_before_a_time_has_none_of_it(shipper: Shipper, archive: CloudWatchArchive) -> None:
    for number in range(20):
        shipper.ship(BEGIN + number * 1000, str(number))
    chunk = archive.tail(JOB_ID, POD, BEGIN + 10_000, 3, MANY)
    assert [line.text for line in chunk.lines] == ["7", "8", "9"]


def test_a_tail_that_is_too_long_is_cut(
    client: FakeClient, shipper: Shipper, archive: CloudWatchArchive
) -> None:
    client.page = 5
    for number in range(20):
        shipper.ship(BEGIN + number * SECOND, f"{number} " + "x" * 1000)
    chunk = archive.tail(JOB_ID, POD, None, 20, 3000)
    assert [line.text.split()[0] for line in chunk.lines] == ["16", "17", "18", "19"] and chunk.cut
    assert not archive.tail(JOB_ID, POD, None, 20, MANY).cut


def test_a_stream_that_is_not_there_is_an_empty_log(archive: CloudWatchArchive) -> None:
    chunk = archive.after(JOB_ID, POD, None, 10, MANY, ended=True)
    assert (list(chunk.lines), chunk.joined, chunk.whole) == ([], False, True)
    assert list(archive.tail(JOB_ID, POD, None, 10, MANY).lines) == []


def test_whether_a_log_goes_on_behind_the_mark_is_said(shipper: Shipper, archive: CloudWatchArchive) -> None:
    shipper.ship(BEGIN + SECOND, "later")
    assert archive.after(JOB_ID, POD, None, 10, MANY, ended=True).joined
    assert archive.after(JOB_ID, POD, Mark(BEGIN + SECOND, 1), 10, MANY, ended=True).joined
    assert not archive.after(JOB_ID, POD, Mark(BEGIN, 1), 10, MANY, ended=True).joined


def test_what_another_program_wrote_is_told_as_it_stands(
    client: FakeClient, archive: CloudWatchArchive
) -> None:
    client.streams[STREAM] = [
        {"timestamp": 1, "message": "plain"},
        {"timestamp": 2, "message": '{"level": "info"}'},
        {"timestamp": 3, "message": '["list"]'},
    ]
    told = [line.text for line in archive.after(JOB_ID, POD, None, 10, MANY, ended=True).lines]
    assert told == ["plain", '{"level": "info"}', '["list"]']


def test_the_pods_that_were_shipped_are_known(client: FakeClient, archive: CloudWatchArchive) -> None:
    for name in ("a", "b", "c", "d"):
        client.streams[f"{JOB_ID}.{JOB_ID}-{name}.training"] = []
    client.streams[f"{JOB_ID}.{JOB_ID}-d.sidecar"] = []
    client.streams[f"{JOB_ID}x.{JOB_ID}x-a.training"] = []
    assert list(archive.pods(JOB_ID)) == [f"{JOB_ID}-{name}" for name in "abcd"]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "GetLogEvents"),
        ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetLogEvents"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
    ids=["throttled", "denied", "unreachable"],
)
def test_trouble_with_cloudwatch_is_ours_to_tell(
    client: FakeClient, shipper: Shipper, archive: CloudWatchArchive, error: Exception
) -> None:
    shipper.ship(BEGIN, "line")
    client.error = error
    with pytest.raises(LogsUnavailable):
        archive.after(JOB_ID, POD, None, 10, MANY, ended=True)
    with pytest.raises(LogsUnavailable):
        archive.tail(JOB_ID, POD, None, 10, MANY)
    with pytest.raises(LogsUnavailable):
        archive.pods(JOB_ID)
