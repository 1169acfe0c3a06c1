"""How idempotency keys, leases and tickets behave, on whatever DynamoDB the fixture `bench` stands on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status
from chalicelib.errors import IdempotencyConflict
from chalicelib.services.ports import CREATED_TOGETHER, Idempotency, ListQuery
from chalicelib.services.ticket_ports import Grant, Ticket
from chalicelib.store.keys import idempotency_key, ticket_key
from tests.unit.store.support import START, Bench, a_job, deleted, moved

EVERYTHING = ListQuery(tenant=None)
KEY = Idempotency(key="a key", fingerprint="f1")
GRANT = Grant(subject="ada", tenant="acme", job_id="job-1", pod="job-1-a", pool="default")
TICKET = Ticket("t1", GRANT, START + timedelta(seconds=60))


def test_a_repeat_with_the_same_key_and_request_gives_the_original_job(bench: Bench) -> None:
    first = bench.store.create(a_job(1), KEY)
    assert bench.store.create(a_job(2), KEY) == first
    assert bench.store.get(a_job(2).id) is None
    assert bench.store.list(EVERYTHING).total == 1


def test_a_repeat_gives_the_original_job_as_it_is_now(bench: Bench) -> None:
    first = bench.store.create(a_job(1), KEY)
    running = moved(first, Status.RUNNING)
    bench.store.save(running, first)
    assert bench.store.create(a_job(2), KEY) == running


def test_the_same_key_with_another_request_is_a_conflict(bench: Bench) -> None:
    bench.store.create(a_job(1), KEY)
    with pytest.raises(IdempotencyConflict):
        bench.store.create(a_job(2), replace(KEY, fingerprint="f2"))
    assert bench.store.list(EVERYTHING).total == 1


def keyed(*numbers: int, size: int = 0) -> list[tuple[Job, Idempotency]]:
    """Jobs of these numbers, each with a key of its own."""
    env = {"A": "x" * size}
    return [(a_job(n, spec={"workspace_id": n % 5, "env": env}), Idempotency(f"k{n}", "f")) for n in numbers]


def test_many_jobs_are_created_in_few_transactions(bench: Bench) -> None:
    wanted = keyed(*range(2 * CREATED_TOGETHER + 1))
    assert bench.store.create_many(wanted) == [job for job, _ in wanted]
    assert bench.spy.operations == ["transact_write_items"] * 3
    assert bench.store.list(EVERYTHING).total == len(wanted)
    assert bench.store.list(ListQuery(tenant="acme", workspace_id=3)).total == len(wanted[3::5])
    assert bench.store.get(wanted[-1][0].id) == wanted[-1][0]
    (told,) = bench.store.events(wanted[0][0].id, 10).items
    assert told.reason == "Accepted"


def test_what_is_too_much_for_one_transaction_is_two(bench: Bench) -> None:
    wanted = keyed(*range(12), size=300_000)
    assert bench.store.create_many(wanted) == [job for job, _ in wanted]
    assert bench.spy.operations == ["transact_write_items"] * 2


def test_many_that_come_again_are_those_that_stand(bench: Bench) -> None:
    first = bench.store.create_many(keyed(*range(CREATED_TOGETHER + 2)))
    others = [(a_job(1000 + n), Idempotency(f"k{n}", "f")) for n in range(CREATED_TOGETHER + 3)]
    assert bench.store.create_many(others) == [*first, others[-1][0]]
    assert bench.store.list(EVERYTHING).total == CREATED_TOGETHER + 3


def test_a_key_that_is_anothers_holds_up_none_of_the_others(bench: Bench) -> None:
    bench.store.create(a_job(100), Idempotency("k1", "something else"))
    wanted = keyed(0, 1, 2)
    assert bench.store.create_many(wanted) == [wanted[0][0], None, wanted[2][0]]
    assert bench.store.list(EVERYTHING).total == 3


def test_a_key_that_comes_twice_in_one_call_is_one_job(bench: Bench) -> None:
    (first, key), second = *keyed(0), a_job(1)
    assert bench.store.create_many([(first, key), (second, key)]) == [first, first]
    assert bench.store.list(EVERYTHING).total == 1


@pytest.mark.parametrize("gone", [False, True], ids=["a tombstone", "gone"])
def test_the_key_of_a_deleted_job_is_a_conflict(bench: Bench, gone: bool) -> None:
    job = bench.store.create(a_job(1, status=Status.FAILED), KEY)
    tombstone = deleted(job)
    bench.store.save(tombstone, job)
    if gone:
        bench.store.remove(tombstone)
    with pytest.raises(IdempotencyConflict):
        bench.store.create(a_job(2), KEY)


@pytest.mark.parametrize(
    ("seconds", "original"), [(24 * 3600 - 1, True), (24 * 3600, False)], ids=["until then", "and not longer"]
)
def test_a_key_is_good_for_its_time_even_when_ttl_has_not_removed_it(
    bench: Bench, seconds: int, original: bool
) -> None:
    first = bench.store.create(a_job(1), KEY)
    bench.clock.move(seconds)
    second = bench.store.create(a_job(2), KEY)
    assert second == (first if original else a_job(2))


def test_a_key_that_asks_for_longer_is_good_for_longer(bench: Bench) -> None:
    kept = replace(KEY, keep_seconds=90 * 24 * 3600)
    first = bench.store.create(a_job(1), kept)
    bench.clock.move(90 * 24 * 3600 - 1)
    assert bench.store.create(a_job(2), kept) == first
    bench.clock.move(1)
    assert bench.store.create(a_job(3), kept) == a_job(3)


def test_a_key_says_when_ttl_may_remove_it(bench: Bench) -> None:
    bench.store.create(a_job(), KEY)
    item = bench.item(idempotency_key("acme", KEY.key))
    assert item is not None
    assert item["expires_at"] == {"N": str(int(START.timestamp()) + 24 * 3600)}


def test_a_key_is_its_tenants_own(bench: Bench) -> None:
    bench.store.create(a_job(1), KEY)
    other = a_job(2, tenant="globex")
    assert bench.store.create(other, KEY) == other


def test_keys_and_tenants_that_look_alike_when_joined_are_apart(bench: Bench) -> None:
    one = bench.store.create(a_job(1, tenant="a#b"), replace(KEY, key="c"))
    two = bench.store.create(a_job(2, tenant="a"), replace(KEY, key="b#c"))
    assert one != two


@pytest.mark.parametrize(
    "key", ["#" * 128, "键" * 128, "𝔘" * 128, " ", "%23"], ids=lambda key: ascii(key[:2])
)
def test_any_printable_key_will_do(bench: Bench, key: str) -> None:
    first = bench.store.create(a_job(1), replace(KEY, key=key))
    assert bench.store.create(a_job(2), replace(KEY, key=key)) == first


def test_a_lease_has_one_holder_until_it_expires(bench: Bench) -> None:
    lasts = timedelta(seconds=20)
    assert bench.store.lease_is_free("sync", START)
    assert bench.store.acquire_lease("sync", "a", START, lasts)
    assert not bench.store.lease_is_free("sync", START + lasts - timedelta(microseconds=1))
    assert not bench.store.acquire_lease("sync", "b", START + lasts - timedelta(microseconds=1), lasts)
    assert bench.store.lease_is_free("sync", START + lasts)
    assert bench.store.acquire_lease("sync", "b", START + lasts, lasts)
    assert not bench.store.acquire_lease("sync", "a", START + lasts, lasts)


def test_a_lease_is_renewed_by_its_holder(bench: Bench) -> None:
    assert bench.store.acquire_lease("sync", "a", START, timedelta(seconds=20))
    assert bench.store.acquire_lease("sync", "a", START + timedelta(seconds=10), timedelta(seconds=20))
    assert not bench.store.lease_is_free("sync", START + timedelta(seconds=29))


def test_a_lease_is_given_up_by_its_holder_only(bench: Bench) -> None:
    assert bench.store.acquire_lease("sync", "a", START, timedelta(seconds=20))
    bench.store.release_lease("sync", "b")
    assert not bench.store.lease_is_free("sync", START)
    bench.store.release_lease("sync", "a")
    assert bench.store.lease_is_free("sync", START)
    bench.store.release_lease("sync", "a")


def test_leases_of_other_names_are_others(bench: Bench) -> None:
    assert bench.store.acquire_lease("sync", "a", START, timedelta(seconds=20))
    assert bench.store.acquire_lease("sweep", "b", START, timedelta(seconds=20))


def test_a_ticket_is_used_once(bench: Bench) -> None:
    assert not bench.store.ticket_is_used(TICKET)
    assert bench.store.use_ticket(TICKET)
    assert bench.store.ticket_is_used(TICKET)
    assert not bench.store.use_ticket(TICKET)
    assert bench.store.use_ticket(replace(TICKET, id="t2"))


def test_a_used_ticket_is_remembered_until_no_clock_takes_it_any_more(bench: Bench) -> None:
    bench.store.use_ticket(TICKET)
    item = bench.item(ticket_key("t1"))
    assert item is not None
    assert int(item["expires_at"]["N"]) >= TICKET.expires_at.timestamp() + 600
