"""Answers: success in the dialect's envelope, and every error as one too, whatever it was."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalice.app import Blueprint, Response

from chalicelib.api.messages import Language, error_text, problem_text, problems_text, show, show_json
from chalicelib.api.requests import Call
from chalicelib.api.strict_json import is_unicode
from chalicelib.bootstrap import container
from chalicelib.domain.states import Status
from chalicelib.errors import FieldError, InvalidRequest, TrainyardError

log = logging.getLogger(__name__)

MAX_DETAILS = 100
# What a path's parts are in the log, and how much of one goes there: callers may send anything.
NAMES = {"job": "job_id"}
NAME_LIMIT = 64
RETRY_AFTER_SECONDS = "5"
# What a page of another origin may read of an answer beside what browsers let it read anyway.
EXPOSED = "Preference-Applied,Retry-After,WWW-Authenticate,x-amzn-RequestId"

# An error's code: its HTTP status, and the small number that training-v1 puts behind it. See docs/api.md.
STATUSES: Mapping[str, tuple[int, int]] = {
    "InvalidRequest": (400, 1),
    "Unauthorized": (401, 0),
    "TicketInvalid": (401, 1),
    "TicketExpired": (401, 2),
    "Forbidden": (403, 1),
    "OriginForbidden": (403, 2),
    "NotFound": (404, 0),
    "JobNotFound": (404, 1),
    "PodNotFound": (404, 2),
    "Conflict": (409, 0),
    "JobFinished": (409, 1),
    "IdempotencyConflict": (409, 2),
    "PodNotRunning": (409, 3),
    "NoShell": (409, 4),
    "TicketUsed": (409, 5),
    "PayloadTooLarge": (413, 1),
    "UnsupportedMediaType": (415, 1),
    "InternalError": (500, 0),
    "ClusterRejected": (502, 1),
    "ServiceUnavailable": (503, 1),
    "ClusterUnavailable": (503, 2),
    "StaleRecord": (503, 3),
    "ClusterForbids": (503, 4),
    "NamespaceMissing": (503, 5),
    "PoolMissing": (503, 6),
    "LogsUnavailable": (503, 7),
    "TerminalsNotSetUp": (503, 8),
    "TerminalsBusy": (503, 9),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as callers see it; `number` is training-v1's code."""

    status: int
    number: int
    code: str
    message: str
    details: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a dialect says that something failed, spells a status, and names JobRequest's fields."""

    failure: Callable[[Failure], dict[str, Any]]
    status_word: Callable[[Status], str]
    names: Mapping[str, str]


Handler = Callable[..., Response]


def answering(bp: Blueprint, dialect: Dialect) -> Callable[[Handler], Handler]:
    """Decorate a handler of `bp`: it gets the Call, and what it raises is answered in the dialect."""

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def view(**path: str) -> Response:
            call = Call(bp.current_request)
            named = {NAMES.get(name, name): value[:NAME_LIMIT] for name, value in path.items()}
            about = {**call.log_fields, **named}
            shared: dict[str, str] = {}
            try:
                shared = sharing(container().settings.cors_origin)
                reply = handler(call, **path)
            except TrainyardError as error:
                reply = failed(error, dialect, call.language)
            except Exception:
                log.exception("unexpected error, request %s", about["request_id"], extra=about)
                reply = failed(TrainyardError(), dialect, call.language)
            reply.headers.update(shared)
            status = reply.status_code
            log.info("%s: %d", about["route"], status, extra={**about, "status": status})
            return reply

        return view

    return decorate


def answer(body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer, its text readable (not escaped to ASCII) unless that would not be UTF-8."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    if not is_unicode(text):
        text = json.dumps(body, separators=(",", ":"))
    return Response(text, {"Content-Type": "application/json", **(headers or {})}, status)


def failed(error: TrainyardError, dialect: Dialect, language: Language) -> Response:
    """The error in the dialect's envelope."""
    codes = [getattr(kind, "code", "") for kind in type(error).__mro__]
    code = next(code for code in codes if code in STATUSES)
    status, small = STATUSES[code]
    if status >= 500:
        log.error("%s: %s", error.code, error)
    headers = {503: {"Retry-After": RETRY_AFTER_SECONDS}, 401: {"WWW-Authenticate": "Bearer"}}.get(status, {})
    details: list[dict[str, Any]] = []
    values = {name: show(value) if isinstance(value, str) else value for name, value in vars(error).items()}
    if isinstance(error, InvalidRequest):
        values["problems"] = problems_text(error.errors, language)
        details = [detail(wrong, language) for wrong in error.errors[:MAX_DETAILS]]
    if "status" in values:
        values["status"] = dialect.status_word(Status(values["status"]))
    message = error_text(code, language, values)
    failure = Failure(status, status * 100 + small, code, message, details)
    return answer(dialect.failure(failure), status, headers)


def sharing(origin: str) -> dict[str, str]:
    """The headers by which a browser lets a page of that origin read an answer: docs/security.md."""
    if not origin:
        return {}
    told = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}
    return told if origin == "*" else {**told, "Vary": "Origin"}


def no_content() -> Response:
    """204. The empty string keeps Chalice from writing `null` after it."""
    return Response("", {}, 204)


def detail(error: FieldError, language: Language) -> dict[str, Any]:
    """One wrong field as answers and status files show it."""
    value = error.value
    if not isinstance(value, bool | int | float | None):
        value = show(value) if isinstance(value, str) else show_json(value)
    return {"field": show(error.field), "message": problem_text(error, language), "value": value}
