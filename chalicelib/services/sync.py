"""The pass: every unsettled record against everything that runs, one list per pool.

It moves records on, and it repairs whatever an event missed: Jobs that were deleted, Jobs without a record,
records that nobody submitted. One holder of a lease at a time; the writes are conditional all the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.decide import Nothing
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Workload
from chalicelib.domain.pools import Pool
from chalicelib.errors import (
    ClusterRejected,
    ClusterUnavailable,
    LeaseLost,
    StaleRecord,
    StoreUnavailable,
    TrainyardError,
)
from chalicelib.services.feed import Feed
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Clock, Clusters, JobStore
from chalicelib.services.reconcile import Reconciler, is_to_be_submitted

log = logging.getLogger(__name__)

LEASE = "sync"
LAST_PASS_SECONDS = 5.0  # what one more pass may need
LINGER = timedelta(seconds=5)  # after the last job is settled: what happened to it is told a little later


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a run looks, what it reads meanwhile, and how long its lease outlives its last look."""

    interval: timedelta
    lease: timedelta
    holder: str
    sleep: Callable[[float], None]
    feed: Feed


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

    def run(self, seconds_left: Callable[[], float], *, whole: bool = False, patient: bool = True) -> int:
        """Pass after pass until nothing is unsettled or the time is nearly up; returns how many.

        `whole` makes the first pass look at the clusters even when no record is unsettled: it finds Jobs that
        no record knows. `patient` waits for a lease that somebody else holds.
        """
        passes = 0
        while whole or self._store.has_unsettled():
            if not self._leads(seconds_left, patient):
                break
            try:
                self._pace.feed.resume()
                made = self._passes(seconds_left, whole)
            except LeaseLost as error:
                log.warning("the run ends: %s", error)
                break
            finally:
                self._store.release_lease(LEASE, self._pace.holder)
            passes, whole = passes + made, False
            if not made or self._is_late(seconds_left):
                break
            # Somebody who saw the lease held did not kick us: what he wrote by then shows now.
        return passes

    def look(self, *, whole: bool = True) -> bool:
        """One pass over every pool, renewing the lease at each. A pool whose cluster does not answer holds no
        other back. False when there is no more to do: the lease is lost, or no record is unsettled, and then
        no cluster is looked at unless the pass is to be a `whole` one."""
        # The records come first: a Job that is then missing from the cluster's list is really gone.
        records: defaultdict[str, dict[str, Job]] = defaultdict(dict)
        for job in self._store.unsettled():
            records[job.spec.pool][job.id] = job
        if not records and not whole:
            return False
        for pool_id in {*self._pools, *records}:
            if not self._acquired():
                return False  # a cluster kept us waiting for so long that somebody took over
            try:
                self._look_at(pool_id, records[pool_id])
            except (ClusterUnavailable, ClusterRejected) as error:
                log.warning("pool %s: %s", pool_id, error)
                self._tell(records[pool_id].values(), error)
        return bool(records)

    def _passes(self, seconds_left: Callable[[], float], whole: bool) -> int:
        passes = 0
        while self.look(whole=whole):
            passes += 1
            whole = False
            if self._is_late(seconds_left):
                return passes
            self._wait(seconds_left)
            if seconds_left() < LAST_PASS_SECONDS:
                return passes
        until = self._clock() + LINGER
        while passes and self._clock() < until and not self._is_late(seconds_left):
            if not self._acquired() or self._store.has_unsettled():
                break
            self._wait(seconds_left)
        return passes + whole

    def _wait(self, seconds_left: Callable[[], float]) -> None:
        """Keep what the clusters tell, until the next look is due. The lease is renewed on the way."""

        def goes_on() -> bool:
            return not self._is_late(seconds_left) and self._acquired()

        due = self._clock() + self._pace.interval
        while (left := due - self._clock()) > timedelta(0):
            began, length = self._clock(), min(left, self._pace.lease / 4)
            self._pace.feed.follow(length.total_seconds(), goes_on)
            rest = length - (self._clock() - began)
            if rest > timedelta(0):
                self._pace.sleep(rest.total_seconds())
            if length < left and not goes_on():
                return

    def _is_late(self, seconds_left: Callable[[], float]) -> bool:
        return seconds_left() < LAST_PASS_SECONDS + self._pace.interval.total_seconds()

    def _leads(self, seconds_left: Callable[[], float], patient: bool) -> bool:
        while not self._acquired():
            if not patient or self._is_late(seconds_left):
                return False
            self._pace.sleep(self._pace.interval.total_seconds())
        return True

    def _acquired(self) -> bool:
        return self._store.acquire_lease(LEASE, self._pace.holder, self._clock(), self._pace.lease)

    def _look_at(self, pool_id: str, records: Mapping[str, Job]) -> None:
        pool = pool_of(self._pools, pool_id)
        seen = {workload.job_id: workload for workload in self._clusters(pool).workloads(pool)}
        over = self._over.get(pool_id, frozenset())
        strangers = self._read([job_id for job_id in seen if job_id not in records and job_id not in over])
        down: set[str] = set()
        quiet = {
            job_id
            for job_id, job in {**strangers, **records}.items()
            if self._settle(job, seen.get(job_id), pool_id, down)
        }
        self._over[pool_id] = (over & seen.keys()) | {
            job_id for job_id in quiet & strangers.keys() if (job := strangers[job_id]) and job.is_terminal
        }

    def _read(self, job_ids: Sequence[str]) -> Mapping[str, Job | None]:
        """The records of Jobs that are not among the unsettled; None for one that has no record."""
        try:
            known = self._store.get_many(job_ids)
        except StoreUnavailable as error:
            log.warning("Jobs without an unsettled record are left to the next pass: %s", error)
            return {}
        return {job_id: known.get(job_id) for job_id in job_ids}

    def _tell(self, records: Iterable[Job], error: TrainyardError) -> None:
        """Jobs that wait for a cluster that cannot be looked at say so."""
        for job in records:
            if is_to_be_submitted(job):
                with suppress(StaleRecord):
                    self._reconciler.note(job, error)

    def _settle(self, job: Job | None, observed: Workload | None, pool_id: str, down: set[str]) -> bool:
        """Settle one job; True when there was nothing to do. One job's trouble is not another's."""
        name = job.id if job else observed and observed.job_id
        try:
            if job is not None and is_to_be_submitted(job):
                self._reconciler.work_off(job.id, down)  # it reads the record again, right before it creates
                return False
            return self._reconciler.settle(job, observed, pool_id).action == Nothing()
        except (StaleRecord, ClusterUnavailable, ClusterRejected) as error:
            log.info("%s: next pass: %s", name, error)
        except LeaseLost:
            raise
        except Exception:
            log.exception("%s could not be settled", name)
        return False
