"""What happened to a job, read live from its cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.domain.events import Event
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Pod
from chalicelib.domain.pools import Pool
from chalicelib.services.caller import Caller
from chalicelib.services.jobs import Jobs
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Cluster, Clusters


class Output:
    """Events of the caller's jobs."""

    def __init__(self, jobs: Jobs, pools: Mapping[str, Pool], clusters: Clusters) -> None:
        self._jobs = jobs
        self._pools = pools
        self._clusters = clusters

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
