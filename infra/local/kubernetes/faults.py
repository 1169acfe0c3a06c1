"""Faults on demand, at /control/faults, to see how clients and jobs bear them. README.md lists them."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiohttp import web

from infra.local.kubernetes.asked import read_json
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.node import Node
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import PODS
from infra.local.kubernetes.watching import OPEN_WATCHES

Obj = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PATH = "/control/faults"
REASONS = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}


@dataclass(frozen=True)
class Rule:
    """What befalls the next `count` requests (0: all) of this method and path."""

    fault: str  # latency, error, timeout
    method: str = "*"
    path: str = "*"  # a pattern for path and query
    count: int = 0
    seconds: float = 0.0
    code: int = 500

    def concerns(self, request: web.Request) -> bool:
        return fnmatch.fnmatch(request.method, self.method) and fnmatch.fnmatch(request.path_qs, self.path)


class Faults:
    def __init__(self, registry: Registry, node: Node) -> None:
        self._registry = registry
        self._node = node
        self._rules: list[Rule] = []

    async def meet(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle the request as the first rule for it says."""
        rule = self._taken(request)
        if rule is None:
            return await handler(request)
        if rule.fault == "error":
            words = "the server was told to fail this request"
            raise ApiError(rule.code, words, REASONS.get(rule.code, ""))
        if rule.fault == "latency":
            await asyncio.sleep(rule.seconds)
            return await handler(request)
        response = await handler(request)  # a timeout: the effect is there, the answer never comes
        await asyncio.sleep(rule.seconds)
        if request.transport:
            request.transport.abort()
        return response

    async def control(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self._apply(request, await read_json(request))
        elif request.method == "DELETE":
            self._rules.clear()
            self._node.restore()
        elif request.method != "GET":
            raise ApiError(405, "GET, POST and DELETE are allowed")
        return web.json_response({"rules": [asdict(rule) for rule in self._rules], **self._node.faults()})

    def _apply(self, request: web.Request, asked: Any) -> None:
        try:
            match asked:
                case {"fault": "latency" | "error" | "timeout"}:
                    self._rules.append(Rule(**asked))
                case {"fault": "drop-watches"}:
                    self._drop_watches(request)
                case {"fault": "expire"}:
                    self._registry.store.forget()
                    self._drop_watches(request)
                case {"fault": "node-loss", "node": str(name)}:
                    self._node.lose(name)
                case {"fault": "eviction", "namespace": str(namespace), "pod": str(name)}:
                    self._node.evict(self._registry.get(PODS, namespace, name))
                case {"fault": "image-pull", "image": str(pattern)}:
                    self._node.unpullable.append(pattern)
                case _:
                    raise ApiError(400, f"not a fault, or not its fields: {asked}")
        except TypeError as error:
            raise ApiError(400, f"not the fields of this fault: {error}") from error

    def _taken(self, request: web.Request) -> Rule | None:
        for number, rule in enumerate(self._rules):
            if rule.concerns(request):
                if rule.count == 1:
                    del self._rules[number]
                elif rule.count:
                    self._rules[number] = replace(rule, count=rule.count - 1)
                return rule
        return None

    def _drop_watches(self, request: web.Request) -> None:
        watches = request.app[OPEN_WATCHES]
        for watch in watches.copy():
            watch.drop()
