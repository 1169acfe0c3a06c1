"""What is counted: each request to the API by itself, and what time and jobs cost beside it.

Where functions share their work over jobs and time, a stretch of time with the work is set against the same
stretch without it: the sync function runs either way, as long as another job does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import cache
from typing import Any

from chalicelib.bootstrap import Container
from chalicelib.domain.states import Status
from tests.benchmarks.calls import units
from tests.benchmarks.calls.meter import metrics_of
from tests.benchmarks.calls.world import Counts, MeteredWorld, until
from tests.builders import NAMESPACE
from tests.proof.kubernetes import Program
from tests.unit.store.support import Bench, a_job, jobs_table

MANY = 10_000  # jobs of the tenant whose lists are asked for
STRETCH = 600.0  # seconds
JOBS = 10  # within them
FILE = 100  # jobs
ACTIVE = 51  # jobs at a time, one of which is there anyway
SHORT = Program(seconds=10.0)
LONG = Program(seconds=7200.0)

Act = Callable[[MeteredWorld], Any]


def requests() -> dict[str, Counts]:
    """The API's answers, and the functions behind it that are asked at once."""
    found: dict[str, Counts] = {}
    with closing(MeteredWorld()) as world:
        found["create"] = answered(world, lambda: create(world))
        found["create, without a workspace"] = answered(world, lambda: create(world, workspaceId=None))
        create(world, clientToken="token")
        found["create, repeated with its token"] = answered(world, lambda: create(world, clientToken="token"))
        job_id = running(world)
        path = f"/api/jobs/{job_id}"
        logs = f"/api/v1/training/jobs/{job_id}/logs"
        world.lines[:] = map(str, range(1000))
        found["detail"] = answered(world, lambda: world.request("GET", path))
        found["events, a page"] = answered(world, lambda: world.request("GET", f"{path}/events"))
        found["logs, the last 100 lines"] = answered(world, lambda: world.request("GET", f"{logs}?lines=100"))
        found["stop"] = answered(world, lambda: world.request("POST", f"{path}/stop"))
        until(world, [job_id], "stopped")
        world.scheduler.run(60)
        logged = f"{logs}?lines=100"
        found["logs, from CloudWatch"] = answered(world, lambda: world.request("GET", logged))
        found["delete"] = answered(world, lambda: world.request("DELETE", path))
    return found | followed()


def followed() -> dict[str, Counts]:
    """A poll that a line ends, and one of a job that has not begun: 20 seconds, a look each."""
    with closing(MeteredWorld()) as world:
        job_id = running(world)
        path = f"/api/v1/training/jobs/{job_id}/logs"
        world.lines[:] = ["first"]
        cursor = world.request("GET", f"{path}?lines=100").body["data"]["cursor"]
        poll = answered(world, lambda: world.request("GET", f"{path}?follow=true&cursor={cursor}"))
        world.cluster.namespaces.clear()
        waits = f"/api/v1/training/jobs/{create(world)}/logs?follow=true"
        waiting = answered(world, lambda: world.request("GET", waits))
    return {"follow, a poll that a line ends": poll, "follow, 20 s of a job that has not begun": waiting}


