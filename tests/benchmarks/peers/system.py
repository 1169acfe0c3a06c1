"""What the benchmark asks of a system, and the HTTP client that asks it of each in the same way."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


class NotAvailable(Exception):
    """A peer cannot be installed or started here, or cannot do this work; the message says why."""


class HttpError(Exception):
    """An answer of 400 or more."""


FAILURES = (OSError, http.client.HTTPException, HttpError)


class Http:
    """One kept-alive connection that speaks JSON."""

    def __init__(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._headers = {"Content-Type": "application/json", **headers}

    def bytes(self, method: str, path: str, body: Any = None) -> bytes:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, path, text, self._headers)
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status >= 400:
            raise HttpError(f"{method} {path}: {answer.status} {data[:500]!r}")
        return data

    def json(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self.bytes(method, path, body))


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client(ABC):
    """One user of a system, with a connection of its own. `command` is a line for a shell."""

    @abstractmethod
    def create(self, command: str) -> str:
        """The id of a job that runs at once."""

    @abstractmethod
    def create_waiting(self) -> str:
        """The id of a job that cannot run: nothing works beside the measurement."""

    @abstractmethod
    def is_pending(self, job_id: str) -> bool: ...

    @abstractmethod
    def has_ended(self, job_id: str) -> bool: ...

    @abstractmethod
    def stop(self, job_id: str) -> None: ...

    @abstractmethod
    def list_newest(self) -> int:
        """Twenty jobs, or all where there are no pages; how many bytes that took."""

    @abstractmethod
    def tail(self, job_id: str, lines: int) -> tuple[list[str], int]:
        """The last lines of a job's log, and how many bytes were read for them."""

    @abstractmethod
    def follow(self, job_id: str) -> Iterator[str]:
        """The lines of a job's log from its first, each as soon as it is there, until the job ends."""


class System(ABC):
    """A scheduler or control plane that is started in a folder of its own."""

    name: str
    version: str
    load: float = 0.0  # of the machine, when it was started

    @abstractmethod
    def start(self) -> None:
        """Raises NotAvailable."""

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def connect(self) -> Client: ...

    @abstractmethod
    def fill(self, total: int) -> None:
        """Until it knows about so many jobs, all of which are over. Raises NotAvailable."""


def side_by_side(work: Callable[[Client, int], None], system: System, clients: int, total: int) -> None:
    """`work` is done `total` times, by so many clients; the first failure is raised when all are through."""
    connections = [system.connect() for _ in range(clients)]

    def share(number: int) -> None:
        for turn in range(number, total, clients):
            work(connections[number], turn)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(share, range(clients)))


def launch(argv: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(word) for word in argv], env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
