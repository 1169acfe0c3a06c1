"""A Job as an item of the table, and back.

What an index projects or an expression names is an attribute of its own; the rest of the spec is one JSON
document, because botocore spends more time on each nested attribute value than `json` on all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.job import Job, JobSpec, JobSummary, Resources
from chalicelib.domain.pods import PodRecord
from chalicelib.domain.state_change import StateChange
from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from chalicelib.store.keys import index_keys, job_key

Item = Mapping[str, Mapping[str, Any]]

# Raised when older code must not write over what newer code wrote; an added optional attribute does not.
SCHEMA = 1

MAX_ITEM_BYTES = 400 * 1024  # DynamoDB's own limit

_SPEC_ATTRIBUTES = ("name", "pool", "queue", "framework")
_SPEC_NUMBERS = ("workspace_id",)
_SPEC_DOCUMENT = tuple(
    field.name
    for field in fields(JobSpec)
    if field.name not in {*_SPEC_ATTRIBUTES, *_SPEC_NUMBERS, "resources"}
)
_POD_DEFAULTS = {field.name: field.default for field in fields(PodRecord)}
_POD_TIMES = ("created_at", "started_at", "finished_at")
_TEXTS = ("id", "tenant", "status", "reason", "message", "created_by", "source", "trace")
_NUMBERS = ("version", "exit_code", "model_id")
_TIMES = ("created_at", "updated_at", "submitted_at", "started_at", "finished_at", "deleted_at")


def to_item(job: Job, was: Job | None = None) -> Item:
    """The whole item of `job`. `from_status` is in it only when this write changes the status: the outbox
    reads off the new image alone that, and out of what, a job moved."""
    spec = job.spec
    texts: dict[str, str | None] = {name: getattr(job, name) for name in _TEXTS}
    texts |= {name: getattr(spec, name) for name in _SPEC_ATTRIBUTES}
    texts |= {name: _to_time(getattr(job, name)) for name in _TIMES}
    texts |= index_keys(job)
    texts["search"] = search_text(spec.name, job.id)
    texts["spec"] = _to_json(
        {"memory": spec.resources.memory} | {name: getattr(spec, name) for name in _SPEC_DOCUMENT}
    )
    texts["pod_records"] = json.dumps([_from_pod(pod) for pod in job.pods]) if job.pods else None
    # Escaped: a container may write half a surrogate pair, which UTF-8 does not take.
    texts["metrics"] = None if job.metrics is None else json.dumps(job.metrics)
    if was is not None and was.status != job.status:
        texts["from_status"] = was.status
    numbers: dict[str, int | None] = {name: getattr(job, name) for name in _NUMBERS}
    numbers |= {name: getattr(spec, name) for name in _SPEC_NUMBERS}
    numbers |= {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu, "schema": SCHEMA}
    item: dict[str, Mapping[str, Any]] = dict(job_key(job.id))
    item.update((name, {"S": str(value)}) for name, value in texts.items() if value is not None)
    item.update((name, {"N": str(value)}) for name, value in numbers.items() if value is not None)
    return item


def from_item(item: Item) -> Job:
    """The job of a whole item. Attributes that this release does not know are ignored.

    Raises StoreUnavailable for a schema of a newer release, which this one would cut down when it writes.
    """
    if (schema := int(item["schema"]["N"])) > SCHEMA:
        raise StoreUnavailable(f"{item['id']['S']} has schema {schema}; this release knows {SCHEMA}")
    return Job(
        id=item["id"]["S"],
        tenant=item["tenant"]["S"],
        spec=_to_spec(item),
        status=Status(item["status"]["S"]),
        reason=item["reason"]["S"],
        message=item["message"]["S"],
        version=int(item["version"]["N"]),
        created_at=datetime.fromisoformat(item["created_at"]["S"]),
        updated_at=datetime.fromisoformat(item["updated_at"]["S"]),
        created_by=_text(item, "created_by") or "",
        source=_text(item, "source"),
        trace=_text(item, "trace"),
        submitted_at=_time(item, "submitted_at"),
        started_at=_time(item, "started_at"),
        finished_at=_time(item, "finished_at"),
        deleted_at=_time(item, "deleted_at"),
        pods=_to_pods(item),
        exit_code=_number(item, "exit_code"),
        model_id=_number(item, "model_id"),
        metrics=json.loads(item["metrics"]["S"]) if "metrics" in item else None,
    )


def to_state_change(item: Item) -> StateChange:
    """What the write that made this image of a record changed. Raises StoreUnavailable like from_item."""
    was = _text(item, "from_status")
    return StateChange(job=from_item(item), was=Status(was) if was else None)


def to_summary(item: Item) -> JobSummary:
    """What an index entry says of a job: all that the indexes project but `search`."""
    return JobSummary(
        id=item["id"]["S"],
        tenant=item["tenant"]["S"],
        name=item["name"]["S"],
        status=Status(item["status"]["S"]),
        reason=item["reason"]["S"],
        message=item["message"]["S"],
        pool=item["pool"]["S"],
        cpu=int(item["cpu"]["N"]),
        gpu=int(item["gpu"]["N"]),
        created_at=datetime.fromisoformat(item["created_at"]["S"]),
        queue=_text(item, "queue"),
        framework=_text(item, "framework"),
        workspace_id=_number(item, "workspace_id"),
        started_at=_time(item, "started_at"),
        finished_at=_time(item, "finished_at"),
    )


def search_text(name: str, job_id: str) -> str:
    """What a keyword is looked for in. The id is there because a filter may not name an index's key."""
    return f"{name.casefold()}\n{job_id}"


