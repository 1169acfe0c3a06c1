"""Settles jobs by what was seen of them, in a list or by a watch: one job's trouble is not another's."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

from chalicelib.domain.decide import Nothing
from chalicelib.domain.job import Job
from chalicelib.domain.observed import Workload
from chalicelib.domain.states import Status
from chalicelib.errors import ClusterRejected, ClusterUnavailable, LeaseLost, StaleRecord, StoreUnavailable
from chalicelib.services.backlog import Backlog
from chalicelib.services.cluster_ports import Learn, Watch
from chalicelib.services.ports import Clock, JobStore
from chalicelib.services.reconcile import Reconciler, is_to_be_submitted

log = logging.getLogger(__name__)

ENDED = ("Succeeded", "Failed")  # phases of a pod that has nothing more to tell


class Settling:
    """The jobs of one sync, in the eyes of its watches.

    `watches` has those of each pool. `down` names the pools that are not waited for until their watches get
    through, `again` the jobs that the next sweep is to come to, whatever their records say.
    """

    def __init__(self, reconciler: Reconciler, store: JobStore, clock: Clock) -> None:
        self.watches: dict[str, Watch] = {}
        self.backlog = Backlog()
        self.down: set[str] = set()
        self.again: set[str] = set()
        self._reconciler = reconciler
        self._store = store
        self._clock = clock
        self._over: dict[str, frozenset[str]] = {}  # pool → finished Jobs whose records are terminal for good
        self._changed: defaultdict[str, set[str]] = defaultdict(set)  # pool → jobs that were told of

    def begin(self) -> None:
        """Forget what an earlier run's watches told, and who waited then."""
        self.watches, self.backlog = {}, Backlog()

    def listed(self, pool_id: str, records: Mapping[str, Job], workloads: Iterable[Workload]) -> None:
        """Settle all jobs of a pool: the unsettled of its `records`, and whatever else is in the cluster."""
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

    def learn(self, pool_id: str, learn: Learn) -> Set[str]:
        """Let the pool's watch know, and remember which jobs that is about."""
        changed = learn()
        self._changed[pool_id] |= changed
        return changed

    def take(self, news: Sequence[Learn]) -> None:
        """Learn all of it, and then settle each job that it is about once."""
        for learn in news:
            try:
                learn()
            except Exception:
                log.exception("news that cannot be read")
        for pool_id, early in self.backlog.early(self._clock()).items():
            self._changed[pool_id] |= early
        changed, self._changed = self._changed, defaultdict(set)
        for pool_id, job_ids in changed.items():
            records = self._read(sorted(job_ids))
            self.again |= job_ids - records.keys()
            settled = self._settle_together([job for job in records.values() if job], pool_id)
            for job_id in sorted(records.keys() - settled):
                self.seen(records[job_id], job_id, pool_id)

    def seen(self, job: Job | None, job_id: str, pool_id: str) -> None:
        """Settle a job by what was last seen of it, or by another look where that may not be believed."""
        watch = self.watches.get(pool_id)
        seen = watch.workload(job_id) if watch else None
        if job is None and seen is None:
            return
        if job is None or is_to_be_submitted(job) or _may_be_believed(job, seen):
            self._settle(job, seen, pool_id)
        else:
            self._look_up(job)

    def is_unseen(self, job: Job) -> bool:
        """Whether its Job was created, and no watch has told of it: it may be about to, and at the next sweep
        the cluster is asked."""
        watch = self.watches.get(job.spec.pool)
        is_submitted = job.status == Status.PENDING and job.submitted_at is not None and not job.is_deleted
        return is_submitted and watch is not None and watch.workload(job.id) is None

    def _settle_together(self, jobs: Iterable[Job], pool_id: str) -> Set[str]:
        """Those of them whose news is just written down. What goes wrong with one is not the others': then
        none is settled here, and each alone."""
        if (watch := self.watches.get(pool_id)) is None:
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

    def _look_up(self, job: Job) -> None:
        with self._trouble_is_its_own(job.id):
            self._reconciler.look_up(job.id, self.down)

    def _read(self, job_ids: Sequence[str]) -> Mapping[str, Job | None]:
        """The records of Jobs that are not among the unsettled; None for one that has no record."""
        try:
            known = self._store.get_many(job_ids)
        except StoreUnavailable as error:
            log.warning("Jobs without an unsettled record are left to the next pass: %s", error)
            return {}
        return {job_id: known.get(job_id) for job_id in job_ids}

    def _settle(self, job: Job | None, observed: Workload | None, pool_id: str) -> bool:
        """Settle one job; True when there was nothing to do."""
        name = job.id if job else observed.job_id if observed else "?"
        with self._trouble_is_its_own(name):
            if job is not None and is_to_be_submitted(job):
                if not self.backlog.leaves(job, self._clock()):
                    # It reads the record again, right before it creates.
                    self._reconciler.work_off(job.id, self.down)
                elif observed is not None:
                    self.backlog.told_early(pool_id, job.id)
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
            self.again.add(name)
        except LeaseLost:
            raise
        except Exception:
            log.exception("%s could not be settled", name, extra={"job_id": name})
            self.again.add(name)


def _may_be_believed(job: Job, seen: Workload | None) -> bool:
    """Whether to decide by what watches told. Those of Jobs and of pods are not told in step: a Job that has
    ended may have pods that are still to tell how; and one that is missing may be about to show."""
    if job.is_terminal and not job.is_deleted:
        return True
    if seen is None:
        return False
    return seen.outcome is None or (bool(seen.pods) and all(pod.phase in ENDED for pod in seen.pods))
