"""What a job says and what happened to it, read live from its cluster."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.domain.events import Event
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Pod
from chalicelib.domain.pools import Pool
from chalicelib.errors import PodNotFound
from chalicelib.services.caller import Caller
from chalicelib.services.jobs import Jobs
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Cluster, Clusters, LogTail

LOG_BYTES = 8 * 1024**2  # of all pods, a request; a Lambda's answer ends at 6 MB anyway


@dataclass(frozen=True, slots=True)
class Lines:
    """The newest lines of a log, oldest first; `cut`: fewer than were asked for, as they are too long."""

    texts: Sequence[str]
    cut: bool


class Output:
    """Logs and events of the caller's jobs. A job whose pods are gone has no lines."""

    def __init__(self, jobs: Jobs, pools: Mapping[str, Pool], clusters: Clusters) -> None:
        self._jobs = jobs
        self._pools = pools
        self._clusters = clusters

    def tail(self, caller: Caller, job_id: str, lines: int) -> Lines:
        """The last `lines` lines over the newest pod of each rank, in the order they were printed."""
        place = self._locate(caller, job_id)
        newest = {pod.rank: pod.name for pod in place.pods()}
        logs = [place.log_tail(name, lines, LOG_BYTES // len(newest)) for name in newest.values()]
        merged = list(heapq.merge(*(log.lines for log in logs), key=lambda line: line[0]))
        return Lines([text for _, text in merged[-lines:]], any(log.cut for log in logs))

    def pod_tail(self, caller: Caller, job_id: str, pod: str, lines: int) -> Lines:
        """The last `lines` lines of one pod of the job. Raises PodNotFound when it has no such pod."""
        place = self._locate(caller, job_id)
        if pod not in place.job.pods and pod not in {seen.name for seen in place.pods()}:
            raise PodNotFound(pod)
        log = place.cluster.log_tail(place.namespace, pod, lines, LOG_BYTES)
        return Lines([text for _, text in log.lines], log.cut)

    def events(self, caller: Caller, job_id: str) -> Sequence[Event]:
        """The Kubernetes Events of the job and its pods, oldest first."""
        place = self._locate(caller, job_id)
        names = dict.fromkeys((*place.job.pods, *(pod.name for pod in place.pods())))
        return place.cluster.events(place.namespace, [place.job.id, *names])

    def _locate(self, caller: Caller, job_id: str) -> _Place:
        job = self._jobs.get(caller, job_id)
        pool = pool_of(self._pools, job.spec.pool)
        return _Place(job, self._clusters(pool), pool.namespace_of(job.tenant))


@dataclass(frozen=True, slots=True)
class _Place:
    job: Job
    cluster: Cluster
    namespace: str

    def pods(self) -> Sequence[Pod]:
        """The job's pods as they are now, oldest first."""
        return self.cluster.pods(self.namespace, self.job.id)

    def log_tail(self, pod: str, lines: int, limit_bytes: int) -> LogTail:
        """A pod's last lines; one that went away since it was seen has none."""
        try:
            return self.cluster.log_tail(self.namespace, pod, lines, limit_bytes)
        except PodNotFound:
            return LogTail((), cut=False)
