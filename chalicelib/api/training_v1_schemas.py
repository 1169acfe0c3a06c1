"""The requests and answers of the training-v1 dialect: snake_case, `{"code", "message", "data"}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from chalicelib.api import fields
from chalicelib.api.creation import CreateFields, Creation, unknown_names
from chalicelib.api.logs import Following, Lines
from chalicelib.api.refusals import Dialect, Failure
from chalicelib.api.requests import depth_errors
from chalicelib.api.strict_json import Parsed
from chalicelib.domain.job import Job, JobSummary
from chalicelib.domain.moments import timestamp
from chalicelib.domain.states import Status
from chalicelib.errors import FieldError, InvalidRequest
from chalicelib.services.ports import JobPage, ListQuery
from chalicelib.settings import Settings

AMOUNTS = ("cpu", "memory", "gpu")
STATUS_WORDS: Mapping[str, Status] = {status.value: status for status in Status}


class CreateBody(CreateFields):
    """`POST /api/v1/training/jobs`."""

    name: fields.Name
    framework: fields.ShortName
    script_path: fields.ScriptPath
    cpu: fields.Cpu | None = None  # required here or in `resources`
    memory: fields.Memory | None = None
    gpu: fields.Gpu | None = None


class ListParameters(fields.Fields):
    """The query of `GET /api/v1/training/jobs`."""

    page: Annotated[int, fields.whole_text(1, 100_000)] = 1
    page_size: Annotated[int, fields.whole_text(1, 100)] = 20
    status: Annotated[Status, fields.one_of(STATUS_WORDS)] | None = None
    workspace_id: Annotated[int, fields.whole_text(1, 2**53 - 1)] | None = None

    def list_query(self) -> ListQuery:
        if wrong := list(depth_errors("page", self.page, self.page_size)):
            raise InvalidRequest(wrong)
        return ListQuery(tenant=None, **self.model_dump())


class LogParameters(Following):
    """The query of `GET …/{job_id}/logs`."""

    lines: Lines | None = None


def failure(wrong: Failure) -> dict[str, Any]:
    return {"code": wrong.number, "message": wrong.message, "data": None}


DIALECT = Dialect(
    failure=failure, status_word=lambda status: status.value, names={"pool": "resource_pool_id"}
)


def creation(parsed: Parsed, settings: Settings) -> Creation:
    """A create request. Raises InvalidRequest."""
    others = [*_amount_errors(parsed.fields), *unknown_names(parsed.fields, settings, DIALECT)]
    body = fields.validate(CreateBody, parsed, others)
    request = body.job_request(cpu=body.cpu, memory=body.memory, gpu=body.gpu)
    return Creation(request, body.client_token, bool(body.dry_run))


def success(message: str, **data: Any) -> dict[str, Any]:
    """The envelope; without `data` for answers that have none."""
    return {"code": 0, "message": message, **data}


def created(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "name": job.spec.name,
        "status": job.status.value,
        "created_at": timestamp(job.created_at),
    }


def listed(page: JobPage, query: ListQuery) -> dict[str, Any]:
    pagination: dict[str, Any] = {
        "page": query.page,
        "page_size": query.page_size,
        "total": page.total,
        "total_pages": -(-page.total // query.page_size),
    }
    if not page.total_is_exact:
        pagination["total_is_exact"] = False
    return {"items": [item(job) for job in page.items], "pagination": pagination}


def item(job: JobSummary) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "name": job.name,
        "status": job.status.value,
        "reason": job.reason,
        "message": job.message,
        "framework": job.framework,
        "cpu": job.cpu,
        "gpu": job.gpu,
        "started_at": timestamp(job.started_at),
        "created_at": timestamp(job.created_at),
    }


def detail(job: Job) -> dict[str, Any]:
    spec = job.spec
    return {
        "job_id": job.id,
        "name": spec.name,
        "description": spec.description,
        "status": job.status.value,
        "reason": job.reason,
        "message": job.message,
        "framework": spec.framework,
        "script_path": spec.script_path,
        "image": spec.image,
        "command": list(spec.command),
        "workspace_id": spec.workspace_id,
        "dataset_id": spec.dataset_id,
        "model_id": job.model_id,
        "metrics": job.metrics,
        "cpu": spec.resources.cpu,
        "memory": spec.resources.memory,
        "gpu": spec.resources.gpu,
        "priority": spec.priority,
        "resource_pool_id": spec.pool,
        "queue": spec.queue,
        "nodes": spec.nodes,
        "max_retries": spec.max_retries,
        "max_runtime_seconds": spec.max_runtime_seconds,
        "env": dict(spec.env),
        "labels": dict(spec.labels),
        "bundle": spec.bundle,
        "source": job.source,
        "env_id": spec.env_id,
        "pods": list(job.pod_names),
        "exit_code": job.exit_code,
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "created_at": timestamp(job.created_at),
        "updated_at": timestamp(job.updated_at),
    }


def _amount_errors(given: Mapping[str, Any]) -> Iterator[FieldError]:
    nested = given.get("resources")
    nested = nested if isinstance(nested, Mapping) else {}
    for name in AMOUNTS:
        if given.get(name) is not None and nested.get(name) is not None:
            yield FieldError(f"resources.{name}", "given_twice", nested[name], {"other": name})
        elif given.get(name) is None and nested.get(name) is None:
            yield FieldError(name, "missing")
