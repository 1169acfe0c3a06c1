"""Calls a scheduled function as EventBridge would, one call at a time, and at once when it is kicked."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from infra.local.config import REGION

ACCOUNT = "000000000000"
AFTER_CRASH_SECONDS = 2.0

log = logging.getLogger("trainyard.pump")


class Context:
    """What Lambda hands a function; a stack that is going down leaves it no time."""

    memory_limit_in_mb = 512
    function_version = "$LATEST"

    def __init__(self, function: str, seconds: float, stopping: threading.Event) -> None:
        self.function_name = function
        self.aws_request_id = str(uuid.uuid4())
        self.invoked_function_arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
        self.log_group_name = f"/aws/lambda/{function}"
        self.log_stream_name = "local"
        self._until = time.monotonic() + seconds
        self._stopping = stopping

    def get_remaining_time_in_millis(self) -> int:
        if self._stopping.is_set():
            return 0
        return max(0, int((self._until - time.monotonic()) * 1000))


class Schedule:
    """One rule and its function, in a thread of its own."""

    def __init__(
        self,
        name: str,
        handler: Callable[[dict[str, Any], Any], Any],
        stopping: threading.Event,
        *,
        every_seconds: float = 60.0,
        timeout_seconds: float = 60.0,
    ) -> None:
        self._name = name
        self._handler = handler
        self._stopping = stopping
        self._every = every_seconds
        self._timeout = timeout_seconds
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def kick(self) -> None:
        """Call it now, or once more when the call that runs has ended."""
        self._wake.set()

    def join(self, seconds: float) -> bool:
        """Wait for the call that runs to end, after `stopping` was set; whether it did."""
        self._wake.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            due = time.monotonic() + self._every
            if not self._call():
                due = min(due, time.monotonic() + AFTER_CRASH_SECONDS)
            self._wake.wait(max(0.0, due - time.monotonic()))

    def _call(self) -> bool:
        context = Context(self._name, self._timeout, self._stopping)
        try:
            answer = self._handler(scheduled_event(self._name), context)
        except Exception:
            log.exception("%s crashed", self._name)
            return False
        log.debug("%s answered %s", self._name, answer)
        return True


def scheduled_event(rule: str, now: datetime | None = None) -> dict[str, Any]:
    """EventBridge's event of a rate rule."""
    moment = now or datetime.now(UTC)
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/trainyard-{rule}"],
        "detail": {},
    }
