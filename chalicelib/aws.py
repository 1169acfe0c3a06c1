"""The AWS calls outside the store: waking another function, and telling the world of what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws_session import AwsSession
from chalicelib.domain.repair import Repaired
from chalicelib.domain.state_change import StateChange
from chalicelib.errors import BusUnavailable, FunctionUnavailable, SecretUnavailable

SOURCE = "trainyard"
DETAIL_TYPE = "Training Job State Change"
REPAIR_DETAIL_TYPE = "Training Job Repair"

# The sync λ takes EventBridge's scheduled events; a kick is one without a time.
KICK = {
    "version": "0",
    "id": "kick",
    "detail-type": "Kick",
    "source": "trainyard",
    "account": "",
    "time": "",
    "region": "",
    "resources": [],
    "detail": {},
}


def client(session: AwsSession, service: str) -> Any:
    """A botocore client of that service; making one takes a moment."""
    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard"})
    return session.client(service, config=config)


def hasty_client(session: AwsSession, service: str, **options: Any) -> Any:
    """One for whoever has better things to do than to wait, and comes back: 3 s at most."""
    config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
    return session.client(service, config=config, **options)


def secret(manager: Any, arn: str) -> str:
    """What Secrets Manager has there. Raises SecretUnavailable."""
    try:
        return str(manager.get_secret_value(SecretId=arn)["SecretString"])
    except (BotoCoreError, ClientError) as error:
        raise SecretUnavailable(f"{arn} cannot be read: {error}") from error


class LambdaKick:
    """Invokes the function `name` asynchronously; `connect` makes the client, on first use. Raises
    FunctionUnavailable."""

    def __init__(self, name: str, connect: Callable[[], Any]) -> None:
        self._name = name
        self._connect = connect
        self._lambda: Any = None

    def __call__(self) -> None:
        if self._lambda is None:
            self._lambda = self._connect()
        try:
            self._lambda.invoke(FunctionName=self._name, InvocationType="Event", Payload=json.dumps(KICK))
        except (BotoCoreError, ClientError) as error:
            raise FunctionUnavailable(f"{self._name} cannot be invoked: {error}") from error


class EventBridge:
    """services.ports.Bus and RepairBus on the bus of that name."""

    def __init__(self, bus: str, events: Any) -> None:
        self._bus = bus
        self._events = events

    def __call__(self, changes: Sequence[StateChange]) -> Sequence[bool]:
        told = [(change.job.updated_at, change.detail) for change in changes]
        return self._put(DETAIL_TYPE, told)

    def repairs(self, repairs: Sequence[Repaired]) -> Sequence[bool]:
        return self._put(REPAIR_DETAIL_TYPE, [(repaired.at, repaired.detail) for repaired in repairs])

    def _put(self, kind: str, told: Sequence[tuple[datetime, Mapping[str, Any]]]) -> Sequence[bool]:
        entries = [self._entry(kind, time, detail) for time, detail in told]
        try:
            answer = self._events.put_events(Entries=entries)
        except (BotoCoreError, ClientError) as error:
            raise BusUnavailable(f"{self._bus} cannot be told: {error}") from error
        return ["ErrorCode" not in entry for entry in answer["Entries"]]

    def _entry(self, kind: str, time: datetime, detail: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "EventBusName": self._bus,
            "Source": SOURCE,
            "DetailType": kind,
            "Time": time,
            "Detail": json.dumps(detail),
        }
