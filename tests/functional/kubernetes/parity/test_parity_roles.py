"""Trainyard's four identities in a cluster: each may make the calls that it makes, and no other.

The roles are those of infra/kubernetes, under names of this run's own: whatever the cluster has of them
already stays as it is and helps nobody here.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.kubernetes.clusters import Cluster, Obj, Space

KUBERNETES = Path(__file__).parents[4] / "infra" / "kubernetes"
GROUP = "rbac.authorization.k8s.io"
FILES = ("rbac.yaml", "terminal.yaml", "fluent-bit.yaml")
# Three roles of groups, and one of a service account; the roles' names are theirs.
WRITER, READER, RELAY, SHIPPER = "trainyard", "trainyard-reader", "trainyard-terminal", "trainyard-fluent-bit"
Call = tuple[str, str]

# What chalicelib/cluster and the relay call, by who does.
CALLS: Mapping[str, list[Call]] = {
    WRITER: [  # the outbox and the sync function
        ("create", "jobs.batch"),
        ("get", "jobs.batch"),
        ("list", "jobs.batch"),
        ("watch", "jobs.batch"),
        ("delete", "jobs.batch"),
        ("create", "services"),
        ("get", "services"),
        ("patch", "services"),
        ("delete", "services"),
        ("list", "pods"),
        ("watch", "pods"),
        ("delete", "pods"),
        ("list", "events"),
        ("watch", "events"),
    ],
    READER: [("list", "pods"), ("get", "pods/log")],  # the API
    RELAY: [("get", "pods"), ("get", "pods/exec"), ("create", "pods/exec")],
    SHIPPER: [("get", "pods")],
}
# What would do harm, or what one identity has and the others have not.
OTHERS: list[Call] = [
    ("update", "jobs.batch"),
    ("patch", "jobs.batch"),
    ("deletecollection", "jobs.batch"),
    ("list", "services"),
    ("watch", "services"),
    ("create", "pods"),
    ("patch", "pods"),
    ("deletecollection", "pods"),
    ("create", "pods/attach"),
    ("create", "pods/portforward"),
    ("create", "pods/eviction"),
    ("update", "pods/ephemeralcontainers"),
    ("get", "secrets"),
    ("list", "secrets"),
    ("get", "configmaps"),
    ("create", "serviceaccounts/token"),
    ("list", "nodes"),
    ("get", "nodes/proxy"),
    ("create", "namespaces"),
    ("delete", "namespaces"),
    ("delete", "persistentvolumeclaims"),
    ("create", "deployments.apps"),
    ("update", "networkpolicies.networking.k8s.io"),
    ("delete", "resourcequotas"),
    ("impersonate", "users"),
    ("create", f"roles.{GROUP}"),
    ("create", f"clusterrolebindings.{GROUP}"),
    ("escalate", f"clusterroles.{GROUP}"),
    ("bind", f"clusterroles.{GROUP}"),
]
EVERY = sorted({*OTHERS, *(call for calls in CALLS.values() for call in calls)})


@pytest.fixture(scope="module")
def suffix(cluster: Cluster) -> Iterator[str]:
    """The roles and their bindings are there, with this behind the names of roles and groups."""
    ours, made = f"-{uuid.uuid4().hex[:8]}", []
    for body in documents(*FILES):
        if body["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            path = f"/apis/{GROUP}/v1/{body['kind'].lower()}s"
            renamed = rename(body, ours)
            code, answer = cluster.request("POST", path, renamed)
            assert code == 201, answer
            made.append(f"{path}/{renamed['metadata']['name']}")
    yield ours
    for path in made:
        assert cluster.request("DELETE", path)[0] == 200


def documents(*files: str) -> list[Obj]:
    return [body for file in files for body in yaml.safe_load_all((KUBERNETES / file).read_text())]


def rename(body: Obj, suffix: str) -> Obj:
    renamed = copy.deepcopy(body)
    for named in (renamed["metadata"], renamed.get("roleRef"), *renamed.get("subjects", [])):
        if named:
            named["name"] += suffix
    return renamed


def may(cluster: Cluster, identity: str, verb: str, resource: str, *where: str) -> str:
    plural, _, sub = resource.partition("/")
    words = ["auth", "can-i", verb, plural, *([f"--subresource={sub}"] if sub else []), *(where or ["-A"])]
    named = signed_in(identity)
    who = [f"--as={named['Impersonate-User']}", f"--as-group={named['Impersonate-Group']}"]
    done = cluster.kubectl_run(*words, *who)
    answer = done.stdout.strip().partition(" ")[0]
    assert answer in ("yes", "no"), done.stderr
    return answer


def signed_in(identity: str) -> dict[str, str]:
    """Headers of a request by whoever has that role: its name, and what the test puts behind it."""
    if identity.startswith(SHIPPER):
        account = identity.removeprefix("trainyard-")
        user = f"system:serviceaccount:trainyard-system:{account}"
        return {"Impersonate-User": user, "Impersonate-Group": "system:serviceaccounts"}
    return {"Impersonate-User": "function", "Impersonate-Group": identity}


@pytest.mark.parametrize("identity", CALLS)
@pytest.mark.parametrize(("verb", "resource"), EVERY, ids=[f"{verb} {what}" for verb, what in EVERY])
def test_an_identity_may_make_the_calls_that_it_makes_and_no_other(
    cluster: Cluster, suffix: str, identity: str, verb: str, resource: str
) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access"""
    wanted = "yes" if (verb, resource) in CALLS[identity] else "no"
    assert may(cluster, identity + suffix, verb, resource) == wanted


