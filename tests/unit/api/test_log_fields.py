"""Each call of the API ends in one line of the log that says who asked for what, and what came of it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from chalicelib.domain.states import Status
from tests import builders
from tests.builders import JOB_ID
from tests.unit.api.conftest import World
from tests.unit.api.test_auth import call_with

TRACE = "1-5759e988-bd862e3fe1be46a994272793"
NAMES = ("tenant", "route", "job_id", "pod", "status")
CALLS: list[tuple[str, list[Any]]] = [
    (f"/api/v1/training/jobs/{JOB_ID}", ["GET /api/v1/training/jobs/{job}", JOB_ID, None, 200]),
    ("/api/jobs/job-x", ["GET /api/jobs/{job}", "job-x", None, 404]),
    (f"/api/jobs/{'x' * 500}", ["GET /api/jobs/{job}", "x" * 64, None, 404]),
    (f"/api/jobs/{JOB_ID}/pods/p/logs", ["GET /api/jobs/{job}/pods/{pod}/logs", JOB_ID, "p", 404]),
    ("/api/v1/training/jobs", ["GET /api/v1/training/jobs", None, None, 200]),
]


def lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [
        record
        for record in caplog.records
        if record.name == "chalicelib.api.responses" and hasattr(record, "status")
    ]


@pytest.mark.parametrize(("path", "told"), CALLS, ids=[f"{path:.60}" for path, _ in CALLS])
def test_a_call_is_told_by_its_route_its_tenant_and_what_its_path_names(
    world: World, caplog: pytest.LogCaptureFixture, path: str, told: list[Any]
) -> None:
    world.store.jobs[JOB_ID] = builders.job(Status.RUNNING)
    caplog.set_level(logging.INFO)
    world.api.call("GET", path, None)
    (line,) = lines(caplog)
    assert [getattr(line, name, None) for name in NAMES] == ["acme", *told]


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"Root={TRACE}", TRACE),
        (f"Self=1-67891234-0123456789abcdef01234567;Root={TRACE};Sampled=1", TRACE),
        ("Root=1-5759e988", None),
        ("", None),
    ],
    ids=["API Gateway's", "with more in it", "malformed", "empty"],
)
def test_a_call_names_its_trace(
    world: World, caplog: pytest.LogCaptureFixture, header: str, trace: str | None
) -> None:
    caplog.set_level(logging.INFO)
    world.api.call("GET", "/api/v1/training/jobs", X_Amzn_Trace_Id=header)
    (line,) = lines(caplog)
    assert getattr(line, "xray_trace_id", None) == trace


def test_a_bug_names_the_job_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.store.broken = ZeroDivisionError("a bug")
    caplog.set_level(logging.INFO)
    world.api.call("GET", f"/api/jobs/{JOB_ID}", None)
    (bug,) = [vars(record) for record in caplog.records if record.exc_info]
    assert (bug["job_id"], bug["tenant"]) == (JOB_ID, "acme")
    assert [line.status for line in lines(caplog)] == [500]


def test_a_call_goes_by_the_id_that_api_gateway_told_the_client() -> None:
    assert call_with({"requestId": "c6af9ac6"}).log_fields == {
        "request_id": "c6af9ac6",
        "tenant": "",
        "route": "GET /",
    }
