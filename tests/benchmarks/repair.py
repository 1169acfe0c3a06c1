"""One pass over all active jobs: records in the table, Jobs with hollow pods in the embedded cluster.

The stack's own sync is stopped; each pass is a process of its own. The first one finds records that know
nothing yet of their pods, and writes them all; the next one finds all in step; before the last one, some Jobs
are deleted by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from signal import SIGTERM
from typing import Any

from chalicelib.bootstrap import Container
from chalicelib.domain.job import Job
from chalicelib.domain.manifest import manifests
from chalicelib.settings import load
from infra.local import config
from tests.benchmarks.member import HOLLOW, Member, member
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import wait_until
from tests.unit.store.support import Bench, a_job, a_spec

DRIFT = 100  # one in so many is out of step
THREADS = 4
PATIENCE_SECONDS = 1800.0
GOAL_SECONDS = 10
GOAL_MB = 512
COUNTER_SHARDS = 8
CPU = {"own": "cpu", "MiniStack": "ministack", "cluster": "kubernetes"}


def one_pass(sizes: Sizes) -> Sequence[Result]:
    with member(HOLLOW) as one:
        one.stack.kill("pump", SIGTERM)
        jobs = _seed(one, sizes.active)
        writing = _pass(one)
        in_step = _pass(one)
        raw = _pass(one, "--raw")
        drifted = jobs[:: min(DRIFT, len(jobs))]
        for job in drifted:
            one.cluster.delete(f"{_path(one)}/{job.id}", {"propagationPolicy": "Background"})
        wait_until(lambda: _count(one) == len(jobs) - len(drifted), PATIENCE_SECONDS, "the Jobs to be gone")
        repairing = _pass(one)
    seconds, mb = repairing["seconds"], max(each["peak_mb"] for each in (repairing, in_step))
    return [
        Result(
            what=f"one repair pass over {sizes.active:,} active jobs",
            figure=f"{seconds:.1f} s, {mb:.0f} MB",
            raw=f"{raw['seconds']:.1f} s, {raw['peak_mb']:.0f} MB, its requests alone",
            ratio=seconds / raw["seconds"],
            goal=f"≤ {GOAL_SECONDS} s, ≤ {GOAL_MB} MB",
            met=seconds <= GOAL_SECONDS and mb <= GOAL_MB,
            notes=[
                f"with {len(drifted)} Jobs deleted by hand {_told(repairing)}; all in step {_told(in_step)}; "
                f"all records to be written {_told(writing)}; raw {_told(raw)}"
            ],
        )
    ]


def _seed(one: Member, number: int) -> Sequence[Job]:
    """Jobs that were submitted, and their Jobs in the cluster, all running."""
    container = Container(load(_environment(one)))
    pool = container.settings.pools["default"]
    made = [a_job(n, tenant=one.tenant, spec=_small()) for n in range(1, number + 1)]
    jobs = [replace(job, submitted_at=job.created_at) for job in made]
    Bench(one.dynamodb, one.table, shards=COUNTER_SHARDS).seed(jobs)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"trainyard-{one.tenant}"}}
    one.cluster.create("/api/v1/namespaces", namespace)

    def submit(job: Job) -> None:
        (wanted,) = manifests(job, pool, container.manifest)
        one.cluster.create(_path(one), wanted)

    running: set[str] = set()

    def note(pod: Mapping[str, Any]) -> None:
        if (pod.get("status") or {}).get("phase") == "Running":
            running.add(pod["metadata"]["name"])

    one.watch(f"/api/v1/namespaces/trainyard-{one.tenant}/pods", note)
    with ThreadPoolExecutor(THREADS) as pool_of_threads:
        list(pool_of_threads.map(submit, jobs))
    wait_until(lambda: len(running) == number, PATIENCE_SECONDS, "all pods to run", 1)
    return jobs


def _pass(one: Member, *flags: str) -> Mapping[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.repair_pass", *flags]
    busy = {name: one.cpu(name) for name in ("ministack", "kubernetes")}
    done = subprocess.run(
        command,
        env=_environment(one),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    # Metrics are lines of the output, too: before its own.
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told | {name: one.cpu(name) - spent for name, spent in busy.items()}


def _environment(one: Member) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINYARD_", "AWS_", "KUBECONFIG"))}
    return config.service_environment(one.stack.local, one.table, clean)


def _small() -> Mapping[str, object]:
    small = a_spec().resources
    return {"resources": replace(small, cpu=1, memory=1024**3, gpu=0)}


def _path(one: Member) -> str:
    return f"/apis/batch/v1/namespaces/trainyard-{one.tenant}/jobs"


def _count(one: Member) -> int:
    return sum(1 for _ in one.cluster.items(_path(one), {}))


def _told(each: Mapping[str, float]) -> str:
    cpu = ", ".join(f"{name} {each[key]:.1f}" for name, key in CPU.items())
    return f"{each['seconds']:.1f} s (CPU: {cpu})"
