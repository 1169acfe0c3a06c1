"""Lists of a tenant with few and with very many jobs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from tests.benchmarks.calls.operations import answered
from tests.benchmarks.calls.summary import total
from tests.benchmarks.growth.many import seeded
from tests.benchmarks.growth.tables import Row

PAGE = 20
COLUMNS = ("requests", "read", "returned", "read units", "KB read")


def rows(number: int) -> Sequence[Row]:
    asked: dict[str, dict[str, Any]] = {
        "first page": {},
        "by status": {"status": "Failed"},
        "by workspace and status": {"workspaceId": 7, "status": "Failed"},
        "totals alone (behind the last page)": {"status": "Running", "pageNumber": 2},
        "the page in the middle": {"pageNumber": number // PAGE // 2 + 1},
        "by keyword, one in 100 has it": {"keyword": "hundredth"},
    }
    with closing(seeded(number)) as world:
        return [Row(f"list, {name}", number, _list(world, body)) for name, body in asked.items()]


def _list(world: Any, body: dict[str, Any]) -> dict[str, float]:
    replies: list[Any] = []
    counts = answered(world, lambda: replies.append(world.request("POST", "/api/jobs", body)))
    figures = (
        total(counts, "dynamodb "),
        counts["items read"],
        len(replies[0].body["data"]["jobs"]),
        counts["RRU"],
        counts["bytes read"] / 1024,
    )
    return dict(zip(COLUMNS, figures, strict=True))
