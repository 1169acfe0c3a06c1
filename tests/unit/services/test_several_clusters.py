"""Pools of several clusters are watched side by side: trouble with one is not the others'."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.aside import Aside, in_a_thread, in_turn
from chalicelib.domain.observed import Outcome
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable
from chalicelib.services.feed import Feed
from chalicelib.services.outbox import Outbox
from chalicelib.services.reconcile import Reconciler
from chalicelib.services.submission import Stamps, Submission
from chalicelib.services.sync import LEASE, Sync
from infra.local.processes import wait_until
from tests.builders import NAMESPACE, ended_pod, later, running_pod
from tests.fake_cluster import FakeCluster
from tests.unit.services.conftest import ADA, MANIFEST, REQUEST, Yard
from tests.unit.services.test_watching import at_turn, both
from tests.unit.store.support import a_job

POOLS = {
    "near": Pool(id="near", cluster="one"),
    "far": Pool(id="far", cluster="two"),
    "far-gpu": Pool(id="far-gpu", cluster="two", queues=("research",)),
}


class Yards:
    """One Trainyard over two clusters and three pools."""

    def __init__(self, yard: Yard, aside: Aside = in_turn) -> None:
        self.yard = yard
        self.one, self.two = FakeCluster(NAMESPACE), FakeCluster(NAMESPACE)
        numbers = iter(range(1, 100))
        self.submission = Submission(
            yard.store, POOLS, {}, MANIFEST, Stamps(yard.clock, lambda _: a_job(next(numbers)).id)
        )
        self.outbox = Outbox(
            Reconciler(yard.store, POOLS, self.cluster_of, MANIFEST, yard.clock),
            yard.store,
            lambda: None,
            yard.clock,
        )
        store = yard.store.fenced(LEASE, "me")
        feed = Feed(store, POOLS, self.cluster_of, yard.clock, yard.clock.move)
        pace = replace(yard.pace("me"), feed=feed, aside=aside)
        reconciler = Reconciler(store, POOLS, self.cluster_of, MANIFEST, yard.clock)
        self.sync = Sync(reconciler, store, POOLS, self.cluster_of, yard.clock, pace)

    def cluster_of(self, pool: Pool) -> FakeCluster:
        return {"one": self.one, "two": self.two}[pool.cluster]

    def run(self, pool: str) -> str:
        job_id = self.submission.submit(ADA, replace(REQUEST, pool=pool)).id
        self.outbox.deliver([job_id])
        return job_id


@pytest.fixture
def yards(yard: Yard) -> Yards:
    return Yards(yard)


def down() -> None:
    raise ClusterUnavailable("connection refused")


def test_a_job_goes_to_the_cluster_of_its_pool(yards: Yards) -> None:
    near, far, gpu = (yards.run(pool) for pool in POOLS)
    assert (yards.one.created, yards.two.created) == ([near], [far, gpu])


def test_changes_of_all_clusters_are_applied_by_one_run(yards: Yards) -> None:
    near, far = yards.run("near"), yards.run("far")

    def start() -> None:
        yards.one.show(near, running_pod())
        yards.two.show(far, running_pod())

    def end() -> None:
        yards.one.show(near, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
        yards.two.show(far, ended_pod(1), outcome=Outcome.FAILED, finished_at=later(9))

    yards.one.before["watch"] = both(at_turn(2, start), at_turn(4, end))
    yards.sync.run(yards.yard.seconds(60))
    assert (yards.yard.says(near)[0], yards.yard.says(far)[0]) == ("succeeded", "failed")
    assert yards.one.calls["workloads"] == 1, "it was watched, and not listed again"


def test_pools_are_listed_side_by_side_and_settled_as_their_lists_come(yard: Yard) -> None:
    yards = Yards(yard, in_a_thread)
    near, far = yards.run("near"), yards.run("far")
    yards.one.show(near, running_pod())
    yards.two.show(far, running_pod())
    waited: list[bool] = []

    def keeps_waiting() -> None:
        waited.append(wait_until(lambda: yard.says(near)[0] == "running", 30))
        down()

    yards.two.before["workloads"] = keeps_waiting
    assert yards.sync.look()
    assert waited == [True, True], "for both pools of that cluster"
    assert yard.says(far)[0] == "pending", "nobody could look"


@pytest.mark.parametrize("call", ["workloads", "watch"])
def test_a_cluster_that_is_down_holds_up_no_other(yards: Yards, call: str) -> None:
    near, far = yards.run("near"), yards.run("far")
    yards.two.before = dict.fromkeys((call, "watch", "workload", "submit"), down)

    def end() -> None:
        yards.one.show(near, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))

    yards.one.before["watch"] = at_turn(2, end)
    yards.sync.run(yards.yard.seconds(30))
    assert yards.yard.says(near)[0] == "succeeded"
    assert yards.yard.says(far)[0] == "pending", "nobody could look"
    yards.two.before.clear()
    yards.two.show(far, running_pod())
    yards.sync.run(yards.yard.seconds(30))
    assert yards.yard.says(far)[0] == "running"
