"""The outbox λ: the table's stream says which jobs changed."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint, DynamoDBEvent, DynamoDBRecord

from chalicelib.bootstrap import container

bp = Blueprint(__name__)

# infra/resources.yaml merges the table's real stream into the event source.
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/jobs/stream/placeholder"
JOB_KEY = "JOB#"


@bp.on_dynamodb_record(stream_arn=STREAM, batch_size=100, name="outbox")
def outbox(event: DynamoDBEvent) -> dict[str, Any]:
    """Work off what the batch names; answer with the records that must be delivered again."""
    sequence_numbers = {job_id: record.sequence_number for record in event if (job_id := _job_id(record))}
    failed = container().outbox.deliver(sequence_numbers)
    return {"batchItemFailures": [{"itemIdentifier": sequence_numbers[job_id]} for job_id in failed]}


def _job_id(record: DynamoDBRecord) -> str | None:
    keys = record.keys
    if record.event_name == "REMOVE" or keys["sk"]["S"] != "JOB" or not keys["pk"]["S"].startswith(JOB_KEY):
        return None
    return str(keys["pk"]["S"].removeprefix(JOB_KEY))
