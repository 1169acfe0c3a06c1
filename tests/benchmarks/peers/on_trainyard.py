"""Trainyard's embedded stack, by its API."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import Any

from chalicelib.bootstrap import new_job_id, utc_now
from chalicelib.domain.job import Reason
from chalicelib.domain.states import Status
from chalicelib.store.dynamo import DynamoStore, StoreOptions
from infra.local import ministack
from infra.local.config import DEFAULT_TENANT, HOST
from tests.benchmarks.peers.system import Client, Http, NotAvailable, System, side_by_side
from tests.builders import job
from tests.stack import RunningStack, start_stack

OVER = ("Succeeded", "Failed", "Stopped")


class TrainyardClient(Client):
    def __init__(self, stack: RunningStack) -> None:
        connection = http.client.HTTPConnection(HOST, stack.local.port, timeout=120)
        self._http = Http(connection, {"Authorization": f"Bearer {stack.token()}"})

    def create(self, command: str) -> str:
        return self._submit(command, {})

    def create_waiting(self) -> str:
        return self._submit("true", {"resources": {"gpu": 64}})

    def is_pending(self, job_id: str) -> bool:
        return self._status(job_id) == "Pending"

    def has_ended(self, job_id: str) -> bool:
        return self._status(job_id) in OVER

    def stop(self, job_id: str) -> None:
        self._http.bytes("POST", f"/api/jobs/{job_id}/stop")

    def list_newest(self) -> int:
        return len(self._http.bytes("POST", "/api/jobs", {}))

    def tail(self, job_id: str, lines: int) -> tuple[list[str], int]:
        data = self._http.bytes("GET", f"/api/v1/training/jobs/{job_id}/logs?lines={lines}")
        return list(json.loads(data)["data"]["logs"]), len(data)

    def follow(self, job_id: str) -> Iterator[str]:
        cursor, finished = "start", False
        while not finished:
            path = f"/api/v1/training/jobs/{job_id}/logs?follow=true&cursor={cursor}"
            page = self._http.json("GET", path)["data"]
            yield from page["logs"]
            cursor, finished = page["cursor"], page["finished"]

    def count(self) -> int:
        page = self._http.json("GET", "/api/v1/training/jobs?page_size=1")
        return int(page["data"]["pagination"]["total"])

    def _submit(self, command: str, more: dict[str, Any]) -> str:
        body = {"jobName": "bench", "image": "python", "command": ["sh", "-c", command], **more}
        return str(self._http.json("POST", "/api/jobs/create", body)["data"]["jobId"])

    def _status(self, job_id: str) -> str:
        return str(self._http.json("GET", f"/api/jobs/{job_id}")["data"]["status"])


class Trainyard(System):
    name = "Trainyard"
    version = "of this checkout"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack: RunningStack | None = None

    def start(self) -> None:
        self._stack = start_stack(self._folder / "stack")

    def stop(self) -> None:
        if self._stack:
            self._stack.stop()

    def connect(self) -> TrainyardClient:
        if self._stack is None:
            raise NotAvailable("it is not up")
        return TrainyardClient(self._stack)

    def fill(self, total: int) -> None:
        assert self._stack is not None
        local = self._stack.local
        store = DynamoStore(
            ministack.client(local, "dynamodb"),
            StoreOptions(table=ministack.deployed(local).jobs_table),
            clock=utc_now,
            sleep=time.sleep,
            random=SystemRandom(),
        )

        def one(_: Client, __: int) -> None:
            now = utc_now()
            record = job(Status.SUCCEEDED, id=new_job_id(now), tenant=DEFAULT_TENANT, created_at=now)
            store.create(
                replace(record, reason=Reason.COMPLETED, updated_at=now, started_at=now, finished_at=now)
            )

        side_by_side(one, self, 4, total - self.connect().count())
