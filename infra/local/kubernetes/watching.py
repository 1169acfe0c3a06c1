"""Watches: changes streamed as they happen, from any version that is still remembered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from infra.local.kubernetes.asked import is_number
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.resources import Resource
from infra.local.kubernetes.selection import Test
from infra.local.kubernetes.store import Change, Expired, Store
from infra.local.kubernetes.tables import table

Obj = dict[str, Any]
BOOKMARK_EVERY = 60.0
DEFAULT_TIMEOUT = 1800.0
REST = 0.01  # between two writes: in a rush of changes more come together
TOGETHER = 100  # changes in one write at most: a slow watcher must not fill the memory
CLOSING: web.AppKey[asyncio.Event] = web.AppKey("closing", asyncio.Event)


def wants_table(request: web.Request) -> bool:
    accepted = request.headers.get("Accept", "")
    return "as=Table" in accepted.partition(",")[0]


class Watch:
    def __init__(
        self, request: web.Request, store: Store, resource: Resource, namespace: str, test: Test
    ) -> None:
        self._request, self._store, self._resource = request, store, resource
        self._namespace, self._test = namespace, test
        self._news = asyncio.Event()
        self._bookmarks = request.query.get("allowWatchBookmarks") in ("1", "true")
        self._initial = request.query.get("sendInitialEvents") in ("1", "true")
        headers = {"Content-Type": "application/json", "Cache-Control": "no-cache"}
        self._response = web.StreamResponse(headers=headers)

    async def serve(self) -> web.StreamResponse:
        version = self._from()
        await self._response.prepare(self._request)
        release = self._store.subscribe(lambda change: self._news.set() if self._concerns(change) else None)
        self._request.app[OPEN_WATCHES].add(self)
        try:
            await self._run(version)
            await self._response.write_eof()
        except (ConnectionResetError, ConnectionAbortedError):
            return self._response  # the client went away
        finally:
            release()
            self._request.app[OPEN_WATCHES].discard(self)
        return self._response

    def drop(self) -> None:
        """Without a word, as when the network fails."""
        if self._request.transport:
            self._request.transport.abort()

    def wake(self) -> None:
        self._news.set()

    async def _run(self, since: int | None) -> None:
        now, closing = asyncio.get_running_loop().time, self._request.app[CLOSING]
        until, version = now() + self._timeout(), self._store.version if since is None else since
        if since is None:
            await self._send_existing(version)
        while now() < until and not closing.is_set():
            try:
                changes = self._store.changes_since(version)
            except Expired as error:
                return await self._write("ERROR", ApiError(410, str(error), "Expired").status())
            version = max(version, self._store.version)
            ours = list(filter(self._concerns, changes))
            for start in range(0, len(ours), TOGETHER):
                if told := b"".join(map(self._line_of, ours[start : start + TOGETHER])):
                    await self._tell(told)
            rested = now() + REST
            try:
                async with asyncio.timeout_at(min(until, now() + BOOKMARK_EVERY)):
                    await self._news.wait()
            except TimeoutError:
                # What came in the same moment is not told yet: a bookmark must not lie behind it.
                if not self._news.is_set():
                    await self._bookmark(self._store.version, {})
            await asyncio.sleep(max(0.0, rested - now()))
            self._news.clear()
        return None

    def _from(self) -> int | None:
        """The version to go on from; None for one that begins with what is there."""
        text = self._request.query.get("resourceVersion", "")
        if text in ("", "0") or self._initial:
            return None
        if not is_number(text):
            why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
            raise ApiError(400, f'invalid resource version "{text}": {why}')
        return int(text)

    def _timeout(self) -> float:
        text = self._request.query.get("timeoutSeconds", "")
        return float(text) if is_number(text) and int(text) else DEFAULT_TIMEOUT

    def _concerns(self, change: Change) -> bool:
        wanted = (self._resource, self._namespace or change.key.namespace)
        return (change.key.resource, change.key.namespace) == wanted

    async def _send_existing(self, version: int) -> None:
        for obj in list(self._store.each(self._resource, self._namespace)):
            if self._test(obj):
                await self._tell(self._line("ADDED", obj))
        if self._initial:
            await self._bookmark(version, {"annotations": {"k8s.io/initial-events-end": "true"}})

    def _line_of(self, change: Change) -> bytes:
        """An object that enters or leaves the selector is added or deleted, for this watcher."""
        after = change.type != "DELETED" and self._test(change.obj)
        before = change.old if change.old is not None and self._test(change.old) else None
        if after:
            return self._line("MODIFIED" if before else "ADDED", change.obj)
        if before:
            version = change.obj["metadata"]["resourceVersion"]
            metadata = {**before["metadata"], "resourceVersion": version}
            return self._line("DELETED", {**before, "metadata": metadata})
        return b""

    def _line(self, kind: str, obj: Obj) -> bytes:
        if wants_table(self._request):
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            obj = table(self._resource, [obj], metadata, self._request.query.get("includeObject", ""))
        return f'{{"type": "{kind}", "object": {self._store.text(obj)}}}\n'.encode()

    async def _bookmark(self, version: int, more: Obj) -> None:
        if self._bookmarks:
            metadata = {"resourceVersion": str(version), "creationTimestamp": None, **more}
            about = {"kind": self._resource.kind, "apiVersion": self._resource.api_version}
            await self._write("BOOKMARK", {**about, "metadata": metadata})

    async def _write(self, kind: str, obj: Obj) -> None:
        await self._tell(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    async def _tell(self, lines: bytes) -> None:
        self._store.settle()
        await self._response.write(lines)


OPEN_WATCHES: web.AppKey[set[Watch]] = web.AppKey("open_watches", set[Watch])
