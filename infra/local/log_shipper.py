"""Ships the logs of jobs from a node's log files to CloudWatch Logs, as Fluent Bit does on EKS.

    python -m infra.local.log_shipper

It looks at what changed every so often instead of having inotify tell it: that costs little, works on any
file system, and misses nothing. Delivery is at least once: the checkpoint follows the put.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws_session import AwsSession
from chalicelib.settings import load
from infra.local import config
from infra.local.cluster_setup import as_admin
from infra.local.log_files import Checkpoint, ContainerLog, NodeLogs
from infra.local.log_owners import Owners
from infra.local.log_records import InputLogEvent, batch_of

POLL_SECONDS = 0.3
LONGEST_BACKOFF_SECONDS = 30.0
LAST_WORDS_SECONDS = 15.0
STREAMS_AT_ONCE = 4

log = logging.getLogger("shipper")


class Stream:
    """One container's stream. What cannot be put holds up its own stream only, and nothing overtakes it."""

    def __init__(
        self, client: Any, group: str, name: str, source: ContainerLog, clock: Callable[[], float]
    ) -> None:
        self.source = source
        self._client = client
        self._names = {"logGroupName": group, "logStreamName": name}
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0

    @property
    def is_failing(self) -> bool:
        return self._failures > 0

    def ship(self) -> bool:
        """One batch; whether there may be more right now."""
        if self._clock() < self._retry_at:
            return False
        try:
            more = self._ship()
        except (BotoCoreError, ClientError, OSError) as error:
            self._back_off(error)
            return False
        self._failures = 0
        return more

    def _ship(self) -> bool:
        found = self.source.read()
        if found is None:
            return False
        file, data = found
        batch = batch_of(data, file.offset, int(time.time() * 1000))
        if batch.unreadable or batch.expired:
            name = self._names["logStreamName"]
            log.warning("%s: %d unreadable, %d expired records", name, batch.unreadable, batch.expired)
        if batch.events:
            self._put(batch.events)
        self.source.advance(file, batch.end)
        return True

    def _put(self, events: list[InputLogEvent]) -> None:
        try:
            answer = self._client.put_log_events(**self._names, logEvents=events)
        except self._client.exceptions.ResourceNotFoundException:
            self._create()
            answer = self._client.put_log_events(**self._names, logEvents=events)
        if rejected := answer.get("rejectedLogEventsInfo"):
            log.warning("%s: CloudWatch left out %s", self._names["logStreamName"], rejected)

    def _create(self) -> None:
        try:
            self._client.create_log_stream(**self._names)
        except self._client.exceptions.ResourceAlreadyExistsException:
            log.info("%s: somebody else created it", self._names["logStreamName"])

    def _back_off(self, error: Exception) -> None:
        if not self._failures:
            log.warning("%s: trying again: %s", self._names["logStreamName"], error)
        self._retry_at = self._clock() + min(LONGEST_BACKOFF_SECONDS, 0.5 * 2**self._failures)
        self._failures = min(self._failures + 1, 10)


class Shipper:
    """All logs of a node that are ours, to their streams."""

    def __init__(
        self,
        logs: NodeLogs,
        owners: Owners,
        client: Any,
        group: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs = logs
        self._owners = owners
        self._client = client
        self._group = group
        self._clock = clock
        self._streams: dict[ContainerLog, Stream] = {}
        self._pool = ThreadPoolExecutor(STREAMS_AT_ONCE, "stream")

    def turn(self, *, last: bool = False) -> bool:
        """One look at everything and at most a batch for each stream; whether there may be more right now."""
        try:
            self._logs.refresh()
            self._find_streams(last)
            due = [stream for stream in self._streams.values() if stream.source.has_grown]
            more = any(list(self._pool.map(Stream.ship, due)))
            self._logs.checkpoint.save()
        except Exception:
            log.exception("the shipper stumbled; it goes on where it was")
            return False
        return more

    def run(self, stopping: threading.Event) -> None:
        """Until `stopping`, and then to the end of what is there now."""
        while not stopping.is_set():
            if not self.turn():
                stopping.wait(POLL_SECONDS)
        deadline = self._clock() + LAST_WORDS_SECONDS
        while self._clock() < deadline and (self.turn(last=True) or self._is_failing):
            if self._is_failing:
                time.sleep(POLL_SECONDS)
        self._pool.shutdown()

    @property
    def _is_failing(self) -> bool:
        return any(stream.is_failing for stream in self._streams.values())

    def _find_streams(self, last: bool) -> None:
        for source in self._logs:
            if source in self._streams:
                continue
            job = self._owners.job_of(source.pod, last_chance=last)
            if job == "":
                self._logs.ignore(source.pod)
            elif job is not None:
                name = f"{job}.{source.pod.name}.{source.container}"
                self._streams[source] = Stream(self._client, self._group, name, source, self._clock)
        there = set(self._logs)
        self._streams = {source: stream for source, stream in self._streams.items() if source in there}
        self._owners.forget_all_but({source.pod for source in there})


def _client() -> Any:
    # The streams try again by themselves, in order and without an end.
    retries = {"mode": "standard", "total_max_attempts": 1}
    config = Config(retries=retries, connect_timeout=5, read_timeout=30)
    return AwsSession().client("logs", config=config)


def _open_as_many_files_as_allowed() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    local, settings = config.load(), load(os.environ)
    if local.node_logs is None:
        print("error: TRAINYARD_NODE_LOGS says where the node's logs are; it is not set", file=sys.stderr)
        return 1
    _open_as_many_files_as_allowed()
    connect = as_admin(local, settings.cluster_timeout_seconds)
    owners = Owners(lambda: connect({"kubeconfig": local.kubeconfig}), settings.instance)
    logs = NodeLogs(local.node_logs, Checkpoint(local.shipped_file))
    shipper = Shipper(logs, owners, _client(), settings.log_group)
    print(f"ready {local.node_logs}", flush=True)
    shipper.run(stopping)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
