"""Which node a pod goes to, and in whose words it is told that there is none."""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

from infra.local.kubernetes.controller import Controller
from infra.local.kubernetes.podstatus import set_condition
from infra.local.kubernetes.recorder import Recorder
from infra.local.kubernetes.registry import Registry, finished
from infra.local.kubernetes.resources import CLAIMS, NODES, PODS
from infra.local.kubernetes.store import Change, Key, renewed
from infra.local.kubernetes.values import quantity

Obj = dict[str, Any]
Amounts = dict[str, Decimal]
LOOK_AGAIN = 2.0  # for a claim's folder, whose making no event tells


def requests_of(spec: Obj) -> Amounts:
    """The larger of what the containers ask together and what any one init container asks."""
    total: Amounts = {"pods": Decimal(1)}
    for container in spec["containers"]:
        for name, amount in _asked(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in _asked(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _asked(container: Obj) -> Amounts:
    requests = (container.get("resources") or {}).get("requests") or {}
    return {name: quantity(amount) for name, amount in requests.items()}


def obstacles(pod: Obj, node: Obj, free: Amounts) -> list[str]:
    """Why this node will not do; empty when it will. The first kind of obstacle hides the later ones."""
    spec = pod["spec"]
    tolerations = spec.get("tolerations") or []
    if node["spec"].get("unschedulable"):
        return ["node(s) were unschedulable"]
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(t, taint) for t in tolerations):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return ["node(s) didn't match Pod's node affinity/selector"]
    asked = requests_of(spec)
    return [
        f"Insufficient {name}" if name != "pods" else "Too many pods"
        for name, amount in asked.items()
        if amount > 0 and free.get(name, Decimal(0)) < amount
    ]


def _tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    wanted = (taint["key"], taint.get("value", ""))
    return (toleration.get("key"), toleration.get("value", "")) == wanted


def explanation(nodes: int, found: list[list[str]]) -> str:
    if not nodes:
        return "no nodes available to schedule pods"
    counts = Counter(reason for reasons in found for reason in reasons)
    listed = sorted(f"{count} {reason}" for reason, count in counts.items())
    return f"0/{nodes} nodes are available: {', '.join(listed)}."


class Scheduler:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._recorder = Recorder(registry, "default-scheduler")
        self._used: defaultdict[str, Amounts] = defaultdict(dict)  # node → what its pods ask together
        self._waiting: dict[Key, Obj] = {}
        self.controller: Controller[str] = Controller("scheduler", self._pass)

    def start(self) -> None:
        self._store.subscribe(self._on_change)
        for pod in self._store.each(PODS):
            metadata = pod["metadata"]
            self._note(Key(PODS, metadata["namespace"], metadata["name"]), None, pod)
        self.controller.start()
        self.controller.enqueue("all")

    def _on_change(self, change: Change) -> None:
        resource = change.key.resource
        if resource in (NODES, CLAIMS):
            self.controller.enqueue("all")
        elif resource == PODS:
            self._note(change.key, change.old, None if change.type == "DELETED" else change.obj)
            waits = change.type == "ADDED" and not change.obj["spec"].get("nodeName")
            ended = finished(change.obj) and not (change.old and finished(change.old))
            if waits or ended or change.type == "DELETED":
                self.controller.enqueue("all")

    def _pass(self, _: str) -> float | None:
        waiting = sorted(self._waiting.values(), key=_rank)
        if not waiting:
            return None
        nodes = list(self._store.each(NODES))
        free = self._free(nodes)
        again: float | None = None
        for pod in waiting:
            if missing := self._missing_claim(pod):
                again = LOOK_AGAIN
                why = f'persistentvolumeclaim "{missing}" not found'
                self._refuse(pod, f"0/{len(nodes)} nodes are available: {why}.")
            else:
                self._place(pod, nodes, free)
        return again

    def _free(self, nodes: list[Obj]) -> dict[str, Amounts]:
        free: dict[str, Amounts] = {}
        for node in nodes:
            name, amounts = node["metadata"]["name"], node["status"]["allocatable"]
            free[name] = {resource: quantity(amount) for resource, amount in amounts.items()}
            _take(free[name], self._used[name])
        return free

    def _note(self, key: Key, old: Obj | None, new: Obj | None) -> None:
        """Keep who waits and the nodes' sums: to go through all pods for each new one takes long."""
        self._waiting.pop(key, None)
        if new and _waits(new):
            self._waiting[key] = new
        if old and new and _node_of(old) == _node_of(new) and old["spec"] == new["spec"]:
            return
        if new and (node := _node_of(new)):
            _add(self._used[node], requests_of(new["spec"]))
        if old and (node := _node_of(old)):
            _take(self._used[node], requests_of(old["spec"]))

    def _place(self, pod: Obj, nodes: list[Obj], free: dict[str, Amounts]) -> None:
        found = {n["metadata"]["name"]: obstacles(pod, n, free[n["metadata"]["name"]]) for n in nodes}
        fitting = [name for name, reasons in found.items() if not reasons]
        if not fitting:
            self._refuse(pod, explanation(len(nodes), list(found.values())))
            return
        asked = requests_of(pod["spec"])
        chosen = max(fitting, key=lambda name: (_room(free[name], asked), name))
        _take(free[chosen], asked)
        bound = renewed(pod, spec={**pod["spec"], "nodeName": chosen}, status={**pod["status"]})
        set_condition(bound["status"], {"type": "PodScheduled", "status": "True"})
        metadata = pod["metadata"]
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {chosen}"
        self._recorder.record(pod, "Scheduled", message)
        self._registry.write(PODS, bound)

    def _refuse(self, pod: Obj, message: str) -> None:
        told = renewed(pod, status={**pod["status"]})
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        set_condition(told["status"], condition)
        if self._registry.write(PODS, told) is told:
            self._recorder.record(pod, "FailedScheduling", message, warning=True)

    def _missing_claim(self, pod: Obj) -> str:
        """A claim without an object is provisioned when somebody has made its folder."""
        namespace = pod["metadata"]["namespace"]
        for volume in pod["spec"].get("volumes") or []:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if not name or self._store.get(Key(CLAIMS, namespace, name)):
                continue
            if not self._registry.admission.claim_folder(namespace, name).is_dir():
                return str(name)
            self._registry.create(CLAIMS, namespace, {"metadata": {"name": name}, "spec": {}})
        return ""


def _waits(pod: Obj) -> bool:
    ours = pod["spec"]["schedulerName"] == "default-scheduler" and not pod["spec"].get("nodeName")
    return ours and not finished(pod) and not pod["metadata"].get("deletionTimestamp")


def _rank(pod: Obj) -> tuple[int, str, int]:
    metadata = pod["metadata"]
    return -pod["spec"]["priority"], metadata["creationTimestamp"], int(metadata["resourceVersion"])


def _node_of(pod: Obj) -> str:
    """The node whose room the pod takes; empty: none's."""
    return "" if finished(pod) else pod["spec"].get("nodeName") or ""


def _add(used: Amounts, asked: Amounts) -> None:
    for name, amount in asked.items():
        used[name] = used.get(name, Decimal(0)) + amount


def _take(free: Amounts, asked: Amounts) -> None:
    for name, amount in asked.items():
        free[name] = free.get(name, Decimal(0)) - amount


def _room(free: Amounts, asked: Amounts) -> Decimal:
    return min((free.get(n, Decimal(0)) / a for n, a in asked.items() if a), default=Decimal(0))
