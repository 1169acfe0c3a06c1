"""The opaque cursor of a job's log: how far each of its pods was read."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.domain.logs import DISORDER, Mark

MAX_BYTES = 64 * 1024  # of an unpacked cursor; that of as many pods as a record can have has 11 KiB
START = "start"
END_OF_TIME = 2**63  # nanoseconds, in the year 2262


class BadCursor(ValueError):
    """The text is no cursor, or one of another job."""


@dataclass(frozen=True, slots=True)
class Read:
    """How far one pod was read. `done`: it has ended and was read to its end; `mark` None: not begun."""

    mark: Mark | None = None
    done: bool = False


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the log of the job `job_id`; a pod that is not in `read` was not read yet."""

    job_id: str
    read: Mapping[str, Read] = field(default_factory=dict)

    def of(self, pod: str) -> Read:
        return self.read.get(pod, Read())

    def moved(self, pod: str, read: Read) -> Cursor:
        return Cursor(self.job_id, {**self.read, pod: read})


def encode(cursor: Cursor) -> str:
    """URL-safe text; `decode` is its inverse."""
    pods = {
        pod.removeprefix(cursor.job_id): [read.mark.time, read.mark.count, 0]
        if read.mark and not read.done
        else [0, 0, int(read.done)]
        for pod, read in cursor.read.items()
    }
    text = json.dumps([cursor.job_id[4:], pods], separators=(",", ":")).encode()
    packed = zlib.compress(text, 9)
    body = b"z" + packed if len(packed) < len(text) else b"p" + text
    return urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).rstrip(b"=").decode()


def decode(text: str, job_id: str) -> Cursor:
    """The cursor that `text` is. Raises BadCursor, also for one of another job."""
    if text == START:
        return Cursor(job_id)
    owner, pods = _unpacked(text)
    if owner != job_id[4:]:
        raise BadCursor("the cursor is of another job")
    read: dict[str, Read] = {}
    for pod, (time, count, done) in pods.items():
        name = job_id + pod if pod.startswith("-") else pod
        read[name] = Read(Mark(time, count) if count else None, bool(done))
    return Cursor(job_id, read)


def _unpacked(text: str) -> tuple[str, dict[str, tuple[int, int, int]]]:
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        check, kind, body = raw[:4], raw[4:5], raw[5:]
        if zlib.crc32(kind + body).to_bytes(4, "big") != check:
            raise ValueError("damaged")
        if kind == b"z":
            body = zlib.decompressobj().decompress(body, MAX_BYTES)
        owner, pods = json.loads(body)
        triples = {str(pod): tuple(map(int, triple)) for pod, triple in pods.items()}
        if not isinstance(owner, str) or not all(map(_is_a_place, triples.values())):
            raise ValueError("of another shape")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error) as error:
        raise BadCursor("not a cursor") from error
    return owner, triples  # type: ignore[return-value]  # each has three numbers


def _is_a_place(triple: tuple[int, ...]) -> bool:
    """Whether these are a time, a count and `done`, the time one that a log can be asked for."""
    time, count, done = triple
    return done >= 0 and (time == count == 0 or (count > 0 and DISORDER <= time < END_OF_TIME))
