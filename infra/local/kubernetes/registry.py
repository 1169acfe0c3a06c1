"""The one way to write an object: the HTTP side and the controllers obey the same rules here."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from infra.local.kubernetes import errors
from infra.local.kubernetes.admission import Admission
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.fields import check_fields
from infra.local.kubernetes.resources import EVENTS, JOBS, NAMESPACES, PODS, Resource
from infra.local.kubernetes.store import Key, Store, clone, renewed
from infra.local.kubernetes.validation import validate
from infra.local.kubernetes.values import now, random_suffix, stamp

Obj = dict[str, Any]
FOREGROUND = "foregroundDeletion"
TRACKING = "batch.kubernetes.io/job-tracking"  # until its Job has counted the pod
STALE = "the object has been modified; please apply your changes to the latest version and try again"
SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


@dataclass(frozen=True)
class DeleteOptions:
    propagation: str | None = None  # Background, Foreground, Orphan
    grace: int | None = None  # seconds
    preconditions: Obj | None = None
    dry_run: bool = False


BACKGROUND = DeleteOptions("Background")


def key_of(resource: Resource, namespace: str, name: str) -> Key:
    return Key(resource, namespace if resource.namespaced else "", name)


def finished(pod: Obj) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _check_preconditions(resource: Resource, obj: Obj, wanted: Obj) -> None:
    for field, value in wanted.items():
        found = obj["metadata"].get(field)
        if found != value:
            raise errors.failed_precondition(resource, obj["metadata"]["name"], field, value, found)


class Registry:
    def __init__(self, store: Store, admission: Admission) -> None:
        self.store = store
        self.admission = admission

    def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        found = self.store.get(key_of(resource, namespace, name))
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def create(
        self, resource: Resource, namespace: str, obj: Obj, *, dry_run: bool = False, ours: bool = False
    ) -> Obj:
        """The object is the store's from now on, with what is filled in. `ours`: its fields are right."""
        metadata = self._identify(resource, namespace, obj)
        if not ours:
            check_fields(resource, obj)
        self._obey(resource, obj)
        if resource.namespaced:
            self._check_namespace(resource, namespace, metadata["name"])
        key = key_of(resource, namespace, metadata["name"])
        if self.store.get(key) is not None:
            raise errors.already_exists(resource, metadata["name"])
        self.admission.complete(resource, obj)
        return obj if dry_run else self.store.put(key, obj)

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Obj,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Obj:
        """The caller's object replaces the stored one, as far as the caller may say."""
        old = self.get(resource, namespace, name)
        metadata = obj.setdefault("metadata", {})
        version = metadata.get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise errors.conflict(resource, name, STALE)
        _check_preconditions(resource, old, {"uid": metadata["uid"]} if "uid" in metadata else {})
        if metadata.get("name", name) != name:
            words = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            raise ApiError(400, words)
        if subresource == "status":
            new = renewed(old, status=obj.get("status", {}))
            check_fields(resource, new)
        else:
            new = self._merged(resource, obj, old)
            check_fields(resource, new)
            self._obey(resource, new, old)
        return new if dry_run else self.write(resource, new)

    def write(self, resource: Resource, obj: Obj) -> Obj:
        """Store what a controller worked out; an object that only waited for its finalizers goes."""
        metadata = obj["metadata"]
        key = key_of(resource, metadata.get("namespace", ""), metadata["name"])
        held = (
            metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds") or resource == NAMESPACES
        )
        if metadata.get("deletionTimestamp") and not held:
            return self.store.remove(key, obj)
        return self.store.put(key, obj)

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        options: DeleteOptions = DeleteOptions(),
    ) -> Obj:
        old = self.get(resource, namespace, name)
        _check_preconditions(resource, old, options.preconditions or {})
        new = renewed(old)
        metadata = new["metadata"]
        seconds = self._grace(resource, old, options.grace)
        if not metadata.get("deletionTimestamp") or seconds < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = stamp(now() + timedelta(seconds=seconds))
            metadata["deletionGracePeriodSeconds"] = seconds
        propagation = options.propagation
        if propagation is None and resource == JOBS:
            propagation = "Orphan"  # what the real one does for batch/v1, for old clients' sake
        if propagation == "Foreground" and self.store.owned(metadata["uid"]):
            metadata["finalizers"] = sorted({*metadata.get("finalizers", []), FOREGROUND})
        elif FOREGROUND in metadata.get("finalizers", []) and propagation is not None:
            metadata["finalizers"] = [name for name in metadata["finalizers"] if name != FOREGROUND]
        if resource == NAMESPACES:
            new["status"] = {"phase": "Terminating"}
        if options.dry_run:
            return new
        with self.store.transaction():
            if propagation == "Orphan":
                self._let_go(metadata["uid"])
            return self.write(resource, new)

    def _identify(self, resource: Resource, namespace: str, obj: Obj) -> Obj:
        metadata: Obj = obj.setdefault("metadata", {})
        if resource.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                words = (
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
                raise ApiError(400, words)
        else:
            metadata.pop("namespace", None)
        if metadata.get("resourceVersion"):
            raise ApiError(400, "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = str(metadata["generateName"])[:58] + random_suffix()
        for field in SERVER_OWNED:
            metadata.pop(field, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp(now())}
        if resource == JOBS:
            metadata["generation"] = 1
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        return metadata

    def _obey(self, resource: Resource, obj: Obj, old: Obj | None = None) -> None:
        self.admission.default(resource, obj)
        validate(resource, obj, old)

    def _check_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.get(NAMESPACES, "", namespace)
        if found["metadata"].get("deletionTimestamp") and resource != EVENTS:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise errors.forbidden(resource, name, why)

    def _merged(self, resource: Resource, obj: Obj, old: Obj) -> Obj:
        new = clone(obj)
        kept = {f: old["metadata"][f] for f in (*SERVER_OWNED, "name", "namespace") if f in old["metadata"]}
        new["metadata"] = {**{k: v for k, v in new["metadata"].items() if k not in SERVER_OWNED}, **kept}
        new |= {"apiVersion": old["apiVersion"], "kind": old["kind"]}
        if "status" in old:
            new["status"] = old["status"]
        if resource == JOBS and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        return new

    def _grace(self, resource: Resource, old: Obj, asked: int | None) -> int:
        if resource != PODS or finished(old) or not old["spec"].get("nodeName"):
            return 0
        default = old["spec"].get("terminationGracePeriodSeconds", 30)
        return max(0, int(default if asked is None else asked))

    def _let_go(self, uid: str) -> None:
        for key, obj in self.store.owned(uid):
            metadata = obj["metadata"]
            others = [r for r in metadata["ownerReferences"] if r["uid"] != uid]
            left = [f for f in metadata.get("finalizers", []) if f != TRACKING]
            self.write(key.resource, renewed(obj, {"ownerReferences": others, "finalizers": left}))
