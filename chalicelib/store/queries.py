"""Lists: which index answers a query, and how few of its entries have to be read for one page.

A list that an index holds exactly takes its total from the counters. Any other list is walked along the
index that comes closest, over a bounded number of pages; beyond them its total is a lower bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chalicelib.aside import Aside, both
from chalicelib.domain.job import JobSummary
from chalicelib.domain.states import ACTIVE, Status
from chalicelib.services.ports import JobPage, ListQuery
from chalicelib.store.counters import Counters
from chalicelib.store.items import to_summary
from chalicelib.store.keys import ALL_BY_STATUS, DELETING, Index, Scope, id_bounds, listing
from chalicelib.store.table import Table

# A walk reads at most WALK_PAGES × WALK_ENTRIES index entries (and one page of them twice), at about half a
# kilobyte each: 40,000 jobs, and about a second, for one request.
WALK_PAGES = 20
WALK_ENTRIES = 2000


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is answered: a partition of an index, the ids in it, and what its entries must hold.

    `scope` says whose counters know the total; None: only a walk does.
    """

    index: Index
    partition: str
    ids: tuple[str, str] | None = None
    conditions: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    scope: Scope | None = None

    def request(self) -> dict[str, Any]:
        """The parameters of a Query for it, newest first."""
        request = partition_request(self.index, self.partition)
        request["ScanIndexForward"] = False
        if self.ids:
            request["KeyConditionExpression"] += " AND id BETWEEN :low AND :high"
            low, high = self.ids
            request["ExpressionAttributeValues"] |= {":low": {"S": low}, ":high": {"S": high}}
        if self.conditions:
            request["FilterExpression"] = " AND ".join(self.conditions)
            request["ExpressionAttributeNames"] |= self.names
            request["ExpressionAttributeValues"] |= self.values
        return request


def plan(query: ListQuery) -> Plan:
    """Choose the index; what it does not answer becomes a filter."""
    indexed_workspace = query.workspace_id if query.tenant is not None else None
    wanted = {
        "pool": None if query.pool is None else {"S": query.pool},
        "queue": None if query.queue is None else {"S": query.queue},
        "workspace_id": None if query.workspace_id is None else {"N": str(query.workspace_id)},
    }
    if indexed_workspace is not None:
        del wanted["workspace_id"]
    filters = {name: value for name, value in wanted.items() if value is not None}
    conditions = [f"#{name} = :{name}" for name in filters]
    if query.keyword:
        filters["search"] = {"S": query.keyword.casefold()}
        conditions.append("contains(#search, :search)")
    timed = query.created_from is not None or query.created_to is not None
    index, partition = listing(query.tenant, query.status, indexed_workspace)
    return Plan(
        index=index,
        partition=partition,
        ids=id_bounds(query.created_from, query.created_to) if timed else None,
        conditions=tuple(conditions),
        names={f"#{name}": name for name in filters},
        values={f":{name}": value for name, value in filters.items()},
        scope=None if timed or filters else Scope(query.tenant, indexed_workspace),
    )


class Lists:
    """Answers list queries. A walk stops after `pages` index pages of `entries` entries."""

    def __init__(
        self,
        table: Table,
        counters: Counters,
        aside: Aside,
        pages: int = WALK_PAGES,
        entries: int = WALK_ENTRIES,
    ) -> None:
        self._table = table
        self._counters = counters
        self._aside = aside
        self._pages = pages
        self._entries = entries

    def page(self, query: ListQuery) -> JobPage:
        chosen = plan(query)
        offset = (query.page - 1) * query.page_size
        if chosen.scope is not None:
            total = partial(self._total, chosen.scope, query.status)
            return self._counted(chosen, total, offset, query.page_size)
        if chosen.ids and chosen.ids[0] > chosen.ids[1]:
            return JobPage((), 0)
        return self._walked(chosen, offset, query.page_size)

    def _total(self, scope: Scope, status: Status | None) -> int:
        counts = self._counters.read(scope)
        return max(sum(counts.values()) if status is None else counts[status], 0)

    def _counted(self, chosen: Plan, count: Callable[[], int], offset: int, size: int) -> JobPage:
        """The first page is read while its total is. Before another it has to be known whether there is one:
        to go beyond the last would be to read all of the list for nothing."""
        walk = _Walk(self._table, chosen, pages=None, entries=None)
        if offset == 0:
            total, items = both(self._aside, count, partial(walk.take, 0, size))
            return JobPage(tuple(items) if total else (), total)
        total = count()
        if offset >= total:
            return JobPage((), total)
        walk.skip(offset)
        return JobPage(tuple(walk.take(offset, size)), total)

    def _walked(self, chosen: Plan, offset: int, size: int) -> JobPage:
        walk = _Walk(self._table, chosen, self._pages, self._entries)
        walk.skip(offset)
        items = walk.take(offset, size)
        walk.skip(None)
        return JobPage(tuple(items), walk.passed, total_is_exact=walk.ended)


