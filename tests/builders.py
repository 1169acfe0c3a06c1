"""Jobs, pods and workloads for tests: valid by default, each test says only what matters to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.job import Job, JobSpec, Reason, Resources
from chalicelib.domain.observed import Pod, Workload
from chalicelib.domain.pods import PodRecord
from chalicelib.domain.pools import Pool
from chalicelib.domain.states import Status

NOW = datetime(2026, 1, 26, 10, 0, tzinfo=UTC)
GIB = 1024**3
JOB_ID = "job-01kfwq4v80aaaaaaaaaaaaaaaa"
POOL = Pool(id="default", cluster="default")
NAMESPACE = "trainyard-acme"


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def spec(**changes: Any) -> JobSpec:
    values: dict[str, Any] = {
        "name": "ResNet Training",
        "image": "registry/image:tag",
        "command": ("python", "train.py"),
        "resources": Resources(cpu=8, memory=32 * GIB, gpu=2),
        "pool": "default",
    }
    return JobSpec(**(values | changes))


def job(status: Status = Status.PENDING, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": JOB_ID,
        "tenant": "acme",
        "spec": spec(),
        "status": status,
        "reason": Reason.ACCEPTED,
        "message": "",
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
        "created_by": "ada",
    }
    return Job(**(values | changes))


def pod(**changes: Any) -> Pod:
    values: dict[str, Any] = {"name": f"{JOB_ID}-abcde", "phase": "Pending", "created_at": NOW}
    return Pod(**(values | changes))


def running_pod(**changes: Any) -> Pod:
    return pod(**({"phase": "Running", "node": "node1", "started_at": later(3)} | changes))


def ended_pod(exit_code: int, **changes: Any) -> Pod:
    values: dict[str, Any] = {
        "phase": "Failed" if exit_code else "Succeeded",
        "exit_code": exit_code,
        "terminated_reason": "Error" if exit_code else "Completed",
        "started_at": later(3),
        "finished_at": later(9),
    }
    return pod(**(values | changes))


def pods(*names: str) -> tuple[PodRecord, ...]:
    """As a record remembers them, each on rank 0."""
    return tuple(PodRecord(name=name) for name in names)


def workload(*pods: Pod, **changes: Any) -> Workload:
    values: dict[str, Any] = {
        "job_id": JOB_ID,
        "namespace": NAMESPACE,
        "pods": pods,
    }
    return Workload(**(values | changes))
