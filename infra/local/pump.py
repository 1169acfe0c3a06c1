"""Carries events to the handlers, as Lambda's event sources do in AWS.

    python -m infra.local.pump

A thread each: two read the jobs table's stream, one for the outbox and one for the publisher of state
changes; one is the sync's one-minute rule, which the outbox's kick wakes; the others read a queue each.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import bootstrap
from chalicelib.settings import Settings, load
from chalicelib.triggers.schedule import sync
from chalicelib.triggers.stream import outbox, state_changes
from chalicelib.triggers.uploads import upload_status, uploads
from infra.local import config, functions, ministack, template
from infra.local.cluster_setup import ClusterSetup, as_admin, grant_role
from infra.local.config import Local
from infra.local.delivery import Policy, Record, Verdict, dead_letter
from infra.local.messages import QueuePolicy
from infra.local.ministack import DeployFailed
from infra.local.queues import QueueReader
from infra.local.schedule import Context, Schedule
from infra.local.stream import Checkpoint, Shard, find_stream, shard_ids

BUSY_POLL_SECONDS = 0.02
IDLE_POLL_SECONDS = 0.25
BUSY_SECONDS = 3.0
DISCOVER_SECONDS = 60.0

Handler = Callable[[dict[str, Any], Any], Any]
# What queues are read for: a function's name, its handler, and its logical name in resources.yaml.
QUEUE_FUNCTIONS: tuple[tuple[str, Handler, str], ...] = (
    ("uploads", uploads, "Uploads"),
    ("upload_status", upload_status, "UploadStatus"),
)

log = logging.getLogger("trainyard.pump")


@dataclass(frozen=True, slots=True)
class Function:
    """What a stream is read for. `mapping` is its event source as the template has it. `gather_seconds` pass
    between its batches: what need not be done at once is cheaper done together."""

    name: str
    handler: Handler
    mapping: Mapping[str, Any]
    idle_seconds: float = IDLE_POLL_SECONDS
    gather_seconds: float = 0.0


class Pump:
    """The stream's side: every shard of the table's stream to one function.

    `prepare` sees each batch first, and is called now and then without one; `kick` is called when the stream
    has lost records.
    """

    def __init__(
        self,
        local: Local,
        table: str,
        function: Function,
        prepare: Callable[[Iterable[Record]], None],
        kick: Callable[[], None],
    ) -> None:
        self._policy = Policy.of(function.mapping)
        self._dead_letters = _dead_letter_queue(local, function.mapping)
        self._table = table
        self._function = function
        self._timeout_seconds = functions.timeout_seconds(function.name)
        self._prepare = prepare
        self._kick = kick
        self._stopping = threading.Event()
        self._checkpoint = Checkpoint(local.checkpoint_file(function.name))
        self._dynamodb, self._streams, self._sqs = map(_client, ("dynamodb", "dynamodbstreams", "sqs"))
        self._stream_arn = ""
        self._shards: dict[str, Shard] = {}
        self._discover_at = 0.0
        self._is_unreachable = False

    def discover(self) -> None:
        """Find the stream and its shards; a stream that is not the one we knew starts afresh."""
        stream_arn = find_stream(self._dynamodb, self._table)
        if stream_arn != self._stream_arn:
            self._checkpoint.open(stream_arn)
            self._shards = {}
            self._stream_arn = stream_arn
        for shard_id in shard_ids(self._streams, stream_arn):
            if shard_id not in self._shards:
                self._shards[shard_id] = Shard(self._streams, stream_arn, shard_id, self._checkpoint)
        self._discover_at = time.monotonic() + DISCOVER_SECONDS

    def run(self, stopping: threading.Event) -> None:
        """Until `stopping`, and then to the stream's end if that is near: it does not survive MiniStack."""
        self._stopping = stopping
        busy_until = 0.0
        while not stopping.is_set():
            if self._turn():
                busy_until = time.monotonic() + BUSY_SECONDS
                stopping.wait(self._function.gather_seconds)
                continue
            busy = max(BUSY_POLL_SECONDS, self._function.gather_seconds)
            stopping.wait(busy if time.monotonic() < busy_until else self._function.idle_seconds)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and self._turn():
            pass

    def _turn(self) -> bool:
        """One step of every shard; whether any had something to do."""
        try:
            self._prepare([])  # what could not be done for the batches before
            if time.monotonic() > self._discover_at:
                self.discover()
            worked = [self._step(shard) for shard in self._shards.values() if not shard.is_over]
        except (BotoCoreError, ClientError) as error:
            self._lost(error)
            return False
        except Exception:
            log.exception("the pump stumbled; it goes on from the checkpoint")
            self._restart_reading()
            return False
        if self._is_unreachable:
            self._is_unreachable = False
            log.info("the stream is back")
        return any(worked)

    def _step(self, shard: Shard) -> bool:
        return shard.step(self._policy, self._deliver, self._give_up, self._kick)

    def _lost(self, error: Exception) -> None:
        if not self._is_unreachable:
            log.warning("the stream cannot be read: %s", error)
        self._is_unreachable = True
        self._restart_reading()

    def _restart_reading(self) -> None:
        self._discover_at = 0.0
        for shard in self._shards.values():
            shard.forget_iterator()

    def _deliver(self, records: list[Record]) -> Any:
        self._prepare(records)
        # Not `stopping`: a batch that has begun is finished.
        context = Context(self._function.name, self._timeout_seconds, threading.Event())
        return self._function.handler({"Records": records}, context)

    def _give_up(self, shard: Shard, verdict: Verdict) -> None:
        assert verdict.dropped is not None
        created = [record["dynamodb"]["ApproximateCreationDateTime"] for record in verdict.dropped.records]
        message = dead_letter(
            verdict,
            shard.id,
            shard.stream_arn,
            Context(self._function.name, 0, self._stopping).invoked_function_arn,
            _text_time(time.time()),
            [_text_time(created[0]), _text_time(created[-1])],
        )
        log.error("gave up on %d records: %s", len(created), json.dumps(message))
        if self._dead_letters:
            try:
                self._sqs.send_message(QueueUrl=self._dead_letters, MessageBody=json.dumps(message))
            except (BotoCoreError, ClientError):
                log.exception("no dead letter could be sent for it")


