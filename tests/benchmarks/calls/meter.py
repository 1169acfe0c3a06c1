"""Counts what passes: a table that knows what its requests cost, and a log that knows how long it gets."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from tests.benchmarks.calls import units
from tests.benchmarks.calls.units import Item
from tests.proof.table import FakeTable, Key
from tests.unit.store.support import jobs_table

# What Lambda writes itself for each call of a function that logs as JSON, at its system log level INFO.
PLATFORM = [
    {
        "time": "2026-01-26T10:00:00.000Z",
        "type": "platform.start",
        "record": {"requestId": "0" * 36, "version": "$LATEST"},
    },
    {
        "time": "2026-01-26T10:00:00.000Z",
        "type": "platform.report",
        "record": {
            "requestId": "0" * 36,
            "metrics": {
                "durationMs": 100.123,
                "billedDurationMs": 101,
                "memorySizeMB": 512,
                "maxMemoryUsedMB": 120,
            },
            "status": "success",
        },
    },
]
# What is written, by the beginning of its sort key.
KINDS = {
    "JOB": "records",
    "EVENT": "events",
    "TOTAL": "counters",
    "WORKSPACE": "counters",
    "LEASE": "leases",
    "FEED": "feeds",
}
LINE_BYTES = 26  # that CloudWatch adds to each line
_USUAL = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

Count = Callable[[str, float], None]
"""Adds to the count of that name, on the account of whichever function runs."""


class Written(NamedTuple):
    """An item that a write was about: as it was and is, and its units in the table and in indexes."""

    key: Key
    was: Item | None
    now: Item | None
    units: int
    in_indexes: Sequence[int]


class MeteredTable:
    """services' DynamoDB client on a table in memory: counts requests, items, bytes and units. `written` has
    the items of each write."""

    def __init__(self, table: FakeTable, count: Count) -> None:
        self._table = table
        self._count = count
        self.written: list[Sequence[Written]] = []
        self._indexes = units.indexes(jobs_table())

    def get_item(self, **request: Any) -> Mapping[str, Any]:
        answer = self._table.get_item(**request)
        self._request("GetItem")
        self._read([answer["Item"]] if "Item" in answer else [], 1, bool(request.get("ConsistentRead")))
        return answer

    def batch_get_item(self, **request: Any) -> Mapping[str, Any]:
        answer = self._table.batch_get_item(**request)
        ((name, wanted),) = request["RequestItems"].items()
        self._request("BatchGetItem")
        self._read(answer["Responses"][name], len(wanted["Keys"]), bool(wanted.get("ConsistentRead")))
        return answer

    def query(self, **request: Any) -> Mapping[str, Any]:
        answer = self._table.query(**request)
        total = sum(map(units.size, self._table.scanned))
        for _ in range(max(1, math.ceil(total / units.PAGE_BYTES))):
            self._request("Query")
        self._count("items read", len(self._table.scanned))
        self._count("bytes read", total)
        self._count("RRU", units.read(total, consistent=bool(request.get("ConsistentRead"))))
        return answer

    def put_item(self, **request: Any) -> Mapping[str, Any]:
        return self._write("PutItem", self._table.put_item, request)

    def update_item(self, **request: Any) -> Mapping[str, Any]:
        return self._write("UpdateItem", self._table.update_item, request)

    def delete_item(self, **request: Any) -> Mapping[str, Any]:
        return self._write("DeleteItem", self._table.delete_item, request)

    def transact_write_items(self, **request: Any) -> Mapping[str, Any]:
        actions = [one for action in request["TransactItems"] for one in action.items()]
        self._request("TransactWriteItems")
        self._count("actions of transactions", len(actions))
        with self._written([action for _, action in actions], transactional=True):
            return self._table.transact_write_items(**request)

    def _write(
        self, name: str, write: Callable[..., Mapping[str, Any]], request: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self._request(name)
        with self._written([request], transactional=False):
            return write(**request)

    @contextmanager
    def _written(self, actions: Sequence[Mapping[str, Any]], *, transactional: bool) -> Iterator[None]:
        """Count what the body writes. What a condition refuses has its price, too."""
        keys = [_key(action.get("Key") or action["Item"]) for action in actions]
        before = [self._table.items.get(key) for key in keys]
        refused = False
        try:
            yield
        except ClientError:
            refused = True
            self._count("refused writes", 1)
            raise
        finally:
            of_write = []
            for key, was in zip(keys, before, strict=True):
                now = was if refused else self._table.items.get(key)
                asked = units.write(was, now, transactional=transactional)
                in_indexes = list(units.index_writes(self._indexes, was, now))
                of_write.append(Written(key, was, now, asked, in_indexes))
                self._counts(of_write[-1])
            self.written.append(of_write)

    def _counts(self, one: Written) -> None:
        self._count("WRU table", one.units)
        self._count(f"WRU of {KINDS.get(one.key[1].partition('#')[0], 'others')}", one.units)
        if one.was != one.now:
            self._count("WRU indexes", sum(one.in_indexes))
            self._count("index entries written", len(one.in_indexes))
            self._count("items written", 1)
            self._count("bytes written", units.size(one.now or one.was))

    def _read(self, items: Sequence[Item], asked: int, consistent: bool) -> None:
        self._count("items read", len(items))
        self._count("bytes read", sum(map(units.size, items)))
        found = sum(units.read(units.size(item), consistent=consistent) for item in items)
        self._count("RRU", found + (asked - len(items)) * units.read(0, consistent=consistent))

    def _request(self, name: str) -> None:
        self._count(f"dynamodb {name}", 1)


class LogMeter(logging.Handler):
    """Counts lines as Lambda writes them: JSON, with what stands beside a message as fields. `trouble` is
    what went wrong."""

    def __init__(self, count: Count) -> None:
        super().__init__(logging.INFO)
        self.trouble: list[str] = []
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self.trouble.append(f"{record.getMessage()} {record.exc_info or ''}")
        beside = {name: value for name, value in vars(record).items() if name not in _USUAL}
        line = {
            "timestamp": datetime.fromtimestamp(0, UTC).isoformat(),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "requestId": "0" * 36,
        }
        self._count("log lines", 1)
        self._count("log bytes", LINE_BYTES + len(json.dumps(line | beside, default=str)))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """To all that Trainyard logs, from INFO on."""
        root = logging.getLogger("chalicelib")
        level, spreads = root.level, root.propagate
        root.addHandler(self)
        root.setLevel(logging.INFO)
        root.propagate = False
        try:
            yield
        finally:
            root.removeHandler(self)
            root.setLevel(level)
            root.propagate = spreads


def metrics_of(printed: str) -> Counter[tuple[str, ...]]:
    """How often each metric was printed: its name, and its dimensions with their values."""
    found: Counter[tuple[str, ...]] = Counter()
    for line in map(json.loads, printed.splitlines()):
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for dimensions in directive["Dimensions"]:
                scope = tuple(f"{name}={line[name]}" for name in dimensions)
                found.update((metric["Name"], *scope) for metric in directive["Metrics"])
    return found


def _key(attributes: Item) -> Key:
    return attributes["pk"]["S"], attributes["sk"]["S"]
