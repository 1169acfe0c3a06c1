"""A queue's reader on MiniStack's real queues: what Lambda's event source mapping promises a function."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infra.local import ministack, template
from infra.local.config import Local
from infra.local.processes import wait_until
from infra.local.pump import queue_readers
from tests.functional.queues.conftest import RESOURCES
from tests.stack import start_ministack, stop_ministack


class Worker:
    """Notes what it is given; fails what is called "bad", and crashes on "worse"."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any], _: Any) -> dict[str, Any]:
        self.records += event["Records"]
        names = {record["messageId"]: self.name(record) for record in event["Records"]}
        if "worse" in names.values():
            raise RuntimeError("worse")
        failed = [{"itemIdentifier": number} for number, name in names.items() if name == "bad"]
        return {"batchItemFailures": failed}

    @property
    def names(self) -> list[str]:
        return [self.name(record) for record in self.records]

    @staticmethod
    def name(record: dict[str, Any]) -> str:
        return str(json.loads(record["body"])["work"])


class Queues:
    """The test's own hands on the queues."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._urls = ministack.deployed(local).resources

    @property
    def sqs(self) -> Any:
        return ministack.client(self._local, "sqs")

    def send(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self._urls["Work"], MessageBody=body)

    def work(self, *names: str) -> None:
        for name in names:
            self.send(json.dumps({"work": name}))

    def count(self, queue: str) -> int:
        """Of all messages, those included that somebody has in hand."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=self._urls[queue], AttributeNames=["All"])
        kinds = ("", "NotVisible", "Delayed")
        return sum(int(attributes["Attributes"][f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)

    def take(self, queue: str) -> list[str]:
        answer = self.sqs.receive_message(QueueUrl=self._urls[queue], MaxNumberOfMessages=10)
        return [json.loads(message["Body"])["work"] for message in answer.get("Messages", [])]


@pytest.fixture
def queues(local: Local) -> Iterator[Queues]:
    queues = Queues(local)
    yield queues
    for name in ("Work", "Letters"):
        queues.sqs.purge_queue(QueueUrl=ministack.deployed(local).resources[name])


@contextmanager
def reading(local: Local, worker: Callable[[dict[str, Any], Any], Any]) -> Iterator[None]:
    (reader,) = queue_readers(local, template.read(RESOURCES), [("worker", worker, "Worker")])
    stopping = threading.Event()
    thread = threading.Thread(target=reader.run, args=(stopping,))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def test_a_message_comes_once_and_in_lambdas_shape(local: Local, queues: Queues) -> None:
    worker = Worker()
    queues.work("first", "second")
    with reading(local, worker):
        assert wait_until(lambda: queues.count("Work") == 0, 20)
    assert sorted(worker.names) == ["first", "second"]
    record = worker.records[0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"].startswith("arn:aws:sqs:us-east-1:000000000000:trainyard-Work-")
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SenderId", "SentTimestamp", "ApproximateFirstReceiveTimestamp"} <= set(record["attributes"])


@pytest.mark.parametrize("name", ["bad", "worse"])
def test_what_always_fails_becomes_a_dead_letter_and_the_others_get_through(
    local: Local, queues: Queues, name: str
) -> None:
    worker = Worker()
    with reading(local, worker):
        queues.work(name)
        assert wait_until(lambda: name in worker.names, 20)
        queues.work("good")
        assert wait_until(lambda: queues.count("Letters") == 1 and queues.count("Work") == 0, 20)
    assert queues.take("Letters") == [name]
    assert worker.names.count(name) == 2, "the queue's maxReceiveCount"
    assert "good" in worker.names


def test_a_message_that_the_filter_leaves_out_is_deleted_unseen(local: Local, queues: Queues) -> None:
    worker = Worker()
    queues.send("no JSON")
    queues.send('{"play": 1}')
    queues.work("wanted")
    with reading(local, worker):
        assert wait_until(lambda: queues.count("Work") == 0, 20)
    assert worker.names == ["wanted"]


@pytest.mark.usefixtures("queues")
def test_an_upload_comes_by_way_of_the_rule(local: Local) -> None:
    seen: list[dict[str, Any]] = []

    def uploads(event: dict[str, Any], _: Any) -> None:
        seen.extend(json.loads(record["body"]) for record in event["Records"])

    everything = template.read(RESOURCES)
    source = everything["Resources"]["Worker"]["Properties"]["Events"]["WorkerSqsEventSource"]
    del source["Properties"]["FilterCriteria"]
    (reader,) = queue_readers(local, everything, [("uploads", uploads, "Worker")])
    s3 = ministack.client(local, "s3")
    s3.put_object(Bucket="drops", Key="play/unseen.json", Body=b"{}")
    s3.put_object(Bucket="drops", Key="work/a job+ä.json", Body=b"{}")

    def came() -> bool:
        reader.turn(threading.Event())
        return bool(seen)

    assert wait_until(came, 20)
    assert [event["detail"]["object"]["key"] for event in seen] == ["work/a job+ä.json"]


def test_the_reader_goes_on_when_ministack_comes_back(local: Local, queues: Queues) -> None:
    worker = Worker()
    with reading(local, worker):
        queues.work("before")
        assert wait_until(lambda: queues.count("Work") == 0, 20)
        stop_ministack(local)
        start_ministack(local)
        queues.work("after")
        assert wait_until(lambda: queues.count("Work") == 0, 20)
    assert worker.names == ["before", "after"]


def test_a_reader_that_was_stopped_takes_no_message_with_it(local: Local, queues: Queues) -> None:
    worker = Worker()
    with reading(local, worker):
        queues.work("seen")
        assert wait_until(lambda: queues.count("Work") == 0, 20)
    queues.work("for its successor")
    assert queues.take("Work") == ["for its successor"]
    assert worker.names == ["seen"]
