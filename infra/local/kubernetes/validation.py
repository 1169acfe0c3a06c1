"""Bad objects are refused in the words of the real server, so that what works here works there."""

from __future__ import annotations

import base64
import re
from typing import Any

from infra.local.kubernetes.admission import own_labels
from infra.local.kubernetes.errors import ApiError, Cause, bad_value, invalid, required, unsupported
from infra.local.kubernetes.fields import check_fields
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
from infra.local.kubernetes.values import quantity

Obj = dict[str, Any]
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_KEY = re.compile(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
    "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_UID = "batch.kubernetes.io/controller-uid"
_BINDINGS = (ROLE_BINDINGS, CLUSTER_BINDINGS)
_FREE_NAMES = (EVENTS, ROLES, CLUSTER_ROLES, *_BINDINGS)
NOT_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"


def validate(resource: Resource, obj: Obj, old: Obj | None = None) -> None:
    """Raises 400 for what cannot be read and 422, with every cause, for what breaks a rule."""
    check_fields(resource, obj)
    causes = _metadata(resource, obj["metadata"])
    if resource == JOBS:
        causes += _job(obj["metadata"], obj.get("spec") or {}) if old is None else _job_update(obj, old)
    elif resource == PODS:
        causes += (
            _pod_spec(obj.get("spec") or {}, "spec", for_job=False) if old is None else _pod_update(obj, old)
        )
    elif resource in _BINDINGS:
        causes += _binding(obj, old)
    elif resource == SECRETS:
        causes += _secret(obj.get("data") or {})
    elif (
        resource == PRIORITIES
        and abs(obj.get("value") or 0) > 1_000_000_000
        and old is None
        and not obj["metadata"]["name"].startswith("system-")
    ):
        causes.append(
            (
                "FieldValueForbidden",
                "value",
                "Forbidden: maximum allowed value of a user defined priority is 1000000000",
            )
        )
    if causes:
        raise invalid(resource, obj["metadata"].get("name", ""), causes)


def _metadata(resource: Resource, metadata: Obj) -> list[Cause]:
    causes: list[Cause] = []
    name = metadata.get("name", "")
    strict = resource in (SERVICES, NAMESPACES)
    pattern, limit, words = (_LABEL, 63, LABEL_WORDS) if strict else (_SUBDOMAIN, 253, SUBDOMAIN_WORDS)
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    elif not isinstance(name, str) or (not pattern.match(name) and resource not in _FREE_NAMES):
        causes.append(bad_value("metadata.name", name, words))
    elif len(name) > limit:
        causes.append(bad_value("metadata.name", name, f"must be no more than {limit} characters"))
    causes += _labels(metadata.get("labels"), "metadata.labels")
    for index, owner in enumerate(metadata.get("ownerReferences") or []):
        causes += [
            required(f"metadata.ownerReferences[{index}].{f}", "must not be empty")
            for f in ("apiVersion", "kind", "name", "uid")
            if not owner.get(f)
        ]
    for key in metadata.get("annotations") or {}:
        if not _KEY.match(key.lower()):
            causes.append(
                bad_value(
                    "metadata.annotations",
                    key,
                    "name part must consist of alphanumeric characters, "
                    "'-', '_' or '.', and must start and end with an alphanumeric character",
                )
            )
    return causes


def _labels(labels: Obj | None, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key, value in (labels or {}).items():
        if not _KEY.match(key):
            causes.append(
                bad_value(
                    field,
                    key,
                    "name part must consist of alphanumeric characters, '-', '_' or '.', "
                    "and must start and end with an alphanumeric character",
                )
            )
        if len(value) > 63:
            causes.append(bad_value(field, value, "must be no more than 63 characters"))
        elif not _VALUE.match(value):
            causes.append(
                bad_value(
                    field,
                    value,
                    "a valid label must be an empty string or consist of alphanumeric "
                    "characters, '-', '_' or '.', and must start and end with an alphanumeric "
                    "character",
                )
            )
    return causes


def _binding(obj: Obj, old: Obj | None) -> list[Cause]:
    reference = obj.get("roleRef") or {}
    causes = [required(f"roleRef.{field}") for field in ("kind", "name") if not reference.get(field)]
    if old is not None and old["roleRef"] != reference:
        causes.append(bad_value("roleRef", reference, "cannot change roleRef"))
    return causes


def _secret(data: Obj) -> list[Cause]:
    for key, value in data.items():
        try:
            base64.b64decode(value, validate=True)
        except ValueError as error:
            raise ApiError(
                400, f'Secret in version "v1" cannot be handled as a Secret: illegal base64 data: data.{key}'
            ) from error
    return []


def _job(metadata: Obj, spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    for name in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        value = spec.get(name)
        if value is not None and value < 0:
            causes.append(bad_value(f"spec.{name}", value, NOT_NEGATIVE))
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("NonIndexed", "Indexed"):
        causes.append(unsupported("spec.completionMode", mode, ["Indexed", "NonIndexed"]))
    if mode == "Indexed" and spec.get("completions") is None:
        causes.append(required("spec.completions", "when completion mode is Indexed"))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not spec.get("manualSelector"):
        if spec.get("selector") != {"matchLabels": {_UID: metadata["uid"]}}:
            causes.append(bad_value("spec.selector", spec.get("selector"), "`selector` not auto-generated"))
        for key, value in own_labels(metadata.get("name", ""), metadata["uid"]).items():
            if labels.get(key) != value:
                field = f"spec.template.metadata.labels[{key}]"
                causes.append(bad_value(field, labels.get(key), f"must be '{value}'"))
    causes += _labels((template.get("metadata") or {}).get("labels"), "spec.template.metadata.labels")
    pod = template.get("spec") or {}
    causes += _pod_spec(pod, "spec.template.spec", for_job=True)
    policy = spec.get("podFailurePolicy")
    if policy:
        causes += _failure_policy(policy, pod)
    return causes


def _failure_policy(policy: Obj, pod: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if pod.get("restartPolicy") != "Never":
        causes.append(
            bad_value(
                "spec.template.spec.restartPolicy",
                pod.get("restartPolicy"),
                'only "Never" is supported when podFailurePolicy is specified',
            )
        )
    for index, rule in enumerate(policy.get("rules") or []):
        field = f"spec.podFailurePolicy.rules[{index}]"
        if rule.get("action") not in ("FailJob", "Ignore", "Count"):
            causes.append(unsupported(f"{field}.action", rule.get("action"), ["Count", "FailJob", "Ignore"]))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if bool(codes) == bool(conditions):
            causes.append(
                bad_value(field, "", "specifying one of OnExitCodes and OnPodConditions is required")
            )
        if codes and codes.get("operator") not in ("In", "NotIn"):
            causes.append(
                unsupported(f"{field}.onExitCodes.operator", codes.get("operator"), ["In", "NotIn"])
            )
        if codes and codes.get("operator") == "In" and 0 in (codes.get("values") or []):
            causes.append(bad_value(f"{field}.onExitCodes.values[0]", 0, "must not be 0 for the In operator"))
    return causes


def _pod_spec(spec: Obj, at: str, *, for_job: bool) -> list[Cause]:
    causes: list[Cause] = []
    policies = ["OnFailure", "Never"] if for_job else ["Always", "OnFailure", "Never"]
    policy = spec.get("restartPolicy", "Always")
    if for_job and "restartPolicy" not in spec:
        causes.append(required(f"{at}.restartPolicy", 'valid values: "OnFailure", "Never"'))
    elif policy not in policies:
        causes.append(unsupported(f"{at}.restartPolicy", policy, policies))
    if not spec.get("containers"):
        causes.append(required(f"{at}.containers"))
    for name in ("terminationGracePeriodSeconds", "activeDeadlineSeconds"):
        if spec.get(name) is not None and spec[name] < 0:
            causes.append(bad_value(f"{at}.{name}", spec[name], NOT_NEGATIVE))
    volumes = {volume.get("name"): volume for volume in spec.get("volumes") or []}
    causes += _volumes(spec.get("volumes") or [], at)
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            field = f"{at}.{group}[{index}]"
            causes += _container(container, field, volumes)
            if container.get("name") in names:
                causes.append(
                    ("FieldValueDuplicate", f"{field}.name", f'Duplicate value: "{container["name"]}"')
                )
            names.add(container.get("name", ""))
    for key in ("hostname", "subdomain"):
        if spec.get(key) and not _LABEL.match(spec[key]):
            causes.append(bad_value(f"{at}.{key}", spec[key], LABEL_WORDS))
    return causes


def _volumes(volumes: list[Obj], at: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, volume in enumerate(volumes):
        field = f"{at}.volumes[{index}]"
        if not _LABEL.match(volume.get("name") or ""):
            causes.append(bad_value(f"{field}.name", volume.get("name", ""), LABEL_WORDS))
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            causes.append(
                (
                    "FieldValueForbidden",
                    f"{field}.{sources[1]}",
                    "Forbidden: may not specify more than 1 volume type",
                )
            )
        for source, key in (
            ("persistentVolumeClaim", "claimName"),
            ("configMap", "name"),
            ("secret", "secretName"),
        ):
            name = (volume.get(source) or {}).get(key)
            if source in volume and not name:
                causes.append(required(f"{field}.{source}.{key}"))
            elif name and not _SUBDOMAIN.match(name):
                causes.append(bad_value(f"{field}.{source}.{key}", name, SUBDOMAIN_WORDS))
    return causes


def _container(container: Obj, at: str, volumes: Obj) -> list[Cause]:
    causes: list[Cause] = []
    name = container.get("name")
    if not name:
        causes.append(required(f"{at}.name"))
    elif not _LABEL.match(name) or len(name) > 63:
        causes.append(bad_value(f"{at}.name", name, LABEL_WORDS))
    if not container.get("image"):
        causes.append(required(f"{at}.image"))
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            causes.append(required(f"{at}.env[{index}].name"))
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        field = f"{at}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            causes.append(("FieldValueNotFound", f"{field}.name", f'Not found: "{mount.get("name")}"'))
        path = mount.get("mountPath")
        if not path:
            causes.append(required(f"{field}.mountPath"))
        elif path in paths:
            causes.append(bad_value(f"{field}.mountPath", path, "must be unique"))
        paths.add(path or "")
    return causes + _resources(container.get("resources") or {}, f"{at}.resources")


def _resources(resources: Obj, at: str) -> list[Cause]:
    causes: list[Cause] = []
    amounts: dict[tuple[str, str], Any] = {}
    for group in ("limits", "requests"):
        for name, text in (resources.get(group) or {}).items():
            field = f"{at}.{group}[{name}]"
            try:
                amount = quantity(text)
            except ValueError:
                raise ApiError(
                    400,
                    "quantities must match the regular expression "
                    f"'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$': {field}: {text}",
                ) from None
            if amount < 0:
                causes.append(bad_value(field, str(text), NOT_NEGATIVE))
            if "/" in name and amount != int(amount):
                causes.append(bad_value(field, str(text), "must be an integer"))
            amounts[group, name] = amount
    for (group, name), amount in amounts.items():
        limit = amounts.get(("limits", name))
        if group == "requests" and limit is not None and amount > limit:
            text = (resources.get("requests") or {})[name]
            causes.append(
                bad_value(
                    f"{at}.requests",
                    str(text),
                    f"must be less than or equal to {name} limit of {resources['limits'][name]}",
                )
            )
        if group == "requests" and "/" in name and limit != amount:
            causes.append(
                required(f"{at}.limits[{name}]", "Limit must be set for non overcommitable resources")
            )
    return causes


def _job_update(obj: Obj, old: Obj) -> list[Cause]:
    causes: list[Cause] = []
    new, before = obj.get("spec") or {}, old.get("spec") or {}
    for name in ("template", "selector", "completionMode", "podFailurePolicy", "completions"):
        elastic = name == "completions" and new.get("completionMode") == "Indexed"
        if new.get(name) != before.get(name) and not elastic:
            causes.append(bad_value(f"spec.{name}", new.get(name), IMMUTABLE))
    for name in ("parallelism", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if new.get(name) is not None and new[name] < 0:
            causes.append(bad_value(f"spec.{name}", new[name], NOT_NEGATIVE))
    return causes


def _pod_update(obj: Obj, old: Obj) -> list[Cause]:
    allowed = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName")
    new = {k: v for k, v in (obj.get("spec") or {}).items() if k not in allowed}
    before = {k: v for k, v in old["spec"].items() if k not in allowed}
    if new != before:
        return [
            (
                "FieldValueForbidden",
                "spec",
                "Forbidden: pod updates may not change fields other than "
                "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                "`spec.tolerations` (only additions to existing tolerations),"
                "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
                "negative)",
            )
        ]
    return []
