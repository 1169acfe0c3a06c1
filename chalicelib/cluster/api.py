"""The Kubernetes API by path and plain dicts, over the official client's connection and sign-in.

The client's typed APIs cost a second of cold start to import (see CONTRIBUTING); ApiClient alone carries what
matters: kubeconfig, TLS, tokens and connection pools. `kubernetes` is imported on first use only.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    SSLError,
)

from chalicelib.cluster.clients import kubeconfig_client, token_client
from chalicelib.cluster.lines import together
from chalicelib.cluster.sign_in import MakeSignIn
from chalicelib.cluster.traced import CallTrace, untraced
from chalicelib.errors import ClusterForbids, ClusterRejected, ClusterUnavailable, SignInFailed
from chalicelib.services.cluster_ports import ExecCall

PAGE_SIZE = 500
_NOT_THERE = (NewConnectionError, ConnectTimeoutError, SSLError)  # nobody at that address, or somebody else


class NotFoundInCluster(Exception):
    """404. Stays within this package."""


class AlreadyExists(Exception):
    """409 on create. Stays within this package."""


class Gone(ClusterUnavailable):
    """410: that version, or that page of a list, is no longer remembered."""


class KubernetesApi:
    """One cluster's API. `timeout_seconds` bounds the connection and each wait for bytes; `sign_in` makes a
    client, on first use and again when the cluster no longer knows who we are (a token or a certificate
    expired) or is no longer where it was (it was made anew). `trace` records its calls."""

    def __init__(
        self, sign_in: Callable[[], Any], timeout_seconds: float, trace: CallTrace = untraced
    ) -> None:
        self._sign_in = sign_in
        self._signed_in: Any = None
        self._lock = threading.Lock()
        self._timeout = (timeout_seconds, timeout_seconds)
        self._trace = trace
        self._watched: set[BaseHTTPResponse] = set()

    @classmethod
    def from_kubeconfig(
        cls, path: str | None, context: str | None, timeout_seconds: float, trace: CallTrace = untraced
    ) -> KubernetesApi:
        """Connect as the kubeconfig at `path` says; None: in a pod as its service account, else as the
        kubeconfig in the usual places."""
        return cls(partial(kubeconfig_client, path, context), timeout_seconds, trace)

    @classmethod
    def from_sign_in(
        cls, make: MakeSignIn, timeout_seconds: float, trace: CallTrace = untraced
    ) -> KubernetesApi:
        """Connect to where `make` says, with its tokens."""
        return cls(partial(token_client, make), timeout_seconds, trace)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _object(self._request("GET", path, query))

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _object(self._request("POST", path, None, body))

    def delete(self, path: str, body: Mapping[str, Any]) -> None:
        self._request("DELETE", path, None, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """Merge `body` into the object (RFC 7396)."""
        self._request("PATCH", path, None, body)

    def open(self, path: str, query: Mapping[str, Any]) -> BaseHTTPResponse:
        """A body to be read piece by piece, such as a log, within `reading`; the caller closes it."""
        return self._open("GET", path, query)

    def items(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Every object of a list, read a page at a time. Raises ClusterUnavailable when a page expired."""
        for page in self.pages(path, query):
            yield from page.get("items") or ()

    def pages(self, path: str, query: Mapping[str, Any], size: int = PAGE_SIZE) -> Iterator[dict[str, Any]]:
        """A list in answers of at most `size` objects."""
        page_query = {**query, "limit": size}
        while True:
            try:
                page = self.get(path, page_query)
            except NotFoundInCluster as error:
                raise ClusterUnavailable(f"there is no {path}") from error
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            page_query["continue"] = token

    def watch(self, path: str, query: Mapping[str, Any], seconds: float) -> Iterator[dict[str, Any]]:
        """The changes of a list as they happen, for about that long. Raises Gone when it was too long ago
        that the query's `resourceVersion` was the newest."""
        for changes in self.watch_many(path, query, seconds):
            yield from changes

    def watch_many(
        self, path: str, query: Mapping[str, Any], seconds: float
    ) -> Iterator[Sequence[dict[str, Any]]]:
        """As `watch`, with those together that have come by the time that they are asked for."""
        timing = {"watch": 1, "timeoutSeconds": max(1, round(seconds)), "allowWatchBookmarks": "true"}
        # The server is to end it, so that the connection stays good; it knows whole seconds only.
        patience = seconds if seconds < 1 else seconds + 1
        connect, _ = self._timeout
        response = self._open("GET", path, {**query, **timing}, None, (connect, patience))
        self._watched.add(response)
        try:
            with reading():
                for lines in together(response):
                    changes, trouble = _changes(lines)
                    if changes:
                        yield changes
                    if trouble:
                        raise trouble
        except ClusterUnavailable:
            if response in self._watched:
                raise
        finally:
            self._watched.discard(response)

    def hang_up(self) -> None:
        """End the watches that are open, whichever thread reads them."""
        while self._watched:
            # A socket that another thread reads can only be shut down; that thread closes it.
            with suppress(ValueError, RuntimeError, OSError, KeyError):
                self._watched.pop().shutdown()

    def exec_call(self, path: str, query: Sequence[tuple[str, str]]) -> ExecCall:
        """What another client needs to open a WebSocket at `path` with our sign-in."""
        client = self._client()
        settings = client.configuration
        try:
            _, url, headers, *_ = client.param_serialize(
                "GET", path, query_params=list(query), auth_settings=["BearerToken"]
            )
            tls = _tls(settings) if url.startswith("https") else None
        except (OSError, ValueError) as error:  # a certificate or a token that is not there
            raise ClusterUnavailable(f"cannot sign in: {error}") from error
        authorization = {name: text for name, text in headers.items() if name.lower() == "authorization"}
        return ExecCall(
            url=url.replace("http", "ws", 1),
            headers=authorization,
            tls=tls,
            server_name=settings.tls_server_name,
        )

    def _request(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Mapping[str, Any] | None = None
    ) -> bytes:
        response = self._open(method, path, query, body)
        with reading():
            data: bytes = response.read() or b""
        return data

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None = None,
        timeout: tuple[float, float] | None = None,
    ) -> BaseHTTPResponse:
        """The answer, its body not read yet."""
        with self._trace(method, path) as answered, reading():
            client = self._client()
            answer = self._call(client, method, path, query, body, timeout)
            if answer.status == 401:
                self._forget(client)
                answer = self._call(self._client(), method, path, query, body, timeout)
            answered(answer.status)
            if answer.status >= 400:
                raise _error(answer.status, answer.read() or b"")
        response: BaseHTTPResponse = answer.response
        return response

    def _client(self) -> Any:
        with self._lock:
            if self._signed_in is None:
                self._signed_in = self._sign_in()
            return self._signed_in

    def _forget(self, client: Any) -> None:
        """Sign in anew, unless another thread already has."""
        with self._lock:
            if self._signed_in is client:
                self._signed_in = None

    def _call(
        self,
        client: Any,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        timeout: tuple[float, float] | None,
    ) -> Any:
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": content_type}
        pairs = [(key, str(value)) for key, value in (query or {}).items()]
        method, url, headers, *_ = client.param_serialize(
            method, path, query_params=pairs, header_params=headers, auth_settings=["BearerToken"]
        )
        try:
            return client.call_api(method, url, headers, body, _request_timeout=timeout or self._timeout)
        except MaxRetryError as error:
            if isinstance(error.reason, _NOT_THERE):
                self._forget(client)
            raise


