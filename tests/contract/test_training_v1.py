"""docs/contracts/training-v1.md, replayed request by request against a running stack."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from tests.contract.conftest import Stack
from tests.contract.documents import Endpoint, differences, endpoint, endpoints

JOBS = "/api/v1/training/jobs"
JOB = JOBS + "/{job_id}"
# null until they exist; a job of the jobs dialect may have an image and no framework
NULLABLE = {"started_at", "model_id", "framework"}
OPEN = {".data", ".data.items[]"}  # a detail and a list's items say more than the document


def of(method: str, path: str) -> Endpoint:
    return endpoint("training-v1", method, path)


def check(document: Endpoint, answer: requests.Response, open_paths: set[str] = OPEN) -> Any:
    """Status, message, keys and types are the document's. Returns the data."""
    assert answer.status_code == document.status
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(differences(document.answer, body, nullable=NULLABLE, open_paths=open_paths)) == []
    assert (body["code"], body["message"]) == (0, document.answer["message"])
    return body.get("data")


@pytest.fixture
def fresh(stack: Stack) -> str:
    """A job of the document's own request."""
    return str(stack.call("POST", JOBS, of("POST", JOBS).request).json()["data"]["job_id"])


def test_every_endpoint_of_the_document_is_replayed_here() -> None:
    assert [(each.method, each.path) for each in endpoints("training-v1")] == [
        ("POST", JOBS),
        ("GET", JOBS),
        ("GET", JOB),
        ("POST", JOB + "/stop"),
        ("DELETE", JOB),
        ("GET", JOB + "/logs"),
    ]


def test_create(stack: Stack) -> None:
    document = of("POST", JOBS)
    assert document.request is not None
    data = check(document, stack.call("POST", JOBS, document.request), open_paths=set())
    assert (data["name"], data["status"]) == ("ResNet Training", "pending")
    detail = stack.call("GET", f"{JOBS}/{data['job_id']}").json()["data"]
    assert {field: detail[field] for field in document.request} == document.request


@pytest.mark.parametrize("field", ["name", "framework", "script_path", "cpu", "memory", "gpu"])
def test_create_without_a_required_field(stack: Stack, field: str) -> None:
    request = {name: value for name, value in (of("POST", JOBS).request or {}).items() if name != field}
    answer = stack.call("POST", JOBS, request)
    assert answer.status_code == 400
    assert answer.json() == {"code": 40001, "message": f"请求参数错误：{field} 是必填项", "data": None}


@pytest.mark.parametrize("field", ["description", "workspace_id", "dataset_id", "priority"])
def test_create_without_an_optional_field(stack: Stack, field: str) -> None:
    request = {name: value for name, value in (of("POST", JOBS).request or {}).items() if name != field}
    assert stack.call("POST", JOBS, request).status_code == 201


@pytest.mark.parametrize("query", ["", "?page=1", "?page_size=5", "?page=1&page_size=20&status=pending"])
def test_list(stack: Stack, fresh: str, query: str) -> None:
    data = check(of("GET", JOBS), stack.call("GET", JOBS + query))
    assert "status" in query or (data["items"][0]["job_id"], data["items"][0]["framework"]) == (
        fresh,
        "pytorch",
    )
    assert data["pagination"]["total"] >= len(data["items"])


@pytest.mark.parametrize("status", ["pending", "running", "stopping", "stopped", "succeeded", "failed"])
def test_list_by_status_and_workspace(stack: Stack, job: str, status: str) -> None:
    data = stack.call("GET", f"{JOBS}?status={status}&workspace_id=456").json()["data"]
    assert {item["status"] for item in data["items"]} <= {status}
    mine = stack.call("GET", f"{JOBS}/{job}").json()["data"]["status"]
    assert mine != status or job in [item["job_id"] for item in data["items"]]
    assert stack.call("GET", f"{JOBS}?status={status}&workspace_id=457").json()["data"]["items"] == []


def test_pages_follow_one_another(stack: Stack, fresh: str) -> None:
    def page(number: int, size: int) -> list[str]:
        data = stack.call("GET", f"{JOBS}?page={number}&page_size={size}").json()["data"]
        return [item["job_id"] for item in data["items"]]

    both = page(1, 2)
    assert both[0] == fresh and [*page(1, 1), *page(2, 1)] == both


def test_detail(stack: Stack, job: str) -> None:
    data = check(of("GET", JOB), stack.call("GET", f"{JOBS}/{job}"))
    assert data["job_id"] == job and data["reason"] and isinstance(data["message"], str)


def test_stop(stack: Stack, fresh: str) -> None:
    check(of("POST", JOB + "/stop"), stack.call("POST", f"{JOBS}/{fresh}/stop"))
    detail = stack.call("GET", f"{JOBS}/{fresh}").json()["data"]
    assert detail["status"] in ("stopping", "stopped") and detail["reason"] in ("StopRequested", "Stopped")
    check(of("POST", JOB + "/stop"), stack.call("POST", f"{JOBS}/{fresh}/stop"))


def test_stop_of_a_finished_job(stack: Stack, job: str) -> None:
    done = ("succeeded", "failed")
    found = stack.wait("end", f"{JOBS}/{job}", lambda answer: answer["data"]["status"] in done)
    answer = stack.call("POST", f"{JOBS}/{job}/stop")
    assert (answer.status_code, answer.json()["code"]) == (409, 40901)
    assert found["data"]["status"] in answer.json()["message"]


def test_delete(stack: Stack, fresh: str) -> None:
    with requests.Session() as session:  # a byte too many would garble the next answer on the connection
        token = {"Authorization": f"Bearer {stack.token('acme', ['member'])}"}
        answer = session.delete(f"{stack.url}{JOBS}/{fresh}", headers=token, timeout=30)
        assert (answer.status_code, answer.content) == (of("DELETE", JOB).status, b"")
        answer = session.get(f"{stack.url}{JOBS}/{fresh}", headers=token, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (404, 40401)


def test_delete_with_the_documents_answer(stack: Stack, fresh: str) -> None:
    answer = stack.call("DELETE", f"{JOBS}/{fresh}", Prefer="return=representation")
    assert (answer.status_code, answer.json()) == (200, of("DELETE", JOB).answer)


def test_logs(stack: Stack, job: str) -> None:
    data = check(of("GET", JOB + "/logs"), stack.call("GET", f"{JOBS}/{job}/logs"), open_paths={".data"})
    assert data["logs"][0].startswith("Epoch 1/100, Loss: ")
    assert len(stack.call("GET", f"{JOBS}/{job}/logs?lines=1").json()["data"]["logs"]) == 1


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_nobody_is_let_in_without_a_token(stack: Stack, token: str) -> None:
    answer = stack.call("GET", JOBS, token=token)
    assert answer.status_code == 401
    assert answer.json()["code"] != 0 and answer.json()["message"]


def test_a_body_that_is_no_json_is_refused_in_the_envelope(stack: Stack) -> None:
    token = {"Authorization": f"Bearer {stack.token('acme', ['member'])}"}
    for body, content_type, status in [
        (b"{", "application/json", 400),
        (b'{"cpu": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * 300_000, "application/json", 413),
    ]:
        headers = token | {"Content-Type": content_type}
        answer = requests.post(stack.url + JOBS, data=body, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["code"] // 100) == (status, status)
        assert answer.json().keys() == {"code", "message", "data"}
