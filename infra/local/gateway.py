"""The API on Chalice's local server, answering as API Gateway would where the app is not asked.

    python -m infra.local.gateway

Chalice's own handler delays every kept-alive answer by 40 ms (Nagle), drops the connection when an authorizer
raises, and loses step with the client after a body it did not read; this one does not.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    ForbiddenError,
    InvalidAuthorizerError,
    LocalChalice,
    LocalDevServer,
    LocalGateway,
    NotAuthorizedError,
    ThreadedHTTPServer,
)

from app import app
from chalicelib.api.auth import TTL_SECONDS
from chalicelib.settings import load
from infra.local import config, template
from infra.local.framing import BadFraming, BodyTooLarge, linger, read_body
from infra.local.gateway_responses import Answer, GatewayResponses

LAMBDA_TIMEOUT_SECONDS = 29  # API Gateway's own limit
IDLE_SECONDS = 75
MOST_KEPT = 1000  # answers of the authorizer

log = logging.getLogger("trainyard.gateway")
access = logging.getLogger("trainyard.access")


class Gateway(LocalGateway):
    """API Gateway's part: route, authorize, invoke; everything it refuses itself is a gateway response."""

    def __init__(self, app: Chalice, settings: Config, responses: GatewayResponses) -> None:
        super().__init__(app, settings)
        self._app = app
        self._responses = responses
        self._kept: dict[str, tuple[float, Any]] = {}  # token → until when, and what the authorizer said

    def answer(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, client: str, request_id: str
    ) -> Answer:
        """One request's answer, whatever happens."""
        refuse = functools.partial(self._responses.answer, request_id=request_id)
        try:
            event = self._event(method, path, headers, body, client, request_id)
        except ValueError:
            return refuse("MISSING_AUTHENTICATION_TOKEN", 403, "Missing Authentication Token")
        methods = self._app.routes[event["resource"]]
        if method == "OPTIONS":
            return self._responses.preflight(methods.keys())
        if method not in methods:
            not_allowed: Answer = refuse("METHOD_NOT_ALLOWED", 405, "Method Not Allowed")
            return not_allowed.with_header("Allow", ", ".join(sorted(methods)))
        context = self._generate_lambda_context()
        try:
            if not event["headers"].get("authorization") and methods[method].authorizer is not None:
                return refuse("UNAUTHORIZED", 401, "Unauthorized")
            event, context = self._authorized(path, event, context)
        except NotAuthorizedError:
            return refuse("UNAUTHORIZED", 401, "Unauthorized")
        except ForbiddenError:
            return refuse("ACCESS_DENIED", 403, "User is not authorized to access this resource")
        except InvalidAuthorizerError:
            return refuse("AUTHORIZER_CONFIGURATION_ERROR", 500, "Internal server error")
        except Exception as error:  # an authorizer says no by raising just this text
            if str(error) == "Unauthorized":
                return refuse("UNAUTHORIZED", 401, "Unauthorized")
            log.exception("the authorizer failed")
            return refuse("AUTHORIZER_FAILURE", 500, "Internal server error")
        try:
            return Answer.of_lambda(self._app(event, context))
        except Exception:
            log.exception("the API function failed")
            return refuse("INTEGRATION_FAILURE", 502, "Internal server error")

    def _authorized(self, path: str, event: dict[str, Any], context: Any) -> tuple[dict[str, Any], Any]:
        """As API Gateway does, whom the authorizer let in is let in for its TTL: ours allows all paths."""
        token = event["headers"].get("authorization", "")
        until, said = self._kept.get(token, (0.0, None))
        if time.monotonic() < until:
            event["requestContext"]["authorizer"] = dict(said)
            return event, context
        event, context = self._authorizer.authorize(path, event, context)
        if said := event["requestContext"].get("authorizer"):
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[token] = time.monotonic() + TTL_SECONDS, dict(said)
        return event, context

    def _event(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, client: str, request_id: str
    ) -> dict[str, Any]:
        event: dict[str, Any] = self.event_converter.create_lambda_event(
            method=method,
            path=path.replace(";", "%3B"),  # the router would take what follows it for parameters
            headers=dict(headers),
            body=body or None,
        )
        if "" in event["pathParameters"].values():
            raise ValueError("a path parameter is never empty")
        context = event["requestContext"]
        context["requestId"] = request_id
        context["identity"]["sourceIp"] = client
        event["resource"] = context["resourcePath"]
        if isinstance(event["body"], bytes):
            # As API Gateway hands a text body over: a string, what is not UTF-8 replaced.
            event["body"] = event["body"].decode("utf-8", "replace")
        return event


