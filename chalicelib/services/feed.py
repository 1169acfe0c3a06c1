"""Keeps what Kubernetes forgets: the Events of our jobs and their pods, as the clusters tell them.

How far each cluster has been read is kept too, and only after what came before is: a reader that dies is
repeated by the next one, and loses nothing.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.events import Event, job_id_of
from chalicelib.domain.job import Job
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterRejected, ClusterUnavailable, LeaseLost, StoreUnavailable
from chalicelib.services.cluster_ports import Clusters
from chalicelib.services.ports import Clock, JobStore

log = logging.getLogger(__name__)

MOST_KNOWN = 20_000  # job ids whose place is remembered
CALM = 20  # Events within a second that are kept as they come: those of a few jobs that begin
GATHER_SECONDS = 0.5  # for which more of them gather where more come: many together are one write
PLENTY = 100  # that are not waited for to become more


@dataclass(frozen=True, slots=True)
class _Source:
    """A cluster, and the namespace in it to listen to; None: all of them. `pool` is one of its pools."""

    pool: Pool
    namespace: str | None

    @property
    def name(self) -> str:
        return f"{self.pool.cluster}#{self.namespace or '*'}"


class Feed:
    """Reads the Events of all pools' clusters, several clusters at a time."""

    def __init__(
        self,
        store: JobStore,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._readers = [
            _Reader(source, store, pools, clusters, _Rest(clock, sleep))
            for source in _sources(pools.values())
        ]

    def resume(self) -> None:
        """Go on where the last reader ended, whoever that was."""
        for reader in self._readers:
            reader.position = None

    def follow(self, seconds: float, goes_on: Callable[[], bool]) -> list[tuple[str, str]]:
        """Keep what the clusters tell, for about that long; or less, where one does not answer. A long list
        is left where it is when `goes_on` says so. Trouble is logged, and tried again by the next call.

        Returns what warnings about Kubernetes Jobs themselves say: a job's id, and why it has no pods."""
        if len(self._readers) <= 1:
            told = [reader.follow(seconds, goes_on) for reader in self._readers]
        else:
            with ThreadPoolExecutor(len(self._readers)) as threads:
                told = list(threads.map(lambda reader: reader.follow(seconds, goes_on), self._readers))
        return [warning for warnings in told for warning in warnings]


class _Reader:
    """One source's reader: used by one thread at a time."""

    def __init__(
        self,
        source: _Source,
        store: JobStore,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        rest: _Rest,
    ) -> None:
        self.position: str | None = None
        self._source = source
        self._store = store
        self._pools = pools
        self._clusters = clusters
        self._rest = rest
        self._places: dict[str, tuple[str, str] | None] = {}  # job id → cluster, namespace; None: no job

    def follow(self, seconds: float, goes_on: Callable[[], bool]) -> list[tuple[str, str]]:
        warnings: list[tuple[str, str]] = []
        try:
            self._follow(seconds, goes_on, warnings)
        except (ClusterUnavailable, ClusterRejected, StoreUnavailable, LeaseLost) as error:
            log.warning("events of %s: %s", self._source.name, error)
        except Exception:
            log.exception("events of %s could not be kept", self._source.name)
        return warnings

    def _follow(self, seconds: float, goes_on: Callable[[], bool], warnings: list[tuple[str, str]]) -> None:
        source = self._source
        self.position = begin = self.position or self._store.feed_position(source.name)
        try:
            for happened in self._clusters(source.pool).happened(source.namespace, begin, seconds):
                ours = self._ours(happened.events)
                self._store.add_events(ours)
                warnings += [(job_id, event.message) for job_id, event in ours if _is_about(job_id, event)]
                self.position = happened.position or self.position
                if happened.position is None and not goes_on():
                    return
                self._rest.after(len(happened.events))
        finally:
            if self.position and self.position != begin:
                self._store.save_feed_position(source.name, self.position)

    def _ours(self, events: Sequence[tuple[str, Event]]) -> list[tuple[str, Event]]:
        """Those about a job that has a record, in the place where that job lives, each with the job's id."""
        named = [(job_id_of(event), namespace, event) for namespace, event in events]
        self._learn({job_id for job_id, *_ in named if job_id})
        return [
            (job_id, event)
            for job_id, namespace, event in named
            if job_id and self._places[job_id] == (self._source.pool.cluster, namespace)
        ]

    def _learn(self, job_ids: Set[str]) -> None:
        if len(self._places) > MOST_KNOWN:
            self._places = {}
        if new := sorted(job_ids - self._places.keys()):
            jobs = self._store.get_many(new)
            self._places |= {job_id: self._place(jobs.get(job_id)) for job_id in new}

    def _place(self, job: Job | None) -> tuple[str, str] | None:
        pool = self._pools.get(job.spec.pool) if job and not job.is_deleted else None
        return (pool.cluster, pool.namespace_of(job.tenant)) if job and pool else None


class _Rest:
    """Between one batch of Events and the next: none in calm times, so that each is kept as it comes."""

    def __init__(self, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._since = clock()
        self._told = 0

    def after(self, told: int) -> None:
        now = self._clock()
        if now - self._since >= timedelta(seconds=1):
            self._since, self._told = now, 0
        self._told += told
        if self._told > CALM and told < PLENTY:
            self._sleep(GATHER_SECONDS)


def _is_about(job_id: str, event: Event) -> bool:
    return event.type == "Warning" and event.object == f"Job/{job_id}"


def _sources(pools: Iterable[Pool]) -> Iterator[_Source]:
    """One for a cluster where any pool spans tenants; else one for each namespace."""
    by_cluster: defaultdict[str, list[Pool]] = defaultdict(list)
    for pool in pools:
        by_cluster[pool.cluster].append(pool)
    for here in by_cluster.values():
        if any(pool.spans_tenants for pool in here):
            yield _Source(here[0], None)
        else:
            one_each = {pool.namespace: pool for pool in here}
            yield from (_Source(pool, namespace) for namespace, pool in one_each.items())
