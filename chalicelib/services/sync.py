"""The pass: every unsettled record against everything that runs, one list per pool.

It moves records on, and it repairs whatever an event missed: Jobs that were deleted, Jobs without a record,
records that nobody submitted. One holder of a lease at a time; the writes are conditional all the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.decide import Nothing
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Workload
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable, StaleRecord
from chalicelib.services.ports import Clock, Clusters, JobStore
from chalicelib.services.reconcile import Reconciler

log = logging.getLogger(__name__)

LEASE = "sync"
LAST_PASS_SECONDS = 5.0  # what one more pass may need of the time that is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a run looks, and how long its lease outlives its last look."""

    interval: timedelta
    lease: timedelta
    holder: str
    sleep: Callable[[float], None]


class Sync:
    """Runs passes while anything is unsettled, and returns at once when nothing is."""

    def __init__(
        self,
        reconciler: Reconciler,
        store: JobStore,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._reconciler = reconciler
        self._store = store
        self._pools = pools
        self._clusters = clusters
        self._clock = clock
        self._pace = pace
        self._over: dict[str, frozenset[str]] = {}  # pool → finished Jobs whose records are terminal for good

    def run(self, seconds_left: Callable[[], float], *, whole: bool = False) -> int:
        """Pass after pass until nothing is unsettled or the time is nearly up; returns how many.

        `whole` makes one pass even when no record is unsettled: it finds Jobs that no record knows.
        """
        passes = 0
        while (whole and not passes) or self._store.has_unsettled():
            if not self._leads(seconds_left):
                break
            try:
                passes += self._passes(seconds_left)
            finally:
                self._store.release_lease(LEASE, self._pace.holder)
            if seconds_left() < LAST_PASS_SECONDS:
                break
            # Somebody who saw the lease held did not kick us: what he wrote by then shows now.
        return passes

    def _passes(self, seconds_left: Callable[[], float]) -> int:
        passes = 0
        while True:
            self.look()
            passes += 1
            if seconds_left() < LAST_PASS_SECONDS or not self._store.has_unsettled():
                return passes
            self._pace.sleep(self._pace.interval.total_seconds())
            if not self._acquired():
                return passes

    def _leads(self, seconds_left: Callable[[], float]) -> bool:
        """Take the lease, waiting for at most its length: a holder that died does not hold it longer."""
        tries = int(self._pace.lease / self._pace.interval) + 2
        for _ in range(tries):
            if self._acquired():
                return True
            if seconds_left() < LAST_PASS_SECONDS:
                return False
            self._pace.sleep(self._pace.interval.total_seconds())
        return False

    def _acquired(self) -> bool:
        return self._store.acquire_lease(LEASE, self._pace.holder, self._clock(), self._pace.lease)

    def look(self) -> None:
        """One pass over every pool. A pool whose cluster does not answer holds no other back."""
        # The records come first: a Job that is then missing from the cluster's list is really gone.
        records: defaultdict[str, dict[str, Job]] = defaultdict(dict)
        for job in self._store.unsettled():
            records[job.spec.pool][job.id] = job
        for pool_id in {*self._pools, *records}:
            try:
                self._look_at(pool_id, records[pool_id])
            except ClusterUnavailable as error:
                log.warning("pool %s: %s", pool_id, error)
                self._tell(pool_id, records[pool_id])

    def _look_at(self, pool_id: str, records: Mapping[str, Job]) -> None:
        pool = self._pools.get(pool_id)
        if pool is None:
            raise ClusterUnavailable("no longer configured")
        seen = {workload.job_id: workload for workload in self._clusters(pool).workloads(pool)}
        over = self._over.get(pool_id, frozenset())
        strangers = [job_id for job_id in seen if job_id not in records and job_id not in over]
        known = {**self._store.get_many(strangers), **records}
        settled = {
            job_id
            for job_id in {*strangers, *records}
            if self._settle(known.get(job_id), seen.get(job_id), pool_id)
        }
        self._over[pool_id] = (over & seen.keys()) | {
            job_id for job_id in settled & seen.keys() if known[job_id].is_terminal
        }

    def _tell(self, pool_id: str, records: Mapping[str, Job]) -> None:
        """Jobs that wait for a cluster that does not answer say so."""
        for job in records.values():
            if job.submitted_at is None:
                self._settle(job, None, pool_id)

    def _settle(self, job: Job | None, observed: Workload | None, pool_id: str) -> bool:
        """Settle one job; True when there was nothing to do. One job's trouble is not another's."""
        try:
            return self._reconciler.settle(job, observed, pool_id).action == Nothing() and job is not None
        except (StaleRecord, ClusterUnavailable) as error:
            log.info("%s: next pass: %s", job.id if job else observed and observed.job_id, error)
        except Exception:
            log.exception("%s could not be settled", job.id if job else observed and observed.job_id)
        return False
