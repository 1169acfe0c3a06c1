"""Lists what runs, watches it from there and applies each change at once: one holder of a lease at a time.

It also repairs whatever an event missed: Jobs that were deleted, Jobs without a record, records that nobody
submitted. What watches tell is believed while a job goes on; an end, and an absence, are looked up first.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from chalicelib.aside import Aside, as_they_end, in_turn
from chalicelib.domain.census import census
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Workload
from chalicelib.domain.pools import Pool
from chalicelib.domain.states import Status
from chalicelib.errors import (
    ClusterForbids,
    ClusterRejected,
    ClusterUnavailable,
    LeaseLost,
    StaleRecord,
    TrainyardError,
)
from chalicelib.services.cluster_ports import Clusters, Follow, Learn, News
from chalicelib.services.feed import Feed
from chalicelib.services.leading import Leading
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Clock, JobStore, SyncMeter
from chalicelib.services.reconcile import Reconciler, wants_work
from chalicelib.services.settling import Settling

log = logging.getLogger(__name__)

LEASE = "sync"
LAST_SECONDS = 8.0  # that a run leaves of its time: to finish what it does, and for its threads to end
HAND_OVER = timedelta(seconds=0.25)  # how often a successor asks for the lease
LINGER = timedelta(seconds=5)  # after the last job is settled: what happened to it is told a little later


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a run reads the unsettled records, what it reads meanwhile, and how long its lease outlives
    its last sign of life."""

    interval: timedelta
    lease: timedelta
    holder: str
    sleep: Callable[[float], None]
    feed: Feed
    news: Callable[[Sequence[Follow]], News]
    meter: SyncMeter
    aside: Aside = in_turn


