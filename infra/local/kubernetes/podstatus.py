"""A pod's status worked out from the states of its containers, apart from any process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from infra.local.kubernetes.values import now, parse_time, stamp

Obj = dict[str, Any]
SHUTDOWN_MESSAGE = "Pod was terminated in response to imminent node shutdown."
ORPHAN_MESSAGE = "The node's containers were ended because their cluster was gone."


@dataclass
class ContainerState:
    """Exactly one of waiting, running, terminated."""

    name: str
    image: str
    waiting: Obj | None = field(default_factory=lambda: {"reason": "ContainerCreating"})
    running: Obj | None = None
    terminated: Obj | None = None
    last: Obj | None = None
    restarts: int = 0
    identity: str = ""
    orphaned: bool = False

    def restore(self, status: Obj) -> None:
        """As it was told before the cluster was restarted."""
        state = status["state"]
        self.waiting, self.running = state.get("waiting"), state.get("running")
        self.terminated = state.get("terminated")
        self.last = (status.get("lastState") or {}).get("terminated")
        self.identity = status["containerID"]

    def wait(self, reason: str, message: str = "") -> None:
        self.last = self.terminated or self.last
        self.waiting = {"reason": reason, **({"message": message} if message else {})}
        self.running = self.terminated = None

    def run(self, since: str) -> None:
        self.last = self.terminated or self.last
        self.running = {"startedAt": short(since)}
        self.waiting = self.terminated = None

    def end(self, result: Obj, message: str) -> None:
        self.terminated = {
            "exitCode": result["exitCode"],
            "reason": result["reason"],
            "startedAt": short(result.get("startedAt")),
            "finishedAt": short(result.get("finishedAt")),
            "containerID": self.identity,
        }
        if result.get("signal"):
            self.terminated["signal"] = result["signal"]
        if message:
            self.terminated["message"] = message
        self.orphaned = bool(result.get("orphaned"))
        self.running = self.waiting = None

    def status(self, *, init: bool) -> Obj:
        states = {"waiting": self.waiting, "running": self.running, "terminated": self.terminated}
        ready = bool(self.running) if not init else bool(self.terminated and self.terminated["exitCode"] == 0)
        known = bool(self.identity)
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"trainyard://{self.image}" if known else "",
            "containerID": self.identity,
            "ready": ready,
            "started": bool(self.running),
            "restartCount": self.restarts,
            "state": {name: state for name, state in states.items() if state},
            "lastState": {"terminated": self.last} if self.last else {},
        }


def short(moment: str | None) -> str:
    return stamp(parse_time(moment)) if moment else stamp(now())


def phase_of(init: list[ContainerState], main: list[ContainerState], *, over: bool) -> str:
    """`over`: no container will be started any more."""
    if over:
        failed = any(s.terminated and s.terminated["exitCode"] for s in (*init, *main))
        ended = all(s.terminated for s in main)
        return "Succeeded" if ended and not failed else "Failed"
    if any(s.running or s.terminated or s.last for s in main):
        return "Running"
    return "Pending"


def status_of(
    pod: Obj,
    init: list[ContainerState],
    main: list[ContainerState],
    *,
    over: bool,
    address: str,
    why: tuple[str, str],
) -> Obj:
    """`why`: reason and message, if it was ended by the node."""
    (reason, message), old = why, pod["status"]
    phase = phase_of(init, main, over=over)
    if over and not reason and any(s.orphaned for s in main):
        reason, message = "NodeShutdown", ORPHAN_MESSAGE
    if over and reason in ("NodeShutdown", "Evicted", "DeadlineExceeded"):
        phase = "Failed"  # also a container that took its leave with 0: it was not done
    status = {
        **old,
        "phase": phase,
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": old.get("startTime") or stamp(now()),
        "containerStatuses": [s.status(init=False) for s in main],
    }
    if init:
        status["initContainerStatuses"] = [s.status(init=True) for s in init]
    if phase == "Failed" and reason:
        status |= {"reason": reason, "message": message}
    ready = all(s.running for s in main)
    initialized = all(s.terminated and not s.terminated["exitCode"] for s in init)
    _set_conditions(status, over=over, ready=ready, initialized=initialized)
    if phase == "Failed" and reason in ("NodeShutdown", "Evicted"):
        target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}
        set_condition(status, {**target, "message": message})
    return status


def _set_conditions(status: Obj, *, over: bool, ready: bool, initialized: bool) -> None:
    words = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}
    why = {} if ready else {"reason": words.get(status["phase"], "ContainersNotReady")}
    for kind, good, more in (
        ("PodReadyToStartContainers", not over, {}),
        ("Initialized", initialized, {}),
        ("Ready", ready, why),
        ("ContainersReady", ready, why),
    ):
        set_condition(status, {"type": kind, "status": "True" if good else "False", **more})


def set_condition(status: Obj, new: Obj, at: datetime | None = None) -> None:
    """In a status of one's own. The time (`at`, or now) moves only when the condition does."""
    conditions: dict[str, Obj] = {c["type"]: c for c in status.get("conditions") or []}
    old = conditions.get(new["type"])
    moment = old["lastTransitionTime"] if old and old["status"] == new["status"] else stamp(at or now())
    conditions[new["type"]] = {"lastTransitionTime": moment, **new}
    status["conditions"] = list(conditions.values())
