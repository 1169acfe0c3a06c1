"""One HTTP request, read safely: who calls, in which language, with which body and parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from chalice.app import MultiDict, Request
from pydantic_core import PydanticCustomError

from chalicelib.api import strict_json
from chalicelib.api.fields import Fields, Model, check_token, is_dns_name, validate
from chalicelib.api.messages import Language, language_of
from chalicelib.api.strict_json import Parsed
from chalicelib.errors import (
    FieldError,
    InvalidRequest,
    JobNotFound,
    NotAuthenticated,
    PayloadTooLarge,
    PodNotFound,
    UnsupportedMediaType,
)
from chalicelib.services.caller import Caller, Role

MAX_BODY_BYTES = 256 * 1024
MAX_PAGE_DEPTH = 100_000  # page × page size: what a deep page reads of the index is paid for by all
_JOB_ID = re.compile(r"job-[0-9a-z]{26}")
_TRACE = re.compile(r"(?:^|;)\s*Root=(1-[0-9a-f]{8}-[0-9a-f]{24})")
_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-?8"?\s*)?;?', re.IGNORECASE)


class Call:
    """One call of an endpoint. Every reader raises our own errors, never the platform's."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def caller(self) -> Caller:
        """Who calls, as the authorizer's context says."""
        context = self._request.context.get("authorizer") or {}
        roles = frozenset(
            Role(role) for role in str(context.get("roles", "")).split(",") if role in set(Role)
        )
        if not context.get("tenant") or not roles:
            raise NotAuthenticated("the request did not pass the authorizer")
        return Caller(str(context["tenant"]), str(context.get("principalId", "")), roles)

    @property
    def log_fields(self) -> dict[str, str]:
        """What lines of the log about the call carry as fields of their own: `extra`. The request's id is API
        Gateway's, which the client was told too; so is the trace's, if there is one."""
        context = self._request.context
        trace = _TRACE.search(self._header("x-amzn-trace-id"))
        return ({"xray_trace_id": trace[1]} if trace else {}) | {
            "request_id": str(context.get("requestId", "")),
            "tenant": str((context.get("authorizer") or {}).get("tenant", "")),
            "route": f"{context.get('httpMethod', '')} {context.get('resourcePath', '')}",
        }

    @property
    def language(self) -> Language:
        return language_of(self._header("accept-language"))

    @property
    def wants_representation(self) -> bool:
        """Whether the caller asks for a body where the answer would have none (RFC 7240)."""
        preferences = (part.strip().lower() for part in re.split("[,;]", self._header("prefer")))
        return any(part.replace(" ", "").replace('"', "") == "return=representation" for part in preferences)

    @property
    def wants_events(self) -> bool:
        """Whether the caller asks for Server-Sent Events."""
        kinds = (part.partition(";")[0].strip().lower() for part in self._header("accept").split(","))
        return "text/event-stream" in kinds

    @property
    def last_event_id(self) -> str:
        """How far a client of Server-Sent Events that comes back had got; empty if it did not say."""
        return self._header("last-event-id")

    def idempotency_key(self, body_token: str | None, field: str) -> str | None:
        """The key of the header or of the body's `field`; both may be given if they agree."""
        key = self._request.headers.get("idempotency-key")
        if key is None:
            return body_token
        try:
            check_token(key)
        except PydanticCustomError as error:
            raise InvalidRequest([FieldError("Idempotency-Key", "token", key)]) from error
        if body_token not in (None, key):
            raise InvalidRequest([FieldError("Idempotency-Key", "token_twice", key, {"other": field})])
        return str(key)

    def json(self) -> Parsed:
        """The body's fields; an empty body has none. Endpoints with a body take no query parameters."""
        self.query(Fields)
        raw = self._raw_body()
        if len(raw) > MAX_BODY_BYTES:
            raise PayloadTooLarge(MAX_BODY_BYTES)
        if not raw.strip():
            return Parsed({})
        content_type = self._header("content-type").strip()
        if content_type and not _JSON.fullmatch(content_type):
            raise UnsupportedMediaType(content_type)
        return strict_json.parse(raw)

    def nothing(self) -> None:
        """Raise InvalidRequest for query parameters or body fields where an endpoint takes neither."""
        validate(Fields, self.json())

    def query(self, model: type[Model]) -> Model:
        """The query parameters, each given once."""
        given = self._request.query_params or MultiDict({})
        values = {name: given.getlist(name) for name in given}
        repeated = [FieldError(name, "repeated", many) for name, many in values.items() if len(many) > 1]
        return validate(model, Parsed({name: many[-1] for name, many in values.items()}, repeated))

    def _raw_body(self) -> bytes:
        try:
            raw = self._request.raw_body
        except UnicodeEncodeError as error:  # API Gateway hands over text; it may hold half a surrogate pair
            raise InvalidRequest(
                [FieldError("body", "json_encoding", None, {"offset": error.start})]
            ) from error
        return raw if isinstance(raw, bytes) else raw.encode()

    def _header(self, name: str) -> str:
        return self._request.headers.get(name) or ""


def job_id(text: str) -> str:
    """A path's job id. What cannot be one is a job that does not exist."""
    if not _JOB_ID.fullmatch(text):
        raise JobNotFound(text)
    return text


def pod_name(text: str) -> str:
    """A path's pod name. What cannot be one is a pod that does not exist."""
    if not is_dns_name(text):
        raise PodNotFound(text)
    return text


def depth_errors(field: str, page: int, page_size: int) -> Iterator[FieldError]:
    """Says so if a page lies too deep."""
    if page * page_size > MAX_PAGE_DEPTH:
        yield FieldError(field, "page_depth", page, {"high": MAX_PAGE_DEPTH})


def unknown_errors(field: str, value: str | None, known: Iterable[str]) -> Iterator[FieldError]:
    """Lists the known names, unless `value` is None or one of them."""
    names = sorted(set(known))
    if value is not None and value not in names:
        yield FieldError(field, "unknown", value, names)
