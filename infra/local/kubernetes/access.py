"""Who may do what: RBAC as https://kubernetes.io/docs/reference/access-authn-authz/rbac/ describes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from infra.local.kubernetes.errors import ApiError
from infra.local.kubernetes.pki import ADMINS, User
from infra.local.kubernetes.resources import CLUSTER_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from infra.local.kubernetes.store import Key, Store

Obj = dict[str, Any]
EVERYONE = "system:authenticated"
REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")
_EVERYBODYS_PATHS = ["/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version", "/healthz", "/livez"]
# what every cluster has from its first moment
_ADMIN: list[Obj] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]
_BASIC: list[Obj] = [
    {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": list(REVIEWS)},
    {"verbs": ["get"], "nonResourceURLs": _EVERYBODYS_PATHS},
]
BUILT_IN = [("cluster-admin", ADMINS, _ADMIN), ("system:basic-user", EVERYONE, _BASIC)]


@dataclass(frozen=True)
class Action:
    """What somebody wants to do: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""  # with its subresource: pods/log
    namespace: str = ""
    name: str = ""
    path: str = ""

    def refusal(self, user: User) -> ApiError:
        if self.path:
            return ApiError(403, f'forbidden: User "{user.name}" cannot {self.verb} path "{self.path}"')
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        plural = self.resource.partition("/")[0]
        what = (f"{plural}.{self.group}" if self.group else plural) + (f' "{self.name}"' if self.name else "")
        why = f'cannot {self.verb} resource "{self.resource}" in API group "{self.group}" {where}'
        details = {"name": self.name, "group": self.group, "kind": plural}
        return ApiError(403, f'{what} is forbidden: User "{user.name}" {why}', details=details)


class Access:
    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self, user: User, action: Action) -> None:
        if not self.allows(user, action):
            raise action.refusal(user)

    def allows(self, user: User, action: Action) -> bool:
        if ADMINS in user.groups:
            return True
        return any(_permits(rule, action) for rule in self.rules(user, action.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Obj]:
        """Those of the cluster, and of the namespace if there is one."""
        bindings = [(CLUSTER_BINDINGS, ""), *([(ROLE_BINDINGS, namespace)] if namespace else [])]
        for resource, space in bindings:
            for binding in self._store.each(resource, space):
                if any(_is(user, subject, space) for subject in binding.get("subjects") or []):
                    reference = binding["roleRef"]
                    kind = ROLES if reference["kind"] == "Role" else CLUSTER_ROLES
                    where = space if kind is ROLES else ""
                    role = self._store.get(Key(kind, where, reference["name"]))
                    yield from (role or {}).get("rules") or []

    def acting(self, user: User, name: str, groups: list[str]) -> User:
        """Whom `user` speaks for: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/"""
        if not name:
            return user
        wanted = [("users", name), *(("groups", group) for group in groups)]
        for resource, one in wanted:
            self.check(user, Action("impersonate", "", resource, name=one))
        return User(name, frozenset({*groups, EVERYONE}))

    def review(self, user: User, kind: str, body: Obj) -> Obj:
        """SelfSubjectAccessReview and SelfSubjectRulesReview: what `kubectl auth can-i` asks."""
        spec = body.get("spec") or {}
        if kind == "selfsubjectaccessreviews":
            status: Obj = {"allowed": self.allows(user, _asked(spec))}
        else:
            rules = list(self.rules(user, spec.get("namespace", "")))
            named = {"resourceRules": "resources", "nonResourceRules": "nonResourceURLs"}
            status = {key: [r for r in rules if field in r] for key, field in named.items()}
            status["incomplete"] = False
        return {**body, "metadata": {}, "status": status}


def _asked(spec: Obj) -> Action:
    if path := (spec.get("nonResourceAttributes") or {}).get("path"):
        return Action(spec["nonResourceAttributes"].get("verb", ""), path=path)
    asked = spec.get("resourceAttributes")
    if not isinstance(asked, dict):
        raise ApiError(422, "spec.resourceAttributes: Required value", "Invalid")
    resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
    known = {key: asked.get(key, "") for key in ("verb", "group", "namespace", "name")}
    return Action(**known, resource=resource)


def _is(user: User, subject: Obj, namespace: str) -> bool:
    kind, name = subject.get("kind"), subject.get("name")
    if kind == "Group":
        return name in user.groups or name == EVERYONE
    if kind == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return user.name == name


def _permits(rule: Obj, action: Action) -> bool:
    if not {action.verb, "*"} & set(rule.get("verbs") or []):
        return False
    if action.path:
        return any(fnmatchcase(action.path, url) for url in rule.get("nonResourceURLs") or [])
    _, _, sub = action.resource.partition("/")
    resources = {action.resource, "*", *([f"*/{sub}"] if sub else [])}
    named = rule.get("resourceNames") or []
    covered = {action.group, "*"} & {*rule.get("apiGroups", [])} and resources & {*rule.get("resources", [])}
    return bool(covered) and (not named or action.name in named)
