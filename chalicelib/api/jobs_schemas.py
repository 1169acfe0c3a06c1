"""The requests and answers of the jobs dialect: camelCase, `{"success", "data", "message"}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import ConfigDict, PlainValidator
from pydantic.alias_generators import to_camel

from chalicelib.api import fields
from chalicelib.api.creation import CreateFields, Creation, unknown_names
from chalicelib.api.jobs_dialect import DIALECT
from chalicelib.api.logs import Following, Lines
from chalicelib.api.requests import depth_errors, unknown_errors
from chalicelib.api.strict_json import Parsed
from chalicelib.domain.events import Event
from chalicelib.domain.job import Job, JobSpec, JobSummary
from chalicelib.domain.moments import timestamp
from chalicelib.domain.pods import PodRecord
from chalicelib.domain.states import Status
from chalicelib.errors import FieldError, InvalidRequest
from chalicelib.services.ports import JobPage, ListQuery
from chalicelib.settings import Settings

STATUS_WORDS: Mapping[str, Status] = {status.value.capitalize(): status for status in Status}
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:]{8}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.A
)


def _time(value: Any) -> datetime:
    if not isinstance(value, str) or not (match := _TIME.fullmatch(value)):
        raise fields.wrong("time")
    fraction = match[1] or ""
    try:
        moment = datetime.fromisoformat(
            value.upper().replace(fraction, fraction[:7], 1) if fraction else value.upper()
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise fields.wrong("time") from error


Time = Annotated[datetime, PlainValidator(_time)]


class CreateBody(CreateFields):
    """`POST /api/jobs/create`. `framework` may stand for `image`, and `scriptPath` for `command`."""

    model_config = ConfigDict(alias_generator=to_camel)

    job_name: fields.Name


class ListBody(fields.Fields):
    """`POST /api/jobs`. An empty keyword is none."""

    model_config = ConfigDict(alias_generator=to_camel)

    keyword: Annotated[str, PlainValidator(fields.text(0, 128))] | None = None
    status: Annotated[Status, fields.one_of(STATUS_WORDS)] | None = None
    page_number: Annotated[int, fields.whole(1, 100_000)] | None = None
    page_size: Annotated[int, fields.whole(1, 100)] | None = None
    queue: fields.ShortName | None = None
    resource_pool_id: fields.ShortName | None = None
    workspace_id: fields.Id | None = None
    start_time: Time | None = None
    end_time: Time | None = None

    def list_query(self, settings: Settings) -> ListQuery:
        """The service's query. Raises InvalidRequest for names that do not exist, and times in disorder."""
        page, size = self.page_number or 1, self.page_size or 20
        pool = settings.pools.get(self.resource_pool_id or "")
        pools = [pool] if pool else settings.pools.values()
        end = self.end_time
        wrong = [
            *depth_errors("pageNumber", page, size),
            *unknown_errors("resourcePoolId", self.resource_pool_id, settings.pools),
            *unknown_errors("queue", self.queue, (queue for pool in pools for queue in pool.queues)),
        ]
        if end and self.start_time and end < self.start_time:
            wrong.append(FieldError("endTime", "time_order", str(end), {"other": "startTime"}))
        if wrong:
            raise InvalidRequest(wrong)
        if end and not end.microsecond:
            end += timedelta(microseconds=999_999)  # answers show whole seconds: the whole second is meant
        return ListQuery(
            tenant=None,
            status=self.status,
            workspace_id=self.workspace_id,
            pool=self.resource_pool_id,
            queue=self.queue,
            keyword=self.keyword or None,
            created_from=self.start_time,
            created_to=end,
            page=page,
            page_size=size,
        )


class LogParameters(Following):
    """The query of `GET …/pods/{podName}/logs`."""

    model_config = ConfigDict(alias_generator=to_camel)

    tail_lines: Lines | None = None


class EventParameters(fields.Fields):
    """The query of `GET …/events`."""

    limit: Annotated[int, fields.whole_text(1, 1000)] = 100
    cursor: Annotated[str, PlainValidator(fields.text(1, 512))] | None = None


def creation(parsed: Parsed, settings: Settings) -> Creation:
    """A create request. Raises InvalidRequest."""
    others = [*_missing(parsed.fields), *unknown_names(parsed.fields, settings, DIALECT)]
    body = fields.validate(CreateBody, parsed, others)
    return Creation(body.job_request(name=body.job_name), body.client_token, bool(body.dry_run))


def listed(page: JobPage) -> dict[str, Any]:
    total: dict[str, Any] = {"totalCount": page.total}
    if not page.total_is_exact:
        total["totalIsExact"] = False
    return {"jobs": [item(job) for job in page.items], **total}


def item(job: JobSummary) -> dict[str, Any]:
    return {
        "jobId": job.id,
        "jobName": job.name,
        "status": DIALECT.status_word(job.status),
        "reason": job.reason,
        "message": job.message,
        "createdAt": timestamp(job.created_at),
    }


def detail(job: Job) -> dict[str, Any]:
    return {
        "jobId": job.id,
        "jobName": job.spec.name,
        "status": DIALECT.status_word(job.status),
        "reason": job.reason,
        "message": job.message,
        "config": _config(job.spec),
        "envId": job.spec.env_id,
        "modelId": job.model_id,
        "metrics": job.metrics,
        "pods": list(job.pod_names),
        "exitCode": job.exit_code,
        "source": job.source,
        "bundle": job.spec.bundle,
        "createdAt": timestamp(job.created_at),
        "startedAt": timestamp(job.started_at),
        "finishedAt": timestamp(job.finished_at),
        "updatedAt": timestamp(job.updated_at),
    }


def event(happened: Event) -> dict[str, Any]:
    return {
        "type": happened.type,
        "reason": happened.reason,
        "message": happened.message,
        "timestamp": timestamp(happened.timestamp),
        "firstTimestamp": timestamp(happened.first_timestamp),
        "count": happened.count,
        "object": happened.object,
    }


def pod(known: PodRecord) -> dict[str, Any]:
    return {
        "name": known.name,
        "rank": known.rank,
        "phase": known.phase,
        "node": known.node,
        "startedAt": timestamp(known.started_at),
        "finishedAt": timestamp(known.finished_at),
        "restarts": known.restarts,
        "exitCode": known.exit_code,
        "reason": known.reason,
    }


def _config(spec: JobSpec) -> dict[str, Any]:
    return {
        "description": spec.description,
        "image": spec.image,
        "command": list(spec.command),
        "framework": spec.framework,
        "scriptPath": spec.script_path,
        "resourcePoolId": spec.pool,
        "queue": spec.queue,
        "workspaceId": spec.workspace_id,
        "datasetId": spec.dataset_id,
        "resources": {"cpu": spec.resources.cpu, "memory": spec.resources.memory, "gpu": spec.resources.gpu},
        "priority": spec.priority,
        "env": dict(spec.env),
        "nodes": spec.nodes,
        "maxRetries": spec.max_retries,
        "maxRuntimeSeconds": spec.max_runtime_seconds,
        "labels": dict(spec.labels),
    }


def _missing(given: Mapping[str, Any]) -> Iterator[FieldError]:
    for field, stand_in in (("image", "framework"), ("command", "scriptPath")):
        if given.get(field) is None and given.get(stand_in) is None:
            yield FieldError(field, "missing")
