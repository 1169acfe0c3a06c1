"""How fast logs are, beside kubectl's own: `python -m tests.benchmarks.logs [lines]` prints a table.

Both columns are measured side by side in one run, on a stack of its own or, with KUBECONFIG and
TRAINYARD_TEST_IMAGE, on that cluster: the time from a line's being printed to its being read, for a job that
prints now and then; and the time that the last 100 lines of a long log take.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

from tests.stack import RunningStack, start_stack

NAMESPACE = "trainyard-demo"
SAMPLES = 100
PRINTS = f"""
import random, time
time.sleep(5)
for _ in range({SAMPLES}):
    print(time.time_ns(), flush=True)
    time.sleep(0.1 + random.random() / 5)
"""
TAILS = 20


class Bench:
    """A stack, and a member's calls of it."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {stack.token()}"
        self._image = os.environ.get("TRAINYARD_TEST_IMAGE", "python:3.11")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._session.request(method, self._stack.url + path, json=body, timeout=40)
        answer.raise_for_status()
        return answer.json().get("data")

    def run(self, script: str) -> str:
        command = ["python3", "-c", script]
        body = {"jobName": "bench", "image": self._image, "command": command}
        return str(self.call("POST", "/api/jobs/create", body)["jobId"])

    def pod(self, job_id: str) -> str:
        while not (pods := self.call("GET", f"/api/jobs/{job_id}")["pods"]):
            time.sleep(0.1)
        return str(pods[0])

    def kubectl(self, *words: str) -> subprocess.Popen[str]:
        env = {**os.environ, "KUBECONFIG": self._stack.kubeconfig}
        return subprocess.Popen(
            ["kubectl", "-n", NAMESPACE, "logs", *words], env=env, stdout=subprocess.PIPE, text=True
        )


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    settings = {}
    if kubeconfig := os.environ.get("KUBECONFIG"):
        settings = {"TRAINYARD_CLUSTER": "kubeconfig", "KUBECONFIG": kubeconfig}
    with tempfile.TemporaryDirectory() as home:
        stack = start_stack(Path(home), settings)
        try:
            bench = Bench(stack)
            latency(bench)
            tail(bench, lines)
        finally:
            stack.stop()


def latency(bench: Bench) -> None:
    job_id = bench.run(PRINTS)
    pod = bench.pod(job_id)
    ours: list[float] = []
    theirs: list[float] = []
    readers = [
        threading.Thread(target=_follow, args=(bench, job_id, ours)),
        threading.Thread(target=_follow_by_kubectl, args=(bench, pod, theirs)),
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        report(f"print to reader, {name}", _quantile(ours, share), _quantile(theirs, share))


def _follow(bench: Bench, job_id: str, seen: list[float]) -> None:
    cursor, finished = "start", False
    while not finished:
        page = bench.call("GET", f"/api/v1/training/jobs/{job_id}/logs?follow=true&cursor={cursor}")
        _note(page["logs"], seen)
        cursor, finished = page["cursor"], page["finished"]


def _follow_by_kubectl(bench: Bench, pod: str, seen: list[float]) -> None:
    while len(seen) < SAMPLES:  # it refuses to follow a pod that has not started
        process = bench.kubectl("-f", pod)
        assert process.stdout is not None
        for line in process.stdout:
            _note([line], seen)
        process.wait()


def _note(lines: Sequence[str], seen: list[float]) -> None:
    now = time.time_ns()
    seen += [(now - int(line)) / 1e6 for line in lines]


def tail(bench: Bench, lines: int) -> None:
    script = f"import sys, time\nfor n in range({lines}): sys.stdout.write(f'line {{n}} of the log\\n')\n"
    job_id = bench.run(script + "sys.stdout.flush()\ntime.sleep(600)")
    pod = bench.pod(job_id)
    path = f"/api/jobs/{job_id}/pods/{pod}/logs?tailLines=100"
    last = f"line {lines - 1} of the log"
    while not bench.call("GET", path)["logs"].endswith(last):
        time.sleep(0.5)
    ours = [_timed(lambda: bench.call("GET", path)) for _ in range(TAILS)]
    theirs = [_timed(lambda: bench.kubectl("--tail=100", pod).communicate()) for _ in range(TAILS)]
    report(f"last 100 of {lines} lines, p50", statistics.median(ours), statistics.median(theirs))
    bench.call("POST", f"/api/jobs/{job_id}/stop")


def _timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return (time.monotonic() - begin) * 1000


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def report(what: str, ours: float, theirs: float) -> None:
    print(f"{what:32} {ours:8.1f} ms   kubectl {theirs:8.1f} ms   ratio {ours / theirs:6.2f}", flush=True)


if __name__ == "__main__":
    main()
