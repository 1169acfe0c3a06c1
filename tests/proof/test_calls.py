"""How many calls each operation makes, so that one more is a decision. docs/cost.md says what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from infra.local.config import REPO
from tests.benchmarks.calls import operations, units
from tests.benchmarks.calls.bill import Load, Rates, bill, charged, dollars
from tests.benchmarks.calls.prices import HOURS, Prices
from tests.benchmarks.calls.world import Counts
from tests.unit.store.support import jobs_table

PAGE_ABOUT_COSTS = REPO / "docs" / "cost.md"
CALLS = ("dynamodb ", "kubernetes ", "logs ", "s3 ", "eventbridge ", "lambda ")

# Besides the calls: how many actions its transactions have, and how many items it reads.
REQUESTS: dict[str, dict[str, float]] = {
    "create": {"dynamodb TransactWriteItems": 1, "actions of transactions": 5},
    "create, without a workspace": {"dynamodb TransactWriteItems": 1, "actions of transactions": 4},
    "create, repeated with its token": {
        "dynamodb TransactWriteItems": 1,
        "actions of transactions": 6,
        "dynamodb GetItem": 2,
        "items read": 2,
    },
    "detail": {"dynamodb GetItem": 1, "items read": 1},
    "events, a page": {"dynamodb GetItem": 1, "dynamodb Query": 1, "items read": 9},
    "stop": {
        "dynamodb GetItem": 1,
        "items read": 1,
        "dynamodb TransactWriteItems": 1,
        "actions of transactions": 5,
    },
    "delete": {
        "dynamodb GetItem": 1,
        "items read": 1,
        "dynamodb TransactWriteItems": 1,
        "actions of transactions": 4,
    },
    "logs, the last 100 lines": {
        "dynamodb GetItem": 1,
        "items read": 1,
        "kubernetes list pods": 1,
        "kubernetes GET log": 1,
    },
    "logs, from CloudWatch": {
        "dynamodb GetItem": 1,
        "items read": 1,
        "kubernetes list pods": 1,
        "logs get_log_events": 1,
    },
    "follow, a poll that a line ends": {
        "dynamodb GetItem": 2,
        "items read": 2,
        "kubernetes list pods": 2,
        "kubernetes GET log": 3,
    },
    "follow, 20 s of a job that has not begun": {
        "dynamodb GetItem": 21,
        "items read": 21,
        "kubernetes list pods": 6,  # and one more as it is handed to the cluster
    },
}

# A page of 20 and the counters, of which this tenant has one shard.
PAGE = {"dynamodb BatchGetItem": 1.0, "dynamodb Query": 1.0, "items read": 21.0}


@pytest.fixture(scope="module")
def requests() -> Mapping[str, Counts]:
    return operations.requests()


@pytest.fixture(scope="module")
def lists() -> Mapping[str, Counts]:
    return operations.lists()


def test_every_request_has_its_calls_written_down(requests: Mapping[str, Counts]) -> None:
    assert requests.keys() == REQUESTS.keys()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_makes_no_other_calls_than_it_should(name: str, requests: Mapping[str, Counts]) -> None:
    assert _calls(requests[name]) == REQUESTS[name]


@pytest.mark.parametrize("name", ["list, first page of 20", "list by status", "list by workspace and status"])
def test_a_list_of_ten_thousand_reads_what_it_shows(name: str, lists: Mapping[str, Counts]) -> None:
    assert _calls(lists[name]) == PAGE


def test_the_page_about_costs_says_what_is_counted(
    requests: Mapping[str, Counts], lists: Mapping[str, Counts]
) -> None:
    said = _said()
    for name, counts in {**requests, **lists}.items():
        written = counts["WRU table"] + counts["WRU indexes"]
        of_calls = [_sum(counts, "dynamodb "), counts["items read"], counts["RRU"], written]
        assert said[name] == pytest.approx([*of_calls, _sum(counts, "kubernetes ")], abs=0.5), name


def test_an_idle_hour_is_a_look_a_minute_at_four_indexes_and_a_whole_one_every_five() -> None:
    assert _calls(operations.an_idle_hour()) == {
        "dynamodb Query": 4 * (60 + 12),
        "dynamodb UpdateItem": 3 * 12,  # the lease: taken, renewed, given up
        "kubernetes list jobs": 12,
        "kubernetes list pods": 12,
    }


def test_a_jobs_way_stays_within_its_budget() -> None:
    job = operations.a_job_by_the_api()
    assert job["events"] == 3, "it came, it ran, it succeeded"
    assert job["invoke outbox"] == 1 and job["invoke state_changes"] == 3
    assert job["kubernetes POST jobs"] == 1
    assert job["dynamodb TransactWriteItems"] <= 13
    assert job["WRU table"] + job["WRU indexes"] <= 135 and job["RRU"] <= 20


def test_time_with_an_active_job_stays_within_its_budget() -> None:
    hour = operations.divided(operations.quiet(), operations.STRETCH / 3600)
    assert hour["invoke sync"] == 60
    assert hour["refused writes"] <= 60, "who waits for the lease reads it"
    assert hour["WRU table"] <= 1000 and hour["RRU"] <= 5200
    assert operations.hour_of_a_job()["RRU"] <= 70, "once a run, and not with each sweep"


INDEXES = units.indexes(jobs_table())
RECORD: dict[str, Any] = {
    "pk": {"S": "JOB#a"},
    "sk": {"S": "JOB"},
    "id": {"S": "a"},
    "list_all": {"S": "ALL"},
    "list_all_status": {"S": "running"},
    "status": {"S": "running"},
}


@pytest.mark.parametrize(
    ("before", "after", "writes"),
    [
        pytest.param(None, RECORD, [1, 1], id="one to each index that it comes into"),
        pytest.param(RECORD, None, [1, 1], id="and one to each that it leaves"),
        pytest.param(RECORD, RECORD, [], id="none where nothing changes"),
        pytest.param(RECORD, RECORD | {"exit_code": {"N": "1"}}, [], id="nor what no index shows"),
        pytest.param(RECORD, RECORD | {"message": {"S": "new"}}, [1, 1], id="one where it is shown"),
        pytest.param(
            RECORD,
            RECORD | {"list_all_status": {"S": "failed"}, "status": {"S": "failed"}},
            [1, 1, 1],
            id="two where it moves from one partition to another",
        ),
        pytest.param(
            None, RECORD | {"message": {"S": "x" * 1024}}, [2, 2], id="by the kilobyte of the entry"
        ),
    ],
)
def test_what_a_write_costs_in_indexes(before: Any, after: Any, writes: list[int]) -> None:
    assert list(units.index_writes(INDEXES, before, after)) == writes


@pytest.mark.parametrize(
    ("letters", "consistent", "transactional"),
    [(1, 1.0, 2), (1023, 1.0, 2), (1024, 1.0, 4), (4095, 1.0, 8), (4096, 2.0, 10)],
    ids=["the least", "1 KB", "a byte more", "4 KB", "a byte more than that"],
)
def test_what_reads_and_transactions_cost_in_the_table(
    letters: int, consistent: float, transactional: int
) -> None:
    item = {"a": {"S": "x" * letters}}
    assert units.read(units.size(item), consistent=True) == consistent
    assert units.read(units.size(item), consistent=False) == consistent / 2
    assert units.write(None, item, transactional=True) == transactional
    assert units.write(item, None, transactional=False) == transactional / 2, "what goes costs what it had"


def test_a_bill_adds_up_what_was_counted() -> None:
    a_million: Counts = Counter(
        {"RRU": 10**6, "WRU table": 10**6, "api requests": 10**6, "invoke api": 10**6}
    )
    each = dollars(a_million, Prices())
    assert (each["DynamoDB"], each["API Gateway"], each["Lambda"]) == pytest.approx((0.75, 3.5, 0.2))
    nothing: Counts = Counter()
    rates = Rates(
        job=a_million,
        hour_of_a_job=nothing,
        active_hour=nothing,
        idle_hour=nothing,
        stored={"record": 1024**3 / 2, "events": 1024**3 / 2},
        metrics=10,
    )
    two = bill(Load(jobs=2, hours_of_jobs=2, active_hours=HOURS, months=1, printed_mb=1024), rates, Prices())
    assert two["DynamoDB"] == pytest.approx(1.5)
    assert two["DynamoDB storage, a month"] == pytest.approx(2 * 0.45)
    assert two["CloudWatch metrics"] == pytest.approx(3.0)
    assert two["what jobs print"] == pytest.approx(2 * 0.53)
    assert charged(two, Prices())["CloudWatch metrics"] == pytest.approx(0.0)


def _said() -> Mapping[str, list[float]]:
    """The table of requests in docs/cost.md, without its dollars."""
    text = PAGE_ABOUT_COSTS.read_text().partition("## A request")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    return {
        name: [float(cell.replace(",", "")) for cell in cells[:-1]] for name, *cells in rows[2:] if all(cells)
    }


def _sum(counts: Counts, prefix: str) -> float:
    return sum(number for what, number in counts.items() if what.startswith(prefix))


def _calls(counts: Counts) -> dict[str, float]:
    beside = ("actions of transactions", "items read")
    return {
        what: number
        for what, number in counts.items()
        if (what.startswith(CALLS) or what in beside) and number
    }
