"""Sign-in and RBAC: https://kubernetes.io/docs/reference/access-authn-authz/rbac/."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.kubernetes.clusters import Cluster, Obj, Space

RBAC = Path(__file__).parents[4] / "infra" / "kubernetes" / "rbac.yaml"
GROUP = "rbac.authorization.k8s.io"
PATH = f"/apis/{GROUP}/v1"
CLIENT = {"Impersonate-User": "function", "Impersonate-Group": "trainyard"}
GUEST = {"Impersonate-User": "guest"}


@pytest.fixture(scope="module")
def applied(cluster: Cluster) -> Iterator[None]:
    """The project's own manifest, unless somebody has applied it already."""
    made: list[str] = []
    for body in yaml.safe_load_all(RBAC.read_text()):
        path = f"{PATH}/{body['kind'].lower()}s"
        if cluster.request("POST", path, body)[0] == 201:
            made.append(f"{path}/{body['metadata']['name']}")
    yield
    for path in made:
        assert cluster.request("DELETE", path)[0] == 200


def allow(space: Space, kind: str, name: str, rules: list[Obj]) -> None:
    """A role of `rules` for the guest in the test's namespace."""
    here = f"{PATH}/namespaces/{space.name}"
    role = {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}
    reference = {"apiGroup": GROUP, "kind": kind, "name": name}
    one = {"apiGroup": GROUP, "kind": "User", "name": "guest"}
    binding = {"apiVersion": f"{GROUP}/v1", "kind": "RoleBinding", "metadata": {"name": name}}
    where = here if kind == "Role" else PATH
    assert space.cluster.request("POST", f"{where}/{kind.lower()}s", role)[0] == 201
    body = {**binding, "subjects": [one], "roleRef": reference}
    assert space.cluster.request("POST", f"{here}/rolebindings", body)[0] == 201


