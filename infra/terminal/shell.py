"""A shell in a pod, over the Kubernetes API's exec: a WebSocket of numbered channels."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import (
    AddrInfoType,
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    TCPConnector,
    WSMsgType,
    WSServerHandshakeError,
)
from yarl import URL

from chalicelib.errors import ClusterForbids, ClusterUnavailable, NoShell, PodNotRunning
from chalicelib.services.cluster_ports import Clusters
from chalicelib.services.terminals import Admission

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
START_SECONDS = 15.0
CLOSE_SECONDS = 2.0
KEEPALIVE_SECONDS = 30
MAX_FRAME = 4 * 1024 * 1024
# The shell's own process id comes first: it is the id of the terminal's session, by which end() finds what
# runs in it. TMOUT ends a forgotten bash even if the relay was killed and could not.
START = """printf '%s\\n' $$; TERM=xterm-256color TMOUT=86400; export TERM TMOUT
if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh"""
# A container runtime may leave a command running whose connection is gone. In a line of /proc/PID/stat the
# session stands fourth behind the name, which may itself hold blanks and brackets.
END = """for signal in HUP KILL; do for file in /proc/[0-9]*/stat; do
read -r line <"$file" || continue; pid=${file#/proc/}; session=$1; set -- ${line##*) }
if [ "$4" = "$session" ]; then kill -s $signal "${pid%/stat}"; fi; set -- "$session"
done; if [ $signal = HUP ]; then sleep 1; fi; done 2>/dev/null"""

log = logging.getLogger("trainyard.terminal")
Dial = Callable[[Sequence[str], bool], Awaitable[ClientWebSocketResponse]]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a shell ended; `code` None: the connection to it did, and nobody knows."""

    code: int | None
    message: str


class Shell:
    """A running shell. `end` must be called."""

    def __init__(self, channels: ClientWebSocketResponse, session: int, rest: bytes, dial: Dial) -> None:
        self._channels = channels
        self._session = session
        self._rest = rest
        self._dial = dial

    async def read(self) -> bytes | Exit:
        """The next output, or how it ended."""
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        return await _next(self._channels)

    async def write(self, data: bytes) -> None:
        await self._channels.send_bytes(bytes([STDIN]) + data)

    async def resize(self, columns: int, rows: int) -> None:
        size = json.dumps({"Width": columns, "Height": rows}).encode()
        await self._channels.send_bytes(bytes([RESIZE]) + size)

    async def end(self) -> None:
        """Close the connection, and see to it that what ran in the terminal ends, also what a shell that
        ended left behind."""
        await _close(self._channels)
        try:
            async with asyncio.timeout(START_SECONDS):
                ending = await self._dial(["sh", "-c", END, "sh", str(self._session)], False)
                try:
                    while not isinstance(await _next(ending), Exit):
                        pass
                finally:
                    await _close(ending)
        except (ClientError, OSError, TimeoutError, ClusterUnavailable) as error:
            log.info("nothing is left to end, or out of reach: %s", error)


class Shells:
    """Opens shells in the pods of all pools' clusters."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters
        self._http = ClientSession(connector=TCPConnector(limit=0, socket_factory=_watched_socket))

    async def open(self, admission: Admission) -> Shell:
        """Raises NoShell, PodNotRunning, and ClusterUnavailable or a child of it."""
        pod = admission.ticket.grant.pod

        async def dial(command: Sequence[str], tty: bool) -> ClientWebSocketResponse:
            call = await asyncio.to_thread(
                lambda: self._clusters(admission.pool).exec_call(admission.namespace, pod, command, tty=tty)
            )
            return await self._http.ws_connect(
                URL(call.url, encoded=True),
                headers=call.headers,
                protocols=PROTOCOLS,
                ssl=call.tls or True,
                server_hostname=call.server_name,
                max_msg_size=MAX_FRAME,
                timeout=ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )

        try:
            async with asyncio.timeout(START_SECONDS):
                channels = await dial(["sh", "-c", START], True)
                try:
                    session, rest = await _first_line(channels, pod)
                except BaseException:
                    await _close(channels)
                    raise
        except WSServerHandshakeError as error:
            raise _refusal(error, pod) from error
        except (ClientError, OSError, TimeoutError) as error:
            raise ClusterUnavailable(f"no shell could be started: {error!r}") from error
        return Shell(channels, session, rest, dial)

    async def close(self) -> None:
        await self._http.close()


async def _first_line(channels: ClientWebSocketResponse, pod: str) -> tuple[int, bytes]:
    """The number that START prints, and what came right behind it."""
    seen = b""
    while b"\n" not in seen:
        piece = await _next(channels)
        if isinstance(piece, Exit):
            if piece.code is None:
                raise ClusterUnavailable(piece.message)
            raise NoShell(pod, piece.message)
        seen += piece
    line, _, rest = seen.partition(b"\n")
    if not line.strip().isdigit():
        raise NoShell(pod, line.decode(errors="replace").strip())
    return int(line), rest


async def _next(channels: ClientWebSocketResponse) -> bytes | Exit:
    while True:
        message = await channels.receive()
        if message.type is WSMsgType.BINARY and message.data:
            channel, data = message.data[0], message.data[1:]
            if channel == ERROR:
                return _exit(data)
            if channel in (STDOUT, STDERR) and data:
                return bytes(data)
        elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            return Exit(None, "the connection to the pod was lost")


def _exit(data: bytes) -> Exit:
    """The Status object that ends an exec: of a code other than 0 the causes tell."""
    try:
        status = json.loads(data)
        if status["status"] == "Success":
            return Exit(0, "the shell ended")
        causes = (status.get("details") or {}).get("causes") or []
        code = next((int(cause["message"]) for cause in causes if cause.get("reason") == "ExitCode"), 255)
        return Exit(code, str(status.get("message") or "the shell ended"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Exit(None, "the cluster did not say how the shell ended")


def _refusal(error: WSServerHandshakeError, pod: str) -> Exception:
    if error.status == 404:
        return PodNotRunning(pod, "it is gone from the cluster")
    if error.status == 403:
        return ClusterForbids("the relay may not exec into pods: see infra/kubernetes/terminal.yaml")
    return ClusterUnavailable(f"the Kubernetes API answered {error.status} to exec")


async def _close(channels: ClientWebSocketResponse) -> None:
    with suppress(ClientError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await channels.close()


def _watched_socket(address: AddrInfoType) -> socket.socket:
    """A connection whose other end vanished without a word is noticed. WebSocket pings would not do: their
    answers wait behind output that a slow reader has not taken yet."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if option := getattr(socket, name, None):
            made.setsockopt(socket.IPPROTO_TCP, option, KEEPALIVE_SECONDS)
    return made
