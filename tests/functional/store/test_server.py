"""What only a server shows: the deployed stack, writers side by side, and a table with its real stream."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from botocore.exceptions import ClientError

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status
from chalicelib.errors import StaleRecord
from chalicelib.services.ports import Idempotency, ListQuery
from chalicelib.store.keys import Scope
from infra.local import ministack
from infra.local.config import Local
from tests.unit.store.claims import TICKET
from tests.unit.store.support import START, Bench, a_job, deleted, moved
from tests.unit.store.totals import spoil, total

WRITERS = 8

T = TypeVar("T")


@pytest.fixture(scope="session")
def deployed(local: Local) -> Bench:
    """A store on the table that CloudFormation made."""
    table = ministack.deploy(local).jobs_table
    return Bench(ministack.client(local, "dynamodb"), table)


def test_the_stack_deploys_and_its_table_works(deployed: Bench) -> None:
    table = deployed.client.describe_table(TableName=deployed.table)["Table"]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    assert len(table["GlobalSecondaryIndexes"]) == 6
    job = deployed.store.create(a_job(tenant="deployed"))
    assert [item.id for item in deployed.store.list(ListQuery(tenant="deployed")).items] == [job.id]


def test_the_stream_shows_what_the_outbox_filters_by(deployed: Bench, local: Local) -> None:
    job = deployed.store.create(a_job(2, tenant="streamed", status=Status.RUNNING))
    stopping = moved(job, Status.STOPPING)
    deployed.store.save(stopping, job)
    tombstone = deleted(stopping)
    deployed.store.save(tombstone, stopping)
    images = [image for image in _images(deployed, local) if image.get("id") == {"S": job.id}]
    seen = [(image["version"]["N"], image.get("from_status"), "deleted_at" in image) for image in images]
    assert seen == [("1", None, False), ("2", {"S": "running"}, False), ("3", None, True)]
    assert all(image["sk"] == {"S": "JOB"} for image in images)


def test_creates_with_one_key_side_by_side_make_one_job(bench: Bench) -> None:
    key = Idempotency("the key", "f")
    jobs = _side_by_side(lambda n: bench.another().create(a_job(n), key))
    assert len({job.id for job in jobs}) == 1
    assert total(bench) == 1


def test_of_saves_side_by_side_one_wins(bench: Bench) -> None:
    job = bench.store.create(a_job())

    def save(number: int) -> bool:
        try:
            bench.another().save(moved(job, Status.RUNNING, message=str(number)), job)
        except StaleRecord:
            return False
        return True

    won = _side_by_side(save)
    assert won.count(True) == 1
    standing = bench.store.get(job.id)
    assert standing is not None
    assert standing.message == str(won.index(True))
    assert (total(bench, status=Status.RUNNING), total(bench)) == (1, 1)


def test_of_holders_side_by_side_one_has_the_lease(bench: Bench) -> None:
    minute = timedelta(minutes=1)
    won = _side_by_side(lambda n: bench.another().acquire_lease("sync", str(n), START, minute))
    assert won.count(True) == 1


def test_totals_are_exact_after_writers_side_by_side(bench: Bench) -> None:
    def live(number: int) -> None:
        store = bench.another()
        for step in range(6):
            job = store.create(a_job(number * 10 + step))
            for status in (Status.RUNNING, Status.FAILED)[: step % 3]:
                job = _saved(store, moved(job, status), job)
            if step == 5:
                _saved(store, deleted(job), job)

    _side_by_side(live)
    expected = {"pending": 2, "running": 2, "failed": 1}
    totals = {status: total(bench, status=Status(status)) for status in expected}
    assert totals == {status: number * WRITERS for status, number in expected.items()}
    assert total(bench, None) == 5 * WRITERS
    bench.spy.calls.clear()
    bench.store.recount("acme")
    assert not bench.spy.asked("transact_write_items")


def test_a_recount_mends_more_workspaces_than_one_transaction_takes(bench: Bench) -> None:
    bench.seed(a_job(number, spec={"workspace_id": number}) for number in range(50))
    for number in range(50):
        spoil(bench, Scope("acme", number))
    spoil(bench, Scope("acme"))
    bench.another(bench.spy, counter_shards=60).recount("acme")
    assert [total(bench, workspace_id=number) for number in range(50)] == [1] * 50
    assert total(bench) == 50
    assert len(bench.spy.asked("transact_write_items")) == 3


def test_the_table_is_protected_from_being_deleted(deployed: Bench) -> None:
    with pytest.raises(ClientError):
        deployed.client.delete_table(TableName=deployed.table)
    assert deployed.client.describe_table(TableName=deployed.table)


def _saved(store: Any, job: Job, was: Job) -> Job:
    store.save(job, was)
    return job


def _side_by_side(call: Callable[[int], T]) -> list[T]:
    """What `call` gives for the number of each writer, all of them at once."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(call, range(WRITERS)))


def _images(bench: Bench, local: Local) -> list[dict[str, Any]]:
    """The new images of everything in the table's stream, oldest first."""
    streams = ministack.client(local, "dynamodbstreams")
    arn = bench.client.describe_table(TableName=bench.table)["Table"]["LatestStreamArn"]
    images = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            answer = streams.get_records(ShardIterator=iterator)
            images += [record["dynamodb"]["NewImage"] for record in answer["Records"]]
            iterator = answer.get("NextShardIterator") if answer["Records"] else None
    return images


def test_of_many_who_redeem_a_ticket_at_once_one_gets_it(bench: Bench) -> None:
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda _: bench.store.use_ticket(TICKET), range(8)))
    assert sorted(won) == [False] * 7 + [True]
