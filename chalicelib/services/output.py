"""What a job says and what happened to it, read live from its cluster."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.domain.job import Job
from chalicelib.domain.observed import Pod
from chalicelib.domain.pools import Pool
from chalicelib.errors import PodNotFound
from chalicelib.services.caller import Caller
from chalicelib.services.jobs import Jobs
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Cluster, Clusters, Event


class Output:
    """Logs and events of the caller's jobs. A job whose pods are gone has no lines."""

    def __init__(self, jobs: Jobs, pools: Mapping[str, Pool], clusters: Clusters) -> None:
        self._jobs = jobs
        self._pools = pools
        self._clusters = clusters

    def tail(self, caller: Caller, job_id: str, lines: int) -> Sequence[str]:
        """The last `lines` lines over the newest pod of each rank, in the order they were printed."""
        place = self._locate(caller, job_id)
        newest = {pod.rank: pod.name for pod in place.pods()}
        logs = [place.log_tail(name, lines) for name in newest.values()]
        merged = list(heapq.merge(*logs, key=lambda line: line[0]))
        return [text for _, text in merged[-lines:]]

    def pod_tail(self, caller: Caller, job_id: str, pod: str, lines: int) -> Sequence[str]:
        """The last `lines` lines of one pod of the job. Raises PodNotFound when it has no such pod."""
        place = self._locate(caller, job_id)
        if pod not in place.job.pods and pod not in {seen.name for seen in place.pods()}:
            raise PodNotFound(pod)
        return [text for _, text in place.cluster.log_tail(place.namespace, pod, lines)]

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
        workload = self.cluster.workload(self.namespace, self.job.id)
        return workload.pods if workload else ()

    def log_tail(self, pod: str, lines: int) -> Sequence[tuple[str, str]]:
        """A pod's last lines; one that went away since it was seen has none."""
        try:
            return self.cluster.log_tail(self.namespace, pod, lines)
        except PodNotFound:
            return ()
