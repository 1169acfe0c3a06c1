"""Reads a queue and calls its function, as Lambda's event source mapping does in AWS.

A poll that nobody waits for any more goes on in MiniStack until its time is up, and takes a message that then
nobody has until its visibility timeout. So polls are short, and a reader that is stopped ends its poll first.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import functions, messages
from infra.local.config import REGION
from infra.local.messages import MAX_BATCH, Message, QueuePolicy
from infra.local.schedule import ACCOUNT, Context

POLL_SECONDS = 2
AFTER_LOSS_SECONDS = 1.0

log = logging.getLogger("trainyard.pump")


class QueueReader:
    """One queue to one function, a batch at a time; run it in a thread of its own."""

    def __init__(
        self,
        sqs: Any,
        queue_url: str,
        name: str,
        handler: Callable[[dict[str, Any], Any], Any],
        policy: QueuePolicy,
    ) -> None:
        self._sqs = sqs
        self._url = queue_url
        self._arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue_url.rsplit('/', 1)[-1]}"
        self._name = name
        self._handler = handler
        self._policy = policy
        self._timeout_seconds = functions.timeout_seconds(name)
        self._is_unreachable = False

    def run(self, stopping: threading.Event) -> None:
        """Until `stopping`; a batch that has begun is finished."""
        while not stopping.is_set():
            try:
                self.turn(stopping)
            except (BotoCoreError, ClientError) as error:
                self._lost(error)
                stopping.wait(AFTER_LOSS_SECONDS)
            except Exception:
                log.exception("%s: the reader stumbled; its messages come again", self._name)
                stopping.wait(AFTER_LOSS_SECONDS)

    def turn(self, stopping: threading.Event) -> None:
        """One batch, or one poll in vain. Raises botocore's errors."""
        batch = self._collect(stopping)
        if self._is_unreachable:
            self._is_unreachable = False
            log.info("%s: the queue is back", self._name)
        if batch:
            self._delete(self._deliver(batch))

    def _collect(self, stopping: threading.Event) -> list[Message]:
        """The messages that pass the filter: as many as are there at once, or come within the window."""
        batch = self._receive(self._policy.batch_size, POLL_SECONDS)
        until = time.monotonic() + self._policy.window_seconds
        while batch and len(batch) < self._policy.batch_size and not stopping.is_set():
            left = until - time.monotonic()
            if left <= 0:
                break
            batch += self._receive(self._policy.batch_size - len(batch), min(POLL_SECONDS, math.ceil(left)))
        return batch

    def _receive(self, most: int, wait_seconds: int) -> list[Message]:
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=min(most, MAX_BATCH),
            WaitTimeSeconds=wait_seconds,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        wanted: list[Message] = []
        unwanted: list[Message] = []
        for message in answer.get("Messages", []):
            (wanted if messages.passes(message, self._policy.patterns) else unwanted).append(message)
        self._delete(unwanted)
        return wanted

    def _deliver(self, batch: Sequence[Message]) -> list[Message]:
        """Call the function; returns what it has dealt with."""
        context = Context(self._name, self._timeout_seconds, threading.Event())
        try:
            answer = self._handler(messages.event(batch, self._arn), context)
        except Exception:
            log.exception("%s crashed on %d messages", self._name, len(batch))
            return []
        done = messages.done(batch, answer, self._policy)
        if len(done) < len(batch):
            log.warning("%s wants %d messages again: %s", self._name, len(batch) - len(done), answer)
        return done

    def _delete(self, batch: Sequence[Message]) -> None:
        for start in range(0, len(batch), MAX_BATCH):
            entries = [
                {"Id": str(position), "ReceiptHandle": message["ReceiptHandle"]}
                for position, message in enumerate(batch[start : start + MAX_BATCH])
            ]
            answer = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
            for failure in answer.get("Failed", []):
                log.warning("%s: a message was not deleted: %s", self._name, failure)

    def _lost(self, error: Exception) -> None:
        if not self._is_unreachable:
            log.warning("%s: the queue cannot be read: %s", self._name, error)
        self._is_unreachable = True
