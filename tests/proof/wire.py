"""Every call that leaves a process passes here: it is counted, and may go wrong in any way that calls do.

Whoever adds a client wraps it in the world (`Wire.client`), and its calls are found, counted, killed and
failed like all others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.proof.scheduler import Killed, Scheduler
from tests.unit.store.support import cancelled, client_error

READS = frozenset(
    {"get_item", "batch_get_item", "query", "GET", "list", "watch", "get_object", "head_object"}
)


class Trouble(StrEnum):
    """What may become of a call."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    STALLED_BEFORE = "stalled before"
    STALLED_AFTER = "stalled after"
    REFUSED = "refused"  # throttled, a 500, …: not carried out
    UNSENT = "timeout before"  # not carried out, and the caller does not know
    UNHEARD = "timeout after"  # carried out, and the caller does not know
    REPEATED = "repeated by its client"  # carried out, no answer, sent again by the vendor's client
    CONFLICT = "conflict"  # 409 on a stale version, a transaction in the way


@dataclass(frozen=True, slots=True)
class Call:
    """One call: by which function, of which service, what; `number` counts the side effects, 0 is a read."""

    function: str
    service: str
    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.function}: {self.service} {self.what}"


@dataclass(frozen=True, slots=True)
class Vendor:
    """How a service's client fails: `error(trouble)` is what it raises, `again` what it does after a lost
    answer."""

    service: str
    error: Callable[[Trouble], Exception]
    again: Callable[[Callable[[], Any]], Any]


Describe = Callable[[str, Mapping[str, Any]], str]
Plan = Callable[[Call], tuple[Trouble, float] | None]


class Wire:
    """The `plans` are asked about each call, and the first that has an answer decides; the second part of
    that is for how long a stalled call stalls."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.effects: list[Call] = []
        self.met: Counter[tuple[str, Trouble]] = Counter()
        self.plans: list[Plan] = []
        self.latency = 0.0  # seconds that each call takes, in which others have their turn
        self._scheduler = scheduler

    def carry(self, vendor: Vendor, what: str, is_effect: bool, do: Callable[[], Any]) -> Any:
        worker = self._scheduler.running
        assert worker is not None, "only workers make calls"
        if worker.dead:
            raise Killed
        if self.latency:
            self._scheduler.sleep(self.latency)
        call = Call(worker.name, vendor.service, what, len(self.effects) + 1 if is_effect else 0)
        if is_effect:
            self.effects.append(call)
        trouble, seconds = next(filter(None, (plan(call) for plan in self.plans)), (None, 0.0))
        if trouble:
            self.met[vendor.service, trouble] += 1
        match trouble:
            case None:
                return do()
            case Trouble.KILLED_BEFORE:
                self._kill()
            case Trouble.KILLED_AFTER:
                try:
                    do()
                finally:
                    self._kill()
            case Trouble.STALLED_BEFORE:
                worker.stood_still = True
                self._scheduler.sleep(seconds)
                return do()
            case Trouble.STALLED_AFTER:
                try:
                    return do()
                finally:
                    self._scheduler.sleep(seconds)
            case Trouble.UNHEARD:
                with suppress(Exception):  # whatever it was, nobody hears of it
                    do()
                raise vendor.error(trouble)
            case Trouble.REPEATED:
                return vendor.again(do)
        raise vendor.error(trouble)

    def client(self, service: str, client: Any, describe: Describe = lambda operation, _: operation) -> Any:
        """A client like botocore's, each of whose operations passes here."""
        return _Client(self, service, client, describe)

    def _kill(self) -> None:
        worker = self._scheduler.running
        assert worker is not None
        worker.dead = True
        raise Killed


class _Client:
    def __init__(self, wire: Wire, service: str, client: Any, describe: Describe) -> None:
        self._wire, self._service, self._client, self._describe = wire, service, client, describe

    def __getattr__(self, operation: str) -> Any:
        do = getattr(self._client, operation)
        vendor = Vendor(self._service, lambda trouble: _botocore_error(trouble, operation), _sent_again)

        def call(**request: Any) -> Any:
            what = self._describe(operation, request)
            return self._wire.carry(vendor, what, operation not in READS, lambda: do(**request))

        return call


def _botocore_error(trouble: Trouble, operation: str) -> Any:
    if trouble == Trouble.CONFLICT and operation == "transact_write_items":
        return cancelled("TransactionConflict")
    if trouble == Trouble.CONFLICT and operation in ("put_item", "update_item", "delete_item"):
        return client_error("TransactionConflictException")
    if trouble in (Trouble.REFUSED, Trouble.CONFLICT):
        return client_error("ThrottlingException", retries=2)
    return ReadTimeoutError(endpoint_url="https://simulated")


def _sent_again(do: Callable[[], Any]) -> Any:
    """botocore repeats a request, token and all, when its answer does not come."""
    with suppress(ClientError):
        do()
    try:
        return do()
    except ClientError as error:
        error.response["ResponseMetadata"]["RetryAttempts"] = 1
        raise
