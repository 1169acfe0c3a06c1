"""Label and field selectors, parsed as strictly as the real server does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from infra.local.kubernetes.errors import ApiError

Obj = dict[str, Any]
Test = Callable[[Obj], bool]

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>[A-Za-z0-9._-]*)$")
LABEL_KEY = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_COMMON = {"metadata.name", "metadata.namespace"}
_ABOUT = "kind namespace name uid apiVersion resourceVersion fieldPath"
_FIELDS = {
    "pods": "status.phase status.podIP spec.nodeName spec.restartPolicy spec.schedulerName",
    "events": "reason reportingComponent source type "
    + " ".join(f"involvedObject.{name}" for name in _ABOUT.split()),
    "jobs.batch": "status.successful",
    "namespaces": "status.phase",
    "secrets": "type",
    "nodes": "spec.unschedulable",
    "services": "spec.clusterIP spec.type",
}


def label_test(selector: str) -> Test:
    tests = [_label_requirement(part.strip()) for part in _split(selector)] if selector.strip() else []
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def field_test(selector: str, resource: str) -> Test:
    tests = [_field_requirement(part.strip(), resource) for part in selector.split(",") if part.strip()]
    return lambda obj: all(test(obj) for test in tests)


def _split(selector: str) -> list[str]:
    return re.split(r",(?![^()]*\))", selector)


def _label_requirement(part: str) -> Test:
    if found := _SET.match(part):
        key, values = found["key"], {v.strip() for v in found["values"].split(",")}
        positive = found["op"] == "in"
        return lambda labels: (labels.get(key) in values) is positive
    if found := _EQUAL.match(part):
        key, value = found["key"], found["value"]
        positive = found["op"] != "!="
        return lambda labels: (labels.get(key) == value) is positive
    key = part.removeprefix("!").strip()
    if not LABEL_KEY.match(key):
        raise ApiError(400, f'unable to parse requirement: invalid label selector "{part}"')
    return lambda labels: (key in labels) is not part.startswith("!")


def _field_requirement(part: str, resource: str) -> Test:
    found = re.match(r"^([^=!]+?)(==|=|!=)(.*)$", part)
    if not found:
        raise ApiError(400, f"invalid selector: '{part}'; can't understand '{part}'")
    path, operator, value = found.groups()
    if path not in {*_COMMON, *_FIELDS.get(resource, "").split()}:
        raise ApiError(400, f"field label not supported: {path}")
    return lambda obj: (_value(obj, path) == value) is (operator != "!=")


def _value(obj: Any, path: str) -> str:
    if path == "status.successful":
        path = "status.succeeded"
    if path == "source":
        path = "source.component"
    for step in path.split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj).lower() if isinstance(obj, bool) else str(obj)
