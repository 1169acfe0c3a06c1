"""The store on moto, in process: an empty table for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.aws_models import PlainItems
from chalicelib.aws_session import AwsSession
from chalicelib.store.connect import dynamo_client

pytest.register_assert_rewrite(
    "tests.unit.store.records",
    "tests.unit.store.lists",
    "tests.unit.store.totals",
    "tests.unit.store.events",
    "tests.unit.store.uploads",
)

from tests.unit.store.benches import bench, new_bench  # noqa: E402, F401 (fixtures)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with mock_aws(), pytest.MonkeyPatch.context() as environment:
        environment.delenv("AWS_ENDPOINT_URL", raising=False)
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield dynamo_client(AwsSession(PlainItems()))
