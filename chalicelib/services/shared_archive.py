"""Lets many followers of one log cost its archive what one of them does.

CloudWatch takes a few reads a second of a whole account, the table takes any number: what one follower read
behind a mark is kept there for the others, for as long as it can be true.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from chalicelib.domain.logs import Chunk, Mark, Stamped
from chalicelib.errors import LogsUnavailable
from chalicelib.services.cluster_ports import LogArchive
from chalicelib.services.ports import Clock, SharedPages

READING = timedelta(seconds=5)  # that one read may take, until another tries
PATIENCE = timedelta(seconds=7)  # with a page that others read
LOOK_AGAIN_SECONDS = 0.2
AT_THE_END = timedelta(seconds=2)  # lines may follow: the page is not good for longer
IN_BETWEEN = timedelta(seconds=60)  # lines that others follow upon will not change
MOST_BYTES = 300_000  # of a page that is shared; an item holds 400 KB
TOO_LARGE = b""


class SharedArchive:
    """services.cluster_ports.LogArchive over `archive`, whose pages are shared."""

    def __init__(
        self, archive: LogArchive, pages: SharedPages, clock: Clock, sleep: Callable[[float], None]
    ) -> None:
        self._archive = archive
        self._pages = pages
        self._clock = clock
        self._sleep = sleep

    def pods(self, job_id: str) -> Sequence[str]:
        name = f"{job_id}/pods"
        if content := self._await(name):
            return list(json.loads(content))
        begin = self._clock()
        pods = self._archive.pods(job_id)
        self._pages.share_page(name, json.dumps(pods).encode(), begin + AT_THE_END)
        return pods

    def tail(self, job_id: str, pod: str, before: int | None, lines: int, limit_bytes: int) -> Chunk:
        return self._archive.tail(job_id, pod, before, lines, limit_bytes)

    def after(
        self, job_id: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        name = f"{job_id}/{pod}/{f'{mark.time}.{mark.count}' if mark else 'start'}/{ended:d}"
        content = self._await(name)
        if content:
            chunk = _unpacked(content)
            return replace(chunk, lines=chunk.lines[:lines], whole=chunk.whole and len(chunk.lines) <= lines)
        begin = self._clock()
        chunk = self._archive.after(job_id, pod, mark, lines, limit_bytes, ended=ended)
        if content is None:
            good_for = AT_THE_END if chunk.whole else IN_BETWEEN
            self._pages.share_page(name, _packed(chunk), begin + good_for)
        return chunk

    def _await(self, name: str) -> bytes | None:
        """The page, once it is read; None: it is for the caller to read and share."""
        deadline = self._clock() + PATIENCE
        while (now := self._clock()) < deadline:
            page = self._pages.shared_page(name, now)
            if page is not None and page.content is not None:
                return page.content
            if page is None and self._pages.claim_page(name, now, now + READING):
                return None
            self._sleep(LOOK_AGAIN_SECONDS)
        raise LogsUnavailable(f"others read {name}, and do not come to an end")


def _packed(chunk: Chunk) -> bytes:
    packed = zlib.compress(json.dumps([chunk.joined, chunk.whole, chunk.lines]).encode(), 1)
    return packed if len(packed) <= MOST_BYTES else TOO_LARGE


def _unpacked(content: bytes) -> Chunk:
    joined, whole, lines = json.loads(zlib.decompress(content))
    return Chunk([Stamped(time, text) for time, text in lines], joined, whole)