def test_a_request_without_valid_credentials_is_unauthorized(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authentication-strategies"""
    code, status = cluster.request("GET", "/api/v1/pods", token="wrong")
    assert (code, status["reason"], status["kind"]) == (401, "Unauthorized", "Status")
    assert cluster.request("GET", "/api/v1/pods")[0] == 200


def test_a_user_without_roles_sees_what_is_there_and_nothing_in_it(space: Space) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#discovery-roles"""
    path = f"/apis/batch/v1/namespaces/{space.name}/jobs"
    code, status = space.cluster.request("GET", path, headers=GUEST)
    assert (code, status["reason"]) == (403, "Forbidden")
    words = 'User "guest" cannot list resource "jobs" in API group "batch" in the namespace'
    assert status["message"] == f'jobs.batch is forbidden: {words} "{space.name}"'
    code, status = space.cluster.request("DELETE", "/api/v1/nodes/n", headers=GUEST)
    assert status["message"].endswith('cannot delete resource "nodes" in API group "" at the cluster scope')
    assert space.cluster.request("GET", "/apis", headers=GUEST)[0] == 200
    assert space.cluster.request("GET", "/metrics-of-none", headers=GUEST)[0] == 403


ALLOWED = [
    ("create", "jobs.batch"),
    ("get", "jobs.batch"),
    ("list", "jobs.batch"),
    ("delete", "jobs.batch"),
    ("create", "services"),
    ("get", "services"),
    ("patch", "services"),
    ("delete", "services"),
    ("list", "pods"),
    ("delete", "pods"),
    ("get", "pods/log"),
    ("list", "events"),
    ("watch", "events"),
    ("watch", "pods"),
    ("watch", "jobs.batch"),
]
REFUSED = [
    ("update", "jobs.batch"),
    ("patch", "jobs.batch"),
    ("deletecollection", "jobs.batch"),
    ("list", "services"),
    ("get", "pods"),
    ("watch", "services"),
    ("create", "pods"),
    ("deletecollection", "pods"),
    ("create", "pods/exec"),
    ("get", "secrets"),
    ("list", "nodes"),
    ("create", "namespaces"),
    ("impersonate", "users"),
    ("create", f"roles.{GROUP}"),
]


@pytest.mark.usefixtures("applied")
@pytest.mark.parametrize(
    ("verb", "resource", "answer"),
    [*((v, r, "yes") for v, r in ALLOWED), *((v, r, "no") for v, r in REFUSED)],
)
def test_trainyards_role_is_what_it_needs_and_no_more(
    cluster: Cluster, verb: str, resource: str, answer: str
) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access"""
    plural, _, sub = resource.partition("/")
    words = ["auth", "can-i", verb, plural, *([f"--subresource={sub}"] if sub else []), "-A"]
    done = cluster.kubectl_run(*words, "--as=function", "--as-group=trainyard")
    assert done.stdout.strip().partition(" ")[0] == answer, done.stderr


@pytest.mark.usefixtures("applied")
def test_what_is_allowed_works_and_what_is_not_is_refused(space: Space) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#role-and-clusterrole"""
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": space.cluster.image}]}
    body = {"metadata": {"name": "j"}, "spec": {"parallelism": 0, "template": {"spec": pod}}}
    jobs = f"/apis/batch/v1/namespaces/{space.name}/jobs"
    call = space.cluster.request
    assert call("POST", jobs, body, headers=CLIENT)[0] == 201
    assert call("GET", f"{jobs}/j", headers=CLIENT)[0] == 200
    assert call("GET", "/api/v1/pods?labelSelector=none", headers=CLIENT)[0] == 200
    kind = "application/merge-patch+json"
    assert call("PATCH", f"{jobs}/j", {"spec": {}}, headers=CLIENT, content_type=kind)[0] == 403
    assert call("DELETE", f"{jobs}/j", headers=CLIENT)[0] == 200
    assert call("GET", f"/api/v1/namespaces/{space.name}/secrets", headers=CLIENT)[0] == 403


@pytest.mark.parametrize("kind", ["Role", "ClusterRole"])
def test_a_binding_gives_a_role_within_its_namespace(space: Space, kind: str) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#rolebinding-and-clusterrolebinding"""
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    allow(space, kind, f"reader-{space.name}", rules)
    call: Any = space.cluster.request
    assert call("GET", f"/api/v1/namespaces/{space.name}/configmaps", headers=GUEST)[0] == 200
    assert call("DELETE", f"/api/v1/namespaces/{space.name}/configmaps", headers=GUEST)[0] == 403
    assert call("GET", "/api/v1/namespaces/default/configmaps", headers=GUEST)[0] == 403
    assert call("GET", "/api/v1/configmaps", headers=GUEST)[0] == 403
    if kind == "ClusterRole":
        call("DELETE", f"{PATH}/clusterroles/reader-{space.name}")


def test_a_role_may_name_the_objects_it_is_about(space: Space) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources"""
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"]}
    allow(space, "Role", "one", [rule])
    path = f"/api/v1/namespaces/{space.name}/secrets"
    assert space.cluster.request("GET", f"{path}/mine", headers=GUEST)[0] == 404
    code, status = space.cluster.request("GET", f"{path}/other", headers=GUEST)
    assert code == 403 and status["message"].startswith('secrets "other" is forbidden')


def test_a_binding_keeps_its_role(space: Space) -> None:
    """https://kubernetes.io/docs/reference/access-authn-authz/rbac/#rolebinding-and-clusterrolebinding"""
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    allow(space, "Role", "kept", rules)
    change = {"roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "other"}}
    path = f"{PATH}/namespaces/{space.name}/rolebindings/kept"
    kind = "application/merge-patch+json"
    code, status = space.cluster.request("PATCH", path, change, content_type=kind)
    assert code == 422 and "cannot change roleRef" in status["message"]


def test_kubectl_lists_what_one_may_do(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_auth/kubectl_auth_can-i/"""
    listed = cluster.kubectl("auth", "can-i", "--list", "--as=guest")
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed
    assert "jobs.batch" not in listed
    assert cluster.kubectl("auth", "can-i", "*", "*") == "yes\n"
