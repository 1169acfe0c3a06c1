"""Pages of another origin: whose they may be, and that they can read whatever the API answers."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from chalicelib.settings import InvalidSetting, load
from infra.local import template
from infra.local.config import REPO, RESOURCES
from tests import builders
from tests.builders import JOB_ID
from tests.unit.api.conftest import World

APP = "https://app.example:8443"
V1 = "/api/v1/training/jobs"
EVENTS = {"Accept": "text/event-stream"}
BODY = {"Prefer": "return=representation"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "broken", "status"),
    [
        pytest.param("GET", V1, {}, None, 200, id="success"),
        pytest.param("POST", "/api/jobs", {}, None, 200, id="success of the other dialect"),
        pytest.param("GET", f"{V1}/{JOB_ID}/logs", EVENTS, None, 200, id="server-sent events"),
        pytest.param("DELETE", f"{V1}/{JOB_ID}", {}, None, 204, id="no content"),
        pytest.param("DELETE", f"{V1}/{JOB_ID}", BODY, None, 200, id="preference applied"),
        pytest.param("GET", f"{V1}?page=0", {}, None, 400, id="bad request"),
        pytest.param("GET", "/api/jobs/nothing", {}, None, 404, id="not found"),
        pytest.param("GET", f"{V1}/{JOB_ID}", {}, RuntimeError("a bug"), 500, id="crash"),
        pytest.param("GET", f"{V1}/{JOB_ID}", {}, StoreUnavailable("dynamodb"), 503, id="unavailable"),
    ],
)
@pytest.mark.parametrize("origin", ["", "*", APP])
def test_every_answer_says_whose_pages_may_read_it(
    world: World,
    method: str,
    path: str,
    headers: dict[str, str],
    broken: Exception | None,
    status: int,
    origin: str,
) -> None:
    world.container.settings = replace(world.container.settings, cors_origin=origin)
    world.store.jobs[JOB_ID] = builders.job(Status.STOPPED)
    world.store.broken = broken
    reply = world.api.call(method, path, **headers)
    assert reply.status == status
    assert reply.headers.get("Access-Control-Allow-Origin", "") == origin
    assert reply.headers.get("Vary") == ("Origin" if origin == APP else None)
    exposed = reply.headers.get("Access-Control-Expose-Headers", "").split(",")
    readable = {"Content-Type", "Cache-Control"} | set(exposed)
    own = {name for name in reply.headers if not name.startswith("Access-Control-") and name != "Vary"}
    assert not origin or own <= readable


def test_a_page_may_send_each_header_that_the_api_reads() -> None:
    read: set[str] = {"authorization"}
    for module in (REPO / "chalicelib" / "api").glob("*.py"):
        read |= set(re.findall(r"""(?:_header|headers\.get)\("([a-z-]+)"\)""", module.read_text()))
    assert {"idempotency-key", "last-event-id", "prefer"} <= read
    read.discard("x-amzn-trace-id")  # API Gateway's own, which it sets itself
    allowed = template.cors(template.read(RESOURCES))["AllowHeaders"].strip("'").lower().split(",")
    assert sorted(allowed) == sorted(read)


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example/",
        "https://a.example/app",
        "https://A.example",
        "https://a.example,https://b.example",
        "https://*.example",
        "a.example",
        "null",
        "'",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(InvalidSetting, match="TRAINYARD_CORS_ORIGIN="):
        load({"TRAINYARD_CORS_ORIGIN": origin})


@pytest.mark.parametrize("origin", ["", "*", APP, "http://localhost:5173"])
def test_an_origin_is_one_or_any(origin: str) -> None:
    assert load({"TRAINYARD_CORS_ORIGIN": origin}).cors_origin == origin
