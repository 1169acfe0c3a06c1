"""The small parts of AWS around the functions: the bus, and the time that Lambda gives a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from chalicelib.aws import DETAIL_TYPE
from tests.proof.scheduler import Scheduler


class Bus:
    """botocore's client of EventBridge: `told` is what it took. It refuses as many entries as is wanted."""

    def __init__(self, on_change: Callable[[Mapping[str, Any]], None]) -> None:
        self._on_change = on_change
        self.told: list[Mapping[str, Any]] = []  # the details of state changes, in order
        self.repairs: list[Mapping[str, Any]] = []
        self.refuses = 0

    def put_events(self, Entries: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        answers: list[dict[str, str]] = []
        for entry in Entries:
            if self.refuses:
                self.refuses -= 1
                answers.append({"ErrorCode": "ThrottlingException"})
                continue
            detail = json.loads(entry["Detail"])
            if entry["DetailType"] == DETAIL_TYPE:
                self.told.append(detail)
                self._on_change(detail)
            else:
                self.repairs.append(detail)
            answers.append({"EventId": str(len(self.told))})
        return {"Entries": answers}


class Context:
    """Lambda's, on the simulated clock."""

    def __init__(self, scheduler: Scheduler, seconds: float) -> None:
        self._scheduler = scheduler
        self._until = scheduler.now + timedelta(seconds=seconds)

    def get_remaining_time_in_millis(self) -> int:
        return int((self._until - self._scheduler.now).total_seconds() * 1000)
