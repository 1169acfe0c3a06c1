"""How records behave, on whatever DynamoDB the fixture `bench` stands on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.job import Job
from chalicelib.domain.pods import PodRecord
from chalicelib.domain.states import Status
from chalicelib.errors import PayloadTooLarge, StaleRecord
from chalicelib.services.ports import CREATED_TOGETHER, ListQuery
from chalicelib.store.keys import job_key
from tests.unit.store.support import START, Bench, a_job, deleted, moved

EVERYTHING = ListQuery(tenant=None)


def test_a_created_job_is_read_back_as_it_was(bench: Bench) -> None:
    job = replace(
        a_job(
            spec={
                "name": "Größe 模型",
                "queue": "gold",
                "framework": "pytorch",
                "workspace_id": 7,
                "env": {"A": "", "B": "2"},
                "labels": {"team": "研究"},
                "max_runtime_seconds": 60,
                "bundle": "s3://bucket/a%20b.zip?versionId=v",
            }
        ),
        source="s3://bucket/模.json",
        pods=(
            PodRecord(name="p-0", exit_code=0, started_at=START, reason="模型"),
            PodRecord(name="p-1", rank=1),
        ),
        metrics={"loss": 0.125, "deep": {"list": [1, None, True, "\ud800"]}},
        model_id=2**62,
        exit_code=-1,
        started_at=START,
    )
    assert bench.store.create(job) == job
    assert bench.store.get(job.id) == job


def test_a_job_that_is_not_there_is_none(bench: Bench) -> None:
    assert bench.store.get("job-nothing") is None


def test_many_jobs_are_read_at_once_whatever_their_number_or_repetition(bench: Bench) -> None:
    jobs = bench.seed(a_job(number) for number in range(130))
    asked = [job.id for job in jobs]
    assert bench.store.get_many([*asked, *asked[:5], "job-nothing"]) == {job.id: job for job in jobs}


def test_the_id_of_a_standing_job_is_not_given_again(bench: Bench) -> None:
    bench.store.create(a_job())
    with pytest.raises(StaleRecord):
        bench.store.create(replace(a_job(), message="another"))
    assert bench.store.list(EVERYTHING).total == 1


def test_a_save_replaces_the_version_that_it_was_decided_on(bench: Bench) -> None:
    job = bench.store.create(a_job())
    running = moved(job, Status.RUNNING, started_at=START, pods=(PodRecord(name="p"),))
    bench.store.save(running, job)
    assert bench.store.get(job.id) == running


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(Status.RUNNING, id="with a change of status"),
        pytest.param(Status.PENDING, id="without one"),
    ],
)
def test_a_save_over_a_version_that_stands_no_more_is_stale(bench: Bench, status: Status) -> None:
    job = bench.store.create(a_job())
    bench.store.save(moved(job, status), job)
    with pytest.raises(StaleRecord):
        bench.store.save(moved(job, status, message="too late"), job)


def test_a_save_of_a_job_that_is_gone_is_stale(bench: Bench) -> None:
    job = a_job()
    with pytest.raises(StaleRecord):
        bench.store.save(moved(job, Status.RUNNING), job)
    assert bench.store.get(job.id) is None


def test_many_saves_are_few_transactions(bench: Bench) -> None:
    jobs = bench.seed(a_job(number) for number in range(CREATED_TOGETHER + 2))
    saves = [(moved(job, Status.RUNNING, started_at=START), job) for job in jobs]
    assert bench.store.save_many(saves) == [True] * len(jobs)
    assert bench.spy.operations == ["transact_write_items"] * 2
    assert bench.store.get_many([job.id for job in jobs]) == {job.id: job for job, _ in saves}
    assert bench.store.list(EVERYTHING).total == len(jobs)
    assert bench.store.list(ListQuery(tenant=None, status=Status.RUNNING)).total == len(jobs)
    (told,) = bench.store.events(jobs[0].id, 10).items
    assert told.key == f"v{saves[0][0].version}"


def test_of_many_saves_those_that_are_stale_hold_up_none_of_the_others(bench: Bench) -> None:
    first, gone, last = bench.seed(a_job(number) for number in range(3))
    bench.store.save(moved(gone, Status.FAILED), gone)
    saves = [(moved(job, Status.RUNNING), job) for job in (first, gone, last)]
    assert bench.store.save_many(saves) == [True, False, True]
    assert bench.store.list(ListQuery(tenant=None, status=Status.RUNNING)).total == 2


def test_a_record_that_is_saved_twice_in_one_call_has_both(bench: Bench) -> None:
    job = bench.store.create(a_job())
    running = moved(job, Status.RUNNING)
    over = moved(running, Status.SUCCEEDED)
    assert bench.store.save_many([(running, job), (over, running)]) == [True, True]
    assert bench.store.get(job.id) == over
    assert bench.store.list(ListQuery(tenant=None, status=Status.SUCCEEDED)).total == 1


def test_a_save_must_be_of_the_next_version(bench: Bench) -> None:
    job = bench.store.create(a_job())
    with pytest.raises(ValueError, match="not the next version"):
        bench.store.save(job, job)


def test_only_the_write_that_changes_the_status_says_what_it_was(bench: Bench) -> None:
    job = bench.store.create(a_job())
    running = moved(job, Status.RUNNING)
    bench.store.save(running, job)
    item = bench.item(job_key(job.id))
    assert item is not None
    assert item["from_status"] == {"S": "pending"}
    bench.store.save(moved(running, Status.RUNNING), running)
    item = bench.item(job_key(job.id))
    assert item is not None
    assert "from_status" not in item


def test_a_tombstone_is_removed(bench: Bench) -> None:
    tombstone = _tombstone(bench)
    bench.store.remove(tombstone)
    assert bench.store.get(tombstone.id) is None
    bench.store.remove(tombstone)  # gone is gone


def test_a_newer_tombstone_is_not_removed(bench: Bench) -> None:
    tombstone = _tombstone(bench)
    newer = moved(tombstone, tombstone.status)
    bench.store.save(newer, tombstone)
    with pytest.raises(StaleRecord):
        bench.store.remove(tombstone)
    assert bench.store.get(tombstone.id) == newer


def test_a_job_that_is_not_deleted_is_not_removed(bench: Bench) -> None:
    job = bench.store.create(a_job())
    with pytest.raises(StaleRecord):
        bench.store.remove(job)
    assert bench.store.get(job.id) == job


def test_a_record_over_the_size_of_an_item_is_refused_for_good(bench: Bench) -> None:
    job = a_job(spec={"env": {"A": "x" * 420_000}})
    with pytest.raises(PayloadTooLarge):
        bench.store.create(job)
    assert bench.store.list(EVERYTHING).total == 0


def test_a_save_over_the_size_of_an_item_is_refused_for_good(bench: Bench) -> None:
    job = bench.store.create(a_job())
    with pytest.raises(PayloadTooLarge):
        bench.store.save(moved(job, Status.PENDING, message="x" * 420_000), job)
    assert bench.store.get(job.id) == job


# ---- what is not settled


def test_unsettled_gives_active_jobs_and_tombstones_whole_and_nothing_else(bench: Bench) -> None:
    jobs = [a_job(number, status=status, spec={"env": {"A": "1"}}) for number, status in enumerate(Status)]
    tombstone = deleted(a_job(20, status=Status.FAILED))
    active_tombstone = deleted(a_job(21, status=Status.STOPPING))
    bench.seed([*jobs, tombstone, active_tombstone])
    expected = [*jobs[:3], tombstone, active_tombstone]
    assert {job.id: job for job in bench.store.unsettled()} == {job.id: job for job in expected}


def test_unsettled_leaves_a_status_out(bench: Bench) -> None:
    jobs = bench.seed(a_job(number, status=status) for number, status in enumerate(Status))
    (tombstone,) = bench.seed([deleted(a_job(20, status=Status.STOPPED))])
    expected = {jobs[0].id: jobs[0], jobs[2].id: jobs[2], tombstone.id: tombstone}
    assert jobs[1].status == Status.RUNNING
    assert {job.id: job for job in bench.store.unsettled(but=Status.RUNNING)} == expected


def test_unsettled_goes_on_over_more_than_one_batch(bench: Bench) -> None:
    bench.seed(a_job(number) for number in range(230))
    assert len(list(bench.store.unsettled())) == 230


def test_unsettled_drops_what_was_settled_or_removed_by_the_time_it_is_read(bench: Bench) -> None:
    stays, settles, goes = bench.seed(a_job(number, status=Status.RUNNING) for number in range(3))

    def happens() -> None:
        bench.store.save(moved(settles, Status.FAILED), settles)
        bench.client.delete_item(TableName=bench.table, Key=job_key(goes.id))

    assert list(bench.another(_Meanwhile(bench, happens)).unsettled()) == [stays]


def test_unsettled_gives_a_job_once_that_moves_on_meanwhile(bench: Bench) -> None:
    (job,) = bench.seed([a_job()])
    running = moved(job, Status.RUNNING)
    client = _Meanwhile(bench, lambda: bench.store.save(running, job))
    assert list(bench.another(client).unsettled()) == [running]


class _Meanwhile:
    """A client on which something happens just before the first batch is read."""

    def __init__(self, bench: Bench, happens: Callable[[], None]) -> None:
        self._client = bench.client
        self._happens = [happens]

    def __getattr__(self, operation: str) -> Any:
        if operation == "batch_get_item" and self._happens:
            self._happens.pop()()
        return getattr(self._client, operation)


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        *((a_job(status=status), status in list(Status)[:3]) for status in Status),
        (deleted(a_job(status=Status.FAILED)), True),
        (None, False),
    ],
    ids=[*Status, "tombstone", "empty table"],
)
def test_has_unsettled(bench: Bench, job: Job | None, expected: bool) -> None:
    if job:
        bench.seed([job])
    assert bench.store.has_unsettled() is expected


def _tombstone(bench: Bench) -> Job:
    job = bench.store.create(a_job(status=Status.FAILED))
    tombstone = deleted(job)
    bench.store.save(tombstone, job)
    return tombstone
