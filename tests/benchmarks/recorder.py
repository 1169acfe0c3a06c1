"""What the store asks of DynamoDB, written down: a raw client is then asked the very same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any

from chalicelib.bootstrap import utc_now
from chalicelib.store.dynamo import DynamoStore, StoreOptions


@dataclass
class Recorder:
    """Stands in for the DynamoDB client, or before one: keeps what it was asked and answered."""

    client: Any = None
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    answers: list[Mapping[str, Any]] = field(default_factory=list)

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            answer = getattr(self.client, operation)(**request) if self.client else {}
            self.asked.append((operation, request))
            self.answers.append(answer)
            return answer

        return call


def recorded_store(client: Any, table: str) -> DynamoStore:
    """The store as it is wired in a function, on another client."""
    options = StoreOptions(table=table)
    return DynamoStore(client, options, clock=utc_now, sleep=time.sleep, random=SystemRandom())
