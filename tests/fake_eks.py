"""An EKS of one's own: its API, an STS beside it, and clusters that take tokens as EKS' do.

A cluster here is a front before some other Kubernetes, on HTTPS: it checks a request's token
(tests/iam_authenticator.py), and hands the request on as the groups of the caller's access entry.
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import trustme
from urllib3 import HTTPHeaderDict

from tests.functional.kubernetes.clusters import Cluster
from tests.iam_authenticator import NotKnown, check, decoded

REGION = "eu-west-1"
ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2040-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up is none of ours."""


class _Server:
    """Answers in threads of its own, between `start` and `close`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                owner.answer(self)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = _Quiet(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError


class FakeAws(_Server):
    """EKS' and STS' APIs. `secrets` are the access keys that STS knows."""

    def __init__(self, secrets: dict[str, str]) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"
        self.secrets = secrets
        self.clusters: dict[str, FakeEksCluster] = {}
        self.statuses: dict[str, str] = {}
        self.asked: list[str] = []
        self.lent: list[str] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.command == "POST":
            length = int(request.headers["Content-Length"])
            form = {k: v[0] for k, v in parse_qs(request.rfile.read(length).decode()).items()}
            self.asked.append(f"{form['Action']} {form['RoleArn']}")
            key, secret = f"ASIA{len(self.lent) + 1}", f"secret of {len(self.lent) + 1}"
            self.lent.append(key)
            self.secrets[key] = secret
            _send(request, 200, ASSUMED.format(key=key, secret=secret), "text/xml")
            return
        name = request.path.rpartition("/")[2]
        self.asked.append(f"DescribeCluster {name}")
        found = self.clusters.get(name)
        if found is None:
            body = {"message": f"No cluster found for name: {name}."}
            _send(request, 404, json.dumps(body), error="ResourceNotFoundException")
            return
        told = {
            "name": name,
            "status": self.statuses.get(name, "ACTIVE"),
            "endpoint": found.url,
            "certificateAuthority": {"data": found.certificate_authority},
        }
        _send(request, 200, json.dumps({"cluster": told}))


class FakeEksCluster(_Server):
    """`entries` are the access entries: access key → the groups of whoever signs with it."""

    def __init__(self, name: str, aws: FakeAws, behind: Cluster) -> None:
        ca = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1").configure_cert(context)
        super().__init__(context)
        self.name = name
        self.url = f"https://127.0.0.1:{self.port}"
        self.certificate_authority = b64encode(ca.cert_pem.bytes()).decode()
        self.entries: dict[str, list[str]] = {}
        self.tokens: list[str] = []
        self._aws = aws
        self._behind: Any = behind.api

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        token = (request.headers["Authorization"] or "").removeprefix("Bearer ")
        if token not in self.tokens:
            self.tokens.append(token)
        try:
            key = check(token, self.name, REGION, self._aws.secrets, datetime.now(UTC))
        except NotKnown:
            key = ""
        if key not in self.entries:
            body = {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized", "code": 401}
            _send(request, 401, json.dumps(body))
            return
        self._hand_on(request, key)

    @property
    def keys(self) -> list[str]:
        """The access keys that tokens were signed with, in order."""
        return [decoded(token).access_key for token in self.tokens]

    def _hand_on(self, request: BaseHTTPRequestHandler, key: str) -> None:
        headers = HTTPHeaderDict({"Content-Type": request.headers["Content-Type"], "Impersonate-User": key})
        for group in self.entries[key]:
            headers.add("Impersonate-Group", group)
        answer = self._behind.rest_client.pool_manager.request(
            request.command,
            self._behind.configuration.host + request.path,
            body=request.rfile.read(int(request.headers["Content-Length"] or 0)),
            headers=headers,
            preload_content=False,
            retries=False,
        )
        request.send_response(answer.status)
        request.send_header("Content-Type", answer.headers["Content-Type"])
        request.end_headers()
        for piece in answer.stream():
            request.wfile.write(piece)
        answer.release_conn()


def _send(
    request: BaseHTTPRequestHandler, status: int, body: str, kind: str = "application/json", error: str = ""
) -> None:
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("x-amzn-ErrorType", error)
    request.end_headers()
    request.wfile.write(body.encode())
