"""The nodes of the cluster: every pod bound to one of them gets a runner here, once."""

from __future__ import annotations

import asyncio
import fnmatch
import platform
from itertools import cycle
from pathlib import Path
from typing import Any

from infra.local.kubernetes.errors import conflict
from infra.local.kubernetes.launch import hosts_lines, log_folder
from infra.local.kubernetes.podstatus import set_condition
from infra.local.kubernetes.process import Process, remove_tree
from infra.local.kubernetes.recorder import Recorder
from infra.local.kubernetes.registry import DeleteOptions, Registry, finished
from infra.local.kubernetes.resources import CLAIMS, CONFIGMAPS, NODES, PODS, SECRETS, SERVICES, VERSION
from infra.local.kubernetes.runner import PodRunner
from infra.local.kubernetes.settings import NodeShape, Settings
from infra.local.kubernetes.store import Change, Key, clone, renewed
from infra.local.kubernetes.values import now, stamp

Obj = dict[str, Any]
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
UNREACHABLE = "node.kubernetes.io/unreachable"
_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID"),
    ("Ready", "True", "KubeletReady"),
)


class Node:
    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry = registry
        self.recorder = Recorder(registry, "kubelet")
        self.settings = settings
        self._runners: dict[str, PodRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._numbers = cycle(range(2, 2**16))  # of addresses
        self._taken: set[str] = set()
        self._accepting = True
        self.unpullable: list[str] = []  # patterns of images, besides the settings'
        self._lost: set[str] = set()

    def start(self) -> None:
        for shape in self.settings.nodes:
            self._register(shape)
        for pod in list(self.registry.store.each(PODS)):
            self._consider(pod)
        self._end_strangers()
        self.registry.store.subscribe(self._on_change)

    async def shut_down(self) -> None:
        self._accepting = False
        for runner in self._runners.values():
            runner.shut_down(self.settings.shutdown_grace)
        if self._tasks:
            await asyncio.gather(*self._tasks.values())

    def image_is_missing(self, image: str) -> bool:
        patterns = (*self.settings.missing_images, *self.unpullable)
        return any(fnmatch.fnmatch(image, pattern) for pattern in patterns)

    def faults(self) -> Obj:
        return {"lostNodes": sorted(self._lost), "unpullableImages": self.unpullable}

    def lose(self, name: str) -> None:
        """As when a machine loses its power: its processes end, and nobody is there to say so."""
        self.registry.get(NODES, "", name)
        self._lost.add(name)
        self._mark(name, lost=True)
        for runner in self._runners.values():
            if runner.pod["spec"]["nodeName"] == name:
                runner.lose()
        for pod in [p for p in self.registry.store.each(PODS) if p["spec"].get("nodeName") == name]:
            if not finished(pod):
                self._give_up(pod)

    def restore(self) -> None:
        """Nodes come back and find what became of their pods; images can be pulled again."""
        lost, self._lost = self._lost, set()
        self.unpullable.clear()
        for name in lost:
            self._mark(name, lost=False)
        for pod in list(self.registry.store.each(PODS)):
            self._consider(pod)
        for runner in self._runners.values():
            runner.poke()

    def evict(self, pod: Obj) -> None:
        """As a kubelet does that runs out of memory."""
        runner = self._runners.get(pod["metadata"]["uid"])
        if runner is None:
            raise conflict(PODS, pod["metadata"]["name"], "it does not run")
        runner.evict()

    def _mark(self, name: str, *, lost: bool) -> None:
        node = clone(self.registry.get(NODES, "", name))
        others = [t for t in node["spec"].get("taints") or [] if t["key"] != UNREACHABLE]
        added = [{"key": UNREACHABLE, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
        node["spec"]["taints"] = [*others, *(added if lost else [])]
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        if lost:
            ready |= {"status": "Unknown", "reason": "NodeStatusUnknown"}
            ready["message"] = "Kubelet stopped posting node status."
            words = f"Node {name} status is now: NodeNotReady"
            self.recorder.record(node, "NodeNotReady", words)
        set_condition(node["status"], ready)
        self.registry.write(NODES, node)

    def _give_up(self, pod: Obj) -> None:
        """What the taint manager does to pods on a node that is out of reach; they stay until it is back."""
        metadata, told = pod["metadata"], renewed(pod, status={**pod["status"]})
        message = f"Taint manager: deleting due to NoExecute taint {UNREACHABLE}"
        target = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
        ready = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
        for condition in ({**target, "message": message}, ready):
            set_condition(told["status"], condition)
        self.registry.write(PODS, told)
        self.registry.delete(PODS, metadata["namespace"], metadata["name"])

    def run_folder(self, pod: Obj, container: str, *, previous: bool = False) -> Path | None:
        """That of the container's latest run (or the one before); None when there is none."""
        folder = self.settings.state / "pods" / pod["metadata"]["uid"] / "containers" / container
        try:
            attempts = sorted(int(run.name) for run in folder.iterdir() if (run / "started").exists())
        except FileNotFoundError:
            return None
        attempts = attempts[:-1] if previous else attempts
        return folder / str(attempts[-1]) if attempts else None

    def still_writes(self, pod: Obj, log: Path) -> bool:
        return not (log.parent / "exit.json").exists() and pod["metadata"]["uid"] in self._runners

    def _on_change(self, change: Change) -> None:
        if change.key.resource == PODS:
            if change.type == "DELETED":
                self._forget(change.obj)
            else:
                self._consider(change.obj)
        elif change.key.resource == SERVICES:
            for runner in self._runners.values():
                self._write_hosts(runner)
        elif change.key.resource in (CONFIGMAPS, SECRETS, CLAIMS):
            for runner in self._runners.values():
                runner.poke()

    def _consider(self, pod: Obj) -> None:
        metadata = pod["metadata"]
        runner = self._runners.get(metadata["uid"])
        if pod["spec"].get("nodeName") in self._lost:
            return
        if runner is None and self._accepting and pod["spec"].get("nodeName") and not finished(pod):
            runner = PodRunner(self, pod, pod["status"].get("podIP") or self._free_address())
            self._runners[metadata["uid"]] = runner
            self._taken.add(runner.address)
            task = asyncio.get_running_loop().create_task(self._live(runner, pod))
            self._tasks[metadata["uid"]] = task
            self._write_hosts(runner)
        if runner is not None and metadata.get("deletionTimestamp"):
            runner.stop(metadata.get("deletionGracePeriodSeconds", 0))

    async def _live(self, runner: PodRunner, pod: Obj) -> None:
        metadata = pod["metadata"]
        try:
            await runner.run()
        finally:
            self._runners.pop(metadata["uid"], None)
            self._taken.discard(runner.address)
            self._tasks.pop(metadata["uid"], None)
        if runner.lost:
            return
        last = self.registry.store.get(Key(PODS, metadata["namespace"], metadata["name"]))
        if last is None or last["metadata"]["uid"] != metadata["uid"]:
            runner.remove()
        elif last["metadata"].get("deletionTimestamp"):
            self.registry.delete(PODS, metadata["namespace"], metadata["name"], DeleteOptions(grace=0))

    def _write_hosts(self, runner: PodRunner) -> None:
        """Pods of one headless Service know each other by name, each in its own /etc/hosts."""
        subdomain, namespace = runner.pod["spec"].get("subdomain"), runner.pod["metadata"]["namespace"]
        if not subdomain or self.registry.store.get(Key(SERVICES, namespace, subdomain)) is None:
            runner.write_hosts([])
            return
        together = [r for r in self._runners.values() if r.pod["metadata"]["namespace"] == namespace]
        peers = [r for r in together if r.pod["spec"].get("subdomain") == subdomain]
        lines = [line for r in peers for line in hosts_lines(r.pod, r.address, service=True)]
        for peer in peers:
            peer.write_hosts(lines)

    def _forget(self, pod: Obj) -> None:
        """The object is gone: by force while its processes run, or at its proper end."""
        self._drop_later(log_folder(self.settings, pod))
        runner = self._runners.get(pod["metadata"]["uid"])
        if runner is not None:
            runner.stop(0)
        else:
            self.registry.store.settle()
            remove_tree(self.settings.state / "pods" / pod["metadata"]["uid"])

    def _drop_later(self, logs: Path) -> None:
        """Not at once: whoever ships them reads them to the end first."""
        asyncio.get_running_loop().call_later(self.settings.log_keep, remove_tree, logs)

    def _end_strangers(self) -> None:
        """Folders of pods that were deleted by force just before the cluster died."""
        root = self.settings.state / "pods"
        known = {pod["metadata"]["uid"] for pod in self.registry.store.each(PODS)}
        for folder in root.iterdir():
            if folder.name not in known:
                task = asyncio.get_running_loop().create_task(self._end_stranger(folder))
                self._tasks[folder.name] = task
        for logs in self.settings.pod_logs.iterdir():
            if logs.name.rpartition("_")[2] not in known:
                self._drop_later(logs)

    async def _end_stranger(self, folder: Path) -> None:
        for attempt in folder.glob("containers/*/*"):
            process = Process(attempt)
            process.stop(0)
            await process.wait()
        remove_tree(folder)
        self._tasks.pop(folder.name, None)

    def _free_address(self) -> str:
        addresses = (f"127.1.{number >> 8}.{number & 255}" for number in self._numbers)
        return next(address for address in addresses if address not in self._taken)

    def _register(self, shape: NodeShape) -> None:
        key = Key(NODES, "", shape.name)
        old = self.registry.store.get(key)
        fresh = {"metadata": {"name": shape.name}}
        node = clone(old) if old else self.registry.create(NODES, "", fresh, dry_run=True)
        node["metadata"]["labels"] = {**(node["metadata"].get("labels") or {}), **_labels(shape)}
        taints = [*shape.taints, *(node.get("spec", {}).get("taints") or [])]
        kept = {(t["key"], t["effect"]): t for t in taints if t["key"] != UNREACHABLE}
        node["spec"] = {**(node.get("spec") or {}), "taints": list(kept.values())}
        self.registry.store.put(key, {**node, "status": _status(shape)})


def _labels(shape: NodeShape) -> dict[str, str]:
    own = {"hostname": shape.name, "os": "linux", "arch": _ARCHITECTURE}
    return {**{f"kubernetes.io/{key}": value for key, value in own.items()}, **shape.labels}


def _status(shape: NodeShape) -> Obj:
    amounts = {"cpu": shape.cpu, "memory": shape.memory, "pods": "11000", "ephemeral-storage": "1Ti"}
    if shape.gpu:
        amounts["nvidia.com/gpu"] = str(shape.gpu)
    version = VERSION["gitVersion"]
    info = dict.fromkeys(("machineID", "bootID", "systemUUID"), "")
    info |= {
        "kubeletVersion": version,
        "kubeProxyVersion": version,
        "containerRuntimeVersion": "processes://1",
    }
    info |= {"operatingSystem": "linux", "architecture": _ARCHITECTURE}
    info |= {"osImage": platform.platform(terse=True), "kernelVersion": platform.release()}
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": shape.name}]
    status = {"capacity": amounts, "allocatable": amounts, "nodeInfo": info, "addresses": addresses}
    for kind, state, reason in _CONDITIONS:
        about = {"reason": reason, "message": reason, "lastHeartbeatTime": stamp(now())}
        set_condition(status, {"type": kind, "status": state, **about})
    return status
