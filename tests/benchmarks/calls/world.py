"""The simulated Trainyard of the proof, with a meter at everything that leaves a function.

The functions are the real ones, with the settings of a deployment. The clock is simulated, so that a month
is a moment and each run counts the same. Unlike the proof's, watches here go on for as long as they are
asked to, on workers of their own, as threads do in a function.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Any

from app import app
from chalicelib import bootstrap
from chalicelib.bootstrap import Container
from chalicelib.cloudwatch import CloudWatchArchive
from chalicelib.domain.logs import rfc3339
from chalicelib.services.cluster_ports import Follow, Learn
from chalicelib.services.newsroom import SLICE_SECONDS
from chalicelib.services.shared_archive import SharedArchive
from chalicelib.settings import load
from tests.benchmarks.calls.meter import LINE_BYTES, PLATFORM, LogMeter, MeteredTable
from tests.proof.kubernetes_client import SERVICE, Body, SimulatedClient
from tests.proof.scheduler import Scheduler, Worker
from tests.proof.wire import Call, Trouble, Vendor
from tests.proof.world import ADA, World
from tests.unit.api.fakes import Api, FakeTokens, Reply

# A function of 512 MB has 0.29 of a processor. Here a call of botocore takes 1.2 to 1.8 ms of one, and what
# the API adds to its calls 3 to 4 ms (docs/performance.md); a call's way there and back is taken for 4 ms.
CALL_SECONDS = 0.010
OWN_SECONDS = 0.015
# A request's line in the API's access log: the format of infra/resources.yaml, filled in.
ACCESS_BYTES = 420
BLINK = 0.1  # seconds within which a watch tells

Counts = Counter[str]


class MeteredWorld(World):
    """`by` is what was counted, by function and by what."""

    def __init__(self) -> None:
        super().__init__(load({"TRAINYARD_SYNC_FUNCTION": "sync"}))
        self.by: Counter[tuple[str, str]] = Counter()
        self.lines: list[str] = []  # what the pod prints whose log is asked for
        self.dynamo = self.metered = MeteredTable(self.table, self.count)
        self.cluster.binds_after = 2 * BLINK
        self.cluster.tells_of_new_pods = ("Scheduled", "Pulling")
        self.cluster.tells_of_starts = ("Pulled", "Created", "Started")
        self.wire.plans.append(self._passes)
        self._calls: Counter[Worker] = Counter()
        self._api = Api(app)
        self._log = LogMeter(self.count)
        self._meters = ExitStack()
        self._meters.enter_context(self._log.listening())

    def close(self) -> None:
        super().close()
        self._meters.close()

    def count(self, what: str, number: float) -> None:
        worker = self.scheduler.running
        assert worker is not None, "only workers are counted"
        self.by[worker.name, what] += number  # type: ignore[assignment]
        if what.startswith("dynamodb "):
            self._calls[worker] += 1

    def let_die(self) -> None:
        """All functions that run now, which is no trouble then."""
        for worker in list(self.scheduler.workers):
            self.scheduler.kill(worker)
        self._log.trouble.clear()

    def counts(self) -> Counts:
        """Everything since the world began, in which nothing may have gone wrong."""
        assert not self._log.trouble, self._log.trouble
        found: Counts = Counter()
        for (_, what), number in self.by.items():
            found[what] += number
        printed = self.printed.getvalue()
        found["log lines"] += printed.count("\n")
        found["log bytes"] += len(printed) + LINE_BYTES * printed.count("\n")
        found["events"] += len(self.bus.told) + len(self.bus.repairs)
        found["s3 events"] += sum(map(len, self.s3.versions.values()))
        found["sqs messages"] += len(self.uploads.seen) + len(self.upload_changes.seen)
        return found

    def request(self, method: str, path: str, body: Any = None) -> Reply:
        """A request to the API, through API Gateway and the authorizer, which is asked each time."""

        def ask(parts: Container) -> Reply:
            with bootstrap.use(parts):
                return self._api.call(method, path, body, token=f"{ADA.tenant}:member")

        self.by["gateway", "api requests"] += 1
        self.by["gateway", "log bytes"] += ACCESS_BYTES + LINE_BYTES
        self.by["gateway", "log lines"] += 1
        self._called("authorizer", OWN_SECONDS)
        reply: Reply | None = self.call(ask)
        assert reply is not None and reply.status < 300, reply
        return reply

    def container(self, function: str) -> Container:
        parts = super().container(function)
        archive = CloudWatchArchive("jobs", lambda: self.wire.client("logs", LogEvents(self)))
        vars(parts).update(
            tokens=FakeTokens(),
            archive=SharedArchive(archive, parts.store, parts.clock, parts.sleep),
            news=lambda follows: Newsroom(
                self.scheduler, lambda work: self._beside(parts, function, work), follows
            ),
        )
        return parts

    def kubernetes(self) -> SimulatedClient:
        return StreamingClient(self)

    def _start(
        self, function: str, work: Callable[[Container], Any], then: Callable[[Worker], None] = lambda _: None
    ) -> Worker:
        began = self.scheduler.now

        def ended(worker: Worker) -> None:
            if worker.error or worker.dead:
                self._log.trouble.append(f"{function}: {worker.error}")
            waited = (self.scheduler.now - began).total_seconds()
            self._called(function, OWN_SECONDS + max(waited, CALL_SECONDS * self._calls.pop(worker, 0)))
            then(worker)

        return super()._start(function, work, ended)

    def _beside(self, parts: Container, function: str, work: Callable[[], None]) -> Worker:
        """A thread of that process."""
        worker = self.scheduler.start(function, work)
        self.ledger.process_of[worker] = parts
        return worker

    def _called(self, function: str, seconds: float) -> None:
        self.by[function, f"invoke {function}"] += 1
        self.by[function, f"seconds {function}"] += math.ceil(seconds * 1000) / 1000  # type: ignore[assignment]
        self.by[function, "log lines"] += len(PLATFORM)
        self.by[function, "log bytes"] += sum(LINE_BYTES + len(json.dumps(line)) for line in PLATFORM)

    def _passes(self, call: Call) -> tuple[Trouble, float] | None:
        """The wire asks about each call; all go their way."""
        if call.service != "dynamodb":
            self.count(f"{call.service} {call.what}", 1)
            worker = self.scheduler.running
            assert worker is not None
            self._calls[worker] += 1
        return None


class StreamingClient(SimulatedClient):
    """A watch tells until its time is up or it is hung up; pods have logs."""

    def __init__(self, world: MeteredWorld) -> None:
        super().__init__(world.cluster, world.wire, lambda: None)
        self._world = world

    def call_api(
        self, method: str, url: tuple[str, dict[str, str]], _headers: Any, body: Any, **more: Any
    ) -> Body:
        path, query = url
        if path.endswith("/log"):
            return self._log(query)
        answer = super().call_api(method, url, _headers, body, **more)
        if "limit" in query:
            text = answer.read()
            self._world.count("bytes of lists", len(text))
            answer.chunks = iter([text])
        if "watch" in query and answer.status == 200:
            answer.chunks = self._stream(url, answer)
        return answer

    def _stream(self, url: tuple[str, dict[str, str]], answer: Body) -> Iterator[bytes]:
        """What is told by one look, in one chunk, and a bookmark at its end."""
        path, query = url
        scheduler = self._world.scheduler
        until = scheduler.now + timedelta(seconds=int(query["timeoutSeconds"]))
        while not answer.is_shut and scheduler.now < until:
            told = self.told(path, query)
            if len(told) > 1:
                yield b"".join(told)
            query = {**query, "resourceVersion": str(self._world.cluster.version)}
            scheduler.sleep(BLINK)

    def _log(self, query: Mapping[str, str]) -> Body:
        """Somebody who follows it is told a line that nobody has seen yet."""
        world = self._world
        if "follow" in query:
            world.lines.append("news")
        vendor = Vendor(SERVICE, lambda _: Exception(), lambda do: do())
        begin = int(world.scheduler.now.timestamp()) * 10**9
        lines = [f"{rfc3339(begin + n * 10**6)} {text}\n" for n, text in enumerate(world.lines)]
        text = "".join(lines[-int(query.get("tailLines", len(lines))) :]).encode()
        return world.wire.carry(vendor, "GET log", False, lambda: Body(200, iter([text])))  # type: ignore[no-any-return]


class Newsroom:
    """services.newsroom.Newsroom with workers in place of threads."""

    def __init__(
        self, scheduler: Scheduler, start: Callable[[Callable[[], None]], Worker], follows: Sequence[Follow]
    ) -> None:
        self._scheduler = scheduler
        self._told: list[Learn] = []
        self._is_closing = False
        self._workers = [start(partial(self._run, follow)) for follow in follows]

    def wait(self, seconds: float) -> list[Learn]:
        until = self._scheduler.now + timedelta(seconds=seconds)
        while not self._told and self._scheduler.now < until:
            self._scheduler.sleep(min(BLINK, (until - self._scheduler.now).total_seconds()))
        told, self._told = self._told, []
        return told

    def close(self) -> None:
        self._is_closing = True

    def join(self) -> None:
        while not all(worker.is_over for worker in self._workers):
            self._scheduler.sleep(BLINK)

    def _run(self, follow: Follow) -> None:
        while not self._is_closing:
            for learn in follow(SLICE_SECONDS):
                self._told.append(learn)
                if self._is_closing:
                    return


class LogEvents:
    """botocore's client of CloudWatch Logs, on the lines of the one pod, all in one page."""

    def __init__(self, world: MeteredWorld) -> None:
        self._world = world

    def get_log_events(self, **request: Any) -> Mapping[str, Any]:
        if "nextToken" in request:
            return {"events": [], "nextForwardToken": "end", "nextBackwardToken": "end"}
        now = int(self._world.scheduler.now.timestamp()) * 1000
        lines = self._world.lines[-request["limit"] :]
        events = [{"timestamp": now + n, "message": text} for n, text in enumerate(lines)]
        return {"events": events, "nextForwardToken": "end", "nextBackwardToken": "end"}


def until(world: World, job_ids: Sequence[str], *words: str) -> None:
    """Let time pass until all these jobs have one of these statuses."""

    def have_come() -> bool:
        with suppress(AttributeError):
            return all(world.job(job_id).status in words for job_id in job_ids)  # type: ignore[union-attr]
        return False

    world.wait(have_come, 3600)
