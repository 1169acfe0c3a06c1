"""A Kubernetes in memory on the simulated clock: versions, watches, foreground deletion, Jobs, their pods.

What a Job needs is decided by the embedded cluster's own `jobdecide`, which is held against a real
Kubernetes; here are just the objects, and a node whose containers do what a test's Program says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from infra.local.kubernetes.admission import Admission
from infra.local.kubernetes.jobdecide import condition, decide
from infra.local.kubernetes.jobs import pod_of
from infra.local.kubernetes.registry import FOREGROUND, TRACKING
from infra.local.kubernetes.resources import JOBS, PODS
from infra.local.kubernetes.selection import Test
from infra.local.kubernetes.values import stamp
from tests.proof.scheduler import Scheduler

Obj = dict[str, Any]
Key = tuple[str, str, str]  # plural, namespace, name

CONTROLLERS = 0.05  # seconds until they see what changed
STARTS = 0.5  # seconds until a pod's container runs
ENDS = 0.4  # seconds that a container takes to end after SIGTERM


@dataclass(frozen=True, slots=True)
class Program:
    """What a job's containers do: how long each runs, and how each attempt exits (the last one's code again).
    It is in the job's command, so that it goes where the job goes."""

    seconds: float = 10.0
    exits: tuple[int, ...] = (0,)

    @property
    def command(self) -> list[str]:
        return ["run", str(self.seconds), *map(str, self.exits)]

    @classmethod
    def of(cls, pod: Obj) -> Program:
        _, seconds, *exits = pod["spec"]["containers"][0]["command"]
        return cls(float(seconds), tuple(map(int, exits)))


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    type: str
    key: Key
    obj: Obj


