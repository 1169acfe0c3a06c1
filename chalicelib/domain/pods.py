"""What a job's record remembers of its pods, so that they have names and ends after they are gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from chalicelib.domain.observed import Pod

MOST_PODS = 500  # of a job, the newest: those of 64 nodes, seven times over
GONE = "Gone"
UNKNOWN = "Unknown"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_FINAL = frozenset(("Succeeded", "Failed", GONE))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """One pod as it was last seen.

    `phase` is Kubernetes' own; Gone: deleted before it was seen to end; Unknown: only its name was kept.
    """

    name: str
    rank: int = 0
    phase: str = UNKNOWN
    created_at: datetime | None = None
    node: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    restarts: int = 0
    exit_code: int | None = None
    reason: str | None = None


def remembered(known: Iterable[PodRecord], seen: Iterable[Pod]) -> tuple[PodRecord, ...]:
    """What is known of a job's pods, oldest first, now that these and no others are in the cluster."""
    now = {pod.name: _record(pod) for pod in seen}
    merged = {pod.name: now.get(pod.name) or _gone(pod) for pod in known} | now
    # Their order hangs on nothing but themselves: else those at the limit would take turns.
    return tuple(sorted(merged.values(), key=_age)[-MOST_PODS:])


def settled(known: Iterable[PodRecord], seen: Iterable[Pod]) -> tuple[PodRecord, ...]:
    """The same pods, and of those that had not ended what became of them: for a job that is over."""
    ended = {pod.name: record for pod in seen if (record := _record(pod)).phase in _FINAL}
    return tuple(pod if pod.phase in _FINAL else ended.get(pod.name, pod) for pod in known)


def _age(pod: PodRecord) -> tuple[datetime, str]:
    return pod.created_at or _LONG_AGO, pod.name


def _gone(pod: PodRecord) -> PodRecord:
    return pod if pod.phase in _FINAL else replace(pod, phase=GONE)


def _record(pod: Pod) -> PodRecord:
    return PodRecord(
        name=pod.name,
        rank=pod.rank,
        phase=pod.phase,
        created_at=pod.created_at,
        node=pod.node,
        started_at=pod.started_at,
        finished_at=pod.finished_at,
        restarts=pod.restarts,
        exit_code=pod.exit_code,
        reason=pod.reason
        or pod.terminated_reason
        or pod.waiting_reason
        or ("Unschedulable" if pod.unschedulable else None),
    )
