"""A job's life as its owner sees it: submitted, run for real, told about, stopped, deleted."""

from __future__ import annotations

import pytest

from chalicelib.domain import labels
from chalicelib.domain.manifest import CONTAINER
from tests.e2e.conftest import NAMESPACE, World, wait_for

TRAPS_TERM = """
import signal, sys, time
def leave(number, frame):
    print("saved a checkpoint")
    sys.exit(7)
signal.signal(signal.SIGTERM, leave)
print("training")
time.sleep(600)
"""

MEETS = """
import os, socket
print(os.environ["NODE_RANK"], socket.gethostbyname(os.environ["MASTER_ADDR"])[:3])
"""


def test_a_job_runs_and_its_output_and_events_come_back(world: World) -> None:
    job_id = world.python("print('one'); print('two')")
    job = world.ended(job_id)
    assert (job["status"], job["reason"], job["exit_code"]) == ("succeeded", "Completed", 0)
    assert world.logs(job_id) == ["one", "two"]
    (pod,) = job["pods"]
    logs = world.call("GET", f"/api/jobs/{job_id}/pods/{pod}/logs?tailLines=1").json()["data"]["logs"]
    assert logs.rstrip("\n") == "two"
    told = ["Accepted", "Submitted", "SuccessfulCreate", "Scheduled", "Created", "Started", "Completed"]
    events = wait_for(lambda: world.events(job_id), lambda events: {*told} <= {e["reason"] for e in events})
    assert events == sorted(events, key=lambda event: event["firstTimestamp"])


def test_what_the_job_names_shows_in_its_detail(world: World) -> None:
    said = '{"model_id": 456, "metrics": {"accuracy": 0.97}}'
    job = world.ended(world.python(f"open('/dev/termination-log', 'w').write('{said}')"))
    assert (job["model_id"], job["metrics"]) == (456, {"accuracy": 0.97})


@pytest.mark.parametrize(
    ("script", "fields", "reason", "message"),
    [
        pytest.param("raise SystemExit(3)", {}, "ExitCode", "exit code 3", id="an exit code"),
        pytest.param("raise SystemExit(134)", {}, "ExitCode", "SIGABRT", id="a signal, as a shell tells it"),
        pytest.param(
            "import time; x = b'x' * (300 * 2**20); time.sleep(600)",
            {"resources": {"cpu": 1, "memory": 64 * 2**20, "gpu": 0}},
            "OOMKilled",
            "memory",
            id="out of memory",
        ),
        pytest.param(
            "import time; time.sleep(600)",
            {"maxRuntimeSeconds": 3},
            "DeadlineExceeded",
            "max_runtime_seconds",
            id="too long",
        ),
    ],
)
def test_a_job_that_fails_says_why(
    world: World, script: str, fields: dict[str, object], reason: str, message: str
) -> None:
    job = world.ended(world.python(script, **fields))
    assert (job["status"], job["reason"]) == ("failed", reason)
    assert message in job["message"]


def test_a_command_that_does_not_exist_says_so(world: World) -> None:
    job = world.ended(world.run("no-such-program"))
    assert (job["status"], job["reason"]) == ("failed", "ContainerStartFailed")
    assert "no-such-program" in job["message"]


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        pytest.param(
            {"resources": {"gpu": 64}}, "Unschedulable", "Insufficient nvidia.com/gpu", id="no such node"
        ),
        pytest.param(
            {"workspaceId": 4711}, "Unschedulable", '"workspace-4711" not found', id="no such volume"
        ),
        pytest.param(
            {"image": "missing.invalid/x:1"}, "ImagePullBackOff", "missing.invalid/x:1", id="no such image"
        ),
    ],
)
def test_a_job_that_waits_says_why_and_can_be_stopped(
    world: World, fields: dict[str, object], reason: str, message: str
) -> None:
    job_id = world.python("pass", **fields)
    job = world.until(job_id, lambda job: job["reason"] == reason and message in job["message"])
    assert job["status"] == "pending"
    assert world.call("POST", f"/api/jobs/{job_id}/stop").status_code == 200
    assert world.ended(job_id)["status"] == "stopped"
    assert world.is_clean(job_id)


def test_a_failed_job_is_retried_as_often_as_it_says(world: World) -> None:
    job_id = world.python("print('try'); raise SystemExit(1)", maxRetries=1)
    job = world.ended(job_id)
    assert (job["status"], job["reason"]) == ("failed", "ExitCode")
    assert len(job["pods"]) == 2


