"""A terminal as a program uses it: typed into and read from, over the relay's WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse, WSMsgType

PROTOCOL = "trainyard.terminal.v1"
PATIENCE_SECONDS = 60.0


@dataclass
class Terminal:
    """One open terminal. `output` is all that it printed."""

    socket: ClientWebSocketResponse
    output: bytes = b""
    told: list[Any] = field(default_factory=list)

    async def type(self, line: str) -> None:
        await self.socket.send_bytes(line.encode() + b"\n")

    async def control(self, **message: Any) -> None:
        await self.socket.send_json(message)

    async def until(self, words: str) -> None:
        """Read until it has printed these words."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while words.encode() not in self.output:
                    assert await self._read(), f"closed before {words!r}: {self.output!r}, {self.told}"
        except TimeoutError as error:
            raise AssertionError(f"no {words!r} in {self.output[-500:]!r}, {self.told}") from error

    async def end(self) -> tuple[int | None, Any]:
        """Read to its end: the close code and the last control message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._read():
                pass
        return self.socket.close_code, self.told[-1]

    async def _read(self) -> bool:
        message = await self.socket.receive()
        if message.type is WSMsgType.BINARY:
            self.output += message.data
        elif message.type is WSMsgType.TEXT:
            self.told.append(json.loads(message.data))
        else:
            return False
        return True


@asynccontextmanager
async def terminal(url: str) -> AsyncIterator[Terminal]:
    """A terminal whose shell takes input."""
    async with (
        ClientSession(timeout=ClientTimeout(total=300)) as http,
        http.ws_connect(url, protocols=[PROTOCOL], max_msg_size=0) as socket,
    ):
        opened = Terminal(socket)
        await opened.control(type="resize", columns=100, rows=30)
        await opened.type("echo at=$((40+2))")
        await opened.until("at=42")
        yield opened
