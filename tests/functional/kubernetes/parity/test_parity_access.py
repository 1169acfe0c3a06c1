"""Sign-in and RBAC: https://kubernetes.io/docs/reference/access-authn-authz/rbac/."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.kubernetes.clusters import Cluster, Obj, Space

GROUP = "rbac.authorization.k8s.io"
PATH = f"/apis/{GROUP}/v1"
GUEST = {"Impersonate-User": "guest"}


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
