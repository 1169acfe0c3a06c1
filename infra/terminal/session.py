"""One terminal: bytes between a browser and a shell, until either ends or a limit is reached.

Nothing is queued here. Each direction reads one frame and hands it on before it reads the next, so that a
reader that is slow slows the writer down, through TCP, to the very program in the pod.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from infra.terminal.settings import RelaySettings
from infra.terminal.shell import Exit, Shell

MAX_INPUT = 64 * 1024  # bytes of one frame
MAX_CONTROL = 1024
MAX_SIZE = 4096  # columns or rows
KILLED = 128  # exit codes from here on are signals: the pod may have ended, not just the shell
POD_ENDED, IDLE, SESSION_LIMIT, CONNECTION_LOST, STALLED = range(4000, 4005)  # close codes of our own


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a session ended: a close code, a word for programs and a sentence for people."""

    code: int
    reason: str
    message: str
    exit_code: int | None = None


LEFT = Ending(WSCloseCode.GOING_AWAY, "client_left", "the client went away")
SHUTDOWN = Ending(
    WSCloseCode.SERVICE_RESTART, "shutdown", "the terminal service restarts; open a new terminal"
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session needs to know: `stopping` is set when the relay shuts down, `fate` says why the pod
    is no longer there, None while it is."""

    settings: RelaySettings
    stopping: asyncio.Event
    fate: Callable[[], Awaitable[str | None]]


class Session:
    """The bridge. `run` returns why it ended and leaves both ends open."""

    def __init__(self, client: web.WebSocketResponse, shell: Shell, around: Surroundings) -> None:
        self._client = client
        self._shell = shell
        self._around = around
        self._now = asyncio.get_running_loop().time
        self._patience = around.settings.stalled_seconds
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._began = self._active = self._heard = self._now()

    async def run(self) -> Ending:
        parts = (self._input(), self._output(), self._watch())
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task in done).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _input(self) -> Ending:
        while True:
            message = await self._client.receive()
            self._heard = self._now()
            ending = await self._take(message)
            if ending:
                return ending

    async def _take(self, message: WSMessage) -> Ending | None:
        match message.type:
            case WSMsgType.BINARY if len(message.data) > MAX_INPUT:
                return Ending(
                    WSCloseCode.MESSAGE_TOO_BIG, "too_big", f"a frame may have at most {MAX_INPUT} bytes"
                )
            case WSMsgType.BINARY:
                self._active = self._now()
                return await self._to_shell(self._shell.write(message.data))
            case WSMsgType.TEXT:
                return await self._control(message.data)
            case WSMsgType.PING:
                return await self._to_client(self._client.pong(message.data))
            case WSMsgType.PONG:
                return None
            case WSMsgType.ERROR:
                return Ending(
                    self._client.close_code or WSCloseCode.PROTOCOL_ERROR, "malformed", str(message.data)
                )
            case _:
                return LEFT

    async def _control(self, text: str) -> Ending | None:
        asked = _control(text)
        match asked:
            case {"type": "pause", **rest} if not rest:
                self._flowing.clear()
            case {"type": "resume", **rest} if not rest:
                self._flowing.set()
            case {"type": "ping", **rest} if not rest:
                return await self._to_client(self._client.send_str('{"type": "pong"}'))
            case {"type": "resize", "columns": int(columns), "rows": int(rows), **rest} if (
                not rest
                and {type(columns), type(rows)} == {int}
                and 0 < columns <= MAX_SIZE
                and 0 < rows <= MAX_SIZE
            ):
                return await self._to_shell(self._shell.resize(columns, rows))
            case _:
                return Ending(WSCloseCode.INVALID_TEXT, "malformed", "no control message that is known")
        return None

    async def _output(self) -> Ending:
        while not isinstance(seen := await self._shell.read(), Exit):
            self._active = self._now()
            await self._flowing.wait()
            if ending := await self._to_client(self._client.send_bytes(seen)):
                return ending
        if (seen.code is None or seen.code >= KILLED) and (why := await self._around.fate()):
            return Ending(POD_ENDED, "pod_ended", f"the pod has ended: {why}", seen.code)
        if seen.code is None:
            return Ending(CONNECTION_LOST, "connection_lost", seen.message)
        return Ending(WSCloseCode.OK, "exited", f"the shell ended with exit code {seen.code}", seen.code)

    async def _to_client(self, sending: Coroutine[Any, Any, None]) -> Ending | None:
        try:
            async with asyncio.timeout(self._patience):
                await sending
        except TimeoutError:
            return Ending(STALLED, "stalled", f"the client did not read for {self._patience:g} s")
        except ConnectionError:
            return LEFT
        return None

    async def _to_shell(self, sending: Coroutine[Any, Any, None]) -> Ending | None:
        try:
            async with asyncio.timeout(self._patience):
                await sending
        except TimeoutError:
            return Ending(STALLED, "stalled", f"the pod took no input for {self._patience:g} s")
        except ConnectionError:
            await asyncio.Event().wait()  # for _output, which is told how it ended
        return None

    async def _watch(self) -> Ending:
        settings = self._around.settings
        pinged = self._began
        while True:
            ends = self._began + settings.session_seconds
            idle = self._active + settings.idle_seconds
            due = min(ends, idle, pinged + settings.ping_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - self._now())):
                    await self._around.stopping.wait()
                    return SHUTDOWN
            now = self._now()
            if now >= ends:
                limit = f"a terminal may be open for {settings.session_seconds:g} s"
                return Ending(SESSION_LIMIT, "session_limit", limit)
            if now >= self._active + settings.idle_seconds:
                return Ending(IDLE, "idle", f"nothing was typed or printed for {settings.idle_seconds:g} s")
            if now >= self._heard + settings.silent_seconds:
                return LEFT
            if now >= pinged + settings.ping_seconds:
                pinged = now
                with suppress(TimeoutError):  # written all the same: only its buffer is full
                    async with asyncio.timeout(1):
                        await self._client.ping()


async def finish(client: web.WebSocketResponse, ending: Ending, transport: asyncio.Transport | None) -> None:
    """Tell the client why, and close. One that does not take it is cut off."""
    told = {
        "type": "closed",
        "reason": ending.reason,
        "message": ending.message,
        "exitCode": ending.exit_code,
    }
    try:
        async with asyncio.timeout(5):
            if not client.closed:
                await client.send_str(json.dumps(told))
                await client.close(code=ending.code, message=ending.reason.encode())
    except (ConnectionError, RuntimeError, TimeoutError):
        pass  # it is gone
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


def _control(text: str) -> Any:
    if len(text) > MAX_CONTROL:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
