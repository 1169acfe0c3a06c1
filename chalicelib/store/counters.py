"""Totals that are read in one request and never counted: numbers that change together with the records.

Each scope's numbers are spread over shards, because two transactions on one item at a time cancel each
other. A shard's numbers mean nothing alone (they may be negative); only the sum over the shards does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status
from chalicelib.store.items import Item
from chalicelib.store.keys import Scope, counter_key, shard_of
from chalicelib.store.table import Table
from chalicelib.store.transactions import Action, update

Counts = Mapping[Status, int]


class Counters:
    """The counters of a table, on `shards` shards. With a new number of shards every scope wants a recount
    only if the number became smaller: shards beyond it are no longer read."""

    def __init__(self, table: Table, shards: int) -> None:
        self.shards = shards
        self._table = table

    def read(self, scope: Scope) -> Counts:
        """A scope's jobs per status, as of now, in one request."""
        items = self._table.get_many([counter_key(scope, shard) for shard in range(self.shards)])
        return added_up(items)

    def actions(self, job: Job, was: Job | None, attempt: int) -> list[Action]:
        """What writing `job` over `was` does to the counters; nothing unless a listed job's status, or its
        being listed, changes."""
        change = change_of(job, was)
        if not change:
            return []
        shard = shard_of(job.id, attempt, self.shards)
        return [add(scope, shard, change) for scope in scopes_of(job)]

    def actions_of_many(self, written: Sequence[tuple[Job, Job | None]], attempt: int) -> list[Action]:
        """What writing each over what it was does, in one transaction: the first one's shard counts all."""
        changes: defaultdict[Scope, Counter[Status]] = defaultdict(Counter)
        for job, was in written:
            if change := change_of(job, was):
                for scope in scopes_of(job):
                    changes[scope].update(change)
        shard = shard_of(written[0][0].id, attempt, self.shards)
        # Also where nothing is left of the sum: a recount watches the version.
        return [add(scope, shard, _without_zeros(change)) for scope, change in changes.items()]


def change_of(job: Job, was: Job | None) -> Mapping[Status, int]:
    """By how much the number of each status changes."""
    change: Counter[Status] = Counter()
    if was is not None and not was.is_deleted:
        change[was.status] -= 1
    if not job.is_deleted:
        change[job.status] += 1
    return _without_zeros(change)


def scopes_of(job: Job) -> list[Scope]:
    scopes = [Scope(None), Scope(job.tenant)]
    if job.spec.workspace_id is not None:
        scopes.append(Scope(job.tenant, job.spec.workspace_id))
    return scopes


def add(
    scope: Scope,
    shard: int,
    change: Counts,
    condition: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> Action:
    """Add `change` to a shard, and one to its version, which is what a recount watches."""
    terms = ["version :one", *(f"#{status} :{status}" for status in change)]
    request: dict[str, Any] = {
        "UpdateExpression": "ADD " + ", ".join(terms),
        "ExpressionAttributeValues": {
            ":one": {"N": "1"},
            **{f":{status}": {"N": str(number)} for status, number in change.items()},
            **(values or {}),
        },
    }
    if change:
        request["ExpressionAttributeNames"] = {f"#{status}": status.value for status in change}
    if condition:
        request["ConditionExpression"] = condition
    return update("counter", counter_key(scope, shard), request)


def added_up(shards: Iterable[Item]) -> Counts:
    """The sum over a scope's shards."""
    sums = dict.fromkeys(Status, 0)
    for item in shards:
        for status in Status:
            if status.value in item:
                sums[status] += int(item[status.value]["N"])
    return sums


def _without_zeros(change: Counts) -> Counts:
    return {status: number for status, number in change.items() if number}
