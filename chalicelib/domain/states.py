"""The states of a job and the only table of their transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """Where a job is. The values are training-v1's words; the jobs dialect capitalises them."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


# pending → succeeded is a job that ran from start to end between two looks at the cluster.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.SUCCEEDED, Status.FAILED, Status.STOPPING}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.STOPPING}),
    Status.STOPPING: frozenset({Status.STOPPED}),
    Status.STOPPED: frozenset(),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
}

TERMINAL = frozenset(status for status, onward in TRANSITIONS.items() if not onward)
ACTIVE = frozenset(TRANSITIONS) - TERMINAL


class IllegalTransition(ValueError):
    """A bug in the caller: the table does not allow this move."""


def check_transition(old: Status, new: Status) -> None:
    """Raise IllegalTransition unless TRANSITIONS allows `old` → `new`."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{old} → {new}")
