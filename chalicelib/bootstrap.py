"""The only wiring point. Everything is built on first use and kept for the life of the Lambda container."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from chalicelib.aside import Aside, in_a_thread
from chalicelib.settings import Settings, load

if TYPE_CHECKING:
    from chalicelib.api.tokens import TokenVerifier
    from chalicelib.aws_session import AwsSession
    from chalicelib.cluster.sign_in import MakeSignIn
    from chalicelib.domain.manifest import ManifestSettings
    from chalicelib.metrics import Metrics
    from chalicelib.services.cluster_ports import Clusters, Follow, LogArchive, News
    from chalicelib.services.events import Events
    from chalicelib.services.jobs import Jobs
    from chalicelib.services.logs import Logs
    from chalicelib.services.object_ports import Objects
    from chalicelib.services.outbox import Outbox
    from chalicelib.services.ports import JobStore, Kick, RepairBus, Together
    from chalicelib.services.reconcile import Reconciler
    from chalicelib.services.repairs import Repairs
    from chalicelib.services.state_changes import StateChanges
    from chalicelib.services.status_files import StatusFiles
    from chalicelib.services.submission import Submission
    from chalicelib.services.sync import Sync
    from chalicelib.services.terminals import Redemption, Terminals
    from chalicelib.services.ticket_ports import Tickets
    from chalicelib.services.uploads import Uploads
    from chalicelib.traces import Traces

SUBMITTED_TOGETHER = 8  # the pools of connections, to the table and to a cluster, hold as many

# ruff: noqa: PLC0415 (what a function does not use, it does not import)


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_job_id(now: datetime) -> str:
    """`job-` and a lower-case ULID: 26 characters that sort by time and are fit for a Kubernetes name."""
    from ulid import ULID

    return f"job-{ULID.from_datetime(now)}".lower()


class Container:
    """The parts of one process. A test builds one with its own settings and overrides parts by attribute."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = utc_now
        self.sleep = time.sleep
        self.aside: Aside = in_a_thread
        self.new_job_id = new_job_id

    @cached_property
    def aws_session(self) -> AwsSession:
        from chalicelib.aws_models import PlainItems
        from chalicelib.aws_session import AwsSession

        return AwsSession(PlainItems())

    @cached_property
    def store(self) -> JobStore:
        from random import SystemRandom

        from chalicelib.store.connect import dynamo_client
        from chalicelib.store.dynamo import DynamoStore, StoreOptions

        options = StoreOptions(
            table=self.settings.jobs_table,
            idempotency_seconds=self.settings.idempotency_seconds,
            event_retention_seconds=self.settings.event_retention_days * 24 * 3600,
            counter_shards=self.settings.counter_shards,
            aside=self.aside,
        )
        client = dynamo_client(self.aws_session)
        return DynamoStore(client, options, clock=self.clock, sleep=self.sleep, random=SystemRandom())

    @cached_property
    def clusters(self) -> Clusters:
        from chalicelib.cluster.connect import ConnectedClusters

        def eks(cluster: Mapping[str, str]) -> MakeSignIn:
            from chalicelib.aws import hasty_client
            from chalicelib.eks import EksSignIn

            return EksSignIn(cluster, self.clock, self.aws_session, partial(hasty_client, self.aws_session))

        settings = self.settings
        return ConnectedClusters(
            settings.clusters,
            settings.instance,
            settings.cluster_timeout_seconds,
            eks,
            self.traces.call,
            self.aside,
        )

    @cached_property
    def manifest(self) -> ManifestSettings:
        from chalicelib.domain.manifest import ManifestSettings

        return ManifestSettings(
            instance=self.settings.instance,
            finished_job_ttl_seconds=self.settings.finished_job_ttl_seconds,
            stop_grace_seconds=self.settings.stop_grace_seconds,
            bundle_image=self.settings.bundle_image,
            bundle_env=self.settings.bundle_env,
            unpack=Path(__file__).with_name("unpack.py").read_text(),
        )

    @cached_property
    def submission(self) -> Submission:
        from chalicelib.services.submission import Stamps, Submission

        settings = self.settings
        stamps = Stamps(self.clock, self.new_job_id, self.traces.here)
        return Submission(self.store, settings.pools, settings.images, self.manifest, stamps)

    @cached_property
    def objects(self) -> Objects:
        from chalicelib.aws import client
        from chalicelib.objects import S3Objects

        return S3Objects(partial(client, self.aws_session, "s3"))

    @cached_property
    def status_files(self) -> StatusFiles:
        from chalicelib.services.status_files import StatusFiles

        return StatusFiles(self.store, self.objects, self.settings.api_url)

    @cached_property
    def uploads(self) -> Uploads:
        from chalicelib.api.job_files import JobFiles
        from chalicelib.services.bundles import Bundles
        from chalicelib.services.uploads import Uploads

        bundles = Bundles(self.objects, self.sleep)
        files = JobFiles(self.settings)
        return Uploads(self.status_files, self.objects, self.submission, files, bundles, self.clock)

    @cached_property
    def jobs(self) -> Jobs:
        from chalicelib.services.jobs import Jobs

        return Jobs(self.store, self.clock, self.traces.here)

    @cached_property
    def events(self) -> Events:
        from chalicelib.services.events import Events

        return Events(self.jobs, self.store)

    @cached_property
    def archive(self) -> LogArchive:
        from chalicelib.cloudwatch import CloudWatchArchive, logs_client
        from chalicelib.services.shared_archive import SharedArchive

        archive = CloudWatchArchive(self.settings.log_group, partial(logs_client, self.aws_session))
        return SharedArchive(archive, self.store, self.clock, self.sleep)

    @cached_property
    def logs(self) -> Logs:
        from chalicelib.services.logs import Logs, Pace

        pace = Pace(shipping=timedelta(seconds=self.settings.log_shipping_seconds), sleep=self.sleep)
        return Logs(self.jobs, self.settings.pools, self.clusters, self.archive, self.clock, pace)

    @cached_property
    def tickets(self) -> Tickets:
        from chalicelib.tickets import SignedTickets

        settings = self.settings
        secret = settings.terminal_secret
        if not secret and settings.terminal_secret_arn:
            from chalicelib.aws import client
            from chalicelib.aws import secret as read_secret

            secret = read_secret(client(self.aws_session, "secretsmanager"), settings.terminal_secret_arn)
        return SignedTickets(secret, self.clock, lambda: uuid.uuid4().hex)

    @cached_property
    def terminals(self) -> Terminals:
        from chalicelib.services.terminals import Terminals

        settings = self.settings
        url = settings.terminal_url if settings.terminal_secret or settings.terminal_secret_arn else ""
        return Terminals(self.jobs, settings.pools, self.clusters, self.tickets, url)

    @cached_property
    def redemption(self) -> Redemption:
        from chalicelib.services.terminals import Redemption

        return Redemption(self.store, self.settings.pools, self.clusters, self.tickets, self.clock)

    @cached_property
    def tokens(self) -> TokenVerifier:
        from chalicelib.api.tokens import TokenVerifier

        return TokenVerifier(self.settings, self.clock)

    @cached_property
    def reconciler(self) -> Reconciler:
        return self._reconciler(self.store)

    @cached_property
    def kick(self) -> Kick:
        if not self.settings.sync_function:
            return lambda: None
        from chalicelib.aws import LambdaKick, client

        return LambdaKick(self.settings.sync_function, partial(client, self.aws_session, "lambda"))

    @cached_property
    def outbox(self) -> Outbox:
        from chalicelib.services.outbox import Outbox

        return Outbox(self.reconciler, self.store, self.kick, self.clock, self.traces.follow, self.together)

    @cached_property
    def together(self) -> Together:
        from chalicelib.services.side_by_side import SideBySide

        return SideBySide(SUBMITTED_TOGETHER)

    @cached_property
    def metrics(self) -> Metrics:
        from chalicelib.metrics import Metrics

        return Metrics(self.settings.instance)

    @cached_property
    def traces(self) -> Traces:
        from chalicelib.traces import Traces

        return Traces(f"{self.settings.instance}-outbox", os.environ, self.clock, lambda: os.urandom(8).hex())

    @cached_property
    def state_changes(self) -> StateChanges:
        from chalicelib.aws import EventBridge, client
        from chalicelib.services.state_changes import StateChanges

        bus = EventBridge(self.settings.state_change_bus, client(self.aws_session, "events"))
        return StateChanges(bus, self.metrics.moved)

    @cached_property
    def repair_bus(self) -> RepairBus:
        from chalicelib.aws import EventBridge, hasty_client

        if not self.settings.state_change_bus:
            return lambda repairs: [True] * len(repairs)
        return EventBridge(self.settings.state_change_bus, hasty_client(self.aws_session, "events")).repairs

    @cached_property
    def news(self) -> Callable[[Sequence[Follow]], News]:
        from chalicelib.services.newsroom import Newsroom

        return Newsroom

    @cached_property
    def sync(self) -> Sync:
        from chalicelib.services.feed import Feed
        from chalicelib.services.repairs import Repairs
        from chalicelib.services.sync import LEASE, Pace, Sync

        holder = uuid.uuid4().hex
        store = self.store.fenced(LEASE, holder)
        pace = Pace(
            interval=timedelta(seconds=self.settings.sync_interval_seconds),
            lease=timedelta(seconds=self.settings.sync_lease_seconds),
            holder=holder,
            sleep=self.sleep,
            feed=Feed(store, self.settings.pools, self.clusters, self.clock, self.sleep),
            news=self.news,
            meter=self.metrics,
            aside=self.aside,
        )
        # Hardly any run has a repair to tell: the first that has connects to the bus.
        repairs = Repairs(store, self.metrics.repaired, lambda told: self.repair_bus(told), self.clock)
        reconciler = self._reconciler(store, repairs)
        return Sync(reconciler, store, self.settings.pools, self.clusters, self.clock, pace)

    def _reconciler(self, store: JobStore, repairs: Repairs | None = None) -> Reconciler:
        from chalicelib.services.reconcile import Reconciler

        return Reconciler(store, self.settings.pools, self.clusters, self.manifest, self.clock, repairs)


_container: Container | None = None


def container() -> Container:
    """This process's container, built out of the environment on first use."""
    global _container
    if _container is None:
        _container = Container(load(os.environ))
    return _container


@contextmanager
def use(replacement: Container) -> Iterator[Container]:
    """Let `replacement` be the container for a while: for tests."""
    global _container
    before, _container = _container, replacement
    try:
        yield replacement
    finally:
        _container = before


def use_kick(kick: Kick) -> None:
    """Wake the sync function by `kick`: for the embedded stack, where there is no Lambda to invoke."""
    container().kick = kick
