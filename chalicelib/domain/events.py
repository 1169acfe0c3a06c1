"""What happened to a job, as its callers are told: Kubernetes' own Events of it, and Trainyard's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
