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


def names(items: list[Any]) -> list[str]:
    return [item.metadata.name for item in items]


def refused(call: Any, *arguments: Any, **options: Any) -> Any:
    with pytest.raises(client.ApiException) as caught:
        call(*arguments, **options)
    return json.loads(str(caught.value.body))


def test_a_request_without_credentials_is_unauthorized(cluster: Cluster) -> None:
    code, status = cluster.request("GET", "/api/v1/pods", token="wrong")
    assert (code, status["reason"], status["kind"]) == (401, "Unauthorized", "Status")
    assert cluster.request("GET", "/api/v1/pods")[0] == 200


def test_a_second_object_of_the_same_name_already_exists(space: Space) -> None:
    space.run("same", "true")
    body = space.job("same")
    status = refused(
        space.batch.create_namespaced_job,
        space.name,
        {"metadata": {"name": "same"}, "spec": {"template": body.spec.template}},
    )
    assert status["message"] == 'jobs.batch "same" already exists'
    assert (status["code"], status["reason"]) == (409, "AlreadyExists")


def test_a_stale_write_is_a_conflict_and_changes_nothing(space: Space) -> None:
    fill(space, "c")
    stale = space.core.read_namespaced_config_map("c", space.name)
    space.core.patch_namespaced_config_map("c", space.name, {"data": {"a": "2"}})
    stale.data["a"] = "3"
    status = refused(space.core.replace_namespaced_config_map, "c", space.name, stale)
    assert status["reason"] == "Conflict"
    assert "the object has been modified" in status["message"]
    assert space.core.read_namespaced_config_map("c", space.name).data == {"a": "2"}


def test_an_object_in_a_missing_namespace_is_refused(cluster: Cluster) -> None:
    status = refused(cluster.core.create_namespaced_config_map, "nowhere", config_map("c"))
    assert (status["code"], status["message"]) == (404, 'namespaces "nowhere" not found')


def test_a_missing_object_and_a_missing_resource_are_told_apart(cluster: Cluster) -> None:
    status = refused(cluster.batch.read_namespaced_job, "none", "default")
    assert status["message"] == 'jobs.batch "none" not found'
    status = refused(client.AppsV1Api(cluster.api).list_namespaced_deployment, "default")
    assert status["message"] == "the server could not find the requested resource"


def test_generate_name_makes_a_name(space: Space) -> None:
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
    for name, labels in (("a", {"tier": "web"}), ("b", {"tier": "db"}), ("c", {})):
        fill(space, name, **labels)
    assert names(space.core.list_namespaced_config_map(space.name, label_selector=selector).items) == expected


def test_field_selectors_choose_and_unknown_fields_are_refused(space: Space) -> None:
    fill(space, "a", "b")
    chosen = space.core.list_namespaced_config_map(space.name, field_selector="metadata.name!=a")
    assert names(chosen.items) == ["b"]
    status = refused(space.core.list_namespaced_config_map, space.name, field_selector="data.a=1")
    assert (status["code"], status["reason"]) == (400, "BadRequest")


def test_a_long_list_comes_in_pages(space: Space) -> None:
    fill(space, *"abcde")
    seen, token = [], None
    while True:
        page = space.core.list_namespaced_config_map(space.name, limit=2, _continue=token)
        seen += names(page.items)
        token = page.metadata._continue
        if not token:
            break
        assert page.metadata.remaining_item_count == 5 - len(seen)
    assert seen == list("abcde")


def test_a_watch_goes_on_from_a_version_and_follows_its_selector(space: Space) -> None:
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


def test_versions_only_grow_and_an_unchanged_object_keeps_its_own(space: Space) -> None:
    fill(space, "a")
    first = space.core.read_namespaced_config_map("a", space.name)
    again = space.core.patch_namespaced_config_map("a", space.name, {"data": {"a": "1"}})
    assert again.metadata.resource_version == first.metadata.resource_version
    changed = space.core.patch_namespaced_config_map("a", space.name, {"data": {"a": "2"}})
    assert int(changed.metadata.resource_version) > int(first.metadata.resource_version)


def test_a_json_patch_works_and_its_failed_test_is_refused(space: Space) -> None:
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
    made = space.core.create_namespaced_config_map(space.name, config_map("a"), dry_run="All")
    assert made.metadata.uid
    assert not space.core.list_namespaced_config_map(space.name).items


