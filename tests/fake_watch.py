"""A watch of the cluster in memory: it tells, one by one, what was changed since it told last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from chalicelib.domain.observed import Workload
from chalicelib.errors import ClusterUnavailable
from chalicelib.services.cluster_ports import Follow, Learn

if TYPE_CHECKING:
    from tests.fake_cluster import FakeCluster


class FakeWatch:
    """services.cluster_ports.Watch. What is in `silent` is never told of, as if its events were lost."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._told: dict[str, Workload] = {}
        self._seen: dict[str, Workload] = {}

    def workloads(self) -> Sequence[Workload]:
        self._cluster.enter("workloads")
        self._told = dict(self._cluster.jobs)
        self._seen = dict(self._told)
        return list(self._seen.values())

    def workload(self, job_id: str) -> Workload | None:
        return self._seen.get(job_id)

    def warned(self, job_id: str, message: str) -> set[str]:
        del message
        return {job_id}

    def close(self) -> None:
        self._cluster.calls["close"] += 1

    def follows(self) -> Sequence[Follow]:
        return [self._follow]

    def _follow(self, seconds: float) -> Iterator[Learn]:
        del seconds
        self._cluster.enter("watch")
        now = {name: seen for name, seen in self._cluster.jobs.items() if name not in self._cluster.silent}
        for job_id in sorted({*now, *self._told} - self._cluster.silent):
            if now.get(job_id) != self._told.get(job_id):
                yield partial(self._learn, job_id, now.get(job_id))
                if job_id in now:
                    self._told[job_id] = now[job_id]
                else:
                    del self._told[job_id]

    def _learn(self, job_id: str, seen: Workload | None) -> set[str]:
        if seen is None:
            self._seen.pop(job_id, None)
        else:
            self._seen[job_id] = seen
        return {job_id}


class Wire:
    """services.cluster_ports.News in the test's own thread and time: each wait follows everything once."""

    def __init__(self, follows: Sequence[Follow], sleep: Callable[[float], None]) -> None:
        self._follows = follows
        self._sleep = sleep

    def wait(self, seconds: float) -> list[Learn]:
        news: list[Learn] = []
        for follow in self._follows:
            try:
                news += follow(seconds)
            except ClusterUnavailable:
                continue
        if not news:
            self._sleep(seconds)
        return news

    def close(self) -> None:
        return

    def join(self) -> None:
        return
