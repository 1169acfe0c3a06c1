"""Reads a table's real stream from a durable checkpoint and delivers it as Lambda would.

MiniStack keeps no stream records over a restart and counts positions anew, so that an old iterator would skip
what comes first: iterators are taken afresh from the checkpoint after every error, and every few seconds.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.local import filters
from infra.local.delivery import Batch, Policy, Record, Verdict, crashed, sequence_number, succeeded

ITERATOR_SECONDS = 5.0

log = logging.getLogger("trainyard.pump")


class Checkpoint:
    """The last record behind us in each shard of one stream, in a file that is replaced as a whole."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream = ""
        self._shards: dict[str, str] = {}

    def open(self, stream_arn: str) -> None:
        """Read what was kept for this stream; another stream's positions mean nothing here."""
        self._stream, self._shards = stream_arn, {}
        try:
            kept = json.loads(self._file.read_text())
            if kept["stream"] == stream_arn:
                self._shards = dict(kept["shards"])
        except FileNotFoundError:
            log.info("no checkpoint: starting at the stream's beginning")
        except (ValueError, KeyError, TypeError) as error:
            log.warning("the checkpoint %s cannot be read: %r", self._file, error)

    def get(self, shard_id: str) -> str | None:
        return self._shards.get(shard_id)

    def set(self, shard_id: str, sequence_number: str | None) -> None:
        if sequence_number is None:
            self._shards.pop(shard_id, None)
        else:
            self._shards[shard_id] = sequence_number
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps({"stream": self._stream, "shards": self._shards}))
        temporary.replace(self._file)


class Shard:
    """One shard's consumer. A batch in trouble holds up its own shard only."""

    def __init__(self, streams: Any, stream_arn: str, shard_id: str, checkpoint: Checkpoint) -> None:
        self.id = shard_id
        self.stream_arn = stream_arn
        self.is_over = False
        self._streams = streams
        self._checkpoint = checkpoint
        self._waiting: deque[Batch] = deque()
        self._retry_at = 0.0
        self._iterator: str | None = None
        self._iterator_until = 0.0

    def step(
        self,
        policy: Policy,
        deliver: Callable[[list[Record]], Any],
        give_up: Callable[[Shard, Verdict], None],
        on_gap: Callable[[], None],
    ) -> bool:
        """Read or retry once; returns whether there is more to do right away. Raises botocore's errors.

        What the filter leaves out is no reason to look again at once: a lease is renewed all the time."""
        if not self._waiting:
            records = self._read(policy.batch_size, on_gap)
            if not records:
                return False
            chosen = tuple(record for record in records if _passes(record, policy))
            if not chosen:
                self._checkpoint.set(self.id, sequence_number(records[-1]))
                return len(records) == policy.batch_size
            self._waiting.append(Batch(chosen))
            self._retry_at = 0.0
        if time.monotonic() < self._retry_at:
            return False
        verdict = self._deliver(self._waiting.popleft(), policy, deliver)
        if verdict.dropped is not None:
            give_up(self, verdict)
        behind = verdict.dropped.records if verdict.dropped else verdict.done
        self._waiting.extendleft(reversed(verdict.again))
        if behind:
            self._checkpoint.set(self.id, sequence_number(behind[-1]))
        if self._waiting:
            delay = self._waiting[0].retry_delay_seconds if self._waiting[0].attempts else 0.0
            self._retry_at = time.monotonic() + delay
        return True

    def forget_iterator(self) -> None:
        """Take a new one from the checkpoint before the next read."""
        self._iterator = None

    def _deliver(self, batch: Batch, policy: Policy, deliver: Callable[[list[Record]], Any]) -> Verdict:
        began = time.monotonic()
        try:
            answer = deliver(list(batch.records))
        except Exception:
            log.exception(
                "the function crashed on %d records, attempt %d", len(batch.records), batch.attempts + 1
            )
            return crashed(batch, policy, time.time())
        finally:
            if time.monotonic() - began > 0.5:
                self.forget_iterator()
        verdict = succeeded(batch, answer, policy, time.time())
        if verdict.again:
            log.warning("the function wants %d records again: %s", len(verdict.again[0].records), answer)
        return verdict

    def _read(self, limit: int, on_gap: Callable[[], None]) -> list[Record]:
        if self._iterator is None or time.monotonic() > self._iterator_until:
            self._iterator = self._new_iterator(on_gap)
            self._iterator_until = time.monotonic() + ITERATOR_SECONDS
        try:
            answer = self._streams.get_records(ShardIterator=self._iterator, Limit=limit)
        except (
            self._streams.exceptions.ExpiredIteratorException,
            self._streams.exceptions.TrimmedDataAccessException,
        ):
            self.forget_iterator()
            return []
        self._iterator = answer.get("NextShardIterator")
        self.is_over = self._iterator is None and not answer["Records"]
        return [{**record, "eventSourceARN": self.stream_arn} for record in answer["Records"]]

    def _new_iterator(self, on_gap: Callable[[], None]) -> str:
        known = self._checkpoint.get(self.id)
        where = {"StreamArn": self.stream_arn, "ShardId": self.id}
        if known is not None:
            try:
                return str(
                    self._streams.get_shard_iterator(
                        **where, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=known
                    )["ShardIterator"]
                )
            except self._streams.exceptions.TrimmedDataAccessException:
                log.warning("the stream no longer has the checkpoint: reading all that it has")
                self._checkpoint.set(self.id, None)
                on_gap()
        answer = self._streams.get_shard_iterator(**where, ShardIteratorType="TRIM_HORIZON")
        return str(answer["ShardIterator"])


def find_stream(dynamodb: Any, table: str) -> str:
    """The ARN of the table's stream as it is now."""
    return str(dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"])


def shard_ids(streams: Any, stream_arn: str) -> list[str]:
    """Every shard of the stream, parents before their children."""
    ids: list[str] = []
    start: dict[str, str] = {}
    while True:
        description = streams.describe_stream(StreamArn=stream_arn, **start)["StreamDescription"]
        ids += [shard["ShardId"] for shard in description["Shards"]]
        last = description.get("LastEvaluatedShardId")
        if not last:
            return sorted(ids)
        start = {"ExclusiveStartShardId": last}


def _passes(record: Record, policy: Policy) -> bool:
    try:
        return filters.passes(record, policy.patterns)
    except filters.UnknownPattern as error:
        log.warning("the filter has %s, which is not known here: letting the record through", error)
        return True
