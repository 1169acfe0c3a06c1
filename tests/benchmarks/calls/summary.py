"""What `make bench` says of the counted calls: an operation a line, and what a million jobs come to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.benchmarks.calls import operations
from tests.benchmarks.calls.bill import dollars
from tests.benchmarks.calls.prices import Prices
from tests.benchmarks.calls.world import Counts

JOB = "a job, created by the API, to its end"

Columns = Mapping[str, Callable[[Counts], float]]


def total(counts: Counts, prefix: str) -> float:
    return sum(number for what, number in counts.items() if what.startswith(prefix))


def a_million(counts: Counts) -> float:
    """What a million of it cost, in dollars."""
    return sum(dollars(counts, Prices()).values()) * 1e6


def short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.2g}"


# Requests, items and bytes are DynamoDB's.
COLUMNS: Columns = {
    "requests": lambda counts: total(counts, "dynamodb "),
    "items read": lambda counts: counts["items read"],
    "written": lambda counts: counts["items written"],
    "KB written": lambda counts: counts["bytes written"] / 1024,
    "in indexes": lambda counts: counts["index entries written"],
    "RRU": lambda counts: counts["RRU"],
    "WRU": lambda counts: counts["WRU table"] + counts["WRU indexes"],
    "Kubernetes": lambda counts: total(counts, "kubernetes "),
    "Logs": lambda counts: total(counts, "logs "),
}


def counted() -> Mapping[str, Counts]:
    """Every operation."""
    return {**operations.requests(), **operations.lists(), **operations.stretches()}


def summary() -> str:
    """All of it in Markdown."""
    return markdown(counted())


def markdown(found: Mapping[str, Counts]) -> str:
    columns: Columns = {**COLUMNS, "dollars a million": a_million}
    lines = [f"| operation | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, counts in found.items():
        lines.append(f"| {name} | {' | '.join(short(of(counts)) for of in columns.values())} |")
    by_service = {name: each * 1e6 for name, each in dollars(found[JOB], Prices()).items() if each}
    parts = ", ".join(f"{name} {short(each)}" for name, each in by_service.items())
    said = (
        "1,000,000 jobs of three transitions (it came, it ran, it succeeded) cost "
        f"{a_million(found[JOB]):.0f} dollars on AWS by themselves: {parts}."
    )
    return "\n".join([*lines, "", said])
