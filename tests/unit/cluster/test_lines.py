"""What a server sends line by line is read together where it has come together, and never waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from chalicelib.cluster.api import Gone, KubernetesApi
from chalicelib.cluster.lines import MOST_TOGETHER, together

PATIENCE = 10.0
Send = Callable[[bytes], object]


@contextmanager
def answer(serve: Callable[[Send], None]) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answer of a server whose body `serve` sends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            serve(self.wfile.write)
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        pool = urllib3.PoolManager(timeout=PATIENCE)
        yield pool.request("GET", f"http://127.0.0.1:{server.server_port}", preload_content=False)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chunk(line: bytes) -> bytes:
    return f"{len(line) + 1:x}\r\n".encode() + line + b"\n\r\n"


def test_lines_that_have_come_are_read_together() -> None:
    wanted = [f"{number:03}".encode() * 300 for number in range(MOST_TOGETHER)]
    sent = threading.Event()

    def serve(send: Send) -> None:
        send(b"".join(map(chunk, wanted)))
        sent.set()

    with answer(serve) as response:
        assert sent.wait(PATIENCE)
        read = list(together(response))
    assert [line for lines in read for line in lines] == wanted
    assert len(read[0]) > MOST_TOGETHER / 2
    assert max(map(len, read)) <= MOST_TOGETHER


def test_a_line_is_told_while_the_next_one_is_waited_for() -> None:
    heard = threading.Event()

    def serve(send: Send) -> None:
        send(chunk(b"first"))
        assert heard.wait(PATIENCE)
        send(chunk(b"second"))

    with answer(serve) as response:
        read = together(response)
        assert next(read) == [b"first"]
        heard.set()
        assert list(read) == [[b"second"]]


def test_a_line_that_comes_in_pieces_is_one() -> None:
    def serve(send: Send) -> None:
        send(b"3\r\nfir\r\n")
        send(b"7\r\nst\nseco\r\n3\r\nnd\n\r\n")

    with answer(serve) as response:
        assert [line for lines in together(response) for line in lines] == [b"first", b"second"]


def test_what_came_before_trouble_is_told_before_it() -> None:
    change = {"type": "ADDED", "object": {"metadata": {"resourceVersion": "7"}}}
    trouble = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}

    def serve(send: Send) -> None:
        send(chunk(json.dumps(change).encode() + b"\n" + json.dumps(trouble).encode()))

    class Client:
        """The part of the official client that a watch uses."""

        def param_serialize(self, method: str, path: str, **_: Any) -> tuple[str, str, dict[str, str]]:
            return method, path, {}

        def call_api(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(status=200, response=response)

    with answer(serve) as response:
        news = KubernetesApi(Client, PATIENCE).watch_many("/events", {}, PATIENCE)
        assert next(news) == [change]
        with pytest.raises(Gone):
            next(news)
