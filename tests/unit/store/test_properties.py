"""Totals, lists and recounts agree with a model, whatever happens to the jobs in whatever order."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.domain.job import Job
from chalicelib.domain.states import TRANSITIONS, Status
from chalicelib.services.ports import ListQuery
from tests.unit.store.support import Bench, a_job, create_table, deleted, moved

TENANTS = ("acme", "globex")
WORKSPACES = (None, 1, 2)

# What to do, and to which of the jobs there are (modulo their number), or in which workspace.
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "create", "move", "touch", "delete", "remove"]), st.integers(0, 5)),
    min_size=1,
    max_size=14,
)


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_totals_and_recounts_agree_with_a_model(client: Any, steps: list[tuple[str, int]]) -> None:
    name = f"jobs-{uuid.uuid4().hex}"
    create_table(client, name)
    bench = Bench(client, name)
    model: dict[str, Job] = {}
    for step, number in steps:
        _do(bench, model, step, number)
    _compare(bench, list(model.values()))
    bench.spy.calls.clear()
    for tenant in (None, *TENANTS):
        counted = bench.store.recount(tenant)
        assert counted == _per_status(model.values(), tenant)
    assert not bench.spy.asked("transact_write_items"), "a recount found counters that were wrong"
    client.delete_table(TableName=name)


def _do(bench: Bench, model: dict[str, Job], step: str, number: int) -> None:
    if step == "create":
        job = a_job(
            len(model),
            tenant=TENANTS[number % 2],
            spec={"workspace_id": WORKSPACES[number % 3]},
        )
        model[job.id] = bench.store.create(job)
        return
    if not model:
        return
    job = list(model.values())[number % len(model)]
    if step == "remove":
        if job.is_deleted:
            bench.store.remove(job)
            # It stays in the model as a tombstone, so that no other job is given its number.
            model[job.id] = job
        return
    if bench.store.get(job.id) is None:
        return
    after = _after(job, step, number)
    if after is not None:
        bench.store.save(after, job)
        model[job.id] = after


def _after(job: Job, step: str, number: int) -> Job | None:
    if step == "touch":
        return moved(job, job.status, message=f"touched {number}")
    if step == "delete":
        return None if job.is_deleted else deleted(job)
    onward = sorted(TRANSITIONS[job.status])
    return moved(job, onward[number % len(onward)]) if onward else None


def _compare(bench: Bench, jobs: list[Job]) -> None:
    for tenant in (None, *TENANTS):
        for status in {None, Status.PENDING, *(job.status for job in jobs)}:
            for workspace_id in WORKSPACES if tenant else (None,):
                expected = sorted(
                    job.id
                    for job in jobs
                    if not job.is_deleted
                    and tenant in (None, job.tenant)
                    and status in (None, job.status)
                    and workspace_id in (None, job.spec.workspace_id)
                )
                found = bench.store.list(ListQuery(tenant=tenant, status=status, workspace_id=workspace_id))
                assert found.total == len(expected)
                assert [item.id for item in found.items] == expected[::-1]


def _per_status(jobs: Any, tenant: str | None) -> dict[str, int]:
    counted = Counter(job.status for job in jobs if not job.is_deleted and tenant in (None, job.tenant))
    return {status.value: counted[status] for status in Status}
