"""The table's keys and indexes: the one place that knows how a partition's name is put together.

Tenants and workspaces are escaped where they meet a separator, so that no two things share a partition.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ulid import ULID

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status

JOB = "JOB"
EVENT = "EVENT#"

ALL = "ALL"
DELETING = "deleting"  # the pseudo-status of tombstones in ALL_BY_STATUS

Key = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Index:
    """A sparse index: only items with the attribute `key` are in it, ordered by their job id."""

    name: str
    key: str


BY_TENANT = Index("by-tenant", "list_tenant")
BY_STATUS = Index("by-status", "list_status")
BY_WORKSPACE = Index("by-workspace", "list_workspace")
BY_WORKSPACE_STATUS = Index("by-workspace-status", "list_workspace_status")
ALL_JOBS = Index("all", "list_all")
ALL_BY_STATUS = Index("all-by-status", "list_all_status")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a set of counters counts: all jobs, a tenant's, or those of a tenant's workspace."""

    tenant: str | None
    workspace_id: int | None = None


def job_key(job_id: str) -> Key:
    return _key(f"JOB#{job_id}", JOB)


def event_key(job_id: str, first_at: str, key: str) -> Key:
    """An event beside its job's record. By time first; whatever its own key is, a digest is fit for ours."""
    return event_position_key(job_id, f"{first_at}#{hashlib.sha256(key.encode()).hexdigest()[:32]}")


def event_position_key(job_id: str, position: str) -> Key:
    return _key(job_key(job_id)["pk"]["S"], f"{EVENT}{position}")


def idempotency_key(tenant: str, key: str) -> Key:
    """The caller's key comes last and whole: what it contains cannot be taken for anything else."""
    return _key(f"IDEM#{_part(tenant)}#{key}", "IDEM")


def lease_key(name: str) -> Key:
    return _key(f"LEASE#{name}", "LEASE")


def page_key(name: str) -> Key:
    return _key(f"PAGE#{name}", "PAGE")


def feed_key(feed: str) -> Key:
    return _key(f"FEED#{feed}", "FEED")


def upload_key(bucket: str, status_key: str) -> Key:
    """What is known of the status file of that key. A bucket's name has no `#`."""
    return _key(f"UPLOAD#{bucket}#{status_key}", "UPLOAD")


def ticket_key(ticket_id: str) -> Key:
    return _key(f"TICKET#{ticket_id}", "TICKET")


def counter_partition(tenant: str | None, shard: int) -> str:
    """A shard is a partition of its own, and holds the tenant's counters and all its workspaces'."""
    return f"COUNTS-{ALL}#{shard}" if tenant is None else f"COUNTS#{_part(tenant)}#{shard}"


def counter_key(scope: Scope, shard: int) -> Key:
    inside = "TOTAL" if scope.workspace_id is None else f"WORKSPACE#{scope.workspace_id}"
    return _key(counter_partition(scope.tenant, shard), inside)


def scope_of_counter(tenant: str | None, item: Mapping[str, Mapping[str, str]]) -> Scope:
    kind, _, workspace_id = item["sk"]["S"].partition("#")
    return Scope(tenant, int(workspace_id)) if kind == "WORKSPACE" else Scope(tenant)


def shard_of(job_id: str, attempt: int, shards: int) -> int:
    """A job's own shard; each further attempt moves on by one, away from what it collided with."""
    return (zlib.crc32(job_id.encode()) + attempt) % shards


def listing(
    tenant: str | None, status: Status | None = None, workspace_id: int | None = None
) -> tuple[Index, str]:
    """The index, and the partition in it, that hold exactly the jobs asked for.

    Over all tenants there is no index by workspace: `workspace_id` must then be None.
    """
    if tenant is None:
        if workspace_id is not None:
            raise ValueError("no index has one workspace of all tenants")
        return (ALL_JOBS, ALL) if status is None else (ALL_BY_STATUS, status.value)
    name = _part(tenant)
    if workspace_id is None:
        return (BY_TENANT, name) if status is None else (BY_STATUS, f"{name}#{status.value}")
    if status is None:
        return BY_WORKSPACE, f"{name}#{workspace_id}"
    return BY_WORKSPACE_STATUS, f"{name}#{workspace_id}#{status.value}"


def index_keys(job: Job) -> dict[str, str]:
    """The index attributes of a job's item. A tombstone is in no list, and only in `deleting`."""
    if job.is_deleted:
        return {ALL_BY_STATUS.key: DELETING}
    places = [
        listing(job.tenant),
        listing(job.tenant, job.status),
        listing(None),
        listing(None, job.status),
    ]
    if (workspace_id := job.spec.workspace_id) is not None:
        places.append(listing(job.tenant, None, workspace_id))
        places.append(listing(job.tenant, job.status, workspace_id))
    return {index.key: partition for index, partition in places}


def id_bounds(created_from: datetime | None, created_to: datetime | None) -> tuple[str, str]:
    """The lowest and the highest id of a job created between the two, both included.

    An id knows its millisecond, and so do the bounds.
    """
    low = _milliseconds(created_from) if created_from else 0
    high = _milliseconds(created_to) if created_to else 2**48 - 1
    return _job_id(low, b"\x00"), _job_id(high, b"\xff")


def _milliseconds(moment: datetime) -> int:
    # The rounding of python-ulid's from_datetime, float error included: a bound computed otherwise could
    # miss a job of its own millisecond.
    return max(0, int(moment.astimezone(UTC).timestamp() * 1000))


def _job_id(milliseconds: int, fill: bytes) -> str:
    return f"job-{ULID.from_bytes(milliseconds.to_bytes(6, 'big') + fill * 10)}".lower()


def _part(text: str) -> str:
    return text.replace("%", "%25").replace("#", "%23")


def _key(pk: str, sk: str) -> Key:
    return {"pk": {"S": pk}, "sk": {"S": sk}}
