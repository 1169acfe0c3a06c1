"""What the store's tests share: jobs in a line, a clock that stands still, and a client that can be watched
and made to fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from botocore.exceptions import ClientError
from ulid import ULID

from chalicelib.domain.job import Job, JobSpec, Resources
from chalicelib.domain.states import Status
from chalicelib.store.counters import change_of, scopes_of
from chalicelib.store.dynamo import DynamoStore, StoreOptions
from chalicelib.store.items import to_item
from chalicelib.store.keys import Scope, counter_key
from infra.local import template
from infra.local.config import RESOURCES

START = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SHARDS = 3

_numbers = itertools.count()


def a_job(
    number: int = 1,
    *,
    tenant: str = "acme",
    status: Status = Status.PENDING,
    spec: Mapping[str, Any] | None = None,
) -> Job:
    """The job number so-and-so: created that many seconds after START, so that higher is newer."""
    created_at = START + timedelta(seconds=number)
    milliseconds = int(created_at.timestamp() * 1000)
    return Job(
        id=f"job-{ULID.from_bytes(milliseconds.to_bytes(6, 'big') + number.to_bytes(10, 'big'))}".lower(),
        tenant=tenant,
        spec=a_spec(**({"name": f"train {number}"} | dict(spec or {}))),
        status=status,
        reason="Accepted",
        message="waits for the cluster",
        version=1,
        created_at=created_at,
        updated_at=created_at,
        created_by="ann",
    )


def a_spec(**changes: Any) -> JobSpec:
    usual: dict[str, Any] = {
        "name": "train",
        "image": "pytorch:2",
        "command": ("python", "train.py"),
        "resources": Resources(cpu=4, memory=8 * 1024**3, gpu=1),
        "pool": "default",
    }
    return JobSpec(**(usual | changes))


def moved(job: Job, status: Status, **changes: Any) -> Job:
    return job.changed(job.updated_at + timedelta(seconds=1), status=status, **changes)


def deleted(job: Job) -> Job:
    now = job.updated_at + timedelta(seconds=1)
    return job.changed(now, deleted_at=now)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Call:
    """One request that reached the client, and its answer."""

    operation: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]


@dataclass
class Failure:
    """What a planned failure does: raise `error` instead of the request, or once it was carried out."""

    operation: str
    error: Exception
    carried_out: bool = False


class Spy:
    """A client that writes down what is asked of it, and fails as planned."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls: list[Call] = []
        self.failures: list[Failure] = []

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Mapping[str, Any]:
            answer: Mapping[str, Any] = {}
            if self.failures and self.failures[0].operation == operation:
                failure = self.failures.pop(0)
                if failure.carried_out:
                    with suppress(ClientError):
                        getattr(self.client, operation)(**request)
                self.calls.append(Call(operation, request, answer))
                raise failure.error
            try:
                answer = getattr(self.client, operation)(**request)
            finally:
                self.calls.append(Call(operation, request, answer))
            return answer

        return call

    def fail(self, operation: str, error: Exception, *, times: int = 1, carried_out: bool = False) -> None:
        self.failures += [Failure(operation, error, carried_out)] * times

    def asked(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]


def client_error(code: str, *, reasons: Sequence[str] = (), retries: int = 0) -> ClientError:
    """An error as botocore raises it; `reasons` are the codes of a cancelled transaction's actions."""
    response: Any = {
        "Error": {"Code": code, "Message": f"{code} by the test"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RetryAttempts": retries},
    }
    if reasons:
        response["CancellationReasons"] = [{"Code": reason} for reason in reasons]
    return ClientError(response, "Test")


def cancelled(*reasons: str, retries: int = 0) -> ClientError:
    return client_error("TransactionCanceledException", reasons=reasons, retries=retries)


@dataclass
class Bench:
    """A store on an empty table of its own, and everything that it depends on."""

    client: Any
    table: str
    clock: Clock = field(default_factory=Clock)
    sleeps: list[float] = field(default_factory=list)
    shards: int = SHARDS

    def __post_init__(self) -> None:
        self.spy = Spy(self.client)
        self.store = self.another(self.spy)

    def another(
        self, client: Any = None, sleep: Callable[[float], None] | None = None, **options: Any
    ) -> DynamoStore:
        """Another store on the same table."""
        chosen = StoreOptions(table=self.table, **({"counter_shards": self.shards} | options))
        return DynamoStore(
            client or self.client,
            chosen,
            clock=self.clock,
            sleep=sleep or self.sleeps.append,
            # Tokens of transactions come from it, and a server remembers those across tables.
            random=Random(f"{self.table} {next(_numbers)}"),
        )

    def seed(self, jobs: Iterable[Job]) -> list[Job]:
        """Put records and counters into the table quickly, without the store's transactions."""
        jobs = list(jobs)
        totals: dict[Scope, dict[Status, int]] = {}
        for job in jobs:
            for scope in scopes_of(job):
                for status, number in change_of(job, None).items():
                    of_scope = totals.setdefault(scope, {})
                    of_scope[status] = of_scope.get(status, 0) + number
        counters = [
            {**counter_key(scope, 0), "version": {"N": "1"}}
            | {status.value: {"N": str(number)} for status, number in numbers.items()}
            for scope, numbers in totals.items()
        ]
        items = iter([*(to_item(job) for job in jobs), *counters])
        while batch := list(itertools.islice(items, 25)):
            self.client.batch_write_item(
                RequestItems={self.table: [{"PutRequest": {"Item": item}} for item in batch]}
            )
        return jobs

    def item(self, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        item: Mapping[str, Any] | None = self.client.get_item(TableName=self.table, Key=key).get("Item")
        return item


@cache
def jobs_table() -> Mapping[str, Any]:
    """The properties of JobsTable as infra/resources.yaml has them."""
    properties: Mapping[str, Any] = template.read(RESOURCES)["Resources"]["JobsTable"]["Properties"]
    return properties


def create_table(client: Any, name: str) -> None:
    """Create the table of infra/resources.yaml."""
    properties = jobs_table()
    taken = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    client.create_table(
        TableName=name,
        StreamSpecification={"StreamEnabled": True, **properties["StreamSpecification"]},
        **{part: properties[part] for part in taken},
    )
