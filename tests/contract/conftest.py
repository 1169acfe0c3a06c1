"""The running stack that the customer's documents are replayed against.

TRAINYARD_URL and TRAINYARD_TOKEN (a member's) name one that is up, in which the tenant has the documents'
workspace 456 (with its train.py) and dataset 789; without them an embedded one is started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

POOLS = '{"default": {"cluster": "default"}, "queued": {"cluster": "default", "queues": ["training"]}}'
TENANT = "acme"
# /workspace/train.py of the documents' example, in the words of their example log.
SCRIPT = """
for epoch in (1, 2):
    print(f"Epoch {epoch}/100, Loss: {0.9 ** epoch:.4f}", flush=True)
"""


@dataclass(frozen=True)
class Stack:
    """A stack that is up. The documents' `xxx` stand for its pool and queue."""

    url: str
    token: Callable[[str, list[str]], str]
    pool: str = "default"
    queue: str | None = None

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> requests.Response:
        """Call as a member of TENANT, or with `token` (empty: with none); header names have `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is None:
            token = self.token(TENANT, ["member"])
        if token:
            sent["Authorization"] = f"Bearer {token}"
        return requests.request(method, self.url + path, json=body, headers=sent, timeout=30)

    def wait(self, what: str, path: str, condition: Callable[[Any], bool], seconds: float = 60) -> Any:
        """The body of `path` as soon as the condition holds for it."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.call("GET", path).json()
            if condition(answer):
                return answer
            assert time.monotonic() < deadline, f"no {what} in {seconds:g} s: {answer}"
            time.sleep(0.2)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if url := os.environ.get("TRAINYARD_URL"):
        given = os.environ["TRAINYARD_TOKEN"]
        yield Stack(url.rstrip("/"), lambda _tenant, _roles: given)
        return
    from tests.stack import start_stack  # noqa: PLC0415 (a stack that is given needs none of it)

    running = start_stack(tmp_path_factory.mktemp("stack"), {"TRAINYARD_POOLS": POOLS})
    try:
        _put_script(running.volumes / f"trainyard-{TENANT}")
        yield Stack(running.url, running.token, "queued", "training")
    finally:
        running.stop()


@pytest.fixture(scope="session")
def job(stack: Stack) -> str:
    """The id of the documents' example job, once it has printed its first lines."""
    from tests.contract.documents import endpoint  # noqa: PLC0415

    sample = endpoint("training-v1", "POST", "/api/v1/training/jobs").request
    job_id: str = stack.call("POST", "/api/v1/training/jobs", sample).json()["data"]["job_id"]
    stack.wait("log", f"/api/v1/training/jobs/{job_id}/logs", lambda answer: bool(answer["data"]["logs"]))
    stack.wait("pod", f"/api/jobs/{job_id}", lambda answer: bool(answer["data"]["pods"]))
    return job_id


def _put_script(claims: Path) -> None:
    for name in ("workspace-456", "dataset-789"):
        (claims / name).mkdir(parents=True, exist_ok=True)
    (claims / "workspace-456" / "train.py").write_text(SCRIPT)
