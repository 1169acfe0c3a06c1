"""What an owner leaves behind is deleted after it (or before it, when asked), and namespaces are emptied."""

from __future__ import annotations

from typing import Any

from infra.local.kubernetes.controller import Controller
from infra.local.kubernetes.registry import BACKGROUND, FOREGROUND, Registry, key_of
from infra.local.kubernetes.resources import ALL, BY_KIND, NAMESPACES
from infra.local.kubernetes.store import Change, Key, renewed

Obj = dict[str, Any]


class GarbageCollector:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._waiting: dict[str, Key] = {}  # owners that go after their dependents, by uid
        self.controller: Controller[tuple[str, str]] = Controller("garbage-collector", self._collect)

    def start(self) -> None:
        self._store.subscribe(self._on_change)
        self.controller.start()
        for resource in ALL:
            for obj in self._store.each(resource):
                self._look_at(obj)
                for owner in obj["metadata"].get("ownerReferences") or []:
                    self.controller.enqueue(("owner", owner["uid"]))

    def _on_change(self, change: Change) -> None:
        metadata = change.obj["metadata"]
        if change.type == "DELETED":
            self._waiting.pop(metadata["uid"], None)
            self.controller.enqueue(("owner", metadata["uid"]))
            if metadata.get("namespace"):
                self.controller.enqueue(("namespace", metadata["namespace"]))
        if change.type != "MODIFIED":
            for owner in metadata.get("ownerReferences") or []:
                self.controller.enqueue(("owner", owner["uid"]))
        else:
            self._look_at(change.obj)

    def _look_at(self, obj: Obj) -> None:
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp") and obj["kind"] == NAMESPACES.kind:
            self.controller.enqueue(("namespace", metadata["name"]))
        elif FOREGROUND in metadata.get("finalizers", []):
            resource = BY_KIND[obj["apiVersion"], obj["kind"]]
            self._waiting[metadata["uid"]] = key_of(resource, metadata.get("namespace", ""), metadata["name"])
            self.controller.enqueue(("owner", metadata["uid"]))

    def _collect(self, key: tuple[str, str]) -> None:
        what, name = key
        if what == "namespace":
            self._empty(name)
        else:
            self._collect_from(name)

    def _collect_from(self, uid: str) -> None:
        dependents = self._store.owned(uid)
        owner = self._owner(uid, dependents)
        if owner is not None and FOREGROUND not in owner["metadata"].get("finalizers", []):
            return
        for key, obj in dependents:
            owners = (r for r in obj["metadata"]["ownerReferences"] if r["uid"] != uid)
            if not any(self._exists(obj, r) for r in owners):
                self._delete(key, obj)
        if owner is not None and not self._store.owned(uid):
            left = [name for name in owner["metadata"]["finalizers"] if name != FOREGROUND]
            resource = BY_KIND[owner["apiVersion"], owner["kind"]]
            self._registry.write(resource, renewed(owner, {"finalizers": left}))

    def _delete(self, key: Key, obj: Obj) -> None:
        if not obj["metadata"].get("deletionTimestamp"):
            self._registry.delete(*key, BACKGROUND)

    def _owner(self, uid: str, dependents: list[tuple[Any, Obj]]) -> Obj | None:
        for _, obj in dependents:
            for reference in obj["metadata"]["ownerReferences"]:
                if reference["uid"] == uid:
                    return self._exists(obj, reference)
        key = self._waiting.get(uid)
        return self._store.get(key) if key else None

    def _exists(self, dependent: Obj, reference: Obj) -> Obj | None:
        resource = BY_KIND.get((reference["apiVersion"], reference["kind"]))
        if resource is None:
            return dependent  # a kind that is not known here is given the benefit of the doubt
        namespace = dependent["metadata"].get("namespace", "")
        found = self._store.get(key_of(resource, namespace, reference["name"]))
        return found if found and found["metadata"]["uid"] == reference["uid"] else None

    def _empty(self, namespace: str) -> None:
        found = self._store.get(key_of(NAMESPACES, "", namespace))
        if found is None or not found["metadata"].get("deletionTimestamp"):
            return
        namespaced = [r for r in ALL if r.namespaced]
        for resource in namespaced:
            for obj in list(self._store.each(resource, namespace)):
                self._delete(key_of(resource, namespace, obj["metadata"]["name"]), obj)
        if not any(next(self._store.each(r, namespace), None) for r in namespaced):
            self._store.remove(key_of(NAMESPACES, "", namespace))
