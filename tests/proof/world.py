"""A whole Trainyard in one process on a simulated clock: its functions, table, stream, bus and cluster.

Each function is wired as chalicelib.bootstrap wires it and is called with AWS' own event shapes; what is
simulated begins where its clients' requests leave the process, and every one of those passes the wire.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from ulid import ULID

from chalicelib import bootstrap
from chalicelib.aside import in_turn
from chalicelib.aws import KICK, EventBridge
from chalicelib.bootstrap import Container
from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.kubernetes import KubernetesCluster
from chalicelib.domain import labels
from chalicelib.domain.job import Job
from chalicelib.errors import FunctionUnavailable
from chalicelib.metrics import Metrics
from chalicelib.objects import S3Objects
from chalicelib.services.caller import Caller, Role
from chalicelib.services.state_changes import StateChanges
from chalicelib.services.submission import JobRequest
from chalicelib.settings import Settings, load
from chalicelib.store.dynamo import DynamoStore, StoreOptions
from chalicelib.store.items import from_item
from chalicelib.store.keys import job_key
from chalicelib.store.table import DynamoClient
from chalicelib.triggers.schedule import sync
from chalicelib.triggers.stream import outbox, state_changes
from chalicelib.triggers.uploads import upload_status, uploads
from infra.local.kubernetes.selection import label_test
from tests.builders import NAMESPACE, POOL
from tests.fake_watch import Wire as OneThread
from tests.proof.aws import Bus, Context
from tests.proof.bucket import BUCKET, Queue, SimulatedS3, policy_of
from tests.proof.kubernetes import Program, SimulatedKubernetes
from tests.proof.kubernetes_client import SimulatedClient
from tests.proof.ledger import Ledger
from tests.proof.scheduler import Scheduler, Worker
from tests.proof.stream import Stream
from tests.proof.table import FakeTable
from tests.proof.wire import Vendor, Wire

ADA = Caller("acme", "ada", frozenset({Role.MEMBER}))
TIMEOUTS = {
    "api": 29.0,
    "outbox": 60.0,
    "state_changes": 60.0,
    "sync": 75.0,
    "recount": 300.0,
    "uploads": 60.0,
    "upload_status": 60.0,
}
PATIENCE = 1800.0  # simulated seconds within which everything is to have come right

Handler = Callable[[dict[str, Any], Any], Any]


class World:
    """`clocks` says by how many seconds the clocks of each function's next processes are wrong, `printed`
    what functions put on standard output; `dynamo` is the client of the table that they are given."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or _settings()
        self.scheduler = Scheduler()
        self.wire = Wire(self.scheduler)
        self.table = FakeTable(self.scheduler.clock, index_lag=timedelta(seconds=0.2))
        self.dynamo: DynamoClient = self.table
        self.printed = io.StringIO()
        self.cluster = SimulatedKubernetes(self.scheduler, {NAMESPACE})
        self.uploads = self._queue("uploads", uploads, "Uploads")
        self.upload_changes = self._queue("upload_status", upload_status, "UploadStatus")
        self.s3 = SimulatedS3(self.scheduler, self.uploads.send)
        self.bus = Bus(self._told)
        self.clocks: defaultdict[str, float] = defaultdict(float)
        self.disorder: Random | None = None
        self.by_hand: set[str] = set()
        self.ledger = Ledger(self.scheduler, self.table)
        self.stream = Stream(
            self.scheduler,
            self.table,
            {
                "outbox": lambda event, then: self.invoke("outbox", outbox, event, then),
                "state_changes": lambda event, then: self.invoke("state_changes", state_changes, event, then),
            },
        )
        self._warm: defaultdict[str, list[Container]] = defaultdict(list)
        self._containers = 0
        self._jobs = 0
        self._stack = ExitStack()
        self._stack.enter_context(
            bootstrap.use(Container(self.settings))
        )  # and what was there before, at the end
        self.scheduler.after(60, self._minute)

    def close(self) -> None:
        self.scheduler.close()
        self._stack.close()

    # ---- what callers do

    def submit(self, key: str | None = None, program: Program | None = None, **changes: Any) -> Job | None:
        """None: there was no answer."""
        request = JobRequest(name="train", image="python", command=(program or Program()).command, **changes)
        answer: Job | None = self.call(lambda parts: parts.submission.submit(ADA, request, key))
        return answer

    def stop(self, job_id: str) -> Job | None:
        answer: Job | None = self.call(lambda parts: parts.jobs.stop(ADA, job_id))
        return answer

    def delete(self, job_id: str) -> bool:
        def ask(parts: Container) -> bool:
            parts.jobs.delete(ADA, job_id)
            return True

        return bool(self.call(ask))

    def upload(self, name: str, content: str) -> None:
        """Somebody puts a file into a tenant's folder."""
        self.s3.put_object(BUCKET, f"submissions/{ADA.tenant}/{name}", content.encode())

    def call(self, ask: Callable[[Container], Any], function: str = "api") -> Any:
        """Ask a function and wait for its answer; None when there is none in time, or an error."""
        worker = self.begin(ask, function)
        self.scheduler.run(TIMEOUTS[function] + 1, lambda: worker.is_over)
        return worker.answer

    def begin(self, ask: Callable[[Container], Any], function: str = "api") -> Worker:
        """Ask a function, beside what others ask."""
        return self._start(function, ask)

    # ---- what happens by itself

    def invoke(
        self,
        function: str,
        handler: Handler,
        event: Mapping[str, Any],
        then: Callable[[Worker], None] = lambda _: None,
    ) -> None:
        """Lambda calls the function: in a warm container if one is free; and ends it when its time is up."""
        context = Context(self.scheduler, TIMEOUTS[function])

        def work(container: Container) -> Any:
            with bootstrap.use(container):  # which the handler asks for before it waits for anything
                return handler(dict(event), context)

        self._start(function, work, then)

    def start_sync(self, *, kick: bool = False) -> None:
        """As a kick does, or its rule."""
        moment = self.scheduler.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        scheduled = {**KICK, "detail-type": "Scheduled Event", "source": "aws.events", "time": moment}
        self.invoke("sync", sync, KICK if kick else scheduled)

    def delete_by_hand(self, job_id: str) -> None:
        """Somebody deletes its Kubernetes Job, whose record knows of it, past Trainyard."""
        job = self.job(job_id)
        if job and job.submitted_at and job_id in self.cluster.names():
            self.by_hand.add(job_id)
            self.cluster.delete(("jobs", NAMESPACE, job_id), "Background")

    def stray(self, name: str, instance: str) -> None:
        """A Job of that Trainyard's that has no record."""
        labelled = {labels.INSTANCE: instance, labels.JOB: name, labels.POOL: POOL.id}
        command = Program(seconds=30).command
        template = {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "training", "command": command}]}
        }
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labelled}}
        self.cluster.create("jobs", NAMESPACE, {**job, "spec": {"template": template}})

    def cool_down(self, function: str) -> None:
        """The function's next call meets a new process."""
        self._warm[function].clear()

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.wire.plans.clear()
        self.clocks.clear()
        for function in TIMEOUTS:
            self.cool_down(function)
        self.disorder, self.bus.refuses = None, 0
        self.cluster.namespaces = {NAMESPACE}

    def wait(self, until: Callable[[], bool], seconds: float = PATIENCE) -> None:
        assert self.scheduler.run(seconds, until), f"in {seconds} s it did not come true"

    def converge(self) -> None:
        """Let the system run on until it has nothing left to do."""
        self.wait(self.is_at_rest)

    def is_at_rest(self) -> bool:
        jobs = self.jobs().values()
        settled = all(job.is_terminal and not job.is_deleted for job in jobs)
        told = self.stream.is_through and self.uploads.is_through and self.upload_changes.is_through
        return settled and not self.scheduler.workers and told and not self.strays()

    # ---- what there is

    def jobs(self) -> dict[str, Job]:
        """All records, as they are: no request of anybody's."""
        found = (from_item(item) for (_, sk), item in self.table.items.items() if sk == "JOB")
        return {job.id: job for job in found}

    def job(self, job_id: str) -> Job | None:
        pk = job_key(job_id)["pk"]["S"]
        item = self.table.items.get((pk, "JOB"))
        return from_item(item) if item else None

    def is_gone(self, job_id: str) -> bool:
        """Whether no caller sees it any more."""
        job = self.job(job_id)
        return job is None or job.is_deleted

    def strays(self) -> set[str]:
        """Jobs of ours that should not be in the cluster: without a record, or stopped."""
        jobs = self.jobs()
        wanted = {job_id for job_id, job in jobs.items() if job.status != "stopped" and not job.is_deleted}
        return self.cluster.names(label_test(f"{labels.INSTANCE}=trainyard")) - wanted

    # ---- wiring

    def container(self, function: str) -> Container:
        """A new process of that function."""
        self._containers += 1
        number = self._containers
        parts = Container(self.settings)
        wrong = timedelta(seconds=self.clocks[function])
        parts.clock = lambda: self.scheduler.now + wrong
        vars(parts).update(sleep=self.scheduler.sleep, aside=in_turn)
        parts.new_job_id = self._new_job_id
        options = StoreOptions(table="jobs", counter_shards=parts.settings.counter_shards)
        dynamo = self.wire.client("dynamodb", self.dynamo, _described)
        api = KubernetesApi(self.kubernetes, 5.0)
        cluster = KubernetesCluster(api, parts.settings.instance)
        events = self.wire.client("eventbridge", self.bus)
        metrics = Metrics(parts.settings.instance, self.printed)
        vars(parts).update(
            metrics=metrics,
            store=DynamoStore(
                dynamo, options, clock=parts.clock, sleep=parts.sleep, random=Random(f"{number}")
            ),
            clusters=lambda _: cluster,
            objects=S3Objects(lambda: self.wire.client("s3", self.s3)),
            kick=self._kick,
            together=map,
            state_changes=StateChanges(EventBridge("trainyard", events), metrics.moved),
            repair_bus=EventBridge("trainyard", events).repairs,
            news=lambda follows: OneThread(follows, self.scheduler.sleep),
        )
        return parts

    def kubernetes(self) -> SimulatedClient:
        """A sign-in to the cluster."""
        return SimulatedClient(self.cluster, self.wire, lambda: self.disorder)

    def _start(
        self, function: str, work: Callable[[Container], Any], then: Callable[[Worker], None] = lambda _: None
    ) -> Worker:
        warm = self._warm[function]
        container = warm.pop() if warm else self.container(function)

        def ended(worker: Worker) -> None:
            if not worker.dead:
                warm.append(container)
            then(worker)

        worker = self.scheduler.start(function, lambda: work(container), ended)
        self.ledger.process_of[worker] = container
        self.scheduler.after(TIMEOUTS[function], lambda: self.scheduler.kill(worker))
        return worker

    def _queue(self, function: str, handler: Handler, logical_name: str) -> Queue:
        def call(event: dict[str, Any], then: Callable[[Worker], None]) -> None:
            self.invoke(function, handler, event, then)

        return Queue(self.scheduler, policy_of(logical_name), call)

    def _told(self, detail: Mapping[str, Any]) -> None:
        """The bus's rule for jobs that came as files."""
        if str(detail["source"]).startswith("s3://"):
            self.upload_changes.send({"detail": detail})

    def _kick(self) -> None:
        vendor = Vendor("lambda", lambda trouble: FunctionUnavailable(str(trouble)), lambda do: (do(), do()))
        self.wire.carry(
            vendor,
            "invoke sync",
            True,
            lambda: self.scheduler.after(0.05, lambda: self.start_sync(kick=True)),
        )

    def _minute(self) -> None:
        self.scheduler.after(60, self._minute)
        self.start_sync()

    def _new_job_id(self, now: datetime) -> str:
        self._jobs += 1
        milliseconds = int(now.timestamp() * 1000)
        return (
            f"job-{ULID.from_bytes(milliseconds.to_bytes(6, 'big') + self._jobs.to_bytes(10, 'big'))}".lower()
        )


@cache
def _settings() -> Settings:
    return load({"TRAINYARD_SYNC_FUNCTION": "sync", "TRAINYARD_COUNTER_SHARDS": "2"})


def _described(operation: str, request: Mapping[str, Any]) -> str:
    """Which kinds of items an operation is about."""
    actions = [one for action in request.get("TransactItems", ()) for one in action.values()] or [request]
    items = [action.get("Key") or action.get("Item") for action in actions]
    kinds = [
        item["pk" if item["sk"]["S"] == "TOTAL" else "sk"]["S"].partition("#")[0] for item in items if item
    ]
    return " ".join([operation, *dict.fromkeys(kinds)])
