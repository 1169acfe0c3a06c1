"""The app over fakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from app import app
from chalicelib import bootstrap
from chalicelib.settings import load
from tests.builders import NOW
from tests.fake_cluster import FakeCluster
from tests.unit.api.fakes import Api, FakeStore, FakeTokens

POOLS = '{"default": {"cluster": "default", "queues": ["normal", "urgent"]}, "spare": {"cluster": "default"}}'

SETTINGS = {
    "TRAINYARD_POOLS": POOLS,
    "TRAINYARD_TERMINAL_URL": "ws://localhost:8080/",
    "TRAINYARD_TERMINAL_SECRET": "s" * 32,
}


@dataclass
class Clock:
    """Moves only while somebody sleeps."""

    now: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@dataclass
class World:
    """What stands behind the API."""

    api: Api
    store: FakeStore
    cluster: FakeCluster
    clock: Clock
    container: bootstrap.Container


@pytest.fixture
def world() -> Iterator[World]:
    container: Any = bootstrap.Container(load(SETTINGS))
    clock = Clock()
    container.clock, container.sleep = clock, clock.sleep
    container.store, container.clusters = FakeStore(), FakeCluster()
    container.archive = container.clusters.printed.archive
    container.tokens = cast(Any, FakeTokens())
    with bootstrap.use(container):
        yield World(Api(app), container.store, container.clusters, clock, container)


@pytest.fixture
def api(world: World) -> Api:
    return world.api
