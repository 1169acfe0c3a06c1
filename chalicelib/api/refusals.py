"""What callers are told of an error: its status, its code and its sentence, in their dialect and language.

On the standard library alone: the terminal relay answers, too, and needs neither Chalice nor schemas for it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.api.messages import Language, error_text, problem_text, problems_text, show, show_json
from chalicelib.api.strict_json import is_unicode
from chalicelib.domain.states import Status
from chalicelib.errors import FieldError, InvalidRequest, TrainyardError

log = logging.getLogger(__name__)

JSON = "application/json"
MAX_DETAILS = 100
RETRY_AFTER_SECONDS = "5"

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


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error's answer."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]


def refusal(error: TrainyardError, dialect: Dialect, language: Language) -> Refusal:
    """What is answered for that error."""
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
    return Refusal(status, dialect.failure(failure), headers)


def detail(error: FieldError, language: Language) -> dict[str, Any]:
    """One wrong field as answers and status files show it."""
    value = error.value
    if not isinstance(value, bool | int | float | None):
        value = show(value) if isinstance(value, str) else show_json(value)
    return {"field": show(error.field), "message": problem_text(error, language), "value": value}


def json_text(body: Mapping[str, Any]) -> str:
    """JSON, its text readable (not escaped to ASCII) unless that would not be UTF-8."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text if is_unicode(text) else json.dumps(body, separators=(",", ":"))
