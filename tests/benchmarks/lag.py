"""Times how long the API lags behind the cluster: by watch, and by a list every two seconds as it used to be.

    make up && python -m tests.benchmarks.lag [--jobs 10]

It holds the sync's lease in place of the stack's own, and runs jobs one by one. A pod's start and
a Job's end count from when this process is told of them by a watch of its own; the API is asked every 20 ms.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import requests

from chalicelib.bootstrap import Container
from chalicelib.cluster.api import KubernetesApi
from chalicelib.domain import labels
from chalicelib.errors import ClusterUnavailable
from chalicelib.services.sync import LEASE
from chalicelib.settings import load
from infra.local import config
from infra.local.ministack import deployed

POLL_SECONDS = 2.0


class Truth:
    """When each job's pod ran and its Job ended, as the cluster tells it."""

    def __init__(self, api: KubernetesApi) -> None:
        self.moments: dict[tuple[str, str], float] = {}
        self._api = api
        for path in ("/api/v1/pods", "/apis/batch/v1/jobs"):
            threading.Thread(target=self._watch, args=(path,), daemon=True).start()

    def _watch(self, path: str) -> None:
        while True:
            with suppress(ClusterUnavailable):
                for change in self._api.watch(path, {"labelSelector": labels.JOB}, 300):
                    self._note(change["object"])

    def _note(self, value: Mapping[str, Any]) -> None:
        status = value.get("status") or {}
        ended = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
        word = "Running" if status.get("phase") == "Running" else "Succeeded" if "Complete" in ended else None
        if word:
            job_id = value["metadata"]["labels"][labels.JOB]
            self.moments.setdefault((job_id, word), time.monotonic())


def run_job(truth: Truth, image: str) -> dict[str, float]:
    """One job from its submission to its end: by how much the API was late, for each of the two words."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {os.environ['TRAINYARD_TOKEN']}"
    url = os.environ["TRAINYARD_URL"]
    seconds = round(random.uniform(1.5, 3.0), 2)
    command = ["python3", "-c", f"import time; time.sleep({seconds})"]
    body = {"jobName": "lag", "image": image, "command": command}
    job_id = session.post(f"{url}/api/jobs/create", json=body, timeout=30).json()["data"]["jobId"]
    shown: dict[str, float] = {}
    deadline = time.monotonic() + 60
    while "Succeeded" not in shown and time.monotonic() < deadline:
        status = session.get(f"{url}/api/jobs/{job_id}", timeout=30).json()["data"]["status"]
        shown.setdefault(status, time.monotonic())
        time.sleep(0.02)
    return {
        word: max(0.0, shown[word] - truth.moments[job_id, word])
        for word in ("Running", "Succeeded")
        if word in shown and (job_id, word) in truth.moments
    }


def by_watch(container: Container, stopping: threading.Event) -> None:
    while not stopping.is_set():
        container.sync.run(lambda: 0.0 if stopping.is_set() else 60.0)
        stopping.wait(0.05)


def by_poll(container: Container, stopping: threading.Event) -> None:
    while not container.store.lease_is_free(LEASE, container.clock()):
        stopping.wait(0.2)
    while not stopping.is_set():
        container.sync.look()
        stopping.wait(POLL_SECONDS)
    container.sync.run(lambda: 0.0, whole=True)  # gives the lease up


def measure(way: Callable[[Container, threading.Event], None], truth: Truth, jobs: int, image: str) -> None:
    container, stopping = Container(load(os.environ)), threading.Event()
    thread = threading.Thread(target=way, args=(container, stopping))
    thread.start()
    while way is by_poll and container.store.lease_is_free(LEASE, container.clock()):
        time.sleep(0.1)
    lags: dict[str, list[float]] = {"Running": [], "Succeeded": []}
    for _ in range(jobs):
        for word, lag in run_job(truth, image).items():
            lags[word].append(lag)
    stopping.set()
    thread.join()
    for word, times in lags.items():
        times.sort()
        p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
        print(
            f"{way.__name__:9} {word:10} n={len(times):3}  p50 {statistics.median(times) * 1000:6.0f} ms"
            f"  p99 {p99 * 1000:6.0f} ms",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--image", default="python")
    arguments = parser.parse_args()
    local = config.load()
    os.environ.update(config.service_environment(local, deployed(local).jobs_table) | _kept())
    truth = Truth(KubernetesApi.from_kubeconfig(local.kubeconfig, None, 10))
    for way in (by_poll, by_watch):
        measure(way, truth, arguments.jobs, arguments.image)


def _kept() -> dict[str, str]:
    return {name: os.environ[name] for name in ("TRAINYARD_URL", "TRAINYARD_TOKEN")}


if __name__ == "__main__":
    main()
