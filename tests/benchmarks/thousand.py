"""Times 1,000 jobs from their submission until all run: in one file by S3, by kubectl, and one by one by API.

    python -m tests.benchmarks.thousand [--jobs 1000]

On embedded stacks of its own with room for all of them, whose pods are hollow: they start, and run no
process. kubectl applies the very Jobs that Trainyard would make, under other names, to the cluster that the
file's jobs run on afterwards. `kubectl` must be on PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from chalicelib.cluster.api import KubernetesApi
from chalicelib.domain.job import Resources
from chalicelib.domain.manifest import ManifestSettings, manifests
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable
from infra.local import ministack
from infra.local.config import SUBMISSIONS_BUCKET
from tests.builders import GIB, job, spec
from tests.stack import RunningStack, start_stack

ROOM = {
    "TRAINYARD_NODE_CPU": "100k",
    "TRAINYARD_NODE_MEMORY": "100Ti",
    "TRAINYARD_HOLLOW_SECONDS": "3600",
}
PATIENCE_SECONDS = 600.0
BUSY = ("pump", "ministack", "kubernetes", "gateway")
KEY = "submissions/bench/thousand"
COMMAND = ["python", "train.py"]


class Bench:
    """A running stack, and how far its jobs are."""

    def __init__(self, stack: RunningStack, jobs: int) -> None:
        self.stack = stack
        self.jobs = jobs
        self.cluster = KubernetesApi.from_kubeconfig(stack.kubeconfig, None, 30)
        self._s3 = ministack.client(stack.local, "s3")
        self._authorization = {"Authorization": f"Bearer {stack.token('bench')}"}

    def by_kubectl(self) -> dict[str, float]:
        settings = ManifestSettings(instance="kubectl", finished_job_ttl_seconds=3600, stop_grace_seconds=1)
        pool = Pool(id="default", cluster="default", namespace="by-kubectl")
        small = Resources(cpu=1, memory=2 * GIB, gpu=0)
        wanted = spec(image="python", command=tuple(COMMAND), resources=small)
        found = [manifests(job(id=f"bench-{n:04}", spec=wanted), pool, settings)[0] for n in range(self.jobs)]
        self.cluster.create("/api/v1/namespaces", _named("Namespace", "by-kubectl"))
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": found})

        def submit() -> None:
            self._kubectl("apply", "--validate=false", "-f", "-", stdin=text)

        times = self._timed(submit, "by-kubectl", {})
        self.cluster.delete("/apis/batch/v1/namespaces/by-kubectl/jobs", {"propagationPolicy": "Background"})
        while any(self.cluster.items("/api/v1/namespaces/by-kubectl/pods", {})):
            time.sleep(1)  # the next way is to have the cluster for itself
        return times

    def by_file(self) -> dict[str, float]:
        body = json.dumps([self._body(n) for n in range(self.jobs)])

        def submit() -> None:
            self._s3.put_object(Bucket=SUBMISSIONS_BUCKET, Key=f"{KEY}.json", Body=body)

        looks = {"submitted": self._all_submitted, "the API says so": self._api_says}
        return self._timed(submit, "trainyard-bench", {**looks, "the status file says so": self._file_says})

    def by_api(self, clients: int) -> dict[str, float]:
        own = threading.local()

        def create(number: int) -> None:
            if not hasattr(own, "session"):
                own.session = requests.Session()
                own.session.headers.update(self._authorization)
            answer = own.session.post(
                f"{self.stack.url}/api/jobs/create", json=self._body(number), timeout=60
            )
            answer.raise_for_status()

        def submit() -> None:
            with ThreadPoolExecutor(clients) as pool:
                list(pool.map(create, range(self.jobs)))

        return self._timed(submit, "trainyard-bench", {"the API says so": self._api_says})

    def _timed(
        self, submit: Callable[[], None], namespace: str, looks: dict[str, Callable[[], bool]]
    ) -> dict[str, float]:
        """Seconds from the first request until it returned, until all pods ran, until each look was so."""
        stopping, running = threading.Event(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(namespace, stopping, running), daemon=True)
        watcher.start()
        busy = {name: self._cpu(name) for name in BUSY}
        began = time.monotonic()
        submit()
        times = {"sent": time.monotonic() - began}
        waiting: dict[str, Callable[[], bool]] = {**looks, "all pods run": running.is_set}
        while waiting and time.monotonic() - began < PATIENCE_SECONDS:
            for name in [name for name, look in waiting.items() if look()]:
                times[name] = time.monotonic() - began
                del waiting[name]
            time.sleep(0.25)
        stopping.set()
        return times | {f"CPU of the {name}": self._cpu(name) - spent for name, spent in busy.items()}

    def _cpu(self, component: str) -> float:
        """The seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.stack.pid(component)}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _watch(self, namespace: str, stopping: threading.Event, running: threading.Event) -> None:
        seen: set[str] = set()
        while not stopping.is_set():
            with suppress(ClusterUnavailable):
                for change in self.cluster.watch(f"/api/v1/namespaces/{namespace}/pods", {}, 600):
                    pod = change["object"]
                    if (pod.get("status") or {}).get("phase") == "Running":
                        seen.add(pod["metadata"]["name"])
                    if len(seen) == self.jobs:
                        running.set()
                        return

    def _all_submitted(self) -> bool:
        return self._total("") == self.jobs

    def _api_says(self) -> bool:
        return self._total("&status=running") == self.jobs

    def _total(self, filters: str) -> int:
        path = f"/api/v1/training/jobs?page_size=1{filters}"
        answer = requests.get(self.stack.url + path, headers=self._authorization, timeout=60)
        return int(answer.json()["data"]["pagination"]["total"])

    def _file_says(self) -> bool:
        with suppress(self._s3.exceptions.NoSuchKey):
            told = self._s3.get_object(Bucket=SUBMISSIONS_BUCKET, Key=f"{KEY}.status.json")["Body"].read()
            return bool(json.loads(told)["summary"] == {"running": self.jobs})
        return False

    def _kubectl(self, *words: str, stdin: str) -> None:
        argv = ["kubectl", "--kubeconfig", self.stack.kubeconfig, *words]
        subprocess.run(argv, input=stdin, text=True, check=True, capture_output=True)

    def _body(self, number: int) -> dict[str, Any]:
        return {"jobName": f"bench {number}", "image": "python", "command": COMMAND}


@contextmanager
def bench(jobs: int) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        stack = start_stack(Path(folder), ROOM)
        try:
            yield Bench(stack, jobs)
        finally:
            stack.stop()


def report(way: str, jobs: int, times: dict[str, float]) -> float:
    for name, seconds in times.items():
        print(f"{way:16} {name:24} {seconds:7.1f} s  {seconds / jobs * 1000:7.1f} ms a job", flush=True)
    return times["all pods run"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--only-file", action="store_true")
    given = parser.parse_args()
    with bench(given.jobs) as one:
        if given.only_file:
            report("one file", given.jobs, one.by_file())
            return
        kubectl = report("kubectl apply", given.jobs, one.by_kubectl())
        file = report("one file", given.jobs, one.by_file())
        print(f"{'one file / kubectl apply':41} {file / kubectl:7.2f}")
    for clients in (1, 8):
        with bench(given.jobs) as another:
            api = report(f"API, {clients} clients", given.jobs, another.by_api(clients))
            print(f"{'API / kubectl apply':41} {api / kubectl:7.2f}")


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


if __name__ == "__main__":
    main()