class Refusal(Exception):
    """The API's answer is an error."""

    def __init__(self, code: int, reason: str, message: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.status = {"kind": "Status", "code": code, "reason": reason, "message": message or reason}


@dataclass
class SimulatedKubernetes:
    """`made` counts, by their names, all Jobs that ever came to be, `made_late` those that a worker made
    again who had stood still in the middle of a call; `outcomes` knows how each ended."""

    scheduler: Scheduler
    namespaces: set[str] = field(default_factory=set)
    made: Counter[str] = field(default_factory=Counter)
    made_late: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, str] = field(default_factory=dict)
    objects: dict[Key, Obj] = field(default_factory=dict)
    version: int = 1
    tells_of_new_pods: Sequence[str] = ()  # the Events of a pod, beside its Job's
    tells_of_starts: Sequence[str] = ("Started",)
    binds_after: float | None = None  # seconds until a pod has a node; None: when it starts

    def __post_init__(self) -> None:
        self._history: list[Change] = []
        self._floor = self.version
        self._numbers = Counter[str]()
        self._admission = Admission(None, Path())  # type: ignore[arg-type]  # it fills in defaults only
        self._is_due = False

    # ---- what its API does

    def get(self, key: Key) -> Obj:
        if key not in self.objects:
            raise Refusal(404, "NotFound", f"{key[0]} {key[2]!r} not found")
        return deepcopy(self.objects[key])

    def each(self, plural: str, namespace: str = "", test: Test = lambda _: True) -> list[Obj]:
        """Not copies: only to be read."""
        keys = sorted(key for key in self.objects if key[0] == plural and namespace in ("", key[1]))
        return [self.objects[key] for key in keys if test(self.objects[key])]

    def create(self, plural: str, namespace: str, body: Mapping[str, Any]) -> Obj:
        obj = deepcopy(dict(body))
        metadata = obj["metadata"]
        key = plural, namespace, metadata["name"]
        if key in self.objects:
            raise Refusal(409, "AlreadyExists", f"{plural} {metadata['name']!r} already exists")
        stamped = {"namespace": namespace, "uid": self._next("uid"), "creationTimestamp": self._now()}
        metadata |= stamped
        if plural == "jobs":
            self._admission.default(JOBS, obj)
            obj["status"] = {}
            self.made[metadata["name"]] += 1
            if self.made[metadata["name"]] > 1 and (by := self.scheduler.running) and by.stood_still:
                self.made_late[metadata["name"]] += 1
        self._write("ADDED", key, obj)
        return self.get(key)

    def merge(self, key: Key, body: Mapping[str, Any]) -> None:
        obj = self.get(key)
        obj["metadata"] |= body["metadata"]
        self._write("MODIFIED", key, obj)

    def delete(self, key: Key, propagation: str) -> None:
        obj = self.get(key)
        metadata = obj["metadata"]
        if propagation == "Foreground":
            metadata["finalizers"] = sorted({*metadata.get("finalizers", []), FOREGROUND})
        if not metadata.get("finalizers") and key[0] != "pods":
            self._remove(key)
            return
        if "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = self._now()
            self._write("MODIFIED", key, obj)
            if key[0] == "pods":
                self.scheduler.after(ENDS, lambda: self._end_pod(key, metadata["uid"], 143))

    def changes(self, plural: str, namespace: str, since: int, test: Test) -> Iterator[Obj]:
        """What a watch from `since` tells right now, and a bookmark."""
        if since < self._floor:
            raise Refusal(410, "Expired", f"too old resource version: {since} ({self._floor})")
        for change in self._history:
            told = (plural, namespace or change.key[1])
            if change.version > since and change.key[:2] == told and test(change.obj):
                yield {"type": change.type, "object": change.obj}
        metadata = {"resourceVersion": str(self.version)}
        yield {"type": "BOOKMARK", "object": {"metadata": metadata}}

    def create_for_client(self, plural: str, namespace: str, body: Mapping[str, Any]) -> Obj:
        if namespace not in self.namespaces:
            raise Refusal(404, "NotFound", f"namespaces {namespace!r} not found")
        return self.create(plural, namespace, body)

    # ---- what tests do to it

    def forget(self) -> None:
        """Whoever watches from before now is told 410."""
        self._floor = self.version
        self._history.clear()

    def ended(self, job_id: str, exit_code: int) -> None:
        """The job's running container ends now."""
        for pod in self.each("pods"):
            if pod["metadata"]["name"].startswith(f"{job_id}-") and pod["status"]["phase"] == "Running":
                self._end_pod(_key(pod, "pods"), pod["metadata"]["uid"], exit_code)

    def names(self, test: Test = lambda _: True) -> set[str]:
        """Of the Jobs that there are."""
        return {key[2] for key, obj in self.objects.items() if key[0] == "jobs" and test(obj)}

    # ---- its controllers

    def _controllers(self) -> None:
        self._is_due = False
        for job in self.each("jobs"):
            self._control(job)
        for plural in ("pods", "services"):
            for obj in self.each(plural):
                self._collect(_key(obj, plural), obj)
        for job in self.each("jobs"):
            if FOREGROUND in job["metadata"].get("finalizers", []) and not self._owned(job):
                self._remove(_key(job, "jobs"))

    def _control(self, job: Obj) -> None:
        pods = [pod for pod in self._owned(job) if pod["kind"] == "Pod"]
        plan = decide(job, pods, self.scheduler.now, backoff=2.0)
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        if plan.remove:
            self.delete(_key(job, "jobs"), "Foreground")
            return
        for pod in pods:
            if pod["metadata"]["name"] in plan.release:
                self._release(pod)
        if plan.status != job["status"]:
            self._write("MODIFIED", _key(job, "jobs"), deepcopy(job) | {"status": plan.status})
        for kind in ("Complete", "Failed"):
            if condition(job | {"status": plan.status}, kind):
                self.outcomes.setdefault(name, kind)
        for reason, message, warning in plan.events:
            self._tell(f"Job/{name}", namespace, reason, message, "Warning" if warning else "Normal")
        for pod_name in plan.delete:
            self.delete(("pods", namespace, pod_name), "Background")
        for index in plan.create:
            self._start_pod(job, index)
        if plan.again is not None:
            self.scheduler.after(plan.again, self._controllers)

    def _collect(self, key: Key, obj: Obj) -> None:
        """Delete what its owner leaves behind, or waits for."""
        owners = {o["metadata"]["uid"]: o for o in self.objects.values() if o.get("kind") == "Job"}
        for reference in obj["metadata"].get("ownerReferences", []):
            owner = owners.get(reference["uid"])
            if owner is None and TRACKING in obj["metadata"].get("finalizers", []):
                self._release(obj)
            goes = owner is None or FOREGROUND in owner["metadata"].get("finalizers", [])
            if goes and key in self.objects:
                self.delete(key, "Background")

    def _owned(self, job: Obj) -> list[Obj]:
        uid = job["metadata"]["uid"]
        dependents = [*self.each("pods"), *self.each("services")]
        return [o for o in dependents if uid in [r["uid"] for r in o["metadata"].get("ownerReferences", [])]]

    # ---- its node

    def _start_pod(self, job: Obj, index: int | None) -> None:
        namespace, base = job["metadata"]["namespace"], job["metadata"]["name"]
        pod = pod_of(job, index)
        pod |= {"apiVersion": "v1", "kind": PODS.kind, "status": {"phase": "Pending"}}
        attempt = int(self._next(f"pod of {base}"))
        pod["metadata"]["name"] = f"{base}-{attempt}"
        key = _key(pod | {"metadata": pod["metadata"] | {"namespace": namespace}}, "pods")
        made = self.create("pods", namespace, pod)
        self._tell(f"Job/{base}", namespace, "SuccessfulCreate", f"Created pod: {key[2]}")
        for reason in self.tells_of_new_pods:
            self._tell(f"Pod/{key[2]}", namespace, reason, f"{reason} by the simulation")
        program = Program.of(pod)
        exit_code = program.exits[min(attempt, len(program.exits)) - 1]
        uid = made["metadata"]["uid"]
        if self.binds_after is not None:
            self.scheduler.after(self.binds_after, lambda: self._bind_pod(key, uid))
        self.scheduler.after(STARTS, lambda: self._run_pod(key, uid))
        self.scheduler.after(STARTS + program.seconds, lambda: self._end_pod(key, uid, exit_code))

    def _bind_pod(self, key: Key, uid: str) -> None:
        pod = self.objects.get(key)
        if pod and pod["metadata"]["uid"] == uid:
            self._write("MODIFIED", key, pod | {"spec": pod["spec"] | {"nodeName": "node1"}})

    def _run_pod(self, key: Key, uid: str) -> None:
        pod = self.objects.get(key)
        if pod and pod["metadata"]["uid"] == uid and "deletionTimestamp" not in pod["metadata"]:
            state = {"running": {"startedAt": self._now()}}
            self._show_pod(key, "Running", state)
            for reason in self.tells_of_starts:
                self._tell(f"Pod/{key[2]}", key[1], reason, f"{reason} container training")

    def _end_pod(self, key: Key, uid: str, exit_code: int) -> None:
        pod = self.objects.get(key)
        if not pod or pod["metadata"]["uid"] != uid or _is_over(pod):
            self._let_go(key)
            return
        running = (pod["status"].get("containerStatuses") or [{"state": {}}])[0]["state"].get("running") or {}
        ended = {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed"}
        times = {"startedAt": running.get("startedAt", self._now()), "finishedAt": self._now()}
        self._show_pod(key, "Failed" if exit_code else "Succeeded", {"terminated": ended | times})

    def _show_pod(self, key: Key, phase: str, state: Obj) -> None:
        pod = self.get(key)
        container = {"name": "training", "state": state, "restartCount": 0}
        pod["status"] = {"phase": phase, "containerStatuses": [container]}
        pod["spec"]["nodeName"] = "node1"
        self._write("MODIFIED", key, pod)

    def _release(self, pod: Obj) -> None:
        key = _key(pod, "pods")
        free = self.get(key)
        free["metadata"]["finalizers"] = [f for f in free["metadata"]["finalizers"] if f != TRACKING]
        self._write("MODIFIED", key, free)
        self._let_go(key)

    def _let_go(self, key: Key) -> None:
        """A pod that was deleted goes once it has ended and nobody holds it."""
        pod = self.objects.get(key)
        if not pod or pod["metadata"].get("finalizers") or not _is_over(pod):
            return
        if "deletionTimestamp" in pod["metadata"]:
            self._remove(key)

    # ---- its store

    def _write(self, change: str, key: Key, obj: Obj) -> None:
        self.version += 1
        written = deepcopy(obj)
        written["metadata"]["resourceVersion"] = str(self.version)
        if change != "DELETED":
            self.objects[key] = written
        self._history.append(Change(self.version, change, key, written))
        if key[0] != "events" and not self._is_due:
            self._is_due = True
            self.scheduler.after(CONTROLLERS, self._controllers)

    def _remove(self, key: Key) -> None:
        self._write("DELETED", key, self.objects.pop(key))

    def _tell(self, about: str, namespace: str, reason: str, message: str, kind: str = "Normal") -> None:
        subject, _, name = about.partition("/")
        moment = self.scheduler.now + timedelta(microseconds=int(self._next("event")))
        times = {"firstTimestamp": self._now(), "lastTimestamp": self._now(), "count": 1}
        event = {
            "metadata": {"name": f"{name}.{int(moment.timestamp() * 1e9):x}"},
            "involvedObject": {"kind": subject, "name": name},
        }
        self.create("events", namespace, event | times | {"reason": reason, "message": message, "type": kind})

    def _next(self, of: str) -> str:
        self._numbers[of] += 1
        return str(self._numbers[of])

    def _now(self) -> str:
        return stamp(self.scheduler.now)


def _is_over(pod: Obj) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _key(obj: Obj, plural: str) -> Key:
    return plural, obj["metadata"]["namespace"], obj["metadata"]["name"]
