"""The rules for what a pod may be, alone or as a Job's template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from infra.local.kubernetes.errors import ApiError, Findings
from infra.local.kubernetes.values import quantity

Obj = dict[str, Any]
_PART = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_QUANTITY_WORDS = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


@dataclass(frozen=True)
class Name:
    """A kind of name: what it looks like, how long it may be, and how that is said."""

    pattern: re.Pattern[str]
    limit: int
    words: str

    def check(self, found: Findings, field: str, name: str) -> None:
        if not self.pattern.match(name):
            found.bad(field, name, self.words)
        elif len(name) > self.limit:
            found.bad(field, name, f"must be no more than {self.limit} characters")


LABEL = Name(
    re.compile(rf"^{_PART}$"),
    63,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    f"and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_PART}')",
)
SUBDOMAIN = Name(
    re.compile(rf"^{_PART}(\.{_PART})*$"),
    253,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_PART}(\\.{_PART})*')",
)


def check_not_negative(found: Findings, spec: Obj, at: str, *names: str) -> None:
    for name in names:
        if (spec.get(name) or 0) < 0:
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
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            LABEL.check(found, f"{at}.{key}", spec[key])
    for index, volume in enumerate(spec.get("volumes") or []):
        _volume(found, volume, f"{at}.volumes[{index}]")
    volumes = {volume["name"] for volume in spec.get("volumes") or []}
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            field = f"{at}.{group}[{index}]"
            _container(found, container, field, volumes)
            if container["name"] in names:
                found.add("FieldValueDuplicate", f"{field}.name", f'Duplicate value: "{container["name"]}"')
            names.add(container["name"])


def _volume(found: Findings, volume: Obj, at: str) -> None:
    LABEL.check(found, f"{at}.name", volume["name"])
    sources = [key for key in volume if key != "name"]
    if len(sources) > 1:
        found.forbidden(f"{at}.{sources[1]}", "may not specify more than 1 volume type")
    for source, key in (
        ("persistentVolumeClaim", "claimName"),
        ("configMap", "name"),
        ("secret", "secretName"),
    ):
        if source in volume:
            SUBDOMAIN.check(found, f"{at}.{source}.{key}", volume[source].get(key, ""))
    if size := (volume.get("emptyDir") or {}).get("sizeLimit"):
        _amounts(found, {"sizeLimit": size}, f"{at}.emptyDir")


def _container(found: Findings, container: Obj, at: str, volumes: set[str]) -> None:
    LABEL.check(found, f"{at}.name", container["name"])
    if not container.get("image"):
        found.required(f"{at}.image")
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        field, path = f"{at}.volumeMounts[{index}]", mount["mountPath"]
        if mount["name"] not in volumes:
            found.add("FieldValueNotFound", f"{field}.name", f'Not found: "{mount["name"]}"')
        if path in paths:
            found.bad(f"{field}.mountPath", path, "must be unique")
        paths.add(path)
    _resources(found, container.get("resources") or {}, f"{at}.resources")


def _resources(found: Findings, resources: Obj, at: str) -> None:
    limits = _amounts(found, resources.get("limits") or {}, f"{at}.limits")
    for name, amount in _amounts(found, resources.get("requests") or {}, f"{at}.requests").items():
        limit = limits.get(name)
        if limit is not None and amount > limit:
            words = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            found.bad(f"{at}.requests", resources["requests"][name], words)
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
            found.bad(field, text, "must be greater than or equal to 0")
        if "/" in name and amounts[name] != int(amounts[name]):
            found.bad(field, text, "must be an integer")
    return amounts
