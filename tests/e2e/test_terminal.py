"""Terminals in pods that run: on the embedded cluster and on a real one."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.e2e.conftest import NAMESPACE, World, wait_for
from tests.terminals import Terminal, terminal

MARK = "86399.125"  # nobody else sleeps that long


@pytest.fixture
def job(world: World) -> Iterator[str]:
    """A job that runs."""
    job_id = world.run("sleep", "600")
    world.until(job_id, lambda job: job["status"] == "running" and job["pods"])
    yield job_id
    world.call("POST", f"/api/jobs/{job_id}/stop")


def url_of(world: World, job_id: str) -> str:
    (pod,) = world.detail(job_id)["pods"]
    answer = world.call("GET", f"/api/jobs/{job_id}/pods/{pod}/webterminal")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["webTerminalUrl"])


def terminal_events(world: World, job_id: str) -> list[Any]:
    events = world.call("GET", f"/api/jobs/{job_id}/events").json()["data"]["events"]
    return [event for event in events if event["reason"].startswith("Terminal")]


def refused(url: str) -> tuple[int, str]:
    answer = requests.get(url.replace("ws", "http", 1), timeout=30)
    return answer.status_code, answer.json()["error"]["code"]


async def sleepers(world: World, job_id: str) -> list[str]:
    """The pids of what sleeps for MARK in the pod, as another terminal sees them."""
    async with terminal(url_of(world, job_id)) as other:
        pattern = MARK.replace(".", "[.]")  # so that the search does not find itself
        await other.type(f"echo found=$(grep -la '{pattern}' /proc/[0-9]*/cmdline 2>/dev/null | tr '\\n' ,)=")
        await other.until("found=/" if b"found=/" in other.output else "=\r\n")
        await other.type("echo done=$((1+1))")
        await other.until("done=2")
        found = other.output.decode().rpartition("\r\nfound=")[2].partition("=")[0]
        return [path for path in found.split(",") if path]


def test_a_terminal_is_a_shell_in_the_pod_with_size_and_exit_code(world: World, job: str) -> None:
    async def scenario() -> tuple[int | None, Any]:
        async with terminal(url_of(world, job)) as shell:
            await shell.control(type="resize", columns=123, rows=45)
            await shell.type("hostname; tty; stty size; echo 你好")
            for words in (job, "/dev/pts/", "45 123", "你好"):
                await shell.until(words)
            await shell.type("""python3 -c "import time; print('go' + 'es', flush=True); time.sleep(600)" """)
            await shell.until("goes")
            await shell.socket.send_bytes(b"\x03")
            await shell.until("KeyboardInterrupt")
            await shell.type("echo still=$((40+3)); exit 7")
            await shell.until("still=43")
            return await shell.end()

    code, last = asyncio.run(scenario())
    assert (code, last["reason"], last["exitCode"]) == (1000, "exited", 7)


def test_a_ticket_is_good_once_and_only_as_it_was_signed(world: World, job: str) -> None:
    url = url_of(world, job)

    async def scenario() -> None:
        async with terminal(url) as shell:
            await shell.type("exit")
            await shell.end()

    asyncio.run(scenario())
    assert refused(url) == (409, "TicketUsed")
    events = wait_for(lambda: terminal_events(world, job), lambda events: len(events) == 2)
    assert [event["reason"] for event in events] == ["TerminalOpened", "TerminalClosed"]
    assert "e2e-local's terminal closed after" in events[1]["message"]
    assert refused(url[:-4] + "AAAA") == (401, "TicketInvalid")


@pytest.mark.parametrize("way", ["closed", "cut off", "exit"])
def test_what_ran_in_a_terminal_ends_with_its_connection(world: World, job: str, way: str) -> None:
    async def scenario() -> None:
        async with terminal(url_of(world, job)) as shell:
            await shell.type(f"sleep {MARK} & nohup sleep {MARK} >/dev/null 2>&1 &")
            while len(await sleepers(world, job)) < 2:
                pass
            if way == "exit":
                await shell.type("exit")
                await shell.end()
            elif way == "closed":
                await shell.socket.close()
            else:
                connection: Any = shell.socket._conn  # nothing public cuts a connection
                connection.transport.abort()
        while await sleepers(world, job):
            pass

    async def in_time() -> None:
        async with asyncio.timeout(90):
            await scenario()

    asyncio.run(in_time())


def test_a_terminal_closes_with_its_pod_and_says_why(world: World, job: str) -> None:
    async def scenario() -> tuple[int | None, Any]:
        async with terminal(url_of(world, job)) as shell:
            await asyncio.to_thread(
                world.kubernetes.delete,
                f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job}",
                {
                    "propagationPolicy": "Foreground",
                    "gracePeriodSeconds": 0,
                },
            )
            return await shell.end()

    code, last = asyncio.run(scenario())
    assert (code, last["reason"]) == (4000, "pod_ended")


def test_a_job_that_ended_has_no_terminal(world: World) -> None:
    job_id = world.run("true")
    (pod,) = world.ended(job_id)["pods"]
    answer = world.call("GET", f"/api/jobs/{job_id}/pods/{pod}/webterminal")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "PodNotRunning")


def test_a_reader_that_does_not_read_holds_the_program_in_the_pod_up(world: World, job: str) -> None:
    write = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    find = "grep -lsa 'x. [*] 65536' /proc/[0-9]*/cmdline | sed s/cmdline/io/"

    async def count(other: Terminal) -> int:
        """The bytes that it has written."""
        other.output = b""
        await other.type(f"echo n=$(cat $({find}) </dev/null | sed -n 's/wchar: //p')=$((1+1))")
        await other.until("=2")
        return int((re.findall(rb"[\r\n]n=([0-9]+)=2", other.output) or [0])[-1])

    async def scenario() -> None:
        async with terminal(url_of(world, job)) as writer, terminal(url_of(world, job)) as other:
            await writer.type(f'python3 -c "{write}"')
            before, same = -1, 0
            async with asyncio.timeout(60):
                while same < 10:
                    now = await count(other)
                    same = same + 1 if now == before > 0 else 0
                    before = now
            assert before < 256 * 2**20, "it wrote no more than the buffers on the way hold"
            await writer.until("x" * 65536)
            async with asyncio.timeout(60):
                while await count(other) == before:
                    await writer._read()

    asyncio.run(scenario())


def test_the_relays_restart_ends_a_session_clearly_and_new_ones_open(world: World, job: str) -> None:
    async def scenario() -> tuple[int | None, Any]:
        async with terminal(url_of(world, job)) as shell:
            killing = asyncio.ensure_future(asyncio.to_thread(world.stack.kill, "terminal", signal.SIGTERM))
            seen = await shell.end()
            await killing
            return seen

    code, last = asyncio.run(scenario())
    assert (code, last["reason"]) == (1012, "shutdown")
    world.stack.start("terminal")

    async def again() -> None:
        async with terminal(url_of(world, job)):
            pass

    asyncio.run(again())