def test_a_precondition_protects_from_deleting_another_object(space: Space) -> None:
    fill(space, "a")
    status = refused(
        space.core.delete_namespaced_config_map, "a", space.name, body={"preconditions": {"uid": "another"}}
    )
    assert status["reason"] == "Conflict"


def test_a_collection_is_deleted_by_selector(space: Space) -> None:
    fill(space, "a", "b", tier="web")
    fill(space, "c")
    space.core.delete_collection_namespaced_config_map(space.name, label_selector="tier=web")
    assert names(space.core.list_namespaced_config_map(space.name).items) == ["c"]


def job(**pod: Any) -> Obj:
    container = {"name": "main", "image": "busybox", "command": ["true"]}
    return {
        "metadata": {"name": "bad"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container], **pod}}},
    }


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (job(containers=[]), 422, "spec.template.spec.containers: Required value"),
        (
            job(restartPolicy="Always"),
            422,
            'Unsupported value: "Always": supported values: "OnFailure", "Never"',
        ),
        (job(hostNetwork=True), 400, 'unknown or unsupported field "spec.template.spec.hostNetwork"'),
        (
            job(containers=[{"name": "Bad_Name", "image": "x"}]),
            422,
            "a lowercase RFC 1123 label must consist of",
        ),
        (
            job(containers=[{"name": "a", "image": "x", "resources": {"limits": {"cpu": "lots"}}}]),
            400,
            "quantities must match the regular expression",
        ),
        (
            job(containers=[{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]),
            422,
            'volumeMounts[0].name: Not found: "v"',
        ),
        (
            job(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "../other/data"}}]),
            422,
            "a lowercase RFC 1123 subdomain must consist of",
        ),
        ({**job(), "metadata": {"name": "Bad"}}, 422, "a lowercase RFC 1123 subdomain must consist of"),
        ({**job(), "spec": {**job()["spec"], "backoffLimit": -1}}, 422, "must be greater than or equal to 0"),
        (
            {**job(), "spec": {**job()["spec"], "selector": {"matchLabels": {"a": "b"}}}},
            422,
            "`selector` not auto-generated",
        ),
        ({**job(), "spec": {**job()["spec"], "typo": 1}}, 400, 'field "spec.typo"'),
    ],
)
def test_a_bad_job_is_refused_in_the_real_servers_words(
    space: Space, body: Obj, code: int, words: str
) -> None:
    answered, status = space.cluster.request("POST", f"/apis/batch/v1/namespaces/{space.name}/jobs", body)
    assert (answered, status["code"]) == (code, code)
    assert words in status["message"]


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"metadata": 1}', "application/json", 400),
        (b'{"metadata": {"name": "x"}, "spec": NaN}', "application/json", 400),
        (b"a: b", "application/yaml", 415),
        (b"[" * 100_000, "application/json", 400),
        (b'"' + b"x" * 4_000_000 + b'"', "application/json", 413),
        (b'{"kind": "Pod", "apiVersion": "v1"}', "application/json", 400),
        (b"k8s", "application/vnd.kubernetes.protobuf", 400),
        (
            b'{"metadata": {"name": "x"}, "spec": {"template": {"spec": {"containers": "many"}}}}',
            "application/json",
            400,
        ),
        (b'{"metadata": {"name": 5}, "spec": {"template": 5}}', "application/json", 400),
        (
            b'{"metadata": {"name": "x"}, "spec": {"backoffLimit": "many", "template": {}}}',
            "application/json",
            400,
        ),
    ],
)
def test_bad_bodies_are_told_apart_and_none_breaks_the_server(
    space: Space, body: bytes, content_type: str, code: int
) -> None:
    path = f"/apis/batch/v1/namespaces/{space.name}/jobs"
    answered, status = space.cluster.request("POST", path, body, content_type=content_type)
    assert (answered, status["kind"]) == (code, "Status")


def test_deleting_a_namespace_ends_all_that_is_in_it(cluster: Cluster) -> None:
    space = Space(cluster)
    space.run("long", "sleep", "100", pod={"terminationGracePeriodSeconds": 1})
    space.running("long")
    cluster.core.delete_namespace(space.name)

    def gone() -> bool:
        return space.name not in names(cluster.core.list_namespace().items)

    wait_for(gone, what="the namespace to go")
    assert not cluster.core.list_namespaced_pod(space.name).items
