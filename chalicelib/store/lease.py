"""Leases, and a table whose every write holds one: a writer that was overtaken is refused, however late.

The number in a lease's item, its fence, grows each time that the lease changes hands and never falls. A write
carries a check of it in its transaction, so that no time passes between the check and the write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from chalicelib.errors import LeaseLost
from chalicelib.store import conditions
from chalicelib.store.items import Item, to_time
from chalicelib.store.keys import Key, lease_key
from chalicelib.store.table import ConditionFailed, DynamoClient, Table
from chalicelib.store.transactions import LEASE, Action, check, delete, put, put_beside, transact

GIVEN_UP = "1970-01-01T00:00:00.000000+00:00"


class Lease:
    """One lease in the eyes of one holder. `table` is not itself fenced."""

    def __init__(self, table: Table, name: str, holder: str) -> None:
        self._table = table
        self._key = lease_key(name)
        self._holder = holder
        self._fence: str | None = None

    def acquire(self, now: datetime, lasts: timedelta) -> bool:
        """Take it, or renew it; a renewed one keeps its fence, also if it had expired and nobody took it."""
        until = {":until": {"S": to_time(now + lasts)}}
        if self._fence is not None and self._update("SET held_until = :until", conditions.LEASE_HELD, until):
            return True
        taken = self._update(
            "SET held_until = :until, holder = :holder ADD fence :one",
            conditions.LEASE_FREE_OR_OURS,
            {**until, ":now": {"S": to_time(now)}, ":one": {"N": "1"}},
            fenced=False,
        )
        self._fence = taken["fence"]["N"] if taken else None
        return taken is not None

    def release(self) -> None:
        """Give it up, if it is ours. The item stays: the next fence must be a higher one."""
        given_up = {":until": {"S": GIVEN_UP}}
        self._update("SET held_until = :until", conditions.LEASE_OURS, given_up, fenced=False)
        self._fence = None

    def still_held(self) -> Action:
        """The action that lets a transaction through only while it is ours. Raises LeaseLost."""
        if self._fence is None:
            raise LeaseLost(f"{self._holder} does not hold the lease")
        return check(LEASE, self._key, conditions.LEASE_HELD, self._identity(fenced=True))

    def _update(
        self, change: str, condition: str, values: Mapping[str, Any], fenced: bool = True
    ) -> Item | None:
        """The item as it is then; None when the condition does not hold."""
        try:
            return self._table.update(self._key, change, condition, {**values, **self._identity(fenced)})
        except ConditionFailed:
            return None

    def _identity(self, fenced: bool) -> dict[str, Any]:
        fence = {":fence": {"N": self._fence}} if fenced else {}
        return {":holder": {"S": self._holder}, **fence}


class FencedTable(Table):
    """A table for one holder of a lease. Writes come one after the other, whichever thread makes them: two
    transactions with the same check would cancel each other."""

    def __init__(
        self, client: DynamoClient, name: str, sleep: Callable[[float], None], random: Random, lease: Lease
    ) -> None:
        super().__init__(client, name, sleep, random)
        self.one_at_a_time = threading.Lock()
        self._lease = lease

    def guards(self) -> Sequence[Action]:
        return [self._lease.still_held()]

    def put(self, item: Item, condition: str | None = None, values: Mapping[str, Any] | None = None) -> None:
        action = put("item", item, condition, values) if condition else put_beside("item", item)
        transact(self, lambda _: [action])

    def delete(self, key: Key, condition: str, values: Mapping[str, Any]) -> None:
        transact(self, lambda _: [delete("item", key, condition, values)])
