"""What create requests of both dialects have in common: optional fields, and the way to the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.api import fields
from chalicelib.api.refusals import Dialect
from chalicelib.api.requests import Call
from chalicelib.domain.job import Job
from chalicelib.errors import FieldError, InvalidRequest
from chalicelib.services.submission import JobRequest, Rendered, Submission, resolve
from chalicelib.settings import Settings


class ResourceFields(fields.Fields):
    """`resources`: what one pod asks for; the pool gives what is left out."""

    cpu: fields.Cpu | None = None
    memory: fields.Memory | None = None
    gpu: fields.Gpu | None = None


class CreateFields(fields.Fields):
    """The fields that both dialects take beside the required ones, in Python's case. null means left out."""

    description: fields.Description | None = None
    workspace_id: fields.Id | None = None
    dataset_id: fields.Id | None = None
    framework: fields.ShortName | None = None
    script_path: fields.ScriptPath | None = None
    image: fields.Image | None = None
    command: fields.Command | None = None
    resource_pool_id: fields.ShortName | None = None
    queue: fields.ShortName | None = None
    resources: ResourceFields | None = None
    priority: fields.Priority | None = None
    env: fields.Env | None = None
    nodes: fields.Nodes | None = None
    max_retries: fields.Retries | None = None
    max_runtime_seconds: fields.Runtime | None = None
    labels: fields.Labels | None = None
    client_token: fields.Token | None = None
    dry_run: fields.Flag | None = None

    def job_request(self, **own: Any) -> JobRequest:
        """The service's request; `own` are the fields that each dialect names in its own way."""
        given = self.model_dump(exclude={"resources", "client_token", "dry_run", "resource_pool_id"})
        given |= {"pool": self.resource_pool_id, **(self.resources.model_dump() if self.resources else {})}
        given |= {name: value for name, value in own.items() if value is not None}
        known = JobRequest.__dataclass_fields__
        return JobRequest(
            **{key: value for key, value in given.items() if value is not None and key in known}
        )


@dataclass(frozen=True, slots=True)
class Creation:
    """A create request of either dialect, within its bounds."""

    request: JobRequest
    client_token: str | None
    dry_run: bool


def create(call: Call, submission: Submission, creation: Creation, dialect: Dialect) -> Job | Rendered:
    """Submit the job, or render it for a dry run. Raises as Submission does, in the dialect's field names."""
    key = call.idempotency_key(creation.client_token, dialect.names.get("client_token", "client_token"))
    try:
        if creation.dry_run:
            return submission.render(call.caller, creation.request)
        return submission.submit(call.caller, creation.request, key)
    except InvalidRequest as error:
        raise InvalidRequest([_renamed(wrong, dialect) for wrong in error.errors]) from error


def unknown_names(given: Mapping[str, Any], settings: Settings, dialect: Dialect) -> Iterator[FieldError]:
    """Pools, queues and frameworks that do not exist, found before the other fields are known to be right,
    so that a caller hears of all that is wrong at once."""
    names = {field: given.get(dialect.names.get(field, field)) for field in ("pool", "queue", "framework")}
    texts = {field: value for field, value in names.items() if isinstance(value, str) and value}
    try:
        probe = JobRequest(
            name="-",
            image="-",
            command=["-"],
            pool=texts.get("pool"),
            queue=texts.get("queue"),
            framework=texts.get("framework"),
        )
        resolve(probe, settings.pools, settings.images)
    except InvalidRequest as error:
        yield from (_renamed(wrong, dialect) for wrong in error.errors)


def _renamed(error: FieldError, dialect: Dialect) -> FieldError:
    return replace(error, field=dialect.names.get(error.field, error.field))
