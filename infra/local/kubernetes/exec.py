"""`kubectl exec`: a WebSocket of channels (v5 and v4.channel.k8s.io) and a process within a container."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import socket
import struct
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.node import Node
from infra.local.kubernetes.podlogs import container_of, flag
from infra.local.kubernetes.process import Process, python
from infra.local.kubernetes.registry import Registry
from infra.local.kubernetes.resources import PODS

Obj = dict[str, Any]
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PIECE = 32 * 1024


@dataclass(frozen=True)
class Asked:
    command: list[str]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


async def serve_exec(
    request: web.Request, registry: Registry, node: Node, namespace: str, name: str
) -> web.StreamResponse:
    pod = registry.get(PODS, namespace, name)
    container = container_of(request, pod)
    asked = Asked(
        request.query.getall("command", []),
        *(flag(request, stream) for stream in ("stdin", "stdout", "stderr", "tty")),
    )
    if not asked.command:
        raise ApiError(400, "you must specify at least 1 command for the container")
    folder = node.run_folder(pod, container)
    if folder is None or Process(folder).exit or not Process(folder).running:
        raise ApiError(500, f'container not found ("{container}")')
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise ApiError(400, "exec is served over WebSockets only: use kubectl 1.31 or newer")
    channels = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
    await channels.prepare(request)
    session = Session(channels, asked)
    try:
        await session.run(folder)
    finally:
        session.close()
    await channels.close()
    return channels


class Session:
    """One command: its streams and the helper that runs it, which ends it when this end goes away."""

    def __init__(self, channels: web.WebSocketResponse, asked: Asked) -> None:
        self._channels = channels
        self._asked = asked
        self._terminal = -1  # our side of the pty
        self._stdin: asyncio.WriteTransport | None = None
        self._ours: list[tuple[int, int]] = []  # channel, descriptor to read from
        self._control, self._theirs = socket.socketpair()
        self._control.setblocking(False)

    async def run(self, folder: Path) -> None:
        await self._start(folder)
        if self._asked.stdout:
            await self._channels.send_bytes(bytes([STDOUT]))  # tells the client that the way is open
        receiver = asyncio.ensure_future(self._receive())
        result = asyncio.ensure_future(self._result())
        readers = [asyncio.ensure_future(self._copy(channel, fd)) for channel, fd in self._ours]
        try:
            await asyncio.wait({receiver, result}, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                await asyncio.gather(*readers)
                status = json.dumps(_status(result.result())).encode()
                await self._channels.send_bytes(bytes([ERROR]) + status)
        finally:
            for task in (receiver, result, *readers):
                task.cancel()

    def close(self) -> None:
        self._control.close()
        self._theirs.close()
        if self._stdin:
            self._stdin.close()
        if self._terminal >= 0:
            os.close(self._terminal)

    async def _start(self, folder: Path) -> None:
        ours, theirs = self._streams()
        told = json.dumps({"command": self._asked.command, "tty": self._asked.tty})
        try:
            await asyncio.create_subprocess_exec(
                *python("enter", str(folder), str(self._theirs.fileno()), told),
                stdin=theirs[STDIN],
                stdout=theirs[STDOUT],
                stderr=theirs[STDERR],
                pass_fds=(self._theirs.fileno(),),
                start_new_session=True,
                env={},
            )
        finally:
            for fd in set(theirs):
                os.close(fd)
            self._theirs.close()
        if self._asked.stdin:
            loop, file = asyncio.get_running_loop(), os.fdopen(ours, "wb", buffering=0)
            self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, file)
        else:
            os.close(ours)

    def _streams(self) -> tuple[int, list[int]]:
        """Our end of the command's standard input, and its own three."""
        if self._asked.tty:
            self._terminal, theirs = pty.openpty()
            self._ours = [(STDOUT, os.dup(self._terminal))]
            return os.dup(self._terminal), [theirs] * 3
        (stdin, ours), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
        self._ours = [(STDOUT, out), (STDERR, err)]
        return ours, [stdin, stdout, stderr]

    async def _copy(self, channel: int, fd: int) -> None:
        reader = asyncio.StreamReader(limit=PIECE)
        wanted = self._asked.stdout if channel == STDOUT else self._asked.stderr
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: protocol, os.fdopen(fd, "rb", buffering=0)
        )
        try:
            while data := await reader.read(PIECE):
                if wanted:
                    await self._channels.send_bytes(bytes([channel]) + data)
        except OSError:
            return  # the last process on the pty has gone, or the client has
        finally:
            transport.close()

    async def _receive(self) -> None:
        async for message in self._channels:
            data = message.data if message.type == WSMsgType.BINARY else message.data.encode()
            channel, rest = data[:1], data[1:]
            if channel == bytes([STDIN]) and self._stdin:
                self._stdin.write(rest)
            elif channel == bytes([CLOSE]) and rest == bytes([STDIN]) and self._stdin:
                self._stdin.close()
            elif channel == bytes([RESIZE]) and self._terminal >= 0:
                with contextlib.suppress(ValueError, KeyError, TypeError, struct.error):
                    size = json.loads(rest)
                    shape = struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
                    fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, shape)

    async def _result(self) -> Obj:
        said = b""
        while piece := await asyncio.get_running_loop().sock_recv(self._control, PIECE):
            said += piece
        result: Obj = json.loads(said or b'{"failure": "the container has ended"}')
        return result


def _status(result: Obj) -> Obj:
    if result.get("exitCode") == 0:
        return {"metadata": {}, "status": "Success"}
    status: Obj = {"metadata": {}, "status": "Failure"}
    if failure := result.get("failure"):
        why = f"Internal error occurred: error executing command in container: {failure}"
        return {**status, "message": why, "reason": "InternalError", "code": 500}
    code = str(result["exitCode"])
    causes = [{"reason": "ExitCode", "message": code}]
    message = f"command terminated with non-zero exit code: exit status {code}"
    return {**status, "message": message, "reason": "NonZeroExitCode", "details": {"causes": causes}}
