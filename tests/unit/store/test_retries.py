"""What the store does when DynamoDB conflicts, throttles, fails or leaves us in doubt: emulators never do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, EndpointConnectionError, ReadTimeoutError

from chalicelib.domain.states import Status
from chalicelib.errors import StaleRecord, StoreRejected, StoreUnavailable
from chalicelib.services.ports import Idempotency, ListQuery
from chalicelib.store.dynamo import DynamoStore, StoreOptions
from chalicelib.store.table import ATTEMPTS, BACKOFF_LIMIT_SECONDS
from tests.unit.store.claims import TICKET
from tests.unit.store.events import JOB_ID, an_event
from tests.unit.store.support import START, Bench, a_job, cancelled, client_error, deleted, moved

TRANSACT = "transact_write_items"
CONFLICT = cancelled("None", "TransactionConflict", "None")
RETRIED = [
    pytest.param(cancelled("TransactionConflict", "None", "None"), id="a conflict on the record"),
    pytest.param(CONFLICT, id="a conflict on a counter"),
    pytest.param(cancelled("None", "ThrottlingError"), id="throttled"),
    pytest.param(cancelled("None", "ProvisionedThroughputExceeded"), id="over the table's throughput"),
    pytest.param(client_error("TransactionInProgressException"), id="our own request still under way"),
]


@pytest.mark.parametrize("error", RETRIED)
def test_a_cancelled_transaction_is_tried_again(bench: Bench, error: Exception) -> None:
    bench.spy.fail(TRANSACT, error, times=2)
    job = a_job()
    assert bench.store.create(job) == job
    assert bench.store.get(job.id) == job
    assert _total(bench) == 1


def test_each_attempt_is_a_request_of_its_own_on_the_next_shard(bench: Bench) -> None:
    bench.spy.fail(TRANSACT, CONFLICT, times=2)
    bench.store.create(a_job())
    requests = [call.request for call in bench.spy.asked(TRANSACT)]
    assert len({request["ClientRequestToken"] for request in requests}) == 3
    shards = [int(_counter_partition(request).rpartition("#")[2]) for request in requests]
    assert shards == [(shards[0] + n) % bench.shards for n in range(3)]


def test_pauses_grow_from_random_lengths_up_to_a_limit(bench: Bench) -> None:
    bench.spy.fail(TRANSACT, CONFLICT, times=ATTEMPTS)
    with pytest.raises(StoreUnavailable):
        bench.store.create(a_job())
    longest = [min(BACKOFF_LIMIT_SECONDS, 0.025 * 2**n) for n in range(ATTEMPTS - 1)]
    assert len(bench.sleeps) == ATTEMPTS - 1
    assert all(0 <= pause <= limit for pause, limit in zip(bench.sleeps, longest, strict=True))
    assert len(set(bench.sleeps)) == len(bench.sleeps)


def test_a_conflict_without_end_is_unavailable_and_writes_nothing(bench: Bench) -> None:
    bench.spy.fail(TRANSACT, CONFLICT, times=ATTEMPTS)
    with pytest.raises(StoreUnavailable):
        bench.store.create(a_job(), Idempotency("k", "f"))
    assert len(bench.spy.asked(TRANSACT)) == ATTEMPTS
    assert bench.store.get(a_job().id) is None


def test_a_failed_condition_beside_a_conflict_is_final(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.spy.fail(TRANSACT, cancelled("ConditionalCheckFailed", "TransactionConflict"))
    with pytest.raises(StaleRecord):
        bench.store.save(moved(job, Status.RUNNING), job)
    assert len(bench.spy.asked(TRANSACT)) == 2


def test_a_plain_write_that_meets_a_transaction_is_tried_again(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.spy.fail("put_item", client_error("TransactionConflictException"), times=2)
    later = moved(job, Status.PENDING, message="queued")
    bench.store.save(later, job)
    assert bench.store.get(job.id) == later


def test_a_plain_write_that_meets_transactions_without_end_is_unavailable(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.spy.fail("put_item", client_error("TransactionConflictException"), times=ATTEMPTS)
    with pytest.raises(StoreUnavailable):
        bench.store.save(moved(job, Status.PENDING), job)


# ---- in doubt: a request was carried out, its answer was lost, and its repetition finds the record there


@pytest.mark.parametrize("key", [None, Idempotency("k", "f")], ids=["without a key", "with a key"])
def test_a_create_whose_success_went_unheard_succeeds(bench: Bench, key: Idempotency | None) -> None:
    bench.spy.fail(TRANSACT, cancelled("None", "TransactionConflict", retries=1), carried_out=True)
    job = a_job()
    assert bench.store.create(job, key) == job
    assert _total(bench) == 1


def test_many_creates_whose_success_went_unheard_succeed(bench: Bench) -> None:
    wanted = [(a_job(n), Idempotency(f"k{n}", "f")) for n in range(3)]
    bench.spy.fail(TRANSACT, cancelled("None", "TransactionConflict", retries=1), carried_out=True)
    assert bench.store.create_many(wanted) == [job for job, _ in wanted]
    assert _total(bench) == 3


def test_many_saves_whose_success_went_unheard_succeed(bench: Bench) -> None:
    jobs = bench.seed(a_job(n) for n in range(3))
    bench.spy.fail(TRANSACT, cancelled("None", "TransactionConflict", retries=1), carried_out=True)
    assert bench.store.save_many([(moved(job, Status.RUNNING), job) for job in jobs]) == [True] * 3
    assert _total(bench) == 3


def test_a_create_whose_success_went_unheard_gives_what_became_of_the_job_since(bench: Bench) -> None:
    job = bench.store.create(a_job())
    running = moved(job, Status.RUNNING)
    bench.store.save(running, job)
    bench.spy.fail(TRANSACT, cancelled("ConditionalCheckFailed", "None", retries=1))
    assert bench.store.create(job) == running


def test_a_create_in_doubt_does_not_take_anothers_record_for_its_own(bench: Bench) -> None:
    bench.store.create(replace(a_job(), tenant="globex"))
    bench.spy.fail(TRANSACT, cancelled("ConditionalCheckFailed", "None", retries=1))
    with pytest.raises(StaleRecord):
        bench.store.create(a_job())


@pytest.mark.parametrize(
    ("status", "operation", "error"),
    [
        pytest.param(Status.RUNNING, TRANSACT, cancelled("TransactionConflict", retries=1), id="transaction"),
        pytest.param(
            Status.RUNNING, TRANSACT, client_error("TransactionInProgressException"), id="under way"
        ),
        pytest.param(
            Status.PENDING, "put_item", client_error("TransactionConflictException", retries=1), id="plain"
        ),
        pytest.param(
            Status.PENDING,
            "put_item",
            client_error("ConditionalCheckFailedException", retries=1),
            id="at once",
        ),
    ],
)
def test_a_save_whose_success_went_unheard_succeeds(
    bench: Bench, status: Status, operation: str, error: Exception
) -> None:
    job = bench.store.create(a_job())
    later = moved(job, status, message="it went through", metrics={"loss": 0.1})
    bench.spy.fail(operation, error, carried_out=True)
    bench.store.save(later, job)
    assert bench.store.get(job.id) == later
    assert _total(bench, status) == 1


def test_a_ticket_whose_use_went_unheard_is_ours(bench: Bench) -> None:
    bench.spy.fail("put_item", client_error("ConditionalCheckFailedException", retries=1), carried_out=True)
    assert bench.store.use_ticket(TICKET)
    assert not bench.store.use_ticket(TICKET)


def test_a_ticket_in_doubt_that_another_used_is_theirs(bench: Bench) -> None:
    bench.store.use_ticket(TICKET)
    bench.spy.fail("put_item", client_error("ConditionalCheckFailedException", retries=1))
    assert not bench.store.use_ticket(TICKET)


def test_a_save_in_doubt_that_finds_another_write_is_stale(bench: Bench) -> None:
    job = bench.store.create(a_job())
    theirs = moved(job, Status.PENDING, message="theirs")
    bench.store.save(theirs, job)
    bench.spy.fail("put_item", client_error("ConditionalCheckFailedException", retries=1))
    with pytest.raises(StaleRecord):
        bench.store.save(moved(job, Status.PENDING, message="ours"), job)


def test_a_save_that_is_not_in_doubt_is_stale_even_where_the_same_was_written(bench: Bench) -> None:
    job = bench.store.create(a_job())
    later = moved(job, Status.RUNNING)
    bench.store.save(later, job)
    with pytest.raises(StaleRecord):
        bench.store.save(later, job)


# ---- batches


def test_the_unprocessed_rest_of_a_batch_is_asked_for_again(bench: Bench) -> None:
    jobs = bench.seed(a_job(number) for number in range(ATTEMPTS + 2))
    client = OneAtATime(bench.client)
    store = bench.another(client)
    assert store.get_many([job.id for job in jobs]) == {job.id: job for job in jobs}
    assert client.requests == ATTEMPTS + 2
    assert len(bench.sleeps) == ATTEMPTS + 1


def test_a_batch_that_gives_nothing_again_and_again_is_unavailable(bench: Bench) -> None:
    bench.seed([a_job()])
    client = OneAtATime(bench.client, gives=0)
    with pytest.raises(StoreUnavailable):
        bench.another(client).get_many([a_job().id])
    assert client.requests == ATTEMPTS


class OneAtATime:
    """A client whose batches answer for `gives` keys at a time."""

    def __init__(self, client: Any, gives: int = 1) -> None:
        self._client = client
        self._gives = gives
        self.requests = 0

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)

    def batch_get_item(self, RequestItems: Mapping[str, Any]) -> Mapping[str, Any]:
        self.requests += 1
        ((table, wanted),) = RequestItems.items()
        now, rest = wanted["Keys"][: self._gives], wanted["Keys"][self._gives :]
        answer: dict[str, Any] = {"Responses": {}, "UnprocessedKeys": {}}
        if now:
            answer = self._client.batch_get_item(RequestItems={table: wanted | {"Keys": now}})
        return answer | {"UnprocessedKeys": {table: wanted | {"Keys": rest}} if rest else {}}


# ---- outages and refusals

CALLS: dict[str, Callable[[DynamoStore], Any]] = {
    "create": lambda store: store.create(a_job()),
    "get": lambda store: store.get("job-1"),
    "get_many": lambda store: store.get_many(["job-1"]),
    "save": lambda store: store.save(moved(a_job(), Status.PENDING), a_job()),
    "save with a change of status": lambda store: store.save(moved(a_job(), Status.RUNNING), a_job()),
    "remove": lambda store: store.remove(deleted(a_job())),
    "list": lambda store: store.list(ListQuery(tenant="acme")),
    "filtered list": lambda store: store.list(ListQuery(tenant="acme", pool="p")),
    "unsettled": lambda store: list(store.unsettled()),
    "has_unsettled": lambda store: store.has_unsettled(),
    "use_ticket": lambda store: store.use_ticket(TICKET),
    "ticket_is_used": lambda store: store.ticket_is_used(TICKET),
    "add_event": lambda store: store.add_event(JOB_ID, an_event()),
    "feed_position": lambda store: store.feed_position("a#*"),
    "save_feed_position": lambda store: store.save_feed_position("a#*", "1"),
    "events": lambda store: store.events(JOB_ID, 10),
    "recount": lambda store: store.recount("acme"),
    "acquire_lease": lambda store: store.acquire_lease("sync", "a", START, timedelta(seconds=1)),
    "lease_is_free": lambda store: store.lease_is_free("sync", START),
    "release_lease": lambda store: store.release_lease("sync", "a"),
}
OUTAGES: list[Exception] = [
    EndpointConnectionError(endpoint_url="https://nowhere"),
    ReadTimeoutError(endpoint_url="https://slow"),
    client_error("ProvisionedThroughputExceededException"),
    client_error("InternalServerError"),
    client_error("ResourceNotFoundException"),
]


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: _name_of(error))
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_outage_is_unavailable_with_its_cause(
    call: Callable[[DynamoStore], Any], error: Exception
) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        call(failing_store(error))
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        client_error("ValidationException"),
        cancelled("None", "ValidationError"),
        client_error("SerializationException"),
    ],
    ids=lambda error: _name_of(error),
)
def test_a_malformed_request_is_a_bug_and_not_an_outage(error: Exception) -> None:
    with pytest.raises(StoreRejected):
        failing_store(error).create(a_job())


def test_a_transaction_cancelled_for_a_reason_unheard_of_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        failing_store(cancelled("None", "SomethingNew")).create(a_job())


class Failing:
    """A client that answers everything with one error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, operation: str) -> Any:
        def call(**_request: Any) -> Any:
            raise self._error

        return call


def failing_store(error: Exception) -> DynamoStore:
    return DynamoStore(
        Failing(error),
        StoreOptions(table="jobs"),
        clock=lambda: START,
        sleep=lambda _seconds: None,
        random=Random(7),
    )


def _total(bench: Bench, status: Status | None = None) -> int:
    return bench.another().list(ListQuery(tenant="acme", status=status)).total


def _counter_partition(request: Mapping[str, Any]) -> str:
    updates = [action["Update"] for action in request["TransactItems"] if "Update" in action]
    return str(updates[0]["Key"]["pk"]["S"])


def _name_of(error: Exception) -> str:
    if isinstance(error, BotoCoreError):
        return type(error).__name__
    return str(error.response["Error"]["Code"])  # type: ignore[attr-defined]
