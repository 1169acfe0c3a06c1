"""How totals behave, on whatever DynamoDB the fixture `bench` stands on."""

from __future__ import annotations

import pytest

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from chalicelib.services.ports import ListQuery
from chalicelib.store.keys import Scope, counter_key
from tests.unit.store.support import Bench, a_job, deleted, moved


def total(bench: Bench, tenant: str | None = "acme", **filters: object) -> int:
    return bench.store.list(ListQuery(tenant=tenant, **filters)).total  # type: ignore[arg-type]


def test_totals_follow_a_job_through_its_life(bench: Bench) -> None:
    job = bench.store.create(a_job(spec={"workspace_id": 3}))
    for status in (Status.RUNNING, Status.STOPPING, Status.STOPPED):
        later = moved(job, status)
        bench.store.save(later, job)
        job = later
        for tenant in ("acme", None):
            assert {s: total(bench, tenant, status=s) for s in Status} == _only(status)
            assert total(bench, tenant) == 1
        assert {s: total(bench, workspace_id=3, status=s) for s in Status} == _only(status)
    bench.store.save(deleted(job), job)
    assert (total(bench), total(bench, None), total(bench, workspace_id=3)) == (0, 0, 0)


def test_a_tombstone_that_moves_on_is_not_counted(bench: Bench) -> None:
    job = bench.store.create(a_job())
    tombstone = deleted(job)
    bench.store.save(tombstone, job)
    bench.store.save(moved(tombstone, Status.STOPPING), tombstone)
    assert total(bench) == total(bench, status=Status.STOPPING) == 0


def test_totals_are_spread_over_the_shards(bench: Bench) -> None:
    for number in range(8 * bench.shards):
        bench.store.create(a_job(number))
    shards = [bench.item(counter_key(Scope("acme"), shard)) for shard in range(bench.shards)]
    assert all(shards)
    assert total(bench) == 8 * bench.shards


@pytest.mark.parametrize("tenant", ["acme", None], ids=["a tenant's", "all tenants'"])
def test_a_recount_puts_wrong_counters_right(bench: Bench, tenant: str | None) -> None:
    bench.seed(_some_jobs())
    for scope in (Scope(None), Scope("acme"), Scope("acme", 1), Scope("acme", 99)):
        spoil(bench, scope)
    assert total(bench, tenant) == 112
    assert bench.store.recount(tenant) == _only(Status.PENDING, 6, running=6)
    assert (total(bench, tenant), total(bench, tenant, status=Status.RUNNING)) == (12, 6)
    if tenant:
        assert total(bench, workspace_id=1, status=Status.RUNNING) == 2
        assert total(bench, workspace_id=99) == 0  # a workspace without any jobs


def test_a_recount_of_right_counters_writes_nothing(bench: Bench) -> None:
    bench.seed(_some_jobs())
    bench.store.recount("acme")
    assert not bench.spy.asked("transact_write_items")


def test_a_recount_of_nothing_is_zero(bench: Bench) -> None:
    assert bench.store.recount("acme") == _only(Status.PENDING, 0)


def test_a_recount_mends_what_fewer_shards_left_out(bench: Bench) -> None:
    for number in range(12):
        bench.store.create(a_job(number))
    fewer = bench.another(counter_shards=1)
    assert fewer.list(ListQuery(tenant="acme")).total < 12
    fewer.recount("acme")
    assert fewer.list(ListQuery(tenant="acme")).total == 12


@pytest.mark.parametrize("writes", [1, None], ids=["once", "again and again"])
def test_a_recount_starts_again_when_a_job_was_written_meanwhile(bench: Bench, writes: int | None) -> None:
    bench.seed(_some_jobs())
    spoil(bench, Scope("acme"))
    numbers = iter(range(100, 100 + (writes or 50)))

    def write_instead_of_sleeping(_seconds: float) -> None:
        for number in numbers:
            bench.store.create(a_job(number, status=Status.FAILED))
            return

    store = bench.another(sleep=write_instead_of_sleeping)
    if writes:
        assert store.recount("acme")["failed"] == 1
        assert (total(bench), total(bench, status=Status.RUNNING)) == (13, 6)
    else:
        with pytest.raises(StoreUnavailable):
            store.recount("acme")


def test_of_two_recounts_at_a_time_only_one_corrects(bench: Bench) -> None:
    bench.seed(_some_jobs())
    spoil(bench, Scope("acme", 1))
    other = bench.another()
    once = iter([other])
    store = bench.another(sleep=lambda _seconds: [each.recount("acme") for each in once].clear())
    store.recount("acme")
    assert total(bench, workspace_id=1) == 4


def _some_jobs() -> list[Job]:
    return [
        a_job(number, status=list(Status)[number % 2], spec={"workspace_id": number // 2 % 3})
        for number in range(12)
    ]


def spoil(bench: Bench, scope: Scope) -> None:
    bench.client.update_item(
        TableName=bench.table,
        Key=counter_key(scope, 0),
        UpdateExpression="ADD running :wrong, version :one",
        ExpressionAttributeValues={":wrong": {"N": "100"}, ":one": {"N": "1"}},
    )


def _only(status: Status, number: int = 1, running: int = 0) -> dict[Status, int]:
    return dict.fromkeys(Status, 0) | {Status.RUNNING: running} | {status: number}