@contextmanager
def reading() -> Iterator[None]:
    """Turn a broken connection into ClusterUnavailable."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

    try:
        yield
    except (HTTPError, ApiException) as error:
        raise ClusterUnavailable(f"the Kubernetes API does not answer: {error}") from error


def _tls(settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert, cadata=settings.ca_cert_data)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    if not settings.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _changes(lines: Sequence[bytes]) -> tuple[list[dict[str, Any]], Exception | None]:
    """What lines tell, up to the first that tells of trouble."""
    changes: list[dict[str, Any]] = []
    for line in lines:
        try:
            changes.append(_change(line))
        except (ClusterUnavailable, ClusterRejected, NotFoundInCluster, AlreadyExists) as error:
            return changes, error
    return changes, None


def _change(line: bytes) -> dict[str, Any]:
    change = _object(line)
    if change.get("type") == "ERROR":
        said = change.get("object") or {}
        raise _error(int(said.get("code") or 500), json.dumps(said).encode())
    return change


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ClusterUnavailable("the Kubernetes API did not answer with JSON") from error
    if not isinstance(value, dict):
        raise ClusterUnavailable("the Kubernetes API did not answer with an object")
    return value


def _error(status: int, data: bytes) -> Exception:
    """The error that an answer of `status` stands for; its text is the Status object's own message."""
    try:
        said = json.loads(data)
        message, reason = str(said.get("message")), str(said.get("reason"))
    except (ValueError, AttributeError):
        message, reason = data.decode(errors="replace")[:500], ""
    match status:
        case 401:
            return SignInFailed(
                "the cluster does not know who Trainyard is (401): its sign-in expired, or no admin has let "
                "it in yet (on EKS, that takes an access entry for the function's role)"
            )
        case 404:
            return NotFoundInCluster(message)
        case 409 if reason == "AlreadyExists":
            return AlreadyExists(message)
        case 410:
            return Gone(message)
        case 403:
            return ClusterForbids(message)
        case 400 | 413 | 422:
            return ClusterRejected(message)
        case _:
            return ClusterUnavailable(f"{status} {message}")
