"""The relay in process: real tickets, the real store on moto, a cluster in memory, and shells by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web

from chalicelib.domain.events import Event
from chalicelib.services.terminals import Admission
from infra.terminal import settings as relay_settings
from infra.terminal.app import PROTOCOL, Relay
from infra.terminal.settings import RelaySettings
from infra.terminal.shell import Exit, Shells
from tests.unit.services.conftest import yard  # noqa: F401 (a fixture)
from tests.unit.services.test_terminals import Desk, desk  # noqa: F401 (a fixture)
from tests.unit.store.benches import bench, new_bench  # noqa: F401 (fixtures)
from tests.unit.store.conftest import client  # noqa: F401 (a fixture)

ORIGIN = "https://terminal.example.com"
SETTINGS = relay_settings.load({"TRAINYARD_TERMINAL_ORIGINS": f"{ORIGIN}, http://localhost:8080"})


class FakeShell:
    """Says what the test puts into `output`; `typed` and `sizes` are what it was told."""

    def __init__(self) -> None:
        self.output: asyncio.Queue[bytes | Exit] = asyncio.Queue()
        self.typed, self.sizes = b"", list[tuple[int, int]]()
        self.reads = 0
        self.takes_input = asyncio.Event()
        self.takes_input.set()
        self.ended = asyncio.Event()

    async def read(self) -> bytes | Exit:
        self.reads += 1
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        await self.takes_input.wait()
        self.typed += data

    async def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def end(self) -> None:
        self.ended.set()


class FakeShells:
    """Opens FakeShells; `trouble` is raised instead, `before` is called first."""

    def __init__(self) -> None:
        self.opened: list[FakeShell] = []
        self.trouble: Exception | None = None
        self.before: Callable[[], object] = lambda: None

    async def open(self, admission: Admission) -> FakeShell:
        del admission
        self.before()
        if self.trouble:
            raise self.trouble
        self.opened.append(FakeShell())
        return self.opened[-1]


@dataclass
class Seen:
    """What a client got of a terminal up to its end."""

    code: int | None
    output: bytes = b""
    told: list[Any] = field(default_factory=list)

    @property
    def last(self) -> Any:
        return self.told[-1]


@dataclass
class World:
    """A relay that serves, and a client of it."""

    desk: Desk
    relay: Relay
    shells: FakeShells
    url: str
    http: ClientSession

    def address(self, ticket: str | None = None) -> str:
        return f"{self.url}/webterminal/{self.desk.ticket() if ticket is None else ticket}"

    @asynccontextmanager
    async def terminal(self, ticket: str | None = None) -> AsyncIterator[ClientWebSocketResponse]:
        """A terminal that has said that it is ready."""
        # A test of its pings answers them itself.
        async with self.http.ws_connect(
            self.address(ticket), protocols=[PROTOCOL], autoping=False, max_msg_size=0
        ) as socket:
            assert (await socket.receive_json())["type"] == "ready"
            yield socket

    @property
    def shell(self) -> FakeShell:
        return self.shells.opened[-1]

    def events(self) -> list[Event]:
        found = self.desk.yard.store.events(self.desk.job_id, 100).items
        return [event for event in found if event.reason.startswith("Terminal")]

    async def noted(self, count: int) -> list[Event]:
        await until(lambda: len(self.events()) == count)
        return self.events()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def rest_of(socket: ClientWebSocketResponse) -> Seen:
    """Everything up to the close; pings are answered."""
    output, told = bytearray(), []
    async with asyncio.timeout(10):
        while True:
            message = await socket.receive()
            match message.type:
                case WSMsgType.BINARY:
                    output += message.data
                case WSMsgType.TEXT:
                    told.append(json.loads(message.data))
                case WSMsgType.PING:
                    await socket.pong(message.data)
                case _:
                    return Seen(socket.close_code, bytes(output), told)


Scenario = Callable[[World], Awaitable[None]]
Play = Callable[..., None]


@pytest.fixture
def play(desk: Desk) -> Play:  # noqa: F811
    """Runs a scenario against a relay; keyword arguments change its settings."""

    async def run(scenario: Scenario, settings: RelaySettings) -> None:
        shells = FakeShells()
        relay = Relay(lambda: desk.redemption, cast(Shells, shells), settings)
        server = web.AppRunner(relay.application(), access_log=None)
        await server.setup()
        await web.TCPSite(server, "127.0.0.1", 0).start()
        try:
            async with ClientSession() as http:
                url = f"http://127.0.0.1:{server.addresses[0][1]}"
                await scenario(World(desk, relay, shells, url, http))
        finally:
            await relay.stop(10)
            await server.cleanup()

    def play(scenario: Scenario, **changes: Any) -> None:
        asyncio.run(run(scenario, replace(SETTINGS, **changes)))

    return play
