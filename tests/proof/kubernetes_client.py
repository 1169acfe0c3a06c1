"""The official client's ApiClient on the Kubernetes in memory: what `cluster.api.KubernetesApi` stands on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

from urllib3.exceptions import ProtocolError, ReadTimeoutError

from infra.local.kubernetes.selection import Test, field_test, label_test
from tests.proof.kubernetes import Obj, Refusal, SimulatedKubernetes
from tests.proof.wire import Trouble, Vendor, Wire

SERVICE = "kubernetes"
REFUSALS = [500, 429, 401, 503, 403]  # by turns


class Body:
    """An answer of urllib3's, read at once or piece by piece."""

    def __init__(self, status: int, chunks: Iterator[bytes]) -> None:
        self.status = status
        self.response = self
        self.chunks = chunks
        self.is_shut = False

    def read(self) -> bytes:
        return b"".join(self.chunks)

    def stream(self, _size: int = 0) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        return

    def shutdown(self) -> None:
        self.is_shut = True


class SimulatedClient:
    """`disorder` lets watches tell some of what they have to tell twice, not at all, or in another order."""

    def __init__(
        self, cluster: SimulatedKubernetes, wire: Wire, disorder: Callable[[], Random | None]
    ) -> None:
        self._cluster, self._wire, self._disorder = cluster, wire, disorder
        self._refused = 0
        self._lists: list[tuple[str, list[Obj]]] = []  # those of several pages, with their versions

    def param_serialize(
        self, method: str, path: str, query_params: Sequence[tuple[str, str]] = (), **_: Any
    ) -> tuple[str, tuple[str, dict[str, str]], dict[str, str]]:
        return method, (path, dict(query_params)), {}

    def call_api(
        self, method: str, url: tuple[str, dict[str, str]], _headers: Any, body: Any, **_: Any
    ) -> Body:
        path, query = url
        plural, namespace, name = _place(path)
        verb = "watch" if "watch" in query else "list" if method == "GET" and not name else method
        vendor = Vendor(SERVICE, self._error, _sent_again if method in ("GET", "DELETE") else _unheard)

        def do() -> Body:
            if verb == "watch":
                return Body(200, self._watched(plural, namespace, query))
            return _json(self._answer(verb, (plural, namespace, name), query, body))

        try:
            return self._wire.carry(vendor, f"{verb} {plural}", method != "GET", do)  # type: ignore[no-any-return]
        except Refusal as refusal:
            return _json(refusal.status, refusal.code)

    def told(self, path: str, query: Mapping[str, str]) -> list[bytes]:
        """What a watch tells right now, a line each, and a bookmark."""
        plural, namespace, _ = _place(path)
        return list(self._watched(plural, namespace, query))

    def _answer(self, verb: str, key: tuple[str, str, str], query: Mapping[str, str], body: Any) -> Obj:
        plural, namespace, _ = key
        match verb:
            case "GET":
                return self._cluster.get(key)
            case "list":
                return self._page(plural, namespace, query)
            case "POST":
                return self._cluster.create_for_client(plural, namespace, body)
            case "PATCH":
                self._cluster.merge(key, body)
            case "DELETE":
                self._cluster.delete(key, body["propagationPolicy"])
        return {}

    def _page(self, plural: str, namespace: str, query: Mapping[str, str]) -> Obj:
        """All pages of a list are of the moment of its first one."""
        number, begin = len(self._lists), 0
        if token := query.get("continue"):
            number, begin = map(int, token.split("."))
            version, found = self._lists[number]
        else:
            version, found = (
                str(self._cluster.version),
                self._cluster.each(plural, namespace, _test(plural, query)),
            )
        end = begin + int(query.get("limit", "500"))
        metadata = {"resourceVersion": version}
        if end < len(found):
            metadata["continue"] = f"{number}.{end}"
            if not token:
                self._lists.append((version, found))
        return {"metadata": metadata, "items": found[begin:end]}

    def _watched(self, plural: str, namespace: str, query: Mapping[str, str]) -> Iterator[bytes]:
        since = int(query["resourceVersion"])
        try:
            changes = list(self._cluster.changes(plural, namespace, since, _test(plural, query)))
        except Refusal as refusal:
            yield _line({"type": "ERROR", "object": refusal.status})
            return
        if random := self._disorder():
            *changes, bookmark = changes
            changes = [c for c in changes for _ in range(random.choice([0, 1, 1, 1, 2]))]
            random.shuffle(changes)
            if random.random() < 0.5:  # else it breaks off
                changes.append(bookmark)
        yield from map(_line, changes)
        if random and changes and changes[-1]["type"] != "BOOKMARK":
            raise ProtocolError("Connection broken")

    def _error(self, trouble: Trouble) -> Exception:
        if trouble == Trouble.CONFLICT:
            return Refusal(409, "Conflict", "the object has been modified")
        if trouble == Trouble.REFUSED:
            self._refused += 1
            return Refusal(REFUSALS[self._refused % len(REFUSALS)], "Simulated")
        return ReadTimeoutError(None, "", "Read timed out.")  # type: ignore[arg-type]


def _sent_again(do: Callable[[], Any]) -> Any:
    """urllib3 repeats what may be repeated, when no answer comes."""
    with suppress(Refusal):
        do()
    return do()


def _unheard(do: Callable[[], Any]) -> Any:
    with suppress(Refusal):
        do()
    raise ProtocolError("Connection aborted.")


def _place(path: str) -> tuple[str, str, str]:
    """Plural, namespace or "", name or ""."""
    parts = path.strip("/").split("/")
    parts = parts[3:] if parts[0] == "apis" else parts[2:]
    namespace = ""
    if parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    return parts[0], namespace, parts[1] if parts[1:] else ""


def _test(plural: str, query: Mapping[str, str]) -> Test:
    return _selector(plural, query.get("labelSelector", ""), query.get("fieldSelector", ""))


@cache
def _selector(plural: str, labels: str, fields: str) -> Test:
    by_label, by_field = label_test(labels), field_test(fields, plural)
    return lambda obj: by_label(obj) and by_field(obj)


def _json(value: Obj, status: int = 200) -> Body:
    return Body(status, iter([json.dumps(value).encode()]))


def _line(value: Obj) -> bytes:
    return json.dumps(value).encode() + b"\n"
