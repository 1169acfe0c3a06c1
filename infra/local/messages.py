"""How Lambda's event source mapping treats a batch of SQS messages: which it hands over, in what shape, and
which it deletes.

Pure, as delivery.py is for a stream's records. What is not deleted comes again after the queue's visibility
timeout, and the queue's RedrivePolicy says how often.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.local import filters
from infra.local.config import REGION

Message = Mapping[str, Any]

MAX_BATCH = 10  # of one ReceiveMessage, and of one DeleteMessageBatch
MAX_WINDOWED_BATCH = 10_000

log = logging.getLogger("trainyard.pump")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """The event source mapping's properties. `queue` is the queue's logical name."""

    queue: str
    batch_size: int = 1
    window_seconds: float = 0.0
    reports_failures: bool = False
    patterns: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> QueuePolicy:
        """From the properties of a SAM SQS event; what they leave out is what Chalice's decorator writes."""
        window = float(properties.get("MaximumBatchingWindowInSeconds", 0))
        most = MAX_WINDOWED_BATCH if window else MAX_BATCH
        return cls(
            queue=str(properties["Queue"]["Fn::GetAtt"][0]),
            batch_size=min(int(properties.get("BatchSize", 1)), most),
            window_seconds=window,
            reports_failures="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
            patterns=filters.parse(properties.get("FilterCriteria")),
        )


def passes(message: Message, patterns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the function gets the message. A body that is JSON is met by patterns that look inside it, any
    other body by those that list texts; each fails the other kind."""
    if not patterns:
        return True
    record = {"body": _as_json(message["Body"])}
    try:
        return any(filters.matches(pattern, record) for pattern in patterns if _is_met(pattern, record))
    except filters.UnknownPattern as error:
        log.warning("the filter has %s, which is not known here: letting the message through", error)
        return True


def event(messages: Sequence[Message], queue_arn: str) -> dict[str, Any]:
    """The messages as Lambda hands them to a function."""
    return {"Records": [_record(message, queue_arn) for message in messages]}


def done(messages: Sequence[Message], answer: Any, policy: QueuePolicy) -> list[Message]:
    """The messages that the function has dealt with when it returned `answer`; an answer that makes no sense
    means none of them."""
    if not policy.reports_failures or answer is None:
        return list(messages)
    if not isinstance(answer, Mapping):
        return []
    failures = answer.get("batchItemFailures")
    if failures is None:
        return list(messages)
    try:
        failed = {failure["itemIdentifier"] for failure in failures}
    except (KeyError, TypeError):
        return []
    if not failed <= {message["MessageId"] for message in messages}:
        return []
    return [message for message in messages if message["MessageId"] not in failed]


def _as_json(body: str) -> Any:
    try:
        value = json.loads(body)
    except ValueError:
        return body
    return value if isinstance(value, dict | list) else body


def _is_met(pattern: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    wanted = pattern.get("body")
    return wanted is None or isinstance(wanted, Mapping) is not isinstance(record["body"], str)


def _record(message: Message, queue_arn: str) -> dict[str, Any]:
    attributes = message.get("MessageAttributes", {})
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": {name: _attribute(value) for name, value in attributes.items()},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }
    if attributes:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        plain["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        plain["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode("ascii")
    return plain
