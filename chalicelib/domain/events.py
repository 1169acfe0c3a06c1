"""What happened to a job, as its callers are told: Kubernetes' own Events of it, and Trainyard's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from chalicelib.domain.job import Job, Reason
from chalicelib.domain.states import Status

_OURS = re.compile(r"(?:Job|Pod)/(job-[0-9a-z]{26})(?:-[-a-z0-9.]{1,230})?")

# What Kubernetes' own Events tell anyway, pod by pod.
_TOLD_BY_KUBERNETES = frozenset(
    (
        Reason.STARTING,
        Reason.RUNNING,
        Reason.UNSCHEDULABLE,
        Reason.IMAGE_PULL_BACK_OFF,
        Reason.CONTAINER_START_FAILED,
        Reason.POD_CREATION_FAILED,
    )
)
_PROBLEMS = frozenset(
    (
        Reason.RETRYING,
        Reason.NAMESPACE_MISSING,
        Reason.CLUSTER_UNAVAILABLE,
        Reason.CLUSTER_FORBIDS,
        Reason.POOL_MISSING,
        Reason.PODS_STUCK,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened, `count` times from `first_timestamp` to `timestamp`.

    `type` is Normal or Warning, `object` `Pod/name` or `Job/name`. `key` and `first_timestamp` are its
    identity within a job: they stay the same however often it is told, while the others may grow.
    """

    type: str
    reason: str
    message: str
    timestamp: datetime
    first_timestamp: datetime
    count: int
    object: str
    key: str


def event_of(job: Job, was: Job | None) -> Event | None:
    """What the write of `job` over `was` tells the job's callers: a new status or a new reason.

    None when there is neither, when Kubernetes tells it itself, and for a tombstone, which has no callers.
    """
    if job.is_deleted or (was is not None and (job.status, job.reason) == (was.status, was.reason)):
        return None
    if not job.is_terminal and job.reason in _TOLD_BY_KUBERNETES:
        return None
    is_problem = job.status == Status.FAILED or job.reason in _PROBLEMS
    return Event(
        type="Warning" if is_problem else "Normal",
        reason=job.reason,
        message=job.message,
        timestamp=job.updated_at,
        first_timestamp=job.updated_at,
        count=1,
        object=f"Job/{job.id}",
        key=f"v{job.version}",
    )


def job_id_of(event: Event) -> str | None:
    """The id of the job whose Kubernetes Job or pod the event is about, by its name; None: of no job."""
    named = _OURS.fullmatch(event.object)
    return named[1] if named else None


def merged(events: Iterable[Event]) -> tuple[Event, ...]:
    """Events that say the same of the same object become one, where the first of them stood."""
    found: dict[tuple[str, str, str, str], Event] = {}
    for event in events:
        same = (event.type, event.reason, event.message, event.object)
        known = found.get(same)
        if known is None:
            found[same] = event
        else:
            last = max(known.timestamp, event.timestamp)
            found[same] = replace(known, timestamp=last, count=known.count + event.count)
    return tuple(found.values())
