"""What may drift apart between records and cluster, each as it comes about in a yard of a test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from chalicelib.domain.observed import Outcome
from chalicelib.domain.repair import IN_TIME, STUCK, Repair
from tests.builders import ended_pod, later, running_pod
from tests.unit.services.conftest import ADA, Yard


def runs(yard: Yard) -> str:
    """A job that runs."""
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    settle(yard)
    return job_id


def settle(yard: Yard, holder: str = "a pass", seconds: float = 15) -> None:
    """A pass that begins now, looks at all clusters, and ends after some sweeps."""
    yard.another_sync(holder).run(yard.seconds(seconds), whole=True)


def end_deletions(yard: Yard) -> None:
    yard.cluster.finish_deletions()
    settle(yard)


def too_late(yard: Yard) -> None:
    yard.clock.move(IN_TIME.total_seconds())


def not_submitted(yard: Yard) -> str:
    job_id = yard.submit()
    too_late(yard)
    return job_id


def not_stopped(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.stop(ADA, job_id)
    too_late(yard)
    return job_id


def not_cleaned_up(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.delete(ADA, job_id)
    too_late(yard)
    return job_id


def deleted_by_hand(yard: Yard) -> str:
    job_id = runs(yard)
    del yard.cluster.jobs[job_id]
    return job_id


def without_a_record(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.delete(ADA, job_id)
    tombstone = yard.store.get(job_id)
    assert tombstone is not None
    yard.store.remove(tombstone)
    return job_id


def going_on_after_its_end(yard: Yard) -> str:
    job_id = runs(yard)
    before = yard.cluster.jobs[job_id]
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    settle(yard)
    yard.cluster.jobs[job_id] = before
    return job_id


def stuck(yard: Yard) -> str:
    """Its node has been dead since before it was stopped."""
    job_id = runs(yard)
    yard.jobs.stop(ADA, job_id)
    yard.outbox.deliver([job_id])
    yard.cluster.show(job_id, running_pod(ends_by=yard.clock()))
    settle(yard)
    yard.clock.move(STUCK.total_seconds())
    return job_id


def deleted_and_stuck(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.delete(ADA, job_id)
    yard.outbox.deliver([job_id])
    yard.cluster.show(job_id, running_pod(ends_by=yard.clock()))
    yard.clock.move(STUCK.total_seconds())
    return job_id


@dataclass(frozen=True)
class Drift:
    """How it comes about, what it is called, and where it ends: the record's state, and its reason."""

    happens: Callable[[Yard], str]
    kind: Repair
    ends: tuple[str, str] | None  # None: no caller has such a job any more


DRIFTS = [
    Drift(not_submitted, Repair.LATE_SUBMISSION, ("pending", "Submitted")),
    Drift(not_stopped, Repair.LATE_STOP, ("stopped", "Stopped")),
    Drift(not_cleaned_up, Repair.LATE_DELETION, None),
    Drift(deleted_by_hand, Repair.JOB_DELETED, ("failed", "JobDeleted")),
    Drift(without_a_record, Repair.JOB_WITHOUT_RECORD, None),
    Drift(going_on_after_its_end, Repair.JOB_AFTER_END, ("succeeded", "Completed")),
    Drift(stuck, Repair.STUCK_PODS, ("stopped", "Stopped")),
    Drift(deleted_and_stuck, Repair.STUCK_PODS, None),
]
every_drift = pytest.mark.parametrize("drift", DRIFTS, ids=[drift.happens.__name__ for drift in DRIFTS])


def told(yard: Yard, job_id: str) -> list[str]:
    """What the job's callers are told of repairs."""
    return [event.message for event in yard.store.events(job_id, 100).items if event.reason == "Repaired"]
