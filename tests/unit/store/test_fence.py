"""Who was overtaken writes nothing any more, whatever he is about to write and however late he wakes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.states import Status
from chalicelib.errors import LeaseLost
from chalicelib.services.ports import JobStore
from chalicelib.store.events import MOST_TOGETHER
from tests.unit.store.events import an_event
from tests.unit.store.support import START, Bench, a_job, client_error, deleted, moved

LASTS = timedelta(seconds=20)
JOB, TOMBSTONE = a_job(1), deleted(a_job(2))

WRITES: dict[str, Callable[[JobStore], object]] = {
    "create": lambda store: store.create(a_job(3)),
    "save with another status": lambda store: store.save(moved(JOB, Status.RUNNING), JOB),
    "save with the same status": lambda store: store.save(JOB.changed(START, exit_code=1), JOB),
    "save many": lambda store: store.save_many([(moved(JOB, Status.RUNNING), JOB)]),
    "remove": lambda store: store.remove(TOMBSTONE),
    "add an event": lambda store: store.add_event(JOB.id, an_event()),
    "add events": lambda store: store.add_events([(JOB.id, an_event(number)) for number in (1, 2, 3)]),
    "note a position": lambda store: store.save_feed_position("feed", "7"),
}


def leads(store: JobStore, holder: str, seconds: float = 0) -> bool:
    return store.acquire_lease("sync", holder, START + timedelta(seconds=seconds), LASTS)


def fence(bench: Bench) -> int:
    item = bench.item({"pk": {"S": "LEASE#sync"}, "sk": {"S": "LEASE"}})
    assert item is not None
    return int(item["fence"]["N"])


def content(bench: Bench) -> list[Any]:
    items = bench.client.scan(TableName=bench.table)["Items"]
    return sorted((item for item in items if item["sk"]["S"] != "LEASE"), key=str)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_holder_writes(bench: Bench, write: Callable[[JobStore], object]) -> None:
    bench.seed([JOB, TOMBSTONE])
    store = bench.store.fenced("sync", "a")
    assert leads(store, "a")
    before = content(bench)
    write(store)
    assert content(bench) != before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("why", ["overtaken", "overtaken and given back", "never had it"])
def test_who_does_not_hold_the_lease_any_more_writes_nothing(
    bench: Bench, write: Callable[[JobStore], object], why: str
) -> None:
    bench.seed([JOB, TOMBSTONE])
    store = bench.store.fenced("sync", "a")
    if why != "never had it":
        assert leads(store, "a")
        assert leads(bench.store, "b", 21)
    if why == "overtaken and given back":
        bench.store.release_lease("sync", "b")
        assert leads(bench.another(), "a", 22), "a later run of the same process"
    before = content(bench)
    with pytest.raises(LeaseLost):
        write(store)
    assert content(bench) == before


def test_events_that_are_told_together_check_the_lease_once(bench: Bench) -> None:
    store = bench.store.fenced("sync", "a")
    assert leads(store, "a")
    store.add_events([(JOB.id, an_event(number)) for number in range(MOST_TOGETHER)])
    (call,) = bench.spy.asked("transact_write_items")
    kinds = [kind for action in call.request["TransactItems"] for kind in action]
    assert kinds == ["Put"] * MOST_TOGETHER + ["ConditionCheck"]


def test_a_lease_that_expired_and_that_nobody_took_is_still_held(bench: Bench) -> None:
    store = bench.store.fenced("sync", "a")
    assert leads(store, "a")
    bench.clock.move(1000)
    store.save_feed_position("feed", "7")
    assert leads(store, "a", 1000)
    assert fence(bench) == 1


def test_the_fence_grows_with_each_holder_and_stays_when_one_renews_or_gives_up(bench: Bench) -> None:
    seen = []
    for number, holder in enumerate("abab"):
        assert leads(bench.store, holder, number)
        assert leads(bench.store, holder, number)
        seen.append(fence(bench))
        bench.store.release_lease("sync", holder)
        assert fence(bench) == seen[-1]
    assert seen == [1, 2, 3, 4]


def test_a_lease_of_an_earlier_release_is_taken_over(bench: Bench) -> None:
    old = {"holder": {"S": "old"}, "held_until": {"S": "2026-01-01T00:00:00.000000+00:00"}}
    item = {"pk": {"S": "LEASE#sync"}, "sk": {"S": "LEASE"}, **old}
    bench.client.put_item(TableName=bench.table, Item=item)
    store = bench.store.fenced("sync", "a")
    assert leads(store, "a")
    store.save_feed_position("feed", "7")
    assert fence(bench) == 1


def test_a_lease_whose_answer_was_lost_is_held_all_the_same(bench: Bench) -> None:
    store = bench.store.fenced("sync", "a")
    bench.spy.fail("update_item", client_error("TransactionConflictException", retries=1), carried_out=True)
    assert leads(store, "a")
    store.save_feed_position("feed", "7")


def test_what_two_threads_write_does_not_collide(bench: Bench) -> None:
    store = bench.store.fenced("sync", "a")
    assert leads(store, "a")
    threads = [threading.Thread(target=store.save_feed_position, args=(f"feed{n}", "7")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [bench.store.feed_position(f"feed{n}") for n in range(4)] == ["7"] * 4
    assert bench.sleeps == [], "none was tried again"
