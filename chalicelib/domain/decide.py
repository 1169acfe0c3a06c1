"""What to do about one job, given its record and what was seen of it in the cluster: a pure function.

load → decide → apply: services.reconcile loads and applies. Each decision says why, also when there is
nothing to do, so that a log of decisions explains every job's life.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.ending import ended, progress, waiting_for_the_end
from chalicelib.domain.job import Job, Reason
from chalicelib.domain.observed import Pod, Workload
from chalicelib.domain.pods import remembered, settled
from chalicelib.domain.repair import IN_TIME, STUCK, Repair
from chalicelib.domain.states import Status

# Longer than a submission takes: two creates and a read, each 5 s to connect and 5 s to wait at the most.
# Until then an absent Job is no proof that none will come.
SUBMISSION_LASTS = timedelta(seconds=30)

# Of a record that nobody has tried to carry out: whoever tries in vain writes why.
_JUST_ASKED = frozenset((Reason.ACCEPTED, Reason.STOP_REQUESTED, Reason.DELETE_REQUESTED))


@dataclass(frozen=True, slots=True)
class Nothing:
    """The record and the cluster agree."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Create the job's objects in the cluster, those that are not there yet, and note that it was done."""

    job: Job


@dataclass(frozen=True, slots=True)
class DeleteWorkload:
    """Delete the Kubernetes Job, its pods, and what else the manifest made."""

    job_id: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Save:
    """Write the record's next version over the one that was read."""

    job: Job
    was: Job


