"""docs/contracts/jobs.md, replayed request by request against a running stack."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests

from tests.contract.conftest import Stack
from tests.contract.documents import Endpoint, differences, endpoint, endpoints

JOBS = "/api/jobs"
JOB = JOBS + "/{jobId}"
TERMINAL = JOB + "/pods/{podName}/webterminal"
# A detail, its config, a list's items and events say more than the document.
OPEN = {".data", ".data.config", ".data.jobs[]", ".data.events[]"}


def of(method: str, path: str) -> Endpoint:
    return endpoint("jobs", method, path)


def check(document: Endpoint, answer: requests.Response, open_paths: set[str] = OPEN) -> Any:
    """Status, message, keys and types are the document's. Returns the data."""
    assert answer.status_code == document.status
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(differences(document.answer, body, nullable=set(), open_paths=open_paths)) == []
    assert body["success"] is True and body.get("message") == document.answer.get("message")
    return body.get("data")


def example(stack: Stack) -> dict[str, Any]:
    """The document's request, its two `xxx` replaced by a pool and a queue that exist."""
    given = of("POST", JOBS + "/create").request or {}
    return given | {"resourcePoolId": stack.pool, "queue": stack.queue}


@pytest.fixture
def fresh(stack: Stack) -> str:
    return str(stack.call("POST", JOBS + "/create", example(stack)).json()["data"]["jobId"])


def test_every_endpoint_of_the_document_is_replayed_here() -> None:
    assert [(each.method, each.path) for each in endpoints("jobs")] == [
        ("POST", JOBS),
        ("GET", JOB),
        ("POST", JOBS + "/create"),
        ("POST", JOB + "/stop"),
        ("DELETE", JOB),
        ("GET", JOB + "/events"),
        ("GET", JOB + "/pods/{podName}/logs"),
        ("GET", TERMINAL),
    ]


def test_create(stack: Stack) -> None:
    request = example(stack)
    data = check(
        of("POST", JOBS + "/create"), stack.call("POST", JOBS + "/create", request), open_paths=set()
    )
    assert data["jobName"] == "训练任务名称"
    config = stack.call("GET", f"{JOBS}/{data['jobId']}").json()["data"]["config"]
    assert {field: config[field] for field in request if field != "jobName"} == {
        field: value for field, value in request.items() if field != "jobName"
    }


@pytest.mark.parametrize("field", ["jobName", "image", "command"])
def test_create_without_a_required_field(stack: Stack, field: str) -> None:
    request = {name: value for name, value in example(stack).items() if name != field}
    answer = stack.call("POST", JOBS + "/create", request)
    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "message": f"请求参数错误：{field} 是必填项",
        "error": {
            "code": "InvalidRequest",
            "details": [{"field": field, "message": "是必填项", "value": None}],
        },
    }


@pytest.mark.parametrize("field", ["resourcePoolId", "queue"])
def test_the_documents_placeholder_is_answered_with_what_there_is(stack: Stack, field: str) -> None:
    answer = stack.call("POST", JOBS + "/create", example(stack) | {field: "xxx"})
    assert answer.status_code == 400
    assert {detail["field"] for detail in answer.json()["error"]["details"]} >= {field}


def test_list(stack: Stack) -> None:
    name = "训练任务名称-任务关键字"
    job_id = stack.call("POST", JOBS + "/create", example(stack) | {"jobName": name}).json()["data"]["jobId"]
    # The document's request but for the status: the job need not have started.
    request = (of("POST", JOBS).request or {}) | {"status": "Pending" if stack.queue else None}
    data = check(of("POST", JOBS), stack.call("POST", JOBS, request))
    assert job_id in [item["jobId"] for item in data["jobs"]]
    assert {item["jobName"] for item in data["jobs"]} == {name}


@pytest.mark.parametrize("status", ["Pending", "Running", "Stopping", "Stopped", "Succeeded", "Failed"])
def test_list_by_status(stack: Stack, job: str, status: str) -> None:
    data = stack.call("POST", JOBS, {"status": status, "pageSize": 100}).json()["data"]
    assert {item["status"] for item in data["jobs"]} <= {status}
    mine = stack.call("GET", f"{JOBS}/{job}").json()["data"]["status"]
    assert mine != status or job in [item["jobId"] for item in data["jobs"]]


def test_list_without_a_body(stack: Stack, fresh: str) -> None:
    data = check(of("POST", JOBS), stack.call("POST", JOBS))
    assert data["jobs"][0]["jobId"] == fresh