class Handler(ChaliceRequestHandler):
    """HTTP/1.1 for the gateway: no desync, no delay, and one line of log a request."""

    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body leave in one packet
    timeout = IDLE_SECONDS
    default_request_version = "HTTP/1.0"  # what it takes a line without a version for: 0.9 has no headers

    def __init__(self, *connection: Any, gateway: Gateway, responses: GatewayResponses, **_: Any) -> None:
        self._gateway = gateway
        self._responses = responses
        self._begun = time.monotonic()
        self._request_id = ""
        # Not ChaliceRequestHandler's: it would build the routes anew for each connection.
        super(ChaliceRequestHandler, self).__init__(*connection)

    def handle_one_request(self) -> None:
        """Read one request and answer it; whatever was left unread ends the connection."""
        self.command, self.path, self.requestline, self.request_version = "", "", "", ""
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if self.raw_requestline in (b"\r\n", b"\n"):  # RFC 9112 2.2: one may come before a request
                self.raw_requestline = self.rfile.readline(65537)
            self._begun, self._request_id = time.monotonic(), str(uuid.uuid4())
            if len(self.raw_requestline) > 65536:
                self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            elif not self.raw_requestline:
                self.close_connection = True
            elif self.parse_request():
                if self.headers.defects:  # a line that is no field hides those after it, the length too
                    self.send_error(HTTPStatus.BAD_REQUEST, "a header line is malformed")
                else:
                    self._respond()
            self.wfile.flush()
        except (TimeoutError, ConnectionError) as error:
            log.debug("connection lost: %r", error)
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Not yet: `Expect: 100-continue` is answered when the body's size is known and wanted."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server refuses by itself (bad request lines and headers), in the gateway's envelope."""
        del explain
        text = message or HTTPStatus(code).phrase
        self._send(self._responses.answer("BAD_REQUEST", int(code), text, request_id=self._request_id), True)

    def log_message(self, format: str, *args: Any) -> None:
        """http.server's own lines; ours is in _send."""

    def _respond(self) -> None:
        refuse = functools.partial(self._responses.answer, request_id=self._request_id)
        try:
            body = read_body(self.headers, self.rfile, self._go_on)
        except BodyTooLarge:
            self._send(refuse("REQUEST_TOO_LARGE", 413, "Request Entity Too Large"), True)
            linger(self.connection, self.rfile)
            return
        except BadFraming as error:
            self._send(refuse("BAD_REQUEST", error.status, str(error)), True)
            linger(self.connection, self.rfile)
            return
        headers = {name: str(value) for name, value in self.headers.items()}
        self._send(
            self._gateway.answer(
                self.command, self.path, headers, body, self.client_address[0], self._request_id
            )
        )

    def _go_on(self) -> None:
        if self.headers.get("Expect", "").lower() == "100-continue" and self.request_version >= "HTTP/1.1":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
            self.wfile.flush()

    def _send(self, answer: Answer, close: bool = False) -> None:
        has_body = answer.status >= 200 and answer.status not in (204, 304)
        self.send_response_only(answer.status)
        self.send_header("Server", "Trainyard")
        self.send_header("Date", self.date_time_string())
        self.send_header("x-amzn-RequestId", self._request_id)
        for name, value in answer.headers:
            self.send_header(name, value.replace("\r", " ").replace("\n", " "))
        if has_body:
            self.send_header("Content-Length", str(len(answer.body)))
        if close or self.close_connection:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()
        self._log_access(answer)

    def _log_access(self, answer: Answer) -> None:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request": self._request_id,
            "client": self.client_address[0],
            "method": self.command or "",
            "path": self.path.split("?")[0],  # a query may hold what no log should
            "status": answer.status,
            "bytes": len(answer.body),
            "ms": round((time.monotonic() - self._begun) * 1000, 1),
        }
        access.info("%s", json.dumps(line))


class _Server(ThreadedHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def make_server(app: Chalice, port: int, responses: GatewayResponses) -> LocalDevServer:
    """A server of `app`, bound but not serving yet."""
    # As chalice.local.create_local_server does: each thread gets a current_request of its own.
    app.__class__ = type("LocalApp", (LocalChalice, app.__class__), {})
    settings = Config.create(lambda_timeout=LAMBDA_TIMEOUT_SECONDS, lambda_memory_size=1024)
    gateway = Gateway(app, settings, responses)
    handler = functools.partial(Handler, gateway=gateway, responses=responses)
    return LocalDevServer(app, settings, config.HOST, port, handler_cls=handler, server_cls=_Server)


def _log_to_stdout() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    plain = logging.StreamHandler(sys.stdout)  # an access line is JSON and nothing else
    access.addHandler(plain)
    access.propagate = False


def main() -> int:
    _log_to_stdout()
    local = config.load()
    declared = template.read(config.RESOURCES)
    origin = load(os.environ).cors_origin
    responses = GatewayResponses(template.gateway_responses(declared), template.cors(declared), origin)
    server = make_server(app, local.port, responses)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"ready {local.url}", flush=True)
    server.server.serve_forever(poll_interval=0.1)
    server.server.server_close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
