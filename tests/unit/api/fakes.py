"""A store and a token verifier in memory, and a client that calls the app in process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalice.app import Chalice
from chalice.test import Client

from chalicelib.domain.events import Event
from chalicelib.domain.job import Job, JobSummary
from chalicelib.domain.states import Status
from chalicelib.errors import IdempotencyConflict, NotAuthenticated, StaleRecord
from chalicelib.services.caller import Caller, Role
from chalicelib.services.ports import EventPage, Idempotency, JobPage, ListQuery
from chalicelib.services.ticket_ports import Ticket


@dataclass
class FakeStore:
    """JobStore's contract over a dict; `broken` is raised by every call while it is set."""

    jobs: dict[str, Job] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    queries: list[ListQuery] = field(default_factory=list)
    happened: list[tuple[str, Event]] = field(default_factory=list)  # each with its job, oldest first
    inexact: bool = False
    broken: Exception | None = None

    def create(self, job: Job, idempotency: Idempotency | None = None) -> Job:
        self._check()
        if idempotency:
            key = (job.tenant, idempotency.key)
            made = self.keys.setdefault(key, (idempotency.fingerprint, job.id))
            if made[0] != idempotency.fingerprint:
                raise IdempotencyConflict(idempotency.key)
            if made[1] != job.id:
                return self.jobs[made[1]]
        self.jobs[job.id] = job
        return job

    def get(self, job_id: str) -> Job | None:
        self._check()
        return self.jobs.get(job_id)

    def get_many(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    def save(self, job: Job, was: Job) -> None:
        self._check()
        if self.jobs[job.id].version != was.version:
            raise StaleRecord(job.id)
        self.jobs[job.id] = job

    def remove(self, job: Job) -> None:
        del self.jobs[job.id]

    def list(self, query: ListQuery) -> JobPage:
        self._check()
        self.queries.append(query)
        found = [job for job in self.jobs.values() if not job.is_deleted and _matches(job, query)]
        found.sort(key=lambda job: job.id, reverse=True)
        begin = (query.page - 1) * query.page_size
        items = tuple(_summary(job) for job in found[begin : begin + query.page_size])
        return JobPage(items, len(found), total_is_exact=not self.inexact)

    def unsettled(self, but: Status | None = None) -> Iterator[Job]:  # noqa: ARG002
        return iter([job for job in self.jobs.values() if not job.is_terminal or job.is_deleted])

    def has_unsettled(self) -> bool:
        return any(True for _ in self.unsettled())

    def add_event(self, job_id: str, event: Event) -> None:
        self.happened.append((job_id, event))

    def add_events(self, told: Sequence[tuple[str, Event]]) -> None:
        self.happened += told

    def events(self, job_id: str, limit: int, after: str | None = None) -> EventPage:
        """A position is how many came before."""
        self._check()
        mine = [event for whose, event in self.happened if whose == job_id]
        begin = int(after or 0)
        end = begin + limit
        return EventPage(tuple(mine[begin:end]), str(end) if end < len(mine) else None)

    def feed_position(self, feed: str) -> str | None:
        raise NotImplementedError

    def save_feed_position(self, feed: str, position: str) -> None:
        raise NotImplementedError

    def recount(self, tenant: str | None) -> Mapping[str, int]:
        raise NotImplementedError

    def acquire_lease(self, name: str, holder: str, now: datetime, lasts: timedelta) -> bool:
        raise NotImplementedError

    def release_lease(self, name: str, holder: str) -> None:
        raise NotImplementedError

    def lease_is_free(self, name: str, now: datetime) -> bool:
        raise NotImplementedError

    def use_ticket(self, ticket: Ticket) -> bool:
        raise NotImplementedError

    def ticket_is_used(self, ticket: Ticket) -> bool:
        raise NotImplementedError

    def _check(self) -> None:
        if self.broken:
            raise self.broken


class FakeTokens:
    """Takes `tenant:role,role` for a token."""

    def verify(self, token: str) -> Caller:
        tenant, _, roles = token.partition(":")
        if not roles:
            raise NotAuthenticated("not a fake token")
        return Caller(tenant, f"{tenant}-user", frozenset(Role(role) for role in roles.split(",")))


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: str

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def message(self) -> str:
        return str(self.body["message"])


class Api:
    """Calls the app as API Gateway would, authorizer included."""

    def __init__(self, app: Chalice) -> None:
        self._client = Client(app)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | str | None = None,
        token: str = "acme:member",
        **headers: str,
    ) -> Reply:
        """Header names are written with `_` for `-`. `raw` is sent as it is."""
        sent = {"Authorization": f"Bearer {token}"}
        if body is not None or raw is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        answer = self._client.http.request(method, path, headers=sent, body=_bytes(content))
        return Reply(answer.status_code, answer.headers, answer.body.decode())


def _bytes(content: bytes | str) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def _matches(job: Job, query: ListQuery) -> bool:
    wanted = [
        (query.tenant, job.tenant),
        (query.status, job.status),
        (query.workspace_id, job.spec.workspace_id),
        (query.pool, job.spec.pool),
        (query.queue, job.spec.queue),
    ]
    if any(asked is not None and asked != is_ for asked, is_ in wanted):
        return False
    if query.keyword and query.keyword.lower() not in (job.spec.name + job.id).lower():
        return False
    early = query.created_from is not None and job.created_at < query.created_from
    return not early and not (query.created_to is not None and job.created_at > query.created_to)


def _summary(job: Job) -> JobSummary:
    return JobSummary(
        id=job.id,
        tenant=job.tenant,
        name=job.spec.name,
        status=job.status,
        reason=job.reason,
        message=job.message,
        pool=job.spec.pool,
        cpu=job.spec.resources.cpu,
        gpu=job.spec.resources.gpu,
        created_at=job.created_at,
        queue=job.spec.queue,
        framework=job.spec.framework,
        workspace_id=job.spec.workspace_id,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
