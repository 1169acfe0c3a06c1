"""Every error that Trainyard raises on purpose, so that callers catch types and never read messages.

TrainyardError
├── InvalidRequest          the request itself is wrong; carries one FieldError per wrong field
├── PayloadTooLarge         the body is over the limit
├── UnsupportedMediaType    the body is not JSON
├── NotAuthenticated        no token, or one that does not verify; TicketInvalid, TicketExpired
├── Forbidden               the token's roles do not allow this
├── OriginForbidden         a browser's page of another origin
├── NotFound                JobNotFound, PodNotFound
├── Conflict                JobFinished, IdempotencyConflict, PodNotRunning, NoShell, TicketUsed
├── StaleRecord             the record changed since it was read: reload, decide again
├── LeaseLost               another has taken over: his writes count, and ours do not
├── Retryable               StoreUnavailable, LogsUnavailable, FunctionUnavailable, BusUnavailable,
│                           ObjectsUnavailable, SecretUnavailable, OutOfTime, ClusterUnavailable,
│                           TerminalsBusy; once an admin has mended it: ClusterForbids, SignInFailed,
│                           NamespaceMissing, PoolMissing, TerminalsNotSetUp
├── StoreRejected           DynamoDB refuses the request for good
└── ClusterRejected         Kubernetes refuses the object for good

`code` is stable: clients may match on it. HTTP statuses and the dialects' envelopes are the api's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a request.

    `field` is the path as the caller wrote it (`resources.cpu`, `command[2]`); `problem` names a message of
    the catalogue and `allowed` fills it in; `value` is what was sent, cut short where it is long.
    """

    field: str
    problem: str
    value: Any = None
    allowed: Any = None


class TrainyardError(Exception):
    """The root of the tree."""

    code = "InternalError"


class InvalidRequest(TrainyardError):
    """The request is wrong in one or more fields; all of them are reported at once."""

    code = "InvalidRequest"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(", ".join(f"{e.field}: {e.problem}" for e in errors))
        self.errors = errors


class PayloadTooLarge(TrainyardError):
    """The request's body is larger than `limit` bytes."""

    code = "PayloadTooLarge"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request body is over {limit} bytes")
        self.limit = limit


class UnsupportedMediaType(TrainyardError):
    """The request's Content-Type is not JSON."""

    code = "UnsupportedMediaType"

    def __init__(self, content_type: str) -> None:
        super().__init__(f"unsupported content type {content_type!r}")
        self.content_type = content_type


class NotAuthenticated(TrainyardError):
    """The bearer token is missing or does not verify; the message says which check failed."""

    code = "Unauthorized"


class TicketInvalid(NotAuthenticated):
    """The terminal's ticket is not one of ours, or was changed."""

    code = "TicketInvalid"


class TicketExpired(NotAuthenticated):
    """The terminal's ticket was not redeemed in time."""

    code = "TicketExpired"


class Forbidden(TrainyardError):
    """The caller's roles do not allow the action; `role` is the one that would."""

    code = "Forbidden"

    def __init__(self, role: str) -> None:
        super().__init__(f"this needs the role {role!r}")
        self.role = role


class OriginForbidden(TrainyardError):
    """A browser may not open terminals from a page of this origin."""

    code = "OriginForbidden"

    def __init__(self, origin: str) -> None:
        super().__init__(f"terminals are not opened from {origin!r}")
        self.origin = origin


class NotFound(TrainyardError):
    """What was asked for does not exist, or belongs to another tenant."""

    code = "NotFound"


class JobNotFound(NotFound):
    """There is no such job for this caller."""

    code = "JobNotFound"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id!r}")
        self.job_id = job_id


class PodNotFound(NotFound):
    """The job has no such pod in the cluster (any more)."""

    code = "PodNotFound"

    def __init__(self, pod: str) -> None:
        super().__init__(f"no pod {pod!r}")
        self.pod = pod


class Conflict(TrainyardError):
    """The request is right but does not fit what is there."""

    code = "Conflict"


