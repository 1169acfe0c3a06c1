"""The API called by pages of another origin: in a real browser, and on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.stack import RunningStack

CREATE = "/api/jobs/create"
JOB = {"jobName": "from a page", "image": "python:3.11", "command": ["true"]}
FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then(
  async (answer) => done({
    status: answer.status,
    body: await answer.text(),
    request: answer.headers.get('x-amzn-RequestId'),
  }),
  (error) => done({refused: String(error)}));
"""


def fetch(browser: Any, url: str, method: str = "GET", body: str | None = None, **headers: str) -> Any:
    """What the page that is open gets for it. Header names are written with `_` for `-`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return browser.execute_async_script(FETCH, url, {"method": method, "body": body, "headers": sent})


def test_a_page_elsewhere_creates_a_job_and_reads_why_it_is_refused(
    stack: RunningStack, browser: Any, elsewhere: str
) -> None:
    browser.get(elsewhere)
    token = f"Bearer {stack.token()}"
    made = fetch(
        browser,
        stack.url + CREATE,
        "POST",
        json.dumps(JOB),
        Authorization=token,
        Content_Type="application/json",
        Idempotency_Key="a-page",
    )
    assert made["status"] == 200 and '"success":true' in made["body"], made
    assert made["request"], "and the request's id"
    for refused, headers in (("without a token", {}), ("a wrong token", {"Authorization": "Bearer x.y.z"})):
        answer = fetch(browser, stack.url + "/api/v1/training/jobs", **headers)
        assert answer.get("status") == 401, (refused, answer)
        assert '"code": 40100' in answer["body"]
    missing = fetch(browser, stack.url + "/api/nothing", Accept_Language="en")
    assert missing.get("status") == 404, missing


def test_a_page_of_any_other_origin_reads_nothing(stack: RunningStack, browser: Any, elsewhere: str) -> None:
    browser.get(elsewhere.replace("127.0.0.1", "localhost"))
    answer = fetch(browser, stack.url + "/api/v1/training/jobs", Authorization=f"Bearer {stack.token()}")
    assert "refused" in answer, answer


@pytest.mark.parametrize("path", [CREATE, "/api/v1/training/jobs/any/stop"])
def test_a_preflight_takes_no_token(stack: RunningStack, elsewhere: str, path: str) -> None:
    answer = requests.options(stack.url + path, headers={"Origin": elsewhere}, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Methods"] == "OPTIONS,POST"
    assert "Idempotency-Key" in answer.headers["Access-Control-Allow-Headers"].split(",")
