"""The queues' handlers take EventBridge's events out of SQS' and hand on which files they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from chalicelib import bootstrap
from chalicelib.bootstrap import Container
from chalicelib.domain.uploads import Place, Upload
from chalicelib.errors import ObjectsUnavailable
from chalicelib.settings import load
from chalicelib.triggers.uploads import upload_status, uploads
from infra.local import messages, template
from infra.local.config import RESOURCES
from infra.local.messages import QueuePolicy
from tests.unit.triggers.test_triggers import Context, event

KEY = "submissions/acme/every night/train + test.yaml"


@dataclass
class Parts:
    """Stands in for the services: writes down what the handlers ask for."""

    taken: list[tuple[Upload, float]] = field(default_factory=list)
    followed: list[Place] = field(default_factory=list)
    unavailable: set[str] = field(default_factory=set)

    def take(self, upload: Upload, seconds_left: Callable[[], float]) -> None:
        self.taken.append((upload, seconds_left()))

    def follow(self, place: Place) -> None:
        self.followed.append(place)
        if place.key in self.unavailable:
            raise ObjectsUnavailable("no S3")


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    container = Container(load({}))
    vars(container).update(uploads=parts, status_files=parts)
    with bootstrap.use(container):
        yield parts


def queued(*bodies: Any) -> dict[str, Any]:
    """Messages with these bodies, m0, m1 and so on, as SQS gives them to a function."""
    received = [
        {
            "MessageId": f"m{n}",
            "ReceiptHandle": "",
            "Body": json.dumps(body),
            "MD5OfBody": "",
            "Attributes": {},
        }
        for n, body in enumerate(bodies)
    ]
    return messages.event(received, "arn:aws:sqs:us-east-1:123456789012:queue")


def created(**stored: Any) -> dict[str, Any]:
    """S3's event, with these changes of its object; None leaves a field out."""
    told: dict[str, Any] = event("object-created.json")
    merged = told["detail"]["object"] | stored
    told["detail"]["object"] = {name: value for name, value in merged.items() if value is not None}
    return told


def changed(source: str | None) -> dict[str, Any]:
    return {"source": "trainyard", "detail-type": "Training Job State Change", "detail": {"source": source}}


def test_an_upload_is_taken_with_what_s3_tells_of_it(parts: Parts) -> None:
    uploads(queued(created()), Context())
    ((upload, seconds),) = parts.taken
    assert seconds == 42.0
    assert upload.place == Place("trainyard-submissions", KEY)
    assert (upload.version_id, upload.etag) == (
        "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
        "b1946ac92492d2347c6235b4d2611184",
    )
    assert (upload.sequencer, upload.size, upload.requester) == ("00617F08299329D189", 512, "111122223333")
    assert upload.uploaded_at.isoformat() == "2026-01-26T10:00:00+00:00"


def test_a_bucket_without_versions_tells_none(parts: Parts) -> None:
    uploads(queued(created(**{"version-id": None})), Context())
    assert parts.taken[0][0].version_id is None


@pytest.mark.parametrize(
    "key",
    [
        "submissions/acme/job.status.json",
        "submissions/acme/code.tar.gz",
        "submissions/job.yaml",
        "elsewhere/acme/job.yaml",
        "submissions/acme/",
    ],
)
def test_what_is_no_job_file_is_let_go(parts: Parts, key: str) -> None:
    uploads(queued(created(key=key)), Context())
    assert parts.taken == []


def test_what_is_no_event_of_s3_is_left_in_the_queue(parts: Parts) -> None:
    with pytest.raises(KeyError):
        uploads(queued({"hello": "world"}), Context())
    assert parts.taken == []


def test_each_file_whose_jobs_moved_is_followed_once(parts: Parts) -> None:
    answer = upload_status(
        queued(*map(changed, ["s3://b/a.yaml", "s3://b/c.yaml", "s3://b/a.yaml", None])), Context()
    )
    assert answer == {"batchItemFailures": []}
    assert parts.followed == [Place("b", "a.yaml"), Place("b", "c.yaml")]


def test_the_messages_of_a_file_that_could_not_be_written_come_again_and_no_others(parts: Parts) -> None:
    parts.unavailable = {"a.yaml"}
    answer = upload_status(
        queued(*map(changed, ["s3://b/a.yaml", "s3://b/c.yaml", "s3://b/a.yaml"])), Context()
    )
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]}
    assert parts.followed == [Place("b", "a.yaml"), Place("b", "c.yaml")]


def test_the_filter_leaves_status_files_out() -> None:
    policy = QueuePolicy.of(template.queue_mapping(template.read(RESOURCES), "Uploads"))
    passed = [
        messages.passes({"Body": json.dumps(created(key=key))}, policy.patterns)
        for key in (KEY, "submissions/acme/a.json", "submissions/acme/a.status.json")
    ]
    assert passed == [True, True, False]
