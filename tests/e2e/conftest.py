"""A whole stack and what a person would do with it: on the embedded cluster, and with `-m cluster` on the
real one that KUBECONFIG names (TRAINYARD_TEST_IMAGE: an image there with Python and sh)."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from chalicelib.cluster.api import KubernetesApi, NotFoundInCluster
from chalicelib.domain import labels
from tests.stack import RunningStack, start_stack

TENANT = "e2e"
NAMESPACE = f"trainyard-{TENANT}"
PATIENCE_SECONDS = 120.0


@dataclass
class World:
    """A stack, its cluster, and a member of one tenant."""

    stack: RunningStack
    image: str
    embedded: bool

    def __post_init__(self) -> None:
        self.kubernetes = KubernetesApi.from_kubeconfig(self.stack.kubeconfig, None, 10)
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.stack.token(TENANT)}"

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        return self._session.request(method, self.stack.url + path, json=body, headers=headers, timeout=30)

    def run(self, *command: str, **fields: Any) -> str:
        """Create a job through the `jobs` dialect; its id."""
        body = {"jobName": "e2e", "image": self.image, "command": command, **fields}
        answer = self.call("POST", "/api/jobs/create", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["jobId"])

    def python(self, script: str, **fields: Any) -> str:
        return self.run("python3", "-u", "-c", script, **fields)

    def detail(self, job_id: str) -> Any:
        """The job as the other dialect tells it."""
        return self.call("GET", f"/api/v1/training/jobs/{job_id}").json()["data"]

    def logs(self, job_id: str) -> list[str]:
        lines: list[str] = self.call("GET", f"/api/v1/training/jobs/{job_id}/logs").json()["data"]["logs"]
        return lines

    def events(self, job_id: str) -> list[Any]:
        events: list[Any] = self.call("GET", f"/api/jobs/{job_id}/events").json()["data"]["events"]
        return events

    def pods_told(self, job_id: str) -> list[Any]:
        """The pods as the API tells them; `pods` has them as the cluster does."""
        pods: list[Any] = self.call("GET", f"/api/jobs/{job_id}/pods").json()["data"]["pods"]
        return pods

    def until(self, job_id: str, condition: Callable[[Any], bool]) -> Any:
        """The job's detail as soon as the condition holds for it."""
        return wait_for(lambda: self.detail(job_id), condition)

    def ended(self, job_id: str) -> Any:
        return self.until(job_id, lambda job: job["status"] in ("succeeded", "failed", "stopped"))

    def kubernetes_job(self, job_id: str) -> Any:
        try:
            return self.kubernetes.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job_id}")
        except NotFoundInCluster:
            return None

    def pods(self, job_id: str) -> list[Any]:
        query = {"labelSelector": f"{labels.JOB}={job_id}"}
        return list(self.kubernetes.items(f"/api/v1/namespaces/{NAMESPACE}/pods", query))

    def is_clean(self, job_id: str) -> bool:
        return self.kubernetes_job(job_id) is None and not self.pods(job_id)


def wait_for(look: Callable[[], Any], condition: Callable[[Any], bool] = bool) -> Any:
    """What `look` gives as soon as the condition holds for it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(seen := look()):
        assert time.monotonic() < deadline, f"not in {PATIENCE_SECONDS:g} s; last seen: {seen}"
        time.sleep(0.1)
    return seen


@pytest.fixture(scope="package", params=["embedded", pytest.param("kubeconfig", marks=pytest.mark.cluster)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = {"TRAINYARD_STOP_GRACE_SECONDS": "5"}
    embedded = request.param == "embedded"
    if not embedded:
        if not Path(kubeconfig := os.environ.get("KUBECONFIG", "")).is_file():
            pytest.skip("KUBECONFIG names no file")
        # One Trainyard takes another of its name's Jobs for strays; a cluster may have several test runs.
        instance = {"TRAINYARD_INSTANCE": f"e2e-{uuid.uuid4().hex[:8]}"}
        settings |= {"TRAINYARD_CLUSTER": "kubeconfig", "KUBECONFIG": kubeconfig, **instance}
        settings |= {k: v for k, v in os.environ.items() if k == "TRAINYARD_NODE_LOGS"}
    stack = start_stack(tmp_path_factory.mktemp("e2e"), settings)
    try:
        yield World(stack, os.environ.get("TRAINYARD_TEST_IMAGE", "python:3.11"), embedded)
    finally:
        stack.stop()
