"""How much a list reads: no more than it shows, however many jobs there are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.aside import Aside, in_a_thread, in_turn
from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from chalicelib.services.ports import ListQuery
from tests.unit.store.support import SHARDS, Bench, Call, a_job, client_error

SIZES = (10, 100, 1000)


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size} jobs")
def crowded(request: pytest.FixtureRequest, new_bench: Callable[[], Bench]) -> Bench:
    """A table with that many jobs, half of them running, all in one workspace."""
    size: int = request.param
    bench = new_bench()
    bench.seed(
        a_job(number, status=(Status.PENDING, Status.RUNNING)[number % 2], spec={"workspace_id": 1})
        for number in range(size)
    )
    return bench


@pytest.fixture
def full(crowded: Bench) -> Bench:
    crowded.spy.calls.clear()
    return crowded


@pytest.mark.parametrize(
    "filters",
    [
        {"tenant": "acme"},
        {"tenant": "acme", "status": Status.RUNNING},
        {"tenant": "acme", "workspace_id": 1},
        {"tenant": "acme", "workspace_id": 1, "status": Status.RUNNING},
        {"tenant": None},
        {"tenant": None, "status": Status.RUNNING},
    ],
    ids=["tenant", "status", "workspace", "workspace and status", "all", "all by status"],
)
class TestWhatAnIndexAnswers:
    def test_the_first_page_reads_no_more_entries_than_it_shows(
        self, filters: dict[str, Any], full: Bench
    ) -> None:
        found = full.store.list(ListQuery(page_size=5, **filters))
        assert len(found.items) == 5
        assert full.spy.operations == ["batch_get_item", "query"]
        counters, query = full.spy.calls
        assert len(counters.answer["Responses"][full.table]) <= SHARDS
        assert query.answer["ScannedCount"] == query.answer["Count"] == 5


def test_the_first_page_and_its_total_are_read_at_once(bench: Bench) -> None:
    bench.seed(a_job(number) for number in range(7))
    meeting = Meeting(bench.client)
    found = bench.another(meeting, aside=in_a_thread).list(ListQuery(tenant="acme", page_size=5))
    assert [item.id for item in found.items] == [a_job(number).id for number in (6, 5, 4, 3, 2)]
    assert found.total == 7


@pytest.mark.parametrize("operation", ["batch_get_item", "query"])
@pytest.mark.parametrize("aside", [in_turn, in_a_thread], ids=["in turn", "at once"])
def test_a_failure_of_either_is_unavailable_and_leaves_nothing_behind(
    aside: Aside, operation: str, bench: Bench
) -> None:
    bench.spy.fail(operation, client_error("InternalServerError"))
    threads = threading.enumerate()
    with pytest.raises(StoreUnavailable):
        bench.another(bench.spy, aside=aside).list(ListQuery(tenant="acme"))
    assert sorted(bench.spy.operations) == ["batch_get_item", "query"]
    assert threading.enumerate() == threads


def test_a_deep_page_transfers_only_the_items_that_it_shows(full: Bench) -> None:
    total = full.store.list(ListQuery(tenant="acme", page_size=1)).total
    full.spy.calls.clear()
    found = full.store.list(ListQuery(tenant="acme", page=total // 5, page_size=5))
    assert [item.id for item in found.items] == [a_job(number).id for number in (4, 3, 2, 1, 0)]
    assert sum(len(call.answer["Items"]) for call in _read(full)) == 5
    assert sum(call.answer["ScannedCount"] for call in full.spy.asked("query")) == total


def test_a_page_behind_the_last_reads_nothing_but_the_total(full: Bench) -> None:
    found = full.store.list(ListQuery(tenant="acme", page=1001, page_size=5))
    assert found.items == ()
    assert full.spy.operations == ["batch_get_item"]


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_filtered_list_makes_no_more_requests_than_its_bound(bench: Bench, page: int) -> None:
    bench.seed(a_job(number, spec={"queue": "gold"}) for number in range(100))
    bench.another(bench.spy, walk_pages=4, walk_entries=10).list(
        ListQuery(tenant="acme", queue="gold", page=page, page_size=7)
    )
    assert len(bench.spy.asked("query")) == 4 + (page > 1)  # the page that the list's page begins in, twice
    assert all(call.answer["ScannedCount"] == 10 for call in bench.spy.asked("query"))


def test_a_filtered_list_transfers_no_more_items_than_the_pages_around_it_hold(bench: Bench) -> None:
    bench.seed(a_job(number, spec={"queue": "gold"}) for number in range(100))
    bench.another(bench.spy, walk_entries=10).list(
        ListQuery(tenant="acme", queue="gold", page=8, page_size=7)
    )
    assert sum(len(call.answer["Items"]) for call in _read(bench)) == 20


def test_a_list_by_time_alone_transfers_what_it_shows_and_counts_the_rest(bench: Bench) -> None:
    bench.seed(a_job(number) for number in range(50))
    found = bench.store.list(ListQuery(tenant="acme", created_from=a_job(10).created_at, page=2, page_size=5))
    assert found.total == 40
    assert sum(len(call.answer["Items"]) for call in _read(bench)) == 5
    assert sum(call.answer["ScannedCount"] for call in bench.spy.asked("query")) == 40


def test_has_unsettled_reads_at_most_four_entries(bench: Bench) -> None:
    bench.seed(a_job(number, status=Status.STOPPED) for number in range(50))
    assert not bench.store.has_unsettled()
    assert len(bench.spy.calls) == 4
    bench.seed([a_job(50), a_job(51)])
    bench.spy.calls.clear()
    assert bench.store.has_unsettled()
    assert [call.answer["ScannedCount"] for call in bench.spy.calls] == [1]


def test_unsettled_records_that_are_read_ahead_come_all_and_once(bench: Bench) -> None:
    statuses = (Status.PENDING, Status.RUNNING, Status.STOPPING, Status.SUCCEEDED)
    jobs = bench.seed(a_job(number, status=statuses[number % 4]) for number in range(300))
    read = [job.id for job in bench.another(aside=in_a_thread).unsettled()]
    assert sorted(read) == [job.id for job in jobs if job.status != Status.SUCCEEDED]


def test_a_write_that_keeps_the_status_is_one_plain_put(bench: Bench) -> None:
    job = bench.store.create(a_job())
    bench.spy.calls.clear()
    bench.store.save(job.changed(job.updated_at, message="queued"), job)
    assert bench.spy.operations == ["put_item"]


class Meeting:
    """A client whose calls wait for each other: two of them end only if they are made at once."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._all_are_here = threading.Barrier(2, timeout=30)

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self._all_are_here.wait()
            return getattr(self._client, operation)(**request)

        return call


def _read(bench: Bench) -> Iterator[Call]:
    """The queries that transferred items."""
    return (call for call in bench.spy.asked("query") if "Items" in call.answer)
