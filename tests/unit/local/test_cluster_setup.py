"""What the pump makes in a cluster before the outbox needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.cluster.api import AlreadyExists
from chalicelib.errors import ClusterRejected, ClusterUnavailable
from chalicelib.settings import Settings, load
from infra.local import config
from infra.local.cluster_setup import (
    KNOWN_SECONDS,
    REST_SECONDS,
    ROLES,
    ClusterSetup,
    as_admin,
    grant_role,
)

POOLS = {
    "default": {"cluster": "home"},
    "shared": {"cluster": "away", "namespace": "training"},
}


PLURALS = {
    "Namespace": "/api/v1/namespaces",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


class FakeCluster:
    """Remembers what was created; `trouble` is raised instead."""

    def __init__(self) -> None:
        self.calls = 0
        self.objects: list[tuple[str, str]] = []  # kind and name
        self.patched: list[str] = []
        self.trouble: Exception | None = None

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        self.calls += 1
        if self.trouble:
            raise self.trouble
        if (body["kind"], body["metadata"]["name"]) in self.objects:
            raise AlreadyExists
        assert path.endswith(PLURALS[body["kind"]])
        self.objects.append((body["kind"], body["metadata"]["name"]))

    def patch(self, path: str, body: Mapping[str, Any]) -> None:
        assert path == f"{PLURALS[body['kind']]}/{body['metadata']['name']}"
        self.patched.append(body["kind"])

    @property
    def namespaces(self) -> list[str]:
        return [name for kind, name in self.objects if kind == "Namespace"]


class World:
    """Two clusters, a setup and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.clusters = {"home": FakeCluster(), "away": FakeCluster()}
        self.setup = ClusterSetup(
            settings(), connect=lambda known: self.clusters[known["context"]], clock=lambda: self.now
        )

    @property
    def home(self) -> FakeCluster:
        return self.clusters["home"]


def settings() -> Settings:
    clusters = {name: {"context": name} for name in ("home", "away")}
    return load({"TRAINYARD_POOLS": json.dumps(POOLS), "TRAINYARD_CLUSTERS": json.dumps(clusters)})


def record(tenant: str, pool: str = "default", reason: str = "Accepted") -> dict[str, Any]:
    image = {"tenant": {"S": tenant}, "pool": {"S": pool}, "reason": {"S": reason}}
    return {"dynamodb": {"NewImage": image}}


@pytest.fixture
def world() -> World:
    return World()


def test_a_cluster_on_eks_is_left_to_its_admin(tmp_path: Path) -> None:
    local = config.load({"TRAINYARD_HOME": str(tmp_path)})
    with pytest.raises(ClusterUnavailable, match="admin"):
        as_admin(local, 1)({"eks": "prod"})


def test_a_tenants_namespace_is_made_once(world: World) -> None:
    world.setup.ensure_namespaces([record("acme"), record("acme"), record("umbrella")])
    calls = world.home.calls
    world.setup.ensure_namespaces([record("acme")])
    assert world.home.namespaces == ["trainyard-acme", "trainyard-umbrella"]
    assert world.home.calls == calls


def test_it_is_made_in_the_pools_own_cluster_under_the_pools_own_name(world: World) -> None:
    world.setup.ensure_namespaces([record("acme", pool="shared")])
    assert world.clusters["away"].namespaces == ["training"]
    assert world.home.namespaces == []


def test_one_that_a_job_misses_is_made_again_at_once(world: World) -> None:
    world.setup.ensure_namespaces([record("acme")])
    world.home.objects.remove(("Namespace", "trainyard-acme"))
    world.setup.ensure_namespaces([record("acme", reason="NamespaceMissing")])
    assert world.home.namespaces == ["trainyard-acme"]


def test_one_that_was_there_long_ago_is_looked_after_again(world: World) -> None:
    world.setup.ensure_namespaces([record("acme")])
    world.home.objects.remove(("Namespace", "trainyard-acme"))
    world.now += KNOWN_SECONDS + 1
    world.setup.ensure_namespaces([record("acme")])
    assert world.home.namespaces == ["trainyard-acme"]


@pytest.mark.parametrize("trouble", [ClusterUnavailable("down"), ClusterRejected("forbidden")])
def test_a_clusters_trouble_is_not_the_pumps_and_is_left_alone_for_a_while(
    world: World, trouble: Exception
) -> None:
    world.home.trouble = trouble
    world.setup.ensure_namespaces([record("acme"), record("umbrella"), record("acme", pool="shared")])
    assert world.home.calls == 1
    assert world.clusters["away"].namespaces == ["training"]
    world.home.trouble = None
    world.now += REST_SECONDS + 1
    world.setup.ensure_namespaces([])
    assert world.home.namespaces == ["trainyard-acme", "trainyard-umbrella"], "though no record asks again"


def test_priority_classes_come_first_and_once(world: World) -> None:
    world.setup.ensure_namespaces([record("acme")])
    assert world.home.objects[:11] == [("PriorityClass", f"trainyard-{level}") for level in range(11)]
    calls = world.home.calls
    world.setup.ensure_priority_classes()
    assert world.home.calls == calls


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(None, id="a removal"),
        pytest.param({"pk": {"S": "LEASE#sync"}}, id="no job"),
        pytest.param({"tenant": {"S": "acme"}, "pool": {"S": "gone"}}, id="a pool that is no more"),
    ],
)
def test_what_is_no_new_job_makes_nothing(world: World, image: Any) -> None:
    world.setup.ensure_namespaces([{"dynamodb": {"NewImage": image} if image else {}}])
    assert world.home.namespaces == []


def test_the_roles_are_granted_and_older_ones_brought_up_to_date() -> None:
    cluster = FakeCluster()
    grant_role(lambda: cluster)
    assert cluster.patched == []
    grant_role(lambda: cluster)
    assert sorted(cluster.patched) == ["ClusterRole"] * 3 + ["ClusterRoleBinding"] * 3


def test_only_the_relay_may_exec_into_pods() -> None:
    rules = {
        body["metadata"]["name"]: {resource for rule in body["rules"] for resource in rule["resources"]}
        for file in ROLES
        for body in yaml.safe_load_all(file.read_text())
        if body and body["kind"] == "ClusterRole"
    }
    assert [name for name, resources in rules.items() if "pods/exec" in resources] == ["trainyard-terminal"]


def test_a_cluster_that_does_not_answer_keeps_the_role_it_has() -> None:
    cluster = FakeCluster()
    cluster.trouble = ClusterUnavailable("down")
    grant_role(lambda: cluster)
    assert cluster.calls == 1
    assert cluster.objects == []
