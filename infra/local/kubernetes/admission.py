"""What the real server fills in when an object is written: clients and controllers rely on these defaults."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from infra.local.kubernetes.errors import forbidden
from infra.local.kubernetes.resources import (
    CLAIMS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITIES,
    SECRETS,
    Resource,
)
from infra.local.kubernetes.store import Key, Store

Obj = dict[str, Any]


class Admission:
    def __init__(self, store: Store, volumes: Path) -> None:
        self._store = store
        self._volumes = volumes

    def claim_folder(self, namespace: str, claim: str) -> Path:
        return self._volumes / namespace / claim

    def default(self, resource: Resource, obj: Obj) -> None:
        """What is left out, before the rules are looked at."""
        if resource == PODS:
            _default_pod(obj["spec"])
            obj["spec"].setdefault("restartPolicy", "Always")
        elif resource == JOBS:
            _default_job(obj, obj["spec"])
        elif resource == NAMESPACES:
            metadata = obj["metadata"]
            obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata.get("name", "")
        elif resource == SECRETS:
            obj.setdefault("type", "Opaque")
            if plain := obj.pop("stringData", None):
                encoded = {k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}
                obj["data"] = {**(obj.get("data") or {}), **encoded}
        elif resource == PRIORITIES:
            obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def complete(self, resource: Resource, obj: Obj) -> None:
        """A new object's status, and what of it depends on other objects."""
        if resource == PODS:
            self._set_priority(obj)
            obj["status"] = {"phase": "Pending", "qosClass": _quality(obj["spec"])}
        elif resource == CLAIMS:
            self._bind(obj)
        elif resource == NAMESPACES:
            obj["status"] = {"phase": "Active"}
        elif resource == JOBS or (resource != NODES and "status" in obj):
            obj["status"] = {}

    def _set_priority(self, pod: Obj) -> None:
        name = pod["spec"].get("priorityClassName")
        if name:
            found = self._store.get(Key(PRIORITIES, "", name))
        else:
            found = next((p for p in self._store.each(PRIORITIES) if p.get("globalDefault")), None)
        if name and found is None:
            raise forbidden(PODS, pod["metadata"]["name"], f"no PriorityClass with name {name} was found")
        pod["spec"]["priority"] = found["value"] if found else 0
        pod["spec"]["preemptionPolicy"] = (found or {}).get("preemptionPolicy", "PreemptLowerPriority")

    def _bind(self, claim: Obj) -> None:
        """Every claim is satisfied at once, by a folder that outlives it."""
        metadata, spec = claim["metadata"], claim.setdefault("spec", {})
        self.claim_folder(metadata["namespace"], metadata["name"]).mkdir(parents=True, exist_ok=True)
        spec.setdefault("volumeName", f"pvc-{metadata['uid']}")
        spec.setdefault("volumeMode", "Filesystem")
        spec.setdefault("accessModes", ["ReadWriteMany"])
        capacity = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "1Ti")
        claim["status"] = {
            "phase": "Bound",
            "accessModes": spec["accessModes"],
            "capacity": {"storage": capacity},
        }


def _default_pod(spec: Obj) -> None:
    _fill(
        spec,
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
        enableServiceLinks=True,
    )
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
        image = container.get("image", "")
        moving = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
        _fill(
            container,
            imagePullPolicy="Always" if moving and "@" not in image else "IfNotPresent",
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            resources={},
        )
        if limits := container["resources"].get("limits"):
            container["resources"]["requests"] = {**limits, **(container["resources"].get("requests") or {})}


def _default_job(job: Obj, spec: Obj) -> None:
    uid, name = job["metadata"]["uid"], job["metadata"].get("name", "")
    if "parallelism" not in spec:
        spec.setdefault("completions", 1)
    replacement = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    _fill(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False)
    _fill(spec, podReplacementPolicy=replacement)
    template = spec["template"]
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    if not spec.get("manualSelector"):
        labels = {**own_labels(name, uid), **labels}
        _fill(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    template["metadata"] = {**(template.get("metadata") or {}), "labels": labels}
    if not job["metadata"].get("labels"):
        job["metadata"]["labels"] = dict(labels)
    if template.get("spec"):
        _default_pod(template["spec"])


def _fill(obj: Obj, **defaults: Any) -> None:
    for name, value in defaults.items():
        obj.setdefault(name, value)


def own_labels(name: str, uid: str) -> dict[str, str]:
    """What the pods of a Job are known by."""
    old = {"controller-uid": uid, "job-name": name}
    return old | {f"batch.kubernetes.io/{key}": value for key, value in old.items()}


def _quality(spec: Obj) -> str:
    resources = [c.get("resources") or {} for c in spec["containers"]]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    pairs = [
        ((r.get("requests") or {}).get(n), (r.get("limits") or {}).get(n))
        for r in resources
        for n in ("cpu", "memory")
    ]
    return "Guaranteed" if all(limit and request == limit for request, limit in pairs) else "Burstable"
