"""Very many jobs at once in the metered world: copies of one that came where it is by itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.domain.states import Status
from tests.benchmarks.calls.operations import SHORT, create, running
from tests.benchmarks.calls.world import MeteredWorld
from tests.builders import NAMESPACE
from tests.unit.store.support import Bench, a_job

DIGITS = 6  # of an id that tell copies apart; the letter before them tells them from others
SECOND = 2.0  # of a minute: its run of the sync has begun


def seeded(number: int) -> MeteredWorld:
    """A tenant's jobs that are over, each second one failed; every hundredth one's name says so."""
    world = MeteredWorld()
    world.table.listeners.clear()  # the stream tells nobody of how they came there
    statuses = (Status.SUCCEEDED, Status.FAILED)
    Bench(world.table, "jobs", shards=world.settings.counter_shards).seed(
        a_job(
            n,
            status=statuses[n % 2],
            spec={"workspace_id": 7, "name": "hundredth" if n % 100 == 0 else f"train {n}"},
        )
        for n in range(number)
    )
    world.table.writes.clear()
    world.scheduler.run(1)  # until indexes have them
    return world


def active(number: int) -> tuple[MeteredWorld, Sequence[str]]:
    """So many jobs that run, and nobody who watches them."""
    world = MeteredWorld()
    return world, _multiplied(world, running(world), number)


def over(number: int) -> tuple[MeteredWorld, Sequence[str]]:
    """So many jobs that have succeeded, and that the cluster still keeps."""
    world = MeteredWorld()
    job_id = create(world, SHORT)
    world.converge()
    return world, _multiplied(world, job_id, number)


def copies(item: Any, job_id: str, number: int) -> Iterator[tuple[str, Any]]:
    """The same about so many other jobs, each with its job's id."""
    text = json.dumps(item)
    for n in range(number):
        other = f"{job_id[: -DIGITS - 1]}z{n:0{DIGITS}}"
        yield other, json.loads(text.replace(job_id, other))


def _multiplied(world: MeteredWorld, job_id: str, number: int) -> Sequence[str]:
    """The ids of all; the one that they are copied from is one of them."""
    world.table.listeners.clear()
    world.scheduler.run(60 + SECOND - world.scheduler.now.second % 60)
    world.let_die()
    record = next(item for (_, sk), item in world.table.items.items() if sk == "JOB")
    ids = [job_id]
    items = copies(record, job_id, number - 1)
    while batch := list(itertools.islice(items, 25)):
        ids += [other for other, _ in batch]
        requests = [{"PutRequest": {"Item": item}} for _, item in batch]
        world.table.batch_write_item(RequestItems={"jobs": requests})
    world.table.writes.clear()
    objects = world.cluster.objects
    for (plural, namespace, name), obj in list(objects.items()):
        if plural != "events":
            for other, metadata in copies(obj["metadata"], job_id, number - 1):
                # What they do not differ in is one for all.
                objects[plural, namespace, name.replace(job_id, other)] = obj | {"metadata": metadata}
    assert len(world.cluster.each("pods", NAMESPACE)) == number
    world.scheduler.run(25)  # until the lease of who was killed has run out
    return ids
