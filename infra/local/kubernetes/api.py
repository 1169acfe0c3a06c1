"""The HTTP side: paths, verbs, patches and pages of the Kubernetes API, over the registry."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml
from aiohttp import web

from infra.local.kubernetes import errors, protobuf
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.node import Node
from infra.local.kubernetes.patching import apply_patch
from infra.local.kubernetes.podlogs import serve_log
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import BY_PATH, PODS, Resource, discovery
from infra.local.kubernetes.selection import Test, field_test, label_test
from infra.local.kubernetes.store import Key
from infra.local.kubernetes.tables import table
from infra.local.kubernetes.watching import CLOSING, OPEN_WATCHES, serve_watch, wants_table

Obj = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)
BODY_LIMIT = 3 * 1024 * 1024
METHODS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    resource: Resource
    namespace: str
    name: str
    subresource: str


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


class Api:
    def __init__(self, registry: Registry, node: Node, token: str) -> None:
        self._registry = registry
        self._store = registry.store
        self._node = node
        self._token = token

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_LIMIT)
        app[OPEN_WATCHES], app[CLOSING] = set(), asyncio.Event()
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in ("/healthz", "/readyz", "/livez", "/version"):
                self._authenticate(request)
            return await handler(request)
        except ApiError as error:
            headers = {"Retry-After": "1"} if error.code == 429 else {}
            return web.json_response(error.status(), status=error.code, headers=headers)
        except (web.HTTPException, asyncio.CancelledError, ConnectionError) as error:
            if not isinstance(error, web.HTTPRequestEntityTooLarge):
                raise
            refusal = ApiError(413, f"Request entity too large: limit is {BODY_LIMIT}")
            return web.json_response(refusal.status(), status=413)
        except Exception:
            log.exception("%s %s", request.method, request.path_qs)
            return web.json_response(
                ApiError(500, "Internal error occurred: see the log").status(), status=500
            )

    def _authenticate(self, request: web.Request) -> None:
        """The holder of the admin certificate or token may do anything; RBAC will tell others apart."""
        tls = request.get_extra_info("ssl_object")
        if isinstance(tls, ssl.SSLObject) and tls.getpeercert():
            return
        if request.headers.get("Authorization") == f"Bearer {self._token}":
            return
        raise ApiError(401, "Unauthorized")

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if parts in (["healthz"], ["readyz"], ["livez"]):
            return web.Response(text="ok")
        document = discovery(parts, request.host) if request.method == "GET" else None
        if document is not None:
            return web.json_response(document)
        target = parse(parts)
        verb = METHODS.get(request.method, "")
        if not target.name:
            verb = {"get": "list", "create": "create", "delete": "delete_all"}.get(verb, "")
        elif verb == "create" or (target.subresource and verb == "delete"):
            verb = ""
        if not verb:
            raise ApiError(
                405, "the server does not allow this method on the requested resource", "MethodNotAllowed"
            )
        if target.subresource == "log":
            return await serve_log(request, self._registry, self._node, target.namespace, target.name)
        result: web.StreamResponse = await getattr(self, f"_{verb}")(request, target)
        return result

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        found = self._registry.get(target.resource, target.namespace, target.name)
        return self._answer(request, target, found)

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        obj = await self._object(request, target.resource)
        if target.resource.namespaced and not target.namespace:
            raise errors.no_such_path()
        made = self._registry.create(target.resource, target.namespace, obj, dry_run=_dry_run(request))
        return self._answer(request, target, made, 201)

    async def _update(self, request: web.Request, target: Target) -> web.StreamResponse:
        obj = await self._object(request, target.resource)
        written = self._registry.update(
            target.resource,
            target.namespace,
            target.name,
            obj,
            subresource=target.subresource,
            dry_run=_dry_run(request),
        )
        return self._answer(request, target, written)

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        old = self._registry.get(target.resource, target.namespace, target.name)
        patch = await _json(request)
        new = apply_patch(old, request.content_type, patch)
        if new["metadata"].get("resourceVersion") == old["metadata"]["resourceVersion"]:
            new = {**new, "metadata": {k: v for k, v in new["metadata"].items() if k != "resourceVersion"}}
        written = self._registry.update(
            target.resource,
            target.namespace,
            target.name,
            new,
            subresource=target.subresource,
            dry_run=_dry_run(request),
        )
        return self._answer(request, target, written)

    async def _delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = await _delete_options(request)
        gone = self._registry.delete(target.resource, target.namespace, target.name, **options)
        if (
            self._store.get(Key(target.resource.qualified, target.namespace, target.name)) is not None
            or target.resource == PODS
        ):
            return self._answer(request, target, gone)
        metadata = gone["metadata"]
        details = {"name": target.name, "kind": target.resource.plural, "uid": metadata["uid"]}
        if target.resource.group:
            details["group"] = target.resource.group
        return web.json_response(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    async def _delete_all(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = await _delete_options(request)
        options.pop("preconditions")
        test = _test(request, target.resource)
        chosen = [o for o in self._store.each(target.resource.qualified, target.namespace) if test(o)]
        for obj in chosen:
            metadata = obj["metadata"]
            self._registry.delete(target.resource, metadata.get("namespace", ""), metadata["name"], **options)
        return web.json_response(
            _list_of(target.resource, chosen, {"resourceVersion": str(self._store.version)})
        )

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        test = _test(request, target.resource)
        if request.query.get("watch") in ("1", "true"):
            return await serve_watch(request, self._store, target.resource, target.namespace, test)
        version, after = self._position(request)
        limit = _number(request, "limit")
        matching = (
            o for o in self._store.each(target.resource.qualified, target.namespace, after) if test(o)
        )
        page = list(islice(matching, limit or None))
        metadata: Obj = {"resourceVersion": str(version)}
        if limit and len(page) == limit:
            rest = sum(1 for _ in matching)
            if rest:
                last = page[-1]["metadata"]
                token = json.dumps([version, last.get("namespace", ""), last["name"]])
                metadata |= {
                    "continue": base64.urlsafe_b64encode(token.encode()).decode(),
                    "remainingItemCount": rest,
                }
        if wants_table(request):
            return web.json_response(
                table(target.resource, page, metadata, request.query.get("includeObject", ""))
            )
        return web.json_response(_list_of(target.resource, page, metadata))

    def _position(self, request: web.Request) -> tuple[int, Key | None]:
        token = request.query.get("continue")
        if not token:
            return self._store.version, None
        try:
            version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
            after = Key(
                parse([p for p in request.path.split("/") if p]).resource.qualified, str(namespace), str(name)
            )
            return int(version), after
        except (ValueError, TypeError) as error:
            raise ApiError(400, f"continue key is not valid: {error}") from error

    def _answer(self, request: web.Request, target: Target, obj: Obj, status: int = 200) -> web.Response:
        if wants_table(request):
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            include = request.query.get("includeObject", "")
            return web.json_response(table(target.resource, [obj], metadata, include), status=status)
        return web.json_response(obj, status=status)

    async def _object(self, request: web.Request, resource: Resource) -> Obj:
        obj = await _json(request)
        if not isinstance(obj, dict):
            raise ApiError(400, f"the body is not a {resource.kind}")
        metadata = obj.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise ApiError(
                400,
                f'{resource.kind} in version "v1" cannot be handled as a {resource.kind}: metadata is '
                "not an object",
            )
        kind, version = obj.get("kind", resource.kind), obj.get("apiVersion", resource.api_version)
        if (kind, version) != (resource.kind, resource.api_version):
            raise ApiError(
                400,
                f'{kind} in version "{version}" cannot be handled as a {resource.kind}: the API '
                f"version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})",
            )
        return obj


def _test(request: web.Request, resource: Resource) -> Test:
    labels = label_test(request.query.get("labelSelector", ""))
    fields = field_test(request.query.get("fieldSelector", ""), resource.qualified)
    return lambda obj: labels(obj) and fields(obj)


def _list_of(resource: Resource, items: list[Obj], metadata: Obj) -> Obj:
    bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": bare,
    }


def _dry_run(request: web.Request) -> bool:
    asked = request.query.getall("dryRun", [])
    if any(value != "All" for value in asked):
        raise ApiError(400, f'invalid dryRun: Unsupported value: "{asked[0]}": supported values: "All"')
    return bool(asked)


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not text.isdigit():
        raise ApiError(400, f'{name}: Invalid value: "{text}": must be a number of at least 0')
    return int(text)


async def _json(request: web.Request) -> Any:
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


async def _delete_options(request: web.Request) -> Obj:
    body = await _json(request) if request.can_read_body and (await request.read()).strip() else {}
    if not isinstance(body, dict):
        raise ApiError(400, "the body is not a DeleteOptions")
    grace = body.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    propagation = body.get("propagationPolicy") or request.query.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        raise ApiError(
            422,
            f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            f'"{propagation}": supported values: "Foreground", "Background", "Orphan", "nil"',
            "Invalid",
        )
    try:
        seconds = None if grace is None else int(grace)
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"gracePeriodSeconds: {error}") from error
    return {
        "grace": seconds,
        "propagation": propagation,
        "preconditions": body.get("preconditions"),
        "dry_run": bool(body.get("dryRun")) or _dry_run(request),
    }
