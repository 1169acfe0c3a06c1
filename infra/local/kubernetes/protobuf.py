"""kubectl's imperative commands (`kubectl create job`, `create namespace`, …) speak nothing but protobuf.

Only what those commands fill in is known here; anything else that carries a value is refused.
"""

from __future__ import annotations

import base64
from typing import Any

from infra.local.kubernetes.errors import ApiError

Obj = dict[str, Any]
MAGIC = b"k8s\x00"
# Of each message its fields: number, name and kind: text unless said otherwise, [many] or {a map to};
# what is named - may be there and is not needed.
MESSAGES = {
    "Meta": "1 name, 2 generateName, 3 namespace, 8 -, 11 labels:{text}, 12 annotations:{text}",
    "Env": "1 name, 2 value",
    "Container": "1 name, 2 image, 3 command:[text], 4 args:[text], 5 workingDir, 7 env:[Env], 8 -, "
    "14 imagePullPolicy",
    "Pod": "2 containers:[Container], 3 restartPolicy, 4 terminationGracePeriodSeconds:number, "
    "7 nodeSelector:{text}, 8 serviceAccountName",
    "Template": "1 metadata:Meta, 2 spec:Pod",
    "JobSpec": "1 parallelism:number, 2 completions:number, 3 activeDeadlineSeconds:number, "
    "6 template:Template, 7 backoffLimit:number, 8 ttlSecondsAfterFinished:number, "
    "9 completionMode, 10 suspend:flag",
    "Rule": "1 verbs:[text], 2 apiGroups:[text], 3 resources:[text], 4 resourceNames:[text], "
    "5 nonResourceURLs:[text]",
    "Subject": "1 kind, 2 apiGroup, 3 name, 4 namespace",
    "Reference": "1 apiGroup, 2 kind, 3 name",
    "Resource": "1 namespace, 2 verb, 3 group, 4 version, 5 resource, 6 subresource, 7 name",
    "NonResource": "1 path, 2 verb",
    "Access": "1 resourceAttributes:Resource, 2 nonResourceAttributes:NonResource",
    "Rules": "1 namespace",
}
_ROLE = "1 metadata:Meta, 2 rules:[Rule]"
_BINDING = "1 metadata:Meta, 2 subjects:[Subject], 3 roleRef:Reference"
KINDS = {
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "SelfSubjectAccessReview": "1 metadata:Meta, 2 spec:Access, 3 -",
    "SelfSubjectRulesReview": "1 metadata:Meta, 2 spec:Rules, 3 -",
    "Job": "1 metadata:Meta, 2 spec:JobSpec, 3 -",
    "Namespace": "1 metadata:Meta, 2 -, 3 -",
    "ServiceAccount": "1 metadata:Meta",
    "ConfigMap": "1 metadata:Meta, 2 data:{text}, 3 binaryData:{bytes}",
    "Secret": "1 metadata:Meta, 2 data:{bytes}, 3 type",
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


def _message(data: bytes, fields: str) -> Obj:
    result: Obj = {}
    known = {int(number): name for number, _, name in (field.partition(" ") for field in fields.split(", "))}
    for number, value in _fields(data):
        name, _, kind = known.get(number, "").partition(":")
        if not name and _says_something(value):
            raise ApiError(415, f"field {number} is accepted as application/json only")
        if kind.startswith("["):
            result.setdefault(name, []).append(_value(value, kind[1:-1]))
        elif kind.startswith("{"):
            pair = dict(_fields(value))
            result.setdefault(name, {})[pair[1].decode()] = _value(pair.get(2, b""), kind[1:-1])
        elif name not in ("", "-") and value != b"":
            result[name] = _value(value, kind)
    return result


def _value(value: Any, kind: str) -> Any:
    if kind in MESSAGES:
        return _message(value, MESSAGES[kind])
    if kind == "number":
        return value - 2**64 if value >= 2**63 else value
    if kind == "flag":
        return bool(value)
    return base64.b64encode(value).decode() if kind == "bytes" else value.decode()


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
