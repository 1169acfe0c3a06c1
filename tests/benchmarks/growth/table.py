"""What a job writes at each step of its life, and the bytes that it and others like it keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from chalicelib.store.keys import ALL_JOBS
from tests.benchmarks.calls import units
from tests.benchmarks.calls.meter import Written
from tests.benchmarks.calls.operations import SHORT, create, running
from tests.benchmarks.calls.units import Item
from tests.benchmarks.calls.world import MeteredWorld, until
from tests.benchmarks.growth.many import copies
from tests.benchmarks.growth.tables import Row
from tests.unit.store.support import jobs_table

INDEXES = units.indexes(jobs_table())
_ALL = next(index for index in INDEXES if index.key == ALL_JOBS.key)


@dataclass(frozen=True, slots=True)
class Step:
    """One write of a job's record. `units` are the record's, `in_indexes` its entries', `beside` those of
    what is in the same transaction. `into_all` is what of it goes to the one partition of the index of all
    jobs."""

    what: str
    bytes: int
    put: int
    removed: int
    rewritten: int
    units: int
    in_indexes: int
    beside: int
    into_all: int


def life() -> Sequence[Step]:
    """A job from its creation to its end."""
    with closing(MeteredWorld()) as world:
        create(world, SHORT)
        world.converge()
        return list(_steps(world))


def stopped_and_deleted() -> Sequence[Step]:
    """One that is stopped while it runs, and deleted then."""
    with closing(MeteredWorld()) as world:
        job_id = running(world)
        before = len(world.metered.written)
        world.request("POST", f"/api/jobs/{job_id}/stop")
        until(world, [job_id], "stopped")
        world.scheduler.run(60)
        world.request("DELETE", f"/api/jobs/{job_id}")
        world.converge()
        return list(_steps(world, before))


def markdown(steps: Sequence[Step]) -> str:
    """A write a line."""
    lines = [
        "| write | bytes | entries put, removed, rewritten | write units: record | indexes | beside it |",
        "|---|---|---|---|---|---|",
    ]
    for step in steps:
        entries = f"{step.put}, {step.removed}, {step.rewritten}"
        lines.append(
            f"| {step.what} | {step.bytes:,} | {entries} | {step.units} | {step.in_indexes} | {step.beside} |"
        )
    return "\n".join(lines)


def rows(number: int) -> Sequence[Row]:
    """What the records of so many jobs keep, that ended."""
    with closing(MeteredWorld()) as world:
        job_id = create(world, SHORT)
        world.converge()
        (record,) = [item for (_, sk), item in world.table.items.items() if sk == "JOB"]
    sizes = [(units.size(copy), units.stored(INDEXES, copy)) for _, copy in copies(record, job_id, number)]
    figures = {
        "KB of a record": max(size for size, _ in sizes) / 1024,
        "MB of all, with their index entries": sum(stored for _, stored in sizes) / 1e6,
    }
    return [Row("table, finished jobs", number, figures)]


def _steps(world: MeteredWorld, begin: int = 0) -> Iterator[Step]:
    for written in world.metered.written[begin:]:
        for one in written:
            if one.key[1] == "JOB" and one.was != one.now:
                beside = sum(other.units for other in written if other is not one)
                yield _step(one, beside)


def _step(one: Written, beside: int) -> Step:
    kinds: Counter[str] = Counter()
    for index in INDEXES:
        kinds += _kinds(index.entry(one.was), index.entry(one.now), index.key)
    return Step(
        what=_what(one),
        bytes=units.size(one.now),
        put=kinds["put"],
        removed=kinds["removed"],
        rewritten=kinds["rewritten"],
        units=one.units,
        in_indexes=sum(one.in_indexes),
        beside=beside,
        into_all=sum(units.index_writes([_ALL], one.was, one.now)),
    )


def _kinds(old: Item | None, new: Item | None, key: str) -> Counter[str]:
    if old == new:
        return Counter()
    if old is None or new is None:
        return Counter(["put" if old is None else "removed"])
    return Counter(["rewritten"] if old[key] == new[key] else ["put", "removed"])


def _what(one: Written) -> str:
    was, now = _word(one.was), _word(one.now)
    if not one.was or not one.now:
        return f"→ {now}" if one.now else f"{was} → removed"
    reason = one.now["reason"]["S"]
    return f"{was} → {now}: {reason}" if was != now else f"{now}: {reason}"


def _word(item: Item | None) -> str:
    if item is None:
        return ""
    return "deleted" if "deleted_at" in item else str(item["status"]["S"])
