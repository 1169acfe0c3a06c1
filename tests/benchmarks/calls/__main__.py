"""Counts what each operation asks of AWS and Kubernetes, and computes what that costs.

    python -m tests.benchmarks.calls [--json] [--arm64] [--printed-mb 1]

On the proof's simulation: no stack is needed, nothing is timed but by the simulated clock, and each run
counts the same. docs/cost.md is made of what it prints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from tests.benchmarks.calls import operations, summary
from tests.benchmarks.calls.bill import Dollars, Load, Rates, alarms, bill, charged, dollars
from tests.benchmarks.calls.prices import HOURS, Prices
from tests.benchmarks.calls.summary import COLUMNS, JOB, Columns, a_million, short, total
from tests.benchmarks.calls.world import Counts

ARM64 = 0.0000133334
HOUR_OF_A_JOB = "an hour of an active job"
ACTIVE_HOUR = "an hour with any active job"
IDLE_HOUR = "an idle hour"
IDLE_MONTH = "an idle month"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true", help="all that was counted, for programs")
    parser.add_argument("--arm64", action="store_true", help="functions on arm64 in place of x86_64")
    parser.add_argument("--printed-mb", type=float, default=1.0, help="that each job prints (default 1)")
    given = parser.parse_args()
    prices = Prices(function_gb_second=ARM64) if given.arm64 else Prices()
    counted = summary.counted()
    rates = Rates(
        job=counted[JOB],
        hour_of_a_job=counted[HOUR_OF_A_JOB],
        active_hour=counted[ACTIVE_HOUR],
        idle_hour=counted[IDLE_HOUR],
        stored=operations.stored(),
        metrics=len(operations.metrics()),
    )
    bills = {name: bill(load, rates, prices) for name, load in loads(given.printed_mb).items()}
    if given.json:
        print(json.dumps({"counts": counted, "stored": rates.stored, "dollars": bills}, indent=1))
        return
    print("\n".join([*counts_table(counted), "", *rates_table(counted, rates, prices), ""]))
    print("\n".join(bills_table(bills, prices)))


def loads(printed_mb: float) -> dict[str, Load]:
    """Jobs by themselves, and jobs of an hour each with the time that they are there."""
    thousand = Load(jobs=1000, hours_of_jobs=1000, active_hours=100, printed_mb=printed_mb)
    million = Load(jobs=10**6, hours_of_jobs=10**6, active_hours=HOURS, months=1, printed_mb=printed_mb)
    return {
        "1,000 jobs": Load(jobs=1000, printed_mb=0),
        "1,000 in 100 hours": thousand,
        IDLE_MONTH: Load(idle_hours=HOURS, months=1),
        "1,000,000 in a month": million,
    }


def counts_table(counted: Mapping[str, Counts]) -> list[str]:
    """An operation a line; requests are DynamoDB's."""
    columns: Columns = {
        **COLUMNS,
        "calls": lambda counts: total(counts, "invoke "),
        "GB-s": lambda counts: total(counts, "seconds ") / 2,
        "log KB": lambda counts: counts["log bytes"] / 1024,
        "$ a million": a_million,
    }
    lines = [_row("operation", columns)]
    for name, counts in counted.items():
        lines.append(_row(name, [short(of(counts)) for of in columns.values()]))
    return lines


def rates_table(counted: Mapping[str, Counts], rates: Rates, prices: Prices) -> list[str]:
    """What the bills are made of, in dollars."""
    each = {name: dollars(counted[name], prices) for name in (JOB, HOUR_OF_A_JOB, ACTIVE_HOUR, IDLE_HOUR)}
    services = list(each[JOB])
    lines = [_row("dollars a million", services)]
    for name, by_service in each.items():
        lines.append(_row(name, [_money(by_service[service] * 1e6) for service in services]))
    written = {"indexes": rates.job["WRU indexes"]}
    written |= {what[7:]: number for what, number in rates.job.items() if what.startswith("WRU of ")}
    lines.append("of a job's WRU: " + ", ".join(f"{what} {short(n)}" for what, n in written.items()))
    kept = ", ".join(f"{what} {size:,.0f}" for what, size in rates.stored.items() if size)
    return [*lines, f"bytes kept of a job: {kept}; metrics: {rates.metrics}; alarms: {alarms()}"]


def bills_table(bills: Mapping[str, Dollars], prices: Prices) -> list[str]:
    lines = [_row("dollars", bills, 22)]
    services = dict.fromkeys(service for each in bills.values() for service in each)
    for service in services:
        lines.append(_row(service, [_money(each.get(service, 0.0)) for each in bills.values()], 22))
    lines.append(_row("all", [_money(sum(each.values())) for each in bills.values()], 22))
    idle = charged(bills[IDLE_MONTH], prices)
    lines.append(f"an idle month in an account that has nothing else: {_money(sum(idle.values()))}")
    return lines


def _row(name: str, cells: object, wide: int = 12) -> str:
    assert isinstance(cells, (list, Mapping))
    return " ".join([name.ljust(44), *(f"{cell:>{wide}}" for cell in cells)])


def _money(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


if __name__ == "__main__":
    main()
