"""The pump's reader against a stream in memory: nothing is skipped, nothing is behind us too early."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from infra.local.delivery import Policy, Record, Verdict, sequence_number
from infra.local.processes import wait_until
from infra.local.stream import Checkpoint, Shard, shard_ids

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/jobs/stream/1"


class Trimmed(Exception):
    """The stream's own TrimmedDataAccessException."""


class Expired(Exception):
    """The stream's own ExpiredIteratorException."""


class MemoryStreams:
    """As MiniStack behaves: an iterator is a position, and a restart forgets the records and counts anew."""

    class exceptions:
        TrimmedDataAccessException = Trimmed
        ExpiredIteratorException = Expired

    def __init__(self) -> None:
        self.numbers: list[str] = []
        self.expired = False

    def write(self, *numbers: int) -> None:
        self.numbers += [str(number) for number in numbers]

    def restart(self) -> None:
        self.numbers = []

    def get_shard_iterator(
        self, StreamArn: str, ShardId: str, ShardIteratorType: str, SequenceNumber: str = ""
    ) -> dict[str, Any]:
        assert (StreamArn, ShardId) == (ARN, "shard-1")
        if ShardIteratorType == "TRIM_HORIZON":
            return {"ShardIterator": "0"}
        if SequenceNumber not in self.numbers:
            raise Trimmed
        return {"ShardIterator": str(self.numbers.index(SequenceNumber) + 1)}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:
        if self.expired:
            self.expired = False
            raise Expired
        position = int(ShardIterator)
        page = self.numbers[position : position + Limit]
        return {"Records": [_raw(n) for n in page], "NextShardIterator": str(position + len(page))}


def _raw(number: str) -> dict[str, Any]:
    return {
        "eventID": number,
        "eventName": "INSERT",
        "dynamodb": {
            "SequenceNumber": number,
            "ApproximateCreationDateTime": time.time(),
            "NewImage": {"status": {"S": "even" if int(number) % 2 == 0 else "odd"}},
        },
    }


class Reader:
    """A shard with everything around it, and what its handler saw."""

    def __init__(self, tmp_path: Path, streams: MemoryStreams, policy: Policy | None = None) -> None:
        self.file = tmp_path / "checkpoint.json"
        self.checkpoint = Checkpoint(self.file)
        self.checkpoint.open(ARN)
        self.shard = Shard(streams, ARN, "shard-1", self.checkpoint)
        self.policy = policy or Policy()
        self.seen: list[list[int]] = []
        self.last: list[Record] = []
        self.dropped: list[Verdict] = []
        self.gaps = 0
        self.answers: list[Any] = []

    def turn(self) -> bool:
        return self.shard.step(self.policy, self._handle, lambda _, v: self.dropped.append(v), self._gap)

    @property
    def kept(self) -> str | None:
        return json.loads(self.file.read_text())["shards"].get("shard-1") if self.file.exists() else None

    def _handle(self, records: list[Record]) -> Any:
        self.last = records
        self.seen.append([int(sequence_number(record)) for record in records])
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _gap(self) -> None:
        self.gaps += 1


@pytest.fixture
def streams() -> MemoryStreams:
    return MemoryStreams()


@pytest.fixture
def reader(tmp_path: Path, streams: MemoryStreams) -> Reader:
    return Reader(tmp_path, streams)


def test_records_come_once_and_in_order(reader: Reader, streams: MemoryStreams) -> None:
    streams.write(1, 2, 3)
    assert reader.turn() is True
    assert reader.turn() is False
    streams.write(4)
    reader.turn()
    assert reader.seen == [[1, 2, 3], [4]]


def test_records_say_which_stream_they_are_from(reader: Reader, streams: MemoryStreams) -> None:
    streams.write(1)
    reader.turn()
    assert [record["eventSourceARN"] for record in reader.last] == [ARN]


def test_a_new_process_goes_on_where_the_last_one_succeeded(
    tmp_path: Path, reader: Reader, streams: MemoryStreams
) -> None:
    streams.write(1, 2)
    reader.turn()
    streams.write(3)
    successor = Reader(tmp_path, streams)
    successor.turn()
    assert successor.seen == [[3]]


def test_nothing_is_behind_us_before_the_handler_succeeded(reader: Reader, streams: MemoryStreams) -> None:
    streams.write(1, 2)
    reader.answers = [RuntimeError("no cluster")]
    reader.turn()
    assert reader.kept is None


