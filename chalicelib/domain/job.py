"""A training job: what was asked for (JobSpec) and what became of it (Job). Both are immutable values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from chalicelib.domain.pods import PodRecord
from chalicelib.domain.states import TERMINAL, Status, check_transition


class Reason(StrEnum):
    """Why a job is where it is: one word that programs may match; `message` says it in full."""

    ACCEPTED = "Accepted"
    QUEUED = "Queued"
    SUBMITTED = "Submitted"
    STARTING = "Starting"
    BUNDLE_FAILED = "BundleFailed"
    RUNNING = "Running"
    RETRYING = "Retrying"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    CONTAINER_START_FAILED = "ContainerStartFailed"
    POD_CREATION_FAILED = "PodCreationFailed"
    NAMESPACE_MISSING = "NamespaceMissing"
    CLUSTER_UNAVAILABLE = "ClusterUnavailable"
    POOL_MISSING = "PoolMissing"
    CLUSTER_FORBIDS = "ClusterForbids"
    CLUSTER_REJECTED = "ClusterRejected"
    COMPLETED = "Completed"
    OOM_KILLED = "OOMKilled"
    EXIT_CODE = "ExitCode"
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"
    POD_REJECTED = "PodRejected"
    PODS_GONE = "PodsGone"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    JOB_DELETED = "JobDeleted"
    STOP_REQUESTED = "StopRequested"
    PODS_STUCK = "PodsStuck"
    STOPPED = "Stopped"
    DELETE_REQUESTED = "DeleteRequested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one pod asks for: whole CPU cores, bytes of memory, GPUs."""

    cpu: int
    memory: int
    gpu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the caller asked for, defaults filled in: image, command and pool are resolved."""

    name: str
    image: str
    command: tuple[str, ...]
    resources: Resources
    pool: str
    queue: str | None = None
    description: str | None = None
    framework: str | None = None
    script_path: str | None = None
    workspace_id: int | None = None
    dataset_id: int | None = None
    priority: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    max_retries: int = 0
    max_runtime_seconds: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    bundle: str | None = None  # the code: s3://bucket/key?versionId=…, unpacked to /workspace

    @property
    def env_id(self) -> str:
        """The resolved run environment: the same image and framework give the same id."""
        digest = hashlib.sha256(f"{self.framework or ''}\n{self.image}".encode()).hexdigest()
        return f"env-{digest[:10]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job's record. `version` starts at 1 and grows by one with every write; times are UTC."""

    id: str
    tenant: str
    spec: JobSpec
    status: Status
    reason: str
    message: str
    version: int
    created_at: datetime
    updated_at: datetime
    created_by: str = ""
    source: str | None = None  # the job file that it came in: s3://bucket/key
    trace: str | None = None  # of the request that asked for what the record asks for, if it is recorded
    submitted_at: datetime | None = None  # its Kubernetes Job is known to have been created
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deleted_at: datetime | None = None  # a tombstone: hidden, kept until the cluster is clean
    pods: tuple[PodRecord, ...] = ()  # oldest first
    exit_code: int | None = None
    model_id: int | None = None
    metrics: Mapping[str, Any] | None = None

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None

    @property
    def log_fields(self) -> dict[str, str]:
        """What lines of the log about it carry as fields of their own: `extra`."""
        fields = {"job_id": self.id, "tenant": self.tenant, "pool": self.spec.pool}
        return fields | ({"xray_trace_id": self.trace.partition(":")[0]} if self.trace else {})

    @property
    def pod_names(self) -> tuple[str, ...]:
        return tuple(pod.name for pod in self.pods)

    def changed(self, now: datetime, **changes: Any) -> Job:
        """The next version of the record; a change of status must be in the table of transitions."""
        status = changes.get("status", self.status)
        if status != self.status:
            check_transition(self.status, status)
        return replace(self, version=self.version + 1, updated_at=now, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """What a list shows of a job: exactly the attributes that the table's indexes project."""

    id: str
    tenant: str
    name: str
    status: Status
    reason: str
    message: str
    pool: str
    cpu: int
    gpu: int
    created_at: datetime
    queue: str | None = None
    framework: str | None = None
    workspace_id: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
