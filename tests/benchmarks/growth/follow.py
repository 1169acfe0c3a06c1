"""Viewers of logs: so many of one log, or of a log each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta

from chalicelib.bootstrap import Container
from chalicelib.domain.log_cursor import Cursor
from chalicelib.services.job_log import Page
from chalicelib.services.logs import Ask
from tests.benchmarks.calls.operations import create, running
from tests.benchmarks.calls.summary import total
from tests.benchmarks.calls.world import Counts, MeteredWorld
from tests.benchmarks.growth.many import active
from tests.benchmarks.growth.tables import Row
from tests.proof.world import ADA

POLL = timedelta(seconds=20)  # as the API lets them wait
POLLS = 6  # that a minute has, if each ends with a line; if none does, it has
QUIET_POLLS = 3
LINES = 100


def rows(number: int) -> Sequence[Row]:
    found = {
        "viewers of one running log, a line each 10 s": _times(_of_one_log(number), POLLS),
        "viewers of as many running logs, the same": _times(_of_a_log_each(number), POLLS),
        "viewers of one log whose pod is gone, quiet": _times(_of_one_archive(number), QUIET_POLLS),
        "viewers of one job that has not begun": _times(_of_one_waiting(number), QUIET_POLLS),
    }
    return [Row(f"follow, {name}", number, _figures(counts)) for name, counts in found.items()]


def _of_one_log(number: int) -> Counts:
    with closing(MeteredWorld()) as world:
        job_id = running(world)
        return _lines_told(world, [job_id] * number)


def _of_a_log_each(number: int) -> Counts:
    world, job_ids = active(number)
    with closing(world):
        return _lines_told(world, job_ids)


def _lines_told(world: MeteredWorld, job_ids: Sequence[str]) -> Counts:
    """A poll of each, that was waiting when its log printed a line."""
    cursors = {}
    for job_id in dict.fromkeys(job_ids):
        world.lines[:] = ["first"]
        cursors[job_id] = _page(world, job_id, None).cursor
    before = Counter(world.by)
    for job_id in job_ids:
        world.lines[:] = ["first"]  # the next one has not been told yet
        assert _page(world, job_id, cursors[job_id]).lines, "no line was told"
    return _since(world, before)


def _page(world: MeteredWorld, job_id: str, cursor: Cursor | None) -> Page:
    page: Page = world.call(lambda parts: parts.logs.follow(Ask(ADA, job_id), cursor, LINES, POLL))
    return page


def _of_one_archive(number: int) -> Counts:
    """A node took the pod with it, and nobody prints: all wait for CloudWatch."""
    with closing(MeteredWorld()) as world:
        job_id = running(world)
        for key in [key for key in world.cluster.objects if key[0] == "pods"]:
            del world.cluster.objects[key]
        return _waited(world, job_id, number)


def _of_one_waiting(number: int) -> Counts:
    with closing(MeteredWorld()) as world:
        world.cluster.namespaces.clear()
        return _waited(world, create(world), number)


def _waited(world: MeteredWorld, job_id: str, number: int) -> Counts:
    """A poll of each at once, which nothing ends."""
    before = Counter(world.by)

    def poll(parts: Container) -> Page:
        return parts.logs.follow(Ask(ADA, job_id), Cursor(job_id), LINES, POLL)

    workers = [world.begin(poll) for _ in range(number)]
    world.wait(lambda: all(worker.is_over for worker in workers), 60)
    assert all(worker.answer is not None and not worker.answer.lines for worker in workers)
    return _since(world, before)


def _since(world: MeteredWorld, before: Mapping[tuple[str, str], float]) -> Counts:
    """What the API's functions asked."""
    counts: Counts = Counter()
    for (function, what), many in world.by.items():
        if function == "api":
            counts[what] += many - before.get((function, what), 0)  # type: ignore[assignment]
    return counts


def _times(counts: Counts, by: int) -> Counts:
    return Counter({what: many * by for what, many in counts.items()})


def _figures(counts: Counts) -> dict[str, float]:
    return {
        "DynamoDB": total(counts, "dynamodb "),
        "write units": counts["WRU table"],
        "Kubernetes": total(counts, "kubernetes "),
        "Logs": total(counts, "logs "),
    }