class Sync:
    """Watches while anything is unsettled, and returns at once when nothing is."""

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
        self._leading = Leading(store, LEASE, pace.holder, pace.lease, clock)
        self._settling = Settling(reconciler, store, clock)
        self._unseen: set[str] = set()  # jobs that the last sweep knew of and no watch
        self._is_following = False

    def run(self, seconds_left: Callable[[], float], *, whole: bool = False, patient: bool = True) -> int:
        """List and watch until nothing is unsettled or the time is nearly up; returns how many times the
        unsettled records were read.

        `whole` looks at the clusters even when no record is unsettled: it finds Jobs that no record knows.
        `patient` waits for a lease that somebody else holds.
        """
        passes = 0
        while whole or self._store.has_unsettled():
            if not self._leads(seconds_left, patient):
                break
            made = self._reign(seconds_left, whole)
            passes, whole = passes + made, False
            if not made or self._is_late(seconds_left):
                break
            # Somebody who saw the lease held did not kick us: what he wrote by then shows now.
        return passes

    def look(self, *, whole: bool = True) -> bool:
        """List all pools side by side and settle what is there, one after the other as their lists come,
        renewing the lease at each. A pool whose cluster does not answer holds no other back. False when there
        is no more to do: the lease is lost, or no record is unsettled: no cluster is looked at then, unless
        the look is to be a `whole` one."""
        # The records come first: a Job that is then missing from the cluster's list is really gone.
        records: defaultdict[str, dict[str, Job]] = defaultdict(dict)
        unsettled = list(self._store.unsettled())
        for job in unsettled:
            records[job.spec.pool][job.id] = job
        if not records and not whole:
            return False
        self._pace.meter.loads(census(unsettled), self._clock())
        self._settling.down = set()
        lists = {pool_id: partial(self._list, pool_id) for pool_id in {*self._pools, *records}}
        with closing(as_they_end(self._pace.aside, lists)) as listed:
            for pool_id, seen in listed:
                if not self._leading.renew():
                    return False  # a cluster kept us waiting for so long that somebody took over
                self._look_at(pool_id, records[pool_id], seen)
        return any(records.values())

    def sweep(self) -> bool:
        """Settle records by what was last seen of their jobs: what nobody submitted, what only time decides,
        and what was told of since the last sweep, should it not have been settled then. False when nothing is
        unsettled.

        Jobs that just run are not read: what happens to them is told, and the next run looks at all of them.
        """
        again, self._settling.again = self._settling.again, set()
        records = {job.id: job for job in self._store.unsettled(but=Status.RUNNING)}
        records |= self._store.get_many(sorted(again - records.keys()))
        self._settling.backlog.seen(records.values())
        unseen = {job.id for job in records.values() if self._settling.is_unseen(job)}
        fresh, self._unseen = unseen - self._unseen, unseen
        for job in records.values():
            if not self._leading.goes_on():
                raise LeaseLost("it ran out while records were settled")
            if job.id not in fresh:
                self._settling.seen(job, job.id, job.spec.pool)
        return bool(records) or self._store.has_unsettled()

    def _reign(self, seconds_left: Callable[[], float], whole: bool) -> int:
        """What is done while the lease is held: all that writes has ended when it is given up."""
        news: News | None = None
        try:
            self._pace.feed.resume()
            self._settling.begin()
            self._unseen = set()
            if not self.look(whole=whole):
                return int(whole)
            self._is_following = True
            news = self._pace.news(list(self._follows()))
            return 1 + self._follow(news, seconds_left)
        except LeaseLost as error:
            log.warning("the run ends: %s", error)
            return 0
        finally:
            self._is_following = False
            if news:
                self._end(news)
            self._leading.end()
            self._reconciler.tell()

    def _end(self, news: News) -> None:
        news.close()
        for watch in self._settling.watches.values():
            watch.close()
        news.join()

    def _follow(self, news: News, seconds_left: Callable[[], float]) -> int:
        """Apply what is told as it is told, and sweep now and then, for as long as there is a reason to."""
        # What a sweep found unsettled may be settled right before the next one.
        lasts = self._pace.interval + LINGER
        sweeps, needed_until = 0, self._clock() + lasts
        while self._clock() < needed_until and not self._is_late(seconds_left):
            due = self._clock() + self._pace.interval
            while (left := due - self._clock()) > timedelta(0) and not self._is_late(seconds_left):
                self._reconciler.tell()
                patience = self._settling.backlog.patience(min(left, self._pace.lease / 4))
                self._settling.take(news.wait(patience.total_seconds()))
                if not self._leading.goes_on():
                    return sweeps
            if self.sweep():
                sweeps, needed_until = sweeps + 1, self._clock() + lasts
        return sweeps

    def _follows(self) -> Iterator[Follow]:
        for pool_id, watch in self._settling.watches.items():
            for follow in watch.follows():
                yield partial(self._of_pool, pool_id, follow)
        yield self._events

    def _of_pool(self, pool_id: str, follow: Follow, seconds: float) -> Iterator[Learn]:
        for learn in follow(seconds):
            self._settling.down.discard(pool_id)
            yield partial(self._settling.learn, pool_id, learn)
        self._settling.down.discard(pool_id)

    def _events(self, seconds: float) -> Iterator[Learn]:
        for job_id, message in self._pace.feed.follow(seconds, lambda: self._is_following):
            for pool_id, watch in self._settling.watches.items():
                yield partial(self._settling.learn, pool_id, partial(watch.warned, job_id, message))

    def _is_late(self, seconds_left: Callable[[], float]) -> bool:
        return seconds_left() < LAST_SECONDS

    def _leads(self, seconds_left: Callable[[], float], patient: bool) -> bool:
        while not self._leading.renew():
            if not patient:
                return False
            while not self._leading.is_vacant():
                if self._is_late(seconds_left):
                    return False
                self._pace.sleep(HAND_OVER.total_seconds())
        return True

    def _list(self, pool_id: str) -> Sequence[Workload]:
        pool = pool_of(self._pools, pool_id)
        watch = self._clusters(pool).watch(pool)
        self._settling.watches[pool_id] = watch
        return watch.workloads()

    def _look_at(
        self, pool_id: str, records: Mapping[str, Job], listed: Callable[[], Sequence[Workload]]
    ) -> None:
        try:
            self._settling.listed(pool_id, records, listed())
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("pool %s: %s", pool_id, error, extra={"pool": pool_id})
            self._pace.meter.unreachable(pool_id, str(error), self._clock())
            if pool_id in self._settling.watches and not isinstance(error, ClusterRejected | ClusterForbids):
                self._settling.down.add(pool_id)
            self._tell(records.values(), error)

    def _tell(self, records: Iterable[Job], error: TrainyardError) -> None:
        """Jobs that wait for a cluster that cannot be looked at say so."""
        for job in records:
            if wants_work(job):
                with suppress(StaleRecord):
                    self._reconciler.note(job, error)