@pytest.mark.parametrize("identity", CALLS)
def test_no_role_has_more_than_the_calls_that_are_listed(identity: str) -> None:
    """What the list above does not think of is refused as well:
    https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources"""
    (role,) = [
        body
        for body in documents(*FILES)
        if body["kind"] == "ClusterRole" and body["metadata"]["name"] == identity
    ]
    granted = {
        (verb, f"{resource}.{group}".rstrip("."))
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == set(CALLS[identity])


def test_the_outbox_writes_what_the_api_may_not_even_read(space: Space, suffix: str) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#role-and-clusterrole"""
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": space.cluster.image}]}
    body = {"metadata": {"name": "j"}, "spec": {"parallelism": 0, "template": {"spec": pod}}}
    jobs = f"/apis/batch/v1/namespaces/{space.name}/jobs"
    writer, reader = signed_in(WRITER + suffix), signed_in(READER + suffix)
    call: Any = space.cluster.request
    assert call("POST", jobs, body, headers=reader)[0] == 403
    assert call("POST", jobs, body, headers=writer)[0] == 201
    assert call("GET", f"{jobs}/j", headers=writer)[0] == 200
    assert call("GET", f"{jobs}/j", headers=reader)[0] == 403
    kind = "application/merge-patch+json"
    assert call("PATCH", f"{jobs}/j", {"spec": {}}, headers=writer, content_type=kind)[0] == 403
    assert call("DELETE", f"{jobs}/j", headers=reader)[0] == 403
    assert call("DELETE", f"{jobs}/j", headers=writer)[0] == 200


def test_only_the_relay_execs_and_only_the_api_reads_logs(space: Space, suffix: str) -> None:
    """A pod that is not there: who may is told that (404), who may not, is not (403).
    https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb"""
    pods = f"/api/v1/namespaces/{space.name}/pods/none"
    call: Any = space.cluster.request
    answers = {
        identity: (
            call("POST", f"{pods}/exec?command=id&stdout=true", headers=signed_in(identity + suffix))[0],
            call("GET", f"{pods}/log", headers=signed_in(identity + suffix))[0],
        )
        for identity in CALLS
    }
    assert answers == {WRITER: (403, 403), READER: (403, 404), RELAY: (404, 403), SHIPPER: (403, 403)}
