"""Many followers of one log cost the archive what one does."""

from __future__ import annotations

from random import Random

import pytest

from chalicelib.domain.logs import Chunk, Mark, advance
from chalicelib.errors import LogsUnavailable
from chalicelib.services.shared_archive import AT_THE_END, READING, SharedArchive
from tests.builders import JOB_ID
from tests.fake_logs import FakeLogs
from tests.unit.store.support import Bench

POD = f"{JOB_ID}-a"
MANY = 10**9


@pytest.fixture
def logs() -> FakeLogs:
    logs = FakeLogs()
    logs.print(POD, *map(str, range(10)))
    logs.ship()
    return logs


@pytest.fixture
def shared(bench: Bench, logs: FakeLogs) -> SharedArchive:
    return SharedArchive(logs.archive, bench.store, bench.clock)


def after(shared: SharedArchive, mark: Mark | None, lines: int = 100) -> Chunk:
    return shared.after(JOB_ID, POD, mark, lines, MANY, ended=True)


def texts(chunk: Chunk) -> list[str]:
    return [line.text for line in chunk.lines]


def test_fifty_followers_read_once_for_all(shared: SharedArchive, logs: FakeLogs, bench: Bench) -> None:
    marks: list[Mark | None] = [None] * 50
    told: list[list[str]] = [[] for _ in marks]
    for second in range(10):
        logs.print(POD, f"second {second}")
        logs.ship()
        for number, mark in enumerate(marks):
            chunk = after(shared, mark)
            told[number] += texts(chunk)
            marks[number] = advance(mark, chunk.lines)
        bench.clock.move(1)
    bench.clock.move(AT_THE_END.total_seconds())
    for number, mark in enumerate(marks):
        told[number] += texts(after(shared, mark))
    assert all(lines == [line.text for line in logs.printed[POD]] for lines in told)
    assert logs.archive_calls <= 11


def test_what_the_end_was_is_not_believed_for_long(
    shared: SharedArchive, logs: FakeLogs, bench: Bench
) -> None:
    end = advance(None, after(shared, None).lines)
    assert texts(after(shared, end)) == []
    logs.print(POD, "more")
    logs.ship()
    assert texts(after(shared, end)) == []
    bench.clock.move(AT_THE_END.total_seconds())
    assert texts(after(shared, end)) == ["more"]


def test_a_shorter_page_is_cut_from_a_longer_one(shared: SharedArchive, logs: FakeLogs) -> None:
    assert len(after(shared, None).lines) == 10
    short = after(shared, None, lines=3)
    assert (texts(short), short.whole, logs.archive_calls) == (["0", "1", "2"], False, 1)


def test_nothing_is_finished_while_another_reads(shared: SharedArchive, logs: FakeLogs, bench: Bench) -> None:
    logs.archive_error = RuntimeError("the first reader dies here")
    with pytest.raises(LogsUnavailable):
        after(shared, None)
    logs.archive_error = None
    chunk = after(shared, None)
    assert (texts(chunk), chunk.whole) == ([], False)
    bench.clock.move(READING.total_seconds())
    assert len(after(shared, None).lines) == 10


def test_a_page_that_is_too_large_to_share_is_read_by_each(shared: SharedArchive, logs: FakeLogs) -> None:
    noise = Random(1)
    logs.print(POD, *(f"{noise.getrandbits(4000):x}" for _ in range(1000)))
    logs.ship()
    first, second = after(shared, None, MANY), after(shared, None, MANY)
    assert len(first.lines) == len(second.lines) == 1010 and logs.archive_calls == 2


def test_what_a_container_printed_survives_sharing(shared: SharedArchive, logs: FakeLogs) -> None:
    logs.print(POD, "nul \0", "half a pair \ud800", "任务 🚂", "")
    logs.ship()
    assert texts(after(shared, None)) == texts(after(shared, None))
    assert texts(after(shared, None))[-4:] == ["nul \0", "half a pair \ud800", "任务 🚂", ""]