class _Walk:
    """A way along an index. `passed` is how many matching entries lie behind; `ended` that none lie ahead.

    With `pages` None it goes as far as asked; with `entries` None a request reads what fits in it.
    """

    def __init__(self, table: Table, chosen: Plan, pages: int | None, entries: int | None) -> None:
        self.passed = 0
        self.ended = False
        self._table = table
        self._request = chosen.request()
        self._filtered = bool(chosen.conditions)
        self._pages = pages
        self._entries = entries

    def skip(self, offset: int | None) -> None:
        """Go to the entry number `offset` (None: to the end) on counts alone, without any items.

        Behind a filter a page may reach beyond `offset`; the walk then stops short, at that page's start.
        """
        while self._goes_on and (offset is None or self.passed < offset):
            start = self._request.get("ExclusiveStartKey")
            page = self._step(None if offset is None else offset - self.passed, Select="COUNT")
            if offset is not None and self.passed + page["Count"] > offset:
                self._return_to(start)
                return
            self.passed += page["Count"]

    def take(self, offset: int, size: int) -> list[JobSummary]:
        """The `size` entries from number `offset` on, after `skip(offset)`."""
        ahead = offset - self.passed
        items: list[Any] = []
        while self._goes_on and len(items) < ahead + size:
            items += self._step(ahead + size - len(items))["Items"]
        self.passed += len(items)
        return [to_summary(item) for item in items[ahead : ahead + size]]

    @property
    def _goes_on(self) -> bool:
        return not self.ended and self._pages != 0

    def _step(self, wanted: int | None, **request: Any) -> Mapping[str, Any]:
        limits = [self._entries, None if self._filtered else wanted]
        if known := [limit for limit in limits if limit is not None]:
            request["Limit"] = min(known)
        page = self._table.query(**self._request, **request)
        if self._pages is not None:
            self._pages -= 1
        if "LastEvaluatedKey" in page:
            self._request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        else:
            self.ended = True
        return page

    def _return_to(self, start: Mapping[str, Any] | None) -> None:
        """Undo the last step. Reading that page once more is what makes room for it in the bound."""
        self.ended = False
        if self._pages is not None:
            self._pages += 1
        self._request.pop("ExclusiveStartKey", None)
        if start is not None:
            self._request["ExclusiveStartKey"] = start


def unsettled_ids(table: Table, but: Status | None) -> Iterator[list[str]]:
    """The ids of active jobs, without those of status `but`, and of tombstones, an index page at a time; an
    id may come twice.

    Along the way of a job, so that one that moves on while this runs is met again and not missed.
    """
    for partition in _unsettled_partitions(but):
        request = partition_request(ALL_BY_STATUS, partition)
        for page in table.pages(**request, ProjectionExpression="id"):
            yield [item["id"]["S"] for item in page["Items"]]


def has_unsettled(table: Table) -> bool:
    """Whether there is any active job or tombstone: at most four reads of one index entry."""
    return any(
        table.query(**partition_request(ALL_BY_STATUS, partition), Select="COUNT", Limit=1)["Count"]
        for partition in _unsettled_partitions()
    )


def partition_request(index: Index, partition: str) -> dict[str, Any]:
    """The parameters of a Query for a whole partition of an index."""
    return {
        "IndexName": index.name,
        "KeyConditionExpression": "#key = :key",
        "ExpressionAttributeNames": {"#key": index.key},
        "ExpressionAttributeValues": {":key": {"S": partition}},
    }


def _unsettled_partitions(but: Status | None = None) -> list[str]:
    return [*(listing(None, status)[1] for status in Status if status in ACTIVE - {but}), DELETING]
