"""Writes whose answer is lost on the way back: carried out once, reported as done, never as another's."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from chalicelib.aws_models import PlainItems
from chalicelib.aws_session import AwsSession
from chalicelib.domain.states import Status
from chalicelib.errors import StaleRecord, StoreUnavailable
from chalicelib.services.ports import Idempotency
from chalicelib.store.connect import dynamo_client
from infra.local import config
from infra.local.config import Local
from tests.unit.store.support import Bench, a_job, deleted, moved
from tests.unit.store.totals import total


@dataclass
class Line:
    """The way to MiniStack. It loses the answers to the next `to_lose` requests for `operation`."""

    to_lose: int = 0
    operation: str = ""
    seen: list[str] = field(default_factory=list)

    def loses(self, operation: str, times: int = 1) -> None:
        self.operation, self.to_lose = operation, times
        self.seen.clear()


@pytest.fixture
def line(local: Local, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Puts the line between the bench's store and MiniStack."""
    line = Line()

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            line.seen.append(operation)
            status, body = _forward(local.aws_url, self)
            if operation == line.operation and line.to_lose:
                line.to_lose -= 1
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((config.HOST, 0), Relay)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name, value in config.aws_environment(local, {}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{config.HOST}:{server.server_port}")
    bench.store = bench.another(dynamo_client(AwsSession(PlainItems())))
    yield line
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("key", [None, Idempotency("k", "f")], ids=["without a key", "with a key"])
def test_a_create_is_done_once(bench: Bench, line: Line, key: Idempotency | None) -> None:
    line.loses("TransactWriteItems")
    assert bench.store.create(a_job(), key) == a_job()
    assert line.seen[:2] == ["TransactWriteItems"] * 2
    assert total(bench) == 1


@pytest.mark.parametrize(
    ("status", "operation"), [(Status.RUNNING, "TransactWriteItems"), (Status.PENDING, "PutItem")]
)
def test_a_save_is_done_once(bench: Bench, line: Line, status: Status, operation: str) -> None:
    job = bench.store.create(a_job())
    later = moved(job, status, message="later")
    line.loses(operation)
    bench.store.save(later, job)
    assert line.seen[:2] == [operation] * 2
    assert bench.store.get(job.id) == later
    assert (total(bench, status=status), total(bench)) == (1, 1)


def test_a_save_that_another_overtook_is_stale(bench: Bench, line: Line) -> None:
    job = bench.store.create(a_job())
    bench.another().save(moved(job, Status.PENDING, message="theirs"), job)
    line.loses("PutItem")
    with pytest.raises(StaleRecord):
        bench.store.save(moved(job, Status.PENDING, message="ours"), job)


def test_a_removal_is_done(bench: Bench, line: Line) -> None:
    job = bench.store.create(a_job(status=Status.FAILED))
    tombstone = deleted(job)
    bench.store.save(tombstone, job)
    line.loses("DeleteItem")
    bench.store.remove(tombstone)
    assert bench.store.get(job.id) is None


def test_answers_that_keep_getting_lost_are_an_outage(bench: Bench, line: Line) -> None:
    line.loses("GetItem", times=10)
    with pytest.raises(StoreUnavailable):
        bench.store.get("job-1")
    assert line.seen == ["GetItem"] * 3


def _forward(url: str, asked: BaseHTTPRequestHandler) -> tuple[int, bytes]:
    body = asked.rfile.read(int(asked.headers["Content-Length"]))
    kept = {name: value for name, value in asked.headers.items() if name not in ("Host", "Content-Length")}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, kept)) as answer:
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
