"""Watches: changes streamed as they happen, from any version that is still remembered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.resources import Resource
from infra.local.kubernetes.selection import Test
from infra.local.kubernetes.store import Change, Expired, Store
from infra.local.kubernetes.tables import table

Obj = dict[str, Any]
BOOKMARK_EVERY = 60.0
DEFAULT_TIMEOUT = 1800.0
CLOSING: web.AppKey[asyncio.Event] = web.AppKey("closing", asyncio.Event)


def wants_table(request: web.Request) -> bool:
    accepted = request.headers.get("Accept", "")
    return "as=Table" in accepted.partition(",")[0]


async def serve_watch(
    request: web.Request, store: Store, resource: Resource, namespace: str, test: Test
) -> web.StreamResponse:
    watch = Watch(request, store, resource, namespace, test)
    try:
        return await watch.serve()
    except (ConnectionResetError, ConnectionAbortedError):
        return watch.response  # the client went away


class Watch:
    def __init__(
        self, request: web.Request, store: Store, resource: Resource, namespace: str, test: Test
    ) -> None:
        self._request, self._store, self._resource = request, store, resource
        self._namespace, self._test = namespace, test
        self._news = asyncio.Event()
        self._bookmarks = request.query.get("allowWatchBookmarks") in ("1", "true")
        self._initial = request.query.get("sendInitialEvents") in ("1", "true")
        self.response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache"}
        )

    async def serve(self) -> web.StreamResponse:
        version, fresh = self._from()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout()
        await self.response.prepare(self._request)
        release = self._store.subscribe(lambda change: self._news.set() if self._concerns(change) else None)
        open_watches = self._request.app[OPEN_WATCHES]
        open_watches.add(self)
        try:
            if fresh:
                version = await self._send_existing()
            while loop.time() < until and not self._request.app[CLOSING].is_set():
                version = await self._send_since(version)
                if version < 0:
                    break
                await self._wait(min(until, loop.time() + BOOKMARK_EVERY) - loop.time(), version)
        finally:
            release()
            open_watches.discard(self)
        await self.response.write_eof()
        return self.response

    def drop(self) -> None:
        """Without a word, as when the network fails."""
        if self._request.transport:
            self._request.transport.abort()

    def wake(self) -> None:
        self._news.set()

    def _from(self) -> tuple[int, bool]:
        text = self._request.query.get("resourceVersion", "")
        if text in ("", "0") or self._initial:
            return self._store.version, True
        if not text.isdigit():
            raise ApiError(
                400, f'invalid resource version "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
            )
        return int(text), False

    def _timeout(self) -> float:
        text = self._request.query.get("timeoutSeconds", "")
        return float(text) if text.isdigit() and int(text) else DEFAULT_TIMEOUT

    def _concerns(self, change: Change) -> bool:
        return change.key.resource == self._resource.qualified and (
            not self._namespace or change.key.namespace == self._namespace
        )

    async def _wait(self, seconds: float, version: int) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._news.wait()
        except TimeoutError:
            if self._bookmarks and version >= 0:
                await self._bookmark({})
        self._news.clear()

    async def _send_existing(self) -> int:
        version = self._store.version
        for obj in list(self._store.each(self._resource.qualified, self._namespace)):
            if self._test(obj):
                await self._send("ADDED", obj)
        if self._initial and self._bookmarks:
            await self._bookmark({"k8s.io/initial-events-end": "true"}, version)
        return version

    async def _send_since(self, version: int) -> int:
        """The version that has been told up to; -1 after an error that ends the watch."""
        try:
            changes = self._store.changes_since(version)
        except Expired as error:
            await self._write({"type": "ERROR", "object": ApiError(410, str(error), "Expired").status()})
            return -1
        for change in changes:
            if self._concerns(change):
                await self._tell(change)
        return max(version, self._store.version if not changes else changes[-1].version)

    async def _tell(self, change: Change) -> None:
        """An object that enters or leaves the selector is added or deleted, for this watcher."""
        after = change.type != "DELETED" and self._test(change.obj)
        before = change.old is not None and self._test(change.old)
        if after:
            await self._send("MODIFIED" if before else "ADDED", change.obj)
        elif before:
            old, version = change.old or {}, change.obj["metadata"]["resourceVersion"]
            await self._send("DELETED", {**old, "metadata": {**old["metadata"], "resourceVersion": version}})

    async def _send(self, kind: str, obj: Obj) -> None:
        if wants_table(self._request):
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            obj = table(self._resource, [obj], metadata, self._request.query.get("includeObject", ""))
        await self._write({"type": kind, "object": obj})

    async def _bookmark(self, annotations: Obj, version: int | None = None) -> None:
        metadata: Obj = {"resourceVersion": str(version or self._store.version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
        await self._write({"type": "BOOKMARK", "object": obj})

    async def _write(self, event: Obj) -> None:
        await self.response.write(json.dumps(event).encode() + b"\n")


OPEN_WATCHES: web.AppKey[set[Watch]] = web.AppKey("open_watches", set[Watch])