def test_what_came_before_the_lowest_failure_is_behind_us(reader: Reader, streams: MemoryStreams) -> None:
    streams.write(1, 2, 3)
    reader.answers = [{"batchItemFailures": [{"itemIdentifier": "2"}]}]
    reader.turn()
    assert reader.kept == "1"
    assert reader.turn() is False, "it waits before it tries again"
    streams.write(4)
    _until(lambda: reader.turn() and len(reader.seen) == 3)
    assert reader.seen == [[1, 2, 3], [2, 3], [4]]
    assert reader.kept == "4"


def test_a_batch_that_never_succeeds_makes_way_in_the_end(tmp_path: Path, streams: MemoryStreams) -> None:
    reader = Reader(tmp_path, streams, Policy(max_retries=0))
    streams.write(1)
    reader.answers = [RuntimeError("never")]
    reader.turn()
    streams.write(2)
    reader.turn()
    assert [sequence_number(r) for v in reader.dropped if v.dropped for r in v.dropped.records] == ["1"]
    assert (reader.seen, reader.kept) == ([[1], [2]], "2")


def test_records_that_the_filter_leaves_out_are_behind_us(tmp_path: Path, streams: MemoryStreams) -> None:
    odd = {"dynamodb": {"NewImage": {"status": {"S": ["odd"]}}}}
    reader = Reader(tmp_path, streams, Policy(patterns=(odd,)))
    streams.write(1, 2, 3)
    reader.turn()
    assert reader.seen == [[1, 3]]
    streams.write(4)
    reader.turn()
    assert reader.kept == "4"


def test_an_expired_iterator_is_taken_anew(reader: Reader, streams: MemoryStreams) -> None:
    streams.write(1)
    reader.turn()
    streams.write(2)
    streams.expired = True
    reader.turn()
    reader.turn()
    assert reader.seen == [[1], [2]]


def test_after_a_restart_of_ministack_the_first_new_records_are_not_skipped(
    reader: Reader, streams: MemoryStreams
) -> None:
    streams.write(1, 2, 3)
    reader.turn()
    streams.restart()
    streams.write(11)
    reader.shard.forget_iterator()  # what the pump does when it loses the connection
    reader.turn()
    assert reader.seen == [[1, 2, 3], [11]]
    assert reader.gaps == 1, "the sync is woken: records of before the restart may be lost"


def test_an_unknown_checkpoint_is_a_gap_only_once(reader: Reader, streams: MemoryStreams) -> None:
    streams.write(1)
    reader.turn()
    streams.restart()
    for _ in range(3):
        reader.shard.forget_iterator()
        reader.turn()
    assert reader.gaps == 1


@pytest.mark.parametrize(
    "content", ["", "nonsense", "[]", '{"stream": "another", "shards": {"shard-1": "2"}}']
)
def test_a_checkpoint_that_is_of_no_use_means_the_beginning(
    tmp_path: Path, streams: MemoryStreams, content: str
) -> None:
    (tmp_path / "checkpoint.json").write_text(content)
    streams.write(1, 2)
    reader = Reader(tmp_path, streams)
    reader.turn()
    assert reader.seen == [[1, 2]]


def test_every_page_of_shards_is_found() -> None:
    class Pages:
        def describe_stream(self, StreamArn: str, ExclusiveStartShardId: str = "") -> dict[str, Any]:
            assert StreamArn == ARN
            if not ExclusiveStartShardId:
                return {"StreamDescription": {"Shards": [{"ShardId": "b"}], "LastEvaluatedShardId": "b"}}
            return {"StreamDescription": {"Shards": [{"ShardId": "a"}]}}

    assert shard_ids(Pages(), ARN) == ["a", "b"]


def _until(condition: Any) -> None:
    assert wait_until(condition, 5)


def test_records_that_are_filtered_out_are_behind_us_and_no_reason_to_read_on_at_once(tmp_path: Path) -> None:
    streams = MemoryStreams()
    only_even = Policy(patterns=({"dynamodb": {"NewImage": {"status": {"S": ["even"]}}}},), batch_size=2)
    reader = Reader(tmp_path, streams, only_even)
    streams.write(1, 3, 5)
    assert reader.turn(), "a full page may not be the last one"
    assert not reader.turn()
    assert reader.kept == "5"
    assert reader.seen == []
