"""Reads a workload: how far it is, how it ended, and why, in words that a person can act on."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chalicelib.domain.job import Job, Reason
from chalicelib.domain.observed import Outcome, Pod, Workload
from chalicelib.domain.states import Status

MESSAGE_LIMIT = 1024  # characters of a reason's message that the record keeps
METRICS_DEPTH = 8  # levels; their size is bounded by the termination message, of which Kubernetes keeps 4 KiB

_PULL_PROBLEMS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
}
_NEVER_STARTED = frozenset(("StartError", "ContainerCannotRun"))
_START_PROBLEMS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
}


def ended(observed: Workload, now: datetime) -> dict[str, Any]:
    """The record's changes for a workload whose Job has an outcome."""
    last = _telling_pod(observed)
    started = [pod.started_at for pod in observed.pods if pod.started_at]
    changes: dict[str, Any] = {"finished_at": observed.finished_at or now}
    if started:
        changes["started_at"] = min(started)
    if last is not None:
        changes |= {"exit_code": last.exit_code, **_named_by_the_job(last)}
    if observed.outcome == Outcome.COMPLETE:
        done = sum(pod.phase == "Succeeded" for pod in observed.pods)
        message = f"all {done} pods ended with exit code 0" if done > 1 else "ended with exit code 0"
        return changes | {"status": Status.SUCCEEDED, "reason": Reason.COMPLETED, "message": message}
    reason, message = _why_failed(observed, last)
    return changes | {"status": Status.FAILED, "reason": reason, "message": message[:MESSAGE_LIMIT]}


def progress(job: Job, observed: Workload) -> dict[str, Any]:
    """The record's changes for a workload that goes on. A job that ran once never goes back to pending."""
    started = [pod.started_at for pod in observed.pods if pod.started_at]
    changes: dict[str, Any] = {}
    if started and job.started_at is None:
        changes["started_at"] = min(started)
    running = [
        pod for pod in observed.pods if pod.phase == "Running" and pod.started_at and not pod.finished_at
    ]
    failures = [pod for pod in observed.pods if pod.phase == "Failed"]
    if running:
        changes |= _says(Reason.RUNNING, _running_on(running))
    elif failures and observed.pods[-1] in failures:
        changes |= _says(Reason.RETRYING, f"{_exit_in_words(failures[-1])}; a new pod will be started")
    else:
        changes |= _says(*_waiting(observed))
    if job.status == Status.PENDING and started:
        changes["status"] = Status.RUNNING
    return changes


def waiting_for_the_end(observed: Workload) -> str:
    """What a job that is being stopped still waits for."""
    left = [pod for pod in observed.pods if pod.exit_code is None]
    if not left:
        return "its pods have ended; the cluster is clearing them away"
    node = f" on node {left[0].node}" if left[0].node else ""
    return f"waiting for pod {left[0].name}{node} to end" + (f" and {len(left) - 1} more" if left[1:] else "")


def _waiting(observed: Workload) -> tuple[Reason, str]:
    if observed.suspended:
        return Reason.QUEUED, "waiting for its queue to admit it"
    waiting = [pod for pod in observed.pods if pod.phase == "Pending"]
    for pod in waiting:
        if pod.waiting_reason in _PULL_PROBLEMS:
            detail = pod.waiting_message or pod.waiting_reason or ""
            return Reason.IMAGE_PULL_BACK_OFF, f"the image cannot be pulled: {detail}"
        if pod.waiting_reason in _START_PROBLEMS:
            return Reason.CONTAINER_START_FAILED, f"{pod.waiting_reason}: {pod.waiting_message or ''}"
    for pod in waiting:
        if pod.unschedulable:
            return Reason.UNSCHEDULABLE, pod.unschedulable
    if waiting:
        node = next((pod.node for pod in waiting if pod.node), None)
        return Reason.STARTING, f"its container starts on node {node}" if node else "waiting for a node"
    if observed.pods:
        return Reason.RUNNING, "its pods have ended; the cluster has yet to say how the job did"
    if observed.warning:
        return Reason.POD_CREATION_FAILED, observed.warning
    return Reason.SUBMITTED, "handed to the cluster; its pods are not created yet"