def to_time(moment: datetime) -> str:
    """UTC in one width, so that the order of the texts is the order of the times."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def item_bytes(item: Item) -> int:
    """The size of an item as DynamoDB counts it (numbers: a little too high)."""
    return sum(len(name) + len(text.encode()) for name, value in item.items() for text in value.values())


def _to_spec(item: Item) -> JobSpec:
    document = json.loads(item["spec"]["S"])
    known = {name: document[name] for name in _SPEC_DOCUMENT if name in document}
    known["command"] = tuple(known["command"])
    return JobSpec(
        name=item["name"]["S"],
        pool=item["pool"]["S"],
        queue=_text(item, "queue"),
        framework=_text(item, "framework"),
        workspace_id=_number(item, "workspace_id"),
        resources=Resources(cpu=int(item["cpu"]["N"]), memory=document["memory"], gpu=int(item["gpu"]["N"])),
        **known,
    )


def _from_pod(pod: PodRecord) -> dict[str, Any]:
    """Without what is not known: there may be hundreds."""
    known = {field.name: getattr(pod, field.name) for field in fields(pod)}
    known |= {name: known[name] and known[name].isoformat() for name in _POD_TIMES}
    return {name: value for name, value in known.items() if value not in (None, _POD_DEFAULTS[name])}


def _to_pods(item: Item) -> tuple[PodRecord, ...]:
    """`pods` is what earlier releases wrote: names."""
    if "pod_records" not in item:
        return tuple(PodRecord(name=name) for name in json.loads(_text(item, "pods") or "[]"))
    pods = []
    for document in json.loads(item["pod_records"]["S"]):
        known = {name: value for name, value in document.items() if name in _POD_DEFAULTS}
        times = {name: datetime.fromisoformat(known[name]) for name in _POD_TIMES if name in known}
        pods.append(PodRecord(**known | times))
    return tuple(pods)


def _to_time(moment: datetime | None) -> str | None:
    return None if moment is None else to_time(moment)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _text(item: Item, name: str) -> str | None:
    return item[name]["S"] if name in item else None


def _number(item: Item, name: str) -> int | None:
    return int(item[name]["N"]) if name in item else None


def _time(item: Item, name: str) -> datetime | None:
    return datetime.fromisoformat(item[name]["S"]) if name in item else None
