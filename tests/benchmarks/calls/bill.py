"""From counts to dollars: what a job costs, what time costs, and what stands there either way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local import template
from infra.local.config import RESOURCES
from tests.benchmarks.calls.prices import GB, HOURS, Prices
from tests.benchmarks.calls.world import Counts

MEMORY_GB = 0.5  # .chalice/config.json, of each function
# Lambda asks a queue that it reads by five long polls of 20 s, also when there is nothing in it.
POLLS_AN_HOUR = 5 * 3600 / 20
REQUESTS_A_MESSAGE = 3  # sent, received and deleted; fewer where messages come together

Dollars = Mapping[str, float]  # by service


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Counts of one each, and what is kept of a job, in bytes; `metrics`: how many there are."""

    job: Counts
    hour_of_a_job: Counts
    active_hour: Counts
    idle_hour: Counts
    stored: Mapping[str, float]
    metrics: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`active_hours` are those with any job. Each job prints so many megabytes."""

    jobs: int = 0
    hours_of_jobs: float = 0
    active_hours: float = 0
    idle_hours: float = 0
    months: float = 0
    printed_mb: float = 1.0


def dollars(counts: Counts, prices: Prices) -> Dollars:
    """What was asked of AWS."""
    calls = sum(number for what, number in counts.items() if what.startswith("invoke "))
    seconds = sum(number for what, number in counts.items() if what.startswith("seconds "))
    written = counts["WRU table"] + counts["WRU indexes"]
    logged = counts["log bytes"] / GB
    return {
        "DynamoDB": counts["RRU"] * prices.read_unit + written * prices.write_unit,
        "Lambda": calls * prices.function_call + seconds * MEMORY_GB * prices.function_gb_second,
        "API Gateway": counts["api requests"] * prices.api_request,
        "EventBridge": (counts["events"] + counts["s3 events"]) * prices.event,
        "SQS": counts["sqs messages"] * REQUESTS_A_MESSAGE * prices.queue_request,
        "S3": counts["s3 put_object"] * prices.s3_write
        + (counts["s3 get_object"] + counts["s3 head_object"]) * prices.s3_read,
        "CloudWatch Logs": logged * (prices.log_gb + prices.log_gb_month),
    }


def bill(load: Load, rates: Rates, prices: Prices) -> Dollars:
    """What a load costs; nothing is left out that is free up to some amount."""
    total: Counter[str] = Counter()
    parts = [
        (load.jobs, rates.job),
        (load.hours_of_jobs, rates.hour_of_a_job),
        (load.active_hours, rates.active_hour),
        (load.idle_hours, rates.idle_hour),
    ]
    for number, counts in parts:
        for service, each in dollars(counts, prices).items():
            total[service] += number * each  # type: ignore[assignment]
    kept = load.jobs * (rates.stored["record"] + rates.stored["events"]) / GB
    polls = POLLS_AN_HOUR * queues() * (HOURS * load.months)
    beside = {
        "SQS": polls * prices.queue_request,
        "DynamoDB storage, a month": kept * (prices.table_gb_month + prices.recovery_gb_month),
        "CloudWatch metrics": load.active_hours * rates.metrics * prices.metric_hour,
        "CloudWatch alarms": load.months * alarms() * prices.alarm_month,
        "CloudWatch dashboard": load.months * prices.dashboard_month,
        "what jobs print": load.jobs * load.printed_mb / 1024 * (prices.log_gb + prices.log_gb_month),
    }
    for service, each in beside.items():
        total[service] += each  # type: ignore[assignment]
    return total


def charged(month: Dollars, prices: Prices) -> Dollars:
    """The same without what an account gets for nothing each month."""
    return {service: max(0.0, each - prices.free.get(service, 0.0)) for service, each in month.items()}


def alarms() -> int:
    return _how_many("AWS::CloudWatch::Alarm")


def queues() -> int:
    """Those that functions read; the others are dead letters'."""
    readers = [
        event
        for resource in _resources().values()
        for name, event in (resource.get("Properties", {}).get("Events") or {}).items()
        if name.endswith("SqsEventSource")
    ]
    return len(readers)


def _how_many(kind: str) -> int:
    return sum(1 for resource in _resources().values() if resource.get("Type") == kind)


def _resources() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = template.read(RESOURCES)["Resources"]
    return found
