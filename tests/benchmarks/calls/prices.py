"""What AWS asks for, in dollars: on-demand list prices of us-east-1.

From AWS' pages, as others cited them in 2026 (the last look was on 2026-11-25, not at AWS itself):
aws.amazon.com/dynamodb/pricing/on-demand, /lambda/pricing, /api-gateway/pricing, /eventbridge/pricing,
/sqs/pricing, /s3/pricing, /cloudwatch/pricing, /secrets-manager/pricing.
"""

from __future__ import annotations

from dataclasses import dataclass

MILLION = 1e6
GB = 1024.0**3
HOURS = 730.0  # of a month


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Each with its unit. `free` is what an account gets each month for nothing, in these dollars, if
    nothing else of it uses that."""

    read_unit: float = 0.125 / MILLION  # since 2024-11-01; twice that before
    write_unit: float = 0.625 / MILLION
    table_gb_month: float = 0.25
    recovery_gb_month: float = 0.20  # point in time
    function_call: float = 0.20 / MILLION
    function_gb_second: float = 0.0000166667  # x86_64; arm64 is 0.0000133334
    api_request: float = 3.50 / MILLION  # REST
    event: float = 1.00 / MILLION  # of our own, and S3's; rules on a schedule and targets are free
    queue_request: float = 0.40 / MILLION
    s3_write: float = 0.005 / 1000
    s3_read: float = 0.0004 / 1000
    log_gb: float = 0.50
    log_gb_month: float = 0.03  # after compression, which is left out here
    metric_hour: float = 0.30 / HOURS
    alarm_month: float = 0.10
    dashboard_month: float = 3.00
    secret_month: float = 0.40

    @property
    def free(self) -> dict[str, float]:
        return {
            "Lambda": MILLION * self.function_call + 400_000 * self.function_gb_second,
            "SQS": MILLION * self.queue_request,
            "CloudWatch Logs": 5 * self.log_gb,
            "CloudWatch alarms": 10 * self.alarm_month,
            "CloudWatch metrics": 10 * self.metric_hour * HOURS,
        }