class JobFinished(Conflict):
    """The job has ended already, with `status`."""

    code = "JobFinished"

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"{job_id} has already {status}")
        self.job_id = job_id
        self.status = status


class IdempotencyConflict(Conflict):
    """The idempotency key was used within 24 h with another body, or its job has been deleted since."""

    code = "IdempotencyConflict"

    def __init__(self, key: str) -> None:
        super().__init__(f"the idempotency key {key!r} belongs to another request")
        self.key = key


class PodNotRunning(Conflict):
    """The pod runs nothing that could be entered; `why` says what became of it."""

    code = "PodNotRunning"

    def __init__(self, pod: str, why: str) -> None:
        super().__init__(f"pod {pod!r} is not running: {why}")
        self.pod = pod
        self.why = why


class NoShell(Conflict):
    """No shell could be started in the pod; `why` is the cluster's own word."""

    code = "NoShell"

    def __init__(self, pod: str, why: str) -> None:
        super().__init__(f"no shell in pod {pod!r}: {why}")
        self.pod = pod
        self.why = why


class TicketUsed(Conflict):
    """The terminal's ticket was redeemed before."""

    code = "TicketUsed"


class StaleRecord(TrainyardError):
    """A conditional write lost its race: the record is newer than the one that was read, or gone."""

    code = "StaleRecord"


class LeaseLost(TrainyardError):
    """A write under a lease was refused: somebody else holds it by now."""


class Retryable(TrainyardError):
    """A dependency is not answering; the same call may succeed later."""

    code = "ServiceUnavailable"


class StoreUnavailable(Retryable):
    """DynamoDB throttled, conflicted or failed beyond the retries."""


class LogsUnavailable(Retryable):
    """CloudWatch Logs cannot be reached, throttled, or failed."""

    code = "LogsUnavailable"


class FunctionUnavailable(Retryable):
    """Another of our functions could not be woken."""


class BusUnavailable(Retryable):
    """EventBridge could not be told."""


class ObjectsUnavailable(Retryable):
    """S3 cannot be reached, throttled, failed, or does not let us."""


class SecretUnavailable(Retryable):
    """Secrets Manager cannot be reached, throttled, or does not let us."""


class OutOfTime(Retryable):
    """The function's time is nearly up, and what is left is for its next call."""


class ClusterUnavailable(Retryable):
    """The Kubernetes API cannot be reached, timed out, throttled, or answered 5xx."""

    code = "ClusterUnavailable"


class ClusterForbids(ClusterUnavailable):
    """Kubernetes refuses the call for now (403): a quota is used up, or a permission is missing."""

    code = "ClusterForbids"


class SignInFailed(ClusterUnavailable):
    """The cluster cannot be asked, for a reason that an admin can read and mend; its words name no secrets
    and stay the same from try to try."""


class NamespaceMissing(ClusterUnavailable):
    """The tenant's namespace is not in the cluster yet."""

    code = "NamespaceMissing"

    def __init__(self, namespace: str) -> None:
        super().__init__(f"namespace {namespace!r} does not exist in the cluster yet")
        self.namespace = namespace


class TerminalsNotSetUp(Retryable):
    """This deployment has no terminal relay."""

    code = "TerminalsNotSetUp"


class TerminalsBusy(Retryable):
    """The relay has as many terminals open as it takes, or is shutting down."""

    code = "TerminalsBusy"


class StoreRejected(TrainyardError):
    """DynamoDB refuses the request for good: it is malformed, which is a bug of ours."""


class PoolMissing(ClusterUnavailable):
    """The configuration no longer has the pool that a stored job names."""

    code = "PoolMissing"

    def __init__(self, pool_id: str) -> None:
        super().__init__(f"resource pool {pool_id!r} is no longer configured")
        self.pool_id = pool_id


class ClusterRejected(TrainyardError):
    """Kubernetes refuses the object for good (400, 413, 422)."""

    code = "ClusterRejected"
