"""Opening and closing terminals: who is let in, what is refused how, what is noted, what is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from chalicelib.domain.states import Status
from chalicelib.errors import ClusterUnavailable, NoShell
from infra.terminal.shell import Exit
from tests.unit.store.support import client_error
from tests.unit.terminal.conftest import ORIGIN, Play, World, rest_of, until


async def refusal(world: World, url: str, **headers: str) -> tuple[int, str]:
    """Status and code of a refused WebSocket, as a plain request with the same headers shows them."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with world.http.get(url, headers=upgrade | headers) as answer:
        body = await answer.json()
        assert body["success"] is False and body["message"]
        return answer.status, body["error"]["code"]


def test_bytes_go_both_ways_and_the_exit_code_comes_back(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_bytes(b"exit 3\n\x00\xff")
            await until(lambda: world.shell.typed == b"exit 3\n\x00\xff")
            world.shell.output.put_nowait(b"\xfe bye")
            world.shell.output.put_nowait(Exit(3, "exit status 3"))
            seen = await rest_of(socket)
        assert (seen.code, seen.output) == (1000, b"\xfe bye")
        assert (seen.last["type"], seen.last["reason"], seen.last["exitCode"]) == ("closed", "exited", 3)

    play(scenario)


def test_opening_and_closing_are_events_of_the_job(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            opened = world.events()
            assert [event.reason for event in opened] == ["TerminalOpened"], "noted before anything is typed"
            world.shell.output.put_nowait(Exit(0, "ended"))
            await rest_of(socket)
        opening, closing = await world.noted(2)
        assert opening.message == "ada opened a terminal"
        assert closing.message == "ada's terminal closed after 0 s: the shell ended with exit code 0"
        assert {event.object for event in (opening, closing)} == {f"Pod/{world.desk.pod}"}

    play(scenario)


def test_the_shell_ends_when_the_client_goes_away(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.close()
        async with asyncio.timeout(5):
            await world.shell.ended.wait()
        assert "the client went away" in (await world.noted(2))[1].message

    play(scenario)


def test_the_shell_ends_when_the_connection_breaks(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            connection: Any = socket._conn  # nothing public cuts a connection
            connection.transport.abort()
            async with asyncio.timeout(5):
                await world.shell.ended.wait()

    play(scenario)


def test_a_ticket_opens_one_terminal_even_if_two_redeem_it_at_once(play: Play) -> None:
    async def scenario(world: World) -> None:
        ticket = world.desk.ticket()

        async def redeem() -> bool:
            try:
                async with world.terminal(ticket):
                    return True
            except WSServerHandshakeError as error:
                assert error.status == 409
                return False

        assert sorted(await asyncio.gather(redeem(), redeem(), redeem())) == [False, False, True]
        assert len(world.shells.opened) == 1
        assert await refusal(world, world.address(ticket)) == (409, "TicketUsed")

    play(scenario)


@pytest.mark.parametrize("ticket", ["nonsense", "a.b.c", "%00", "x" * 3000])
def test_what_is_no_ticket_is_a_401(play: Play, ticket: str) -> None:
    async def scenario(world: World) -> None:
        assert await refusal(world, world.address(ticket)) == (401, "TicketInvalid")

    play(scenario)


def test_an_expired_ticket_is_a_401(play: Play) -> None:
    async def scenario(world: World) -> None:
        ticket = world.desk.ticket()
        world.desk.yard.clock.move(60)
        assert await refusal(world, world.address(ticket)) == (401, "TicketExpired")

    play(scenario)


def test_a_job_that_ended_since_is_a_409(play: Play) -> None:
    async def scenario(world: World) -> None:
        ticket = world.desk.ticket()
        world.desk.change(status=Status.FAILED)
        assert await refusal(world, world.address(ticket)) == (409, "JobFinished")

    play(scenario)


@pytest.mark.parametrize(
    "origin", ["https://evil.example.com", "null", f"{ORIGIN}.evil.com", "", "http://127.0.0.1"]
)
def test_a_page_from_elsewhere_cannot_use_a_leaked_ticket(play: Play, origin: str) -> None:
    async def scenario(world: World) -> None:
        ticket = world.desk.ticket()
        assert await refusal(world, world.address(ticket), Origin=origin) == (403, "OriginForbidden")
        async with world.terminal(ticket):  # nor use it up
            pass

    play(scenario)


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:8080", None])
def test_our_own_pages_and_programs_without_an_origin_are_let_in(play: Play, origin: str | None) -> None:
    async def scenario(world: World) -> None:
        async with world.http.ws_connect(world.address(), origin=origin) as socket:
            assert (await socket.receive_json())["type"] == "ready"

    play(scenario)


@pytest.mark.parametrize(
    ("header", "value"),
    [("Sec-WebSocket-Version", "1"), ("Sec-WebSocket-Key", "short"), ("Upgrade", "h2c")],
)
def test_a_request_that_is_no_websocket_is_described_the_ticket_and_keeps_it(
    play: Play, header: str, value: str
) -> None:
    async def scenario(world: World) -> None:
        ticket = world.desk.ticket()
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", header: value}
        async with world.http.get(world.address(ticket), headers=headers) as answer:
            assert answer.status == 200
            assert (await answer.json())["data"]["podName"] == world.desk.pod
        assert world.shells.opened == []
        async with world.terminal(ticket):
            pass

    play(scenario)


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (ClusterUnavailable("down"), 503, "ClusterUnavailable"),
        (NoShell("pod", "exec: sh: not found"), 409, "NoShell"),
        (RuntimeError("a bug"), 500, "InternalError"),
    ],
)
def test_a_shell_that_does_not_start_is_an_answer_before_the_upgrade(
    play: Play, trouble: Exception, status: int, code: str
) -> None:
    async def scenario(world: World) -> None:
        world.shells.trouble = trouble
        assert await refusal(world, world.address()) == (status, code)
        assert world.events() == []
        world.shells.trouble = None
        async with world.terminal():  # and takes nobody's place
            pass

    play(scenario, sessions=1)


def test_with_the_table_down_nothing_opens(play: Play) -> None:
    async def scenario(world: World) -> None:
        address = world.address()
        world.desk.yard.bench.spy.fail("get_item", client_error("InternalServerError"))
        assert await refusal(world, address) == (503, "ServiceUnavailable")
        assert world.shells.opened == []

    play(scenario)


def test_a_terminal_whose_opening_cannot_be_noted_is_not_opened(play: Play) -> None:
    async def scenario(world: World) -> None:
        spy = world.desk.yard.bench.spy
        world.shells.before = lambda: spy.fail("put_item", client_error("InternalServerError"))
        assert await refusal(world, world.address()) == (503, "ServiceUnavailable")
        assert world.shell.ended.is_set()
        assert world.shell.reads == 0

    play(scenario)


def test_a_close_is_noted_as_soon_as_the_table_is_back(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            world.desk.yard.bench.spy.fail("put_item", client_error("InternalServerError"))
            await socket.close()
        assert [event.reason for event in await world.noted(2)] == ["TerminalOpened", "TerminalClosed"]

    play(scenario)


def test_more_terminals_than_are_allowed_are_refused_until_one_closes(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal():
            ticket = world.desk.ticket()
            assert await refusal(world, world.address(ticket)) == (503, "TerminalsBusy")
        await world.noted(2)
        async with world.terminal(ticket):
            pass

    play(scenario, sessions=1)


def test_a_relay_that_stops_tells_its_clients_and_takes_no_more(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            stopping = asyncio.ensure_future(world.relay.stop(10))
            seen = await rest_of(socket)
            await stopping
            assert world.shell.ended.is_set()
        assert (seen.code, seen.last["reason"]) == (1012, "shutdown")
        assert "restarts" in (await world.noted(2))[1].message
        assert await refusal(world, world.address()) == (503, "TerminalsBusy")
        async with world.http.get(world.url + "/readyz") as answer:
            assert answer.status == 503
        async with world.http.get(world.url + "/healthz") as answer:
            assert answer.status == 200

    play(scenario)


def test_an_unknown_path_is_a_404_in_the_envelope(play: Play) -> None:
    async def scenario(world: World) -> None:
        assert await refusal(world, world.url + "/nothing") == (404, "NotFound")

    play(scenario)
