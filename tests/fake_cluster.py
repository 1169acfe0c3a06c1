"""A cluster in memory that a test moves on by hand, and that fails where the test says so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.domain.events import Event
from chalicelib.domain.observed import Pod, Workload
from chalicelib.domain.pools import Pool
from chalicelib.errors import NamespaceMissing
from chalicelib.services.cluster_ports import ExecCall, Happened
from tests.fake_logs import FakeLogs
from tests.fake_watch import FakeWatch


class FakeCluster:
    """The Cluster port, and the Clusters port for every pool. `calls` counts what was asked of it."""

    def __init__(self, *namespaces: str) -> None:
        self.namespaces = set(namespaces)
        self.jobs: dict[str, Workload] = {}
        self.created: list[str] = []  # one entry a Kubernetes Job that ever came to be
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self.printed = FakeLogs()
        self.logs = self.printed.node
        self.silent: set[str] = set()  # jobs whose changes no watch tells
        self.happened_events: list[tuple[str, Event]] = []  # in order, each with its namespace
        self.forgotten = 0  # as many of the first of them are known to a list only
        self.broken: Exception | None = None  # connecting to it raises this

    def __call__(self, pool: Pool) -> FakeCluster:
        del pool
        if self.broken:
            raise self.broken
        return self

    def submit(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        self.enter("submit")
        metadata = manifests[0]["metadata"]
        if metadata["namespace"] not in self.namespaces:
            raise NamespaceMissing(metadata["namespace"])
        if metadata["name"] not in self.jobs:
            self.created.append(metadata["name"])
            self.jobs[metadata["name"]] = Workload(job_id=metadata["name"], namespace=metadata["namespace"])
        self._leave("submit")

    def delete(self, namespace: str, name: str) -> None:
        del namespace
        self.enter("delete")
        if name in self.jobs:
            self.jobs[name] = replace(self.jobs[name], deleting=True)
        self._leave("delete")

    def force_delete(self, namespace: str, pods: Sequence[str]) -> None:
        del namespace
        self.enter("force_delete")
        for job_id, seen in self.jobs.items():
            left = tuple(pod for pod in seen.pods if pod.name not in pods)
            self.jobs[job_id] = replace(seen, pods=left)
        self._leave("force_delete")

    def watch(self, pool: Pool) -> FakeWatch:
        del pool
        return FakeWatch(self)

    def workload(self, namespace: str, job_id: str) -> Workload | None:
        del namespace
        self.enter("workload")
        return self.jobs.get(job_id)

    def pods(self, namespace: str, job_id: str) -> Sequence[Pod]:
        del namespace
        self.calls["pods"] += 1
        return self.jobs[job_id].pods if job_id in self.jobs else ()

    def pod(self, namespace: str, job_id: str, name: str) -> Pod | None:
        return next((pod for pod in self.pods(namespace, job_id) if pod.name == name), None)

    def exec_call(self, namespace: str, pod: str, command: Sequence[str], *, tty: bool) -> ExecCall:
        raise NotImplementedError

    def happened(self, namespace: str | None, position: str | None, seconds: float) -> Iterator[Happened]:
        """A list is of two Events a page; a position is how many there were."""
        del seconds
        self.enter("happened")
        events = self.happened_events
        known = int(position) if position else -1
        if known < self.forgotten:
            self.calls["list"] += 1
            for start in range(0, len(events), 2):
                yield Happened(_in(namespace, events[start : start + 2]), None)
            known = len(events)
            yield Happened((), str(known))
        while known < len(events):
            known += 1
            yield Happened(_in(namespace, events[known - 1 : known]), str(known))

    def show(self, job_id: str, *pods: Pod, **changes: Any) -> None:
        """From now on the job's workload looks like this."""
        self.jobs[job_id] = replace(self.jobs[job_id], pods=pods, **changes)

    def finish_deletions(self) -> None:
        self.jobs = {name: seen for name, seen in self.jobs.items() if not seen.deleting}

    def enter(self, call: str) -> None:
        """Somebody makes this call: it is counted, and may be in for a surprise."""
        self.calls[call] += 1
        self.before.get(call, _nothing)()

    def _leave(self, call: str) -> None:
        self.after.get(call, _nothing)()


def _in(namespace: str | None, events: Sequence[tuple[str, Event]]) -> list[tuple[str, Event]]:
    return [(where, event) for where, event in events if namespace in (None, where)]


def _nothing() -> None:
    return
