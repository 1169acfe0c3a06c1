"""One pod's log as one sequence, whether its lines come from the pod's node or were shipped from there.

The node has the newest lines and has them at once, but only while the pod exists, and only those that were
not rotated away. CloudWatch has them all, seconds later. A place in one is a place in the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from chalicelib.domain.logs import SECOND, Chunk, Mark, Stamped
from chalicelib.domain.observed import Pod
from chalicelib.errors import ClusterUnavailable, LogsUnavailable, PodNotFound
from chalicelib.services.cluster_ports import LogArchive, LogWatch, PodLogs

ENDED = ("Succeeded", "Failed")

log = logging.getLogger(__name__)


class Source(StrEnum):
    """Where lines came from."""

    KUBERNETES = "kubernetes"
    CLOUDWATCH = "cloudwatch"


@dataclass(frozen=True, slots=True)
class Part:
    """A run of a pod's lines and where they came from. `done`: they are its last ones for good."""

    chunk: Chunk
    sources: frozenset[Source]
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLog:
    """The log of one pod of the job `job_id`.

    `live` is what the cluster has of the pod, None if it has nothing or does not answer. `ended_at` is when
    its container had ended; what ended before `shipped_until` has been shipped to its end.
    """

    job_id: str
    namespace: str
    name: str
    live: Pod | None
    logs: PodLogs | None
    archive: LogArchive
    ended_at: datetime | None
    shipped_until: datetime

    def tail(self, lines: int, limit_bytes: int) -> Part:
        """The newest lines."""
        near = self._near(
            lambda logs: logs.tail(self.namespace, self.name, lines, limit_bytes, ended=self._has_ended)
        )
        if near is None:
            return self._far(self.archive.tail(self.job_id, self.name, None, lines, limit_bytes))
        if near.joined:
            return self._part(near, Source.KUBERNETES)
        first = near.lines[0].time if near.lines else None
        try:
            older = self.archive.tail(self.job_id, self.name, first, lines - len(near.lines), limit_bytes)
        except LogsUnavailable:
            return self._part(replace(near, cut=True), Source.KUBERNETES)
        return self._both(older.lines, replace(near, cut=older.cut))

    def after(self, mark: Mark | None, lines: int, limit_bytes: int) -> Part:
        """The lines behind `mark`."""
        near = self._near(
            lambda logs: logs.after(
                self.namespace, self.name, mark, lines, limit_bytes, ended=self._has_ended
            )
        )
        if near is not None and (near.joined or (mark is None and not near.lines)):
            return self._part(near, Source.KUBERNETES)
        far = self.archive.after(
            self.job_id, self.name, mark, lines, limit_bytes, ended=self.ended_at is not None
        )
        if near is None or not near.lines:
            return self._far(far)
        # The node's log begins behind the mark: what lies between was rotated away, and is shipped.
        first = near.lines[0].time
        older = [line for line in far.lines if line.time < first]
        is_all = len(older) < len(far.lines) or (mark is None and not older)
        if is_all or (far.whole and first < self.shipped_until.timestamp() * SECOND):
            return self._both(older, near)
        return Part(Chunk(older, whole=False), frozenset({Source.CLOUDWATCH}), done=False)

    @property
    def is_running(self) -> bool:
        return self.live is not None and self.live.started_at is not None and not self._has_ended

    def watch(self, mark: Mark | None) -> LogWatch:
        """Waits at the node of a pod that is running."""
        assert self.logs is not None
        return self.logs.watch(self.namespace, self.name, mark)

    @property
    def _has_ended(self) -> bool:
        return self.live is not None and (self.live.exit_code is not None or self.live.phase in ENDED)

    def _near(self, read: Callable[[PodLogs], Chunk]) -> Chunk | None:
        """What the pod's node says; None if it cannot be asked."""
        if self.live is None or self.logs is None:
            return None
        try:
            return read(self.logs)
        except (PodNotFound, ClusterUnavailable) as error:
            log.info("the log of %s is read from the archive: %s", self.name, error)
            return None

    def _far(self, chunk: Chunk) -> Part:
        done = chunk.whole and self.ended_at is not None and self.ended_at < self.shipped_until
        return Part(chunk, frozenset({Source.CLOUDWATCH}), done)

    def _both(self, older: Sequence[Stamped], near: Chunk) -> Part:
        if not older:
            return self._part(near, Source.KUBERNETES)
        return self._part(replace(near, lines=[*older, *near.lines]), *Source)

    def _part(self, near: Chunk, *sources: Source) -> Part:
        return Part(near, frozenset(sources), done=near.whole and self._has_ended)
