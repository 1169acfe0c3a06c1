"""The table's stream on the simulated clock: each function reads each shard in order, and at least once.

The event source mappings are those of infra/resources.yaml, the rules of retries those that the embedded
stack follows (infra.local.delivery).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from infra.local import filters, template
from infra.local.config import RESOURCES
from infra.local.delivery import Batch, Policy, crashed, succeeded
from tests.proof.scheduler import Scheduler, Worker
from tests.proof.table import FakeTable, Write

SHARDS = 2
POLL_SECONDS = 0.2

Invoke = Callable[[dict[str, Any], Callable[[Worker], None]], None]


@dataclass
class Reader:
    """One function's reader of one shard. `invoke` calls the function and says when that has ended."""

    scheduler: Scheduler
    policy: Policy
    invoke: Invoke
    records: list[dict[str, Any]] = field(default_factory=list)  # all that the shard ever had
    behind: int = 0  # as many of them are done
    dropped: list[dict[str, Any]] = field(default_factory=list)  # to the dead letters
    waiting: deque[Batch] = field(default_factory=deque)
    is_busy: bool = False
    is_due: bool = False

    @property
    def is_through(self) -> bool:
        return self.behind == len(self.records) and not self.waiting and not self.is_busy

    def tell(self, record: dict[str, Any]) -> None:
        if filters.passes(record, self.policy.patterns):
            self.records.append(record)
            self._look(POLL_SECONDS)

    def again(self, number: int) -> None:
        """Deliver the last ones once more, as if the function's answer had been lost."""
        if not self.is_busy and not self.waiting:
            self.behind = max(0, self.behind - number)
            self._look(0.0)

    def _look(self, seconds: float) -> None:
        if not self.is_due:
            self.is_due = True
            self.scheduler.after(seconds, self._turn)

    def _turn(self) -> None:
        self.is_due = False
        if self.is_busy:
            return
        if not self.waiting:
            fresh = self.records[self.behind : self.behind + self.policy.batch_size]
            if not fresh:
                return
            self.waiting.append(Batch(tuple(fresh)))
        batch = self.waiting.popleft()
        self.is_busy = True
        self.invoke({"Records": list(batch.records)}, lambda worker: self._ended(batch, worker))

    def _ended(self, batch: Batch, worker: Worker) -> None:
        self.is_busy = False
        now = self.scheduler.now.timestamp()
        failed = worker.dead or worker.error is not None
        verdict = (
            crashed(batch, self.policy, now) if failed else succeeded(batch, worker.answer, self.policy, now)
        )
        if verdict.dropped is not None:
            self.dropped += map(dict, verdict.dropped.records)
        done = verdict.dropped.records if verdict.dropped else verdict.done
        self.waiting.extendleft(reversed(verdict.again))
        self.behind += len(verdict.done) + (len(done) if verdict.dropped else 0)
        self._look(self.waiting[0].retry_delay_seconds if self.waiting else 0.0)


class Stream:
    """What `table` writes, to each of the functions named."""

    def __init__(self, scheduler: Scheduler, table: FakeTable, functions: dict[str, Invoke]) -> None:
        self.readers = {
            (name, shard): Reader(scheduler, policies()[name], invoke)
            for name, invoke in functions.items()
            for shard in range(SHARDS)
        }
        table.listeners.append(self._written)

    @property
    def is_through(self) -> bool:
        return all(reader.is_through for reader in self.readers.values())

    def _written(self, write: Write) -> None:
        shard = zlib.crc32(write.key[0].encode()) % SHARDS
        record = _record(write)
        for (_, of), reader in self.readers.items():
            if of == shard:
                reader.tell(record)


@cache
def policies() -> dict[str, Policy]:
    resources = template.read(RESOURCES)
    names = {"outbox": "Outbox", "state_changes": "StateChanges"}
    return {name: Policy.of(template.stream_mapping(resources, of)) for name, of in names.items()}


def _record(write: Write) -> dict[str, Any]:
    pk, sk = write.key
    kind = "REMOVE" if write.after is None else "MODIFY" if write.before else "INSERT"
    image = {"NewImage": dict(write.after)} if write.after is not None else {}
    return {
        "eventID": f"{write.number:032x}",
        "eventName": kind,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/jobs/stream/2026-01-26T00:00:00.000",
        "dynamodb": {
            "ApproximateCreationDateTime": write.at.timestamp(),
            "Keys": {"pk": {"S": pk}, "sk": {"S": sk}},
            "SequenceNumber": f"{write.number:021d}",
            "SizeBytes": 1,
            "StreamViewType": "NEW_IMAGE",
            **image,
        },
    }
