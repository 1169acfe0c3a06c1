"""Kubernetes API concepts: versions, conflicts, selectors, pages, watches, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kubernetes import client

from tests.functional.kubernetes.clusters import Cluster, Obj, Space, Watch, wait_for


def config_map(name: str, **labels: str) -> Obj:
    return {"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


def fill(space: Space, *names: str, **labels: str) -> None:
    for name in names:
        space.core.create_namespaced_config_map(space.name, config_map(name, **labels))


def maps(space: Space, **options: Any) -> list[Any]:
    """Without the one that newer servers put into every namespace."""
    found = space.core.list_namespaced_config_map(space.name, **options).items
    return [m for m in found if m.metadata.name != "kube-root-ca.crt"]


def names(items: list[Any]) -> list[str]:
    return [item.metadata.name for item in items]


def refused(call: Any, *arguments: Any, **options: Any) -> Any:
    with pytest.raises(client.ApiException) as caught:
        call(*arguments, **options)
    return json.loads(str(caught.value.body))


def test_a_second_object_of_the_same_name_already_exists(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/names/"""
    space.run("same", "true")
    with pytest.raises(client.ApiException) as caught:
        space.run("same", "true")
    status = json.loads(str(caught.value.body))
    assert status["message"] == 'jobs.batch "same" already exists'
    assert (status["code"], status["reason"]) == (409, "AlreadyExists")


