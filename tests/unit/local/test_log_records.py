"""A container runtime's records as CloudWatch's events: the format, and the limits of one call."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.log_records import MAX_BYTES, batch_of, event_of
from tests.log_lines import CRI_LINES, line

NOW = datetime(2026, 1, 10, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)


def messages(data: bytes, start: int = 0) -> list[dict[str, object]]:
    return [json.loads(event["message"]) for event in batch_of(data, start, NOW_MS).events]


@pytest.mark.parametrize(("record", "expected"), CRI_LINES.values(), ids=CRI_LINES)
def test_a_record_becomes_an_event(record: bytes, expected: dict[str, str] | None) -> None:
    event = event_of(record, 7)
    assert (json.loads(event["message"]) if event else None) == (expected and expected | {"offset": 7})


def test_the_message_is_compact_json_with_its_keys_in_order() -> None:
    event = event_of(b"2026-01-02T03:04:05.006007008Z stdout F a \xe4\xb8\xad", 0)
    assert event == {
        "timestamp": int(datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC).timestamp() * 1000),
        "message": '{"time":"2026-01-02T03:04:05.006007008Z","stream":"stdout","logtag":"F","log":"a 中",'
        '"offset":0}',
    }


def test_a_time_of_another_zone_is_told_in_utc() -> None:
    event = event_of(b"2026-01-01T01:00:00.5+02:30 stdout F x", 0)
    assert event is not None
    assert json.loads(event["message"])["time"] == "2025-12-31T22:30:00.5Z"
    assert event["timestamp"] == int(
        datetime(2025, 12, 31, 22, 30, 0, 500_000, tzinfo=UTC).timestamp() * 1000
    )


def test_offsets_are_where_each_record_starts_in_its_file() -> None:
    data = line(NOW, "中") + line(NOW, "b") + b"2026-01-01T00:00:00Z stdout F no end yet"
    batch = batch_of(data, 100, NOW_MS)
    assert [m["offset"] for m in messages(data, 100)] == [100, 100 + len(line(NOW, "中"))]
    assert batch.end == 100 + len(line(NOW, "中")) + len(line(NOW, "b"))


def test_records_out_of_order_are_put_in_order_and_those_of_one_millisecond_keep_theirs() -> None:
    later = NOW + timedelta(milliseconds=1)
    data = line(later, "3") + line(NOW, "1") + line(NOW, "2") + line(later, "4")
    assert [m["log"] for m in messages(data)] == ["1", "2", "3", "4"]


def test_a_batch_of_the_shortest_records_is_less_than_ten_thousand_events() -> None:
    assert len(batch_of(b"2026-01-10T00:00:00Z stdout F \n" * 20_000, 0, NOW_MS).events) < 10_000


def test_a_batch_ends_before_its_bytes_are_too_many() -> None:
    record = line(NOW, "中" * 5000)
    batch = batch_of(record * 100, 0, NOW_MS)
    size = sum(len(event["message"].encode()) + 26 for event in batch.events)
    assert size <= MAX_BYTES < size + size // len(batch.events)
    assert batch.end == len(record) * len(batch.events)


@pytest.mark.parametrize("hours", [24, -24], ids=["later", "earlier"])
def test_a_batch_spans_less_than_a_day(hours: int) -> None:
    away = NOW - timedelta(days=2) + timedelta(hours=hours)
    batch = batch_of(line(NOW - timedelta(days=2), "a") + line(away, "b"), 0, NOW_MS)
    assert len(batch.events) == 1


def test_records_that_are_too_old_are_passed_over() -> None:
    data = line(NOW - timedelta(days=14, seconds=1), "old") + line(NOW, "new")
    batch = batch_of(data, 0, NOW_MS)
    assert ([m["log"] for m in messages(data)], batch.expired, batch.end) == (["new"], 1, len(data))


def test_what_is_no_record_is_passed_over_and_counted() -> None:
    data = b"half a record\n\n" + line(NOW, "whole")
    batch = batch_of(data, 0, NOW_MS)
    assert ([m["log"] for m in messages(data)], batch.unreadable, batch.end) == (["whole"], 2, len(data))


def test_a_record_that_no_event_can_hold_is_passed_over() -> None:
    data = line(NOW, "\0" * 200_000) + line(NOW, "next")
    batch = batch_of(data, 0, NOW_MS)
    assert ([m["log"] for m in messages(data)], batch.unreadable) == (["next"], 1)


def test_a_line_that_never_ends_does_not_hold_up_what_follows() -> None:
    batch = batch_of(b"x" * 1000, 50, NOW_MS)
    assert (batch.events, batch.end, batch.unreadable) == ([], 1050, 1)
