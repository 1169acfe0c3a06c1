"""A job's state follows its pod's at once, on the embedded cluster, whatever becomes of the watches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from chalicelib.cluster.api import KubernetesApi
from infra.local.processes import wait_until
from tests.stack import RunningStack, start_stack

# The records are read so rarely here that nothing but a watch can have told within a test's patience.
SLOW = {"TRAINYARD_SYNC_INTERVAL_SECONDS": "20"}
PATIENCE_SECONDS = 8


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = start_stack(tmp_path_factory.mktemp("watched"), SLOW)
    yield running
    running.stop()


class Yard:
    """The stack, as a caller and as the cluster's admin."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._headers = {"Authorization": f"Bearer {stack.token()}"}
        self._admin = KubernetesApi.from_kubeconfig(stack.kubeconfig, None, 10)

    def submit(self, seconds: float) -> str:
        command = ["python", "-c", f"import time; time.sleep({seconds})"]
        body = {"jobName": "watched", "image": "python", "command": command}
        url = f"{self._stack.url}/api/jobs/create"
        answer = requests.post(url, json=body, headers=self._headers, timeout=30)
        return str(answer.json()["data"]["jobId"])

    def status(self, job_id: str) -> str:
        url = f"{self._stack.url}/api/jobs/{job_id}"
        return str(requests.get(url, headers=self._headers, timeout=30).json()["data"]["status"])

    def comes_to(self, job_id: str, status: str) -> bool:
        return wait_until(lambda: self.status(job_id) == status, PATIENCE_SECONDS)

    def delete_behind_our_back(self, job_id: str) -> None:
        path = f"/apis/batch/v1/namespaces/trainyard-demo/jobs/{job_id}"
        self._admin.delete(path, {"propagationPolicy": "Background"})

    def befall(self, fault: str) -> None:
        self._admin.create("/control/faults", {"fault": fault})


@pytest.fixture
def yard(stack: RunningStack) -> Yard:
    return Yard(stack)


def test_a_start_and_an_end_are_shown_at_once(yard: Yard) -> None:
    keeps_the_run_up = yard.submit(60)
    assert yard.comes_to(keeps_the_run_up, "Running")
    job_id = yard.submit(2)
    assert yard.comes_to(job_id, "Running")
    assert yard.comes_to(job_id, "Succeeded")
    assert yard.status(keeps_the_run_up) == "Running"


@pytest.mark.parametrize("fault", ["drop-watches", "expire"])
def test_an_end_is_shown_although_its_watch_was_lost(yard: Yard, fault: str) -> None:
    job_id = yard.submit(3)
    assert yard.comes_to(job_id, "Running")
    yard.befall(fault)
    assert yard.comes_to(job_id, "Succeeded")


@pytest.mark.parametrize("fault", ["drop-watches", "expire"])
def test_a_deletion_is_shown_although_its_watch_was_lost(yard: Yard, fault: str) -> None:
    job_id = yard.submit(60)
    assert yard.comes_to(job_id, "Running")
    yard.befall(fault)
    yard.delete_behind_our_back(job_id)
    assert yard.comes_to(job_id, "Failed")
