"""Brings one job's record and its workload together: load → decide → apply, for outbox and pass alike.

Every step may die and be repeated: what is created is named after the job, what is written is conditional.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from chalicelib.domain.decide import (
    Decision,
    DeleteWorkload,
    ForceDelete,
    Nothing,
    Remove,
    Save,
    Submit,
    decide,
)
from chalicelib.domain.ending import MESSAGE_LIMIT
from chalicelib.domain.job import Job, Reason
from chalicelib.domain.manifest import ManifestSettings, manifests
from chalicelib.domain.observed import Workload
from chalicelib.domain.pools import Pool
from chalicelib.domain.repair import Repaired
from chalicelib.domain.states import Status
from chalicelib.errors import (
    ClusterForbids,
    ClusterRejected,
    ClusterUnavailable,
    NamespaceMissing,
    PoolMissing,
    SignInFailed,
    StaleRecord,
    StoreUnavailable,
    TrainyardError,
)
from chalicelib.services.cluster_ports import Clusters
from chalicelib.services.placement import pool_of
from chalicelib.services.ports import Clock, JobStore, JobTrace
from chalicelib.services.repairs import Repairs

log = logging.getLogger(__name__)

RACES = 5  # how often one call reloads a record that changed under it


def untraced(job: Job, /) -> AbstractContextManager[None]:
    """services.ports.JobTrace of nobody."""
    del job
    return nullcontext()


class Reconciler:
    """Decides about jobs and carries the decisions out; the only caller of the cluster that changes it.

    `repairs` is told of what was drift. The outbox has none: what the stream brings is no drift.
    """

    def __init__(
        self,
        store: JobStore,
        pools: Mapping[str, Pool],
        clusters: Clusters,
        manifest: ManifestSettings,
        clock: Clock,
        repairs: Repairs | None = None,
    ) -> None:
        self._store = store
        self._pools = pools
        self._clusters = clusters
        self._manifest = manifest
        self._clock = clock
        self._repairs = repairs

    def work_off(
        self, job_id: str, down: set[str], trace: JobTrace = untraced, read: Job | None = None
    ) -> None:
        """Do what the record asks for now: submit, stop or clean up. Nothing to do is fine.

        `down` names the pools whose clusters were found not to answer: they are not waited for again. `read`
        is the record, if it was read a moment ago.
        Raises ClusterUnavailable when it has to be tried again; the pass does so for every unsettled record.
        """
        job = read or self._store.get(job_id)
        if job is None or not wants_work(job):
            return
        with trace(job):
            self._try(job, down)

    def submit(self, job: Job, down: set[str], trace: JobTrace = untraced) -> Job:
        """Hand a job over whose record, read a moment ago, asks for just that. Returns the record as it is to
        be saved then: until somebody does, or finds out what is in its way, the job is not done. Raises like
        work_off.
        """
        with trace(job), self._trying(job, down):
            _say(decide(job, None, self._clock()), job.id, job.log_fields)
            return self._submitted(job)

    def look_up(self, job_id: str, down: set[str]) -> None:
        """Settle a job by what its cluster says right now, its record read before. Raises like work_off."""
        job = self._store.get(job_id)
        if job is not None:
            self._try(job, down)

    def settle(self, job: Job | None, observed: Workload | None, pool_id: str) -> Decision:
        """Decide about one job and apply the decision. Raises StaleRecord and ClusterUnavailable."""
        with self._saying_what_it_waits_for(job):
            return self._settle(job, observed, pool_id)

    def settle_together(self, seen: Iterable[tuple[Job, Workload]]) -> Set[str]:
        """Settle those of the jobs that only a record is to be written for, in few transactions. Returns the
        ids of those; each of the others is to be settled alone. Raises like the store."""
        decided = [(job, decide(job, observed, self._clock())) for job, observed in seen]
        saves = [
            (job, decision, decision.action)
            for job, decision in decided
            if isinstance(decision.action, Save) and not decision.repair
        ]
        if len(saves) < 2:
            return frozenset()
        are_saved = self._store.save_many([(save.job, save.was) for _, _, save in saves])
        settled = set()
        for (job, decision, _), is_saved in zip(saves, are_saved, strict=True):
            if is_saved:
                _say(decision, job.id, job.log_fields)
                settled.add(job.id)
        return settled

    def note(self, job: Job, error: TrainyardError) -> None:
        """Let a job that waits for its cluster say so. Raises StaleRecord."""
        self._save(job, **_waits_because(job, error))

    def tell(self) -> None:
        """Publish what was repaired; called now and then, since the bus may take a while."""
        if self._repairs:
            self._repairs.publish()

    def _try(self, job: Job, down: set[str]) -> None:
        with self._trying(job, down):
            self._follow(job)

    @contextmanager
    def _trying(self, job: Job, down: set[str]) -> Iterator[None]:
        pool_id = job.spec.pool
        with self._saying_what_it_waits_for(job):
            if pool_id in down:
                raise ClusterUnavailable(f"the cluster of pool {pool_id!r} does not answer")
            try:
                yield
            except (NamespaceMissing, ClusterForbids, PoolMissing):
                raise
            except ClusterUnavailable:
                down.add(pool_id)
                raise

    @contextmanager
    def _saying_what_it_waits_for(self, job: Job | None) -> Iterator[None]:
        """Whoever writes the record meanwhile asks for something else, which is tried for itself."""
        try:
            yield
        except ClusterUnavailable as error:
            if job is not None and wants_work(job):
                with suppress(StaleRecord):
                    self.note(job, error)
            raise

    def _follow(self, known: Job) -> None:
        """Settle the job. After a lost race the record is read and the cluster looked at again, whatever the
        record now says: what we just created may still stand."""
        job: Job | None = known
        for _ in range(RACES):
            try:
                self._settle(job, self._look(job, known), known.spec.pool)
                return
            except StaleRecord:
                log.info(
                    "%s changed while it was worked off; looking again", known.id, extra=known.log_fields
                )
                job = self._store.get(known.id)
        raise StoreUnavailable(f"{known.id} kept changing")

    def _settle(self, job: Job | None, observed: Workload | None, pool_id: str) -> Decision:
        decision = decide(job, observed, self._clock())
        if decision.repair and observed is not None:
            # What was seen may be old news, and drift is rare enough to be looked at twice.
            job = self._store.get(observed.job_id)
            seen = self._clusters(self._pool(pool_id)).workload(observed.namespace, observed.job_id)
            decision = decide(job, seen, self._clock())
        name = job.id if job else observed.job_id if observed else "?"
        _say(decision, name, job.log_fields if job else {"job_id": name, "pool": pool_id})
        self._apply(decision, pool_id)
        if decision.repair and self._repairs:
            repaired = Repaired(
                kind=decision.repair,
                job_id=name,
                tenant=job.tenant if job else None,
                pool=pool_id,
                why=decision.why,
                at=self._clock(),
            )
            self._repairs.note(repaired, has_callers=job is not None and not job.is_deleted)
        return decision

    def _apply(self, decision: Decision, pool_id: str) -> None:
        match decision.action:
            case Submit(job):
                self._store.save(self._submitted(job), job)
            case DeleteWorkload(job_id, namespace):
                self._clusters(self._pool(pool_id)).delete(namespace, job_id)
            case ForceDelete(namespace, pods, then):
                self._clusters(self._pool(pool_id)).force_delete(namespace, pods)
                if then is not None:
                    self._store.save(then.job, then.was)
            case Save(job, was):
                self._store.save(job, was)
            case Remove(job):
                self._store.remove(job)
            case Nothing():
                return

    def _submitted(self, job: Job) -> Job:
        """Create it in the cluster. Returns what its record then says."""
        pool = self._pool(job.spec.pool)
        at = self._clock()  # before the cluster's own Events of it, which are told beside this one
        try:
            self._clusters(pool).submit(manifests(job, pool, self._manifest))
        except ClusterRejected as error:
            now = self._clock()
            return job.changed(
                now,
                status=Status.FAILED,
                reason=Reason.CLUSTER_REJECTED,
                message=f"Kubernetes refuses the job: {error}"[:MESSAGE_LIMIT],
                finished_at=now,
            )
        return job.changed(
            at,
            submitted_at=at,
            reason=Reason.SUBMITTED,
            message="handed to the cluster; its pods are not created yet",
        )

    def _save(self, job: Job, **changes: Any) -> None:
        if any(getattr(job, name) != value for name, value in changes.items()):
            self._store.save(job.changed(self._clock(), **changes), job)

    def _look(self, job: Job | None, known: Job) -> Workload | None:
        if job is not None and is_to_be_submitted(job):
            return None  # whatever is there: creating it again changes nothing
        pool = self._pool(known.spec.pool)
        return self._clusters(pool).workload(pool.namespace_of(known.tenant), known.id)

    def _pool(self, pool_id: str) -> Pool:
        return pool_of(self._pools, pool_id)


def wants_work(job: Job) -> bool:
    """Whether the record asks for something in the cluster: to be submitted, stopped or cleaned up."""
    return job.is_deleted or job.status == Status.STOPPING or is_to_be_submitted(job)


def is_to_be_submitted(job: Job) -> bool:
    """Whether the job is yet to be handed to the cluster, as far as its record knows."""
    return job.status == Status.PENDING and job.submitted_at is None and not job.is_deleted


def _say(decision: Decision, name: str, about: Mapping[str, str]) -> None:
    level = logging.DEBUG if decision.action == Nothing() else logging.INFO
    action = type(decision.action).__name__
    log.log(level, "%s: %s: %s", name, action, decision.why, extra={**about, "action": action})


def _waits_because(job: Job, error: TrainyardError) -> dict[str, Any]:
    """The reason that a job waits for its cluster. Its words stay the same from try to try: no new writes."""
    match error:
        case NamespaceMissing():
            return {"reason": Reason.NAMESPACE_MISSING, "message": str(error)}
        case PoolMissing():
            return {"reason": Reason.POOL_MISSING, "message": str(error)}
        case ClusterForbids():
            return {"reason": Reason.CLUSTER_FORBIDS, "message": str(error)[:MESSAGE_LIMIT]}
        case SignInFailed():
            return {"reason": Reason.CLUSTER_UNAVAILABLE, "message": str(error)[:MESSAGE_LIMIT]}
        case _:
            then = "handed over" if is_to_be_submitted(job) else "ended"
            message = f"the cluster does not answer; the job is {then} as soon as it does"
            return {"reason": Reason.CLUSTER_UNAVAILABLE, "message": message}
