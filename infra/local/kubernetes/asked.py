"""What a request asks for, read from its path, query and body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml
from aiohttp import web

from infra.local.kubernetes import errors, protobuf
from infra.local.kubernetes.access import Action
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.registry import DeleteOptions
from infra.local.kubernetes.resources import BY_PATH, NAMESPACES, Resource
from infra.local.kubernetes.selection import Test, field_test, label_test

Obj = dict[str, Any]
METHODS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    resource: Resource
    namespace: str
    name: str
    subresource: str

    @property
    def place(self) -> tuple[Resource, str, str]:
        return self.resource, self.namespace, self.name

    def action(self, verb: str) -> Action:
        resource = "/".join(filter(None, (self.resource.plural, self.subresource)))
        namespace = self.name if self.resource == NAMESPACES else self.namespace
        return Action(verb, self.resource.group, resource, namespace, self.name)


def parse(parts: list[str]) -> Target:
    """/api/v1/namespaces/{ns}/pods/{name}/log and its kin."""
    match parts:
        case ["api", "v1", *rest]:
            group = ""
        case ["apis", group, "v1", *rest]:
            pass
        case _:
            raise errors.no_such_path()
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and (group, rest[2]) in BY_PATH and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, rest[0])) if rest else None
    name, sub = [*rest[1:], "", ""][:2]
    if resource is None or len(rest) > 3 or (sub and sub not in resource.subresources):
        raise errors.no_such_path()
    if (resource.namespaced and name and not namespace) or (namespace and not resource.namespaced):
        raise errors.no_such_path()
    return Target(resource, namespace, name, sub)


def verb_of(request: web.Request, target: Target) -> str:
    """As RBAC names it."""
    verb = METHODS.get(request.method, "")
    if not target.name:
        watching = request.query.get("watch") in ("1", "true")
        several = {"get": "watch" if watching else "list", "delete": "deletecollection", "create": "create"}
        verb = several.get(verb, "")
    elif target.subresource == "exec":
        verb = verb if verb in ("get", "create") else ""
    elif verb == "create" or (target.subresource and verb == "delete"):
        verb = ""
    if not verb:
        words = "the server does not allow this method on the requested resource"
        raise ApiError(405, words, "MethodNotAllowed")
    return verb


async def read_object(request: web.Request, resource: Resource) -> Obj:
    obj = _cleaned(await read_json(request))
    if not isinstance(obj, dict):
        raise ApiError(400, f"the body is not a {resource.kind}")
    kind, version = obj.get("kind", resource.kind), obj.get("apiVersion", resource.api_version)
    opening = f'{kind} in version "{version}" cannot be handled as a {resource.kind}'
    if not isinstance(obj.setdefault("metadata", {}), dict):
        raise ApiError(400, f"{opening}: metadata is not an object")
    if (kind, version) != (resource.kind, resource.api_version):
        words = "the API version in the data does not match the expected API version"
        raise ApiError(400, f"{opening}: {words} ({resource.api_version})")
    return obj


def _cleaned(value: Any, name: str = "") -> Any:
    """As the real server reads it: null is as good as nothing, and an amount may be a number."""
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    amounts = name in ("requests", "limits")
    return {
        key: str(item) if amounts and type(item) in (int, float) else _cleaned(item, key)
        for key, item in value.items()
        if item is not None
    }


def selector_of(request: web.Request, resource: Resource) -> Test:
    labels = label_test(request.query.get("labelSelector", ""))
    fields = field_test(request.query.get("fieldSelector", ""), resource.qualified)
    return lambda obj: labels(obj) and fields(obj)


def dry_run(request: web.Request) -> bool:
    asked = request.query.getall("dryRun", [])
    if any(value != "All" for value in asked):
        raise ApiError(400, f'invalid dryRun: Unsupported value: "{asked[0]}": supported values: "All"')
    return bool(asked)


def number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not is_number(text):
        raise ApiError(400, f'{name}: Invalid value: "{text}": must be a number of at least 0')
    return int(text)


def is_number(text: str) -> bool:
    """A whole one. Of more digits no time can be made."""
    return text.isdecimal() and len(text) <= 10


async def read_json(request: web.Request) -> Any:
    body, kind = await request.read(), request.content_type
    try:
        if kind == "application/vnd.kubernetes.protobuf":
            return protobuf.decode(body)
        if kind.endswith("yaml"):
            return yaml.safe_load(body)
        if kind not in ("application/octet-stream", "application/json") and not kind.endswith("patch+json"):
            raise errors.unknown_format("application/json, application/yaml")
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ApiError(400, f"couldn't decode the body: {error}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def delete_options(request: web.Request) -> DeleteOptions:
    body = await read_json(request) if request.can_read_body and (await request.read()).strip() else {}
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a DeleteOptions")
    grace = body.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or request.query.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        words = 'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
        known = '"Foreground", "Background", "Orphan", "nil"'
        raise ApiError(422, f'{words}"{propagation}": supported values: {known}', "Invalid")
    if grace is not None and not is_number(str(grace).removeprefix("-")):
        raise ApiError(400, f"gracePeriodSeconds: not a number of seconds: {grace}")
    preconditions = body.get("preconditions")
    if not isinstance(preconditions, dict | None):
        raise ApiError(400, "preconditions: not an object")
    dry = bool(body.get("dryRun")) or dry_run(request)
    return DeleteOptions(propagation, None if grace is None else int(grace), preconditions, dry)
