"""The LogArchive on CloudWatch Logs: what Fluent Bit shipped of pods' logs. docs/logs.md has the format.

Every container of a pod has a log stream. Its events come in the order of their milliseconds, and some may
be there twice: `offset`, a record's place in its file, puts that right.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws_session import AwsSession
from chalicelib.domain.logs import DISORDER, Chunk, Mark, Stamped, last, nanoseconds, pieces, resume
from chalicelib.domain.manifest import CONTAINER
from chalicelib.errors import LogsUnavailable

MILLISECOND = 10**6
PAGE = 10_000  # events: GetLogEvents gives no more, and no more than 1 MB
STREAM_PAGES = 10  # of 50 streams
CALLS = 200  # of one read; a page may be empty and others follow
# A record that lies further back than this is another file's: the log was rotated.
REREAD = 256 * 1024


class Record(NamedTuple):
    """One record of a container's log; the line of a `partial` one goes on in the next."""

    time: int
    offset: int
    partial: bool
    text: str


class CloudWatchArchive:
    """services.cluster_ports.LogArchive over the log group `group`."""

    def __init__(self, group: str, connect: Callable[[], Any]) -> None:
        self._group = group
        self._connect = connect
        self._lock = threading.Lock()
        self._client: Any = None

    def pods(self, job_id: str) -> Sequence[str]:
        request = {"logGroupName": self._group, "logStreamNamePrefix": f"{job_id}."}
        found: list[str] = []
        for _ in range(STREAM_PAGES):
            try:
                with _translated():
                    answer = self._connected().describe_log_streams(**request)
            except _NoStream:  # nor a group
                return ()
            names = [stream["logStreamName"].split(".") for stream in answer["logStreams"]]
            found += [pod for _, pod, container in names if container == CONTAINER]
            if "nextToken" not in answer:
                break
            request["nextToken"] = answer["nextToken"]
        return found

    def tail(self, job_id: str, pod: str, before: int | None, lines: int, limit_bytes: int) -> Chunk:
        query: dict[str, Any] = {"endTime": before // MILLISECOND + 1} if before else {}
        records: list[Record] = []
        whole = True
        # One end of a line more than lines makes the oldest of them complete.
        for page in self._pages(job_id, pod, {**query, "limit": min(PAGE, lines + 1)}, forward=False):
            records = [*page, *records]
            limit_bytes -= sum(len(record.text) for record in page)
            ends = sum(not record.partial and _is_before(record.time, before) for record in records)
            if ends > lines or limit_bytes <= 0:
                whole = False
                break
        found = list(_joined(_in_file_order(records), ended=True))[0 if whole else 1 :]
        found = [line for line in found if _is_before(line.time, before)]
        return Chunk(last(found, lines), joined=True, cut=not whole and len(found) < lines)

    def after(
        self, job_id: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        query: dict[str, Any] = {"startTime": (mark.time - DISORDER) // MILLISECOND} if mark else {}
        records: list[Record] = []
        newest, whole = 0, True
        for page in self._pages(job_id, pod, {**query, "limit": PAGE}, forward=True):
            records += page
            limit_bytes -= sum(len(record.text) for record in page)
            newest = max((record.time for record in page), default=newest)
            settled = sum(_is_settled(record, mark, newest) for record in records)
            if settled > lines or (settled and limit_bytes <= 0):
                whole = False
                break
        # What comes within a moment of a page's end may belong before it.
        ordered = [r for r in _in_file_order(records) if whole or r.time <= newest - DISORDER]
        joined, rest = resume(_joined(ordered, ended=ended and whole), mark)
        found = list(rest)
        return Chunk(found[:lines], joined or (mark is None and bool(records)), whole and len(found) <= lines)

    def _pages(
        self, job_id: str, pod: str, query: Mapping[str, Any], *, forward: bool
    ) -> Iterator[list[Record]]:
        """The pages of a stream up to its end; none if there is no such stream. Raises LogsUnavailable."""
        request = {
            "logGroupName": self._group,
            "logStreamName": f"{job_id}.{pod}.{CONTAINER}",
            "startFromHead": forward,
            **query,
        }
        token = None
        for _ in range(CALLS):
            try:
                with _translated():
                    answer = self._connected().get_log_events(**request)
            except _NoStream:
                return
            yield [_record(event) for event in answer["events"]]
            token, last = answer["nextForwardToken" if forward else "nextBackwardToken"], token
            if token == last:  # the end: https://docs.aws.amazon.com/AmazonCloudWatchLogs/ GetLogEvents
                return
            request["nextToken"] = token
        raise LogsUnavailable(f"{request['logStreamName']} has no end within {CALLS} pages")

    def _connected(self) -> Any:
        """The client, made on first use: most log reads need none."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client


def logs_client(session: AwsSession) -> Any:
    """A client for reading logs while somebody waits for them."""
    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    return session.client("logs", config=config)


class _NoStream(Exception):
    """Nothing was shipped of this container, or the retention is over."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise _NoStream from error
        raise LogsUnavailable(f"CloudWatch Logs: {error}") from error
    except BotoCoreError as error:
        raise LogsUnavailable(f"CloudWatch Logs does not answer: {error}") from error


def _record(event: Mapping[str, Any]) -> Record:
    """An event's record; what another program wrote into the stream is a line as it stands, in its time."""
    try:
        value = json.loads(event["message"])
        time, offset = nanoseconds(value["time"]), int(value["offset"])
        return Record(time, offset, value["logtag"] == "P", str(value["log"]))
    except (ValueError, TypeError, KeyError):
        time = event["timestamp"] * MILLISECOND
        return Record(time, time, False, event["message"])


def _is_before(time: int, before: int | None) -> bool:
    return before is None or time < before


def _is_settled(record: Record, mark: Mark | None, newest: int) -> bool:
    """Whether the record ends a line behind `mark` and nothing that is yet to be read belongs before it."""
    return (
        not record.partial and (mark is None or record.time > mark.time) and record.time <= newest - DISORDER
    )


def _in_file_order(records: Iterable[Record]) -> Sequence[Record]:
    """The records as their node wrote them, each once: a repeat has the same time and place."""
    placed: list[tuple[int, int, Record]] = []
    file, end = 0, 0
    for record in {(record.time, record.offset): record for record in records}.values():
        if record.offset < end - REREAD:
            file, end = file + 1, 0
        end = max(end, record.offset)
        placed.append((file, record.offset, record))
    return [record for *_, record in sorted(placed)]


def _joined(records: Iterable[Record], *, ended: bool) -> Iterator[Stamped]:
    """The lines of records. One whose end is missing is given only if the container has `ended`."""
    parts: list[str] = []
    time = 0
    for record in records:
        time = time if parts else record.time
        parts.append(record.text)
        if not record.partial:
            yield from pieces(time, "".join(parts))
            parts = []
    if parts and ended:
        yield from pieces(time, "".join(parts))
