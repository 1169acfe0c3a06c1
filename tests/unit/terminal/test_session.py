"""An open terminal: control messages, limits, slow and silent and malicious clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from infra.terminal.shell import Exit
from tests.unit.terminal.conftest import Play, World, rest_of, until


def test_resize_reaches_the_shell(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_json({"type": "resize", "columns": 123, "rows": 45})
            await until(lambda: world.shell.sizes == [(123, 45)])

    play(scenario)


def test_a_ping_is_answered(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_json({"type": "ping"})
            assert await socket.receive_json() == {"type": "pong"}

    play(scenario)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resize",
        "[]",
        "{}",
        "[" * 1000,
        '{"type": "reboot"}',
        '{"type": "ping", "more": 1}',
        '{"type": "resize", "columns": 80}',
        '{"type": "resize", "columns": 0, "rows": 24}',
        '{"type": "resize", "columns": 80, "rows": 5000}',
        '{"type": "resize", "columns": true, "rows": 24}',
        '{"type": "resize", "columns": "80", "rows": 24}',
        '{"type": "resize", "columns": 1e400, "rows": 24}',
        json.dumps({"type": "ping" * 1000}),
    ],
)
def test_a_control_message_that_is_none_closes_the_terminal(play: Play, text: str) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_str(text)
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (1007, "malformed")
        assert world.shell.sizes == []

    play(scenario)


def test_a_frame_that_is_too_big_closes_the_terminal(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_bytes(b"x" * 65536)
            await until(lambda: len(world.shell.typed) == 65536)
            await socket.send_bytes(b"x" * 65537)
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (1009, "too_big")
        assert len(world.shell.typed) == 65536

    play(scenario)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009, id="8 EiB announced"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="an opcode that is none"),
        pytest.param(b"\xf2\x80\0\0\0\0", 1002, id="reserved bits"),
        pytest.param(b"\x81\x82\0\0\0\0\xff\xfe", 1007, id="text that is not UTF-8"),
    ],
)
def test_a_malformed_frame_closes_the_terminal_and_ends_the_shell(play: Play, raw: bytes, code: int) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            connection: Any = socket._conn  # past the client, which sends no such thing
            connection.transport.write(raw)
            assert (await rest_of(socket)).code == code
        async with asyncio.timeout(5):
            await world.shell.ended.wait()
        await world.noted(2)

    play(scenario)


def test_a_terminal_in_which_nothing_happens_is_closed(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_json({"type": "ping"})  # is not activity
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (4001, "idle")
        assert seen.last["message"] == "nothing was typed or printed for 0.3 s"

    play(scenario, idle_seconds=0.3)


@pytest.mark.parametrize("side", ["typing", "printing"])
def test_typing_and_printing_keep_a_terminal_open(play: Play, side: str) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            began = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() < began + 1.0:  # twice the limit
                if side == "typing":
                    await socket.send_bytes(b"x")
                else:
                    world.shell.output.put_nowait(b"x")
                await asyncio.sleep(0.05)
            world.shell.output.put_nowait(Exit(0, ""))
            assert (await rest_of(socket)).last["reason"] == "exited"

    play(scenario, idle_seconds=0.5)


def test_a_terminal_is_open_no_longer_than_its_limit(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (4002, "session_limit")

    play(scenario, session_seconds=0.3)


def test_a_client_that_answers_pings_is_there_and_one_that_does_not_is_gone(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as answers, world.terminal() as is_silent:
            first, second = world.shells.opened
            listening = asyncio.ensure_future(rest_of(answers))
            async with asyncio.timeout(5):
                await second.ended.wait()
            assert not first.ended.is_set()
            first.output.put_nowait(Exit(0, ""))
            assert (await listening).last["reason"] == "exited"
            del is_silent

    play(scenario, ping_seconds=0.1, silent_seconds=1.0)


def test_a_client_that_does_not_read_holds_the_shell_up_and_nothing_is_piled_up(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            piece, pieces = b"x" * 32768, 2000  # 64 MB
            for _ in range(pieces):
                world.shell.output.put_nowait(piece)
            reads = await settled(lambda: world.shell.reads)
            assert reads < pieces / 2, "the shell is not read on"
            world.shell.output.put_nowait(Exit(0, ""))
            seen = await rest_of(socket)
            assert len(seen.output) == len(piece) * pieces, "and nothing is lost"

    play(scenario)


def test_a_client_that_never_reads_is_cut_off(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal():
            for _ in range(2000):
                world.shell.output.put_nowait(b"x" * 32768)
            async with asyncio.timeout(15):
                await world.shell.ended.wait()
            assert "the client did not read" in (await world.noted(2))[1].message

    play(scenario, stalled_seconds=0.5)


def test_a_pod_that_takes_no_input_holds_the_client_up_and_then_ends_it(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            world.shell.takes_input.clear()
            await socket.send_bytes(b"x")
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (4004, "stalled")

    play(scenario, stalled_seconds=0.3)


def test_a_client_can_pause_the_output_and_go_on(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            await socket.send_json({"type": "pause"})
            await socket.send_json({"type": "ping"})
            assert await socket.receive_json() == {"type": "pong"}
            for word in (b"a", b"b", b"c"):
                world.shell.output.put_nowait(word)
            assert await settled(lambda: world.shell.reads) == 1
            await socket.send_json({"type": "resume"})
            world.shell.output.put_nowait(Exit(0, ""))
            assert (await rest_of(socket)).output == b"abc"

    play(scenario)


@pytest.mark.parametrize("code", [137, None])
def test_a_shell_that_ended_with_its_pod_says_what_became_of_the_pod(play: Play, code: int | None) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            world.desk.shows(phase="Failed", exit_code=137, terminated_reason="OOMKilled")
            world.shell.output.put_nowait(Exit(code, "lost"))
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (4000, "pod_ended")
        assert "OOMKilled" in seen.last["message"]

    play(scenario)


def test_a_connection_that_broke_while_the_pod_runs_on_says_so(play: Play) -> None:
    async def scenario(world: World) -> None:
        async with world.terminal() as socket:
            world.shell.output.put_nowait(Exit(None, "the connection to the pod was lost"))
            seen = await rest_of(socket)
        assert (seen.code, seen.last["reason"]) == (4003, "connection_lost")

    play(scenario)


async def settled(value: Any) -> Any:
    """What `value()` is once it has not changed for half a second."""
    last, same = value(), 0
    while same < 10:
        await asyncio.sleep(0.05)
        same = same + 1 if value() == last else 0
        last = value()
    return last
