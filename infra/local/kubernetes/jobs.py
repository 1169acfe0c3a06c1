"""The Job controller: load, decide, apply."""

from __future__ import annotations

from typing import Any

from infra.local.kubernetes.controller import Controller
from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.jobdecide import INDEX, Plan, decide
from infra.local.kubernetes.recorder import Recorder
from infra.local.kubernetes.registry import TRACKING, DeleteOptions, Registry, key_of
from infra.local.kubernetes.resources import JOBS, PODS
from infra.local.kubernetes.store import Change, clone, renewed
from infra.local.kubernetes.values import now, random_suffix

Obj = dict[str, Any]
JobKey = tuple[str, str, str]  # namespace, name, uid
COMPONENT = "job-controller"
RETRY = 5.0  # seconds until a pod that was refused is tried again


class JobController:
    def __init__(self, registry: Registry, backoff: float) -> None:
        self._registry = registry
        self._store = registry.store
        self._recorder = Recorder(registry, COMPONENT)
        self._backoff = backoff
        self.controller: Controller[JobKey] = Controller(COMPONENT, self._reconcile)

    def start(self) -> None:
        self._store.subscribe(self._on_change)
        self.controller.start()
        for resource in (JOBS, PODS):
            for obj in self._store.each(resource):
                self._enqueue(obj)

    def _on_change(self, change: Change) -> None:
        if change.key.resource in (JOBS, PODS):
            self._enqueue(change.obj)

    def _enqueue(self, obj: Obj) -> None:
        metadata = obj["metadata"]
        if obj["kind"] == JOBS.kind:
            self.controller.enqueue((metadata["namespace"], metadata["name"], metadata["uid"]))
        for owner in metadata.get("ownerReferences") or []:
            if owner["kind"] == JOBS.kind and owner.get("controller"):
                self.controller.enqueue((metadata["namespace"], owner["name"], owner["uid"]))

    def _reconcile(self, key: JobKey) -> float | None:
        namespace, name, uid = key
        job = self._store.get(key_of(JOBS, namespace, name))
        pods = [obj for k, obj in self._store.owned(uid) if k.resource == PODS]
        if job is None or job["metadata"]["uid"] != uid:
            self._release(pods)
            return None
        plan = decide(job, pods, now(), self._backoff)
        if plan.remove:
            self._registry.delete(JOBS, namespace, name, DeleteOptions("Foreground"))
            return None
        return self._apply(job, pods, plan)

    def _apply(self, job: Obj, pods: list[Obj], plan: Plan) -> float | None:
        by_name = {p["metadata"]["name"]: p for p in pods}
        namespace = job["metadata"]["namespace"]
        with self._store.transaction():
            self._release([by_name[name] for name in plan.release])
            self._registry.write(JOBS, renewed(job, status=plan.status))
        for reason, message, warning in plan.events:
            self._recorder.record(job, reason, message, warning=warning)
        for name in plan.delete:
            self._registry.delete(PODS, namespace, name)
            self._recorder.record(job, "SuccessfulDelete", f"Deleted pod: {name}")
        for index in plan.create:
            try:
                # Its fields are those of the template, which were looked at when the Job was written.
                made = self._registry.create(PODS, namespace, pod_of(job, index), ours=True)
            except ApiError as error:
                why = f"Error creating: {error.message}"
                self._recorder.record(job, "FailedCreate", why, warning=True)
                return RETRY
            name = made["metadata"]["name"]
            self._recorder.record(job, "SuccessfulCreate", f"Created pod: {name}")
        return plan.again

    def _release(self, pods: list[Obj]) -> None:
        for pod in pods:
            finalizers = pod["metadata"].get("finalizers", [])
            if TRACKING in finalizers:
                left = [name for name in finalizers if name != TRACKING]
                self._registry.write(PODS, renewed(pod, {"finalizers": left}))


def pod_of(job: Obj, index: int | None) -> Obj:
    metadata, template = job["metadata"], clone(job["spec"]["template"])
    base = metadata["name"] if index is None else f"{metadata['name']}-{index}"
    owner = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    own, spec = template.get("metadata") or {}, template["spec"]
    labels, annotations = own.get("labels") or {}, own.get("annotations") or {}
    if index is not None:
        labels[INDEX] = annotations[INDEX] = str(index)
        spec.setdefault("hostname", base)
        field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}
        variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": field}}
        for container in [*spec["containers"], *(spec.get("initContainers") or [])]:
            if not any(entry["name"] == variable["name"] for entry in container.get("env") or []):
                container["env"] = [*(container.get("env") or []), variable]
    made = {
        "name": f"{base[:57]}-{random_suffix()}",
        "generateName": f"{base[:57]}-",
        "labels": labels,
        "annotations": annotations,
        "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        "finalizers": sorted({*own.get("finalizers", []), TRACKING}),
    }
    return {"metadata": made, "spec": spec}
