"""Answers are read as botocore reads them, however short the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.parsers import JSONParser

from chalicelib.store.connect import dynamo_client

KEY = {"pk": {"S": "JOB#a"}, "sk": {"S": "JOB"}}
ITEMS: dict[str, dict[str, Any]] = {
    "texts and numbers": {**KEY, "name": {"S": "Zug ✓"}, "cpu": {"N": "4"}},
    "flags": {**KEY, "yes": {"BOOL": True}, "nothing": {"NULL": True}},
    "bytes, which are told in base64": {**KEY, "content": {"B": "AAEC"}},
    "bytes within": {**KEY, "pages": {"L": [{"B": "AAEC"}]}, "of": {"M": {"a": {"B": "AA=="}}}},
    "sets": {**KEY, "names": {"SS": ["a", "b"]}, "parts": {"BS": ["AAEC"]}},
    "nothing": {},
}


class Body:
    """What urllib3 would hand over."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> list[bytes]:
        return [self._data]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return dynamo_client()


def answering(client: Any, operation: str, answer: dict[str, Any]) -> None:
    body = Body(json.dumps(answer).encode())
    response = AWSResponse("https://dynamodb", 200, {}, body)
    client.meta.events.register(f"before-send.dynamodb.{operation}", lambda **_: response)


def as_botocore_reads(client: Any, operation: str, answer: dict[str, Any]) -> Any:
    shape = client.meta.service_model.operation_model(operation).output_shape
    response = {"status_code": 200, "headers": {}, "body": json.dumps(answer).encode()}
    return _without_metadata(JSONParser().parse(response, shape))


def _without_metadata(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_items_are_read_as_botocore_reads_them(client: Any, item: dict[str, Any]) -> None:
    answer = {"Items": [item, KEY], "Count": 2, "ScannedCount": 2, "LastEvaluatedKey": KEY, "New": {"x": 1}}
    answering(client, "Query", answer)
    read = _without_metadata(client.query(TableName="jobs"))
    assert read == as_botocore_reads(client, "Query", answer)
    assert [*read["Items"][0]] == [*item]


def test_a_batch_is_read_as_botocore_reads_it(client: Any) -> None:
    answer = {
        "Responses": {"jobs": list(ITEMS.values())},
        "UnprocessedKeys": {"jobs": {"Keys": [KEY], "ConsistentRead": True}},
        "ConsumedCapacity": [{"TableName": "jobs", "CapacityUnits": 1.5}],
    }
    answering(client, "BatchGetItem", answer)
    read = _without_metadata(client.batch_get_item(RequestItems={"jobs": {"Keys": [KEY]}}))
    assert read == as_botocore_reads(client, "BatchGetItem", answer)
