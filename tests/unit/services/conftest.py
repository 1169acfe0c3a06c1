"""The services on the real store (moto, in process) and a cluster in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.census import Load
from chalicelib.domain.manifest import ManifestSettings
from chalicelib.domain.pools import Pool
from chalicelib.domain.repair import Repaired
from chalicelib.errors import BusUnavailable
from chalicelib.services.caller import Caller, Role
from chalicelib.services.feed import Feed
from chalicelib.services.jobs import Jobs
from chalicelib.services.outbox import Outbox
from chalicelib.services.reconcile import Reconciler
from chalicelib.services.repairs import Repairs
from chalicelib.services.submission import JobRequest, Stamps, Submission
from chalicelib.services.sync import LEASE, Pace, Sync
from tests.builders import NAMESPACE, POOL
from tests.fake_cluster import FakeCluster
from tests.fake_watch import Wire
from tests.unit.store.benches import bench, new_bench  # noqa: F401 (fixtures)
from tests.unit.store.conftest import client  # noqa: F401 (a fixture)
from tests.unit.store.support import Bench, a_job

POOLS = {POOL.id: POOL}
MANIFEST = ManifestSettings(instance="t", finished_job_ttl_seconds=60, stop_grace_seconds=5)
ADA = Caller("acme", "ada", frozenset({Role.MEMBER}))
REQUEST = JobRequest(name="train", image="python", command=["python", "train.py"])


@dataclass
class SyncMetered:
    """What the sync noted."""

    loaded: list[Sequence[Load]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)

    def loads(self, loads: Sequence[Load], at: datetime) -> None:  # noqa: ARG002 (the port's)
        self.loaded.append(loads)

    def unreachable(self, pool: str, why: str, at: datetime) -> None:  # noqa: ARG002 (the port's)
        self.failures.append((pool, why))


@dataclass
class Yard:
    """A whole Trainyard in one process, with its clock in the test's hands."""

    bench: Bench
    cluster: FakeCluster = field(default_factory=lambda: FakeCluster(NAMESPACE))
    kicks: int = 0
    metered: list[Repaired] = field(default_factory=list)
    noted: SyncMetered = field(default_factory=SyncMetered)
    published: list[Repaired] = field(default_factory=list)
    bus_is_down: bool = False

    def __post_init__(self) -> None:
        self.store, self.clock = self.bench.store, self.bench.clock
        self._numbers = iter(range(1, 1000))
        self.jobs = Jobs(self.store, self.clock)
        self.submission = Submission(
            self.store,
            POOLS,
            {"pytorch": "torch"},
            MANIFEST,
            Stamps(self.clock, lambda _: a_job(next(self._numbers)).id),
        )
        self.reconciler = Reconciler(self.store, POOLS, self.cluster, MANIFEST, self.clock)
        self.outbox = Outbox(self.reconciler, self.store, self._kick, self.clock)
        self.sync = self.another_sync("me")

    def another_sync(self, holder: str, **changes: Any) -> Sync:
        store = self.store.fenced(LEASE, holder)
        pace = self.pace(holder, **changes)
        repairs = Repairs(store, self.metered.append, self._bus, self.clock)
        reconciler = Reconciler(store, POOLS, self.cluster, MANIFEST, self.clock, repairs)
        return Sync(reconciler, store, POOLS, self.cluster, self.clock, pace)

    def pace(self, holder: str, pools: Mapping[str, Pool] = POOLS, interval: float = 2) -> Pace:
        return Pace(
            interval=timedelta(seconds=interval),
            lease=timedelta(seconds=20),
            holder=holder,
            sleep=self.clock.move,
            feed=Feed(self.store.fenced(LEASE, holder), pools, self.cluster, self.clock, self.clock.move),
            news=lambda follows: Wire(follows, self.clock.move),
            meter=self.noted,
        )

    def submit(self) -> str:
        return self.submission.submit(ADA, REQUEST).id

    def run(self) -> str:
        """A job that was submitted and handed to the cluster."""
        job_id = self.submit()
        self.outbox.deliver([job_id])
        return job_id

    def seconds(self, left: float) -> Callable[[], float]:
        """What a Lambda of that much time has left, by the test's clock."""
        end = self.clock() + timedelta(seconds=left)
        return lambda: (end - self.clock()).total_seconds()

    def says(self, job_id: str) -> tuple[str, str]:
        job = self.jobs.get(ADA, job_id)
        return job.status, job.reason

    def _bus(self, repairs: Sequence[Repaired]) -> Sequence[bool]:
        if self.bus_is_down:
            raise BusUnavailable("no answer")
        self.published += repairs
        return [True] * len(repairs)

    def _kick(self) -> None:
        self.kicks += 1


@pytest.fixture
def yard(bench: Bench) -> Yard:  # noqa: F811
    return Yard(bench)
