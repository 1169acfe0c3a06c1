"""Does for a local cluster what an admin does for a real one: priority classes, a namespace per tenant, and
on the embedded cluster the role that Trainyard's functions have."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from chalicelib.cluster.api import AlreadyExists, KubernetesApi
from chalicelib.errors import ClusterRejected, ClusterUnavailable
from chalicelib.settings import Settings
from infra.local.config import REPO, Local

PRIORITY_CLASSES = REPO / "infra" / "kubernetes" / "priority-classes.yaml"
ROLES = (REPO / "infra" / "kubernetes" / "rbac.yaml", REPO / "infra" / "kubernetes" / "terminal.yaml")
ROLE_KINDS = ("ClusterRole", "ClusterRoleBinding")
KNOWN_SECONDS = 300.0
# A cluster that does not answer may take its whole timeout to say so; the outbox is not to wait each time.
REST_SECONDS = 10.0
NAMESPACE_MISSING = "NamespaceMissing"

log = logging.getLogger("trainyard.pump")


class Api(Protocol):
    """What is needed of a cluster's API."""

    def create(self, path: str, body: Mapping[str, Any]) -> Any: ...
    def patch(self, path: str, body: Mapping[str, Any]) -> None: ...


class ClusterSetup:
    """Makes what jobs need in the clusters of the pools. Nothing here raises: a job says why it waits."""

    def __init__(
        self,
        settings: Settings,
        connect: Callable[[Mapping[str, str]], Api],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._apis: dict[str, Api] = {}
        self._known: dict[tuple[str, str], float] = {}  # (cluster, namespace) → until when we believe it
        self._owed: set[tuple[str, str]] = set()  # (cluster, namespace) that is yet to be created
        self._resting: dict[str, float] = {}  # cluster → until when we leave it alone
        self._without_classes = {pool.cluster for pool in settings.pools.values()}

    def ensure_priority_classes(self) -> None:
        """Apply infra/kubernetes/priority-classes.yaml to the clusters that have not had it yet."""
        for cluster in sorted(self._without_classes):
            path = "/apis/scheduling.k8s.io/v1/priorityclasses"
            if all(self._created(cluster, path, body) for body in _documents(PRIORITY_CLASSES)):
                self._without_classes.discard(cluster)

    def ensure_namespaces(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Create the namespace of every job in these stream records, unless it was there a moment ago; and
        those that could not be created before: no record may come that asks for them again."""
        self.ensure_priority_classes()
        for cluster, namespace, is_missing in self._wanted(records):
            if is_missing or self._clock() >= self._known.get((cluster, namespace), 0.0):
                self._owed.add((cluster, namespace))
        for cluster, namespace in sorted(self._owed):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            if self._created(cluster, "/api/v1/namespaces", body):
                self._known[cluster, namespace] = self._clock() + KNOWN_SECONDS
                self._owed.discard((cluster, namespace))

    def _wanted(self, records: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, bool]]:
        wanted = set()
        for record in records:
            image = record["dynamodb"].get("NewImage") or {}
            tenant, pool = _text(image, "tenant"), self._settings.pools.get(_text(image, "pool"))
            if tenant and pool is not None:
                is_missing = _text(image, "reason") == NAMESPACE_MISSING
                wanted.add((pool.cluster, pool.namespace_of(tenant), is_missing))
        return wanted

    def _created(self, cluster: str, path: str, body: Mapping[str, Any]) -> bool:
        """Whether the object is there now."""
        if self._clock() < self._resting.get(cluster, 0.0):
            return False
        name = f"{body['kind']} {body['metadata']['name']}"
        try:
            self._api(cluster).create(path, body)
            log.info("cluster %s: created %s", cluster, name)
        except AlreadyExists:
            pass
        except (ClusterUnavailable, ClusterRejected) as error:
            log.warning("cluster %s: no %s yet: %s", cluster, name, error)
            self._resting[cluster] = self._clock() + REST_SECONDS
            return False
        return True

    def _api(self, cluster: str) -> Api:
        if cluster not in self._apis:
            known = self._settings.clusters.get(cluster)
            if known is None:
                raise ClusterUnavailable("not configured")
            self._apis[cluster] = self._connect(known)
        return self._apis[cluster]


def as_admin(local: Local, timeout_seconds: float) -> Callable[[Mapping[str, str]], KubernetesApi]:
    """Connects to a configured cluster; to the embedded one as its admin."""

    def connect(cluster: Mapping[str, str]) -> KubernetesApi:
        if "eks" in cluster:
            raise ClusterUnavailable("on EKS it is an admin's to make: see docs/deploying.md")
        path = cluster.get("kubeconfig")
        if path == local.service_kubeconfig:
            path = local.kubeconfig
        return KubernetesApi.from_kubeconfig(path, cluster.get("context"), timeout_seconds)

    return connect


def grant_role(connect: Callable[[], Api]) -> None:
    """Apply the roles of the functions and of the terminal relay, also over older ones. A cluster that does
    not answer keeps the roles that it was given when it first did."""
    try:
        api = connect()
        for body in (body for file in ROLES for body in _documents(file) if body["kind"] in ROLE_KINDS):
            path = f"/apis/{body['apiVersion']}/{body['kind'].lower()}s"
            try:
                api.create(path, body)
            except AlreadyExists:
                api.patch(f"{path}/{body['metadata']['name']}", body)
    except (ClusterUnavailable, ClusterRejected) as error:
        log.warning("the roles were not applied: %s", error)


def _documents(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    with file.open(encoding="utf-8") as stream:
        return [document for document in yaml.safe_load_all(stream) if document]


def _text(image: Mapping[str, Any], name: str) -> str:
    return str((image.get(name) or {}).get("S") or "")
