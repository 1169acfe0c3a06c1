"""The store on moto, in process: an empty table for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.store.connect import dynamo_client

pytest.register_assert_rewrite(
    "tests.unit.store.records", "tests.unit.store.lists", "tests.unit.store.totals"
)

from tests.unit.store.support import Bench, create_table  # noqa: E402


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with mock_aws(), pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield dynamo_client()


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
