"""How Lambda's event source mapping treats a batch of stream records: retries, partial failures, giving up.

Pure: what was delivered and what the function said go in, what is to be done next comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.local import filters

Record = Mapping[str, Any]

FIRST_RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 10.0
STREAM_KEEPS_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The event source mapping's properties; None means without limit (but a stream keeps a day)."""

    batch_size: int = 100
    max_retries: int | None = None
    max_age_seconds: float | None = None
    bisects: bool = False
    patterns: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> Policy:
        """From the properties of a SAM DynamoDB event."""
        return cls(
            batch_size=min(int(properties.get("BatchSize", 100)), 100),
            max_retries=_limit(properties.get("MaximumRetryAttempts")),
            max_age_seconds=_limit(properties.get("MaximumRecordAgeInSeconds")),
            bisects=bool(properties.get("BisectBatchOnFunctionError", False)),
            patterns=filters.parse(properties.get("FilterCriteria")),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to be delivered together, in order; `attempts` counts the deliveries that failed."""

    records: tuple[Record, ...]
    attempts: int = 0

    @property
    def retry_delay_seconds(self) -> float:
        return min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** max(0, self.attempts - 1))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a batch: `done` is behind us, `dropped` goes to the dead letters, `again` is delivered
    next, in this order. `why` is the dead letters' condition."""

    done: tuple[Record, ...] = ()
    dropped: Batch | None = None
    again: tuple[Batch, ...] = field(default=())
    why: str = ""


def succeeded(batch: Batch, answer: Any, policy: Policy, now: float) -> Verdict:
    """The function returned `answer`: success, or the records from the lowest failed one on again."""
    first = _first_failure(batch, answer)
    if first is None:
        return Verdict(done=batch.records)
    rest = Batch(batch.records[first:], batch.attempts + 1)
    return _retry(batch.records[:first], (rest,), policy, now)


def crashed(batch: Batch, policy: Policy, now: float) -> Verdict:
    """The function raised: the whole batch again, in halves when the mapping bisects."""
    size = len(batch.records)
    if policy.bisects and size > 1:
        # Splitting a batch does not count as an attempt.
        halves = (batch.records[: size // 2], batch.records[size // 2 :])
        return _retry((), tuple(Batch(half, batch.attempts) for half in halves), policy, now)
    return _retry((), (Batch(batch.records, batch.attempts + 1),), policy, now)


def sequence_number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


def _retry(done: tuple[Record, ...], again: tuple[Batch, ...], policy: Policy, now: float) -> Verdict:
    head = again[0]
    if policy.max_retries is not None and head.attempts > policy.max_retries:
        return Verdict(done, head, again[1:], "RetryAttemptsExhausted")
    limit = min(policy.max_age_seconds or STREAM_KEEPS_SECONDS, STREAM_KEEPS_SECONDS)
    old = [record for record in head.records if now - _created(record) > limit]
    if old:
        left = Batch(head.records[len(old) :], head.attempts)
        rest = (left, *again[1:]) if left.records else again[1:]
        return Verdict(done, Batch(tuple(old), head.attempts), rest, "RecordAgeExceeded")
    return Verdict(done, None, again)


def _first_failure(batch: Batch, answer: Any) -> int | None:
    """Where to begin again, by Lambda's rules: an answer that makes no sense fails the whole batch."""
    if answer is None or answer == {}:
        return None
    if not isinstance(answer, dict):
        return 0
    failures = answer.get("batchItemFailures")
    if not failures:
        return None if failures is None or failures == [] else 0
    order = {sequence_number(record): position for position, record in enumerate(batch.records)}
    try:
        return min(order[failure["itemIdentifier"]] for failure in failures)
    except (KeyError, TypeError):
        return 0


def _created(record: Record) -> float:
    return float(record["dynamodb"]["ApproximateCreationDateTime"])


def _limit(value: Any) -> int | None:
    return None if value is None or int(value) < 0 else int(value)


def dead_letter(
    verdict: Verdict, shard_id: str, stream_arn: str, function: str, now_text: str, times: Sequence[str]
) -> dict[str, Any]:
    """The message that Lambda sends to an on-failure queue; `times` are of the first and the last record."""
    assert verdict.dropped is not None
    records = verdict.dropped.records
    return {
        "requestContext": {
            "functionArn": function,
            "condition": verdict.why,
            "approximateInvokeCount": verdict.dropped.attempts,
        },
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "version": "1.0",
        "timestamp": now_text,
        "DDBStreamBatchInfo": {
            "shardId": shard_id,
            "startSequenceNumber": sequence_number(records[0]),
            "endSequenceNumber": sequence_number(records[-1]),
            "approximateArrivalOfFirstRecord": times[0],
            "approximateArrivalOfLastRecord": times[-1],
            "batchSize": len(records),
            "streamArn": stream_arn,
        },
    }
