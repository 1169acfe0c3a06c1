"""A sign-in that expires while a process lives is taken anew, and whoever asked notices nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chalicelib.cluster.api import KubernetesApi
from chalicelib.errors import ClusterUnavailable


@dataclass
class Cluster:
    """An API that knows one token, and a kubeconfig whose token file is renewed by somebody else."""

    folder: Path
    known: str = "first"
    asked: list[tuple[str, str]] = field(default_factory=list)  # method, token

    def renew(self, token: str) -> None:
        (self.folder / "token").write_text(token)

    def kubeconfig(self, port: int) -> str:
        path = self.folder / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"tokenFile": str(self.folder / "token")}}],
        }
        path.write_text(json.dumps(config))
        return str(path)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    found = Cluster(tmp_path)
    found.renew("first")
    return found


@pytest.fixture
def api(cluster: Cluster) -> Iterator[KubernetesApi]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            cluster.asked.append((self.command, token))
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            is_known = token == cluster.known
            text = {"hello": "world"} if is_known else {"message": "Unauthorized", "reason": "Unauthorized"}
            told = {"type": "ADDED", "object": text} if "watch" in self.path else text
            body = json.dumps(told).encode() + b"\n"
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield KubernetesApi.from_kubeconfig(cluster.kubeconfig(server.server_port), None, 5)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def expire(cluster: Cluster) -> None:
    cluster.known = "second"
    cluster.renew("second")
    cluster.asked.clear()


def test_a_token_that_expired_is_taken_anew_and_the_call_is_made_again(
    cluster: Cluster, api: KubernetesApi
) -> None:
    assert api.get("/a") == {"hello": "world"}
    expire(cluster)
    assert api.create("/a", {}) == {"hello": "world"}
    assert cluster.asked == [("POST", "first"), ("POST", "second")]
    assert api.get("/a") == {"hello": "world"}
    assert cluster.asked[2:] == [("GET", "second")], "it is kept from then on"


def test_a_watch_begins_again_with_the_new_token(cluster: Cluster, api: KubernetesApi) -> None:
    expire(cluster)
    assert [change["object"] for change in api.watch("/a", {}, 1)] == [{"hello": "world"}]


def test_a_sign_in_that_nobody_renewed_is_an_outage_and_tried_once_a_call(
    cluster: Cluster, api: KubernetesApi
) -> None:
    cluster.known = "another"
    with pytest.raises(ClusterUnavailable, match="401"):
        api.get("/a")
    assert cluster.asked == [("GET", "first"), ("GET", "first")]


def test_a_kubeconfig_that_is_gone_by_then_is_an_outage(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.known = "another"
    (cluster.folder / "kubeconfig").unlink()
    with pytest.raises(ClusterUnavailable, match="kubeconfig"):
        api.get("/a")
