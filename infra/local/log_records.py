"""Turns what a container runtime wrote into a log file (CRI) into what CloudWatch Logs takes.

docs/logs.md has the format; Fluent Bit writes the same on EKS, so that one reader reads both.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict

# The limits of PutLogEvents. That of 10,000 events is never met: an event takes 108 bytes at least.
MAX_BYTES = 1_048_576
EVENT_OVERHEAD_BYTES = 26
MAX_SPAN_MS = 24 * 3600 * 1000
MAX_AGE_MS = 14 * 24 * 3600 * 1000

_RECORD = re.compile(
    rb"(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?P<fraction>\.\d{1,9})?(?P<zone>Z|[+-]\d\d:\d\d)"
    rb" (?P<stream>stdout|stderr) (?P<logtag>[FP])[^ ]* (?P<log>.*)",
    re.DOTALL,
)
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class InputLogEvent(TypedDict):
    """As PutLogEvents takes it."""

    timestamp: int
    message: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One call's worth of events, oldest first, and the offset at which the next one starts."""

    events: list[InputLogEvent]
    end: int
    unreadable: int  # records that are none, or that no event can hold
    expired: int  # records that are too old to be taken


def batch_of(data: bytes, start: int, now_ms: int) -> Batch:
    """The first batch out of `data`, a file's bytes from `start`; a line that has no end yet stays,
    unless it is all of `data`: no runtime writes one that long."""
    if b"\n" not in data:
        return Batch([], start + len(data), 1, 0)
    events: list[InputLogEvent] = []
    end, size, unreadable, expired = start, 0, 0, 0
    oldest = newest = 0
    for offset, line in _lines(data, start):
        event = event_of(line, offset)
        bytes_taken = len(event["message"].encode()) + EVENT_OVERHEAD_BYTES if event else 0
        if event is None or bytes_taken > MAX_BYTES:
            unreadable += 1
        elif event["timestamp"] < now_ms - MAX_AGE_MS:
            expired += 1
        else:
            moment = event["timestamp"]
            oldest, newest = (min(oldest, moment), max(newest, moment)) if events else (moment, moment)
            if size + bytes_taken > MAX_BYTES or newest - oldest >= MAX_SPAN_MS:
                break
            events.append(event)
            size += bytes_taken
        end = offset + len(line) + 1
    # Stable: stdout and stderr may be a little out of order, events of one millisecond are not to be.
    events.sort(key=lambda event: event["timestamp"])
    return Batch(events, end, unreadable, expired)


def event_of(line: bytes, offset: int) -> InputLogEvent | None:
    """The event of one record (without its line feed); None for what is no record."""
    found = _RECORD.fullmatch(line)
    if found is None:
        return None
    try:
        epoch, second = _second(found["second"].decode(), found["zone"].decode())
    except ValueError:  # a thirteenth month
        return None
    fraction = (found["fraction"] or b"").decode()
    record = {
        "time": f"{second}{fraction}Z",
        "stream": found["stream"].decode(),
        "logtag": found["logtag"].decode(),
        "log": found["log"].decode(errors="replace"),
        "offset": offset,
    }
    milliseconds = epoch * 1000 + int(fraction[1:4].ljust(3, "0"))
    return {"timestamp": milliseconds, "message": _COMPACT.encode(record)}


def _lines(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        yield start + position, data[position:end]
        position = end + 1


@lru_cache(maxsize=16)
def _second(text: str, zone: str) -> tuple[int, str]:
    """Seconds since 1970, and the same as text in UTC. Raises ValueError."""
    epoch = calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    if zone != "Z":
        away = int(zone[1:3]) * 3600 + int(zone[4:]) * 60
        epoch += away if zone[0] == "-" else -away
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))
    return epoch, text
