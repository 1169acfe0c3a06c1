"""The HTTP side: paths, verbs, patches and pages of the Kubernetes API, over the registry."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from aiohttp import web

from infra.local.kubernetes import errors, faults
from infra.local.kubernetes.access import REVIEWS, Access, Action
from infra.local.kubernetes.asked import (
    Target,
    delete_options,
    dry_run,
    number,
    parse,
    read_json,
    read_object,
    selector_of,
    verb_of,
)
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.exec import serve_exec
from infra.local.kubernetes.faults import Faults
from infra.local.kubernetes.node import Node
from infra.local.kubernetes.patching import apply_patch
from infra.local.kubernetes.pki import Pki, User
from infra.local.kubernetes.podlogs import serve_log
from infra.local.kubernetes.registry import Registry, key_of
from infra.local.kubernetes.resources import PODS, VERSION, Resource, discovery
from infra.local.kubernetes.store import Key
from infra.local.kubernetes.tables import table
from infra.local.kubernetes.watching import CLOSING, OPEN_WATCHES, Watch, wants_table

Obj = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)
BODY_LIMIT = 3 * 1024 * 1024
STREAMS = {"log": serve_log, "exec": serve_exec}


class Api:
    def __init__(self, registry: Registry, node: Node, pki: Pki) -> None:
        self._registry = registry
        self._store = registry.store
        self._node = node
        self._pki = pki
        self._access = Access(registry.store)
        self._faults = Faults(registry, node)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_LIMIT)
        app[OPEN_WATCHES], app[CLOSING] = set(), asyncio.Event()
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path == faults.PATH:
                self._access.check(self._user(request), Action(request.method.lower(), path=request.path))
                return await self._faults.control(request)
            return await self._faults.meet(request, handler)
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
            refusal = ApiError(500, "Internal error occurred: see the log")
            return web.json_response(refusal.status(), status=500)
        finally:
            self._store.settle()

    def _user(self, request: web.Request) -> User:
        tls = request.get_extra_info("ssl_object")
        certificate = tls.getpeercert() if isinstance(tls, ssl.SSLObject) else None
        user = self._pki.user_of(certificate, request.headers.get("Authorization", ""))
        if user is None:
            raise ApiError(401, "Unauthorized")
        headers = request.headers
        return self._access.acting(
            user, headers.get("Impersonate-User", ""), headers.getall("Impersonate-Group", [])
        )

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if parts in (["healthz"], ["readyz"], ["livez"]):
            return web.Response(text="ok")
        if parts == ["version"]:
            return web.json_response(VERSION)
        user = self._user(request)
        match parts:
            case ["apis", "authorization.k8s.io", "v1", kind] if kind in REVIEWS and request.method == "POST":
                review = self._access.review(user, kind, await read_json(request))
                return web.json_response(review, status=201)
        document = discovery(parts, request.host) if request.method == "GET" else None
        try:
            target = parse(parts) if document is None else None
        except ApiError:
            self._access.check(user, Action(request.method.lower(), path=request.path))
            raise
        if target is None:
            self._access.check(user, Action("get", path=request.path))
            return web.json_response(document)
        verb = verb_of(request, target)
        self._access.check(user, target.action(verb))
        if target.subresource in STREAMS:
            serve = STREAMS[target.subresource]
            return await serve(request, self._registry, self._node, target.namespace, target.name)
        result: web.StreamResponse = await getattr(self, f"_{verb}")(request, target)
        return result

    async def _get(self, request: web.Request, target: Target) -> web.StreamResponse:
        return self._answer(request, target, self._registry.get(*target.place))

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        obj = await read_object(request, target.resource)
        if target.resource.namespaced and not target.namespace:
            raise errors.no_such_path()
        made = self._registry.create(target.resource, target.namespace, obj, dry_run=dry_run(request))
        return self._answer(request, target, made, 201)

    async def _update(self, request: web.Request, target: Target) -> web.StreamResponse:
        return self._replace(request, target, await read_object(request, target.resource))

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        old = self._registry.get(*target.place)
        new = apply_patch(old, request.content_type, await read_json(request))
        if new["metadata"].get("resourceVersion") == old["metadata"]["resourceVersion"]:
            new = {**new, "metadata": {k: v for k, v in new["metadata"].items() if k != "resourceVersion"}}
        return self._replace(request, target, new)

    def _replace(self, request: web.Request, target: Target, obj: Obj) -> web.StreamResponse:
        sub, dry = target.subresource, dry_run(request)
        written = self._registry.update(*target.place, obj, subresource=sub, dry_run=dry)
        return self._answer(request, target, written)

    async def _delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        gone = self._registry.delete(*target.place, await delete_options(request))
        if target.resource == PODS or self._store.get(key_of(*target.place)) is not None:
            return self._answer(request, target, gone)
        details = {"name": target.name, "kind": target.resource.plural, "uid": gone["metadata"]["uid"]}
        if target.resource.group:
            details["group"] = target.resource.group
        told = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return web.json_response(told)

    async def _deletecollection(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = replace(await delete_options(request), preconditions=None)
        test = selector_of(request, target.resource)
        chosen = [o for o in self._store.each(target.resource, target.namespace) if test(o)]
        for obj in chosen:
            metadata = obj["metadata"]
            self._registry.delete(target.resource, metadata.get("namespace", ""), metadata["name"], options)
        metadata = {"resourceVersion": str(self._store.version)}
        return web.json_response(_list_of(target.resource, chosen, metadata))

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        test = selector_of(request, target.resource)
        return await Watch(request, self._store, target.resource, target.namespace, test).serve()

    async def _list(self, request: web.Request, target: Target) -> web.StreamResponse:
        test = selector_of(request, target.resource)
        version, after = self._position(request, target)
        limit = number(request, "limit")
        objects = self._store.each(target.resource, target.namespace, after)
        matching = (obj for obj in objects if test(obj))
        page = list(islice(matching, limit or None))
        metadata: Obj = {"resourceVersion": str(version)}
        if rest := sum(1 for _ in matching) if limit else 0:
            last = page[-1]["metadata"]
            token = json.dumps([version, last.get("namespace", ""), last["name"]])
            metadata["continue"] = base64.urlsafe_b64encode(token.encode()).decode()
            metadata["remainingItemCount"] = rest
        if wants_table(request):
            include = request.query.get("includeObject", "")
            return web.json_response(table(target.resource, page, metadata, include))
        return web.json_response(_list_of(target.resource, page, metadata))

    def _position(self, request: web.Request, target: Target) -> tuple[int, Key | None]:
        token = request.query.get("continue")
        if not token:
            return self._store.version, None
        try:
            version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
            return int(version), key_of(target.resource, str(namespace), str(name))
        except (ValueError, TypeError) as error:
            raise ApiError(400, f"continue key is not valid: {error}") from error

    def _answer(self, request: web.Request, target: Target, obj: Obj, status: int = 200) -> web.Response:
        if wants_table(request):
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            include = request.query.get("includeObject", "")
            return web.json_response(table(target.resource, [obj], metadata, include), status=status)
        return web.json_response(text=self._store.text(obj), status=status)


def _list_of(resource: Resource, items: list[Obj], metadata: Obj) -> Obj:
    bare = [{k: v for k, v in item.items() if k not in ("kind", "apiVersion")} for item in items]
    about = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return {**about, "metadata": metadata, "items": bare}
