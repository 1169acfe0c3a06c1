"""Lines of logs and places in them: what lets two sources of one log be read as one.

A pod's log is the sequence of its lines as its node wrote them. Each has the time of its first byte, in
nanoseconds, which Kubernetes and CloudWatch both keep; a `Mark` names a place by that time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

SECOND = 10**9
# A runtime copies standard output and error side by side: their times may be this much out of order.
DISORDER = SECOND // 10
# A line of more characters, or one that JSON makes too large, is given in pieces.
LONG_LINE = 2**20
PIECE = 2**18
ESCAPED_LIMIT = 4 * 10**6  # what escaped_size may say of a line


class Stamped(NamedTuple):
    """One line of one pod; `time` is in nanoseconds since 1970."""

    time: int
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a pod's log: right behind the `count`-th of the lines that have this `time`."""

    time: int
    count: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of a pod's lines, in their order.

    `joined`: it begins right behind the mark that was asked for, and nothing is missing in between.
    `whole`: it goes up to where the source ends now. `cut`: of the last lines that were asked for, the older
    ones are missing, since together they are too long.
    """

    lines: Sequence[Stamped] = ()
    joined: bool = True
    whole: bool = True
    cut: bool = False


def resume(lines: Iterable[Stamped], mark: Mark | None) -> tuple[bool, Iterator[Stamped]]:
    """The lines behind `mark` of a log that is read from a little before it, and whether `mark` was found.

    If it was not, because the log begins later, these are all the later lines.
    """
    rest = iter(lines)
    if mark is None:
        return False, rest
    later: list[Stamped] = []
    seen = 0
    for line in rest:
        if line.time == mark.time:
            seen += 1
            if seen == mark.count:
                return True, rest
        elif line.time > mark.time:
            later.append(line)
            if line.time > mark.time + DISORDER:
                break
    return seen > 0, chain(later, rest)


def advance(mark: Mark | None, lines: Sequence[Stamped]) -> Mark | None:
    """The place behind `lines`, which follow `mark`."""
    if not lines:
        return mark
    time = lines[-1].time
    count = sum(line.time == time for line in lines)
    return Mark(time, count + (mark.count if mark and mark.time == time else 0))


def last(lines: Sequence[Stamped], count: int) -> Sequence[Stamped]:
    """The last `count` lines and the ones of the same time before them: a place counts these too."""
    start = max(0, len(lines) - count)
    while 0 < start < len(lines) and lines[start - 1].time == lines[start].time:
        start -= 1
    return lines[start:]


def pieces(time: int, text: str) -> Iterator[Stamped]:
    """A line as it is given to callers: in one piece unless it would not fit into an answer."""
    if len(text) <= LONG_LINE and (len(text) * 12 <= ESCAPED_LIMIT or escaped_size(text) <= ESCAPED_LIMIT):
        yield Stamped(time, text)
        return
    for start in range(0, len(text), PIECE):
        yield Stamped(time, text[start : start + PIECE])


def escaped_size(text: str) -> int:
    """The bytes of `text` in a JSON text that is itself a string in JSON, as Lambda's answers are.

    Python 3.11's runtime escapes all that is not ASCII, later ones do not.
    """
    return len(json.dumps(json.dumps(text, ensure_ascii=False)))


def nanoseconds(text: str) -> int:
    """An RFC 3339 time with up to nine decimals, in nanoseconds since 1970. Raises ValueError."""
    head, rest = text[:19], text[19:]
    digits = ""
    if rest.startswith("."):
        end = 1
        while end < len(rest) and rest[end].isdigit():
            end += 1
        digits, rest = rest[1:end], rest[end:]
    return _seconds(head + rest) * SECOND + int(digits[:9].ljust(9, "0") or 0)


def rfc3339(time: int) -> str:
    """`2026-01-26T10:00:00.123456789Z`."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time % SECOND:09}Z"


@lru_cache(maxsize=64)
def _seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return int(moment.timestamp())
