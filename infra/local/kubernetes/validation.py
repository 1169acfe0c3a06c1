"""Bad objects are refused in the words of the real server, so that what works here works there."""

from __future__ import annotations

import base64
import re
from typing import Any

from infra.local.kubernetes.admission import own_labels
from infra.local.kubernetes.errors import ApiError, Findings, invalid
from infra.local.kubernetes.podvalidation import LABEL, SUBDOMAIN, Name, check_not_negative, check_pod_spec
from infra.local.kubernetes.resources import (
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    PRIORITIES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICES,
    Resource,
)
from infra.local.kubernetes.selection import LABEL_KEY

Obj = dict[str, Any]
_LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
_ALPHANUMERIC = (
    "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character"
)
_ANY_NAME = Name(re.compile("."), 253, "")
_NAMES = {
    **dict.fromkeys((SERVICES, NAMESPACES), LABEL),
    **dict.fromkeys((EVENTS, ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_BINDINGS), _ANY_NAME),
}
_IMMUTABLE = ("template", "selector", "completionMode", "podFailurePolicy", "completions")
_COUNTS = ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished")
_POD_MAY_CHANGE = {"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName"}
_POD_WORDS = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def validate(resource: Resource, obj: Obj, old: Obj | None = None) -> None:
    """Raises 422, with every cause, for what breaks a rule; the fields have been checked."""
    found = Findings()
    _metadata(found, resource, obj["metadata"])
    spec = obj.get("spec") or {}
    if resource == JOBS and old is None:
        _job(found, obj["metadata"], spec)
    elif resource == JOBS and old is not None:
        _job_update(found, spec, old["spec"])
    elif resource == PODS and old is None:
        check_pod_spec(found, spec, "spec", ["Always", "OnFailure", "Never"])
    elif resource == PODS and old is not None:
        changed = {k for k in {*spec, *old["spec"]} if spec.get(k) != old["spec"].get(k)}
        if changed - _POD_MAY_CHANGE:
            found.forbidden("spec", _POD_WORDS)
    elif resource in (ROLE_BINDINGS, CLUSTER_BINDINGS) and old is not None:
        if old["roleRef"] != obj["roleRef"]:
            found.bad("roleRef", obj["roleRef"], "cannot change roleRef")
    elif resource == SECRETS:
        _secret(obj.get("data") or {})
    elif resource == PRIORITIES:
        ours = obj["metadata"].get("name", "").startswith("system-")
        if not ours and abs(obj["value"]) > 1_000_000_000:
            found.forbidden("value", "maximum allowed value of a user defined priority is 1000000000")
    if found:
        raise invalid(resource, obj["metadata"].get("name", ""), found)


def _metadata(found: Findings, resource: Resource, metadata: Obj) -> None:
    if not metadata.get("name"):
        found.required("metadata.name", "name or generateName is required")
    else:
        _NAMES.get(resource, SUBDOMAIN).check(found, "metadata.name", metadata["name"])
    _labels(found, metadata.get("labels"), "metadata.labels")
    for key in metadata.get("annotations") or {}:
        if not LABEL_KEY.match(key.lower()):
            found.bad("metadata.annotations", key, f"name part must {_ALPHANUMERIC}")


def _labels(found: Findings, labels: Obj | None, field: str) -> None:
    for key, value in (labels or {}).items():
        if not LABEL_KEY.match(key):
            found.bad(field, key, f"name part must {_ALPHANUMERIC}")
        if not _LABEL_VALUE.match(value):
            found.bad(field, value, f"a valid label must be an empty string or {_ALPHANUMERIC}")


def _secret(data: Obj) -> None:
    for key, value in data.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError as error:
            words = 'Secret in version "v1" cannot be handled as a Secret: illegal base64 data: '
            raise ApiError(400, f"{words}data.{key}") from error


def _job_update(found: Findings, spec: Obj, old: Obj) -> None:
    check_not_negative(found, spec, "spec", *_COUNTS)
    for name in _IMMUTABLE:
        elastic = name == "completions" and spec.get("completionMode") == "Indexed"
        if spec.get(name) != old.get(name) and not elastic:
            found.bad(f"spec.{name}", spec.get(name), "field is immutable")


def _job(found: Findings, metadata: Obj, spec: Obj) -> None:
    check_not_negative(found, spec, "spec", *_COUNTS)
    mode = spec["completionMode"]
    if mode not in ("NonIndexed", "Indexed"):
        found.unsupported("spec.completionMode", mode, ["Indexed", "NonIndexed"])
    if mode == "Indexed" and spec.get("completions") is None:
        found.required("spec.completions", "when completion mode is Indexed")
    labels, at = spec["template"]["metadata"]["labels"], "spec.template.metadata.labels"
    if not spec.get("manualSelector"):
        selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": metadata["uid"]}}
        if spec.get("selector") != selector:
            found.bad("spec.selector", spec.get("selector"), "`selector` not auto-generated")
        for key, value in own_labels(metadata.get("name", ""), metadata["uid"]).items():
            if labels.get(key) != value:
                found.bad(f"{at}[{key}]", labels.get(key), f"must be '{value}'")
    _labels(found, labels, at)
    pod = spec["template"].get("spec") or {}
    check_pod_spec(found, pod, "spec.template.spec", ["OnFailure", "Never"])
    if spec.get("podFailurePolicy"):
        _failure_policy(found, spec["podFailurePolicy"], pod)


def _failure_policy(found: Findings, policy: Obj, pod: Obj) -> None:
    if pod.get("restartPolicy") != "Never":
        words = 'only "Never" is supported when podFailurePolicy is specified'
        found.bad("spec.template.spec.restartPolicy", pod.get("restartPolicy"), words)
    for index, rule in enumerate(policy["rules"]):
        field, codes = f"spec.podFailurePolicy.rules[{index}]", rule.get("onExitCodes")
        if rule["action"] not in ("FailJob", "Ignore", "Count"):
            found.unsupported(f"{field}.action", rule["action"], ["Count", "FailJob", "Ignore"])
        if bool(codes) == bool(rule.get("onPodConditions")):
            found.bad(field, "", "specifying one of OnExitCodes and OnPodConditions is required")
        if codes and codes["operator"] not in ("In", "NotIn"):
            found.unsupported(f"{field}.onExitCodes.operator", codes["operator"], ["In", "NotIn"])
        if codes and codes["operator"] == "In" and 0 in codes["values"]:
            found.bad(f"{field}.onExitCodes.values[0]", 0, "must not be 0 for the In operator")
