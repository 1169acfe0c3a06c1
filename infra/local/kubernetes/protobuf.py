"""kubectl's imperative commands (`kubectl create job`, `create namespace`, …) speak nothing but protobuf.

Only what those commands fill in is known here; anything else that carries a value is refused.
"""

from __future__ import annotations

import base64
from typing import Any

from infra.local.kubernetes.errors import ApiError

Obj = dict[str, Any]
MAGIC = b"k8s\x00"
TEXT, NUMBER, FLAG, BYTES = "text", "number", "flag", "bytes"
# field number -> (name, kind); a kind is a scalar, a message, a [list] or a (map,) of one
Message = dict[int, tuple[str, Any]]


def _row(kind: Any, *names: str) -> Message:
    return {number: (name, kind) for number, name in enumerate(names, 1)}


META: Message = {
    1: ("name", TEXT),
    2: ("generateName", TEXT),
    3: ("namespace", TEXT),
    8: ("", {}),
    11: ("labels", (TEXT,)),
    12: ("annotations", (TEXT,)),
}
ENV: Message = {1: ("name", TEXT), 2: ("value", TEXT)}
CONTAINER: Message = {
    1: ("name", TEXT),
    2: ("image", TEXT),
    3: ("command", [TEXT]),
    4: ("args", [TEXT]),
    5: ("workingDir", TEXT),
    7: ("env", [ENV]),
    8: ("", {}),
    14: ("imagePullPolicy", TEXT),
}
POD: Message = {
    2: ("containers", [CONTAINER]),
    3: ("restartPolicy", TEXT),
    4: ("terminationGracePeriodSeconds", NUMBER),
    7: ("nodeSelector", (TEXT,)),
    8: ("serviceAccountName", TEXT),
}
TEMPLATE: Message = {1: ("metadata", META), 2: ("spec", POD)}
JOB: Message = {
    1: ("parallelism", NUMBER),
    2: ("completions", NUMBER),
    3: ("activeDeadlineSeconds", NUMBER),
    6: ("template", TEMPLATE),
    7: ("backoffLimit", NUMBER),
    8: ("ttlSecondsAfterFinished", NUMBER),
    9: ("completionMode", TEXT),
    10: ("suspend", FLAG),
}
RULE = _row([TEXT], "verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
SUBJECT = _row(TEXT, "kind", "apiGroup", "name", "namespace")
REFERENCE = _row(TEXT, "apiGroup", "kind", "name")
ROLE: Message = {1: ("metadata", META), 2: ("rules", [RULE])}
BINDING: Message = {1: ("metadata", META), 2: ("subjects", [SUBJECT]), 3: ("roleRef", REFERENCE)}
ASKED = _row(TEXT, "namespace", "verb", "group", "version", "resource", "subresource", "name")
ACCESS: Message = {
    1: ("resourceAttributes", ASKED),
    2: ("nonResourceAttributes", _row(TEXT, "path", "verb")),
}
KINDS: dict[str, Message] = {
    "Role": ROLE,
    "ClusterRole": ROLE,
    "RoleBinding": BINDING,
    "ClusterRoleBinding": BINDING,
    "SelfSubjectAccessReview": {1: ("metadata", META), 2: ("spec", ACCESS), 3: ("", {})},
    "SelfSubjectRulesReview": {1: ("metadata", META), 2: ("spec", {1: ("namespace", TEXT)}), 3: ("", {})},
    "Job": {1: ("metadata", META), 2: ("spec", JOB), 3: ("", {})},
    "Namespace": {1: ("metadata", META), 2: ("", {}), 3: ("", {})},
    "ServiceAccount": {1: ("metadata", META)},
    "ConfigMap": {1: ("metadata", META), 2: ("data", (TEXT,)), 3: ("binaryData", (BYTES,))},
    "Secret": {1: ("metadata", META), 2: ("data", (BYTES,)), 3: ("type", TEXT)},
}


def decode(body: bytes) -> Obj:
    if not body.startswith(MAGIC):
        raise ApiError(400, "the body is not protobuf of the Kubernetes kind")
    try:
        envelope = dict(_fields(body[len(MAGIC) :]))
        kind = {number: value.decode() for number, value in _fields(envelope[1])}
        if kind[2] not in KINDS:
            raise ApiError(415, f"{kind[2]} is accepted as application/json only")
        return {"apiVersion": kind[1], "kind": kind[2], **_message(envelope[2], KINDS[kind[2]])}
    except (KeyError, IndexError, AttributeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"couldn't decode the body as protobuf: {error}") from error


def _message(data: bytes, known: Message) -> Obj:
    result: Obj = {}
    for number, value in _fields(data):
        name, kind = known.get(number, ("", None))
        if not name:
            if kind is None and _says_something(value):
                raise ApiError(415, f"field {number} is accepted as application/json only")
        elif isinstance(kind, list):
            result.setdefault(name, []).append(_value(value, kind[0]))
        elif isinstance(kind, tuple):
            pair = dict(_fields(value))
            result.setdefault(name, {})[pair[1].decode()] = _value(pair.get(2, b""), kind[0])
        elif value != b"":
            result[name] = _value(value, kind)
    return result


def _value(value: Any, kind: Any) -> Any:
    if isinstance(kind, dict):
        return _message(value, kind)
    if kind == NUMBER:
        return value - 2**64 if value >= 2**63 else value
    if kind == FLAG:
        return bool(value)
    return base64.b64encode(value).decode() if kind == BYTES else value.decode()


def _says_something(value: Any) -> bool:
    """Go writes empty values of plain fields too, as empty text, zero or messages of such."""
    if isinstance(value, int):
        return value != 0
    try:
        return any(_says_something(inner) for _, inner in _fields(value))
    except IndexError:
        return True


def _fields(data: bytes) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: Any
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise IndexError("cut short")
            value, at = data[at : at + size], at + size
        else:
            raise IndexError(f"wire type {tag & 7}")
        found.append((tag >> 3, value))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 128:
            return value, at
