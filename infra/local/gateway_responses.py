"""The answers that API Gateway gives by itself, shaped by resources.yaml's GatewayResponses and Cors."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

_WORDS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    411: "LengthRequired",
    413: "PayloadTooLarge",
    414: "UriTooLong",
    431: "HeadersTooLarge",
}
# Answers of the local server that API Gateway has no name for.
_NOT_AMAZONS = ("METHOD_NOT_ALLOWED", "BAD_REQUEST")
_CORS = {"AllowHeaders": "Access-Control-Allow-Headers", "MaxAge": "Access-Control-Max-Age"}
# What API Gateway answers otherwise than we want it answered.
_DEFAULT_STATUS = {"MISSING_AUTHENTICATION_TOKEN": 404}
_DEFAULT_MESSAGE = {"MISSING_AUTHENTICATION_TOKEN": "Not Found"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    @classmethod
    def of_lambda(cls, response: Mapping[str, Any]) -> Answer:
        """What a proxy integration's function returned."""
        multi: dict[str, list[Any]] = dict(response.get("multiValueHeaders") or {})
        single = {k: v for k, v in (response.get("headers") or {}).items() if k not in multi}
        headers = [(k, str(v)) for k, v in single.items()]
        headers += [(k, str(v)) for k, values in multi.items() for v in values]
        if not any(name.lower() == "content-type" for name, _ in headers) and response["statusCode"] != 204:
            headers.append(("Content-Type", "application/json"))
        body = response.get("body") or b""
        if response.get("isBase64Encoded"):
            body = base64.b64decode(body)
        dropped = ("content-length", "connection", "transfer-encoding")
        return cls(
            int(response["statusCode"]),
            [(name, value) for name, value in headers if name.lower() not in dropped],
            body.encode("utf-8", "replace") if isinstance(body, str) else body,
        )

    def with_header(self, name: str, value: str) -> Answer:
        return replace(self, headers=[*self.headers, (name, value)])


class GatewayResponses:
    """Finds and fills in the template of a response type, or its class's default.

    `origin` is the CorsOrigin that the template's conditions ask for.
    """

    def __init__(
        self, templates: Mapping[str, Any], cors: Mapping[str, Any] | None = None, origin: str = ""
    ) -> None:
        self._templates = templates
        self._cors = cors or {}
        self._shared = [("Access-Control-Allow-Origin", origin)] if origin else []

    def answer(self, kind: str, status: int, message: str, request_id: str = "") -> Answer:
        """The answer of type `kind`; `status` and `message` are API Gateway's own for it."""
        own = self._templates.get(kind)
        fallback = "DEFAULT_4XX" if status < 500 else "DEFAULT_5XX"
        patch = own or (self._templates.get(fallback) if kind not in _NOT_AMAZONS else None) or {}
        if own is None:
            message = _DEFAULT_MESSAGE.get(kind, message)
            status = _DEFAULT_STATUS.get(kind, status)
        else:
            status = int(own.get("StatusCode", status))
        body_template = (patch.get("ResponseTemplates") or {}).get("application/json")
        body = (
            _fill(body_template, kind, message, request_id) if body_template else _envelope(status, message)
        )
        headers = [("Content-Type", "application/json"), *_static_headers(patch), *self._shared]
        return Answer(status, headers, body.encode())

    def preflight(self, methods: Set[str]) -> Answer:
        """The answer to OPTIONS that SAM gives each path, by what the path takes."""
        told = [("Access-Control-Allow-Methods", ",".join(sorted({*methods, "OPTIONS"})))]
        told += [(name, self._cors[key].strip("'")) for key, name in _CORS.items() if key in self._cors]
        return Answer(200, [("Content-Type", "application/json"), *told, *self._shared], b"{}\n")


def _fill(text: str, kind: str, message: str, request_id: str) -> str:
    quoted = json.dumps(message)
    values = {
        "$context.error.messageString": quoted,
        "$context.error.validationErrorString": quoted[1:-1],
        "$context.error.message": quoted[1:-1],
        "$context.error.responseType": kind,
        "$context.requestId": request_id,
    }
    for name, value in values.items():  # the longer names first: one is a prefix of another
        text = text.replace(name, value)
    return text


def _envelope(status: int, message: str) -> str:
    """One that both dialects can read."""
    word = _WORDS.get(status, "InternalError" if status >= 500 else "BadRequest")
    return json.dumps(
        {
            "code": status * 100,
            "success": False,
            "message": message,
            "data": None,
            "error": {"code": word, "details": []},
        },
        ensure_ascii=False,
    )


def _static_headers(patch: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Header values are quoted constants (`"'*'"`) or mappings, which nothing here can fill in."""
    for name, value in ((patch.get("ResponseParameters") or {}).get("Headers") or {}).items():
        if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == "'":
            yield name, value[1:-1]
