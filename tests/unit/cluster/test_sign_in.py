"""A sign-in that expires while a process lives is taken anew, and whoever asked notices nothing."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.sign_in import SignIn
from chalicelib.errors import ClusterUnavailable, SignInFailed


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
def port(cluster: Cluster) -> Iterator[int]:
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
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api(cluster: Cluster, port: int) -> KubernetesApi:
    return KubernetesApi.from_kubeconfig(cluster.kubeconfig(port), None, 5)


class SignIns:
    """Numbers the sign-ins and, in each, the tokens."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)
        self.made = 0

    def __call__(self) -> SignIn:
        self.made += 1
        tokens = (f"{self.made}.{number}" for number in itertools.count(1))
        host = self.hosts.pop(0) if len(self.hosts) > 1 else self.hosts[0]
        return SignIn(host, "", lambda: next(tokens))


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
    with pytest.raises(SignInFailed, match="401"):
        api.get("/a")
    assert cluster.asked == [("GET", "first"), ("GET", "first")]


def test_a_kubeconfig_that_is_gone_by_then_is_an_outage(cluster: Cluster, api: KubernetesApi) -> None:
    cluster.known = "another"
    (cluster.folder / "kubeconfig").unlink()
    with pytest.raises(ClusterUnavailable, match="kubeconfig"):
        api.get("/a")


def test_each_request_carries_the_token_of_its_moment(cluster: Cluster, port: int) -> None:
    signed = SignIns(f"http://127.0.0.1:{port}")
    api = KubernetesApi.from_sign_in(signed, 5)
    assert signed.made == 0, "nobody signs in before the first call"
    for cluster.known in ("1.1", "1.2", "1.3"):
        assert api.get("/a") == {"hello": "world"}
    assert signed.made == 1
    assert api.exec_call("/exec", []).headers == {"authorization": "Bearer 1.4"}


def test_a_token_that_is_not_taken_is_followed_by_one_of_a_new_sign_in(cluster: Cluster, port: int) -> None:
    api = KubernetesApi.from_sign_in(SignIns(f"http://127.0.0.1:{port}"), 5)
    cluster.known = "2.1"
    assert api.get("/a") == {"hello": "world"}
    assert cluster.asked == [("GET", "1.1"), ("GET", "2.1")]


def test_a_cluster_that_is_not_there_any_more_is_looked_for_by_the_next_call(
    cluster: Cluster, port: int
) -> None:
    api = KubernetesApi.from_sign_in(SignIns("http://127.0.0.1:1", f"http://127.0.0.1:{port}"), 5)
    cluster.known = "2.1"
    with pytest.raises(ClusterUnavailable, match="does not answer"):
        api.get("/a")
    assert api.get("/a") == {"hello": "world"}


def test_threads_whose_token_is_not_taken_sign_in_once(cluster: Cluster, port: int) -> None:
    numbers = itertools.count(1)

    def sign_in() -> SignIn:
        token = str(next(numbers))
        return SignIn(f"http://127.0.0.1:{port}", "", lambda: token)

    api = KubernetesApi.from_sign_in(sign_in, 5)
    cluster.known = "2"
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(api.get, ["/a"] * 8)) == [{"hello": "world"}] * 8
    assert next(numbers) == 3


def test_a_sign_in_that_fails_is_tried_again_by_the_next_call(cluster: Cluster, port: int) -> None:
    tried: list[str] = []

    def sign_in() -> SignIn:
        tried.append("tried")
        if len(tried) == 1:
            raise SignInFailed("the cluster is still being created")
        return SignIn(f"http://127.0.0.1:{port}", "", lambda: cluster.known)

    api = KubernetesApi.from_sign_in(sign_in, 5)
    with pytest.raises(SignInFailed, match="still being created"):
        list(api.watch("/a", {}, 1))
    assert api.get("/a") == {"hello": "world"}
