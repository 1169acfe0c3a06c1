"""Items pass botocore as they are, and are the same on the wire as if it had looked into them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.loaders import Loader
from botocore.parsers import create_parser
from moto import mock_aws

from chalicelib.aws_models import _DOCUMENTS, PlainItems
from chalicelib.aws_session import AwsSession

TABLE = "items"
KEY = {"pk": {"S": "a job"}}
OURS = KEY | {"times": {"N": "7"}, "page": {"B": "AP8="}, "empty": {"S": ""}}
BOTOCORES = OURS | {"page": {"B": b"\x00\xff"}}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsSession]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        session = AwsSession(PlainItems())
        dynamodb = session.client("dynamodb")
        dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield session
        dynamodb.delete_table(TableName=TABLE)  # another module's moto may be the same, and outlive this one


@pytest.fixture
def usual(session: AwsSession) -> Any:
    """A client as botocore makes it, of the same table."""
    del session
    return botocore.session.get_session().create_client("dynamodb")


def test_what_we_write_botocore_reads(session: AwsSession, usual: Any) -> None:
    session.client("dynamodb").put_item(TableName=TABLE, Item=OURS)
    assert usual.get_item(TableName=TABLE, Key=KEY)["Item"] == BOTOCORES


def test_what_botocore_writes_we_read(session: AwsSession, usual: Any) -> None:
    ours = session.client("dynamodb")
    usual.put_item(TableName=TABLE, Item=BOTOCORES)
    asked = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": KEY["pk"]}}
    assert ours.get_item(TableName=TABLE, Key=KEY)["Item"] == OURS
    assert ours.query(TableName=TABLE, **asked)["Items"] == [OURS]
    assert ours.batch_get_item(RequestItems={TABLE: {"Keys": [KEY]}})["Responses"] == {TABLE: [OURS]}


def test_a_page_goes_on_where_the_one_before_it_ended(session: AwsSession) -> None:
    ours = session.client("dynamodb")
    for number in range(3):
        ours.put_item(TableName=TABLE, Item={"pk": {"S": str(number)}})
    first = ours.scan(TableName=TABLE, Limit=2)
    rest = ours.scan(TableName=TABLE, ExclusiveStartKey=first["LastEvaluatedKey"])
    assert sorted(item["pk"]["S"] for item in first["Items"] + rest["Items"]) == ["0", "1", "2"]


def test_a_record_of_the_stream_is_as_lambda_hands_it_to_a_function() -> None:
    record = {
        "eventID": "1",
        "eventName": "INSERT",
        "dynamodb": {"ApproximateCreationDateTime": 1764108000, "NewImage": OURS, "SequenceNumber": "1"},
    }
    answer = {"body": json.dumps({"Records": [record]}).encode(), "headers": {}, "status_code": 200}
    streams = AwsSession(PlainItems()).client("dynamodbstreams", region_name="us-east-1")
    asked = streams.meta.service_model.operation_model("GetRecords")
    assert create_parser("json").parse(answer, asked.output_shape)["Records"] == [record]


@pytest.mark.parametrize("service", _DOCUMENTS)
def test_what_is_left_alone_is_there_in_botocores_models(service: str) -> None:
    assert set(_DOCUMENTS[service]) <= Loader().load_service_model(service, "service-2")["shapes"].keys()


def test_other_services_are_as_botocore_knows_them() -> None:
    assert PlainItems().load_service_model("sqs", "service-2") == Loader().load_service_model(
        "sqs", "service-2"
    )
