"""Many followers of one log cost the archive what one does."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

import pytest

from chalicelib.domain.logs import Chunk, Mark, advance
from chalicelib.errors import LogsUnavailable
from chalicelib.services.shared_archive import AT_THE_END, PATIENCE, READING, SharedArchive
from tests.builders import JOB_ID
from tests.fake_logs import Archive, FakeLogs
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
    return SharedArchive(logs.archive, bench.store, bench.clock, bench.clock.move)


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


def test_who_asks_while_another_reads_is_told_the_same_and_not_an_empty_log(
    logs: FakeLogs, bench: Bench
) -> None:
    told: list[Chunk] = []
    asked_too, is_read = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        bench.clock.move(seconds)
        asked_too.set()
        assert is_read.wait(20)

    second = SharedArchive(logs.archive, bench.store, bench.clock, sleep)
    asking = threading.Thread(target=lambda: told.append(after(second, None)))

    class Slow(Archive):
        def after(self, *asked: Any, **named: Any) -> Chunk:
            asking.start()
            assert asked_too.wait(20)
            return super().after(*asked, **named)

    first = after(SharedArchive(Slow(logs), bench.store, bench.clock, sleep), None)
    is_read.set()
    asking.join(20)
    assert told == [first] and len(first.lines) == 10 and logs.archive_calls == 1


def test_a_reader_that_died_is_not_waited_for_for_long(
    shared: SharedArchive, logs: FakeLogs, bench: Bench
) -> None:
    logs.archive_error = RuntimeError("the first reader dies here")
    with pytest.raises(LogsUnavailable):
        after(shared, None)
    logs.archive_error = None
    died_at = bench.clock()
    assert len(after(shared, None).lines) == 10
    assert READING <= bench.clock() - died_at < PATIENCE


def test_readers_that_do_not_come_to_an_end_are_not_waited_for_for_ever(
    shared: SharedArchive, bench: Bench
) -> None:
    bench.store.claim_page(f"{JOB_ID}/pods", bench.clock(), bench.clock() + 3 * PATIENCE)
    with pytest.raises(LogsUnavailable):
        shared.pods(JOB_ID)


def test_a_jobs_pods_are_looked_up_once_for_all(shared: SharedArchive, logs: FakeLogs, bench: Bench) -> None:
    assert [shared.pods(JOB_ID) for _ in range(50)] == [[POD]] * 50
    calls = logs.archive_calls
    assert calls <= 2  # the fake counts a call for each pod
    bench.clock.move(AT_THE_END.total_seconds())
    assert shared.pods(JOB_ID) == [POD] and logs.archive_calls > calls


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
