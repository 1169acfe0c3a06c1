"""The sample of a tenant's namespace: Trainyard may work there and nowhere else, and its jobs fit in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chalicelib.bootstrap import Container
from chalicelib.domain.job import Resources
from chalicelib.domain.manifest import manifests
from chalicelib.domain.pools import Pool
from chalicelib.settings import load
from tests import builders
from tests.functional.kubernetes.clusters import Cluster, Obj, RealCluster, wait_for
from tests.functional.kubernetes.parity.test_parity_roles import CALLS, SHIPPER, documents, may, rename

# What the embedded cluster has none of.
REAL_ONLY = ("ResourceQuota", "LimitRange", "NetworkPolicy")


@pytest.fixture(scope="module")
def suffix(cluster: Cluster) -> Iterator[str]:
    """The roles, without the bindings that are left out by label, under names of this run's own."""
    ours = f"-{uuid.uuid4().hex[:8]}"
    roles = [rename(body, ours) for body in documents("rbac.yaml", "terminal.yaml") if is_role(body)]
    text = yaml.safe_dump_all(roles)
    cluster.kubectl("apply", "-l", "!trainyard.dev/everywhere", "-f", "-", stdin=text)
    yield ours
    cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text)


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, suffix: str) -> Iterator[str]:
    """tenant.yaml is applied, for a tenant of this run's own and with its roles."""
    tenant = f"t{suffix}"
    bodies = [
        yaml.safe_load(yaml.safe_dump(body).replace("acme", tenant)) for body in documents("tenant.yaml")
    ]
    bound = [rename(body, suffix) if body["kind"] == "RoleBinding" else body for body in bodies]
    known = [body for body in bound if isinstance(cluster, RealCluster) or body["kind"] not in REAL_ONLY]
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(known))
    yield f"trainyard-{tenant}"
    cluster.core.delete_namespace(f"trainyard-{tenant}")


def is_role(body: Obj) -> bool:
    return body["kind"] in ("ClusterRole", "ClusterRoleBinding")


def submit(cluster: Cluster, namespace: str, job_id: str, cpu: int) -> str:
    """A job of Trainyard's; the path of the Kubernetes Job."""
    pool = Pool(id="p", cluster="c", namespace=namespace, priority_classes=False)
    spec = builders.spec(
        pool="p",
        image=cluster.image,
        command=["true"],
        resources=Resources(cpu=cpu, memory=64 * 1024**2, gpu=0),
    )
    (body,) = manifests(builders.job(id=job_id, spec=spec), pool, Container(load({})).manifest)
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    code, answer = cluster.request("POST", path, body)
    assert code == 201, answer
    return f"{path}/{job_id}"


@pytest.mark.parametrize("identity", sorted(CALLS.keys() - {SHIPPER}))
def test_each_identity_has_its_calls_in_the_tenants_namespace_and_none_elsewhere(
    cluster: Cluster, suffix: str, namespace: str, identity: str
) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#rolebinding-and-clusterrolebinding"""
    for verb, resource in CALLS[identity]:
        here, there = ("-n", namespace), ("-n", "default")
        group = identity + suffix
        answers = may(cluster, group, verb, resource, *here), may(cluster, group, verb, resource, *there)
        assert answers == ("yes", "no"), (verb, resource)


def test_a_job_fits_into_what_a_tenant_may_have(cluster: Cluster, namespace: str) -> None:
    """https://kubernetes.io/docs/concepts/policy/resource-quotas/"""
    path = submit(cluster, namespace, "job-fits", 1)
    job = wait_for(lambda: finished(cluster, path), what="the job to succeed")
    assert job is not None and job["status"]["succeeded"] == 1


def test_a_job_that_is_too_large_says_so(cluster: Cluster, namespace: str) -> None:
    """https://kubernetes.io/docs/concepts/policy/limit-range/"""
    if not isinstance(cluster, RealCluster):
        pytest.skip("the embedded cluster has no LimitRange")
    submit(cluster, namespace, "job-large", 97)
    query = "fieldSelector=involvedObject.name=job-large"

    def why() -> list[str]:
        events: Any = cluster.request("GET", f"/api/v1/namespaces/{namespace}/events?{query}")[1]["items"]
        return [event["message"] for event in events if event["type"] == "Warning"]

    assert "maximum cpu usage per Container is 96" in wait_for(why, what="a warning")[0]


def finished(cluster: Cluster, path: str) -> Obj | None:
    job: Obj = cluster.request("GET", path)[1]
    return job if job["status"].get("succeeded") or job["status"].get("failed") else None
