"""An empty table for each test, on whatever `client` the tests' own conftest gives."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.store.support import Bench, create_table


@pytest.fixture(scope="module")
def new_bench(client: Any) -> Callable[[], Bench]:
    """Makes a store on another empty table."""

    def make() -> Bench:
        name = f"jobs-{uuid.uuid4().hex}"
        create_table(client, name)
        return Bench(client, name)

    return make


@pytest.fixture
def bench(client: Any, new_bench: Callable[[], Bench]) -> Iterator[Bench]:
    bench = new_bench()
    yield bench
    client.delete_table(TableName=bench.table)  # moto's transactions copy all tables that there are
