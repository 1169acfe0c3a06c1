"""A stack that a benchmark brings up for itself as `make up` does, and a tenant's member who calls it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from typing import Any

import boto3
import urllib3

from chalicelib.cluster.api import KubernetesApi
from chalicelib.errors import ClusterUnavailable
from infra.local import ministack
from infra.local.config import DEFAULT_TENANT
from infra.local.ministack import deployed
from tests.stack import RunningStack, start_stack

# Room for any number of jobs, whose pods start and run no process.
HOLLOW = {
    "TRAINYARD_NODE_CPU": "100k",
    "TRAINYARD_NODE_MEMORY": "100Ti",
    "TRAINYARD_HOLLOW_SECONDS": "36000",
}
PATIENCE_SECONDS = 60.0


class Member:
    """Calls of a stack's API, a connection a thread, beside raw clients of what lies below it."""

    def __init__(self, stack: RunningStack, tenant: str = DEFAULT_TENANT) -> None:
        self.stack = stack
        self.tenant = tenant
        self.image = os.environ.get("TRAINYARD_TEST_IMAGE", "python:3.11")
        # As others would ask: none of what our own session leaves out.
        self.dynamodb: Any = ministack.client(stack.local, "dynamodb", boto3.client)
        self.s3: Any = ministack.client(stack.local, "s3", boto3.client)
        self.table = deployed(stack.local).jobs_table
        self.cluster = KubernetesApi.from_kubeconfig(stack.kubeconfig, None, 30)
        self._token = stack.token(tenant, ttl_seconds=24 * 3600)
        self._own = threading.local()
        self._is_over = threading.Event()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's data. Raises RuntimeError for any answer but a good one."""
        if not hasattr(self._own, "http"):
            self._own.http = urllib3.PoolManager(retries=False, timeout=PATIENCE_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        answer = self._own.http.request(method, self.stack.url + path, body=data, headers=headers)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data!r}")
        return json.loads(answer.data).get("data")

    def create(self, **body: Any) -> str:
        usual = {"jobName": "bench", "image": self.image, "command": ["python3", "-c", "pass"]}
        return str(self.call("POST", "/api/jobs/create", usual | body)["jobId"])

    def run(self, script: str) -> str:
        """A job that runs a script of Python."""
        return self.create(command=["python3", "-c", script])

    def kubectl(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["kubectl", *words],
            env={**os.environ, "KUBECONFIG": self.stack.kubeconfig},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def watch(self, path: str, learn: Callable[[Mapping[str, Any]], None]) -> None:
        """Be told of each object under `path` as it changes, in a thread that ends with the stack."""

        def watch() -> None:
            while not self._is_over.is_set():
                with suppress(ClusterUnavailable):
                    for change in self.cluster.watch(path, {}, 300):
                        if change["type"] != "BOOKMARK":
                            learn(change["object"])
                self._is_over.wait(0.2)

        threading.Thread(target=watch, daemon=True).start()

    def end(self) -> None:
        """Let go of the stack, which is about to go."""
        self._is_over.set()
        self.cluster.hang_up()

    def cpu(self, component: str) -> float:
        """The seconds of CPU that a component of the stack has used."""
        fields = Path(f"/proc/{self.stack.pid(component)}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def member(settings: Mapping[str, str] | None = None, tenant: str = DEFAULT_TENANT) -> Iterator[Member]:
    """On a stack that is gone afterwards, with its data. Without `settings`, and with
    TRAINYARD_CLUSTER=kubeconfig in the environment, its cluster is the one that KUBECONFIG names."""
    if settings is None and os.environ.get("TRAINYARD_CLUSTER") == "kubeconfig":
        settings = {name: os.environ[name] for name in ("TRAINYARD_CLUSTER", "KUBECONFIG")}
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-", ignore_cleanup_errors=True) as home:
        stack = start_stack(Path(home), settings)
        one = Member(stack, tenant)
        try:
            yield one
        finally:
            one.end()
            if stack.pid("ministack"):
                stack.kill("ministack", SIGKILL)  # nobody reads the state that it would write
            stack.stop()