def test_detail(stack: Stack, job: str) -> None:
    data = check(of("GET", JOB), stack.call("GET", f"{JOBS}/{job}"))
    assert data["jobId"] == job and data["config"]["framework"] == "pytorch"


def test_stop(stack: Stack, fresh: str) -> None:
    check(of("POST", JOB + "/stop"), stack.call("POST", f"{JOBS}/{fresh}/stop"))
    assert stack.call("GET", f"{JOBS}/{fresh}").json()["data"]["status"] in ("Stopping", "Stopped")
    check(of("POST", JOB + "/stop"), stack.call("POST", f"{JOBS}/{fresh}/stop"))


def test_stop_of_a_finished_job(stack: Stack, job: str) -> None:
    done = ("Succeeded", "Failed")
    found = stack.wait("end", f"{JOBS}/{job}", lambda answer: answer["data"]["status"] in done)
    answer = stack.call("POST", f"{JOBS}/{job}/stop")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "JobFinished")
    assert found["data"]["status"] in answer.json()["message"]


def test_delete(stack: Stack, fresh: str) -> None:
    check(of("DELETE", JOB), stack.call("DELETE", f"{JOBS}/{fresh}"))
    answer = stack.call("GET", f"{JOBS}/{fresh}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "JobNotFound")


def test_events(stack: Stack, job: str) -> None:
    path = f"{JOBS}/{job}/events"
    told = {"Accepted", "Submitted", "Started"}
    stack.wait(str(told), path, lambda a: told <= {event["reason"] for event in a["data"]["events"]})
    data = check(of("GET", JOB + "/events"), stack.call("GET", path + "?limit=2"))
    assert [event["reason"] for event in data["events"]] == ["Accepted", "Submitted"]
    rest = check(of("GET", JOB + "/events"), stack.call("GET", f"{path}?cursor={data['nextCursor']}"))
    assert "Started" in [event["reason"] for event in rest["events"]]


@pytest.mark.parametrize("query", ["", "?tailLines=1", "?tailLines=50&follow=false"])
def test_pod_logs(stack: Stack, job: str, query: str) -> None:
    pod = stack.call("GET", f"{JOBS}/{job}").json()["data"]["pods"][0]
    answer = stack.call("GET", f"{JOBS}/{job}/pods/{pod}/logs{query}")
    data = check(of("GET", JOB + "/pods/{podName}/logs"), answer, open_paths={".data"})
    assert "Epoch" in data["logs"]


def test_web_terminal(stack: Stack) -> None:
    request = {"jobName": "entered", "image": "registry/image:tag", "command": ["sleep", "600"]}
    path = f"{JOBS}/{stack.call('POST', JOBS + '/create', request).json()['data']['jobId']}"
    found = stack.wait("pod", path, lambda answer: answer["data"]["status"] == "Running")
    answer = stack.call("GET", f"{path}/pods/{found['data']['pods'][0]}/webterminal")
    data = check(of("GET", TERMINAL), answer, open_paths=set())
    assert re.fullmatch(r"wss?://[^/]+/webterminal/[^/]+", data["webTerminalUrl"])
    stack.call("POST", path + "/stop")


def test_another_tenants_job_is_not_there(stack: Stack, job: str) -> None:
    if stack.token("rival", ["member"]) == stack.token("acme", ["member"]):
        pytest.skip("TRAINYARD_TOKEN names one tenant only")
    for path in (f"{JOBS}/{job}", f"/api/v1/training/jobs/{job}"):
        assert stack.call("GET", path, token=stack.token("rival", ["member"])).status_code == 404
    assert stack.call("GET", f"{JOBS}/{job}", token=stack.token("ops", ["admin"])).status_code == 200


def test_viewers_only_read(stack: Stack, job: str) -> None:
    viewer = stack.token("acme", ["viewer"])
    if viewer == stack.token("acme", ["member"]) and stack.queue is None:
        pytest.skip("TRAINYARD_TOKEN has one role only")
    assert stack.call("GET", f"{JOBS}/{job}", token=viewer).status_code == 200
    answer = stack.call("POST", JOBS + "/create", example(stack), token=viewer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden")


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_nobody_is_let_in_without_a_token(stack: Stack, token: str) -> None:
    answer = stack.call("POST", JOBS, {}, token=token)
    assert answer.status_code == 401
    assert answer.json()["success"] is False and answer.json()["error"]["code"]
