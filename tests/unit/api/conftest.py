"""The app over fakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest

from app import app
from chalicelib import bootstrap
from chalicelib.settings import load
from tests.builders import NOW
from tests.fake_cluster import FakeCluster
from tests.unit.api.fakes import Api, FakeStore, FakeTokens

POOLS = '{"default": {"cluster": "default", "queues": ["normal", "urgent"]}, "spare": {"cluster": "default"}}'


@dataclass
class World:
    """What stands behind the API."""

    api: Api
    store: FakeStore
    cluster: FakeCluster


@pytest.fixture
def world() -> Iterator[World]:
    container: Any = bootstrap.Container(load({"TRAINYARD_POOLS": POOLS}))
    container.clock = lambda: NOW
    container.store, container.clusters = FakeStore(), FakeCluster()
    container.tokens = cast(Any, FakeTokens())
    with bootstrap.use(container):
        yield World(Api(app), container.store, container.clusters)


@pytest.fixture
def api(world: World) -> Api:
    return world.api
