"""The first page of a list, of tenants with few and with very many jobs, beside one raw Query of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from signal import SIGTERM

from chalicelib.domain.states import Status
from chalicelib.services.ports import ListQuery
from tests.benchmarks.member import Member, member
from tests.benchmarks.recorder import Recorder, recorded_store
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import LEAST, in_turns
from tests.unit.store.support import Bench, a_job

PAGE_SIZE = 20
GOAL_RATIO = 1.3
SECONDS_A_SIZE = 120.0
COUNTER_SHARDS = 8


def lists(sizes: Sizes) -> Sequence[Result]:
    """All tenants' jobs are in one table. The pump is stopped: it would publish all that is put there."""
    with member() as one:
        one.stack.kill("pump", SIGTERM)
        numbers = itertools.count(1)
        Bench(one.dynamodb, one.table, shards=COUNTER_SHARDS).seed(
            a_job(next(numbers), tenant=_tenant(size), status=Status.SUCCEEDED)
            for size in sizes.listed
            for _ in range(size)
        )
        measured = [_list(Member(one.stack, _tenant(size)), size, sizes.requests) for size in sizes.listed]
    alike = len({requests for _, requests in measured}) == 1
    return [replace(result, met=result.met and alike) for result, _ in measured]


def _list(one: Member, size: int, turns: int) -> tuple[Result, int]:
    """And how many requests the store makes."""
    recorder = Recorder(one.dynamodb)
    page = recorded_store(recorder, one.table).list(ListQuery(tenant=one.tenant, page_size=PAGE_SIZE))
    assert (len(page.items), page.total) == (PAGE_SIZE, size)
    (query,) = [request for operation, request in recorder.asked if operation == "query"]
    (counted,) = [answer for answer in recorder.answers if "ScannedCount" in answer]
    read = int(counted["ScannedCount"])
    works = [
        lambda: one.call("POST", "/api/jobs", {"pageSize": PAGE_SIZE}),
        lambda: one.dynamodb.query(**query),
    ]
    what = f"list {PAGE_SIZE} of {size:,} jobs, p50"
    goal = f"≤ {GOAL_RATIO:g}×, items read = returned, as many requests at every size"
    made = (
        f"{len(recorder.asked)} requests ({', '.join(operation for operation, _ in recorder.asked)}), "
        f"{read} entries read, {len(page.items)} returned"
    )
    try:
        api, raw = in_turns(works, turns, SECONDS_A_SIZE)
    except RuntimeError as error:
        (raw,) = in_turns(works[1:], LEAST)
        # MiniStack goes over the whole partition, and the store does not wait for it that long.
        slow = Result(what=what, figure="no answer", raw=f"{raw}, one raw Query", goal=goal, met=False)
        return replace(slow, notes=[made, str(error)]), len(recorder.asked)
    ratio = api.p50 / raw.p50
    result = Result(
        what=what,
        figure=str(api),
        raw=f"{raw}, one raw Query",
        ratio=ratio,
        goal=goal,
        met=ratio <= GOAL_RATIO and read == PAGE_SIZE,
        notes=[f"{made}; p99 {api.p99 * 1000:.0f} ms, raw {raw.p99 * 1000:.0f} ms of {len(api.times)}"],
    )
    return result, len(recorder.asked)


def _tenant(size: int) -> str:
    return f"has-{size}"
