"""Kubernetes' JSON of Jobs, pods and Events → the values that decisions are made of. Pure.

Fields: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/ (job-v1, pod-v1)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain import labels
from chalicelib.domain.events import Event
from chalicelib.domain.manifest import BUNDLE_CONTAINER, CONTAINER
from chalicelib.domain.observed import Outcome, Pod, Workload

Json = Mapping[str, Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EVENT_MESSAGE_LIMIT = 1024  # characters; what Kubernetes itself writes is no longer
EVENT_WORD_LIMIT = 128


def workload(job: Json, pods: Iterable[Pod], warning: str | None = None) -> Workload:
    """One Job's JSON as a Workload, with its pods, which may come in any order."""
    metadata, spec, status = job["metadata"], job.get("spec") or {}, job.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
    outcome = next((kind for kind in Outcome if kind in conditions), None)
    condition = conditions[outcome] if outcome else {}
    finished = status.get("completionTime") or condition.get("lastTransitionTime")
    return Workload(
        job_id=metadata["labels"][labels.JOB],
        namespace=metadata["namespace"],
        pods=oldest_first(pods),
        suspended=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in metadata,
        outcome=outcome,
        outcome_reason=condition.get("reason"),
        outcome_message=condition.get("message"),
        finished_at=_time(finished) if outcome and finished else None,
        warning=warning,
    )


def oldest_first(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    return tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name)))


def pod(value: Json) -> Pod:
    """One pod's JSON as a Pod."""
    metadata, status = value["metadata"], value.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled") or {}
    disrupted = conditions.get("DisruptionTarget") or {}
    container = _container(status.get("containerStatuses"), CONTAINER)
    state = container.get("state") or {}
    waiting, running, ended = (state.get(k) or {} for k in ("waiting", "running", "terminated"))
    unpacking = _container(status.get("initContainerStatuses"), BUNDLE_CONTAINER).get("state") or {}
    waiting = unpacking.get("waiting") or waiting
    started = running.get("startedAt") or ended.get("startedAt")
    return Pod(
        name=metadata["name"],
        phase=status.get("phase") or "Pending",
        created_at=_time(metadata["creationTimestamp"]),
        rank=int((metadata.get("annotations") or {}).get(labels.COMPLETION_INDEX) or 0),
        node=(value.get("spec") or {}).get("nodeName"),
        reason=status.get("reason"),
        message=status.get("message"),
        unschedulable=scheduled.get("message") if scheduled.get("status") == "False" else None,
        disrupted=disrupted.get("message") if disrupted.get("status") == "True" else None,
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message"),
        started_at=_time(started) if started else None,
        finished_at=_time(ended["finishedAt"]) if ended.get("finishedAt") else None,
        restarts=container.get("restartCount") or 0,
        exit_code=ended.get("exitCode"),
        terminated_reason=ended.get("reason"),
        termination_message=ended.get("message"),
        bundle_failure=_bundle_failure(unpacking.get("terminated") or {}),
        ends_by=_ends_by(metadata),
    )


def event(value: Json) -> Event:
    """One core/v1 Event's JSON; newer writers fill `eventTime` and `series`, older ones `lastTimestamp`.

    Its name is its key, and not its uid: a writer whose Event the cluster has forgotten creates it again
    under the same name, and goes on counting.
    """
    series = value.get("series") or {}
    about = value.get("involvedObject") or {}
    metadata = value["metadata"]
    written = value.get("eventTime") or metadata["creationTimestamp"]
    return Event(
        type=_text(value.get("type") or "Normal", EVENT_WORD_LIMIT),
        reason=_text(value.get("reason"), EVENT_WORD_LIMIT),
        message=_text(value.get("message"), EVENT_MESSAGE_LIMIT),
        timestamp=_time(series.get("lastObservedTime") or value.get("lastTimestamp") or written),
        first_timestamp=_exact(_time(value.get("firstTimestamp") or written), metadata["name"]),
        count=series.get("count") or value.get("count") or 1,
        object=f"{about.get('kind', '')}/{about.get('name', '')}",
        key=metadata["name"],
    )


def _ends_by(metadata: Json) -> datetime | None:
    """A deletionTimestamp is when the grace period ends, not when it began. A pod without one waits for no
    node: it was deleted by force, or has ended, and stays for somebody's finalizer only."""
    at, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    return _time(at) if at and grace else None


def _container(statuses: Iterable[Json] | None, name: str) -> Json:
    return next((one for one in statuses or () if one.get("name") == name), {})


def _bundle_failure(ended: Json) -> str | None:
    if not ended.get("exitCode"):
        return None
    return ended.get("message") or f"it ended with exit code {ended['exitCode']} ({ended.get('reason')})"


def _exact(moment: datetime, name: str) -> datetime:
    """The moment within its second. Times of Events are whole seconds, in which much happens; but writers end
    an Event's name with its first time, in nanoseconds since 1970 and in hexadecimal digits."""
    try:
        exact = _EPOCH + timedelta(microseconds=int(name.rpartition(".")[2], 16) // 1000)
    except (ValueError, OverflowError):
        return moment
    return exact if moment <= exact < moment + timedelta(seconds=1) else moment


def _text(value: str | None, limit: int) -> str:
    """Cut short, and without half surrogate pairs, which UTF-8 does not take."""
    return (value or "")[:limit].encode(errors="replace").decode()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