def _dead_letter_queue(local: Local, mapping: Mapping[str, Any]) -> str | None:
    destination = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", {})
    name = (destination.get("Fn::GetAtt") or [None])[0]
    return ministack.deployed(local).resources.get(name) if name else None


def _client(service: str) -> Any:
    # The pump tries again by itself, and has to know that the connection was lost.
    retries = {"mode": "standard", "total_max_attempts": 1}
    config = Config(retries=retries, connect_timeout=5, read_timeout=30)
    return bootstrap.container().aws_session.client(service, config=config)


def _text_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _await_stream(pump: Pump, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            pump.discover()
            return
        except (BotoCoreError, ClientError) as error:
            log.warning("the jobs table's stream is not there yet: %s", error)
            stopping.wait(1)


def queue_readers(
    local: Local, resources: Mapping[str, Any], wanted: Iterable[tuple[str, Handler, str]]
) -> list[QueueReader]:
    """A reader for each of the functions `wanted`. Raises DeployFailed when a queue is not there."""
    deployed = ministack.deployed(local).resources
    readers = []
    for name, handler, logical_name in wanted:
        policy = QueuePolicy.of(template.queue_mapping(resources, logical_name))
        if policy.queue not in deployed:
            raise DeployFailed(f"{name} reads the queue {policy.queue}, which is not deployed; run make up")
        readers.append(QueueReader(_client("sqs"), deployed[policy.queue], name, handler, policy))
    return readers


def _build(
    local: Local, settings: Settings, stopping: threading.Event
) -> tuple[list[Pump], list[QueueReader], Schedule]:
    schedule = Schedule("sync", sync, stopping, timeout_seconds=functions.timeout_seconds("sync"))
    bootstrap.use_kick(schedule.kick)
    connect = as_admin(local, settings.cluster_timeout_seconds)
    if local.embedded_cluster:
        grant_role(lambda: connect({"kubeconfig": local.kubeconfig}))
    setup = ClusterSetup(settings, connect)
    setup.ensure_priority_classes()
    resources = template.read(config.RESOURCES)
    carries_out = Function("outbox", outbox, template.stream_mapping(resources, "Outbox"))
    told = template.stream_mapping(resources, "StateChanges")
    tells = Function("state_changes", state_changes, told, idle_seconds=1.0, gather_seconds=0.1)
    table = settings.jobs_table
    pumps = [
        Pump(local, table, carries_out, setup.ensure_namespaces, schedule.kick),
        Pump(local, table, tells, lambda _: None, lambda: None),
    ]
    return pumps, queue_readers(local, resources, QUEUE_FUNCTIONS), schedule


def main() -> int:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s",
        stream=sys.stdout,
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    local = config.load()
    pumps, queues, schedule = _build(local, load(os.environ), stopping)
    for pump in pumps:
        _await_stream(pump, stopping)
    print("ready stream, queues and schedule", flush=True)
    schedule.start()
    others: list[Pump | QueueReader] = [*pumps[1:], *queues]
    threads = [threading.Thread(target=reader.run, args=(stopping,), daemon=True) for reader in others]
    for thread in threads:
        thread.start()
    pumps[0].run(stopping)
    for thread in threads:
        thread.join(20)
    if not schedule.join(20):
        log.warning("the sync did not end in time")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
