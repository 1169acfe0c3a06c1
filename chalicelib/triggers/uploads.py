"""The uploads λ and the upload-status λ: queues say which files came, and which of their jobs moved.

What EventBridge puts into the queues: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
and docs/events.md.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalice.app import Blueprint, SQSEvent

from chalicelib.bootstrap import container
from chalicelib.domain.uploads import Place, Upload
from chalicelib.errors import Retryable

log = logging.getLogger(__name__)

bp = Blueprint(__name__)

# infra/resources.yaml merges the real queues into the event sources.
QUEUE = "arn:aws:sqs:us-east-1:123456789012:placeholder"


@bp.on_sqs_message(queue_arn=QUEUE, batch_size=1, name="uploads")
def uploads(event: SQSEvent) -> None:
    """Take one upload. What is raised leaves it in the queue, and after some tries among the dead letters."""
    context: Any = event.context  # Chalice types it as a dict; it is Lambda's context object
    service = container().uploads
    for record in event:
        upload = to_upload(json.loads(record.body))
        if upload.place.is_job_file:
            service.take(upload, lambda: context.get_remaining_time_in_millis() / 1000)


@bp.on_sqs_message(queue_arn=QUEUE, batch_size=1000, name="upload_status")
def upload_status(event: SQSEvent) -> dict[str, Any]:
    """Bring the status files in step with the jobs that the batch tells of, each file once."""
    told: defaultdict[Place, list[str]] = defaultdict(list)
    for record in event:
        if place := Place.of(json.loads(record.body)["detail"]["source"] or ""):
            told[place].append(record.to_dict()["messageId"])
    status_files = container().status_files
    failed: list[str] = []
    for place, message_ids in told.items():
        try:
            status_files.follow(place)
        except Retryable as error:
            about = {"tenant": place.tenant, "source": place.uri}
            log.warning("%s: later: %s", place.uri, error, extra=about)
            failed += message_ids
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def to_upload(event: Mapping[str, Any]) -> Upload:
    """S3's "Object Created" as EventBridge sends it; its keys are as they are, not percent-encoded."""
    detail = event["detail"]
    stored = detail["object"]
    return Upload(
        place=Place(detail["bucket"]["name"], stored["key"]),
        version_id=stored.get("version-id"),
        etag=stored["etag"],
        sequencer=stored.get("sequencer", ""),
        size=int(stored.get("size", 0)),
        uploaded_at=datetime.fromisoformat(event["time"]),
        requester=detail.get("requester", ""),
    )
