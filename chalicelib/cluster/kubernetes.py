"""The Cluster port on a real Kubernetes API."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.cluster import observe
from chalicelib.cluster.api import AlreadyExists, KubernetesApi, NotFoundInCluster
from chalicelib.domain import labels
from chalicelib.domain.manifest import CONTAINER
from chalicelib.domain.observed import Workload
from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterRejected, NamespaceMissing, PodNotFound
from chalicelib.services.ports import Event

LOG_BYTES = 8 * 1024**2  # of one pod, a request; a Lambda's answer ends at 6 MB anyway
WARNINGS = 20  # Jobs without pods whose Events one list looks up
EVENTS_OF = 20  # objects whose Events one call looks up

_PATHS = {"Job": ("/apis/batch/v1", "jobs"), "Service": ("/api/v1", "services")}


class KubernetesCluster:
    """One cluster, seen by one Trainyard: `instance` is the label that tells its objects from others'."""

    def __init__(self, api: KubernetesApi, instance: str) -> None:
        self._api = api
        self._instance = instance

    def submit(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        owner: dict[str, Any] | None = None
        for manifest in manifests:
            metadata = {**manifest["metadata"], **({"ownerReferences": [owner]} if owner else {})}
            standing = self._create({**manifest, "metadata": metadata})
            owner = owner or {
                "apiVersion": manifest["apiVersion"],
                "kind": manifest["kind"],
                "name": standing["metadata"]["name"],
                "uid": standing["metadata"]["uid"],
            }

    def delete(self, namespace: str, name: str) -> None:
        try:
            self._api.delete(_path("Job", namespace, name), {"propagationPolicy": "Foreground"})
        except NotFoundInCluster:
            return

    def workloads(self, pool: Pool) -> Iterator[Workload]:
        where = "" if pool.spans_tenants else f"/namespaces/{pool.namespace}"
        selector = {"labelSelector": f"{labels.INSTANCE}={self._instance},{labels.POOL}={pool.id}"}
        jobs = list(self._api.items(f"/apis/batch/v1{where}/jobs", selector))
        pods: defaultdict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for pod in self._api.items(f"/api/v1{where}/pods", selector):
            pods[_key(pod)].append(pod)
        warnings = WARNINGS
        for job in jobs:
            warning = None
            if warnings and _waits_for_pods(job) and not pods[_key(job)]:
                warning, warnings = self._warning(job), warnings - 1
            yield observe.workload(job, pods[_key(job)], warning)

    def workload(self, namespace: str, job_id: str) -> Workload | None:
        try:
            job = self._api.get(_path("Job", namespace, job_id))
        except NotFoundInCluster:
            return None
        if not self._is_ours(job):
            return None
        selector = {"labelSelector": f"{labels.INSTANCE}={self._instance},{labels.JOB}={job_id}"}
        pods = list(self._api.items(f"/api/v1/namespaces/{namespace}/pods", selector))
        warning = self._warning(job) if _waits_for_pods(job) and not pods else None
        return observe.workload(job, pods, warning)

    def log_tail(self, namespace: str, pod: str, lines: int) -> Sequence[tuple[str, str]]:
        query = {"container": CONTAINER, "tailLines": lines, "timestamps": "true", "limitBytes": LOG_BYTES}
        try:
            text = self._api.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query)
        except NotFoundInCluster as error:
            raise PodNotFound(pod) from error
        except ClusterRejected:
            return ()  # 400: the container has not started
        return [_stamped(line) for line in text.removesuffix("\n").split("\n") if line]

    def events(self, namespace: str, names: Sequence[str]) -> Sequence[Event]:
        found = [
            observe.event(item)
            for name in (*names[:1], *names[1:][-EVENTS_OF:])
            for item in self._events_of(namespace, name)
        ]
        return sorted(found, key=lambda event: event.timestamp)

    def _create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        kind, metadata = manifest["kind"], manifest["metadata"]
        namespace = metadata["namespace"]
        try:
            return self._api.create(_path(kind, namespace), manifest)
        except NotFoundInCluster as error:
            raise NamespaceMissing(namespace) from error
        except AlreadyExists:
            standing = self._api.get(_path(kind, namespace, metadata["name"]))
        if not self._is_ours(standing):
            raise ClusterRejected(f"{kind} {metadata['name']!r} exists already and is not this Trainyard's")
        return standing

    def _is_ours(self, value: Mapping[str, Any]) -> bool:
        own = value["metadata"].get("labels") or {}
        return own.get(labels.INSTANCE) == self._instance and labels.JOB in own

    def _events_of(self, namespace: str, name: str) -> Iterator[dict[str, Any]]:
        query = {"fieldSelector": f"involvedObject.name={name}"}
        return self._api.items(f"/api/v1/namespaces/{namespace}/events", query)

    def _warning(self, job: Mapping[str, Any]) -> str | None:
        namespace, name = _key(job)
        found = [observe.event(item) for item in self._events_of(namespace, name)]
        told = [event for event in found if event.type == "Warning"]
        return max(told, key=lambda event: event.timestamp).message if told else None


def _path(kind: str, namespace: str, name: str = "") -> str:
    group, plural = _PATHS[kind]
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def _key(value: Mapping[str, Any]) -> tuple[str, str]:
    metadata = value["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(labels.JOB, metadata["name"])


def _waits_for_pods(job: Mapping[str, Any]) -> bool:
    status = job.get("status") or {}
    return not status.get("conditions") and not (job.get("spec") or {}).get("suspend")


def _stamped(line: str) -> tuple[str, str]:
    stamp, _, text = line.partition(" ")
    return stamp, text
