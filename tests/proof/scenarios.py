"""What people do with jobs, each as one short story. The crash test dies at every side effect of each.

A new one is a function below with `@scenario`: it acts through the world, and its side effects are found.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from chalicelib.domain.job import Job
from tests.builders import NAMESPACE
from tests.proof.bucket import BUCKET
from tests.proof.kubernetes import Program
from tests.proof.wire import Call, Trouble
from tests.proof.world import World

T = TypeVar("T")
GONE = "gone"
SHORT = Program()
ENDLESS = Program(seconds=3600)

Act = Callable[[World], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`ends`: how all its jobs end. `jobs`: how many there may be, the fewest and the most."""

    name: str
    act: Act
    ends: str
    jobs: tuple[int, int]


SCENARIOS: list[Scenario] = []


def scenario(ends: str, jobs: tuple[int, int] = (1, 1)) -> Callable[[Act], Act]:
    def register(act: Act) -> Act:
        SCENARIOS.append(Scenario(act.__name__.replace("_", " "), act, ends, jobs))
        return act

    return register


@scenario(ends="succeeded", jobs=(0, 1))
def submit(world: World) -> None:
    world.submit()


@scenario(ends="succeeded")
def submit_with_a_key_until_there_is_an_answer(world: World) -> None:
    submitted(world)


@scenario(ends="stopped")
def stop_while_pending(world: World) -> None:
    stop(world, submitted(world, ENDLESS).id)


@scenario(ends="stopped")
def stop_while_running(world: World) -> None:
    stop(world, running(world))


@scenario(ends=GONE)
def delete_while_pending(world: World) -> None:
    delete(world, submitted(world, ENDLESS).id)


@scenario(ends=GONE)
def delete_while_running(world: World) -> None:
    delete(world, running(world))


@scenario(ends=GONE)
def delete_a_finished_job(world: World) -> None:
    job_id = submitted(world).id
    world.converge()
    delete(world, job_id)


@scenario(ends="failed")
def fail(world: World) -> None:
    submitted(world, Program(exits=(3,)))


@scenario(ends="succeeded")
def fail_and_be_tried_again(world: World) -> None:
    submitted(world, Program(seconds=3, exits=(1, 0)), max_retries=1)


@scenario(ends="succeeded")
def run_on_two_nodes(world: World) -> None:
    submitted(world, nodes=2, workspace_id=7)


@scenario(ends="succeeded")
def run_while_syncs_hand_over(world: World) -> None:
    submitted(world, Program(seconds=70))


@scenario(ends="succeeded")
def run_while_a_sync_sleeps_through_its_lease(world: World) -> None:
    """It stands still before a write for 65 s; its successor comes after 60 and takes the lease."""
    world.wire.plans.append(frozen("sync", 4, 65.0))
    submitted(world, Program(seconds=63))


@scenario(ends="stopped")
def stop_while_a_submission_stands_still(world: World) -> None:
    """The outbox stands still right before it creates the Job; the sync creates it meanwhile; the job is
    stopped for good before the outbox goes on."""
    world.wire.plans.append(frozen("outbox", 1, 25.0))
    job_id = submitted(world, ENDLESS).id
    world.scheduler.run(1.0)
    world.start_sync(kick=True)
    world.wait(lambda: (job := world.job(job_id)) is not None and job.status == "running")
    stop(world, job_id)


@scenario(ends="failed")
def have_the_job_deleted_by_hand(world: World) -> None:
    job_id = running(world)
    world.cluster.delete(("jobs", NAMESPACE, job_id), "Background")


@scenario(ends="succeeded", jobs=(5, 5))
def submit_many_at_once(world: World) -> None:
    for number in range(5):
        submitted(world, key=f"k{number}")


@scenario(ends="succeeded", jobs=(3, 3))
def upload(world: World) -> None:
    world.upload("night.json", a_file(3))


@scenario(ends="succeeded", jobs=(3, 3))
def upload_told_three_times(world: World) -> None:
    world.upload("night.json", a_file(3))
    world.uploads.again(1)
    world.scheduler.run(4.0)
    world.uploads.again(1)


@scenario(ends="succeeded", jobs=(3, 3))
def upload_a_second_version_at_once(world: World) -> None:
    world.upload("night.yaml", a_file(2))
    world.upload("night.yaml", a_file(1))


@scenario(ends="succeeded", jobs=(0, 0))
def upload_a_bad_file(world: World) -> None:
    world.upload("night.json", '[{"jobName": "a"}]')


@scenario(ends="succeeded")
def upload_with_a_bundle(world: World) -> None:
    world.s3.put_object(BUCKET, "submissions/acme/code.tar.gz", b"code")
    world.upload("night.json", a_file(1, bundle="code.tar.gz", clientToken="token"))


# ---- what the stories are told with


def a_file(count: int, **fields: object) -> str:
    """Jobs of the jobs dialect."""
    job = {"jobName": "a", "image": "python", "command": SHORT.command, **fields}
    return json.dumps([job] * count)


def submitted(world: World, program: Program = SHORT, key: str = "key", **changes: object) -> Job:
    return insist(world, lambda: world.submit(key, program, **changes))


def running(world: World) -> str:
    """A job that runs until it is stopped."""
    job_id = submitted(world, ENDLESS).id
    world.wait(lambda: (job := world.job(job_id)) is not None and job.status == "running")
    return job_id


def stop(world: World, job_id: str) -> None:
    insist(world, lambda: world.stop(job_id))


def delete(world: World, job_id: str) -> None:
    insist(world, lambda: world.delete(job_id) or world.is_gone(job_id))


def insist(world: World, ask: Callable[[], T | None]) -> T:
    """Ask again until there is an answer, as clients do."""
    for _ in range(10):
        if answer := ask():
            return answer
        world.scheduler.run(1.0)
    raise AssertionError("there was no answer to ten requests in a row")


def frozen(function: str, number: int, seconds: float) -> Callable[[Call], tuple[Trouble, float] | None]:
    """A plan: the function stands still before its side effect of that number, once."""
    left = [number]

    def plan(call: Call) -> tuple[Trouble, float] | None:
        if call.function == function and call.number:
            left[0] -= 1
            if left[0] == 0:
                return Trouble.STALLED_BEFORE, seconds
        return None

    return plan
