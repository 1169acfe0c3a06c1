"""What a Job needs next, decided from what is there: no I/O and no clock of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from infra.local.kubernetes.podstatus import set_condition
from infra.local.kubernetes.registry import TRACKING
from infra.local.kubernetes.values import parse_time, stamp

Obj = dict[str, Any]
INDEX = "batch.kubernetes.io/job-completion-index"
LONGEST_BACKOFF = 360.0
BURST = 500  # pods made in one go


@dataclass
class Plan:
    status: Obj
    create: list[int | None] = field(default_factory=list)  # completion indexes, None for a job that has none
    delete: list[str] = field(default_factory=list)
    release: list[str] = field(default_factory=list)  # counted pods, which may go now
    events: list[tuple[str, str, bool]] = field(default_factory=list)  # reason, message, warning
    again: float | None = None
    remove: bool = False  # its time to live is over


def condition(job: Obj, kind: str) -> Obj | None:
    found = (c for c in (job.get("status") or {}).get("conditions") or [] if c["type"] == kind)
    return next((c for c in found if c["status"] == "True"), None)


def is_finished(job: Obj) -> bool:
    return bool(condition(job, "Complete") or condition(job, "Failed"))


def decide(job: Obj, pods: list[Obj], now: datetime, backoff: float) -> Plan:
    if is_finished(job):
        return _after(job, pods, now)
    return _Decision(job, pods, now, backoff).plan


def _after(job: Obj, pods: list[Obj], now: datetime) -> Plan:
    plan = Plan(job["status"], release=[_name(p) for p in pods if _tracked(p)])
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is not None and not job["metadata"].get("deletionTimestamp"):
        ended = condition(job, "Complete") or condition(job, "Failed") or {}
        left = (parse_time(ended["lastTransitionTime"]) + timedelta(seconds=ttl) - now).total_seconds()
        plan.remove, plan.again = left <= 0, max(0.0, left) if left > 0 else None
    return plan


class _Decision:
    def __init__(self, job: Obj, pods: list[Obj], now: datetime, backoff: float) -> None:
        self.job, self.spec, self.now, self.backoff = job, job["spec"], now, backoff
        self.status: Obj = {**(job.get("status") or {})}
        self.plan = Plan(self.status)
        self.indexed = self.spec["completionMode"] == "Indexed"
        self.done = parse_indexes(self.status.get("completedIndexes", ""))
        self.pods = pods
        self.rule_failure = ""
        self._count()
        self.active = [p for p in pods if not _over(p) and not p["metadata"].get("deletionTimestamp")]
        self.leaving = [p for p in pods if not _over(p) and p["metadata"].get("deletionTimestamp")]
        self._proceed()
        self._write_counters()

    def _count(self) -> None:
        """Each ended pod is counted once: its finalizer goes in the same transaction as the new counters."""
        for pod in self.pods:
            if not _tracked(pod) or not _over(pod):
                continue
            self.plan.release.append(_name(pod))
            if pod["status"]["phase"] == "Succeeded":
                index = index_of(pod)
                if self.indexed and index is not None:
                    self.done.add(index)
                else:
                    self.status["succeeded"] = self.status.get("succeeded", 0) + 1
            elif not self.spec.get("suspend") or (pod["status"]["phase"] == "Failed" and not _deleted(pod)):
                action, why = failure_action(self.spec.get("podFailurePolicy"), pod)
                if action != "Ignore":
                    self.status["failed"] = self.status.get("failed", 0) + 1
                if action == "FailJob":
                    self.rule_failure = self.rule_failure or why
        if self.indexed:
            completions = self.spec["completions"]
            self.done = {i for i in self.done if i < completions}
            self.status["succeeded"] = len(self.done)
            self.status["completedIndexes"] = format_indexes(self.done)

    def _proceed(self) -> None:
        if self.job["metadata"].get("deletionTimestamp"):
            return
        failure = self._failure()
        if failure:
            self._end("FailureTarget", "Failed", *failure)
        elif self._complete():
            reason, message = "CompletionsReached", "Reached expected number of succeeded pods"
            self._end("SuccessCriteriaMet", "Complete", reason, message)
        elif self.spec.get("suspend"):
            self._suspend()
        else:
            self._resume()
            self._adjust()

    def _failure(self) -> tuple[str, str] | None:
        target = condition(self.job, "FailureTarget")
        if target:
            return target["reason"], target["message"]
        if self.rule_failure:
            return "PodFailurePolicy", self.rule_failure
        statuses = [c for p in self.pods for c in p["status"].get("containerStatuses") or []]
        restarts = sum(c.get("restartCount", 0) for c in statuses)
        on_failure = self.spec["template"]["spec"]["restartPolicy"] == "OnFailure"
        limit = self.spec["backoffLimit"]
        if self.status.get("failed", 0) > limit or (on_failure and restarts > 0 and restarts >= limit):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline, start = self.spec.get("activeDeadlineSeconds"), self.status.get("startTime")
        if deadline is not None and start and not self.spec.get("suspend"):
            left = (parse_time(start) + timedelta(seconds=deadline) - self.now).total_seconds()
            if left <= 0:
                return "DeadlineExceeded", "Job was active longer than specified deadline"
            self._look_again(left)
        return None

    def _complete(self) -> bool:
        if condition(self.job, "SuccessCriteriaMet"):
            return True
        wanted, succeeded = self.spec.get("completions"), self.status.get("succeeded", 0)
        return succeeded > 0 and not self.active if wanted is None else succeeded >= wanted

    def _end(self, soon: str, final: str, reason: str, message: str) -> None:
        """First its pods go, then it has ended."""
        self._let_go_of_pods()
        kind = soon if self.leaving else final
        self._set(soon, reason, message)
        if kind == final:
            self._set(final, reason, message)
            if final == "Complete":
                self.status["completionTime"] = stamp(self.now)
                self.plan.events.append(("Completed", "Job completed", False))
            else:
                self.plan.events.append((reason, message, True))

    def _let_go_of_pods(self) -> None:
        self.plan.delete += [_name(p) for p in self.active]
        self.leaving += self.active
        self.active = []

    def _suspend(self) -> None:
        self._let_go_of_pods()
        self.status.pop("startTime", None)
        if not condition(self.job, "Suspended"):
            self._set("Suspended", "JobSuspended", "Job suspended")
            self.plan.events.append(("Suspended", "Job suspended", False))

    def _resume(self) -> None:
        if condition(self.job, "Suspended"):
            self._set("Suspended", "JobResumed", "Job resumed", status="False")
            self.plan.events.append(("Resumed", "Job resumed", False))
        if not self.status.get("startTime"):
            self.status["startTime"] = stamp(self.now)
            deadline = self.spec.get("activeDeadlineSeconds")
            if deadline is not None:
                self._look_again(deadline)

    def _adjust(self) -> None:
        occupied = list(self.active)
        if self.spec.get("podReplacementPolicy") == "Failed":
            occupied += self.leaving
        completions, succeeded = self.spec.get("completions"), self.status.get("succeeded", 0)
        wanted = self.spec["parallelism"]
        if completions is not None:
            wanted = min(wanted, completions - succeeded)
        elif succeeded:
            wanted = len(self.active)
        if len(self.active) > wanted:
            surplus = sorted(self.active, key=lambda p: bool(p["status"].get("startTime")))[
                : len(self.active) - wanted
            ]
            self.plan.delete += [_name(p) for p in surplus]
            return
        missing = min(wanted - len(occupied), BURST)
        if missing <= 0:
            return
        pause = self._pause()
        if pause > 0:
            self._look_again(pause)
        elif self.indexed:
            taken = self.done | {index_of(p) for p in occupied}
            self.plan.create += [i for i in range(completions or 0) if i not in taken][:missing]
        else:
            self.plan.create += [None] * missing

    def _pause(self) -> float:
        """What is left of the back-off after the latest failures in a row."""
        ended = [p for p in self.pods if _over(p) and p["status"].get("containerStatuses")]
        row: list[datetime] = []
        for pod in sorted(ended, key=_end_of, reverse=True):
            if pod["status"]["phase"] == "Succeeded":
                break
            if failure_action(self.spec.get("podFailurePolicy"), pod)[0] != "Ignore":
                row.append(_end_of(pod))
        if not row:
            return 0.0
        delay = min(self.backoff * 2.0 ** min(len(row) - 1, 20), max(LONGEST_BACKOFF, self.backoff))
        return (row[0] + timedelta(seconds=delay) - self.now).total_seconds()

    def _write_counters(self) -> None:
        ready = sum(_ready(p) for p in self.active)
        self.status |= {"active": len(self.active), "terminating": len(self.leaving), "ready": ready}
        if not self.status["active"]:
            del self.status["active"]

    def _set(self, kind: str, reason: str, message: str, status: str = "True") -> None:
        new = {"type": kind, "status": status, "reason": reason, "message": message}
        set_condition(self.status, new, self.now)

    def _look_again(self, seconds: float) -> None:
        self.plan.again = min(self.plan.again or seconds, seconds)


def failure_action(policy: Obj | None, pod: Obj) -> tuple[str, str]:
    """The first rule that fits decides; without one the failure counts."""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for number, rule in enumerate((policy or {}).get("rules") or []):
        codes = rule.get("onExitCodes")
        for container in (pod["status"].get("containerStatuses") or []) if codes else []:
            code = (container["state"].get("terminated") or {}).get("exitCode", 0)
            if codes.get("containerName") not in (None, "", container["name"]) or code == 0:
                continue
            if (code in codes["values"]) is (codes["operator"] == "In"):
                return rule["action"], (
                    f"Container {container['name']} for pod {name} failed with exit code {code} "
                    f"matching {rule['action']} rule at index {number}"
                )
        for wanted in rule.get("onPodConditions") or []:
            for have in pod["status"].get("conditions") or []:
                if (have["type"], have["status"]) == (wanted["type"], wanted.get("status", "True")):
                    return rule["action"], (
                        f"Pod {name} has condition {have['type']} matching {rule['action']} rule at "
                        f"index {number}"
                    )
    return "Count", ""


def index_of(pod: Obj) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(INDEX)
    return int(text) if text is not None else None


def parse_indexes(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: set[int]) -> str:
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in parts)


def _name(pod: Obj) -> str:
    return str(pod["metadata"]["name"])


def _tracked(pod: Obj) -> bool:
    return TRACKING in pod["metadata"].get("finalizers", [])


def _deleted(pod: Obj) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _over(pod: Obj) -> bool:
    """Ended, or deleted without ever getting to an end."""
    ended = pod["status"].get("phase") in ("Succeeded", "Failed")
    return ended or (_deleted(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0)


def _ready(pod: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])


def _end_of(pod: Obj) -> datetime:
    ends = [
        c["state"]["terminated"]["finishedAt"]
        for c in pod["status"]["containerStatuses"]
        if c["state"].get("terminated")
    ]
    return parse_time(max(ends)) if ends else parse_time(pod["metadata"]["creationTimestamp"])
