"""The store on the table in memory: what it does is held against the suite that moto and MiniStack pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pytest

from tests.proof.table import FakeTable

pytest.register_assert_rewrite(
    "tests.unit.store.records",
    "tests.unit.store.lists",
    "tests.unit.store.totals",
    "tests.unit.store.events",
)

from tests.unit.store.benches import bench, new_bench  # noqa: E402, F401 (fixtures)
from tests.unit.store.support import START  # noqa: E402


class Tables:
    """A client of several tables, each in memory."""

    def __init__(self) -> None:
        self._tables: defaultdict[str, FakeTable] = defaultdict(lambda: FakeTable(lambda: START))

    def __getattr__(self, operation: str) -> Any:
        return lambda **request: getattr(self._tables[_table_of(request)], operation)(**request)


@pytest.fixture(scope="module")
def client() -> Tables:
    return Tables()


def _table_of(request: Mapping[str, Any]) -> str:
    if "TransactItems" in request:
        (action, *_) = request["TransactItems"]
        return str(next(iter(action.values()))["TableName"])
    return str(request.get("TableName") or next(iter(request["RequestItems"])))
