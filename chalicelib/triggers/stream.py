"""The outbox λ and the state-changes λ: the table's stream says which jobs changed, and how."""

from __future__ import annotations

from typing import Any

from chalice.app import Blueprint, DynamoDBEvent, DynamoDBRecord

from chalicelib.bootstrap import container
from chalicelib.store.items import to_state_change

bp = Blueprint(__name__)

# infra/resources.yaml merges the table's real stream into the event sources.
STREAM = "arn:aws:dynamodb:us-east-1:123456789012:table/jobs/stream/placeholder"
JOB_KEY = "JOB#"


@bp.on_dynamodb_record(stream_arn=STREAM, batch_size=100, name="outbox")
def outbox(event: DynamoDBEvent) -> dict[str, Any]:
    """Work off what the batch names; answer with the records that must be delivered again."""
    sequence_numbers = {job_id: record.sequence_number for record in event if (job_id := _job_id(record))}
    failed = container().outbox.deliver(sequence_numbers)
    return {"batchItemFailures": [{"itemIdentifier": sequence_numbers[job_id]} for job_id in failed]}


@bp.on_dynamodb_record(stream_arn=STREAM, batch_size=100, name="state_changes")
def state_changes(event: DynamoDBEvent) -> dict[str, Any]:
    """Publish the batch's changes of state; answer with the first that must be delivered again: Lambda goes
    on from there, so that nothing overtakes it."""
    records = [record for record in event if _changes_state(record)]
    done = container().state_changes.publish([to_state_change(record.new_image) for record in records])
    failed = [{"itemIdentifier": record.sequence_number} for record in records[done : done + 1]]
    return {"batchItemFailures": failed}


def _job_id(record: DynamoDBRecord) -> str | None:
    keys = record.keys
    if record.event_name == "REMOVE" or keys["sk"]["S"] != "JOB" or not keys["pk"]["S"].startswith(JOB_KEY):
        return None
    return str(keys["pk"]["S"].removeprefix(JOB_KEY))


def _changes_state(record: DynamoDBRecord) -> bool:
    """Whether the record's job is new, or its status another one than before."""
    is_job = _job_id(record) is not None
    return is_job and (record.event_name == "INSERT" or "from_status" in record.new_image)
