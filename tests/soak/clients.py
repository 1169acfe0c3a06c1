"""Clients as sane people write them: whatever may not have been heard is said again, with the same key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, local
from typing import Any

import requests
from botocore.exceptions import BotoCoreError, ClientError

from infra.local import ministack
from infra.local.config import SUBMISSIONS_BUCKET
from tests.soak.plan import File, Wanted
from tests.stack import RunningStack

TENANT = "soak"
FOLDER = f"submissions/{TENANT}/"
PATIENCE_SECONDS = 180.0
TRIES_AGAIN_SECONDS = 0.3
UNHEARD_SECONDS = 20.0  # without a status file a file is uploaded again


class Refused(Exception):
    """An answer that no repetition would change."""


@dataclass
class Clients:
    """Everybody who uses the stack. `quiet` is held while MiniStack must not be restarted."""

    stack: RunningStack
    marks: Path
    quiet: Lock = field(default_factory=Lock)
    retries: int = 0
    accepted: dict[int, str] = field(default_factory=dict)  # the job's number → its id

    def __post_init__(self) -> None:
        self._token = self.stack.token(TENANT)
        self._own = local()
        self._s3 = ministack.client(self.stack.local, "s3")
        self._uploads = Witness(self.stack, "soak-uploads", "default", {"source": ["aws.s3"]})

    def submit(self, wanted: Wanted) -> None:
        body, key = wanted.body(self.marks), {"Idempotency-Key": wanted.name}
        if wanted.dialect == "jobs":
            answer = self.call("POST", "/api/jobs/create", body, key)
        else:
            answer = self.call("POST", "/api/v1/training/jobs", body, key)
        data = answer.json()["data"]
        self.accepted[wanted.number] = data.get("jobId") or data["job_id"]

    def upload(self, file: File) -> None:
        """Until its status file names its jobs. One without tokens is uploaded once, and then S3's event of
        it is awaited in the queue that is told after Trainyard's own: what is under way in MiniStack when it
        is restarted is lost there, and is not in AWS."""
        if file.tokens:
            until = time.monotonic() + PATIENCE_SECONDS
            while not (status := self._told(file)) and time.monotonic() < until:
                self._put(file)
                _wait_for(lambda: self._told(file), UNHEARD_SECONDS)
        else:
            with self.quiet:
                self._put(file)
                _wait_for(lambda: FOLDER + file.name in self._uploads.uploaded(), PATIENCE_SECONDS)
        status = _wait_for(lambda: self._told(file), PATIENCE_SECONDS)
        if not status or len(status["jobs"]) != len(file.jobs):
            raise Refused(f"{file.name}: {status}")
        for wanted, entry in zip(file.jobs, status["jobs"], strict=True):
            self.accepted[wanted.number] = entry["job_id"]

    def act(self, wanted: Wanted) -> None:
        """Stop or delete the job, if that is what is to be done to it."""
        job_id = self.accepted[wanted.number]
        if wanted.moment:
            path = f"/api/v1/training/jobs/{job_id}"
            _wait_for(
                lambda: self.call("GET", path).json()["data"]["status"] == wanted.moment, PATIENCE_SECONDS
            )
        base = "/api/jobs" if wanted.dialect == "jobs" else "/api/v1/training/jobs"
        if wanted.kind == "is stopped":
            self.call("POST", f"{base}/{job_id}/stop")
        elif wanted.kind == "is deleted":
            self.call("DELETE", f"{base}/{job_id}", gone_is_fine=True)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        gone_is_fine: bool = False,
    ) -> requests.Response:
        """The answer, as soon as there is one that is no server's trouble. Raises Refused."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self._session().request(
                    method, self.stack.url + path, json=body, headers=headers, timeout=30
                )
                if answer.status_code < 500:
                    break
                why = answer.text
            except requests.RequestException as error:
                why = str(error)
            if time.monotonic() > until:
                raise Refused(f"{method} {path}: {why}")
            self.retries += 1
            time.sleep(TRIES_AGAIN_SECONDS)
        if not (answer.ok or (gone_is_fine and answer.status_code == 404)):
            raise Refused(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer

    def status_file(self, file: File) -> Any:
        """As it is now; None when there is none yet, or nobody to ask."""
        try:
            key = FOLDER + file.name.rpartition(".")[0] + ".status.json"
            found = self._s3.get_object(Bucket=SUBMISSIONS_BUCKET, Key=key)
            return json.loads(found["Body"].read())
        except (ClientError, BotoCoreError):
            return None

    def _told(self, file: File) -> Any:
        return self.status_file(file)

    def _put(self, file: File) -> None:
        content, until = file.content(self.marks), time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._s3.put_object(Bucket=SUBMISSIONS_BUCKET, Key=FOLDER + file.name, Body=content)
                return
            except (ClientError, BotoCoreError) as error:
                if time.monotonic() > until:
                    raise Refused(f"{file.name}: {error}") from error
                self.retries += 1
                time.sleep(TRIES_AGAIN_SECONDS)

    def _session(self) -> requests.Session:
        """One for each thread."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
            self._own.session.headers["Authorization"] = f"Bearer {self._token}"
        session: requests.Session = self._own.session
        return session


class Witness:
    """A rule of the soak's own, and the events that it was told of."""

    def __init__(self, stack: RunningStack, name: str, bus: str, pattern: Any) -> None:
        self._sqs = ministack.client(stack.local, "sqs")
        self._url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        events = ministack.client(stack.local, "events")
        events.put_rule(EventBusName=bus, Name=name, EventPattern=json.dumps(pattern))
        target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
        events.put_targets(EventBusName=bus, Rule=name, Targets=[target])
        self.details: list[dict[str, Any]] = []

    def look(self) -> list[dict[str, Any]]:
        """All that was told so far."""
        while True:
            try:
                answer = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
                found = answer.get("Messages", [])
                if not found:
                    return self.details
                self.details += [json.loads(message["Body"])["detail"] for message in found]
                entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(found)]
                self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
            except (ClientError, BotoCoreError):
                return self.details

    def uploaded(self) -> set[str]:
        return {detail["object"]["key"] for detail in self.look()}


def _wait_for(look: Callable[[], Any], seconds: float) -> Any:
    """What `look` gives, as soon as that is something or the time is up."""
    until = time.monotonic() + seconds
    while not (seen := look()) and time.monotonic() < until:
        time.sleep(0.2)
    return seen
