"""The fields that are understood. Anything else is refused: a setting ignored in silence is a lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.resources import (
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    CONFIGMAPS,
    JOBS,
    PODS,
    PRIORITIES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    Resource,
)

Obj = dict[str, Any]
# what a leaf may hold: text unless said otherwise (quantities and the like are checked elsewhere: any)
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("string", lambda v: isinstance(v, str)),
    "int": ("int64", lambda v: isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**63),
    "bool": ("bool", lambda v: isinstance(v, bool)),
    "map": (
        "map[string]string",
        lambda v: isinstance(v, dict) and all(isinstance(i, str) for i in v.values()),
    ),
    "list": ("[]string", lambda v: isinstance(v, list) and all(isinstance(i, str) for i in v)),
    "amounts": (
        "ResourceList",
        lambda v: (
            isinstance(v, dict)
            and all(isinstance(i, str | int | float) and not isinstance(i, bool) for i in v.values())
        ),
    ),
    "any": ("", lambda _: True),
}


def _leaves(words: str) -> Obj:
    return {name: kind or "text" for name, _, kind in (word.partition(":") for word in words.split())}


METADATA = {
    **_leaves(
        "name generateName namespace labels:map annotations:map finalizers:list uid resourceVersion "
        "generation:int creationTimestamp deletionTimestamp deletionGracePeriodSeconds:int "
        "managedFields:any selfLink"
    ),
    "ownerReferences": [_leaves("apiVersion kind name uid controller:bool blockOwnerDeletion:bool")],
}
KEY_REF = _leaves("name key optional:bool")
ENV = {
    **_leaves("name value"),
    "valueFrom": {
        "fieldRef": _leaves("apiVersion fieldPath"),
        "configMapKeyRef": KEY_REF,
        "secretKeyRef": KEY_REF,
    },
}
CONTAINER = {
    **_leaves(
        "name image imagePullPolicy command:list args:list workingDir terminationMessagePath "
        "terminationMessagePolicy ports:any"
    ),
    "env": [ENV],
    "resources": _leaves("requests:amounts limits:amounts"),
    "volumeMounts": [_leaves("name mountPath readOnly:bool")],
    "securityContext": _leaves(
        "allowPrivilegeEscalation:bool capabilities:any privileged:bool runAsUser:int "
        "readOnlyRootFilesystem:bool runAsGroup:int runAsNonRoot:bool seccompProfile:any"
    ),
}
FILES = {**_leaves("defaultMode:int optional:bool"), "items": [_leaves("key path mode:int")]}
POD_SPEC = {
    **_leaves(
        "restartPolicy terminationGracePeriodSeconds:int activeDeadlineSeconds:int nodeName nodeSelector:map "
        "serviceAccountName serviceAccount automountServiceAccountToken:bool enableServiceLinks:bool "
        "priorityClassName priority:int preemptionPolicy hostname subdomain schedulerName dnsPolicy "
        "imagePullSecrets:any"
    ),
    "tolerations": [_leaves("key operator value effect tolerationSeconds:int")],
    "containers": [CONTAINER],
    "initContainers": [CONTAINER],
    "securityContext": _leaves(
        "runAsUser:int runAsGroup:int runAsNonRoot:bool fsGroup:int fsGroupChangePolicy "
        "supplementalGroups:any seccompProfile:any"
    ),
    "volumes": [
        {
            **_leaves("name"),
            "persistentVolumeClaim": _leaves("claimName readOnly:bool"),
            "emptyDir": _leaves("medium sizeLimit:any"),
            "configMap": {**_leaves("name"), **FILES},
            "secret": {**_leaves("secretName"), **FILES},
        }
    ],
}
RULE = {
    **_leaves("action"),
    "onExitCodes": _leaves("containerName operator values:any"),
    "onPodConditions": [_leaves("type status")],
}
JOB_SPEC = {
    **_leaves(
        "parallelism:int completions:int completionMode backoffLimit:int activeDeadlineSeconds:int "
        "ttlSecondsAfterFinished:int suspend:bool selector:any manualSelector:bool podReplacementPolicy"
    ),
    "podFailurePolicy": {"rules": [RULE]},
    "template": {"metadata": METADATA, "spec": POD_SPEC},
}
TOP = {**_leaves("apiVersion kind status:any"), "metadata": METADATA}
ROLE = {
    **TOP,
    "rules": [_leaves("verbs:list apiGroups:list resources:list resourceNames:list nonResourceURLs:list")],
}
BINDING = {
    **TOP,
    "subjects": [_leaves("kind name namespace apiGroup")],
    "roleRef": _leaves("kind name apiGroup"),
}
KNOWN = {
    **dict.fromkeys((ROLES, CLUSTER_ROLES), ROLE),
    **dict.fromkeys((ROLE_BINDINGS, CLUSTER_BINDINGS), BINDING),
    PODS: {**TOP, "spec": POD_SPEC},
    JOBS: {**TOP, "spec": JOB_SPEC},
    CONFIGMAPS: {**TOP, **_leaves("data:map binaryData:map immutable:bool")},
    SECRETS: {**TOP, **_leaves("data:map stringData:map type immutable:bool")},
    PRIORITIES: {**TOP, **_leaves("value:int globalDefault:bool description preemptionPolicy")},
}


def check_fields(resource: Resource, obj: Obj) -> None:
    """All that is unknown at once, in the words of the real server's strict decoder."""
    kind = resource.kind
    opening = f'{kind} in version "{resource.version}" cannot be handled as a {kind}: '
    try:
        unknown = _unknown(obj, KNOWN.get(resource, {"metadata": METADATA}), "", closed=resource in KNOWN)
    except _WrongType as error:
        raise ApiError(400, opening + str(error)) from error
    if unknown:
        listed = ", ".join(f'unknown or unsupported field "{path}"' for path in unknown)
        raise ApiError(400, f"{opening}strict decoding error: {listed}")


class _WrongType(Exception):
    def __init__(self, value: Any, path: str, wanted: str) -> None:
        words = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
        word = words.get(type(value), "value")
        super().__init__(f"json: cannot unmarshal {word} into Go struct field {path} of type {wanted}")


def _unknown(value: Any, known: Any, path: str, *, closed: bool = True) -> list[str]:
    if value is None:
        return []
    if isinstance(known, str):
        wanted, fits = _TYPES[known]
        if not fits(value):
            raise _WrongType(value, path, wanted)
        return []
    if isinstance(known, list):
        if not isinstance(value, list):
            raise _WrongType(value, path, "a list")
        return [p for i, item in enumerate(value) for p in _unknown(item or {}, known[0], f"{path}[{i}]")]
    if not isinstance(value, dict):
        raise _WrongType(value, path, "an object")
    found: list[str] = []
    for name, below in value.items():
        where = f"{path}.{name}" if path else name
        if name in known:
            found += _unknown(below, known[name], where)
        elif closed and below not in (None, {}, []):
            found.append(where)
    return found
