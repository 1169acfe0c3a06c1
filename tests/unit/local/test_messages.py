"""What Lambda does with a batch of messages: the filter, the event's shape, and which are deleted."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.messages import Message, QueuePolicy, done, event, passes

ARN = "arn:aws:sqs:us-east-1:000000000000:uploads"
JSON_BODY = '{"detail": {"size": 7}}'


def message(name: str = "m1", body: str = "{}", **more: Any) -> dict[str, Any]:
    return {"MessageId": name, "ReceiptHandle": f"handle of {name}", "Body": body, "MD5OfBody": "md5", **more}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({}, QueuePolicy(queue="Uploads"), id="what Chalice's decorator writes"),
        pytest.param({"BatchSize": 10}, QueuePolicy(queue="Uploads", batch_size=10), id="a batch"),
        pytest.param(
            {"BatchSize": 50}, QueuePolicy(queue="Uploads", batch_size=10), id="more needs a window"
        ),
        pytest.param(
            {"BatchSize": 50, "MaximumBatchingWindowInSeconds": 2},
            QueuePolicy(queue="Uploads", batch_size=50, window_seconds=2),
            id="a window",
        ),
        pytest.param(
            {
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "FilterCriteria": {"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]},
            },
            QueuePolicy(queue="Uploads", reports_failures=True, patterns=({"body": {"a": [1]}},)),
            id="answers and a filter",
        ),
    ],
)
def test_the_mapping_is_read(properties: dict[str, Any], expected: QueuePolicy) -> None:
    assert QueuePolicy.of({"Queue": {"Fn::GetAtt": ["Uploads", "Arn"]}, **properties}) == expected


@pytest.mark.parametrize(
    ("body", "patterns", "expected"),
    [
        pytest.param("anything", (), True, id="no filter"),
        pytest.param(JSON_BODY, ({"body": {"detail": {"size": [7]}}},), True, id="JSON that matches"),
        pytest.param(JSON_BODY, ({"body": {"detail": {"size": [8]}}},), False, id="JSON that does not"),
        pytest.param(JSON_BODY, ({"body": [{"prefix": "{"}]},), False, id="JSON against a text's pattern"),
        pytest.param("no JSON", ({"body": {"a": [{"exists": False}]}},), False, id="text against JSON's"),
        pytest.param("7", ({"body": {"a": [{"exists": False}]}},), False, id="a bare value is a text"),
        pytest.param("done: 7", ({"body": [{"prefix": "done"}]},), True, id="text that matches"),
        pytest.param("done: 7", ({"body": ["done"]},), False, id="text that does not"),
        pytest.param("done", ({"body": {"a": [1]}}, {"body": ["done"]}), True, id="any of several"),
        pytest.param(
            JSON_BODY, ({"body": {"detail": [{"cidr": "10.0.0.0/8"}]}},), True, id="an unknown rule"
        ),
    ],
)
def test_the_filter_looks_at_the_body(
    body: str, patterns: tuple[dict[str, Any], ...], expected: bool
) -> None:
    assert passes(message(body=body), patterns) is expected


def test_messages_look_as_lambda_gives_them() -> None:
    attributes = {"SenderId": "AIDA", "SentTimestamp": "1", "ApproximateReceiveCount": "2"}
    received = message(
        body="hello",
        Attributes=attributes,
        MessageAttributes={
            "text": {"DataType": "String", "StringValue": "x"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        MD5OfMessageAttributes="md5 of them",
    )
    empty: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert event([received, message("m2")], ARN)["Records"] == [
        {
            "messageId": "m1",
            "receiptHandle": "handle of m1",
            "body": "hello",
            "attributes": attributes,
            "messageAttributes": {
                "text": empty | {"dataType": "String", "stringValue": "x"},
                "raw": empty | {"dataType": "Binary", "binaryValue": "AP8="},
            },
            "md5OfBody": "md5",
            "md5OfMessageAttributes": "md5 of them",
            "eventSource": "aws:sqs",
            "eventSourceARN": ARN,
            "awsRegion": "us-east-1",
        },
        {
            "messageId": "m2",
            "receiptHandle": "handle of m2",
            "body": "{}",
            "attributes": {},
            "messageAttributes": {},
            "md5OfBody": "md5",
            "eventSource": "aws:sqs",
            "eventSourceARN": ARN,
            "awsRegion": "us-east-1",
        },
    ]


def failures(*names: Any) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(None, "abc", id="nothing said"),
        pytest.param({}, "abc", id="an empty answer"),
        pytest.param({"batchItemFailures": None}, "abc", id="no list"),
        pytest.param(failures(), "abc", id="an empty list"),
        pytest.param(failures("b"), "ac", id="one failed"),
        pytest.param(failures("c", "a", "a"), "b", id="two failed, one of them named twice"),
        pytest.param(failures("unknown"), "", id="a message of another batch"),
        pytest.param(failures(""), "", id="an empty name"),
        pytest.param(failures(None), "", id="no name"),
        pytest.param(failures(["a"]), "", id="a name that is none"),
        pytest.param({"batchItemFailures": [{"id": "a"}]}, "", id="a wrong key"),
        pytest.param({"batchItemFailures": ["a"]}, "", id="names alone"),
        pytest.param({"batchItemFailures": 1}, "", id="no list but a number"),
        pytest.param("done", "", id="no object"),
    ],
)
def test_what_the_answer_does_not_name_is_done(answer: Any, expected: str) -> None:
    batch: list[Message] = [message(name) for name in "abc"]
    policy = QueuePolicy(queue="Uploads", reports_failures=True)
    assert "".join(m["MessageId"] for m in done(batch, answer, policy)) == expected


def test_a_mapping_that_does_not_report_failures_takes_any_answer_for_success() -> None:
    batch = [message("a")]
    assert done(batch, failures("a"), QueuePolicy(queue="Uploads")) == batch
