"""Create, stop and delete in both dialects; who may; in which language; and what failures look like."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from chalicelib.domain.job import Reason
from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from tests import builders
from tests.builders import JOB_ID
from tests.unit.api.conftest import World
from tests.unit.api.fakes import Api
from tests.unit.api.test_bad_create import GOOD, GOOD_JOBS

V1 = "/api/v1/training/jobs"
EVERY_CALL = [
    ("POST", V1, GOOD),
    ("GET", V1, None),
    ("GET", f"{V1}/{JOB_ID}", None),
    ("POST", f"{V1}/{JOB_ID}/stop", None),
    ("DELETE", f"{V1}/{JOB_ID}", None),
    ("GET", f"{V1}/{JOB_ID}/logs", None),
    ("POST", "/api/jobs/create", GOOD_JOBS),
    ("POST", "/api/jobs", {}),
    ("GET", f"/api/jobs/{JOB_ID}", None),
    ("POST", f"/api/jobs/{JOB_ID}/stop", None),
    ("DELETE", f"/api/jobs/{JOB_ID}", None),
    ("GET", f"/api/jobs/{JOB_ID}/events", None),
    ("GET", f"/api/jobs/{JOB_ID}/pods/{JOB_ID}-abcde/logs", None),
    ("GET", f"/api/jobs/{JOB_ID}/pods", None),
]
ON_A_JOB = [call for call in EVERY_CALL if JOB_ID in call[1]]
WRITES = [EVERY_CALL[i] for i in (0, 3, 4, 6, 9, 10)]


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def error_code(body: dict[str, Any]) -> Any:
    return body["code"] if "code" in body else body["error"]["code"]


def with_job(world: World, status: Status = Status.RUNNING, **changes: Any) -> None:
    world.store.jobs[JOB_ID] = builders.job(status, pods=builders.pods(f"{JOB_ID}-abcde"), **changes)


def test_training_v1_create_answers_201_with_the_contracts_fields(world: World) -> None:
    reply = world.api.call(
        "POST", V1, GOOD | {"description": "图像分类模型训练", "workspace_id": 456, "priority": 5}
    )
    (job,) = world.store.jobs.values()
    assert reply.status == 201
    assert reply.body == {
        "code": 0,
        "message": "训练任务创建成功",
        "data": {
            "job_id": job.id,
            "name": "ResNet Training",
            "status": "pending",
            "created_at": "2026-01-26T10:00:00Z",
        },
    }
    assert (job.tenant, job.created_by) == ("acme", "acme-user")


def test_jobs_create_answers_200_with_the_contracts_fields(world: World) -> None:
    reply = world.api.call(
        "POST", "/api/jobs/create", GOOD_JOBS | {"resourcePoolId": "default", "queue": "urgent"}
    )
    (job,) = world.store.jobs.values()
    assert reply.status == 200
    assert reply.body == {
        "success": True,
        "data": {"jobId": job.id, "jobName": "ResNet Training"},
        "message": "训练任务创建成功",
    }
    assert (job.spec.pool, job.spec.queue) == ("default", "urgent")


OPTIONS_V1: dict[str, Any] = {
    "description": "a\nb",
    "workspace_id": 456,
    "dataset_id": 789,
    "priority": 5,
    "resource_pool_id": "default",
    "queue": "urgent",
    "image": "registry.example.com:5000/team/image:tag",
    "command": ["bash", "-c", "echo $A\nexit"],
    "env": {"A": "b\nc", "_": ""},
    "nodes": 2,
    "max_retries": 3,
    "max_runtime_seconds": 3600,
    "labels": {"team": "vision", "example.com/cost": ""},
}
OPTIONS_JOBS: dict[str, Any] = {
    **{key: OPTIONS_V1[key] for key in ("description", "priority", "queue", "env", "nodes", "labels")},
    "workspaceId": 456,
    "datasetId": 789,
    "resourcePoolId": "default",
    "image": OPTIONS_V1["image"],
    "command": OPTIONS_V1["command"],
    "framework": "pytorch",
    "scriptPath": "/workspace/train.py",
    "maxRetries": 3,
    "maxRuntimeSeconds": 3600,
    "resources": {"cpu": 8, "memory": 34359738368, "gpu": 2},
}


def test_a_job_of_either_dialect_is_whole_in_both(world: World) -> None:
    first = world.api.call("POST", V1, GOOD | OPTIONS_V1).body["data"]["job_id"]
    body = GOOD_JOBS | OPTIONS_JOBS
    second = world.api.call("POST", "/api/jobs/create", body).body["data"]["jobId"]
    for job_id in (first, second):
        detail = world.api.call("GET", f"{V1}/{job_id}").body["data"]
        for field, value in (GOOD | OPTIONS_V1).items():
            assert detail[field] == value, field
        config = world.api.call("GET", f"/api/jobs/{job_id}").body["data"]["config"]
        assert config == OPTIONS_JOBS
    assert world.store.jobs[first].spec == world.store.jobs[second].spec


def test_an_image_job_has_no_framework_and_no_script(world: World) -> None:
    job_id = world.api.call("POST", "/api/jobs/create", GOOD_JOBS).body["data"]["jobId"]
    detail = world.api.call("GET", f"{V1}/{job_id}").body["data"]
    assert detail["framework"] is None and detail["script_path"] is None
    assert detail["image"] == "registry/image:tag" and detail["command"] == ["python", "train.py"]


@pytest.mark.parametrize("given", [{}, {"image": None, "command": None}], ids=["left out", "null"])
def test_framework_and_script_stand_for_image_and_command(world: World, given: dict[str, Any]) -> None:
    body = {"jobName": "a", "framework": "pytorch", "scriptPath": "/workspace/train.py", **given}
    assert world.api.call("POST", "/api/jobs/create", body).status == 200
    (job,) = world.store.jobs.values()
    assert job.spec.command == ("python", "/workspace/train.py") and job.spec.image.startswith("pytorch/")


@pytest.mark.parametrize(
    "resources",
    [{"cpu": 8, "memory": 34359738368, "gpu": 2}, {"memory": 34359738368}],
    ids=["all in resources", "the memory in resources"],
)
def test_training_v1_takes_amounts_in_either_place(world: World, resources: dict[str, int]) -> None:
    body = {**{key: value for key, value in GOOD.items() if key not in resources}, "resources": resources}
    assert world.api.call("POST", V1, body).status == 201
    (job,) = world.store.jobs.values()
    assert (job.spec.resources.cpu, job.spec.resources.memory, job.spec.resources.gpu) == (8, 34359738368, 2)


@pytest.mark.parametrize(
    "image",
    [
        "busybox",
        "registry/image:tag",
        "localhost:5000/a/b_c/d-e.f:V1.0_x",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/train:1",
        "ghcr.io/a/b:tag@sha256:" + "0" * 64,
    ],
)
def test_real_image_references_are_taken(api: Api, image: str) -> None:
    assert api.call("POST", "/api/jobs/create", GOOD_JOBS | {"image": image}).status == 200


@pytest.mark.parametrize(
    ("path", "body", "flag", "answered"),
    [
        (V1, GOOD, "dry_run", "dry_run"),
        ("/api/jobs/create", GOOD_JOBS, "dryRun", "dryRun"),
    ],
)
def test_a_dry_run_shows_the_manifests_and_stores_nothing(
    world: World, path: str, body: dict[str, Any], flag: str, answered: str
) -> None:
    reply = world.api.call("POST", path, body | {flag: True})
    assert reply.status == 200
    assert reply.body["data"][answered] is True
    assert reply.body["data"]["manifests"][0]["kind"] == "Job"
    assert not world.store.jobs


@pytest.mark.parametrize(
    ("path", "body", "field"), [(V1, GOOD, "client_token"), ("/api/jobs/create", GOOD_JOBS, "clientToken")]
)
def test_a_repeated_key_returns_the_original_job_and_another_body_is_409(
    world: World, path: str, body: dict[str, Any], field: str
) -> None:
    first = world.api.call("POST", path, body, Idempotency_Key="k1")
    assert world.api.call("POST", path, body | {field: "k1"}).body == first.body
    assert world.api.call("POST", path, body | {field: "k1"}, Idempotency_Key="k1").body == first.body
    assert len(world.store.jobs) == 1
    reply = world.api.call("POST", path, body | {"nodes": 2}, Idempotency_Key="k1")
    assert reply.status == 409 and error_code(reply.body) in (40902, "IdempotencyConflict")
    assert world.api.call("POST", path, body, Idempotency_Key="k1", token="other:member").body != first.body
    reply = world.api.call("POST", path, body | {field: "k1"}, Idempotency_Key="k2")
    assert reply.status == 400 and "Idempotency-Key" in reply.message and field in reply.message
    assert world.api.call("POST", path, body, Idempotency_Key="a b").status == 400
    assert world.api.call("POST", path, body, Idempotency_Key="").status == 400


def test_stop_answers_with_the_contracts_messages(world: World) -> None:
    with_job(world)
    assert world.api.call("POST", f"{V1}/{JOB_ID}/stop").body == {"code": 0, "message": "训练任务停止中"}
    assert world.store.jobs[JOB_ID].reason == Reason.STOP_REQUESTED
    reply = world.api.call("POST", f"/api/jobs/{JOB_ID}/stop", {})
    assert reply.body == {"success": True, "message": "任务已停止"}


def test_stop_without_a_body_ignores_the_content_type_that_curl_sends(world: World) -> None:
    with_job(world)
    headers = {"Content_Type": "application/x-www-form-urlencoded"}
    assert world.api.call("POST", f"{V1}/{JOB_ID}/stop", raw="", **headers).status == 200


def test_stop_takes_no_fields(world: World) -> None:
    with_job(world)
    reply = world.api.call("POST", f"{V1}/{JOB_ID}/stop", {"force": True})
    assert reply.status == 400 and "force" in reply.message
    assert world.store.jobs[JOB_ID].status is Status.RUNNING


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED])
def test_stopping_a_finished_job_is_409_with_its_state(world: World, status: Status) -> None:
    with_job(world, status)
    reply = world.api.call("POST", f"{V1}/{JOB_ID}/stop")
    assert (reply.status, reply.body["code"]) == (409, 40901) and status.value in reply.message
    reply = world.api.call("POST", f"/api/jobs/{JOB_ID}/stop", Accept_Language="en")
    assert (reply.status, reply.body["error"]["code"]) == (409, "JobFinished")
    assert status.value.capitalize() in reply.message


def test_training_v1_delete_is_204_without_a_single_byte(world: World) -> None:
    with_job(world)
    reply = world.api.call("DELETE", f"{V1}/{JOB_ID}")
    assert (reply.status, reply.raw) == (204, "")
    assert world.api.call("GET", f"{V1}/{JOB_ID}").status == 404
    assert world.api.call("DELETE", f"{V1}/{JOB_ID}").status == 404


@pytest.mark.parametrize("prefer", ["return=representation", 'wait=5, return="representation"'])
def test_training_v1_delete_gives_the_envelope_to_who_prefers_it(world: World, prefer: str) -> None:
    with_job(world)
    reply = world.api.call("DELETE", f"{V1}/{JOB_ID}", Prefer=prefer)
    assert (reply.status, reply.body) == (200, {"code": 0, "message": "训练任务删除成功"})
    assert reply.headers["Preference-Applied"] == "return=representation"


def test_jobs_delete_answers_in_the_envelope(world: World) -> None:
    with_job(world)
    reply = world.api.call("DELETE", f"/api/jobs/{JOB_ID}")
    assert (reply.status, reply.body) == (200, {"success": True, "message": "任务已删除"})


@pytest.mark.parametrize(
    ("accept", "message"),
    [
        ("en", "Training job is stopping"),
        ("en-US,en;q=0.9", "Training job is stopping"),
        ("EN-gb", "Training job is stopping"),
        ("fr, en;q=0.5, zh;q=0.2", "Training job is stopping"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "训练任务停止中"),
        ("en;q=0", "训练任务停止中"),
        ("fr", "训练任务停止中"),
        ("*", "训练任务停止中"),
        (";;q=,,\x7f", "训练任务停止中"),
    ],
)
def test_the_language_is_the_callers(world: World, accept: str, message: str) -> None:
    with_job(world)
    assert world.api.call("POST", f"{V1}/{JOB_ID}/stop", Accept_Language=accept).message == message


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=name_of)
def test_viewers_do_not_write(world: World, method: str, path: str, body: Any) -> None:
    with_job(world)
    reply = world.api.call(method, path, body, token="acme:viewer")
    assert reply.status == 403 and error_code(reply.body) in (40301, "Forbidden")
    assert world.store.jobs == {JOB_ID: builders.job(Status.RUNNING, pods=builders.pods(f"{JOB_ID}-abcde"))}


@pytest.mark.parametrize("path", [V1, "/api/jobs/create"])
def test_viewers_hear_that_they_may_not_before_what_is_wrong(world: World, path: str) -> None:
    assert world.api.call("POST", path, {}, token="acme:viewer").status == 403


@pytest.mark.parametrize(
    ("method", "path", "body"), [call for call in EVERY_CALL if call not in WRITES], ids=name_of
)
def test_viewers_read(world: World, method: str, path: str, body: Any) -> None:
    with_job(world)
    assert world.api.call(method, path, body, token="acme:viewer").status == 200


@pytest.mark.parametrize(("method", "path", "body"), ON_A_JOB, ids=name_of)
def test_another_tenants_job_does_not_exist(world: World, method: str, path: str, body: Any) -> None:
    with_job(world)
    reply = world.api.call(method, path, body, token="rival:member")
    assert reply.status == 404 and error_code(reply.body) in (40401, "JobNotFound")


@pytest.mark.parametrize(("method", "path", "body"), ON_A_JOB, ids=name_of)
def test_admins_reach_every_tenants_job(world: World, method: str, path: str, body: Any) -> None:
    with_job(world)
    assert world.api.call(method, path, body, token="ops:admin").status in (200, 204)


@pytest.mark.parametrize(("method", "path", "body"), EVERY_CALL, ids=name_of)
def test_an_outage_of_the_store_is_503_in_the_envelope(
    world: World, method: str, path: str, body: Any
) -> None:
    world.store.broken = StoreUnavailable("throttled: arn:aws:secret")
    reply = world.api.call(method, path, body)
    assert reply.status == 503 and error_code(reply.body) in (50301, "ServiceUnavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert "secret" not in reply.raw


@pytest.mark.parametrize(("method", "path", "body"), EVERY_CALL, ids=name_of)
def test_a_bug_is_a_logged_500_in_the_envelope_without_details(
    world: World, method: str, path: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.store.broken = ZeroDivisionError("the secret of the bug")
    with caplog.at_level(logging.ERROR):
        reply = world.api.call(method, path, body)
    assert reply.status == 500 and error_code(reply.body) in (50000, "InternalError")
    assert "secret" not in reply.raw and "the secret of the bug" in caplog.text


def test_answers_are_readable_json(world: World) -> None:
    reply = world.api.call("POST", V1, GOOD)
    assert reply.headers["Content-Type"] == "application/json"
    assert "训练任务创建成功" in reply.raw and json.loads(reply.raw)