def test_a_running_job_is_stopped_by_sigterm_and_given_time_to_save(world: World) -> None:
    job_id = world.python(TRAPS_TERM)
    world.until(job_id, lambda job: job["status"] == "running")
    wait_for(lambda: world.logs(job_id), lambda lines: lines == ["training"])
    answer = world.call("POST", f"/api/v1/training/jobs/{job_id}/stop")
    assert answer.json() == {"code": 0, "message": "训练任务停止中"}
    again = world.call("POST", f"/api/v1/training/jobs/{job_id}/stop")
    assert again.status_code == 200, "asking again while it stops is fine"
    job = world.ended(job_id)
    assert job["status"] == "stopped"
    assert world.is_clean(job_id)
    assert world.call("POST", f"/api/v1/training/jobs/{job_id}/stop").status_code == 409


def test_a_job_that_ended_cannot_be_stopped(world: World) -> None:
    job_id = world.python("pass")
    world.ended(job_id)
    answer = world.call("POST", f"/api/jobs/{job_id}/stop")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "JobFinished"


def test_a_stop_that_races_the_submission_leaves_nothing(world: World) -> None:
    jobs = [world.python("import time; time.sleep(600)") for _ in range(4)]
    for job_id in jobs:
        assert world.call("POST", f"/api/jobs/{job_id}/stop").status_code == 200
    for job_id in jobs:
        assert world.ended(job_id)["status"] == "stopped"
        assert world.is_clean(job_id)


def test_a_deleted_job_is_gone_at_once_and_its_pods_soon(world: World) -> None:
    job_id = world.python("import time; time.sleep(600)")
    world.until(job_id, lambda job: job["status"] == "running")
    assert world.call("DELETE", f"/api/v1/training/jobs/{job_id}").status_code == 204
    assert world.call("GET", f"/api/jobs/{job_id}").status_code == 404
    assert world.call("DELETE", f"/api/jobs/{job_id}").status_code == 404
    wait_for(lambda: world.is_clean(job_id))


def test_a_kubernetes_job_deleted_behind_our_back_fails_its_job(world: World) -> None:
    job_id = world.python("import time; time.sleep(600)")
    world.until(job_id, lambda job: job["status"] == "running")
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job_id}"
    world.kubernetes.delete(path, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    job = world.ended(job_id)
    assert (job["status"], job["reason"]) == ("failed", "JobDeleted")


def test_a_kubernetes_job_that_no_record_knows_is_deleted(world: World) -> None:
    known = world.python("import time; time.sleep(600)")
    world.until(known, lambda job: job["status"] == "running")
    stray = world.kubernetes_job(known)
    stray_id = "job-" + "0" * 26
    own = {**stray["metadata"]["labels"], labels.JOB: stray_id}
    for label in (
        "controller-uid",
        "job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
    ):
        own.pop(label, None)
    container = {"name": CONTAINER, "image": world.image, "command": ["sleep", "600"]}
    pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    body = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": stray_id, "labels": own},
        "spec": {"template": {"metadata": {"labels": own}, "spec": pod}},
    }
    world.kubernetes.create(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", body)
    wait_for(lambda: world.is_clean(stray_id))
    assert world.detail(known)["status"] == "running"
    world.call("DELETE", f"/api/jobs/{known}")


def test_nodes_meet_at_rank_0(world: World) -> None:
    if not world.embedded:
        pytest.skip("Indexed Jobs need Kubernetes 1.24")
    job = world.ended(world.python(MEETS, nodes=2))
    assert job["status"] == "succeeded", job
    assert sorted(line.partition("] ")[2] for line in world.logs(job["job_id"])) == ["0 127", "1 127"]
    services = f"/api/v1/namespaces/{NAMESPACE}/services"
    (service,) = world.kubernetes.items(services, {})
    assert service["metadata"]["ownerReferences"][0]["name"] == job["job_id"]
    world.call("DELETE", f"/api/jobs/{job['job_id']}")
    wait_for(lambda: not list(world.kubernetes.items(services, {})))


def test_totals_are_those_of_the_lists(world: World) -> None:
    listed = world.call("POST", "/api/jobs", {"pageSize": 100}).json()["data"]
    assert listed["totalCount"] == len(listed["jobs"])
    for status in ("Succeeded", "Failed", "Stopped"):
        part = world.call("POST", "/api/jobs", {"pageSize": 100, "status": status}).json()["data"]
        assert part["totalCount"] == len(part["jobs"])
        assert part["totalCount"] == sum(job["status"] == status for job in listed["jobs"])
