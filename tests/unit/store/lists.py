"""How lists behave, on whatever DynamoDB the fixture `bench` stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.job import Job, JobSummary
from chalicelib.domain.states import Status
from chalicelib.services.ports import ListQuery
from tests.unit.store.support import START, Bench, a_job, deleted, moved

STATUSES = list(Status)


def a_crowd() -> list[Job]:
    """42 jobs of two tenants in all states, in workspaces 1, 2 and none, two pools, three queues."""
    return [
        a_job(
            number,
            tenant="acme" if number % 4 else "globex",
            status=STATUSES[number % 6],
            spec={
                "name": f"Straße {number}" if number % 5 else f"EVAL {number}",
                "workspace_id": (None, 1, 2)[number // 2 % 3],
                "pool": ("default", "a100")[number % 2],
                "queue": (None, "gold", "iron")[number % 3],
            },
        )
        for number in range(42)
    ]


Matches = Callable[[Job], bool]

QUERIES: list[tuple[str, dict[str, Any], Matches]] = [
    ("tenant", {}, lambda _: True),
    ("status", {"status": Status.RUNNING}, lambda job: job.status == Status.RUNNING),
    ("workspace", {"workspace_id": 1}, lambda job: job.spec.workspace_id == 1),
    (
        "workspace and status",
        {"workspace_id": 2, "status": Status.FAILED},
        lambda job: job.spec.workspace_id == 2 and job.status == Status.FAILED,
    ),
    ("pool", {"pool": "a100"}, lambda job: job.spec.pool == "a100"),
    ("queue", {"queue": "gold"}, lambda job: job.spec.queue == "gold"),
    ("keyword in the name", {"keyword": "eVaL"}, lambda job: "EVAL" in job.spec.name),
    ("keyword folded", {"keyword": "STRASSE"}, lambda job: "Straße" in job.spec.name),
    ("keyword in the id", {"keyword": a_job(7).id[4:].upper()}, lambda job: job.id == a_job(7).id),
    ("keyword across name and id", {"keyword": "7job-"}, lambda _: False),
    ("empty keyword", {"keyword": ""}, lambda _: True),
    (
        "status, pool and keyword",
        {"status": Status.RUNNING, "pool": "a100", "keyword": "straße"},
        lambda job: (job.status, job.spec.pool) == (Status.RUNNING, "a100") and "Str" in job.spec.name,
    ),
    (
        "workspace and queue",
        {"workspace_id": 1, "queue": "iron"},
        lambda job: (job.spec.workspace_id, job.spec.queue) == (1, "iron"),
    ),
    ("from", {"created_from": a_job(28).created_at}, lambda job: job.created_at >= a_job(28).created_at),
    ("to", {"created_to": a_job(28).created_at}, lambda job: job.created_at <= a_job(28).created_at),
    (
        "from, to and status",
        {
            "created_from": a_job(10).created_at,
            "created_to": a_job(40).created_at,
            "status": Status.STOPPED,
        },
        lambda job: a_job(10).id <= job.id <= a_job(40).id and job.status == Status.STOPPED,
    ),
    (
        "from and pool",
        {"created_from": a_job(9).created_at, "pool": "default"},
        lambda job: job.id >= a_job(9).id and job.spec.pool == "default",
    ),
    (
        "to before from",
        {"created_from": a_job(9).created_at, "created_to": a_job(8).created_at},
        lambda _: False,
    ),
    ("nothing", {"pool": "unknown"}, lambda _: False),
]


def summary_of(job: Job) -> JobSummary:
    spec = job.spec
    return JobSummary(
        id=job.id,
        tenant=job.tenant,
        name=spec.name,
        status=job.status,
        reason=job.reason,
        message=job.message,
        pool=spec.pool,
        cpu=spec.resources.cpu,
        gpu=spec.resources.gpu,
        created_at=job.created_at,
        queue=spec.queue,
        framework=spec.framework,
        workspace_id=spec.workspace_id,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


@pytest.fixture(scope="module")
def crowd(new_bench: Callable[[], Bench]) -> Bench:
    """A table that holds the crowd, for tests that only read."""
    bench = new_bench()
    bench.seed(a_crowd())
    return bench


@pytest.mark.parametrize("tenant", ["acme", None], ids=["of a tenant", "of all tenants"])
@pytest.mark.parametrize(
    ("filters", "matches"), [case[1:] for case in QUERIES], ids=[case[0] for case in QUERIES]
)
def test_pages_of_a_list_are_the_newest_first_cut_into_pieces_with_an_exact_total(
    crowd: Bench, tenant: str | None, filters: dict[str, Any], matches: Matches
) -> None:
    expected = [
        summary_of(job) for job in reversed(a_crowd()) if tenant in (None, job.tenant) and matches(job)
    ]
    query = ListQuery(tenant=tenant, page_size=7, **filters)
    store = crowd.another(walk_entries=9)
    last = (len(expected) + 6) // 7
    for page in {1, 2, last, last + 1} - {0}:
        found = store.list(replace(query, page=page))
        assert found.items == tuple(expected[(page - 1) * 7 : page * 7])
        assert (found.total, found.total_is_exact) == (len(expected), True)


def test_an_empty_table_has_an_empty_list(bench: Bench) -> None:
    found = bench.store.list(ListQuery(tenant="acme"))
    assert (found.items, found.total, found.total_is_exact) == ((), 0, True)


def test_another_tenants_jobs_are_not_in_the_list(bench: Bench) -> None:
    bench.seed([a_job(1, tenant="acme"), a_job(2, tenant="acme#running"), a_job(3, tenant="acme%")])
    for tenant, number in [("acme", 1), ("acme#running", 2), ("acme%", 3)]:
        assert [job.id for job in bench.store.list(ListQuery(tenant=tenant)).items] == [a_job(number).id]
    assert bench.store.list(ListQuery(tenant="acme", status=Status.RUNNING)).total == 0


def test_a_list_shows_a_job_as_last_written(bench: Bench) -> None:
    job = bench.store.create(a_job(spec={"workspace_id": 3}))
    running = moved(job, Status.RUNNING, message="runs", started_at=START)
    bench.store.save(running, job)
    for query in [
        ListQuery(tenant="acme"),
        ListQuery(tenant="acme", status=Status.RUNNING),
        ListQuery(tenant="acme", workspace_id=3),
        ListQuery(tenant="acme", workspace_id=3, status=Status.RUNNING),
        ListQuery(tenant=None),
        ListQuery(tenant=None, status=Status.RUNNING),
    ]:
        found = bench.store.list(query)
        assert (found.items, found.total) == ((summary_of(running),), 1)
    assert bench.store.list(ListQuery(tenant="acme", status=Status.PENDING)).total == 0


@pytest.mark.parametrize(
    "filters", [{}, {"pool": "default"}, {"created_from": START}], ids=["counted", "filtered", "timed"]
)
@pytest.mark.parametrize("tenant", ["acme", None])
def test_a_deleted_job_is_in_no_list_from_then_on(
    bench: Bench, tenant: str | None, filters: dict[str, Any]
) -> None:
    job = bench.store.create(a_job(1, spec={"workspace_id": 3}))
    other = bench.store.create(a_job(2, spec={"workspace_id": 3}))
    bench.store.save(deleted(job), job)
    for more in ({}, {"status": Status.PENDING}, {"workspace_id": 3}):
        found = bench.store.list(ListQuery(tenant=tenant, **(filters | more)))
        assert (found.items, found.total) == ((summary_of(other),), 1)


def test_a_range_of_time_includes_its_ends_to_the_millisecond(bench: Bench) -> None:
    bench.seed(replace(a_job(1), id=a_job(1).id[:-1] + end) for end in "0z")
    moment = a_job(1).created_at
    both = ListQuery(tenant="acme", created_from=moment, created_to=moment)
    assert bench.store.list(both).total == 2
    later = timedelta(milliseconds=1)
    assert bench.store.list(replace(both, created_from=moment + later, created_to=None)).total == 0
    assert bench.store.list(replace(both, created_from=None, created_to=moment - later)).total == 0


def test_a_walk_that_its_bound_ends_says_that_the_total_is_not_exact(bench: Bench) -> None:
    bench.seed(a_job(number, spec={"pool": ("a100", "default")[number % 2]}) for number in range(40))
    store = bench.another(walk_pages=3, walk_entries=10)
    found = store.list(ListQuery(tenant="acme", pool="a100", page_size=4))
    assert [job.id for job in found.items] == [a_job(number).id for number in (38, 36, 34, 32)]
    assert (found.total, found.total_is_exact) == (15, False)


def test_a_page_beyond_the_bound_of_a_walk_is_empty_and_says_so(bench: Bench) -> None:
    bench.seed(a_job(number) for number in range(40))
    found = bench.another(walk_pages=3, walk_entries=10).list(
        ListQuery(tenant="acme", pool="default", page=9, page_size=4)
    )
    assert (found.items, found.total, found.total_is_exact) == ((), 30, False)


def test_a_walk_that_ends_within_its_bound_is_exact(bench: Bench) -> None:
    bench.seed(a_job(number) for number in range(29))
    found = bench.another(walk_pages=3, walk_entries=10).list(ListQuery(tenant="acme", pool="default"))
    assert (len(found.items), found.total, found.total_is_exact) == (20, 29, True)
