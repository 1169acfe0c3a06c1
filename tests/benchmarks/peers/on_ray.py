"""Ray on one node, by the REST interface of its job server."""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import aiohttp

from tests.benchmarks.peers.system import (
    FAILURES,
    HOST,
    Client,
    Http,
    NotAvailable,
    System,
    end,
    launch,
    side_by_side,
)
from tests.benchmarks.timing import wait_until

PORT = 8265
OVER = ("SUCCEEDED", "FAILED", "STOPPED")
MOST_JOBS = 1000  # more would take it more than ten minutes
AT_ONCE = 3


class RayClient(Client):
    def __init__(self) -> None:
        self._http = Http(http.client.HTTPConnection(HOST, PORT, timeout=120), {})

    def create(self, command: str) -> str:
        return str(self._http.json("POST", "/api/jobs/", {"entrypoint": command})["submission_id"])

    def create_waiting(self) -> str:
        body = {"entrypoint": "true", "entrypoint_num_gpus": 64}
        return str(self._http.json("POST", "/api/jobs/", body)["submission_id"])

    def is_pending(self, job_id: str) -> bool:
        return self._status(job_id) == "PENDING"

    def has_ended(self, job_id: str) -> bool:
        return self._status(job_id) in OVER

    def stop(self, job_id: str) -> None:
        self._http.bytes("POST", f"/api/jobs/{job_id}/stop")

    def list_newest(self) -> int:
        return len(self._http.bytes("GET", "/api/jobs/"))

    def tail(self, job_id: str, lines: int) -> tuple[list[str], int]:
        told = self._http.json("GET", f"/api/jobs/{job_id}/logs")["logs"]
        return told.splitlines()[-lines:], len(told)

    def follow(self, job_id: str) -> Iterator[str]:
        lines: SimpleQueue[str | None] = SimpleQueue()
        Thread(target=lambda: asyncio.run(_tail(job_id, lines)), daemon=True).start()
        while (line := lines.get()) is not None:
            yield line

    def count(self) -> int:
        return len(self._http.json("GET", "/api/jobs/"))

    def _status(self, job_id: str) -> str:
        return str(self._http.json("GET", f"/api/jobs/{job_id}")["status"])


async def _tail(job_id: str, lines: SimpleQueue[str | None]) -> None:
    url = f"ws://{HOST}:{PORT}/api/jobs/{job_id}/logs/tail"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                for line in message.data.splitlines():
                    lines.put(line)
    lines.put(None)


class Ray(System):
    name = "Ray"

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        path = f"{self._programs}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(self._folder), "RAY_USAGE_STATS_ENABLED": "0"}
        argv: list[str | Path] = [
            self._programs / "ray",
            *("start", "--head", "--block", "--disable-usage-stats"),
            *(f"--node-ip-address={HOST}", f"--dashboard-host={HOST}", f"--dashboard-port={PORT}"),
            f"--temp-dir={self._folder / 'ray'}",
        ]
        self._process = launch(argv, self._folder / "ray.log", env)
        wait_until(self._is_up, 120, "its job server", pause=0.5)

    def stop(self) -> None:
        if self._process:
            end(self._process)

    def connect(self) -> RayClient:
        return RayClient()

    def fill(self, total: int) -> None:
        """Jobs that really ran: one that waits cannot be cancelled."""
        if total > MOST_JOBS:
            raise NotAvailable("a job takes it most of a second of CPU")

        def one(client: Client, _: int) -> None:
            job_id = client.create("true")
            wait_until(lambda: client.has_ended(job_id), 120, "a job's end", pause=0.25)

        side_by_side(one, self, AT_ONCE, total - self.connect().count())

    def _is_up(self) -> bool:
        try:
            told = Http(http.client.HTTPConnection(HOST, PORT, timeout=5), {}).json("GET", "/api/version")
        except FAILURES:
            return False
        self.version = str(told["ray_version"])
        return True
