"""A stop on a node that is dead comes to its end, with no more rights than Trainyard's role gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chalicelib.cluster.api import KubernetesApi
from chalicelib.cluster.kubernetes import KubernetesCluster
from chalicelib.domain.manifest import ManifestSettings
from chalicelib.domain.pools import Pool
from chalicelib.domain.repair import STUCK, Repair, Repaired
from chalicelib.domain.states import Status
from chalicelib.services.caller import Caller, Role
from chalicelib.services.jobs import Jobs
from chalicelib.services.reconcile import Reconciler
from chalicelib.services.repairs import Repairs
from infra.local.cluster_setup import grant_role
from tests.functional.kubernetes.clusters import EmbeddedCluster, wait_for
from tests.unit.store.benches import bench, new_bench  # noqa: F401 (fixtures)
from tests.unit.store.conftest import client  # noqa: F401 (a fixture)
from tests.unit.store.support import Bench, a_job

POOL = Pool(id="default", cluster="default", priority_classes=False)
ADA = Caller("acme", "ada", frozenset({Role.MEMBER}))
MANIFEST = ManifestSettings(instance="t", finished_job_ttl_seconds=60, stop_grace_seconds=1)


def connected(kubeconfig: str) -> KubernetesApi:
    return KubernetesApi.from_kubeconfig(kubeconfig, None, 5)


def test_a_stop_on_a_dead_node_is_forced_and_says_so(
    fresh: Callable[..., EmbeddedCluster],
    bench: Bench,  # noqa: F811
) -> None:
    embedded = fresh("--user", "trainyard=trainyard")
    embedded.core.create_namespace({"metadata": {"name": "trainyard-acme"}})
    grant_role(lambda: connected(embedded.kubeconfig))
    cluster = KubernetesCluster(connected(str(embedded.state / "kubeconfig-trainyard")), "t")
    store, clock = bench.store, bench.clock
    clock.now = datetime.now(UTC)
    metered: list[Repaired] = []
    repairs = Repairs(store, metered.append, lambda told: [True] * len(told), clock)
    reconciler = Reconciler(store, {"default": POOL}, lambda _: cluster, MANIFEST, clock, repairs)
    job = replace(a_job(spec={"command": ("sleep", "600")}), updated_at=clock.now)
    job_id = store.create(job).id

    def status() -> Status:
        reconciler.look_up(job_id, set())
        job = store.get(job_id)
        assert job is not None
        return job.status

    wait_for(lambda: status() == Status.RUNNING, what="the job to run")
    (node,) = embedded.core.list_node().items
    code, _ = embedded.request("POST", "/control/faults", {"fault": "node-loss", "node": node.metadata.name})
    assert code == 200
    Jobs(store, clock).stop(ADA, job_id)
    assert status() == Status.STOPPING
    (pod,) = cluster.pods("trainyard-acme", job_id)
    assert pod.ends_by is not None

    clock.now = pod.ends_by + STUCK - timedelta(seconds=1)
    assert status() == Status.STOPPING
    assert cluster.pods("trainyard-acme", job_id)
    assert metered == []

    clock.now = pod.ends_by + STUCK
    wait_for(lambda: status() == Status.STOPPED, what="the job to be stopped")
    assert cluster.pods("trainyard-acme", job_id) == ()
    assert [one.kind for one in metered] == [Repair.STUCK_PODS]
    stopped = store.get(job_id)
    assert stopped is not None and f"on node {node.metadata.name}" in stopped.message
