"""Puts counters right that went wrong: by an operator's hand, a restored backup, or fewer shards.

Optimistic, like every other write: read the counters and their versions, count the index, and correct on
the condition that no version moved. Every change of a tenant's jobs moves a version of the tenant's own
counters, whichever workspace it is in, so that those versions guard the workspaces' counters too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.domain.states import Status
from chalicelib.errors import StoreUnavailable
from chalicelib.store.conditions import COUNTER_UNCHANGED, COUNTER_UNUSED
from chalicelib.store.counters import Counters, add, added_up
from chalicelib.store.items import Item
from chalicelib.store.keys import Scope, counter_key, counter_partition, listing, scope_of_counter
from chalicelib.store.queries import partition_request
from chalicelib.store.table import ConditionFailed, Table
from chalicelib.store.transactions import MAX_ACTIONS, Action, check, transact

# An index follows its table by a fraction of a second; what was written before that is in it afterwards.
INDEX_SETTLES_SECONDS = 1.0

ATTEMPTS = 5

Versions = list[int]  # of the tenant's own counters, by shard; 0: never written
Corrections = Mapping[Scope, Mapping[Status, int]]


def recount(table: Table, counters: Counters, tenant: str | None) -> Mapping[str, int]:
    """Correct the counters of `tenant` and of all its workspaces (None: those over all tenants).

    Costs a read of the tenant's counters and one walk along its index entries. Raises StoreUnavailable if
    writes never paused for as long as that takes.
    """
    for _ in range(ATTEMPTS):
        versions, counted_before = _read(table, counters.shards, tenant)
        table.sleep(INDEX_SETTLES_SECONDS)
        counted = _count(table, tenant)
        corrections = _corrections(counted, counted_before)
        try:
            _correct(table, Scope(tenant), versions, corrections)
        except ConditionFailed:
            continue
        return {status.value: counted[Scope(tenant)][status] for status in Status}
    raise StoreUnavailable(f"jobs kept changing during {ATTEMPTS} recounts")


def _read(
    table: Table, shards: int, tenant: str | None
) -> tuple[Versions, Mapping[Scope, Mapping[Status, int]]]:
    """The versions to watch, and what the counters say of every scope of the tenant that has any."""
    items: dict[Scope, list[Item]] = {}
    versions = [0] * shards
    for shard in range(shards):
        request = {
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": counter_partition(tenant, shard)}},
            "ConsistentRead": True,
        }
        for page in table.pages(**request):
            for item in page["Items"]:
                scope = scope_of_counter(tenant, item)
                items.setdefault(scope, []).append(item)
                if scope == Scope(tenant):
                    versions[shard] = int(item["version"]["N"])
    return versions, {scope: added_up(of_scope) for scope, of_scope in items.items()}


def _count(table: Table, tenant: str | None) -> Mapping[Scope, Counter[Status]]:
    """The jobs per scope and status, as the index lists them."""
    counted: dict[Scope, Counter[Status]] = {Scope(tenant): Counter()}
    request = partition_request(*listing(tenant))
    request["ExpressionAttributeNames"] |= {"#status": "status"}
    for page in table.pages(**request, ProjectionExpression="#status, workspace_id"):
        for item in page["Items"]:
            status = Status(item["status"]["S"])
            counted[Scope(tenant)][status] += 1
            if tenant is not None and "workspace_id" in item:
                workspace = Scope(tenant, int(item["workspace_id"]["N"]))
                counted.setdefault(workspace, Counter())[status] += 1
    return counted


def _corrections(
    counted: Mapping[Scope, Counter[Status]], counters: Mapping[Scope, Mapping[Status, int]]
) -> Corrections:
    """What to add to each scope's counters; scopes that are right are not in it."""
    corrections = {}
    nothing: Mapping[Status, int] = {}
    for scope in counted.keys() | counters.keys():
        is_now, should_be = counters.get(scope, nothing), counted.get(scope, nothing)
        wrong = {status: should_be.get(status, 0) - is_now.get(status, 0) for status in Status}
        if any(wrong.values()):
            corrections[scope] = {status: number for status, number in wrong.items() if number}
    return corrections


def _correct(table: Table, own: Scope, versions: Versions, corrections: Corrections) -> None:
    """Add the corrections, in as many transactions as their number takes, the tenant's own last.

    Each one checks the versions and raises that of shard 0, so that of two recounts at a time one fails.
    Raises ConditionFailed when a version moved; what was corrected by then was right.
    """
    versions = list(versions)
    workspaces = [scope for scope in corrections if scope != own]
    room = MAX_ACTIONS - len(versions)
    for start in range(0, len(workspaces), room):
        some = [add(scope, 0, corrections[scope]) for scope in workspaces[start : start + room]]
        _transact(table, [*_guards(own, versions, {}), *some])
        versions[0] += 1
    if own in corrections:
        _transact(table, _guards(own, versions, corrections[own]))


def _guards(own: Scope, versions: Versions, change: Mapping[Status, int]) -> list[Action]:
    """Conditions on all the tenant's own counters; `change` is added to the first."""
    first, *others = (_unchanged(version) for version in versions)
    return [
        add(own, 0, change, *first),
        *(
            check("version", counter_key(own, shard), *unchanged)
            for shard, unchanged in enumerate(others, start=1)
        ),
    ]


def _unchanged(version: int) -> tuple[str, Mapping[str, Any]]:
    if version == 0:
        return COUNTER_UNUSED, {}
    return COUNTER_UNCHANGED, {":expected": {"N": str(version)}}


def _transact(table: Table, actions: Sequence[Action]) -> None:
    transact(table, lambda _attempt: actions)
