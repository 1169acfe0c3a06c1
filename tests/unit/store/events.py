"""How a job's events are kept, on whatever DynamoDB the fixture `bench` stands on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.events import Event
from chalicelib.domain.states import Status
from chalicelib.errors import StaleRecord
from chalicelib.services.ports import Idempotency, ListQuery
from chalicelib.store.events import FAR, MOST_TOGETHER
from chalicelib.store.items import to_time
from chalicelib.store.keys import event_key
from tests.unit.store.support import START, Bench, a_job, cancelled, moved

JOB_ID = a_job().id
MOST = FAR + 20  # events of a job: so many that it is counted once, and once more near the end


def an_event(number: int = 1, **changes: Any) -> Event:
    """The event number so-and-so: that many seconds after START."""
    moment = START + timedelta(seconds=number)
    values: dict[str, Any] = {
        "type": "Normal",
        "reason": "Pulled",
        "message": "Container image 镜像 pulled",
        "timestamp": moment,
        "first_timestamp": moment,
        "count": 1,
        "object": f"Pod/{JOB_ID}-abcde",
        "key": f"uid-{number}",
    }
    return Event(**(values | changes))


def kept(bench: Bench) -> list[Event]:
    return list(bench.store.events(JOB_ID, 1000).items)


def test_an_event_is_read_back_as_it_was_told(bench: Bench) -> None:
    event = an_event(message="", count=7, timestamp=START + timedelta(hours=1))
    bench.store.add_event(JOB_ID, event)
    assert kept(bench) == [event]


def test_an_event_that_is_told_again_is_kept_once(bench: Bench) -> None:
    for _ in range(3):
        bench.store.add_event(JOB_ID, an_event())
    assert kept(bench) == [an_event()]


def test_events_come_oldest_first_whatever_the_order_they_were_told_in(bench: Bench) -> None:
    for number in (3, 1, 2):
        bench.store.add_event(JOB_ID, an_event(number))
    assert kept(bench) == [an_event(1), an_event(2), an_event(3)]


def test_two_events_of_one_moment_are_both_kept(bench: Bench) -> None:
    both = [an_event(1, key="a"), an_event(1, key="b")]
    for event in both:
        bench.store.add_event(JOB_ID, event)
    assert sorted(kept(bench), key=lambda event: event.key) == both


LATER = START + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("told", "then"),
    [
        pytest.param({"timestamp": LATER, "count": 2}, {}, id="an earlier time"),
        pytest.param({"count": 2}, {"count": 1}, id="a lower count at the same time"),
    ],
)
def test_what_is_told_late_does_not_write_over_what_is_newer(
    bench: Bench, told: dict[str, Any], then: dict[str, Any]
) -> None:
    newer, older = an_event(1, **told), an_event(1, **then)
    bench.store.add_event(JOB_ID, newer)
    bench.store.add_event(JOB_ID, older)
    assert kept(bench) == [newer]


def test_an_event_that_goes_on_is_brought_up_to_date_where_it_stands(bench: Bench) -> None:
    bench.store.add_event(JOB_ID, an_event(1))
    bench.store.add_event(JOB_ID, an_event(2))
    again = replace(an_event(1), timestamp=LATER, count=9, message="again")
    bench.store.add_event(JOB_ID, again)
    assert kept(bench) == [again, an_event(2)]


def test_pages_follow_each_other_and_the_last_one_says_so(bench: Bench) -> None:
    events = [an_event(number) for number in range(5)]
    for event in events:
        bench.store.add_event(JOB_ID, event)
    pages = []
    after = None
    while True:
        page = bench.store.events(JOB_ID, 2, after)
        pages.append(list(page.items))
        if (after := page.last) is None:
            break
    assert pages == [events[:2], events[2:4], events[4:]]
    assert bench.store.events(JOB_ID, 5).last is None


def test_a_job_without_events_has_an_empty_page(bench: Bench) -> None:
    page = bench.store.events(JOB_ID, 10)
    assert (page.items, page.last) == ((), None)


def test_another_jobs_events_are_its_own(bench: Bench) -> None:
    other = bench.store.create(a_job(2))
    bench.store.add_event(other.id, an_event())
    assert kept(bench) == []


def test_events_do_not_touch_their_job_nor_any_list(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.store.add_event(job.id, an_event())
    assert bench.store.get(job.id) == job
    assert list(bench.store.unsettled()) == [job]


def test_an_event_is_forgotten_by_the_tables_ttl_so_long_after_it_was_last_told(bench: Bench) -> None:
    store = bench.another(event_retention_seconds=3600)
    store.add_event(JOB_ID, an_event())
    item = bench.item(event_key(JOB_ID, to_time(an_event().first_timestamp), an_event().key))
    assert item is not None
    assert item["expires_at"] == {"N": str(int(START.timestamp()) + 3600)}
    bench.clock.move(60)
    store.add_event(JOB_ID, an_event(count=2))
    item = bench.item(event_key(JOB_ID, to_time(an_event().first_timestamp), an_event().key))
    assert item is not None
    assert item["expires_at"] == {"N": str(int(START.timestamp()) + 3660)}


def test_many_events_of_many_jobs_are_kept_at_once_and_the_newest_of_each(bench: Bench) -> None:
    other = a_job(2).id
    newer = an_event(1, count=2)
    told = [(JOB_ID, newer), (JOB_ID, an_event(1)), (JOB_ID, an_event(2)), (other, an_event())]
    bench.store.add_events(told)
    assert kept(bench) == [newer, an_event(2)]
    assert bench.store.events(other, 10).items == (an_event(),)


def test_events_that_are_known_are_not_written_again(bench: Bench) -> None:
    told = [(JOB_ID, an_event(number)) for number in range(130)]
    bench.store.add_events(told)
    bench.spy.calls.clear()
    bench.store.add_events(told)
    assert bench.spy.operations == ["batch_get_item"] * 2


def test_one_more_event_of_a_job_that_is_far_from_full_is_one_write(bench: Bench) -> None:
    bench.store.add_event(JOB_ID, an_event(1))
    bench.spy.calls.clear()
    bench.store.add_event(JOB_ID, an_event(2))
    bench.store.add_event(JOB_ID, an_event(2))
    bench.store.add_event(JOB_ID, an_event(2, count=2))
    assert bench.spy.operations == ["put_item"] * 3
    assert kept(bench) == [an_event(1), an_event(2, count=2)]


def test_events_that_are_told_together_are_written_together(bench: Bench) -> None:
    told = [(JOB_ID, an_event(number)) for number in range(2 * MOST_TOGETHER + 1)]
    bench.store.add_events(told)
    assert kept(bench) == [event for _, event in told]
    writes = ["transact_write_items", "transact_write_items", "put_item"]
    assert bench.spy.operations[:6] == ["batch_get_item", "batch_get_item", "query", *writes]


def test_what_somebody_else_wrote_meanwhile_holds_up_none_of_the_others(bench: Bench) -> None:
    newer = an_event(2, count=7)

    class Overtaken:
        """A client before whose first transaction somebody else writes."""

        def __init__(self) -> None:
            self.transactions = 0

        def __getattr__(self, operation: str) -> Any:
            return getattr(bench.client, operation)

        def transact_write_items(self, **request: Any) -> Any:
            self.transactions += 1
            if self.transactions == 1:
                bench.another().add_event(JOB_ID, newer)
            return bench.client.transact_write_items(**request)

    client = Overtaken()
    bench.another(client).add_events([(JOB_ID, an_event(number)) for number in (1, 2, 3, 4)])
    assert kept(bench) == [an_event(1), newer, an_event(3), an_event(4)]
    assert client.transactions == 2


def test_events_whose_first_writing_was_not_heard_of_are_kept_once(bench: Bench) -> None:
    told = [(JOB_ID, an_event(number)) for number in (1, 2, 3)]
    bench.spy.fail("transact_write_items", cancelled("TransactionConflict", retries=1), carried_out=True)
    bench.store.add_events(told)
    assert kept(bench) == [event for _, event in told]


def test_nothing_told_asks_nothing(bench: Bench) -> None:
    bench.store.add_events([])
    assert bench.spy.calls == []


def test_a_job_keeps_so_many_events_and_then_only_what_becomes_of_them(bench: Bench) -> None:
    store = bench.another(most_events=MOST)
    store.create(a_job())  # tells one itself
    store.add_events([(JOB_ID, an_event(number)) for number in range(1, MOST + 10)])
    full = kept(bench)
    assert len(full) == MOST
    store.add_event(JOB_ID, an_event(5000))
    store.add_event(JOB_ID, an_event(7, count=7))
    store.add_event(a_job(2).id, an_event(5000))
    assert kept(bench) == [an_event(7, count=7) if event.key == "uid-7" else event for event in full]
    assert len(bench.store.events(a_job(2).id, 10).items) == 1


def test_a_full_jobs_own_changes_are_told_all_the_same(bench: Bench) -> None:
    store = bench.another(most_events=MOST)
    job = store.create(a_job())
    store.add_events([(JOB_ID, an_event(number)) for number in range(-MOST, 0)])
    store.save(moved(job, Status.STOPPING, reason="StopRequested"), job)
    first = bench.store.events(JOB_ID, MOST)
    rest = bench.store.events(JOB_ID, 10, first.last)
    assert "StopRequested" in [event.reason for event in rest.items]


def test_how_far_a_feed_was_read_is_remembered_for_each(bench: Bench) -> None:
    assert bench.store.feed_position("a#*") is None
    for position in ("1", "2"):
        bench.store.save_feed_position("a#*", position)
    bench.store.save_feed_position("b#*", "9")
    assert (bench.store.feed_position("a#*"), bench.store.feed_position("b#*")) == ("2", "9")


# ---- what a record's own writes tell


def test_a_job_and_what_its_writes_tell_are_written_together(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.store.save(failed := moved(job, Status.FAILED, reason="ExitCode", message="exit code 3"), job)
    assert [(event.type, event.reason, event.key) for event in kept(bench)] == [
        ("Normal", "Accepted", "v1"),
        ("Warning", "ExitCode", "v2"),
    ]
    assert bench.store.get(job.id) == failed


def test_a_new_reason_is_told_with_its_record_and_moves_no_total(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.store.save(moved(job, Status.PENDING, reason="Queued"), job)
    assert [event.reason for event in kept(bench)] == ["Accepted", "Queued"]
    assert bench.store.list(ListQuery(tenant="acme", status=Status.PENDING)).total == 1


def test_a_write_that_loses_its_race_tells_nothing(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.store.save(moved(job, Status.STOPPING, reason="StopRequested", message="by ann"), job)
    with pytest.raises(StaleRecord):
        bench.store.save(moved(job, Status.FAILED, reason="ExitCode"), job)
    with pytest.raises(StaleRecord):
        bench.store.create(a_job())
    assert [(event.reason, event.message) for event in kept(bench)][1:] == [("StopRequested", "by ann")]


def test_a_repeated_create_with_its_key_tells_once(bench: Bench) -> None:
    for _ in range(2):
        bench.store.create(a_job(), Idempotency("k", "f"))
    assert [event.reason for event in kept(bench)] == ["Accepted"]
