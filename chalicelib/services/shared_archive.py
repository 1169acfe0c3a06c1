"""Lets many followers of one log cost its archive what one of them does.

CloudWatch takes a few reads a second of a whole account, the table takes any number: what one follower read
behind a mark is kept there for the others, for as long as it can be true.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from chalicelib.domain.logs import Chunk, Mark, Stamped
from chalicelib.services.ports import Clock, LogArchive, SharedPages

READING = timedelta(seconds=5)  # that one read may take, until another tries
AT_THE_END = timedelta(seconds=2)  # lines may follow: the page is not good for longer
IN_BETWEEN = timedelta(seconds=60)  # lines that others follow upon will not change
MOST_BYTES = 300_000  # of a page that is shared; an item holds 400 KB
TOO_LARGE = b""


class SharedArchive:
    """services.ports.LogArchive over `archive`, whose pages are shared."""

    def __init__(self, archive: LogArchive, pages: SharedPages, clock: Clock) -> None:
        self._archive = archive
        self._pages = pages
        self._clock = clock

    def pods(self, job_id: str) -> Sequence[str]:
        return self._archive.pods(job_id)

    def tail(self, job_id: str, pod: str, before: int | None, lines: int, limit_bytes: int) -> Chunk:
        return self._archive.tail(job_id, pod, before, lines, limit_bytes)

    def after(
        self, job_id: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        name = f"{job_id}/{pod}/{f'{mark.time}.{mark.count}' if mark else 'start'}/{ended:d}"
        now = self._clock()
        page = self._pages.shared_page(name, now)
        if page is None and self._pages.claim_page(name, now, now + READING):
            chunk = self._archive.after(job_id, pod, mark, lines, limit_bytes, ended=ended)
            self._pages.share_page(name, _packed(chunk), now + (AT_THE_END if chunk.whole else IN_BETWEEN))
            return chunk
        if page is None or page.content is None:
            return Chunk(joined=False, whole=False)  # another reads it right now
        if page.content == TOO_LARGE:
            return self._archive.after(job_id, pod, mark, lines, limit_bytes, ended=ended)
        chunk = _unpacked(page.content)
        return replace(chunk, lines=chunk.lines[:lines], whole=chunk.whole and len(chunk.lines) <= lines)


def _packed(chunk: Chunk) -> bytes:
    packed = zlib.compress(json.dumps([chunk.joined, chunk.whole, chunk.lines]).encode(), 1)
    return packed if len(packed) <= MOST_BYTES else TOO_LARGE


def _unpacked(content: bytes) -> Chunk:
    joined, whole, lines = json.loads(zlib.decompress(content))
    return Chunk([Stamped(time, text) for time, text in lines], joined, whole)
