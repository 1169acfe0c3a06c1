"""What the outbox can never carry out ends in the stack's real dead-letter queue."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import config, ministack
from infra.local.config import Local
from infra.local.processes import wait_until
from infra.local.pump import Function, Pump
from tests.stack import RunningStack

OURS = '{"dynamodb": {"Keys": {"pk": {"S": [{"prefix": "LETTER#"}]}}}}'
MAPPING = {
    "MaximumRetryAttempts": 1,
    "FilterCriteria": {
        "Filters": [{"Pattern": '{"dynamodb": {"Keys": {"pk": {"S": [{"prefix": "LETTER#"}]}}}}'}]
    },
    "DestinationConfig": {"OnFailure": {"Destination": {"Fn::GetAtt": ["OutboxDeadLetters", "Arn"]}}},
}


class Outbox:
    """Fails one record for ever, by name, and notes the others."""

    def __init__(self) -> None:
        self.done: set[str] = set()

    def __call__(self, event: dict[str, Any], _: Any) -> dict[str, Any]:
        failed = []
        for record in event["Records"]:
            name = record["dynamodb"]["Keys"]["pk"]["S"]
            if name == "LETTER#bad":
                failed.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            else:
                self.done.add(name)
        return {"batchItemFailures": failed}


@pytest.fixture
def local(stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """The stack seen by a second pump, with a checkpoint of its own."""
    for name, value in config.aws_environment(stack.local, {}).items():
        monkeypatch.setenv(name, value)
    own = config.load({**stack.environ, "TRAINYARD_HOME": str(tmp_path)})
    own.deployed_file.write_text(stack.local.deployed_file.read_text())
    yield own


def test_a_record_that_always_fails_becomes_a_dead_letter_and_the_others_get_through(local: Local) -> None:
    deployed = ministack.deployed(local)
    outbox = Outbox()
    pump = Pump(local, deployed.jobs_table, Function("outbox", outbox, MAPPING), lambda _: None, lambda: None)
    dynamodb, sqs = ministack.client(local, "dynamodb"), ministack.client(local, "sqs")
    for name in ("first", "bad", "last"):
        item = {"pk": {"S": f"LETTER#{name}"}, "sk": {"S": "LETTER"}}
        dynamodb.put_item(TableName=deployed.jobs_table, Item=item)
    stopping = threading.Event()
    thread = threading.Thread(target=pump.run, args=(stopping,))
    thread.start()
    letters: list[dict[str, Any]] = []

    def received() -> bool:
        url = deployed.resources["OutboxDeadLetters"]
        letters.extend(json.loads(m["Body"]) for m in sqs.receive_message(QueueUrl=url).get("Messages", []))
        return bool(letters)

    try:
        assert wait_until(received, 20)
    finally:
        stopping.set()
        thread.join()
    assert outbox.done == {"LETTER#first", "LETTER#last"}
    assert letters[0]["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert letters[0]["DDBStreamBatchInfo"]["batchSize"] == 2
