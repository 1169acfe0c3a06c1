"""Drift, and that it was repaired: what the periodic pass did that somebody else should have done, or undid.

Which decision is a repair is decided with it (domain.decide). Carrying a record out in time is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.domain.events import Event

# Within it the stream brings a record, or a sweep finds it: what is done until then is done in time.
IN_TIME = timedelta(seconds=60)
# What a pod gets beyond its grace period. A node that comes back within it ends the pod itself; so does the
# cloud that takes a dead one away.
STUCK = timedelta(minutes=5)


class Repair(StrEnum):
    """What was out of step: one word that programs may match; docs/events.md says it in full."""

    LATE_SUBMISSION = "LateSubmission"
    LATE_STOP = "LateStop"
    LATE_DELETION = "LateDeletion"
    JOB_DELETED = "JobDeleted"
    JOB_WITHOUT_RECORD = "JobWithoutRecord"
    JOB_AFTER_END = "JobAfterEnd"
    STUCK_PODS = "StuckPods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """One repair that was made. `tenant` None: no record tells whose the Job is."""

    kind: Repair
    job_id: str
    tenant: str | None
    pool: str
    why: str
    at: datetime

    @property
    def detail(self) -> dict[str, Any]:
        """What the event says, as docs/events/training-job-repair.schema.json describes it."""
        return {
            "id": self.job_id,
            "tenant": self.tenant,
            "pool": self.pool,
            "kind": self.kind,
            "why": self.why,
            "at": self.at.isoformat(timespec="microseconds"),
        }

    @property
    def event(self) -> Event:
        """What the job's callers are told."""
        return Event(
            type="Warning",
            reason="Repaired",
            message=f"{self.kind}: {self.why}",
            timestamp=self.at,
            first_timestamp=self.at,
            count=1,
            object=f"Job/{self.job_id}",
            key=f"repair-{self.kind}",
        )
