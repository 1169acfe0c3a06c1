"""One session of botocore for all clients of a process, whoever asks for them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

from chalicelib.aws_session import AwsSession
from chalicelib.bootstrap import Container
from chalicelib.settings import load
from chalicelib.store.connect import dynamo_client


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


def opened_by(build: Callable[[], Any]) -> int:
    """How many sessions what it builds keeps."""
    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, botocore.session.Session)}
    kept = build()
    gc.collect()
    after = {id(each) for each in gc.get_objects() if isinstance(each, botocore.session.Session)}
    assert kept is not None
    return len(after - before)


def test_the_parts_of_a_container_open_one_session_among_them() -> None:
    def build() -> list[Any]:
        made = Container(load({"TRAINYARD_STATE_CHANGE_BUS": "bus"}))
        return [made, made.store, made.state_changes, made.repair_bus, made.aws_session.client("s3")]

    assert opened_by(build) == 1


def test_threads_that_ask_at_once_get_a_client_each_of_one_session() -> None:
    services = ["dynamodb", "dynamodbstreams", "sqs", "s3", "logs", "events", "lambda", "sts"]

    def build() -> list[Any]:
        session = AwsSession()
        with ThreadPoolExecutor(len(services)) as pool:
            clients = list(pool.map(session.client, services))
        assert [client.meta.service_model.service_name for client in clients] == services
        return [session, clients]

    assert opened_by(build) == 1


def test_what_it_asks_of_aws_says_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    asked: list[bytes] = []

    def answer(request: Any, **_: Any) -> AWSResponse:
        asked.append(request.headers["User-Agent"])
        return AWSResponse(request.url, 200, {}, HTTPResponse(BytesIO(b"{}"), preload_content=False))

    client = dynamo_client(AwsSession())
    client.meta.events.register("before-send.dynamodb", answer)  # type: ignore[attr-defined]
    client.get_item(TableName="jobs", Key={})
    assert asked[0].startswith(b"trainyard")
