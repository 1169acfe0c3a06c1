"""What becomes of a batch of stream records, as Lambda's event source mapping decides it."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.delivery import (
    Batch,
    Policy,
    Record,
    Verdict,
    crashed,
    dead_letter,
    sequence_number,
    succeeded,
)

NOW = 1_000_000.0


def record(number: int, *, age: float = 0.0) -> Record:
    return {"dynamodb": {"SequenceNumber": str(number), "ApproximateCreationDateTime": NOW - age}}


def batch(*numbers: int, attempts: int = 0) -> Batch:
    return Batch(tuple(record(number) for number in numbers), attempts)


def failures(*numbers: object) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": number} for number in numbers]}


def shape(verdict: Verdict) -> dict[str, Any]:
    """A verdict in sequence numbers."""
    return {
        "done": [int(sequence_number(r)) for r in verdict.done],
        "dropped": [int(sequence_number(r)) for r in verdict.dropped.records] if verdict.dropped else [],
        "again": [([int(sequence_number(r)) for r in b.records], b.attempts) for b in verdict.again],
    }


@pytest.mark.parametrize(
    ("answer", "done", "again"),
    [
        pytest.param(None, [1, 2, 3], [], id="no answer is success"),
        pytest.param({}, [1, 2, 3], [], id="an empty answer is success"),
        pytest.param({"batchItemFailures": []}, [1, 2, 3], [], id="no failures is success"),
        pytest.param({"batchItemFailures": None}, [1, 2, 3], [], id="null failures is success"),
        pytest.param(failures("3"), [1, 2], [([3], 1)], id="the last failed"),
        pytest.param(failures("3", "2"), [1], [([2, 3], 1)], id="from the lowest failure on"),
        pytest.param(failures("1"), [], [([1, 2, 3], 1)], id="the first failed"),
        pytest.param(failures("9"), [], [([1, 2, 3], 1)], id="an unknown record fails the batch"),
        pytest.param(failures(""), [], [([1, 2, 3], 1)], id="an empty identifier fails the batch"),
        pytest.param(failures(None), [], [([1, 2, 3], 1)], id="a null identifier fails the batch"),
        pytest.param({"batchItemFailures": [{}]}, [], [([1, 2, 3], 1)], id="a failure without identifier"),
        pytest.param({"batchItemFailures": ["2"]}, [], [([1, 2, 3], 1)], id="a failure that is no object"),
        pytest.param({"batchItemFailures": ""}, [], [([1, 2, 3], 1)], id="failures that are no list"),
        pytest.param("fine", [], [([1, 2, 3], 1)], id="an answer that is no object"),
    ],
)
def test_an_answer_decides_where_the_stream_goes_on(
    answer: Any, done: list[int], again: list[tuple[list[int], int]]
) -> None:
    verdict = shape(succeeded(batch(1, 2, 3), answer, Policy(), NOW))
    assert verdict == {"done": done, "dropped": [], "again": again}


def test_a_crash_brings_the_whole_batch_again() -> None:
    assert shape(crashed(batch(1, 2, 3), Policy(), NOW))["again"] == [([1, 2, 3], 1)]


def test_a_bisecting_mapping_halves_the_batch_and_counts_no_attempt() -> None:
    verdict = crashed(batch(1, 2, 3, attempts=1), Policy(bisects=True), NOW)
    assert shape(verdict)["again"] == [([1], 1), ([2, 3], 1)]


def test_a_single_record_is_not_halved_but_counted() -> None:
    assert shape(crashed(batch(1), Policy(bisects=True), NOW))["again"] == [([1], 1)]


def test_a_batch_is_given_up_after_its_last_retry() -> None:
    policy = Policy(max_retries=2)
    assert shape(crashed(batch(1, attempts=1), policy, NOW))["dropped"] == []
    verdict = crashed(batch(1, attempts=2), policy, NOW)
    assert shape(verdict) == {"done": [], "dropped": [1], "again": []}
    assert verdict.why == "RetryAttemptsExhausted"


def test_what_was_done_before_a_batch_is_given_up_counts_as_done() -> None:
    verdict = succeeded(batch(1, 2, 3, attempts=2), failures("2"), Policy(max_retries=2), NOW)
    assert shape(verdict) == {"done": [1], "dropped": [2, 3], "again": []}


def test_records_that_are_too_old_are_given_up_and_younger_ones_are_not() -> None:
    mixed = Batch((record(1, age=100), record(2, age=100), record(3, age=5)))
    verdict = crashed(mixed, Policy(max_age_seconds=60), NOW)
    assert shape(verdict) == {"done": [], "dropped": [1, 2], "again": [([3], 1)]}
    assert verdict.why == "RecordAgeExceeded"


def test_no_record_outlives_the_stream_itself() -> None:
    assert shape(crashed(Batch((record(1, age=25 * 3600),)), Policy(), NOW))["dropped"] == [1]


def test_retries_back_off_up_to_a_limit() -> None:
    assert [batch(1, attempts=n).retry_delay_seconds for n in (1, 2, 3, 4, 20)] == [0.25, 0.5, 1.0, 2.0, 10.0]


def test_a_policy_reads_the_templates_own_words() -> None:
    policy = Policy.of(
        {
            "BatchSize": 1000,
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": 3600,
            "BisectBatchOnFunctionError": True,
            "FilterCriteria": {"Filters": [{"Pattern": '{"eventName": ["INSERT"]}'}]},
        }
    )
    assert policy == Policy(
        batch_size=100, max_age_seconds=3600, bisects=True, patterns=({"eventName": ["INSERT"]},)
    )


def test_a_dead_letter_says_which_records_it_is_about() -> None:
    verdict = crashed(batch(4, 5, attempts=3), Policy(max_retries=3), NOW)
    letter = dead_letter(verdict, "shard-1", "arn:stream", "arn:function", "now", ["then", "later"])
    assert letter["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert letter["requestContext"]["approximateInvokeCount"] == 4
    assert letter["DDBStreamBatchInfo"] == {
        "shardId": "shard-1",
        "startSequenceNumber": "4",
        "endSequenceNumber": "5",
        "approximateArrivalOfFirstRecord": "then",
        "approximateArrivalOfLastRecord": "later",
        "batchSize": 2,
        "streamArn": "arn:stream",
    }
