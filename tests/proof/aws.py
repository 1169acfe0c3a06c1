"""The small parts of AWS around the functions: the bus, and the time that Lambda gives a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from tests.proof.scheduler import Scheduler


class Bus:
    """botocore's client of EventBridge: `told` is what it took. It refuses as many entries as is wanted."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []  # the details, in order
        self.refuses = 0

    def put_events(self, Entries: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        answers: list[dict[str, str]] = []
        for entry in Entries:
            if self.refuses:
                self.refuses -= 1
                answers.append({"ErrorCode": "ThrottlingException"})
            else:
                self.told.append(json.loads(entry["Detail"]))
                answers.append({"EventId": str(len(self.told))})
        return {"Entries": answers}


class Context:
    """Lambda's, on the simulated clock."""

    def __init__(self, scheduler: Scheduler, seconds: float) -> None:
        self._scheduler = scheduler
        self._until = scheduler.now + timedelta(seconds=seconds)

    def get_remaining_time_in_millis(self) -> int:
        return int((self._until - self._scheduler.now).total_seconds() * 1000)
