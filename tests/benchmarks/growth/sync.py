"""What the sync function asks while jobs run and nothing happens, and while nothing runs at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

from chalicelib.bootstrap import Container
from tests.benchmarks.calls.operations import counted
from tests.benchmarks.calls.summary import total
from tests.benchmarks.calls.world import Counts, MeteredWorld
from tests.benchmarks.growth.many import active, over
from tests.benchmarks.growth.tables import Row

COLUMNS: Mapping[str, Callable[[Counts], float]] = {
    "requests to DynamoDB": lambda counts: total(counts, "dynamodb "),
    "items read": lambda counts: counts["items read"],
    "read units": lambda counts: counts["RRU"],
    "records written": lambda counts: counts["WRU of records"],
    "write units": lambda counts: counts["WRU table"] + counts["WRU indexes"],
    "pages of Jobs and pods": lambda counts: counts["kubernetes list jobs"] + counts["kubernetes list pods"],
    "MB of them": lambda counts: counts["bytes of lists"] / 1e6,
    "watches opened": lambda counts: total(counts, "kubernetes watch"),
}


def rows(number: int) -> Sequence[Row]:
    with closing(active(number)[0]) as world:
        found = {"a pass over active jobs, all in step": _looked(world)}
        world.scheduler.run(75 - world.scheduler.now.second)  # the next run has begun, and listed
        found["a minute with active jobs, none changing"] = counted(world, lambda: world.scheduler.run(60))
    with closing(over(number)[0]) as world:
        found["an idle pass over finished Jobs, by a new process"] = _looked(world)
        found["the same, by one that has seen them"] = _looked(world)
        found["an idle minute"] = counted(world, lambda: world.call(_asks, "sync"))
    return [Row(f"sync, {name}", number, _figures(counts)) for name, counts in found.items()]


def _looked(world: MeteredWorld) -> Counts:
    def look(parts: Container) -> bool:
        parts.sync.look()
        return True

    def act() -> None:
        assert world.call(look, "sync"), "the pass broke off"

    return counted(world, act)


def _asks(parts: Container) -> Any:
    return parts.store.has_unsettled()


def _figures(counts: Counts) -> dict[str, float]:
    return {name: of(counts) for name, of in COLUMNS.items()}
