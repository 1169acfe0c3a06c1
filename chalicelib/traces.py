"""Traces as AWS X-Ray shows them: what a request set off stays in its trace, past the table's stream.

API Gateway and Lambda record their own part by themselves. They do not follow a stream: the outbox' own call
is a trace of its own. So a job's record remembers the trace of the request that asked for something, and what
the outbox does about it is told as a segment of that trace, in one datagram to the daemon that Lambda runs.

What a segment is: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html
How it is sent: https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html
The two variables: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html

Traces are for looking at. Nobody waits for one, none fails anything, and where Lambda does not record (on a
laptop, a request that was not sampled) nothing is done at all. Whoever dies before he has told has told
nothing; a record that is delivered again is told of again.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.job import Job
from chalicelib.services.ports import Clock

HEADER = b'{"format": "json", "version": 1}\n'
MAX_BYTES = 64 * 1000  # of a document; a datagram takes 65,507
MAX_MESSAGE = 1000
_ROOT = r"1-[0-9a-f]{8}-[0-9a-f]{24}"
_PARENT = r"[0-9a-f]{16}"
_KNOWN = re.compile(rf"({_ROOT}):({_PARENT})")
_NOT_IN_A_NAME = re.compile(r"[^\w\s.:/%&#=+\\\-@]")
_ANSWERS = (404, 409)  # not there, there already: what a call may have wanted to know


@dataclass(slots=True)
class _Segment:
    document: dict[str, Any]
    calls: list[dict[str, Any]] = field(default_factory=list)
    blamed: Exception | None = None


# Of this thread: its calls belong to the segment that it has open.
_segment: ContextVar[_Segment | None] = ContextVar("segment", default=None)


class Traces:
    """services.ports.RequestTrace (`here`), JobTrace (`follow`), and the calls of a cluster (`call`).

    `environ` is read anew each time: Lambda changes it with every call of the function.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], clock: Clock, new_id: Callable[[], str]
    ) -> None:
        self._name = name
        self._environ = environ
        self._clock = clock
        self._new_id = new_id
        self._socket: socket.socket | None = None

    def here(self) -> str | None:
        """services.ports.RequestTrace: `<trace>:<segment>`."""
        header = self._environ.get("_X_AMZN_TRACE_ID", "")
        said = dict(part.strip().partition("=")[::2] for part in header.split(";"))
        trace = f"{said.get('Root')}:{said.get('Parent')}"
        return trace if said.get("Sampled") == "1" and _KNOWN.fullmatch(trace) else None

    @contextmanager
    def follow(self, job: Job) -> Iterator[None]:
        """services.ports.JobTrace: one segment, told when all is done."""
        known = _KNOWN.fullmatch(job.trace or "")
        if known is None or "AWS_XRAY_DAEMON_ADDRESS" not in self._environ:
            yield
            return
        about = {"job_id": job.id, "tenant": job.tenant, "pool": job.spec.pool, "status": job.status}
        document = self._begun(self._name, trace_id=known[1], parent_id=known[2], annotations=about)
        if ours := self.here():
            document["metadata"] = {"trainyard": {"outbox_trace": ours.partition(":")[0]}}
        segment = _Segment(document)
        token = _segment.set(segment)
        try:
            yield
        except Exception as error:
            if segment.blamed is not error:
                document |= self._trouble(error)
            raise
        finally:
            _segment.reset(token)
            document["end_time"] = self._now()
            self._send(segment)

    @contextmanager
    def call(self, name: str, method: str, path: str) -> Iterator[Callable[[int], None]]:
        """A call of a cluster, for the segment that is open, if any. Gives what is to be told the status of
        the answer. What the call raises is the whole segment's trouble too."""
        segment = _segment.get()
        if segment is None:
            yield _untold
            return
        http: dict[str, Any] = {"request": {"method": method, "url": path}}
        call = self._begun(_NOT_IN_A_NAME.sub("_", name), namespace="remote", http=http)
        segment.calls.append(call)
        try:
            yield lambda status: http.update(response={"status": status})
        except Exception as error:
            status = http.get("response", {}).get("status", 0)
            if status not in _ANSWERS:
                trouble = self._trouble(error, status)
                call |= trouble
                segment.document |= trouble
                segment.blamed = error
            raise
        finally:
            call["end_time"] = self._now()

    def _begun(self, name: str, **members: Any) -> dict[str, Any]:
        return {"name": name[:200], "id": self._new_id(), "start_time": self._now(), **members}

    def _trouble(self, error: Exception, status: int = 0) -> dict[str, Any]:
        """`error` is the caller's fault, `fault` the other side's or ours."""
        said = {"id": self._new_id(), "type": type(error).__name__, "message": str(error)[:MAX_MESSAGE]}
        kinds = {"error": True} if 400 <= status < 500 else {"fault": True}
        return {**kinds, "cause": {"exceptions": [said]}}

    def _send(self, segment: _Segment) -> None:
        text = json.dumps({**segment.document, "subsegments": segment.calls}).encode()
        if len(text) > MAX_BYTES:
            text = json.dumps(segment.document).encode()
        # No daemon, no room in its queue, an address that is none: then nobody hears of it.
        with suppress(OSError, ValueError, OverflowError):
            host, _, port = self._environ.get("AWS_XRAY_DAEMON_ADDRESS", "").rpartition(":")
            if self._socket is None:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.setblocking(False)
            self._socket.sendto(HEADER + text, (host, int(port)))

    def _now(self) -> float:
        return self._clock().timestamp()


def _untold(status: int) -> None:
    """Nobody records it."""
