"""What the tests of clusters share: an embedded one or a real one, and a namespace of one's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from kubernetes import client, config, watch

Obj = dict[str, Any]
T = TypeVar("T")
Watch: Any = watch.Watch
ROOT = Path(__file__).resolve().parents[3]


def wait_for(condition: Callable[[], T], seconds: float = 30.0, what: str = "") -> T:
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
    """Some Kubernetes and clients for it."""

    image = "python:3.11"

    def connect(self, kubeconfig: str) -> None:
        connect: Any = config.new_client_from_config
        self.kubeconfig, self.api = kubeconfig, connect(kubeconfig)
        # untyped on purpose: the tests hand it plain dicts, as people do
        self.core: Any = client.CoreV1Api(self.api)
        self.batch: Any = client.BatchV1Api(self.api)

    def needs(self, minor: int, what: str) -> None:
        """Skips the test on a server that is older than 1.`minor`."""
        version: Any = client.VersionApi(self.api)
        if int(re.sub(r"\D", "", version.get_code().minor)) < minor:
            pytest.skip(f"{what} needs Kubernetes 1.{minor}")

    def kubectl(self, *words: str, check: bool = True, stdin: str = "") -> str:
        done = self.kubectl_run(*words, stdin=stdin)
        if check:
            assert done.returncode == 0, done.stderr
        warnings = "WARNING: version difference between client"
        told = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith(warnings)]
        return done.stdout + "".join(told)

    def kubectl_run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        if not shutil.which("kubectl"):
            pytest.skip("kubectl is not on PATH")
        return subprocess.run(
            ["kubectl", *words],
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            input=stdin,
        )

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = "",
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Past the official client and its own checks; the answer's code and its decoded body."""
        settings: Any = self.api.configuration
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": content_type, "Accept": "application/json", **(headers or {})}
        certificate = (settings.cert_file, settings.key_file)
        if token or not settings.cert_file:
            sent["Authorization"] = f"Bearer {token}" if token else settings.api_key["authorization"]
        answer = requests.request(
            method,
            settings.host + path,
            data=data,
            headers=sent,
            verify=settings.ssl_ca_cert,
            cert=None if token or not settings.cert_file else certificate,
            timeout=30,
        )
        return answer.status_code, answer.json()


class RealCluster(Cluster):
    """The one that KUBECONFIG names. Its pods run an image that a node has, if that has Python 3.11."""

    def __init__(self, kubeconfig: str) -> None:
        self.connect(kubeconfig)
        names = [n for node in self.core.list_node().items for i in node.status.images or [] for n in i.names]
        self.image = next((name for name in names if name.endswith("python:3.11")), "python:3.11")


class EmbeddedCluster(Cluster):
    """A process of its own, which tests may kill."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.state, self.volumes, self.flags = folder / "state", folder / "volumes", flags
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "infra.local.kubernetes"]
        command += ["--state", str(self.state), "--port", str(self.port), "--volumes", str(self.volumes)]
        command += ["--retry-backoff", "0.2", "--shutdown-grace", "1"]
        command += ["--image-path", str(Path(sys.executable).parent), *self.flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready https://127.0.0.1:")
        self.connect(str(self.state / "kubeconfig"))

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def processes(self, pod: Any) -> list[int]:
        """All that run in the pod's containers, by the numbers that this machine gives them."""
        runs = (self.state / "pods" / pod.metadata.uid).glob("containers/*/*/running.json")
        spaces = {_table_of(json.loads(run.read_text())["pid"]) for run in runs}
        if _table_of(os.getpid()) in spaces:
            pytest.skip("containers have no process table of their own on this machine")
        found = []
        for pid in [int(process.name) for process in Path("/proc").glob("[0-9]*")]:
            with contextlib.suppress(OSError):  # it has ended, or is not ours to look at
                if _table_of(pid) in spaces:
                    found.append(pid)
        return found


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
        image = {"image": self.cluster.image, "imagePullPolicy": "IfNotPresent"}
        one = {"name": "main", **image, "command": list(command), **(container or {})}
        template = {"restartPolicy": "Never", "containers": [one], **(pod or {})}
        body = {
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": template}, **(spec or {})},
        }
        self.batch.create_namespaced_job(self.name, body)

    def run_twice(self, name: str) -> None:
        """A Job whose container says "run" and fails, and the second time stays."""
        stays = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
        script = f"if [ -e /s/tried ]; then {stays}; fi; touch /s/tried; echo run; exit 1"
        pod = {"restartPolicy": "OnFailure", "volumes": [{"name": "s", "emptyDir": {}}]}
        container = {"volumeMounts": [{"name": "s", "mountPath": "/s"}]}
        self.run(name, "sh", "-c", script, spec={"backoffLimit": 3}, pod=pod, container=container)

    def job(self, name: str) -> Any:
        return self.batch.read_namespaced_job(name, self.name)

    def pods(self, job: str = "") -> list[Any]:
        selector = f"job-name={job}" if job else ""
        found: list[Any] = self.core.list_namespaced_pod(self.name, label_selector=selector).items
        return sorted(found, key=lambda p: int(p.metadata.resource_version))

    def pod(self, job: str) -> Any:
        return wait_for(lambda: self.pods(job), what=f"a pod of {job}")[0]

    def ended(self, name: str, seconds: float = 60.0) -> Any:
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
        """A claim and its folder, which only the embedded cluster has."""
        assert isinstance(self.cluster, EmbeddedCluster)
        self.core.create_namespaced_persistent_volume_claim(
            self.name,
            {
                "metadata": {"name": name},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            },
        )
        return self.cluster.volumes / self.name / name


def _table_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/pid").readlink()


def mounted(claim: str, path: str, **mount: Any) -> tuple[Obj, Obj]:
    """What a pod and its container need for `claim` to appear at `path`."""
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
    return {"volumes": [volume]}, {"volumeMounts": [{"name": "data", "mountPath": path, **mount}]}
