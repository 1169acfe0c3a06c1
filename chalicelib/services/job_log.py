"""The log of a job as it stands at one moment: the lines of all of its pods, in the order of their times."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from chalicelib.domain.log_cursor import Cursor, Read
from chalicelib.domain.logs import Stamped, advance, escaped_size
from chalicelib.services.pod_log import Part, PodLog, Source

READ_BYTES = 8 * 2**20  # of all pods, a read
LEAST_BYTES = 2**18  # of one of many pods
LEAST_LINES = 100
ANSWER_BYTES = 4_500_000  # a Lambda answers with 6 MB at most, in which our JSON text is a string
READERS = 8  # pods that are read at a time


class LogLine(NamedTuple):
    """One line and the pod that printed it; `time` is in nanoseconds since 1970."""

    time: int
    pod: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A run of lines; `cursor` is the place behind them, `begin` the one before.

    `finished`: no line will ever follow. `cut`: of the lines that were asked for the older ones are missing,
    since together they are too long. `waiting` says why there is nothing yet: a reason and a message.
    `is_shared`: several pods print into this log side by side.
    """

    lines: Sequence[LogLine]
    begin: Cursor
    cursor: Cursor
    finished: bool
    sources: frozenset[Source]
    cut: bool = False
    waiting: tuple[str, str] | None = None
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class JobLog:
    """The logs of `pods`, to which no pod will be added if the list `is_final`."""

    job_id: str
    pods: Sequence[PodLog]
    is_final: bool

    def tail(self, lines: int) -> Page:
        """The last lines over all pods."""
        room = self._room()
        parts = self._gather(self.pods, lambda pod: pod.tail(lines, room))
        merged = list(heapq.merge(*(_named(pod, part.chunk.lines) for pod, part in parts), key=_time))
        kept = list(_fitting(reversed(merged[-lines:])))[::-1]
        cut = len(kept) < min(lines, len(merged)) or any(part.chunk.cut for _, part in parts)
        begin = cursor = Cursor(self.job_id)
        taken = Counter(line.pod for line in kept)
        for pod, part in parts:
            every = part.chunk.lines
            if part.done or every:
                cursor = cursor.moved(pod.name, Read(advance(None, every), part.done))
            if len(every) > taken[pod.name]:
                begin = begin.moved(pod.name, Read(advance(None, every[: len(every) - taken[pod.name]])))
        return self._page(kept, begin, cursor, parts, cut)

    def after(self, begin: Cursor, lines: int) -> Page:
        """The next lines behind `begin`, at most `lines` of them."""
        unread = [pod for pod in self.pods if not begin.of(pod.name).done]
        room = self._room()
        share = lines if len(unread) == 1 else max(LEAST_LINES, 2 * lines // max(1, len(unread)))
        parts = self._gather(unread, lambda pod: pod.after(begin.of(pod.name).mark, share, room))
        merged = heapq.merge(*_up_to_the_horizon(parts), key=_time)
        kept = [line for line, _ in zip(_fitting(merged), range(lines), strict=False)]
        taken = Counter(line.pod for line in kept)
        cursor = begin
        for pod, part in parts:
            read, every = begin.of(pod.name), part.chunk.lines
            count = taken[pod.name]
            done = part.done and count == len(every)
            if count or done:
                cursor = cursor.moved(pod.name, Read(advance(read.mark, every[:count]), done))
        return self._page(kept, begin, cursor, parts)

    def _page(
        self,
        lines: Sequence[LogLine],
        begin: Cursor,
        cursor: Cursor,
        parts: Sequence[tuple[PodLog, Part]],
        cut: bool = False,
    ) -> Page:
        finished = self.is_final and all(cursor.of(pod.name).done for pod in self.pods)
        sources = frozenset[Source]().union(*(part.sources for _, part in parts))
        return Page(lines=lines, begin=begin, cursor=cursor, finished=finished, sources=sources, cut=cut)

    def _room(self) -> int:
        return max(LEAST_BYTES, READ_BYTES // max(1, len(self.pods)))

    @staticmethod
    def _gather(pods: Sequence[PodLog], read: Callable[[PodLog], Part]) -> Sequence[tuple[PodLog, Part]]:
        if len(pods) <= 1:
            return [(pod, read(pod)) for pod in pods]
        with ThreadPoolExecutor(READERS) as pool:
            return list(zip(pods, pool.map(read, pods), strict=True))


def _up_to_the_horizon(parts: Sequence[tuple[PodLog, Part]]) -> Iterator[Iterator[LogLine]]:
    """Each part's lines, as far as no line that was not read yet can belong before them."""
    partial = [part for _, part in parts if part.chunk.lines and not part.chunk.whole]
    nearest = min(partial, key=lambda part: part.chunk.lines[-1].time, default=None)
    for pod, part in parts:
        named = _named(pod, part.chunk.lines)
        if nearest is None or part is nearest:
            yield named
        else:
            horizon = nearest.chunk.lines[-1].time
            yield takewhile(lambda line, horizon=horizon: line.time <= horizon, named)  # type: ignore[misc]


def _named(pod: PodLog, lines: Sequence[Stamped]) -> Iterator[LogLine]:
    return (LogLine(time, pod.name, text) for time, text in lines)


def _fitting(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    """As many of the lines as one answer can carry, and at least one."""
    room = ANSWER_BYTES
    for index, line in enumerate(lines):
        room -= escaped_size(line.text)
        if room < 0 and index:
            return
        yield line


def _time(line: LogLine) -> int:
    return line.time
