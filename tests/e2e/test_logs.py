"""A job's log as its owner follows it: every line once and in order, whatever becomes of its pods."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import requests

from infra.local import ministack
from infra.local.config import LOG_GROUP
from tests.e2e.conftest import PATIENCE_SECONDS, World, wait_for

LINES = 30_000
NUMBERS = f"""
import time
for number in range({LINES}):
    print(number)
time.sleep(600)
"""


class Follower:
    """Follows a log to its end, in a thread of its own; `lines` is what it was told so far."""

    def __init__(self, world: World, job_id: str, kind: str) -> None:
        self.lines: list[str] = []
        self.sources: set[str] = set()
        self._world, self._path = world, f"/api/v1/training/jobs/{job_id}/logs"
        follow = self._poll if kind == "long poll" else self._listen
        self._thread = threading.Thread(target=follow, daemon=True)
        self._thread.start()

    def join(self) -> list[str]:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), f"it still follows, after {len(self.lines)} lines"
        return self.lines

    def _ask(self, query: str, headers: Mapping[str, str]) -> requests.Response:
        """A connection that was lost is no reason to stop: the place in the log is the caller's."""
        while True:
            with suppress(requests.ConnectionError):
                answer = self._world.call("GET", f"{self._path}?{query}", headers=headers)
                answer.raise_for_status()
                return answer

    def _poll(self) -> None:
        cursor, finished = "start", False
        while not finished:
            data = self._ask(f"follow=true&wait=5&cursor={cursor}", {}).json()["data"]
            self.lines += data["logs"]
            self.sources.add(data["source"])
            cursor, finished = data["cursor"], data["finished"]

    def _listen(self) -> None:
        headers = {"Accept": "text/event-stream"}
        while True:
            answer = self._ask("cursor=start&wait=5", headers)
            for block in answer.content.decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in block.split("\n") if line)
                headers["Last-Event-ID"] = fields.get("id", headers.get("Last-Event-ID", ""))
                if fields.get("event") == "end":
                    return
                if "data" in fields and "event" not in fields:
                    self.lines.append(json.loads(fields["data"])["line"])


def log_of(world: World, job_id: str, query: str = "cursor=start") -> Any:
    return world.call("GET", f"/api/v1/training/jobs/{job_id}/logs?{query}").json()["data"]


@pytest.fixture
def shipped(world: World) -> None:
    if not world.embedded and not os.environ.get("TRAINYARD_NODE_LOGS"):
        pytest.skip("needs TRAINYARD_NODE_LOGS: the folder of the node's log files, to ship them from")


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("kind", ["long poll", "events"])
def test_a_log_is_followed_past_the_end_of_its_pod(world: World, kind: str) -> None:
    job_id = world.python(NUMBERS)
    follower = Follower(world, job_id, kind)
    wait_for(lambda: len(follower.lines) > LINES // 10)
    world.call("POST", f"/api/jobs/{job_id}/stop")
    wait_for(lambda: world.is_clean(job_id))
    assert follower.join() == [str(number) for number in range(LINES)]


@pytest.mark.usefixtures("shipped")
def test_a_log_outlives_its_pod(world: World) -> None:
    job_id = world.python("print('one'); print('two'); import time; time.sleep(600)")
    before = wait_for(lambda: log_of(world, job_id), lambda data: len(data["logs"]) == 2)
    assert before["source"] == "kubernetes"
    (pod,) = world.until(job_id, lambda job: job["pods"])["pods"]
    world.call("POST", f"/api/jobs/{job_id}/stop")
    world.ended(job_id)
    wait_for(lambda: world.is_clean(job_id))
    after = wait_for(lambda: log_of(world, job_id), lambda data: data["finished"])
    assert (after["logs"], after["source"]) == (["one", "two"], "cloudwatch")
    assert log_of(world, job_id, "lines=1")["logs"] == ["two"]
    text = world.call("GET", f"/api/jobs/{job_id}/pods/{pod}/logs").json()["data"]
    assert (text["logs"], text["finished"]) == ("one\ntwo", True)


def test_a_retry_goes_on_in_the_same_log(world: World) -> None:
    script = "import os, time; print('try'); time.sleep(1); raise SystemExit(1)"
    job_id = world.python(script, maxRetries=1)
    follower = Follower(world, job_id, "long poll")
    assert world.ended(job_id)["status"] == "failed"
    assert follower.join() == ["try", "try"]


def test_each_line_of_several_ranks_names_its_pod(world: World) -> None:
    job_id = world.python("import socket; print(socket.gethostname())", nodes=2)
    lines = sorted(Follower(world, job_id, "long poll").join())
    pods = sorted(world.ended(job_id)["pods"])
    assert [line.partition(" ")[0] for line in lines] == [f"[{pod}]" for pod in pods]


def test_a_job_that_waits_says_why_its_log_is_empty(world: World) -> None:
    job_id = world.python("pass", resources={"cpu": 1000, "memory": 2**30, "gpu": 0})
    data = wait_for(lambda: log_of(world, job_id), lambda data: data.get("reason") == "Unschedulable")
    assert data["logs"] == [] and "cpu" in data["message"]
    world.call("DELETE", f"/api/jobs/{job_id}")


@pytest.mark.usefixtures("shipped")
def test_a_cluster_that_is_down_hides_no_log(world: World) -> None:
    if not world.embedded:
        pytest.skip("only the embedded cluster fails on demand")
    job_id = world.python("print('one'); import time; time.sleep(600)")
    archive = ministack.client(world.stack.local, "logs")
    streams = {"logGroupName": LOG_GROUP, "logStreamNamePrefix": f"{job_id}."}
    # Whose pod it is the shipper has to ask the cluster, once.
    wait_for(lambda: archive.describe_log_streams(**streams)["logStreams"])
    with failing(world):
        data = wait_for(lambda: log_of(world, job_id), lambda data: bool(data["logs"]))
        assert (data["logs"], data["source"], data["finished"]) == (["one"], "cloudwatch", False)
    data = log_of(world, job_id, f"cursor={data['cursor']}")
    assert (data["logs"], data["source"]) == ([], "kubernetes")
    world.call("DELETE", f"/api/jobs/{job_id}")


@contextmanager
def failing(world: World) -> Iterator[None]:
    """The API server answers everything about pods with 503."""
    path = "/control/faults"
    world.kubernetes.create(path, {"fault": "error", "code": 503, "path": "*/pods*"})
    try:
        yield
    finally:
        world.kubernetes.delete(path, {})
