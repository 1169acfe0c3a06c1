"""Reads the logs of pods that exist (GET …/pods/{name}/log).

`timestamps=true` puts the time of each line before it, in nanoseconds; `sinceTime` knows whole seconds only.
A kubelet shows a container's newest log file alone: what was rotated away is not in its answer.
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from urllib3 import BaseHTTPResponse

from chalicelib.cluster.api import KubernetesApi, NotFoundInCluster, reading
from chalicelib.domain.logs import (
    DISORDER,
    SECOND,
    Chunk,
    Mark,
    Stamped,
    last,
    nanoseconds,
    pieces,
    resume,
    rfc3339,
)
from chalicelib.domain.manifest import CONTAINER
from chalicelib.errors import ClusterRejected, ClusterUnavailable, PodNotFound

BLOCK = 2**16


class PodLogs:
    """services.cluster_ports.PodLogs on one cluster's API."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def tail(self, namespace: str, pod: str, lines: int, limit_bytes: int, *, ended: bool) -> Chunk:
        wanted, cut = lines, False
        while True:
            query = {"tailLines": wanted, "limitBytes": limit_bytes}
            with self.open(namespace, pod, query, ended=ended) as response:
                data = b"".join(response.stream(BLOCK)) if response else b""
            if len(data) < limit_bytes or wanted == 1:
                break
            # limitBytes counts from the oldest of the lines, and would cut off the newest.
            wanted, cut = max(1, wanted // 4), True
        too_long = len(data) >= limit_bytes  # a single line; its last piece is not complete
        found = list(_stamped(_lines([data], ended=ended or too_long)))
        found = found[:-1] if too_long else found
        return Chunk(last(found, lines), joined=cut or len(found) >= lines, cut=cut)

    def after(
        self, namespace: str, pod: str, mark: Mark | None, lines: int, limit_bytes: int, *, ended: bool
    ) -> Chunk:
        with self.open(namespace, pod, _since(mark), ended=ended) as response:
            blocks = response.stream(BLOCK) if response else ()
            joined, rest = resume(_stamped(_lines(blocks, ended=ended)), mark)
            found: list[Stamped] = []
            for line in rest:
                if len(found) >= lines or limit_bytes <= 0:
                    return Chunk(found, joined, whole=False)
                found.append(line)
                limit_bytes -= len(line.text)
        return Chunk(found, joined)

    def watch(self, namespace: str, pod: str, mark: Mark | None) -> LogWatch:
        return LogWatch(self, namespace, pod, mark)

    @contextmanager
    def open(
        self, namespace: str, pod: str, query: Mapping[str, Any], *, ended: bool
    ) -> Iterator[BaseHTTPResponse | None]:
        """The log's body; None for a container that has not started. Raises PodNotFound, also for one that
        has ended and that its node does not know any more."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        try:
            response = self._api.open(path, {"container": CONTAINER, "timestamps": "true", **query})
        except NotFoundInCluster as error:
            raise PodNotFound(pod) from error
        except ClusterRejected as error:  # 400
            if ended:
                raise PodNotFound(pod) from error
            yield None
            return
        try:
            with reading():
                yield response
        finally:
            response.close()


class LogWatch:
    """services.cluster_ports.LogWatch on a log that is followed."""

    def __init__(self, logs: PodLogs, namespace: str, pod: str, mark: Mark | None) -> None:
        self._logs = logs
        self._where = namespace, pod
        self._mark = mark
        self._lock = threading.Lock()
        self._response: BaseHTTPResponse | None = None
        self._closed = False

    def wait(self) -> bool:
        log = self._logs.open(*self._where, {"follow": "true", **_since(self._mark)}, ended=False)
        with suppress(ClusterUnavailable, PodNotFound), log as response:
            with self._lock:
                if self._closed or response is None:
                    return False
                self._response = response
            lines = _stamped(_lines(response.stream(BLOCK), ended=False))
            return any(map(self._is_news(), lines))
        return False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            # The waiting thread closes it; a socket that another thread reads can only be shut down.
            if self._response is not None:
                with suppress(ValueError, RuntimeError, OSError):
                    self._response.shutdown()

    def _is_news(self) -> Callable[[Stamped], bool]:
        mark, seen = self._mark, 0

        def check(line: Stamped) -> bool:
            nonlocal seen
            seen += mark is not None and line.time == mark.time
            return mark is None or line.time > mark.time or seen > mark.count

        return check


def _since(mark: Mark | None) -> dict[str, Any]:
    return {"sinceTime": rfc3339((mark.time - DISORDER) // SECOND * SECOND)} if mark else {}


def _lines(blocks: Iterable[bytes], *, ended: bool) -> Iterator[bytes]:
    """The lines of a body; the rest behind the last line break only if the container has `ended`."""
    parts: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        parts.append(first)
        if others:
            yield b"".join(parts)
            yield from others[:-1]
            parts = [others[-1]]
    rest = b"".join(parts)
    if ended and rest:
        yield rest


def _stamped(lines: Iterable[bytes]) -> Iterator[Stamped]:
    for line in lines:
        stamp, _, text = line.partition(b" ")
        try:
            time = nanoseconds(stamp.decode("ascii"))
        except ValueError as error:
            # The kubelet answers so when it has lost the file: "unable to retrieve container logs for …"
            raise ClusterUnavailable(f"not a log line: {line[:200]!r}") from error
        yield from pieces(time, text.decode(errors="replace"))
