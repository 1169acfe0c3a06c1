"""The Cluster port on a real Kubernetes API."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from chalicelib.aside import Aside, in_turn
from chalicelib.cluster import observe
from chalicelib.cluster.api import AlreadyExists, KubernetesApi, NotFoundInCluster
from chalicelib.cluster.changes import changes, is_ahead
from chalicelib.cluster.podlogs import PodLogs
from chalicelib.cluster.watch import PoolWatch
from chalicelib.domain import labels
from chalicelib.domain.events import Event
from chalicelib.domain.manifest import CONTAINER
from chalicelib.domain.observed import Pod, Workload
from chalicelib.domain.pools import Pool
from chalicelib.errors import (
    ClusterForbids,
    ClusterRejected,
    ClusterUnavailable,
    NamespaceMissing,
)
from chalicelib.services.cluster_ports import ExecCall, Happened

log = logging.getLogger(__name__)

_PATHS = {"Job": ("/apis/batch/v1", "jobs"), "Service": ("/api/v1", "services")}


class KubernetesCluster:
    """One cluster, seen by one Trainyard: `instance` is the label that tells its objects from others'."""

    def __init__(self, api: KubernetesApi, instance: str, aside: Aside = in_turn) -> None:
        self._api = api
        self._aside = aside
        self._instance = instance
        self.logs = PodLogs(api)
        self._followed: set[str] = set()  # paths whose versions are known to be this cluster's

    def submit(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        job, *others = manifests
        # What the Job needs comes before it, and is the Job's own as soon as there is one.
        standing = [self._create(other) for other in others]
        try:
            owner = self._create(job)
        except (ClusterRejected, ClusterForbids):
            for other in others:
                self._delete(other["kind"], job["metadata"]["namespace"], other["metadata"]["name"])
            raise
        for other in standing:
            self._own(other, owner, job)

    def delete(self, namespace: str, name: str) -> None:
        self._delete("Job", namespace, name)

    def force_delete(self, namespace: str, pods: Sequence[str]) -> None:
        for name in pods:
            with suppress(NotFoundInCluster):
                self._api.delete(f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0})

    def watch(self, pool: Pool) -> PoolWatch:
        where = "" if pool.spans_tenants else f"/namespaces/{pool.namespace}"
        own = f"{labels.INSTANCE}={self._instance},{labels.POOL}={pool.id},{labels.JOB}"
        return PoolWatch(self._api, where, own, self._warning, self._aside)

    def workload(self, namespace: str, job_id: str) -> Workload | None:
        try:
            job = self._api.get(_path("Job", namespace, job_id))
        except NotFoundInCluster:
            return None
        if not self._is_ours(job):
            return None
        pods = self.pods(namespace, job_id)
        warning = self._warning(namespace, job_id) if _waits_for_pods(job) and not pods else None
        return observe.workload(job, pods, warning)

    def pods(self, namespace: str, job_id: str) -> Sequence[Pod]:
        own = f"{labels.INSTANCE}={self._instance},{labels.JOB}={job_id}"
        found = self._api.items(f"/api/v1/namespaces/{namespace}/pods", _labelled(own))
        return observe.oldest_first(map(observe.pod, found))

    def pod(self, namespace: str, job_id: str, name: str) -> Pod | None:
        try:
            found = self._api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        except NotFoundInCluster:
            return None
        own = found["metadata"].get("labels") or {}
        return observe.pod(found) if self._is_ours(found) and own[labels.JOB] == job_id else None

    def exec_call(self, namespace: str, pod: str, command: Sequence[str], *, tty: bool) -> ExecCall:
        streams = ("stdin", "stdout", "tty") if tty else ("stdout", "stderr")
        query = [("container", CONTAINER), *((stream, "true") for stream in streams)]
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        return self._api.exec_call(path, [*query, *(("command", word) for word in command)])

    def happened(self, namespace: str | None, position: str | None, seconds: float) -> Iterator[Happened]:
        path = f"/api/v1/namespaces/{namespace}/events" if namespace else "/api/v1/events"
        if position and path not in self._followed and is_ahead(self._api, path, position):
            position = None
        self._followed.add(path)
        for news in changes(self._api, path, position, seconds):
            yield Happened(list(_events(news.objects)), news.version)

    def _create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        kind, metadata = manifest["kind"], manifest["metadata"]
        namespace = metadata["namespace"]
        try:
            return self._api.create(_path(kind, namespace), manifest)
        except NotFoundInCluster as error:
            raise NamespaceMissing(namespace) from error
        except AlreadyExists:
            standing = self._standing(kind, namespace, metadata["name"])
        if not self._is_ours(standing):
            raise ClusterRejected(f"{kind} {metadata['name']!r} exists already and is not this Trainyard's")
        return standing

    def _standing(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        try:
            return self._api.get(_path(kind, namespace, name))
        except NotFoundInCluster as error:
            raise ClusterUnavailable(f"{kind} {name!r} was deleted while it was created") from error

    def _delete(self, kind: str, namespace: str, name: str) -> None:
        try:
            self._api.delete(_path(kind, namespace, name), {"propagationPolicy": "Foreground"})
        except NotFoundInCluster:
            return

    def _own(self, value: Mapping[str, Any], owner: Mapping[str, Any], job: Mapping[str, Any]) -> None:
        metadata = value["metadata"]
        if metadata.get("ownerReferences"):
            return
        reference = {
            "apiVersion": job["apiVersion"],
            "kind": job["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
        }
        try:
            path = _path("Service", metadata["namespace"], metadata["name"])
            self._api.patch(path, {"metadata": {"ownerReferences": [reference]}})
        except NotFoundInCluster as error:
            raise ClusterUnavailable(f"{metadata['name']!r} was deleted while its job was created") from error

    def _is_ours(self, value: Mapping[str, Any]) -> bool:
        own = value["metadata"].get("labels") or {}
        return own.get(labels.INSTANCE) == self._instance and labels.JOB in own

    def _events_of(self, namespace: str, name: str) -> Iterator[dict[str, Any]]:
        query = {"fieldSelector": f"involvedObject.name={name}"}
        return self._api.items(f"/api/v1/namespaces/{namespace}/events", query)

    def _warning(self, namespace: str, name: str) -> str | None:
        found = [observe.event(item) for item in self._events_of(namespace, name)]
        told = [event for event in found if event.type == "Warning"]
        return max(told, key=lambda event: event.timestamp).message if told else None


def _events(objects: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Event]]:
    """Each with its namespace. One that cannot be read is left out: it must not be in the others' way."""
    for value in objects:
        try:
            yield value["metadata"]["namespace"], observe.event(value)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
            log.exception("an Event that cannot be read: %.500s", value)


def _path(kind: str, namespace: str, name: str = "") -> str:
    group, plural = _PATHS[kind]
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def _labelled(selector: str) -> dict[str, str]:
    return {"labelSelector": selector}


def _waits_for_pods(job: Mapping[str, Any]) -> bool:
    status = job.get("status") or {}
    return not status.get("conditions") and not (job.get("spec") or {}).get("suspend")
