"""A bucket and the queues between its events, the bus and their functions, on the simulated clock.

The event source mappings are those of infra/resources.yaml; which of a batch's messages are done is decided
as the embedded stack decides it (infra.local.messages).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

from botocore.exceptions import ClientError

from infra.local import messages, template
from infra.local.config import RESOURCES
from infra.local.messages import QueuePolicy
from tests.proof.scheduler import Scheduler, Worker

BUCKET = "submissions"
VISIBILITY_SECONDS = 90.0
POLL_SECONDS = 0.1
ARN = "arn:aws:sqs:us-east-1:123456789012:queue"

Invoke = Callable[[dict[str, Any], Callable[[Worker], None]], None]


@dataclass
class SimulatedS3:
    """botocore's client of S3 with one bucket that keeps versions; `on_created` hears of each upload."""

    scheduler: Scheduler
    on_created: Callable[[dict[str, Any]], None]
    versions: defaultdict[str, list[tuple[str, bytes]]] = field(default_factory=lambda: defaultdict(list))

    def put_object(
        self,
        Bucket: str,
        Key: str,
        Body: bytes,
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
        **_: Any,
    ) -> Mapping[str, Any]:
        assert Bucket == BUCKET
        standing = self.versions[Key][-1][1] if self.versions.get(Key) else None
        is_other = IfMatch is not None and (standing is None or _etag(standing) != IfMatch)
        if is_other or (IfNoneMatch == "*" and standing is not None):
            raise ClientError({"Error": {"Code": "PreconditionFailed"}}, "PutObject")
        number = sum(map(len, self.versions.values())) + 1
        self.versions[Key].append((f"v{number}", Body))
        stored = {"key": Key, "size": len(Body), "etag": _etag(Body), "version-id": f"v{number}"}
        detail = {
            "bucket": {"name": Bucket},
            "object": {**stored, "sequencer": f"{number:016X}"},
            "requester": "ada",
        }
        time = self.scheduler.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.on_created({"source": "aws.s3", "detail-type": "Object Created", "time": time, "detail": detail})
        return {"VersionId": f"v{number}"}

    def get_object(self, Bucket: str, Key: str, VersionId: str | None = None) -> Mapping[str, Any]:
        version, body = self._find(Bucket, Key, VersionId)
        return {"Body": io.BytesIO(body), "VersionId": version, "ETag": _etag(body), "Metadata": {}}

    def head_object(self, Bucket: str, Key: str) -> Mapping[str, Any]:
        version, body = self._find(Bucket, Key, None)
        return {"ContentLength": len(body), "VersionId": version}

    def text(self, key: str) -> str:
        """What stands there; empty if nothing does."""
        return self.versions[key][-1][1].decode() if self.versions.get(key) else ""

    def _find(self, bucket: str, key: str, version: str | None) -> tuple[str, bytes]:
        assert bucket == BUCKET
        found = [one for one in self.versions.get(key, []) if version in (None, one[0])]
        if not found:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return found[-1]


@dataclass
class Queue:
    """One queue and its function: each message at least once, in any order, until the function is done."""

    scheduler: Scheduler
    policy: QueuePolicy
    invoke: Invoke
    waiting: list[dict[str, Any]] = field(default_factory=list)
    in_hand: int = 0
    seen: list[dict[str, Any]] = field(default_factory=list)  # all that ever came
    is_due: bool = False

    @property
    def is_through(self) -> bool:
        return not self.waiting and not self.in_hand

    def send(self, body: Mapping[str, Any]) -> None:
        message = {
            "MessageId": f"m{len(self.seen)}",
            "ReceiptHandle": "",
            "Body": json.dumps(body),
            "MD5OfBody": "",
            "Attributes": {},
        }
        if messages.passes(message, self.policy.patterns):
            self.seen.append(message)
            self._put(message, POLL_SECONDS + self.policy.window_seconds)

    def again(self, number: int) -> None:
        """Tell the last ones once more."""
        for message in self.seen[-number:]:
            self._put(message, 0.0)

    def _put(self, message: dict[str, Any], seconds: float) -> None:
        self.waiting.append(message)
        if not self.is_due:
            self.is_due = True
            self.scheduler.after(seconds, self._turn)

    def _turn(self) -> None:
        self.is_due = False
        while self.waiting:
            batch = self.waiting[: self.policy.batch_size]
            del self.waiting[: self.policy.batch_size]
            self.in_hand += len(batch)
            self.invoke(messages.event(batch, ARN), partial(self._ended, batch))

    def _ended(self, batch: list[dict[str, Any]], worker: Worker) -> None:
        failed = worker.dead or worker.error is not None
        done = [] if failed else messages.done(batch, worker.answer, self.policy)
        left = [message for message in batch if message not in done]
        self.in_hand -= len(batch) - len(left)
        for message in left:
            self.scheduler.after(VISIBILITY_SECONDS, partial(self._shows_again, message))

    def _shows_again(self, message: dict[str, Any]) -> None:
        self.in_hand -= 1
        self._put(message, 0.0)


@cache
def policy_of(function: str) -> QueuePolicy:
    return QueuePolicy.of(template.queue_mapping(template.read(RESOURCES), function))


def _etag(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
