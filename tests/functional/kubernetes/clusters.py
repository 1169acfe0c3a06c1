"""What the tests of the embedded cluster share: a real cluster process, and a namespace of one's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kubernetes import client, config, watch

Obj = dict[str, Any]
T = TypeVar("T")
Watch: Any = watch.Watch
ROOT = Path(__file__).resolve().parents[3]


def wait_for(condition: Callable[[], T], seconds: float = 10.0, what: str = "") -> T:
    """The first true answer of `condition`; fails after `seconds`."""
    until = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds} s in vain for {what or condition}; last answer: {answer}")
        time.sleep(0.02)


class Cluster:
    """A cluster process and clients for it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.state, self.volumes, self.flags = folder / "state", folder / "volumes", flags
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "infra.local.kubernetes",
            "--state",
            str(self.state),
            "--port",
            str(self.port),
            "--volumes",
            str(self.volumes),
            "--retry-backoff",
            "0.2",
            "--image-path",
            str(Path(sys.executable).parent),
            *self.flags,
        ]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready https://127.0.0.1:")
        connect: Any = config.new_client_from_config
        self.api = connect(str(self.state / "kubeconfig"))
        # untyped on purpose: the tests hand it plain dicts, as people do
        self.core: Any = client.CoreV1Api(self.api)
        self.batch: Any = client.BatchV1Api(self.api)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kubectl(self, *words: str, check: bool = True, stdin: str = "") -> str:
        if not shutil.which("kubectl"):
            pytest.skip("kubectl is not on PATH")
        environment = {**os.environ, "KUBECONFIG": str(self.state / "kubeconfig")}
        done = subprocess.run(
            ["kubectl", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            input=stdin,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        token: str | None = None,
        content_type: str = "application/json",
    ) -> tuple[int, Any]:
        """Past the official client and its own checks; the answer's code and its decoded body."""
        context = ssl.create_default_context(cafile=str(self.state / "pki" / "ca.crt"))
        token = (self.state / "pki" / "token").read_text() if token is None else token
        data = None if body is None else json.dumps(body).encode() if not isinstance(body, bytes) else body
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


class Space:
    """A namespace of one test's own."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.name = cluster, f"t-{uuid.uuid4().hex[:8]}"
        self.core, self.batch = cluster.core, cluster.batch
        self.core.create_namespace({"metadata": {"name": self.name}})

    def run(
        self,
        name: str,
        *command: str,
        spec: Obj | None = None,
        pod: Obj | None = None,
        container: Obj | None = None,
    ) -> None:
        """Create a Job that runs `command`; the rest goes over the defaults."""
        one = {"name": "main", "image": "busybox", "command": list(command), **(container or {})}
        template = {"restartPolicy": "Never", "containers": [one], **(pod or {})}
        body = {
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": template}, **(spec or {})},
        }
        self.batch.create_namespaced_job(self.name, body)

    def job(self, name: str) -> Any:
        return self.batch.read_namespaced_job(name, self.name)

    def pods(self, job: str = "") -> list[Any]:
        selector = f"job-name={job}" if job else ""
        found: list[Any] = self.core.list_namespaced_pod(self.name, label_selector=selector).items
        return sorted(found, key=lambda p: int(p.metadata.resource_version))

    def pod(self, job: str) -> Any:
        return wait_for(lambda: self.pods(job), what=f"a pod of {job}")[0]

    def ended(self, name: str, seconds: float = 15.0) -> Any:
        """The condition with which the job ended."""

        def last() -> Any:
            conditions = self.job(name).status.conditions or []
            return next(
                (c for c in conditions if c.type in ("Complete", "Failed") and c.status == "True"), None
            )

        return wait_for(last, seconds, f"{name} to end")

    def running(self, job: str) -> Any:
        def up() -> Any:
            return next((p for p in self.pods(job) if p.status.phase == "Running"), None)

        return wait_for(up, what=f"{job} to run")

    def exit(self, pod: Any) -> Any:
        def state() -> Any:
            found = self.core.read_namespaced_pod(pod.metadata.name, self.name).status.container_statuses
            return found[0].state.terminated if found else None

        return wait_for(state, what=f"the end of {pod.metadata.name}")

    def log(self, pod: Any, **options: Any) -> str:
        return str(self.core.read_namespaced_pod_log(pod.metadata.name, self.name, **options))

    def events(self, reason: str) -> list[Any]:
        return [e for e in self.core.list_namespaced_event(self.name).items if e.reason == reason]

    def claim(self, name: str) -> Path:
        self.core.create_namespaced_persistent_volume_claim(
            self.name,
            {
                "metadata": {"name": name},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            },
        )
        return self.cluster.volumes / self.name / name


def mounted(claim: str, path: str, **mount: Any) -> tuple[Obj, Obj]:
    """What a pod and its container need for `claim` to appear at `path`."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    return {"volumes": [volume]}, {"volumeMounts": [{"name": "data", "mountPath": path, **mount}]}