def test_a_job_may_not_carry_another_ones_labels(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#specifying-your-own-pod-selector"""
    space.run("first", "true")
    body = {"metadata": {"name": "second"}, "spec": {"template": space.job("first").spec.template}}
    status = refused(space.batch.create_namespaced_job, space.name, body)
    assert status["code"] == 422 and "spec.template.metadata.labels" in status["message"]


def test_a_stale_write_is_a_conflict_and_changes_nothing(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#update-mechanism-update"""
    fill(space, "c")
    stale = space.core.read_namespaced_config_map("c", space.name)
    space.core.patch_namespaced_config_map("c", space.name, {"data": {"a": "2"}})
    stale.data["a"] = "3"
    status = refused(space.core.replace_namespaced_config_map, "c", space.name, stale)
    assert status["reason"] == "Conflict"
    assert "the object has been modified" in status["message"]
    assert space.core.read_namespaced_config_map("c", space.name).data == {"a": "2"}


def test_an_object_in_a_missing_namespace_is_refused(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/"""
    status = refused(cluster.core.create_namespaced_config_map, "nowhere", config_map("c"))
    assert (status["code"], status["message"]) == (404, 'namespaces "nowhere" not found')


def test_a_missing_object_and_a_missing_resource_are_told_apart(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris"""
    status = refused(cluster.batch.read_namespaced_job, "none", "default")
    assert status["message"] == 'jobs.batch "none" not found'
    code, status = cluster.request("GET", "/apis/batch/v1/namespaces/default/trains")
    assert (code, status["message"]) == (404, "the server could not find the requested resource")


def test_generate_name_makes_a_name(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#generated-values"""
    made = space.core.create_namespaced_config_map(space.name, {"metadata": {"generateName": "gen-"}})
    assert made.metadata.name.startswith("gen-") and len(made.metadata.name) == len("gen-") + 5


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tier=web", ["a"]),
        ("tier==web", ["a"]),
        ("tier!=web", ["b", "c"]),
        ("tier in (web,db)", ["a", "b"]),
        ("tier notin (web)", ["b", "c"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c"]),
        ("tier,tier!=db", ["a"]),
    ],
)
def test_label_selectors_choose(space: Space, selector: str, expected: list[str]) -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""
    for name, labels in (("a", {"tier": "web"}), ("b", {"tier": "db"}), ("c", {})):
        fill(space, name, **labels)
    assert names(maps(space, label_selector=selector)) == expected


def test_field_selectors_choose_and_unknown_fields_are_refused(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/"""
    fill(space, "a", "b")
    assert names(maps(space, field_selector="metadata.name!=a")) == ["b"]
    status = refused(space.core.list_namespaced_config_map, space.name, field_selector="data.a=1")
    assert (status["code"], status["reason"]) == (400, "BadRequest")


def test_a_long_list_comes_in_pages(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks"""
    for name in "abcde":
        space.core.create_namespaced_secret(space.name, {"metadata": {"name": name}, "type": "example.com/t"})
    seen, token = [], None
    while True:
        page = space.core.list_namespaced_secret(space.name, limit=2, _continue=token)
        seen += [s.metadata.name for s in page.items if s.type == "example.com/t"]
        token = page.metadata._continue
        if not token:
            break
        assert page.metadata.remaining_item_count
    assert seen == list("abcde")


def test_a_watch_goes_on_from_a_version_and_follows_its_selector(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes"""
    version = space.core.list_namespaced_config_map(space.name).metadata.resource_version
    fill(space, "a", tier="web")
    fill(space, "other")
    space.core.patch_namespaced_config_map("a", space.name, {"metadata": {"labels": {"tier": "db"}}})
    stream = Watch().stream(
        space.core.list_namespaced_config_map,
        space.name,
        label_selector="tier=web",
        resource_version=version,
        timeout_seconds=1,
    )
    assert [(e["type"], e["object"].metadata.name) for e in stream] == [("ADDED", "a"), ("DELETED", "a")]


def test_a_watch_tells_of_a_deletion_once(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes"""
    fill(space, "a")
    version = space.core.list_namespaced_config_map(space.name).metadata.resource_version
    space.core.delete_namespaced_config_map("a", space.name)
    stream = Watch().stream(
        space.core.list_namespaced_config_map, space.name, resource_version=version, timeout_seconds=1
    )
    told = [(e["type"], e["object"].metadata.name) for e in stream]
    assert [kind for kind, name in told if name == "a"] == ["DELETED"]


def test_versions_only_grow_and_an_unchanged_object_keeps_its_own(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions"""
    fill(space, "a")
    first = space.core.read_namespaced_config_map("a", space.name)
    again = space.core.patch_namespaced_config_map("a", space.name, {"data": {"a": "1"}})
    assert again.metadata.resource_version == first.metadata.resource_version
    changed = space.core.patch_namespaced_config_map("a", space.name, {"data": {"a": "2"}})
    assert int(changed.metadata.resource_version) > int(first.metadata.resource_version)


def test_a_json_patch_works_and_its_failed_test_is_refused(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#update-mechanism-json-patch"""
    fill(space, "a")
    made = space.core.patch_namespaced_config_map(
        "a", space.name, [{"op": "add", "path": "/data/b", "value": "2"}]
    )
    assert made.data == {"a": "1", "b": "2"}
    status = refused(
        space.core.patch_namespaced_config_map,
        "a",
        space.name,
        [{"op": "test", "path": "/data/a", "value": "9"}],
    )
    assert status["code"] == 422


def test_a_dry_run_stores_nothing(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run"""
    made = space.core.create_namespaced_config_map(space.name, config_map("a"), dry_run="All")
    assert made.metadata.uid
    assert not maps(space)


def test_a_precondition_protects_from_deleting_another_object(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/delete-options/"""
    fill(space, "a")
    status = refused(
        space.core.delete_namespaced_config_map, "a", space.name, body={"preconditions": {"uid": "another"}}
    )
    assert status["reason"] == "Conflict"


def test_a_collection_is_deleted_by_selector(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-deletion"""
    fill(space, "a", "b", tier="web")
    fill(space, "c")
    space.core.delete_collection_namespaced_config_map(space.name, label_selector="tier=web")
    assert names(maps(space)) == ["c"]


def test_a_status_is_written_apart_from_the_rest(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#get-list-update-patch-subresources"""
    space.run("j", "sleep", "100", spec={"parallelism": 0})
    patch = {"metadata": {"labels": {"new": "1"}}, "spec": {"parallelism": 1}, "status": {"failed": 0}}
    space.batch.patch_namespaced_job_status("j", space.name, patch)
    assert space.job("j").spec.parallelism == 0


def test_a_finalizer_holds_an_object_back(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/"""
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    space.core.create_namespaced_config_map(space.name, held)
    space.core.delete_namespaced_config_map("held", space.name)
    assert space.core.read_namespaced_config_map("held", space.name).metadata.deletion_timestamp
    space.core.patch_namespaced_config_map("held", space.name, {"metadata": {"finalizers": None}})
    assert "held" not in names(maps(space))


def test_what_an_object_owns_goes_with_it(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents"""
    owner = space.core.create_namespaced_config_map(space.name, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
    owned = config_map("owned")
    owned["metadata"]["ownerReferences"] = [reference]
    space.core.create_namespaced_config_map(space.name, owned)
    space.core.delete_namespaced_config_map("owner", space.name)
    wait_for(lambda: "owned" not in names(maps(space)), what="the owned one to go")


def test_a_table_is_what_kubectl_prints(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables"""
    fill(space, "a")
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    path = f"/api/v1/namespaces/{space.name}/configmaps/a"
    _, table = space.cluster.request("GET", path, headers=accept)
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert table["rows"][0]["cells"][:2] == ["a", 1]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


def test_a_version_that_is_too_old_to_watch_from_is_gone(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#410-gone-responses"""
    with pytest.raises(client.ApiException) as caught:
        list(Watch().stream(cluster.core.list_namespace, resource_version="1", timeout_seconds=1))
    assert caught.value.status == 410


def job(**pod: Any) -> Obj:
    container = {"name": "main", "image": "python:3.11", "command": ["true"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], **pod}}
    return {"metadata": {"name": "bad"}, "spec": {"template": template}}


def container(**more: Any) -> Obj:
    return job(containers=[{"name": "a", "image": "x", **more}])


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (job(containers=[]), 422, "spec.template.spec.containers: Required value"),
        (
            job(restartPolicy="Always"),
            422,
            'values: "OnFailure", "Never"',
        ),
        (container(name="Bad_Name"), 422, "[a-z0-9]([-a-z0-9]*[a-z0-9])?"),
        (container(resources={"limits": {"cpu": "lots"}}), 400, "quantities must match the regular"),
        (
            container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            422,
            'volumeMounts[0].name: Not found: "v"',
        ),
        (
            container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            422,
            "must be less than or equal",
        ),
        (container(env=[{"value": "1"}]), 422, "env[0].name: Required value"),
        (job(hostname="not.good"), 422, "spec.template.spec.hostname: Invalid value"),
        ({**job(), "metadata": {"name": "Bad"}}, 422, "metadata.name: Invalid value"),
        ({**job(), "metadata": {"name": "a", "labels": {"k": "-"}}}, 422, "metadata.labels: Invalid value"),
        ({**job(), "spec": {**job()["spec"], "backoffLimit": -1}}, 422, "must be greater than or equal to 0"),
        (
            {**job(), "spec": {**job()["spec"], "selector": {"matchLabels": {"a": "b"}}}},
            422,
            "`selector` not auto-generated",
        ),
    ],
)
def test_a_bad_job_is_refused_with_its_reasons(space: Space, body: Obj, code: int, words: str) -> None:
    """https://kubernetes.io/docs/concepts/workloads/controllers/job/#writing-a-job-spec"""
    answered, status = space.cluster.request("POST", f"/apis/batch/v1/namespaces/{space.name}/jobs", body)
    assert (answered, status["code"]) == (code, code)
    assert words in status["message"]


def test_unknown_fields_can_be_refused(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation"""
    space.cluster.needs(27, "fieldValidation")
    path = f"/apis/batch/v1/namespaces/{space.name}/jobs?fieldValidation=Strict"
    body = {**job(), "spec": {**job()["spec"], "typo": 1}}
    answered, status = space.cluster.request("POST", path, body)
    assert answered == 400 and 'field "spec.typo"' in status["message"]


BAD_BODIES = [
    (b"{", "application/json", 400),
    (b"[]", "application/json", 400),
    (b'{"metadata": 1}', "application/json", 400),
    (b'{"metadata": {"name": "x"}, "spec": NaN}', "application/json", 400),
    (b"a: [b", "application/yaml", 400),
    (b"[" * 100_000, "application/json", 400),
    (b'"' + b"x" * 4_000_000 + b'"', "application/json", 413),
    (b'{"kind": "Pod", "apiVersion": "v1"}', "application/json", 400),
    (b"k8s", "application/vnd.kubernetes.protobuf", 400),
    (b"k8s", "text/plain", 415),
    (b'{"metadata": {"name": 5}, "spec": {"template": 5}}', "application/json", 400),
    (
        b'{"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": "many"}}}}',
        "application/json",
        400,
    ),
    (b'{"metadata": {"name": "x"}, "spec": {"backoffLimit": "many"}}', "application/json", 400),
]


@pytest.mark.parametrize(("body", "content_type", "code"), BAD_BODIES)
def test_bad_bodies_are_told_apart(space: Space, body: bytes, content_type: str, code: int) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/"""
    path = f"/apis/batch/v1/namespaces/{space.name}/jobs"
    answered, status = space.cluster.request("POST", path, body, content_type=content_type)
    assert (answered, status["kind"]) == (code, "Status")


def test_yaml_is_read_too(space: Space) -> None:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources"""
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made}\ndata: {a: '1'}\n"
    path = f"/api/v1/namespaces/{space.name}/configmaps"
    assert space.cluster.request("POST", path, body, content_type="application/yaml")[0] == 201
    assert space.core.read_namespaced_config_map("made", space.name).data == {"a": "1"}


def test_deleting_a_namespace_ends_all_that_is_in_it(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/tasks/administer-cluster/namespaces/#deleting-a-namespace"""
    space = Space(cluster)
    space.run("long", "sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done")
    space.running("long")
    cluster.core.delete_namespace(space.name)

    def gone() -> bool:
        return space.name not in names(cluster.core.list_namespace().items)

    wait_for(gone, 60, what="the namespace to go")
    assert not cluster.core.list_namespaced_pod(space.name).items
