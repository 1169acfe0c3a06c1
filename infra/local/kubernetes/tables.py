"""The Table form of lists: kubectl prints what the server says, so the columns are made here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from infra.local.kubernetes.resources import (
    CLAIMS,
    CONFIGMAPS,
    EVENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITIES,
    SECRETS,
    SERVICES,
    Resource,
)
from infra.local.kubernetes.values import age

Obj = dict[str, Any]
Row = Callable[[Obj], list[Any]]


def table(resource: Resource, objects: list[Obj], metadata: Obj, include: str) -> Obj:
    """Columns marked with * show only with -o wide."""
    columns, row = _TABLES.get(resource, ("Name Age", lambda o: [_name(o), _age(o)]))
    rows = [{"cells": row(obj), "object": _shown(obj, include)} for obj in objects]
    definitions = [_column(name.replace("_", " ")) for name in columns.split()]
    about = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {**about, "columnDefinitions": definitions, "rows": rows}


def _column(name: str) -> Obj:
    whole = name.rstrip("*+")
    return {
        "name": whole,
        "type": "integer" if name.endswith("+") else "string",
        "description": "",
        "format": "name" if name == "Name" else "",
        "priority": 1 if name.endswith("*") else 0,
    }


def _shown(obj: Obj, include: str) -> Obj | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _age(obj: Obj) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _pod(pod: Obj) -> list[Any]:
    status, spec = pod["status"], pod["spec"]
    states = status.get("containerStatuses") or []
    reason = status.get("reason") or status.get("phase", "")
    for container in states:
        state = container["state"]
        found = state.get("waiting") or state.get("terminated")
        if found:
            reason = found.get("reason") or f"ExitCode:{found.get('exitCode')}"
    if any(c["state"].get("running") and c.get("ready") for c in states) and reason == "Completed":
        reason = "Running"
    for number, container in enumerate(status.get("initContainerStatuses") or []):
        ended, waiting = container["state"].get("terminated"), container["state"].get("waiting") or {}
        if ended and not ended["exitCode"]:
            continue
        why = (ended or waiting).get("reason", "PodInitializing")
        reason = f"Init:{number}/{len(spec['initContainers'])}" if why == "PodInitializing" else f"Init:{why}"
        break
    if pod["metadata"].get("deletionTimestamp"):
        reason = "Terminating"
    ready = f"{sum(bool(c.get('ready')) for c in states)}/{len(spec['containers'])}"
    restarts = str(sum(c.get("restartCount", 0) for c in states))
    wide = [status.get("podIP", "<none>"), spec.get("nodeName", "<none>"), "<none>", "<none>"]
    return [_name(pod), ready, reason, restarts, _age(pod), *wide]


def _job(job: Obj) -> list[Any]:
    spec, status = job["spec"], job.get("status") or {}
    on = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    order = ("Complete", "Failed", "SuccessCriteriaMet", "FailureTarget", "Suspended")
    state = next((word for word in order if word in on), "Running")
    if job["metadata"].get("deletionTimestamp"):
        state = "Terminating"
    parallel = spec["parallelism"]
    goal = str(spec.get("completions") or (f"1 of {parallel}" if parallel > 1 else 1))
    started, ended = status.get("startTime"), status.get("completionTime")
    duration = age(started, ended) if started else ""
    containers = spec["template"]["spec"]["containers"]
    selector = ",".join(f"{k}={v}" for k, v in (spec["selector"].get("matchLabels") or {}).items())
    names, images = (",".join(c[key] for c in containers) for key in ("name", "image"))
    done = f"{status.get('succeeded', 0)}/{goal}"
    return [_name(job), state, done, duration, _age(job), names, images, selector]


def _event(event: Obj) -> list[Any]:
    subject = event.get("involvedObject") or {}
    last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    first = event.get("firstTimestamp") or last
    source = event.get("source") or {}
    who = ", ".join(v for v in (source.get("component"), source.get("host")) if v)
    what = f"{subject.get('kind', '').lower()}/{subject.get('name', '')}"
    told, count = event.get("message", "").strip(), str(event.get("count", 1))
    named = [event.get("type", ""), event.get("reason", ""), what, subject.get("fieldPath", ""), who]
    return [age(last), *named, told, age(first), count, _name(event)]


def _node(node: Obj) -> list[Any]:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    cordoned = ",SchedulingDisabled" if node["spec"].get("unschedulable") else ""
    address = next((a["address"] for a in node["status"].get("addresses", [])), "<none>")
    info = node["status"].get("nodeInfo", {})
    known = [info.get(key, "") for key in ("osImage", "kernelVersion", "containerRuntimeVersion")]
    state = ("Ready" if ready else "NotReady") + cordoned
    return [_name(node), state, "<none>", _age(node), info.get("kubeletVersion", ""), address, *known]


def _claim(claim: Obj) -> list[Any]:
    spec, status = claim["spec"], claim.get("status") or {}
    modes = ",".join("".join(re.findall("[A-Z]", mode)) for mode in status.get("accessModes", []))
    capacity = status.get("capacity", {}).get("storage")
    return [status.get("phase", ""), spec.get("volumeName", ""), capacity, modes, "", "<unset>"]


def _service(service: Obj) -> list[Any]:
    spec = service.get("spec") or {}
    ports = ",".join(f"{p['port']}/{p.get('protocol', 'TCP')}" for p in spec.get("ports") or []) or "<none>"
    return [spec.get("type", "ClusterIP"), spec.get("clusterIP", "<none>"), "<none>", ports]


def _size(obj: Obj, *fields: str) -> int:
    return sum(len(obj.get(field) or {}) for field in fields)


def _simple(columns: str, cells: Row) -> tuple[str, Row]:
    """Between the name and the age."""
    return f"Name {columns} Age", lambda o: [_name(o), *cells(o), _age(o)]


_TABLES: dict[Resource, tuple[str, Row]] = {
    PODS: ("Name Ready Status Restarts Age IP* Node* Nominated_Node* Readiness_Gates*", _pod),
    JOBS: ("Name Status Completions Duration Age Containers* Images* Selector*", _job),
    EVENTS: ("Last_Seen Type Reason Object Subobject* Source* Message First_Seen* Count* Name*", _event),
    NODES: ("Name Status Roles Age Version Internal-IP* OS-Image* Kernel-Version* Container-Runtime*", _node),
    NAMESPACES: _simple("Status", lambda o: [o["status"]["phase"]]),
    CLAIMS: _simple("Status Volume Capacity Access_Modes StorageClass VolumeAttributesClass", _claim),
    CONFIGMAPS: _simple("Data+", lambda o: [_size(o, "data", "binaryData")]),
    SECRETS: _simple("Type Data+", lambda o: [o.get("type"), _size(o, "data")]),
    SERVICES: _simple("Type Cluster-IP External-IP Port(s)", _service),
    PRIORITIES: _simple(
        "Value+ Global-Default", lambda o: [o.get("value"), str(bool(o.get("globalDefault"))).lower()]
    ),
}