@dataclass(frozen=True, slots=True)
class ForceDelete:
    """Delete pods that do not end without waiting for their nodes, and then let the record say so."""

    namespace: str
    pods: tuple[str, ...]
    then: Save | None


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the tombstone: nothing of the job is left in the cluster."""

    job: Job


Action = Nothing | Submit | DeleteWorkload | ForceDelete | Save | Remove


@dataclass(frozen=True, slots=True)
class Decision:
    """One action and the reason for it. `repair` says what it puts right, if that is drift."""

    action: Action
    why: str
    repair: Repair | None = None


def decide(job: Job | None, observed: Workload | None, now: datetime) -> Decision:
    """Decide what brings the record and the cluster closer together.

    `observed` must have been seen after `job` was read: a Job that is missing from it is then really gone.
    Applying a decision and deciding again always ends in Nothing.
    """
    if job is None:
        return _without_record(observed, now)
    if job.is_deleted:
        return _deleted(job, observed, now)
    if job.is_terminal:
        return _terminal(job, observed, now)
    if job.status == Status.STOPPING:
        return _stopping(job, observed, now)
    if job.submitted_at is None:
        return _submit(job, now)
    if observed is None:
        return _missing(job, now)
    return _alive(job, observed, now)


def _without_record(observed: Workload | None, now: datetime) -> Decision:
    if observed is None:
        return Decision(Nothing(), "neither a record nor a Job")
    return _delete(observed, now, "a Job with no record", Repair.JOB_WITHOUT_RECORD)


def _submit(job: Job, now: datetime) -> Decision:
    if _is_late(job, now):
        return Decision(Submit(job), "nobody handed it to the cluster in time", Repair.LATE_SUBMISSION)
    return Decision(Submit(job), "not known to be in the cluster yet")


def _deleted(job: Job, observed: Workload | None, now: datetime) -> Decision:
    if observed is None:
        if _may_be_under_way(job, now):
            return Decision(Nothing(), "deleted; a submission may still be under way")
        return Decision(Remove(job), "deleted, and nothing is left in the cluster")
    if _is_late(job, now):
        why = "its record was deleted, and nobody deleted its Job in time"
        return _delete(observed, now, why, Repair.LATE_DELETION)
    return _delete(observed, now, "its record was deleted")


def _terminal(job: Job, observed: Workload | None, now: datetime) -> Decision:
    if observed is None:
        return Decision(Nothing(), f"{job.status}, and its Job is gone")
    if observed.outcome is not None and job.status != Status.STOPPED:
        if (pods := settled(job.pods, observed.pods)) != job.pods:
            return Decision(Save(job.changed(now, pods=pods), job), "its last pods have ended")
        return Decision(Nothing(), f"{job.status}; Kubernetes removes the finished Job after its TTL")
    why = f"a Job that goes on although its record is {job.status}"
    return _delete(observed, now, why, Repair.JOB_AFTER_END)


def _stopping(job: Job, observed: Workload | None, now: datetime) -> Decision:
    if observed is None:
        if _may_be_under_way(job, now):
            return Decision(Nothing(), "stopping; a submission may still be under way")
        stopped = job.changed(
            now,
            status=Status.STOPPED,
            reason=Reason.STOPPED,
            message=_how_it_stopped(job),
            finished_at=now,
            pods=remembered(job.pods, ()),
        )
        return Decision(Save(stopped, job), "stopping, and nothing is left in the cluster")
    pods = remembered(job.pods, observed.pods)
    if (exit_code := _exit_code(observed)) is not None and exit_code != job.exit_code:
        return Decision(Save(job.changed(now, exit_code=exit_code, pods=pods), job), "its container ended")
    if not observed.deleting and _is_late(job, now):
        why = "a stop was requested, and nobody carried it out in time"
        return _delete(observed, now, why, Repair.LATE_STOP)
    if not observed.deleting:
        return _delete(observed, now, "a stop was requested")
    if stuck := _stuck(observed, now):
        message = _given_up(stuck)
        gave_up = job.changed(now, reason=Reason.PODS_STUCK, message=message, pods=pods)
        return _force(observed, stuck, Save(gave_up, job))
    if job.reason == Reason.PODS_STUCK:
        return Decision(Nothing(), "its Job is being deleted, pods by force")
    message = waiting_for_the_end(observed)
    waiting = job.changed(now, reason=Reason.STOP_REQUESTED, message=message, pods=pods)
    if (waiting.message, waiting.pods) == (job.message, job.pods):
        return Decision(Nothing(), "its Job is being deleted")
    return Decision(Save(waiting, job), "its pods are ending")


def _may_be_under_way(job: Job, now: datetime) -> bool:
    """Whether somebody who read the record before the stop was asked for may yet create its Job."""
    return job.submitted_at is None and not job.is_terminal and now - job.updated_at < SUBMISSION_LASTS


def _missing(job: Job, now: datetime) -> Decision:
    failed = job.changed(
        now,
        status=Status.FAILED,
        reason=Reason.JOB_DELETED,
        message="its Kubernetes Job was deleted in the cluster, not through Trainyard",
        finished_at=now,
        pods=remembered(job.pods, ()),
    )
    return Decision(
        Save(failed, job), "its Job was deleted in the cluster, not through Trainyard", Repair.JOB_DELETED
    )


def _alive(job: Job, observed: Workload, now: datetime) -> Decision:
    if observed.outcome is not None:
        changes, why = ended(observed, now), f"the Job is {observed.outcome}"
    elif observed.deleting:
        return Decision(Nothing(), "its Job is being deleted; what is left decides")
    else:
        changes, why = progress(job, observed), "the cluster tells more than the record"
    changes["pods"] = remembered(job.pods, observed.pods)
    if all(getattr(job, name) == value for name, value in changes.items()):
        return Decision(Nothing(), "nothing new in the cluster")
    return Decision(Save(job.changed(now, **changes), job), why)


def _is_late(job: Job, now: datetime) -> bool:
    """Whether nobody has even tried what the record asks for, for so long that whoever should is gone."""
    return job.reason in _JUST_ASKED and now - job.updated_at >= IN_TIME


def _delete(observed: Workload, now: datetime, why: str, repair: Repair | None = None) -> Decision:
    if not observed.deleting:
        return Decision(DeleteWorkload(observed.job_id, observed.namespace), why, repair)
    if stuck := _stuck(observed, now):
        return _force(observed, stuck, None)
    return Decision(Nothing(), f"{why}; its Job is being deleted")


def _stuck(observed: Workload, now: datetime) -> list[Pod]:
    """Pods whose node does not end them, nor says that it did."""
    return [pod for pod in observed.pods if pod.ends_by is not None and now - pod.ends_by >= STUCK]


def _force(observed: Workload, stuck: list[Pod], then: Save | None) -> Decision:
    names = tuple(pod.name for pod in stuck)
    action = ForceDelete(observed.namespace, names, then)
    return Decision(action, _given_up(stuck), Repair.STUCK_PODS)


def _given_up(stuck: list[Pod]) -> str:
    first = stuck[0]
    more = f" and {len(stuck) - 1} more" if stuck[1:] else ""
    node = f" on node {first.node}" if first.node else ""
    late = f"did not end within {STUCK.seconds // 60} minutes after the grace period"
    return f"pod {first.name}{node}{more} {late}; deleted by force: where the node still runs, it may go on"


def _exit_code(observed: Workload) -> int | None:
    return observed.pods[-1].exit_code if observed.pods else None


def _how_it_stopped(job: Job) -> str:
    if job.reason == Reason.PODS_STUCK:
        return f"stopped on request; {job.message}"
    if job.exit_code is None:
        return "stopped on request"
    if job.exit_code > 128:
        return f"stopped on request; its container ended by signal {job.exit_code - 128}"
    return f"stopped on request; its container ended with exit code {job.exit_code}"