def _says(reason: Reason, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message[:MESSAGE_LIMIT]}


def _running_on(running: Sequence[Pod]) -> str:
    nodes = sorted({pod.node for pod in running if pod.node})
    where = f"on node {nodes[0]}" if len(nodes) == 1 else f"on {len(nodes)} nodes"
    return f"running {where}" if len(running) == 1 else f"{len(running)} pods running {where}"


def _why_failed(observed: Workload, last: Pod | None) -> tuple[Reason, str]:
    if observed.outcome_reason == "DeadlineExceeded":
        return Reason.DEADLINE_EXCEEDED, "it ran longer than its max_runtime_seconds"
    if last is None:
        detail = observed.outcome_message or observed.outcome_reason or "no more is known"
        return Reason.PODS_GONE, f"its pods are gone, and why they failed with them: {detail}"
    if last.bundle_failure is not None:
        return Reason.BUNDLE_FAILED, _exit_in_words(last)
    if last.terminated_reason == "OOMKilled":
        return Reason.OOM_KILLED, "it used more memory than it asked for; raise memory or use less"
    if last.terminated_reason in _NEVER_STARTED:
        return Reason.CONTAINER_START_FAILED, _exit_in_words(last)
    if last.reason == "Evicted":
        return Reason.EVICTED, f"its node pushed it out: {last.message or 'no more is known'}"
    if last.disrupted or last.reason in ("NodeLost", "NodeShutdown", "Terminated", "Shutdown"):
        return Reason.NODE_LOST, last.disrupted or last.message or f"its node went away: {last.reason}"
    if last.exit_code is None and last.reason is not None:
        return Reason.POD_REJECTED, f"its node refused the pod: {last.message or last.reason}"
    if last.exit_code is None:
        return Reason.NODE_LOST, last.message or "its container ended without an exit code"
    return Reason.EXIT_CODE, _exit_in_words(last)


def _exit_in_words(pod: Pod) -> str:
    if pod.bundle_failure is not None:
        return f"its code could not be unpacked: {pod.bundle_failure.strip()}"
    if pod.exit_code is None:
        return f"pod {pod.name} failed: {pod.message or pod.reason or 'no more is known'}"
    if pod.terminated_reason in _NEVER_STARTED:
        return f"its command could not be started: {pod.termination_message or pod.terminated_reason}"
    words = f"exit code {pod.exit_code}"
    if pod.exit_code > 128:
        words += f" ({_signal_name(pod.exit_code - 128)})"
    if pod.termination_message:
        words += f": {pod.termination_message.strip()[-400:]}"
    return words


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _telling_pod(observed: Workload) -> Pod | None:
    """The pod whose end explains the job's: the last that failed, or rank 0 where all went well."""
    if observed.outcome == Outcome.FAILED:
        failed = [pod for pod in observed.pods if pod.phase == "Failed"]
        return failed[-1] if failed else (observed.pods[-1] if observed.pods else None)
    succeeded = [pod for pod in observed.pods if pod.phase == "Succeeded"]
    return min(succeeded, key=lambda pod: pod.rank) if succeeded else None


def _named_by_the_job(pod: Pod) -> dict[str, Any]:
    """model_id and metrics, if the container's termination message is the JSON object that names them."""
    try:
        said = json.loads(pod.termination_message or "", parse_constant=lambda _: None, parse_float=_finite)
        depth = _depth(said)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    named: dict[str, Any] = {}
    model_id, metrics = said.get("model_id"), said.get("metrics")
    if isinstance(model_id, int) and not isinstance(model_id, bool) and 0 < model_id < 2**53:
        named["model_id"] = model_id
    if isinstance(metrics, dict) and depth <= METRICS_DEPTH:
        named["metrics"] = metrics
    return named


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
