"""The local gateway on the wire: whatever a client sends, the next request on the connection is seen."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.app import AuthResponse, Chalice, Response
from chalice.config import Config

from infra.local.config import HOST
from infra.local.gateway import Gateway, make_server
from infra.local.gateway_responses import GatewayResponses

MEGABYTE = 1024 * 1024


def current(app: Chalice) -> Any:
    return app.current_request


def small_app() -> Chalice:
    app = Chalice(app_name="small")

    @app.authorizer()
    def door(request: Any) -> Any:
        match request.token:
            case "Bearer good":
                return AuthResponse(routes=["*"], principal_id="somebody")
            case "Bearer nowhere":
                return AuthResponse(routes=[], principal_id="somebody")
            case "Bearer broken":
                raise RuntimeError("the key server is gone")
            case _:
                raise Exception("Unauthorized")  # what API Gateway matches

    @app.route("/things", methods=["POST"], authorizer=door)
    def create() -> dict[str, Any]:
        body = current(app).raw_body
        return {"bytes": len(body), "start": body[:20].decode()}

    @app.route("/things/{name}", methods=["GET", "DELETE"], authorizer=door)
    def thing(name: str) -> Any:
        if current(app).method == "DELETE":
            return Response(body="", status_code=204)
        return {"name": name, "query": current(app).query_params}

    @app.route("/slow", authorizer=door)
    def slow() -> str:
        time.sleep(1)
        return "done"

    @app.route("/crash", authorizer=door)
    def crash() -> None:
        raise SystemError("not handled")

    return app


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = make_server(small_app(), 0, GatewayResponses({}))
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server.server_address[1]
    server.shutdown()
    thread.join()
    server.server.server_close()


class Asking:
    """A gateway whose authorizer writes down which tokens it was asked about."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        app = Chalice(app_name="asking")

        @app.authorizer()
        def door(request: Any) -> Any:
            self.asked.append(request.token)
            if request.token.startswith("Bearer bad"):
                raise Exception("Unauthorized")
            return AuthResponse(routes=["*"], principal_id="id", context={"tenant": request.token})

        @app.route("/things/{name}", authorizer=door)
        def thing(name: str) -> Any:
            return {name: current(app).context["authorizer"]["tenant"]}

        self._gateway = Gateway(app, Config.create(lambda_timeout=10), GatewayResponses({}))

    def get(self, path: str, token: str) -> tuple[int, Any]:
        headers = {"authorization": f"Bearer {token}"}
        answer = self._gateway.answer("GET", path, headers, b"", HOST, "id")
        return answer.status, json.loads(answer.body)


