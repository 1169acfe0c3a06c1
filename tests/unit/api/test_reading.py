"""Lists, details and output: parameters, paging, filters, shapes, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.states import Status
from tests import builders
from tests.builders import JOB_ID, NOW
from tests.unit.api.conftest import World

V1 = "/api/v1/training/jobs"
DETAIL = f"/api/jobs/{JOB_ID}"
POD = f"{JOB_ID}-abcde"

# (query of training-v1's list, the field that is named)
WRONG_LISTS = [
    ("page=0", "page"),
    ("page=-1", "page"),
    ("page=1.0", "page"),
    ("page=one", "page"),
    ("page=", "page"),
    ("page=+1", "page"),
    ("page=%D9%A1", "page"),
    ("page=99999999999999999999999", "page"),
    ("page_size=0", "page_size"),
    ("page_size=101", "page_size"),
    ("page=1&page=2", "page"),
    ("page=1001&page_size=100", "page"),
    ("status=Running", "status"),
    ("status=done", "status"),
    ("status=", "status"),
    ("workspace_id=0", "workspace_id"),
    ("workspace_id=abc", "workspace_id"),
    ("workspace_id=9007199254740992", "workspace_id"),
    ("pageSize=10", "pageSize"),
    ("%00=1", "\\u0000"),
]

# (body of the jobs list, the field that is named)
WRONG_LIST_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"pageNumber": 0}, "pageNumber"),
    ({"pageNumber": "1"}, "pageNumber"),
    ({"pageNumber": 5000, "pageSize": 100}, "pageNumber"),
    ({"pageSize": 0}, "pageSize"),
    ({"pageSize": 101}, "pageSize"),
    ({"pageSize": 10.0}, "pageSize"),
    ({"page_size": 10}, "page_size"),
    ({"keyword": 5}, "keyword"),
    ({"keyword": "x" * 129}, "keyword"),
    ({"keyword": "a\0"}, "keyword"),
    ({"status": "running"}, "status"),
    ({"status": ["Running"]}, "status"),
    ({"status": {}}, "status"),
    ({"queue": "express"}, "queue"),
    ({"queue": 1}, "queue"),
    ({"queue": "normal", "resourcePoolId": "spare"}, "queue"),
    ({"resourcePoolId": "mars"}, "resourcePoolId"),
    ({"workspaceId": "456"}, "workspaceId"),
    ({"startTime": "2026-01-26"}, "startTime"),
    ({"startTime": "2026-01-26T10:00:00"}, "startTime"),
    ({"startTime": "2026-01-26 10:00:00Z"}, "startTime"),
    ({"startTime": "2026-02-30T10:00:00Z"}, "startTime"),
    ({"startTime": "2026-01-26T25:00:00Z"}, "startTime"),
    ({"startTime": "2026-01-26T1:000:00Z"}, "startTime"),
    ({"startTime": "2026-01-26T10:00:00+99:00"}, "startTime"),
    ({"startTime": "0001-01-01T00:00:00+14:00"}, "startTime"),
    ({"endTime": "9999-12-31T23:59:59-01:00"}, "endTime"),
    ({"endTime": 1769421600}, "endTime"),
    ({"startTime": "2026-01-26T10:00:00Z", "endTime": "2026-01-26T09:59:59Z"}, "endTime"),
]

# (path, query, the field that is named)
WRONG_LOGS = [
    (f"{V1}/{JOB_ID}/logs", "lines=0", "lines"),
    (f"{V1}/{JOB_ID}/logs", "lines=10001", "lines"),
    (f"{V1}/{JOB_ID}/logs", "lines=ten", "lines"),
    (f"{V1}/{JOB_ID}/logs", "lines=1&lines=2", "lines"),
    (f"{V1}/{JOB_ID}/logs", "tailLines=1", "tailLines"),
    (f"{DETAIL}/pods/{POD}/logs", "tailLines=0", "tailLines"),
    (f"{DETAIL}/pods/{POD}/logs", "tailLines=10001", "tailLines"),
    (f"{DETAIL}/pods/{POD}/logs", "follow=1", "follow"),
    (f"{DETAIL}/pods/{POD}/logs", "follow=true&wait=26", "wait"),
    (f"{DETAIL}/pods/{POD}/logs", "follow=true&wait=0", "wait"),
    (f"{DETAIL}/pods/{POD}/logs", "wait=5", "wait"),
    (f"{DETAIL}/pods/{POD}/logs", "container=sidecar", "container"),
    (f"{DETAIL}/pods/{POD}/logs", "tailLines=-1", "tailLines"),
    (f"{V1}/{JOB_ID}/logs", "cursor=now", "cursor"),
    (f"{V1}/{JOB_ID}/logs", f"cursor={'A' * 5000}", "cursor"),
    (f"{V1}/{JOB_ID}/logs", "cursor=%00", "cursor"),
    (f"{V1}/{JOB_ID}/logs", "cursor=日志", "cursor"),
    (f"{DETAIL}/pods/{POD}/logs", "follow=yes", "follow"),
    (f"{DETAIL}/pods/{POD}/logs", "lines=1", "lines"),
    (f"{DETAIL}/events", "x=1", "x"),
    (f"{DETAIL}/pods", "limit=1", "limit"),
    (f"{DETAIL}/events", "limit=0", "limit"),
    (f"{DETAIL}/events", "limit=1001", "limit"),
    (f"{DETAIL}/events", "limit=ten", "limit"),
    (f"{DETAIL}/events", "limit=1&limit=2", "limit"),
    (f"{DETAIL}/events", "cursor=", "cursor"),
    (f"{DETAIL}/events", "cursor=x", "cursor"),
    (DETAIL, "x=1", "x"),
    (f"{V1}/{JOB_ID}", "x=1", "x"),
]

WRONG_IDS = [
    "xxx",
    "job-abc123",
    "job-",
    JOB_ID.upper(),
    JOB_ID + "a",
    "job-01kfwq4v80aaaaaaaaaaaaaaa%00",
    "job-01kfwq4v80aaaaaaaaaaaaaaa%2F",
    "..",
    "%F0%9F%9A%82",
    "job-01kfwq4v80aaaaaaaaaaaaaaa\u0661".encode().decode("latin-1"),
    "x" * 5000,
    "job-99999999999999999999999999",
]


def with_job(world: World, **changes: Any) -> None:
    pod = builders.running_pod()
    job = builders.job(Status.RUNNING, started_at=NOW, pods=builders.pods(POD), **changes)
    world.store.jobs[job.id] = job
    world.cluster.jobs[job.id] = builders.workload(pod)
    world.cluster.printed.print(POD, "Epoch 1/100, Loss: 0.5234", "Epoch 2/100, Loss: 0.4123")


@pytest.mark.parametrize(("query", "field"), WRONG_LISTS)
def test_training_v1_list_names_the_wrong_parameter(world: World, query: str, field: str) -> None:
    reply = world.api.call("GET", f"{V1}?{query}", Accept_Language="en")
    assert reply.status == 400 and reply.body["code"] == 40001 and reply.body["data"] is None
    assert reply.message.startswith(f"Invalid request: {field} ")
    assert not world.store.queries


@pytest.mark.parametrize(("body", "field"), WRONG_LIST_BODIES, ids=lambda value: str(value)[:60])
def test_jobs_list_names_the_wrong_field(world: World, body: dict[str, Any], field: str) -> None:
    reply = world.api.call("POST", "/api/jobs", body)
    assert reply.status == 400 and reply.body["success"] is False
    assert [detail["field"] for detail in reply.body["error"]["details"]] == [field]
    assert not world.store.queries


def test_unknown_pools_and_queues_of_a_list_are_answered_with_the_known_ones(world: World) -> None:
    assert "default, spare" in world.api.call("POST", "/api/jobs", {"resourcePoolId": "mars"}).message
    assert "normal, urgent" in world.api.call("POST", "/api/jobs", {"queue": "express"}).message


@pytest.mark.parametrize(("path", "query", "field"), WRONG_LOGS)
def test_other_parameters_are_checked_too(world: World, path: str, query: str, field: str) -> None:
    with_job(world)
    reply = world.api.call("GET", f"{path}?{query}")
    assert reply.status == 400
    assert reply.message.startswith(f"请求参数错误：{field} ")


@pytest.mark.parametrize("job_id", WRONG_IDS, ids=lambda value: value[:40])
@pytest.mark.parametrize(
    ("method", "pattern", "code"),
    [
        ("GET", V1 + "/{}", 40401),
        ("DELETE", V1 + "/{}", 40401),
        ("POST", V1 + "/{}/stop", 40401),
        ("GET", V1 + "/{}/logs", 40401),
        ("GET", "/api/jobs/{}", "JobNotFound"),
        ("DELETE", "/api/jobs/{}", "JobNotFound"),
        ("POST", "/api/jobs/{}/stop", "JobNotFound"),
        ("GET", "/api/jobs/{}/events", "JobNotFound"),
        ("GET", "/api/jobs/{}/pods", "JobNotFound"),
        ("GET", "/api/jobs/{}/pods/a/logs", "JobNotFound"),
    ],
)
def test_an_id_that_is_none_is_a_job_that_is_not_there(
    world: World, method: str, pattern: str, code: int | str, job_id: str
) -> None:
    with_job(world)
    reply = world.api.call(method, pattern.format(job_id))
    assert reply.status == 404
    assert code in (reply.body.get("code"), reply.body.get("error", {}).get("code"))


@pytest.mark.parametrize("pod", ["A", "a_b", "-a", "a..b", "x" * 254, "%20", "other-pod"])
def test_a_pod_that_is_not_the_jobs_is_not_there(world: World, pod: str) -> None:
    with_job(world)
    reply = world.api.call("GET", f"{DETAIL}/pods/{pod}/logs")
    assert reply.status == 404 and reply.body["error"]["code"] == "PodNotFound"


def test_training_v1_list_has_the_contracts_shape(world: World) -> None:
    with_job(world, spec=builders.spec(framework="pytorch", workspace_id=456))
    reply = world.api.call("GET", f"{V1}?page=1&page_size=20&status=running&workspace_id=456")
    assert reply.body == {
        "code": 0,
        "message": "success",
        "data": {
            "items": [
                {
                    "job_id": JOB_ID,
                    "name": "ResNet Training",
                    "status": "running",
                    "reason": "Accepted",
                    "message": "",
                    "framework": "pytorch",
                    "cpu": 8,
                    "gpu": 2,
                    "started_at": "2026-01-26T10:00:00Z",
                    "created_at": "2026-01-26T10:00:00Z",
                }
            ],
            "pagination": {"page": 1, "page_size": 20, "total": 1, "total_pages": 1},
        },
    }


@pytest.mark.parametrize(
    ("total", "size", "pages"), [(0, 20, 0), (1, 20, 1), (20, 20, 1), (21, 20, 2), (3, 1, 3)]
)
def test_pages_are_counted(world: World, total: int, size: int, pages: int) -> None:
    for number in range(total):
        job = builders.job()
        world.store.jobs[f"{number}"] = replace(job, id=f"job-{number:026}")
    pagination = world.api.call("GET", f"{V1}?page_size={size}").body["data"]["pagination"]
    assert (pagination["total"], pagination["total_pages"]) == (total, pages)


def test_a_total_that_is_not_exact_says_so_in_both_dialects(world: World) -> None:
    world.store.inexact = True
    pagination = world.api.call("GET", V1).body["data"]["pagination"]
    assert pagination["total_is_exact"] is False
    assert world.api.call("POST", "/api/jobs", {}).body["data"]["totalIsExact"] is False


@pytest.mark.parametrize(
    "body", [None, {}, {"keyword": ""}, {"keyword": None, "status": None, "pageNumber": None}]
)
def test_jobs_list_without_conditions_is_page_1(world: World, body: Any) -> None:
    with_job(world)
    reply = world.api.call("POST", "/api/jobs", body)
    assert reply.status == 200
    assert reply.body == {
        "success": True,
        "data": {
            "jobs": [
                {
                    "jobId": JOB_ID,
                    "jobName": "ResNet Training",
                    "status": "Running",
                    "reason": "Accepted",
                    "message": "",
                    "createdAt": "2026-01-26T10:00:00Z",
                }
            ],
            "totalCount": 1,
        },
    }
    query = world.store.queries[0]
    assert (query.page, query.page_size, query.keyword, query.status) == (1, 20, None, None)


def test_jobs_list_hands_every_filter_on(world: World) -> None:
    body = {
        "keyword": "任务关键字",
        "status": "Running",
        "pageNumber": 2,
        "pageSize": 10,
        "queue": "urgent",
        "resourcePoolId": "default",
        "workspaceId": 456,
        "startTime": "2026-01-26T18:00:00.25+08:00",
        "endTime": "2026-01-26T11:00:00z",
    }
    assert world.api.call("POST", "/api/jobs", body).status == 200
    query = world.store.queries[0]
    assert query.tenant == "acme" and query.keyword == "任务关键字" and query.status is Status.RUNNING
    assert (query.page, query.page_size, query.workspace_id) == (2, 10, 456)
    assert (query.queue, query.pool) == ("urgent", "default")
    assert query.created_from == NOW + timedelta(milliseconds=250)
    assert query.created_to == datetime(2026, 1, 26, 11, 0, 0, 999_999, tzinfo=UTC), "the whole second"


def test_admins_list_all_tenants(world: World) -> None:
    world.api.call("GET", V1, token="ops:admin")
    assert world.store.queries[0].tenant is None


def test_the_deepest_page_is_still_read(world: World) -> None:
    assert world.api.call("GET", f"{V1}?page=1000&page_size=100").status == 200
