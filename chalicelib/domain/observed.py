"""What was seen of a job in the cluster, reduced to what decisions need and free of Kubernetes' own types."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Outcome(StrEnum):
    """How a Kubernetes Job ended: the types of its final conditions."""

    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of a job. Of its containers only the training one counts.

    `unschedulable` is the scheduler's own message while it finds no node. `exit_code` is set once the
    container has ended (128 + n: killed by signal n). `ends_by` is set while its node is to end it: when the
    grace period is over.
    """

    name: str
    phase: str
    created_at: datetime
    rank: int = 0
    node: str | None = None
    reason: str | None = None
    message: str | None = None
    unschedulable: str | None = None
    disrupted: str | None = None  # the message of a DisruptionTarget condition
    waiting_reason: str | None = None
    waiting_message: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    restarts: int = 0
    exit_code: int | None = None
    terminated_reason: str | None = None
    termination_message: str | None = None
    bundle_failure: str | None = None  # why its code could not be unpacked
    ends_by: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A Kubernetes Job and its pods, oldest first."""

    job_id: str
    namespace: str
    pods: tuple[Pod, ...] = ()
    suspended: bool = False
    deleting: bool = False
    outcome: Outcome | None = None
    outcome_reason: str | None = None
    outcome_message: str | None = None
    finished_at: datetime | None = None
    warning: str | None = None  # why it has no pods, in the job controller's own words