class Wire:
    """A raw connection and just enough HTTP to read answers off it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(self, line: str, *headers: str, body: bytes = b"", token: str | None = "good") -> None:
        lines = [f"{line} HTTP/1.1", "Host: x", *headers]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def answer(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", "0")) if has_body else 0
        return status, headers, self.file.read(length)

    def is_closed(self) -> bool:
        return self.file.read(1) == b""


@pytest.fixture
def wire(port: int) -> Iterator[Wire]:
    connection = Wire(port)
    yield connection
    connection.socket.close()


def still_understands(wire: Wire) -> bool:
    wire.request("GET /things/next")
    status, _, body = wire.answer()
    return status == 200 and json.loads(body)["name"] == "next"


def test_who_was_let_in_is_not_asked_about_again_and_stays_who_he_is() -> None:
    asking = Asking()
    for path, token in [
        ("/things/a", "ann"),
        ("/things/a", "bob"),
        ("/things/b", "ann"),
        ("/things/c", "bob"),
    ]:
        assert asking.get(path, token) == (200, {path[-1]: f"Bearer {token}"})
    assert asking.asked == ["Bearer ann", "Bearer bob"]


def test_who_was_refused_is_asked_about_each_time() -> None:
    asking = Asking()
    assert [asking.get("/things/a", "bad")[0] for _ in range(2)] == [401, 401]
    assert len(asking.asked) == 2


def test_a_204_has_no_body_and_no_length_and_the_connection_goes_on(wire: Wire) -> None:
    wire.request("DELETE /things/a")
    status, headers, _ = wire.answer()
    assert status == 204
    assert "content-length" not in headers
    assert still_understands(wire)


def test_head_is_answered_without_a_body_and_the_connection_goes_on(wire: Wire) -> None:
    wire.request("HEAD /things/a")
    status, headers, _ = wire.answer(has_body=False)
    assert status == 405
    assert headers["allow"] == "DELETE, GET"
    assert still_understands(wire)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "PROPFIND", "CONNECT"])
def test_a_method_that_the_path_lacks_is_405_with_allow(wire: Wire, method: str) -> None:
    wire.request(f"{method} /things/a")
    status, headers, body = wire.answer()
    assert (status, headers["allow"]) == (405, "DELETE, GET")
    assert json.loads(body) == {
        "code": 40500,
        "success": False,
        "message": "Method Not Allowed",
        "data": None,
        "error": {"code": "MethodNotAllowed", "details": []},
    }
    assert still_understands(wire)


@pytest.mark.parametrize("path", ["/", "/nothing", "/things/a/b", "/things//", "/%2e%2e", "/[", "*"])
def test_an_unknown_path_is_404_with_and_without_a_token(wire: Wire, path: str) -> None:
    for token in ("good", None):
        wire.request(f"GET {path}", token=token)
        status, _, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (404, 40400)
    assert still_understands(wire)


@pytest.mark.parametrize(
    ("token", "status"),
    [
        pytest.param(None, 401, id="no header"),
        pytest.param("", 401, id="an empty token"),
        pytest.param("bad", 401, id="the authorizer raises Unauthorized"),
        pytest.param("nowhere", 403, id="a policy that allows nothing"),
        pytest.param("broken", 500, id="the authorizer fails otherwise"),
    ],
)
def test_who_is_not_let_in_is_told_so_in_the_envelope(wire: Wire, token: str | None, status: int) -> None:
    wire.request("POST /things", "Content-Length: 3", body=b"abc", token=token)
    answered, _, body = wire.answer()
    assert answered == status
    assert json.loads(body)["success"] is False
    assert json.loads(body)["code"] // 100 == status
    assert still_understands(wire)


def test_a_chunked_body_is_decoded(wire: Wire) -> None:
    wire.request(
        "POST /things",
        "Transfer-Encoding: chunked",
        body=b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
    )
    status, _, body = wire.answer()
    assert (status, json.loads(body)) == (200, {"bytes": 11, "start": "hello world"})
    assert still_understands(wire)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param(["Content-Length: -1"], b"", 400, id="a negative length"),
        pytest.param(["Content-Length: +5"], b"hello", 400, id="a signed length"),
        pytest.param(["Content-Length: 1_0"], b"", 400, id="a length with an underscore"),
        pytest.param(["Content-Length: five"], b"hello", 400, id="a length in words"),
        pytest.param(["Content-Length: 5", "Content-Length: 6"], b"hello", 400, id="two lengths"),
        pytest.param(
            ["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n", 400, id="two framings"
        ),
        pytest.param(["Transfer-Encoding: gzip"], b"", 501, id="an unknown coding"),
        pytest.param(["Transfer-Encoding: chunked"], b"zz\r\n", 400, id="a chunk size that is no number"),
        pytest.param(["Transfer-Encoding: chunked"], b"2\r\nabc\r\n", 400, id="a chunk longer than its size"),
        pytest.param(["Transfer-Encoding: chunked"], b"0x2\r\nab\r\n", 400, id="a chunk size as in C"),
    ],
)
def test_a_body_whose_end_cannot_be_told_ends_the_connection(
    wire: Wire, headers: list[str], body: bytes, status: int
) -> None:
    wire.request("POST /things", *headers, body=body)
    answered, said, content = wire.answer()
    assert answered == status
    assert said["connection"] == "close"
    assert json.loads(content)["success"] is False
    assert wire.is_closed()


def test_the_same_length_twice_is_one_length(wire: Wire) -> None:
    wire.request("POST /things", "Content-Length: 5", "Content-Length: 5", body=b"hello")
    assert wire.answer()[0] == 200
    assert still_understands(wire)


def test_a_body_of_10_megabytes_is_taken(wire: Wire) -> None:
    wire.request("POST /things", f"Content-Length: {10 * MEGABYTE}", body=b"x" * 10 * MEGABYTE)
    status, _, body = wire.answer()
    assert (status, json.loads(body)["bytes"]) == (200, 10 * MEGABYTE)
    assert still_understands(wire)


def test_a_larger_body_is_413_while_the_client_is_still_sending_it(wire: Wire) -> None:
    size = 30 * MEGABYTE
    wire.request("POST /things", f"Content-Length: {size}")
    wire.send(b"x" * size)  # would fail if the gateway had just closed
    status, headers, body = wire.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert json.loads(body)["error"]["code"] == "PayloadTooLarge"
    assert wire.is_closed()


def test_a_chunked_body_cannot_get_around_the_limit(wire: Wire) -> None:
    wire.request("POST /things", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (MEGABYTE, b"x" * MEGABYTE)
    wire.send(chunk * 12)
    assert wire.answer()[0] == 413
    assert wire.is_closed()


def test_a_client_that_asks_first_is_told_to_go_on(wire: Wire) -> None:
    wire.request("POST /things", "Content-Length: 5", "Expect: 100-continue")
    assert wire.answer()[0] == 100
    wire.send(b"hello")
    assert wire.answer()[0] == 200
    assert still_understands(wire)


def test_a_client_that_asks_first_is_told_at_once_that_its_body_is_too_large(wire: Wire) -> None:
    wire.request("POST /things", f"Content-Length: {11 * MEGABYTE}", "Expect: 100-continue")
    assert wire.answer()[0] == 413


def test_requests_sent_together_are_answered_in_order(wire: Wire) -> None:
    for name in ("a", "b", "c"):
        wire.request(f"GET /things/{name}?x=1&x=2")
    assert [json.loads(wire.answer()[2])["name"] for _ in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="no request line"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", 505, id="an unknown version"),
        pytest.param(b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n\r\n", 414, id="an endless path"),
        pytest.param(b"GET / HTTP/1.1\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431, id="an endless header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, id="too many headers"),
        pytest.param(
            b"POST /things HTTP/1.1\r\nContent-Length : 2\r\n\r\n{}", 400, id="a space before a colon"
        ),
        pytest.param(b"POST /things HTTP/1.1\r\nfoo bar\r\nContent-Length: 2\r\n\r\n{}", 400, id="no colon"),
    ],
)
def test_what_is_not_http_is_refused_in_the_envelope(wire: Wire, data: bytes, status: int) -> None:
    wire.send(data)
    answered, headers, body = wire.answer()
    assert answered == status
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["success"] is False
    assert wire.is_closed()


def test_an_empty_line_may_come_before_a_request(wire: Wire) -> None:
    wire.send(b"\r\n")
    assert still_understands(wire)


def test_an_old_client_gets_an_answer_and_a_closed_connection(wire: Wire) -> None:
    wire.send("GET /things/a HTTP/1.0\r\nAuthorization: Bearer good\r\n\r\n")
    assert wire.answer()[0] == 200
    assert wire.is_closed()


def test_a_client_that_sends_slowly_holds_up_nobody(port: int) -> None:
    slow, quick = Wire(port), Wire(port)
    slow.request("POST /things", "Content-Length: 5")
    slow.send(b"he")
    assert still_understands(quick)
    slow.send(b"llo")
    assert slow.answer()[0] == 200


def test_a_function_that_works_long_holds_up_nobody(port: int) -> None:
    slow, quick = Wire(port), Wire(port)
    slow.request("GET /slow")
    began = time.monotonic()
    assert still_understands(quick)
    assert time.monotonic() - began < 0.9
    assert slow.answer()[0] == 200


def test_a_crash_of_the_app_is_500_and_the_connection_goes_on(wire: Wire) -> None:
    wire.request("GET /crash")
    assert wire.answer()[0] == 500
    assert still_understands(wire)


def test_kept_alive_requests_are_not_delayed(wire: Wire) -> None:
    durations = []
    for _ in range(20):
        began = time.monotonic()
        wire.request("GET /things/a")
        wire.answer()
        durations.append(time.monotonic() - began)
    # Nagle's algorithm against delayed acknowledgements would make each take 40 ms.
    assert sorted(durations)[10] < 0.02
