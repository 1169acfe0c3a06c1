"""What the services need from clusters and the logs of pods, as protocols; ports.py has the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol

from chalicelib.domain.events import Event
from chalicelib.domain.logs import Chunk, Mark
from chalicelib.domain.observed import Pod, Workload
from chalicelib.domain.pools import Pool


class LogWatch(Protocol):
    """Waits for a line behind a mark of one pod's log."""

    def wait(self) -> bool:
        """Whether there is such a line; False when the log ended, after a few seconds without one, when it
        cannot be read, or when another thread closed the watch."""
        ...

    def close(self) -> None: ...


class PodLogs(Protocol):
    """The logs of the pods that a cluster has. `ended`: the container has, so that its last line is complete
    even without a line break. A pod that has not started has no lines.

    Raises PodNotFound, and ClusterUnavailable also when the node has lost the log.
    """

    def tail(self, namespace: str, pod: str, lines: int, limit_bytes: int, *, ended: bool) -> Chunk:
        """The last `lines` lines (a few more where several are of the oldest one's time), of about
        `limit_bytes` together. `joined`: there may be older ones here."""
        ...

    def after(
        self, namespace: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        """The lines behind `mark` (None: from where the cluster's log begins, which is never `joined`)."""
        ...

    def watch(self, namespace: str, pod: str, mark: Mark | None) -> LogWatch: ...


class LogArchive(Protocol):
    """What was shipped of the logs of pods, whether they still exist or not. Raises LogsUnavailable."""

    def pods(self, job_id: str) -> Sequence[str]:
        """The pods of a job that anything was shipped of, some hundreds at most."""
        ...

    def tail(self, job_id: str, pod: str, before: int | None, lines: int, limit_bytes: int) -> Chunk:
        """The last lines, or those before the time `before` (nanoseconds)."""
        ...

    def after(
        self, job_id: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        """The lines behind `mark` (None: from the beginning, `joined` if anything was shipped)."""
        ...


@dataclass(frozen=True, slots=True)
class Happened:
    """Events, each with its namespace. Once they are kept, `position` is where to go on; None: more of the
    same list comes first."""

    events: Sequence[tuple[str, Event]]
    position: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCall:
    """How to call for a process in a pod: a WebSocket's URL, its headers and its TLS."""

    url: str
    headers: Mapping[str, str]
    tls: SSLContext | None
    server_name: str | None


Learn = Callable[[], Set[str]]  # takes one piece of news in; the jobs that are not as they were, by their ids
Follow = Callable[[float], Iterator[Learn]]  # what is told for about so many seconds, as it is told


class Watch(Protocol):
    """One pool's workloads, kept up to date by what its follows tell. All but those are for one thread."""

    def workloads(self) -> Sequence[Workload]:
        """List them anew: all that there are. What the follows tell goes on from there."""
        ...

    def workload(self, job_id: str) -> Workload | None:
        """One as last seen: where nothing is told it may be old, and one that is new may be missing."""
        ...

    def warned(self, job_id: str, message: str) -> Set[str]:
        """Learn from an Event why a job has no pods."""
        ...

    def close(self) -> None:
        """Let what is followed of this cluster end now."""
        ...

    def follows(self) -> Sequence[Follow]:
        """To be followed side by side, each by one thread, again and again. They raise ClusterUnavailable;
        where they broke off is where the next call goes on."""
        ...


class News(Protocol):
    """What several follows tell, for one reader: services.newsroom."""

    def wait(self, seconds: float) -> Sequence[Learn]: ...
    def close(self) -> None: ...
    def join(self) -> None: ...


class Cluster(Protocol):
    """One Kubernetes. Raises ClusterUnavailable or a child of it (retry) and ClusterRejected (final)."""

    def submit(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Create a job's objects, the Kubernetes Job first among them and owner of the others. Names are job
        ids: what exists already was created by an earlier try.
        """
        ...

    def delete(self, namespace: str, name: str) -> None:
        """Delete the Kubernetes Job and, in the foreground, its pods; one that is gone is fine."""
        ...

    def force_delete(self, namespace: str, pods: Sequence[str]) -> None:
        """Take these pods out of the cluster's books at once, whatever their nodes say. One that is gone is
        fine."""
        ...

    def watch(self, pool: Pool) -> Watch:
        """What there is of this Trainyard in the pool. Asks nothing yet."""
        ...

    def workload(self, namespace: str, job_id: str) -> Workload | None:
        """One job's workload, live."""
        ...

    def pods(self, namespace: str, job_id: str) -> Sequence[Pod]:
        """One job's pods, live, oldest first."""
        ...

    def pod(self, namespace: str, job_id: str, name: str) -> Pod | None:
        """One pod of the job, live; None when the job has no such pod."""
        ...

    def exec_call(self, namespace: str, pod: str, command: Sequence[str], *, tty: bool) -> ExecCall:
        """What a WebSocket client needs to run `command` beside the training in its container."""
        ...

    @property
    def logs(self) -> PodLogs: ...

    def happened(self, namespace: str | None, position: str | None, seconds: float) -> Iterator[Happened]:
        """The Events of a namespace (None: of all) since `position`, and then as they happen, for about that
        long. Without a position, or with one that is too old, all that the cluster remembers comes first.
        """
        ...


class Clusters(Protocol):
    """Finds the cluster of a pool, connecting on first use."""

    def __call__(self, pool: Pool) -> Cluster: ...
