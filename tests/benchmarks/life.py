"""How long a job takes to run, beside kubectl's on the same cluster, and how long until the API says so.

A pod's start and a Job's end count from when this process is told of them by a watch of its own; the API is
asked every 20 ms.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.member import PATIENCE_SECONDS, Member, member
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import milliseconds, quantile, wait_until

NAMESPACE = "by-kubectl"
SCRIPT = "import time; time.sleep(0.3)"
ASK_SECONDS = 0.02
GOAL_RUNNING = 0.5
GOAL_RATIO = 1.2
GOAL_VISIBLE = 1.0


class Truth:
    """When each Job's pod ran and the Job ended, as the cluster tells it."""

    def __init__(self, one: Member) -> None:
        self.moments: dict[tuple[str, str], float] = {}
        for path in ("/api/v1/pods", "/apis/batch/v1/jobs"):
            one.watch(path, self._note)

    def wait(self, name: str, word: str) -> float:
        wait_until(lambda: (name, word) in self.moments, PATIENCE_SECONDS, f"{name} to be {word}", 0.002)
        return self.moments[name, word]

    def _note(self, value: Mapping[str, Any]) -> None:
        status = value.get("status") or {}
        metadata = value["metadata"]
        ended = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
        if status.get("phase") in ("Running", "Succeeded"):  # of a short run a kubelet may tell its end only
            name, word = str((metadata.get("labels") or {}).get("job-name")), "Running"
        elif "Complete" in ended:
            name, word = metadata["name"], "Succeeded"
        else:
            return
        self.moments.setdefault((name, word), time.perf_counter())


@dataclass
class Lives:
    """What was measured, in seconds."""

    ours: list[float] = field(default_factory=list)  # create → the API says Running
    ours_in_cluster: list[float] = field(default_factory=list)  # create → the pod runs
    kubectl: list[float] = field(default_factory=list)
    posted: list[float] = field(default_factory=list)  # the same Job by one POST
    late: dict[str, list[float]] = field(default_factory=lambda: {"Running": [], "Succeeded": []})


def one_by_one(sizes: Sizes) -> Sequence[Result]:
    """By Trainyard, by kubectl, by one POST, in turns."""
    with member() as one:
        truth, lives = Truth(one), Lives()
        with suppress(Exception):  # a real cluster may have it from the last time
            one.cluster.create("/api/v1/namespaces", _named("Namespace", NAMESPACE))
        for number in range(-1, sizes.lives):
            if number == 0:  # the first one found everything cold
                lives = Lives()
            _ours(one, truth, lives)
            _kubectl(one, truth, lives, f"kubectl-{time.time_ns()}")
            _posted(one, truth, lives, f"posted-{time.time_ns()}")
    return _results(lives)


def _ours(one: Member, truth: Truth, lives: Lives) -> None:
    began = time.perf_counter()
    job_id = one.run(SCRIPT)
    shown: dict[str, float] = {}
    until = began + PATIENCE_SECONDS
    while "Succeeded" not in shown and time.perf_counter() < until:
        shown.setdefault(one.call("GET", f"/api/jobs/{job_id}")["status"], time.perf_counter())
        time.sleep(ASK_SECONDS)
    # One that ran so shortly that nobody saw it run counts to its end.
    shown.setdefault("Running", shown.get("Succeeded", until))
    for word, late in lives.late.items():
        late.append(max(0.0, shown.get(word, until) - truth.wait(job_id, word)))
    lives.ours.append(shown["Running"] - began)
    lives.ours_in_cluster.append(truth.wait(job_id, "Running") - began)


def _kubectl(one: Member, truth: Truth, lives: Lives, name: str) -> None:
    began = time.perf_counter()
    words = ("create", "job", name, "-n", NAMESPACE, f"--image={one.image}")
    one.kubectl(*words, "--", "python3", "-c", SCRIPT).communicate()
    lives.kubectl.append(truth.wait(name, "Running") - began)
    truth.wait(name, "Succeeded")


def _posted(one: Member, truth: Truth, lives: Lives, name: str) -> None:
    container = {"name": "main", "image": one.image, "command": ["python3", "-c", SCRIPT]}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    began = time.perf_counter()
    job = {**_named("Job", name), "apiVersion": "batch/v1", "spec": {"template": pod}}
    one.cluster.create(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", job)
    lives.posted.append(truth.wait(name, "Running") - began)
    truth.wait(name, "Succeeded")


def _results(lives: Lives) -> Sequence[Result]:
    ours, kubectl = quantile(lives.ours, 0.5), quantile(lives.kubectl, 0.5)
    late = [seconds for times in lives.late.values() for seconds in times]
    each = "; ".join(
        f"{word} {milliseconds(quantile(times, 0.5))} / {milliseconds(quantile(times, 0.99))}"
        for word, times in lives.late.items()
    )
    in_cluster, posted = quantile(lives.ours_in_cluster, 0.5), quantile(lives.posted, 0.5)
    return [
        Result(
            what="create → running, p50",
            figure=milliseconds(ours),
            raw=f"{milliseconds(kubectl)}, `kubectl create job`",
            ratio=ours / kubectl,
            goal=f"≤ {GOAL_RUNNING:g} s and ≤ {GOAL_RATIO:g}×",
            met=ours <= GOAL_RUNNING and ours / kubectl <= GOAL_RATIO,
            notes=[
                f"{len(lives.ours)} jobs one by one; p99 {milliseconds(quantile(lives.ours, 0.99))}, "
                f"kubectl {milliseconds(quantile(lives.kubectl, 0.99))}. The pod itself runs after "
                f"{milliseconds(in_cluster)}; one POST of the Job over an open connection takes "
                f"{milliseconds(posted)}, kubectl's own start and discovery the rest of its time"
            ],
        ),
        Result(
            what="transition in the cluster → visible in the API, p99",
            figure=milliseconds(quantile(late, 0.99)),
            goal=f"≤ {GOAL_VISIBLE:g} s",
            met=quantile(late, 0.99) <= GOAL_VISIBLE,
            notes=[f"{len(late)} transitions, asked every 20 ms; p50 / p99: {each}"],
        ),
    ]


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}
