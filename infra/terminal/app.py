"""The relay's HTTP side: checks who may open a terminal, hands the connection to a session, and keeps books.

Until the WebSocket is open a refusal is an HTTP answer in the `jobs` dialect's envelope; afterwards it is a
close code with a last message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import hdrs, web

from chalicelib.api.jobs_dialect import DIALECT, success
from chalicelib.api.messages import language_of
from chalicelib.api.refusals import JSON, json_text, refusal
from chalicelib.domain.moments import timestamp
from chalicelib.errors import (
    ClusterUnavailable,
    NotFound,
    OriginForbidden,
    TerminalsBusy,
    TrainyardError,
)
from chalicelib.services.terminals import Admission, Redemption
from infra.terminal.page import page_routes
from infra.terminal.session import LEFT, Ending, Session, Surroundings, finish
from infra.terminal.settings import RelaySettings
from infra.terminal.shell import Shell, Shells

PROTOCOL = "trainyard.terminal.v1"
HARD_LIMIT = 1024 * 1024  # bytes of a frame that are read at all
NOTE_AGAIN_SECONDS = (1.0, 5.0)
FATE_LOOKS, FATE_PAUSE_SECONDS = 8, 0.5  # a pod's end shows in its status a moment after its processes'
BROKEN = Ending(1011, "internal_error", "the terminal service failed; its log says how")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")
log = logging.getLogger("trainyard.terminal")


class Relay:
    """Opens terminals for tickets, until it is told to stop. The first ticket has `redemption` made: a relay
    that nobody uses keeps no client of the table."""

    def __init__(self, redemption: Callable[[], Redemption], shells: Shells, settings: RelaySettings) -> None:
        self._redemption = redemption
        self._shells = shells
        self._settings = settings
        self._stopping = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_answering])
        app.router.add_get("/webterminal/{ticket}", self._terminal)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.add_routes(page_routes(Path(__file__).parent / "page", self._settings.assets))
        return app

    async def stop(self, seconds: float) -> None:
        """Take no more terminals, and close those that are open, in so many seconds at most."""
        self._stopping.set()
        if self._open:
            await asyncio.wait(self._open, timeout=seconds)

    async def _alive(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._stopping.is_set():
            raise TerminalsBusy("shutting down")
        return web.Response(text="ok\n")

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin not in self._settings.origins:
            raise OriginForbidden(origin)
        admission = await self._ask(lambda desk: desk.admit(request.match_info["ticket"]))
        client = web.WebSocketResponse(
            protocols=(PROTOCOL,), autoping=False, compress=False, max_msg_size=HARD_LIMIT, timeout=3
        )
        if not client.can_prepare(request).ok:
            return _described(admission)
        if self._stopping.is_set() or len(self._open) >= self._settings.sessions:
            raise TerminalsBusy(f"{len(self._open)} terminals are open")
        # A task of its own: whatever becomes of the request, the shell ends and its end is noted.
        serving = asyncio.ensure_future(self._serve(request, client, admission))
        self._open.add(serving)
        serving.add_done_callback(self._open.discard)
        await asyncio.shield(serving)
        return client

    async def _serve(self, request: web.Request, client: web.WebSocketResponse, admission: Admission) -> None:
        await self._ask(lambda desk: desk.take(admission))
        shell = await self._shells.open(admission)
        began, ending, noted = asyncio.get_running_loop().time(), BROKEN, False
        try:
            # What cannot be noted does not take place.
            await self._ask(lambda desk: desk.opened(admission))
            noted = True
            ending = await self._connected(request, client, admission, shell)
            await finish(client, ending, request.transport)
        finally:
            await shell.end()
            if noted:
                lasted = asyncio.get_running_loop().time() - began
                await self._note_end(admission, ending, lasted)

    async def _connected(
        self, request: web.Request, client: web.WebSocketResponse, admission: Admission, shell: Shell
    ) -> Ending:
        try:
            await client.prepare(request)
            await client.send_json(self._greeting(admission))
        except ConnectionError:
            return LEFT
        around = Surroundings(self._settings, self._stopping, lambda: self._fate(admission))
        try:
            return await Session(client, shell, around).run()
        except Exception:
            log.exception("a session broke")
            return BROKEN

    async def _ask(self, what: Callable[[Redemption], T]) -> T:
        """In a thread: the table and Kubernetes let one wait."""
        return await asyncio.to_thread(lambda: what(self._redemption()))

    def _greeting(self, admission: Admission) -> dict[str, object]:
        grant = admission.ticket.grant
        return {
            "type": "ready",
            "jobId": grant.job_id,
            "podName": grant.pod,
            "idleSeconds": self._settings.idle_seconds,
            "sessionSeconds": self._settings.session_seconds,
        }

    async def _fate(self, admission: Admission) -> str | None:
        for look in range(FATE_LOOKS):
            if look:
                await asyncio.sleep(FATE_PAUSE_SECONDS)
            try:
                if why := await self._ask(lambda desk: desk.fate(admission)):
                    return why
            except ClusterUnavailable:
                return None
        return None

    async def _note_end(self, admission: Admission, ending: Ending, seconds: float) -> None:
        """In the job's events, or at least in the log."""
        for pause in (*NOTE_AGAIN_SECONDS, None):
            try:
                await self._ask(lambda desk: desk.closed(admission, ending.message, seconds))
                return
            except TrainyardError as error:
                grant = admission.ticket.grant
                log.error(
                    "%s: %s of %s after %.0f s not noted: %s",
                    grant.pod,
                    ending.reason,
                    grant.subject,
                    seconds,
                    error,
                )
            if pause is not None:
                await asyncio.sleep(pause)


@web.middleware
async def _answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every refusal in the envelope, in the caller's language."""
    try:
        return await handler(request)
    except TrainyardError as error:
        wrong = error
    except web.HTTPNotFound:
        wrong = NotFound(request.path)
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        log.exception("%s failed", request.method)  # not the path: a ticket may be in it
        wrong = TrainyardError()
    said = refusal(wrong, DIALECT, language_of(request.headers.get(hdrs.ACCEPT_LANGUAGE, "")))
    return _sent(said.body, said.status, said.headers)


def _described(admission: Admission) -> web.Response:
    """To a plain GET: what the ticket opens. A browser never learns why a WebSocket was refused."""
    ticket = admission.ticket
    data = {
        "jobId": ticket.grant.job_id,
        "podName": ticket.grant.pod,
        "expiresAt": timestamp(ticket.expires_at),
        "protocol": PROTOCOL,
    }
    return _sent(success(data=data))


def _sent(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    headers = {hdrs.CONTENT_TYPE: JSON, **(headers or {})}
    return web.Response(text=json_text(body), status=status, headers=headers)
