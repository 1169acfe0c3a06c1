"""How a queue's reader makes batches and ends them, against a queue in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from infra.local.messages import QueuePolicy
from infra.local.queues import QueueReader

URL = "http://localhost:4566/000000000000/uploads"


class MemoryQueue:
    """Hands out `answers`, one a call, and notes what is deleted."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, int]] = []
        self.deleted: list[list[str]] = []
        self.is_gone = False
        self.when_empty: Callable[[], None] = lambda: None

    def receive_message(self, **request: Any) -> dict[str, Any]:
        assert request["QueueUrl"] == URL
        self.asked.append((request["MaxNumberOfMessages"], request["WaitTimeSeconds"]))
        if not self.answers:
            self.when_empty()
            return {}
        return {"Messages": [_message(name) for name in self.answers.pop(0)]}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> dict[str, Any]:
        assert QueueUrl == URL
        assert len({entry["Id"] for entry in Entries}) == len(Entries)
        if self.is_gone:
            raise EndpointConnectionError(endpoint_url=URL)
        self.deleted.append([entry["ReceiptHandle"] for entry in Entries])
        return {}


def _message(name: str) -> dict[str, str]:
    return {"MessageId": name, "ReceiptHandle": name, "Body": "{}", "MD5OfBody": "md5"}


class Handler:
    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, event: dict[str, Any], _: Any) -> None:
        self.batches.append([record["messageId"] for record in event["Records"]])


def read(queue: MemoryQueue, policy: QueuePolicy, stopping: threading.Event | None = None) -> Handler:
    """One turn of a reader; what its handler saw."""
    handler = Handler()
    QueueReader(queue, URL, "uploads", handler, policy).turn(stopping or threading.Event())
    return handler


def test_without_a_window_a_batch_is_what_is_there_at_once() -> None:
    queue = MemoryQueue(["a", "b"], ["c"])
    assert read(queue, QueuePolicy(queue="Uploads", batch_size=10)).batches == [["a", "b"]]
    assert queue.deleted == [["a", "b"]]


def test_within_a_window_a_batch_is_filled_up() -> None:
    queue = MemoryQueue(["a"], [], ["b", "c"], ["d"])
    policy = QueuePolicy(queue="Uploads", batch_size=3, window_seconds=300)
    assert read(queue, policy).batches == [["a", "b", "c"]]
    assert [most for most, _ in queue.asked] == [3, 2, 2], "never more than there is room for"


def test_a_large_batch_is_received_and_deleted_in_tens() -> None:
    names = [str(number) for number in range(12)]
    queue = MemoryQueue(names[:10], names[10:])
    policy = QueuePolicy(queue="Uploads", batch_size=12, window_seconds=300)
    assert read(queue, policy).batches == [names]
    assert [most for most, _ in queue.asked] == [10, 2]
    assert queue.deleted == [names[:10], names[10:]]


def test_a_reader_that_is_stopped_delivers_what_it_has_in_hand() -> None:
    queue, stopping = MemoryQueue(["a"]), threading.Event()
    queue.when_empty = stopping.set
    policy = QueuePolicy(queue="Uploads", batch_size=10, window_seconds=300)
    assert read(queue, policy, stopping).batches == [["a"]]
    assert queue.deleted == [["a"]]


def test_a_poll_in_vain_calls_nobody() -> None:
    queue = MemoryQueue()
    assert read(queue, QueuePolicy(queue="Uploads")).batches == []
    assert queue.deleted == []


def test_no_poll_lasts_longer_than_a_stop_may_take() -> None:
    queue = MemoryQueue(["a"])
    queue.when_empty = (stopping := threading.Event()).set
    read(queue, QueuePolicy(queue="Uploads", batch_size=2, window_seconds=300), stopping)
    assert {seconds for _, seconds in queue.asked} == {2}


def test_a_delete_that_fails_is_told_to_the_loop_that_waits_for_the_queue_to_come_back() -> None:
    queue = MemoryQueue(["a"])
    queue.is_gone = True
    with pytest.raises(EndpointConnectionError):
        read(queue, QueuePolicy(queue="Uploads"))
