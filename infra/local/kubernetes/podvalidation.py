"""The rules for what a pod may be, alone or as a Job's template."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from infra.local.kubernetes.errors import ApiError, Findings
from infra.local.kubernetes.values import quantity

Obj = dict[str, Any]
_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
LABEL = re.compile(rf"^{_PART}$")
SUBDOMAIN = re.compile(rf"^{_PART}(\.{_PART})*$")
SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_PART}(\\.{_PART})*')"
)
LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_PART}')"
)
_QUANTITY_WORDS = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
_NAMED_SOURCES = (("persistentVolumeClaim", "claimName"), ("configMap", "name"), ("secret", "secretName"))


def check_not_negative(found: Findings, spec: Obj, at: str, *names: str) -> None:
    for name in names:
        if spec.get(name) is not None and spec[name] < 0:
            found.bad(f"{at}.{name}", spec[name], "must be greater than or equal to 0")


def check_pod_spec(found: Findings, spec: Obj, at: str, policies: list[str]) -> None:
    if not spec.get("restartPolicy"):
        words = ", ".join(f'"{policy}"' for policy in policies)
        found.required(f"{at}.restartPolicy", f"valid values: {words}")
    elif spec["restartPolicy"] not in policies:
        found.unsupported(f"{at}.restartPolicy", spec["restartPolicy"], policies)
    if not spec.get("containers"):
        found.required(f"{at}.containers")
    check_not_negative(found, spec, at, "terminationGracePeriodSeconds", "activeDeadlineSeconds")
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    _volumes(found, spec.get("volumes") or [], at)
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            field = f"{at}.{group}[{index}]"
            _container(found, container, field, volumes)
            if container.get("name") in names:
                found.add("FieldValueDuplicate", f"{field}.name", f'Duplicate value: "{container["name"]}"')
            names.add(container.get("name", ""))
    for key in ("hostname", "subdomain"):
        if spec.get(key) and not LABEL.match(spec[key]):
            found.bad(f"{at}.{key}", spec[key], LABEL_WORDS)


def _volumes(found: Findings, volumes: list[Obj], at: str) -> None:
    for index, volume in enumerate(volumes):
        field = f"{at}.volumes[{index}]"
        if not LABEL.match(volume.get("name") or ""):
            found.bad(f"{field}.name", volume.get("name", ""), LABEL_WORDS)
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            found.forbidden(f"{field}.{sources[1]}", "may not specify more than 1 volume type")
        for source, key in _NAMED_SOURCES:
            name = (volume.get(source) or {}).get(key)
            if source in volume and not name:
                found.required(f"{field}.{source}.{key}")
            elif name and not SUBDOMAIN.match(name):
                found.bad(f"{field}.{source}.{key}", name, SUBDOMAIN_WORDS)


def _container(found: Findings, container: Obj, at: str, volumes: set[Any]) -> None:
    name = container.get("name")
    if not name:
        found.required(f"{at}.name")
    elif not LABEL.match(name) or len(name) > 63:
        found.bad(f"{at}.name", name, LABEL_WORDS)
    if not container.get("image"):
        found.required(f"{at}.image")
    for index, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            found.required(f"{at}.env[{index}].name")
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        field, path = f"{at}.volumeMounts[{index}]", mount.get("mountPath")
        if mount.get("name") not in volumes:
            found.add("FieldValueNotFound", f"{field}.name", f'Not found: "{mount.get("name")}"')
        if not path:
            found.required(f"{field}.mountPath")
        elif path in paths:
            found.bad(f"{field}.mountPath", path, "must be unique")
        paths.add(path or "")
    _resources(found, container.get("resources") or {}, f"{at}.resources")


def _resources(found: Findings, resources: Obj, at: str) -> None:
    limits = _amounts(found, resources.get("limits") or {}, f"{at}.limits")
    for name, amount in _amounts(found, resources.get("requests") or {}, f"{at}.requests").items():
        limit = limits.get(name)
        if limit is not None and amount > limit:
            words = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            found.bad(f"{at}.requests", str(resources["requests"][name]), words)
        if "/" in name and limit != amount:
            found.required(f"{at}.limits[{name}]", "Limit must be set for non overcommitable resources")


def _amounts(found: Findings, given: Obj, at: str) -> dict[str, Decimal]:
    amounts: dict[str, Decimal] = {}
    for name, text in given.items():
        field = f"{at}[{name}]"
        try:
            amounts[name] = quantity(text)
        except ValueError:
            raise ApiError(400, f"{_QUANTITY_WORDS}: {field}: {text}") from None
        if amounts[name] < 0:
            found.bad(field, str(text), "must be greater than or equal to 0")
        if "/" in name and amounts[name] != int(amounts[name]):
            found.bad(field, str(text), "must be an integer")
    return amounts
