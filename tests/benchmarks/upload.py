"""Many jobs in one file by S3, until all are in the cluster and until all run, beside `kubectl apply`.

On an embedded stack with room for all of them, whose pods are hollow: they start, and run no process. kubectl
applies the very Jobs that Trainyard would make, under other names, to the cluster that the file's jobs run on
afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from chalicelib.domain.job import Resources
from chalicelib.domain.manifest import ManifestSettings, manifests
from chalicelib.domain.pools import Pool
from infra.local.config import SUBMISSIONS_BUCKET
from tests.benchmarks.member import HOLLOW, Member, member
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import wait_until
from tests.builders import GIB, job, spec

PATIENCE_SECONDS = 900.0
BUSY = ("pump", "ministack", "kubernetes", "gateway")
TENANT = "bench"
KEY = f"submissions/{TENANT}/many"
COMMAND = ["python", "train.py"]
NAMESPACE = "by-kubectl"
GOAL_PER_SECOND = 100


class Arrivals:
    """When so many Jobs were in a namespace of the cluster, and when so many of its pods ran."""

    def __init__(self, one: Member, namespace: str, number: int) -> None:
        self.moments: dict[str, float] = {}
        self._number = number
        self._seen: dict[str, set[str]] = {"submitted": set(), "all pods run": set()}
        one.watch(f"/apis/batch/v1/namespaces/{namespace}/jobs", partial(self._note, "submitted"))
        one.watch(f"/api/v1/namespaces/{namespace}/pods", self._note_pod)

    def __call__(self, word: str) -> Callable[[], bool]:
        return lambda: word in self.moments

    def _note_pod(self, pod: Mapping[str, Any]) -> None:
        if (pod.get("status") or {}).get("phase") == "Running":
            self._note("all pods run", pod)

    def _note(self, word: str, value: Mapping[str, Any]) -> None:
        seen = self._seen[word]
        seen.add(value["metadata"]["name"])
        if len(seen) == self._number:
            self.moments.setdefault(word, time.monotonic())


def one_file(sizes: Sizes) -> Sequence[Result]:
    """kubectl first: the file's jobs are the ones whose stack is watched to the end."""
    jobs = sizes.uploaded
    with member(HOLLOW, TENANT) as one:
        kubectl = _by_kubectl(one, jobs)
        file = _by_file(one, jobs)
    each = jobs / file["submitted"]
    return [
        Result(
            what=f"{jobs:,} jobs in one upload → all submitted",
            figure=f"{each:.0f} per s",
            raw=f"{jobs / kubectl['submitted']:.0f} per s, `kubectl apply` of the same",
            ratio=each / (jobs / kubectl["submitted"]),
            goal=f"≥ {GOAL_PER_SECOND} per s",
            met=each >= GOAL_PER_SECOND,
            notes=[
                f"{way}: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items())
                for way, times in (("one file", file), ("kubectl apply", kubectl))
            ],
        )
    ]


def _by_kubectl(one: Member, jobs: int) -> Mapping[str, float]:
    settings = ManifestSettings(instance="kubectl", finished_job_ttl_seconds=3600, stop_grace_seconds=1)
    pool = Pool(id="default", cluster="default", namespace=NAMESPACE)
    wanted = spec(image="python", command=tuple(COMMAND), resources=Resources(cpu=1, memory=2 * GIB, gpu=0))
    found = [manifests(job(id=f"bench-{n:04}", spec=wanted), pool, settings)[0] for n in range(jobs)]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    one.cluster.create("/api/v1/namespaces", namespace)
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": found})
    submit = lambda: one.kubectl("apply", "--validate=false", "-f", "-").communicate(text)  # noqa: E731
    times = _timed(one, submit, Arrivals(one, NAMESPACE, jobs), {})
    one.cluster.delete(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", {"propagationPolicy": "Background"})
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    # The file is to have the cluster for itself.
    wait_until(lambda: not any(one.cluster.items(pods, {})), PATIENCE_SECONDS, "the pods to be gone", 1)
    return times


def _by_file(one: Member, jobs: int) -> Mapping[str, float]:
    body = json.dumps([{"jobName": f"bench {n}", "image": "python", "command": COMMAND} for n in range(jobs)])
    total = "/api/v1/training/jobs?page_size=1"

    def says(filters: str) -> bool:
        return bool(one.call("GET", total + filters)["pagination"]["total"] == jobs)

    def file_says() -> bool:
        with suppress(one.s3.exceptions.NoSuchKey):
            told = one.s3.get_object(Bucket=SUBMISSIONS_BUCKET, Key=f"{KEY}.status.json")["Body"].read()
            return bool(json.loads(told)["summary"] == {"running": jobs})
        return False

    looks = {
        "all records are there": lambda: says(""),
        "the API says that all run": lambda: says("&status=running"),
        "the status file says so": file_says,
    }
    submit = lambda: one.s3.put_object(Bucket=SUBMISSIONS_BUCKET, Key=f"{KEY}.json", Body=body)  # noqa: E731
    return _timed(one, submit, Arrivals(one, f"trainyard-{TENANT}", jobs), looks)


def _timed(
    one: Member, submit: Callable[[], object], arrivals: Arrivals, looks: Mapping[str, Callable[[], bool]]
) -> Mapping[str, float]:
    """Seconds from the first request until each was so, and of the CPU of the stack's parts."""
    busy = {name: one.cpu(name) for name in BUSY}
    began = time.monotonic()
    submit()
    times = {"sent": time.monotonic() - began}
    waiting = {**looks, **{word: arrivals(word) for word in ("submitted", "all pods run")}}
    while waiting:
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"after {PATIENCE_SECONDS:g} s: not yet {', '.join(waiting)}")
        for name in [name for name, look in waiting.items() if look()]:
            times[name] = arrivals.moments.get(name, time.monotonic()) - began
            del waiting[name]
        time.sleep(0.25)
    return times | {f"CPU of the {name}": one.cpu(name) - spent for name, spent in busy.items()}
