"""Answers: success in the dialect's envelope, and every error as one too, whatever it was."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from chalice.app import Blueprint, Response

from chalicelib.api.messages import Language
from chalicelib.api.refusals import JSON, Dialect, json_text, refusal
from chalicelib.api.requests import Call
from chalicelib.bootstrap import container
from chalicelib.errors import TrainyardError

log = logging.getLogger(__name__)

# What a path's parts are in the log, and how much of one goes there: callers may send anything.
NAMES = {"job": "job_id"}
NAME_LIMIT = 64
# What a page of another origin may read of an answer beside what browsers let it read anyway.
EXPOSED = "Preference-Applied,Retry-After,WWW-Authenticate,x-amzn-RequestId"

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
    """A JSON answer."""
    return Response(json_text(body), {"Content-Type": JSON, **(headers or {})}, status)


def failed(error: TrainyardError, dialect: Dialect, language: Language) -> Response:
    """The error in the dialect's envelope."""
    said = refusal(error, dialect, language)
    return answer(said.body, said.status, said.headers)


def sharing(origin: str) -> dict[str, str]:
    """The headers by which a browser lets a page of that origin read an answer: docs/security.md."""
    if not origin:
        return {}
    told = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}
    return told if origin == "*" else {**told, "Vary": "Origin"}


def no_content() -> Response:
    """204. The empty string keeps Chalice from writing `null` after it."""
    return Response("", {}, 204)
