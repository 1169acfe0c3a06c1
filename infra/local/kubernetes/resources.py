"""One catalogue says which resources exist, so that routing and discovery can never disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Obj = dict[str, Any]
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, eq=False)
class Resource:
    group: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    version: str = "v1"

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


NAMESPACES = Resource("", "namespaces", "Namespace", False, ("ns",), ("status",))
NODES = Resource("", "nodes", "Node", False, ("no",), ("status",))
PODS = Resource("", "pods", "Pod", True, ("po",), ("status", "log", "exec"))
EVENTS = Resource("", "events", "Event", True, ("ev",))
SERVICES = Resource("", "services", "Service", True, ("svc",), ("status",))
CONFIGMAPS = Resource("", "configmaps", "ConfigMap", True, ("cm",))
SECRETS = Resource("", "secrets", "Secret")
CLAIMS = Resource("", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("pvc",), ("status",))
ACCOUNTS = Resource("", "serviceaccounts", "ServiceAccount", True, ("sa",))
JOBS = Resource("batch", "jobs", "Job", True, (), ("status",))
PRIORITIES = Resource("scheduling.k8s.io", "priorityclasses", "PriorityClass", False, ("pc",))
_RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(_RBAC, "roles", "Role")
CLUSTER_ROLES = Resource(_RBAC, "clusterroles", "ClusterRole", False)
ROLE_BINDINGS = Resource(_RBAC, "rolebindings", "RoleBinding")
CLUSTER_BINDINGS = Resource(_RBAC, "clusterrolebindings", "ClusterRoleBinding", False)

ALL = (
    *(NAMESPACES, NODES, PODS, EVENTS, SERVICES, CONFIGMAPS, SECRETS, CLAIMS, ACCOUNTS, JOBS, PRIORITIES),
    *(ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_BINDINGS),
)
BY_PATH = {(r.group, r.plural): r for r in ALL}
BY_NAME = {r.qualified: r for r in ALL}
BY_KIND = {(r.api_version, r.kind): r for r in ALL}
GROUPS = sorted({r.group for r in ALL if r.group})
VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+trainyard",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "python",
    "compiler": "cpython",
    "platform": "local",
}


def discovery(parts: list[str], address: str) -> Obj | None:
    """The discovery documents; None for a path that is not one."""
    match parts:
        case ["api"]:
            where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in GROUPS]}
        case ["apis", group] if group in GROUPS:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        case ["api", "v1"]:
            return _resource_list("")
        case ["apis", group, "v1"] if group in GROUPS:
            return _resource_list(group)
        case ["openapi", "v3"]:
            paths = {p: {"serverRelativeURL": f"/openapi/v3/{p}"} for p in map(_prefix, ["", *GROUPS])}
            return {"paths": paths}
        case ["openapi", "v3", *rest]:
            return next((_openapi(g) for g in ["", *GROUPS] if _prefix(g).split("/") == rest), None)
    return None


def _prefix(group: str) -> str:
    return f"apis/{group}/v1" if group else "api/v1"


def _group(name: str) -> Obj:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _resource_list(group: str) -> Obj:
    entries: list[Obj] = []
    for r in (r for r in ALL if r.group == group):
        shared = {"namespaced": r.namespaced, "kind": r.kind}
        known = {"shortNames": list(r.short), "categories": ["all"] if r in (PODS, SERVICES, JOBS) else []}
        entries.append({"name": r.plural, "singularName": r.kind.lower(), "verbs": VERBS, **shared, **known})
        for sub in r.subresources:
            verbs = {"log": ["get"], "exec": ["create", "get"]}.get(sub, ["get", "patch", "update"])
            entries.append({"name": f"{r.plural}/{sub}", "singularName": "", "verbs": verbs, **shared})
    version = f"{group}/v1" if group else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": entries}


def _openapi(group: str) -> Obj:
    """Just enough for kubectl to learn that the server itself checks fields (fieldValidation)."""
    paths: Obj = {}
    for r in ALL:
        if r.group == group:
            scope = "namespaces/{namespace}/" if r.namespaced else ""
            kind = {"group": r.group, "version": r.version, "kind": r.kind}
            parameters = [
                {"name": n, "in": "query", "schema": {"type": "string"}}
                for n in ("dryRun", "fieldValidation")
            ]
            operation = {"x-kubernetes-group-version-kind": kind, "parameters": parameters, "responses": {}}
            paths[f"/{_prefix(group)}/{scope}{r.plural}/{{name}}"] = {"patch": operation}
    return {"openapi": "3.0.0", "info": {"title": "Trainyard", "version": "v1.32.0"}, "paths": paths}