def lists() -> dict[str, Counts]:
    """Of a tenant with MANY jobs."""
    found: dict[str, Counts] = {}
    with closing(MeteredWorld()) as world:
        world.table.listeners.clear()  # the stream tells nobody of how they came there
        statuses = (Status.SUCCEEDED, Status.FAILED)
        jobs = [
            a_job(number, status=statuses[number % 2], spec={"workspace_id": 7}) for number in range(MANY)
        ]
        Bench(world.table, "jobs", shards=world.settings.counter_shards).seed(jobs)
        world.table.writes.clear()
        world.scheduler.run(1)
        asked: dict[str, dict[str, Any]] = {
            "list, first page of 20": {},
            "list by status": {"status": "Succeeded"},
            "list by workspace and status": {"workspaceId": 7, "status": "Succeeded"},
            f"list, the page at {MANY // 2:,}": {"pageNumber": MANY // 40},
            f"list by keyword, of {MANY:,}": {"keyword": "train 77"},
        }
        for name, body in asked.items():
            found[name] = answered(world, lambda body=body: world.request("POST", "/api/jobs", body))  # type: ignore[misc]

        def recount(parts: Container) -> Any:
            return parts.store.recount("acme")

        found[f"recount, of {MANY:,}"] = counted(world, lambda: world.call(recount, "recount"))
    return found


def stretches() -> dict[str, Counts]:
    """What jobs and time cost, shares of functions that serve many at once included."""
    hour = hour_of_a_job()
    return {
        "a job, created by the API, to its end": a_job_by_the_api(),
        f"a job of a file of {FILE}, to its end": a_job_of_a_file(),
        "a job that is stopped, to its end": a_stopped_job(),
        "an hour of an active job": hour,
        "an hour with any active job": less(divided(quiet(), STRETCH / 3600), hour),
        "an idle hour": an_idle_hour(),
    }


def a_job_by_the_api() -> Counts:
    def one_by_one(world: MeteredWorld) -> None:
        for _ in range(JOBS):
            create(world, SHORT)
            world.scheduler.run(STRETCH / JOBS - 5)

    return divided(less(stretch(one_by_one), quiet()), JOBS)


def a_job_of_a_file() -> Counts:
    def at_once(world: MeteredWorld) -> None:
        world.upload("night.json", json.dumps([body(SHORT) for _ in range(FILE)]))

    return divided(less(stretch(at_once), quiet()), FILE)


def a_stopped_job() -> Counts:
    def stopped(world: MeteredWorld) -> None:
        job_id = running(world)
        world.request("POST", f"/api/jobs/{job_id}/stop")

    return less(stretch(stopped), quiet())


def hour_of_a_job() -> Counts:
    """What one more job adds to each hour that it runs."""
    busy = stretch(lambda _: None, jobs=ACTIVE)
    return divided(less(busy, quiet()), (ACTIVE - 1) * STRETCH / 3600)


def an_idle_hour() -> Counts:
    with closing(MeteredWorld()) as world:
        world.scheduler.run(600)
        return counted(world, lambda: world.scheduler.run(3600))


@cache
def quiet() -> Counts:
    """A stretch in which one job runs, and nothing happens."""
    return stretch(lambda _: None)


def stretch(act: Act, jobs: int = 1) -> Counts:
    """A stretch of time with `act` in it, while so many other jobs run."""
    with closing(MeteredWorld()) as world:
        others = [create(world, LONG) for _ in range(jobs)]
        until(world, others, "running")
        world.scheduler.run(120 - world.scheduler.now.second)
        end = world.scheduler.now + timedelta(seconds=STRETCH)
        before = world.counts()
        act(world)
        world.scheduler.run((end - world.scheduler.now).total_seconds())
        return less(world.counts(), before)


def stored() -> dict[str, float]:
    """The bytes of a job that has ended: its record, for good, and its events, which go after 30 days."""
    of = units.indexes(jobs_table())
    with closing(MeteredWorld()) as world:
        create(world, SHORT)
        world.converge()
        found: Counter[str] = Counter()
        for (_, sk), item in world.table.items.items():
            found[sk.partition("#")[0]] += units.stored(of, item)
    return {"record": found["JOB"], "events": found["EVENT"], "key": found["IDEM"]}


def metrics() -> list[tuple[str, ...]]:
    """The metrics that a pool with one tenant has in an hour in which jobs come and end."""
    with closing(MeteredWorld()) as world:
        create(world, SHORT)
        world.converge()
        return sorted(metrics_of(world.printed.getvalue()))


# ---- with what it is done


def body(program: Program = LONG, **changes: Any) -> dict[str, Any]:
    """A job as people send it."""
    usual = {
        "jobName": "resnet50 on imagenet, run 12",
        "image": "registry.example.com/vision/pytorch:2.8.0-cuda12.8",
        "command": program.command,
        "workspaceId": 7,
        "resources": {"cpu": 8, "memory": 64 * 1024**3, "gpu": 1},
        "env": {"EPOCHS": "90", "BATCH_SIZE": "256", "LEARNING_RATE": "0.1"},
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def create(world: MeteredWorld, program: Program = LONG, **changes: Any) -> str:
    reply = world.request("POST", "/api/jobs/create", body(program, **changes))
    return str(reply.body["data"]["jobId"])


def running(world: MeteredWorld) -> str:
    """A job that runs, its pod known to its record."""
    job_id = create(world)
    until(world, [job_id], "running")
    world.scheduler.run(10)
    assert world.cluster.each("pods", NAMESPACE)
    return job_id


def counted(world: MeteredWorld, act: Callable[[], Any]) -> Counts:
    """All that happens meanwhile."""
    before = world.counts()
    act()
    return less(world.counts(), before)


def answered(world: MeteredWorld, act: Callable[[], Any]) -> Counts:
    """What a request costs by itself, whatever else time brings."""
    before = Counter(world.by)
    act()
    found: Counts = Counter()
    for (function, what), number in world.by.items():
        if function in ("gateway", "authorizer", "api"):
            found[what] += number - before[function, what]
    return less(found, Counter())


def less(counts: Counts, others: Counts) -> Counts:
    found = Counter(counts)
    found.subtract(others)
    return Counter({what: number for what, number in found.items() if abs(number) > 1e-9})


def divided(counts: Counts, by: float) -> Counts:
    return Counter({what: number / by for what, number in counts.items()})
