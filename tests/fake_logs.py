"""Logs in memory: what pods printed, what their nodes still have of it, and what was shipped."""

# ruff: noqa: ARG002 (the ports' signatures)

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from chalicelib.domain.logs import SECOND, Chunk, Mark, Stamped, resume
from chalicelib.errors import LogsUnavailable, PodNotFound
from tests.builders import NOW


class FakeLogs:
    """The PodLogs and LogArchive ports. A pod's lines are a millisecond apart unless a test says else."""

    def __init__(self) -> None:
        self.printed: defaultdict[str, list[Stamped]] = defaultdict(list)
        self.rotated: Counter[str] = Counter()  # lines that a pod's node has no more
        self.shipped: Counter[str] = Counter()  # lines that the archive has
        self.gone: set[str] = set()
        self.node_error: Exception | None = None
        self.archive_error: Exception | None = None
        self.archive_calls = 0
        self.while_waiting: Callable[[], object] = lambda: None
        self.node, self.archive = Node(self), Archive(self)

    def print(self, pod: str, *lines: str, at: datetime = NOW) -> None:
        log = self.printed[pod]
        begin = max(int(at.timestamp()) * SECOND, log[-1].time + 10**6 if log else 0)
        log += [Stamped(begin + index * 10**6, line) for index, line in enumerate(lines)]

    def ship(self, *pods: str) -> None:
        """All that these pods printed so far is in the archive now."""
        for pod in pods or tuple(self.printed):
            self.shipped[pod] = len(self.printed[pod])


class Node:
    def __init__(self, logs: FakeLogs) -> None:
        self._logs = logs

    def tail(self, namespace: str, pod: str, lines: int, limit_bytes: int, *, ended: bool) -> Chunk:
        found = self._all(pod)[-lines:]
        return Chunk(found, joined=len(found) >= lines)

    def after(
        self, namespace: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        return _after(self._all(pod), mark, lines)

    def watch(self, namespace: str, pod: str, mark: Mark | None) -> Watch:
        return Watch(self._logs, pod, mark)

    def _all(self, pod: str) -> Sequence[Stamped]:
        if self._logs.node_error:
            raise self._logs.node_error
        if pod in self._logs.gone:
            raise PodNotFound(pod)
        return self._logs.printed[pod][self._logs.rotated[pod] :]


class Archive:
    def __init__(self, logs: FakeLogs) -> None:
        self._logs = logs

    def pods(self, job_id: str) -> Sequence[str]:
        return [pod for pod in self._logs.printed if self._all(pod) and pod.startswith(job_id)]

    def tail(self, job_id: str, pod: str, before: int | None, lines: int, limit_bytes: int) -> Chunk:
        return Chunk([line for line in self._all(pod) if before is None or line.time < before][-lines:])

    def after(
        self, job_id: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        every = self._all(pod)
        chunk = _after(every, mark, lines)
        return Chunk(chunk.lines, chunk.joined or (mark is None and bool(every)), chunk.whole)

    def _all(self, pod: str) -> Sequence[Stamped]:
        self._logs.archive_calls += 1
        if self._logs.archive_error:
            raise LogsUnavailable(str(self._logs.archive_error))
        return self._logs.printed[pod][: self._logs.shipped[pod]]


class Watch:
    """Something happens while it waits, if the test says so, and then it looks."""

    def __init__(self, logs: FakeLogs, pod: str, mark: Mark | None) -> None:
        self._logs, self._pod, self._mark = logs, pod, mark

    def wait(self) -> bool:
        self._logs.while_waiting()
        _, behind = resume(self._logs.printed[self._pod], self._mark)
        return next(behind, None) is not None

    def close(self) -> None:
        pass


def _after(log: Sequence[Stamped], mark: Mark | None, lines: int) -> Chunk:
    joined, behind = resume(log, mark)
    found = list(islice(behind, lines + 1))
    return Chunk(found[:lines], joined, whole=len(found) <= lines)
