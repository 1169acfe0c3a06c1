"""Submitting jobs: fill in what the request leaves to the pool, check it against the pools, write the record.

Nothing here talks to Kubernetes: the record is the promise, and the table's stream carries it out.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from chalicelib.domain.job import Job, JobSpec, Reason, Resources
from chalicelib.domain.manifest import ManifestSettings, manifests
from chalicelib.domain.pools import Pool
from chalicelib.domain.states import Status
from chalicelib.errors import FieldError, InvalidRequest
from chalicelib.services.caller import Caller
from chalicelib.services.ports import Clock, Idempotency, JobStore, NewId, RequestTrace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A create request of either dialect, each field within its bounds already.

    Either `framework` and `script_path`, or `image` and `command`. What is None is the pool's to decide.
    """

    name: str
    description: str | None = None
    framework: str | None = None
    script_path: str | None = None
    image: str | None = None
    command: Sequence[str] | None = None
    workspace_id: int | None = None
    dataset_id: int | None = None
    cpu: int | None = None
    memory: int | None = None
    gpu: int | None = None
    priority: int = 0
    pool: str | None = None
    queue: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    max_retries: int = 0
    max_runtime_seconds: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    bundle: str | None = None

    def fingerprint(self) -> str:
        """The same request gives the same fingerprint, in whatever order its fields came, and also from a
        release that knows more fields: those at their defaults do not count."""
        usual = JobRequest(name="")
        given = {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}
        text = json.dumps(given, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Stamps:
    """What a new record is stamped with beside what was asked for."""

    clock: Clock
    new_id: NewId
    trace: RequestTrace = lambda: None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A dry run's answer: the manifests that would be submitted."""

    manifests: Sequence[Mapping[str, Any]]


class Submission:
    """Creates jobs. Safe to repeat with an idempotency key; without one every call is a new job."""

    def __init__(
        self,
        store: JobStore,
        pools: Mapping[str, Pool],
        images: Mapping[str, str],
        manifest: ManifestSettings,
        stamps: Stamps,
    ) -> None:
        self._store = store
        self._pools = pools
        self._images = images
        self._manifest = manifest
        self._stamps = stamps

    def submit(self, caller: Caller, request: JobRequest, idempotency_key: str | None = None) -> Job:
        """Store the job; the answer is the job that stands (see JobStore.create).

        Raises Forbidden, InvalidRequest (field names are JobRequest's), IdempotencyConflict.
        """
        caller.require_write()
        key = Idempotency(idempotency_key, request.fingerprint()) if idempotency_key else None
        job = self._store.create(self._job(caller, request), key)
        log.info("%s: accepted", job.id, extra=job.log_fields)
        return job

    def submit_many(
        self, caller: Caller, requests: Sequence[tuple[JobRequest, Idempotency]], source: str
    ) -> Sequence[Job | None]:
        """As submit does, with keys of the caller's making, for the jobs of the file `source`; None stands
        for an IdempotencyConflict."""
        caller.require_write()
        wanted = [(self._job(caller, request, source), key) for request, key in requests]
        made = self._store.create_many(wanted)
        for job in filter(None, made):
            log.info("%s: accepted", job.id, extra=job.log_fields)
        return made

    def render(self, caller: Caller, request: JobRequest) -> Rendered:
        """Check the request as submit does, store nothing, and show what would be created."""
        caller.require_write()
        job = self._job(caller, request)
        return Rendered(manifests(job, self._pools[job.spec.pool], self._manifest))

    def _job(self, caller: Caller, request: JobRequest, source: str | None = None) -> Job:
        now = self._stamps.clock()
        return Job(
            id=self._stamps.new_id(now),
            tenant=caller.tenant,
            spec=resolve(request, self._pools, self._images),
            status=Status.PENDING,
            reason=Reason.ACCEPTED,
            message="accepted; not yet handed to the cluster",
            version=1,
            created_at=now,
            updated_at=now,
            created_by=caller.subject,
            source=source,
            trace=self._stamps.trace(),
        )


def resolve(request: JobRequest, pools: Mapping[str, Pool], images: Mapping[str, str]) -> JobSpec:
    """Fill in what the request leaves open. Raises InvalidRequest with every field that does not fit."""
    errors: list[FieldError] = []
    pool_id = request.pool or next(iter(pools))
    pool = pools.get(pool_id)
    if pool is None:
        errors.append(FieldError("pool", "unknown", pool_id, sorted(pools)))
    queues = pool.queues if pool else ()
    queue = request.queue or (queues[0] if queues else None)
    if pool is not None and queue is not None and queue not in queues:
        errors.append(FieldError("queue", "unknown", queue, list(queues)))
    image, command = _image_and_command(request, {**images, **(pool.images if pool else {})}, errors)
    if pool is None or errors:
        raise InvalidRequest(errors)
    default = pool.default_resources
    return JobSpec(
        name=request.name,
        description=request.description,
        framework=request.framework,
        script_path=request.script_path,
        image=image,
        command=command,
        workspace_id=request.workspace_id,
        dataset_id=request.dataset_id,
        resources=Resources(
            cpu=default.cpu if request.cpu is None else request.cpu,
            memory=default.memory if request.memory is None else request.memory,
            gpu=default.gpu if request.gpu is None else request.gpu,
        ),
        priority=request.priority,
        pool=pool.id,
        queue=queue,
        env=dict(request.env),
        nodes=request.nodes,
        max_retries=request.max_retries,
        max_runtime_seconds=request.max_runtime_seconds,
        labels=dict(request.labels),
        bundle=request.bundle,
    )


def _image_and_command(
    request: JobRequest, images: Mapping[str, str], errors: list[FieldError]
) -> tuple[str, tuple[str, ...]]:
    image = request.image
    if request.framework is not None and request.framework not in images:
        errors.append(FieldError("framework", "unknown", request.framework, sorted(images)))
    elif image is None and request.framework is not None:
        image = images[request.framework]
    if image is None and request.framework is None:
        errors.append(FieldError("image", "missing"))
    command = tuple(request.command or ())
    if not command and request.script_path is not None:
        command = ("python", request.script_path)
    if not command:
        errors.append(FieldError("command", "missing"))
    return image or "", command
