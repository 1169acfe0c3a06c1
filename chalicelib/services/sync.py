"""Lists what runs, watches it from there and applies each change at once: one holder of a lease at a time.

It also repairs whatever an event missed: Jobs that were deleted, Jobs without a record, records that nobody
submitted. What watches tell is believed while a job goes on; an end, and an absence, are looked up first.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from chalicelib.aside import Aside, as_they_end, in_turn
from chalicelib.domain.census import census
from chalicelib.domain.decide import Nothing
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
    StoreUnavailable,
    TrainyardError,
)
from chalicelib.services.backlog import Backlog
from chalicelib.services.cluster_ports import Clusters, Follow, Learn, News, Watch
from chalicelib.services.feed import Feed
from chalicelib.services.leading import Leading
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Clock, JobStore, SyncMeter
from chalicelib.services.reconcile import Reconciler, is_to_be_submitted, wants_work

log = logging.getLogger(__name__)

LEASE = "sync"
LAST_SECONDS = 8.0  # that a run leaves of its time: to finish what it does, and for its threads to end
HAND_OVER = timedelta(seconds=0.25)  # how often a successor asks for the lease
ENDED = ("Succeeded", "Failed")  # phases of a pod that has nothing more to tell
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
        self._over: dict[str, frozenset[str]] = {}  # pool → finished Jobs whose records are terminal for good
        self._watches: dict[str, Watch] = {}
        self._changed: defaultdict[str, set[str]] = defaultdict(set)  # pool → jobs that were told of
        self._leading = Leading(store, LEASE, pace.holder, pace.lease, clock)
        self._again: set[str] = set()  # jobs that the next sweep is to come to, whatever their records say
        self._down: set[str] = set()  # pools that are not waited for until their watches get through
        self._backlog = Backlog()
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
        self._down = set()
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
        again, self._again = self._again, set()
        records = {job.id: job for job in self._store.unsettled(but=Status.RUNNING)}
        records |= self._store.get_many(sorted(again - records.keys()))
        self._backlog.seen(records.values())
        before, self._unseen = self._unseen, {job.id for job in records.values() if self._is_unseen(job)}
        fresh = self._unseen - before
        for job in records.values():
            if not self._leading.goes_on():
                raise LeaseLost("it ran out while records were settled")
            if job.id not in fresh:
                self._settle_seen(job, job.id, job.spec.pool)
        return bool(records) or self._store.has_unsettled()

    def _reign(self, seconds_left: Callable[[], float], whole: bool) -> int:
        """What is done while the lease is held: all that writes has ended when it is given up."""
        news: News | None = None
        try:
            self._pace.feed.resume()
            self._watches, self._backlog, self._unseen = {}, Backlog(), set()
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
        for watch in self._watches.values():
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
                patience = self._backlog.patience(min(left, self._pace.lease / 4))
                self._take(news.wait(patience.total_seconds()))
                if not self._leading.goes_on():
                    return sweeps
            if self.sweep():
                sweeps, needed_until = sweeps + 1, self._clock() + lasts
        return sweeps

    def _follows(self) -> Iterator[Follow]:
        for pool_id, watch in self._watches.items():
            for follow in watch.follows():
                yield partial(self._of_pool, pool_id, follow)
        yield self._events

    def _of_pool(self, pool_id: str, follow: Follow, seconds: float) -> Iterator[Learn]:
        for learn in follow(seconds):
            self._down.discard(pool_id)
            yield partial(self._learn, pool_id, learn)
        self._down.discard(pool_id)

    def _learn(self, pool_id: str, learn: Learn) -> Set[str]:
        changed = learn()
        self._changed[pool_id] |= changed
        return changed

    def _events(self, seconds: float) -> Iterator[Learn]:
        for job_id, message in self._pace.feed.follow(seconds, lambda: self._is_following):
            for pool_id, watch in self._watches.items():
                yield partial(self._learn, pool_id, partial(watch.warned, job_id, message))

    def _take(self, news: Sequence[Learn]) -> None:
        """Learn all of it, and then settle each job that it is about once."""
        for learn in news:
            try:
                learn()
            except Exception:
                log.exception("news that cannot be read")
        for pool_id, early in self._backlog.early(self._clock()).items():
            self._changed[pool_id] |= early
        changed, self._changed = self._changed, defaultdict(set)
        for pool_id, job_ids in changed.items():
            records = self._read(sorted(job_ids))
            self._again |= job_ids - records.keys()
            settled = self._settle_together([job for job in records.values() if job], pool_id)
            for job_id in sorted(records.keys() - settled):
                self._settle_seen(records[job_id], job_id, pool_id)

    def _settle_together(self, jobs: Iterable[Job], pool_id: str) -> Set[str]:
        """Those of them whose news is just written down. What goes wrong with one is not the others': then
        none is settled here, and each alone."""
        if (watch := self._watches.get(pool_id)) is None:
            return frozenset()
        seen = ((job, watch.workload(job.id)) for job in jobs if not is_to_be_submitted(job))
        told = [(job, workload) for job, workload in seen if workload and _may_be_believed(job, workload)]
        try:
            return self._reconciler.settle_together(told)
        except LeaseLost:
            raise
        except Exception:
            log.exception("%d jobs are settled one by one", len(told))
            return frozenset()

    def _is_unseen(self, job: Job) -> bool:
        """Whether its Job was created, and no watch has told of it: it may be about to, and at the next sweep
        the cluster is asked."""
        watch = self._watches.get(job.spec.pool)
        is_submitted = job.status == Status.PENDING and job.submitted_at is not None and not job.is_deleted
        return is_submitted and watch is not None and watch.workload(job.id) is None

    def _settle_seen(self, job: Job | None, job_id: str, pool_id: str) -> None:
        watch = self._watches.get(pool_id)
        seen = watch.workload(job_id) if watch else None
        if job is None and seen is None:
            return
        if job is None or is_to_be_submitted(job) or _may_be_believed(job, seen):
            self._settle(job, seen, pool_id)
        else:
            self._look_up(job)

    def _look_up(self, job: Job) -> None:
        with self._trouble_is_its_own(job.id):
            self._reconciler.look_up(job.id, self._down)

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
        self._watches[pool_id] = watch
        return watch.workloads()

    def _look_at(
        self, pool_id: str, records: Mapping[str, Job], listed: Callable[[], Sequence[Workload]]
    ) -> None:
        try:
            self._settle_all(pool_id, records, listed())
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("pool %s: %s", pool_id, error, extra={"pool": pool_id})
            self._pace.meter.unreachable(pool_id, str(error), self._clock())
            if pool_id in self._watches and not isinstance(error, ClusterRejected | ClusterForbids):
                self._down.add(pool_id)
            self._tell(records.values(), error)

    def _settle_all(self, pool_id: str, records: Mapping[str, Job], workloads: Iterable[Workload]) -> None:
        seen = {workload.job_id: workload for workload in workloads}
        over = self._over.get(pool_id, frozenset())
        strangers = self._read([job_id for job_id in seen if job_id not in records and job_id not in over])
        quiet = {
            job_id
            for job_id, job in {**strangers, **records}.items()
            if self._settle(job, seen.get(job_id), pool_id)
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
            if wants_work(job):
                with suppress(StaleRecord):
                    self._reconciler.note(job, error)

    def _settle(self, job: Job | None, observed: Workload | None, pool_id: str) -> bool:
        """Settle one job; True when there was nothing to do."""
        name = job.id if job else observed.job_id if observed else "?"
        with self._trouble_is_its_own(name):
            if job is not None and is_to_be_submitted(job):
                if not self._backlog.leaves(job, self._clock()):
                    # It reads the record again, right before it creates.
                    self._reconciler.work_off(job.id, self._down)
                elif observed is not None:
                    self._backlog.told_early(pool_id, job.id)
                return False
            return self._reconciler.settle(job, observed, pool_id).action == Nothing()
        return False

    @contextmanager
    def _trouble_is_its_own(self, name: str) -> Iterator[None]:
        """One job's trouble is not another's, and is tried again by the next sweep."""
        try:
            yield
        except (StaleRecord, ClusterUnavailable, ClusterRejected) as error:
            log.info("%s: later: %s", name, error, extra={"job_id": name})
            self._again.add(name)
        except LeaseLost:
            raise
        except Exception:
            log.exception("%s could not be settled", name, extra={"job_id": name})
            self._again.add(name)


def _may_be_believed(job: Job, seen: Workload | None) -> bool:
    """Whether to decide by what watches told. Those of Jobs and of pods are not told in step: a Job that has
    ended may have pods that are still to tell how; and one that is missing may be about to show."""
    if job.is_terminal and not job.is_deleted:
        return True
    if seen is None:
        return False
    return seen.outcome is None or (bool(seen.pods) and all(pod.phase in ENDED for pod in seen.pods))
