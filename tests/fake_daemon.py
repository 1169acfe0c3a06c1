"""X-Ray's daemon, as far as a function sees it: a UDP port that takes documents and never answers."""

from __future__ import annotations

import json
import socket
from typing import Any

HEADER = b'{"format": "json", "version": 1}\n'


class FakeDaemon:
    """Listens on a free port of this machine. What was sent within it is there when the sender goes on."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)

    @property
    def address(self) -> str:
        """What AWS_XRAY_DAEMON_ADDRESS says."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def received(self) -> list[Any]:
        """The documents that came since the last call, oldest first."""
        found: list[Any] = []
        while True:
            try:
                datagram = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            header, _, document = datagram.partition(b"\n")
            assert header + b"\n" == HEADER, datagram
            found.append(json.loads(document))

    def close(self) -> None:
        self._socket.close()
