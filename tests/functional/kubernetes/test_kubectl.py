"""What kubectl shows of the embedded cluster alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.functional.kubernetes.clusters import Space


def test_strange_fields_are_refused_not_ignored(space: Space) -> None:
    container = {"name": "main", "image": "python:3.11", "command": ["true"]}
    pod = {"restartPolicy": "Never", "containers": [container], "hostPID": True}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "strange"}}
    manifest = json.dumps({**body, "spec": {"template": {"spec": pod}}})
    told = space.cluster.kubectl("-n", space.name, "create", "-f", "-", stdin=manifest, check=False)
    assert 'unsupported field "spec.template.spec.hostPID"' in told


@pytest.mark.parametrize(
    "path",
    [
        "configmaps?limit=\u00b2",
        f"configmaps?limit={'9' * 5000}",
        "configmaps?watch=1&resourceVersion=\u00b2",
        f"pods/none/log?tailLines={'9' * 5000}",
        f"configmaps/none?gracePeriodSeconds={'9' * 5000}",
    ],
    ids=["no digit", "too long", "no version", "lines", "seconds"],
)
def test_a_number_that_is_none_is_the_senders_mistake(space: Space, path: str) -> None:
    method = "DELETE" if "gracePeriod" in path else "GET"
    code, status = space.cluster.request(method, f"/api/v1/namespaces/{space.name}/{path}")
    assert code in (400, 404) and status["kind"] == "Status"


def test_a_status_that_cannot_be_read_is_refused(space: Space) -> None:
    space.run("j", "true")
    path = f"/apis/batch/v1/namespaces/{space.name}/jobs/j/status"
    kind = "application/merge-patch+json"
    code, status = space.cluster.request("PATCH", path, {"status": {"active": "many"}}, content_type=kind)
    assert code == 400 and "status.active" in status["message"]


def test_what_the_cluster_itself_has_made_can_be_changed(space: Space) -> None:
    kubectl = space.cluster.kubectl
    space.run("j", "true")
    space.ended("j")
    for words in (["node/trainyard"], ["-n", space.name, "jobs,pods,events", "--all"], [f"ns/{space.name}"]):
        assert "labeled" in kubectl("label", *words, "test=1")
    assert kubectl("label", "node", "trainyard", "test-") == "node/trainyard unlabeled\n"


@pytest.mark.parametrize("options", [{"gracePeriodSeconds": "long"}, {"preconditions": 5}, []])
def test_bad_delete_options_are_refused(space: Space, options: Any) -> None:
    path = f"/api/v1/namespaces/{space.name}/configmaps"
    assert space.cluster.request("POST", path, {"metadata": {"name": "a"}})[0] == 201
    assert space.cluster.request("DELETE", f"{path}/a", options)[0] == 400
    assert space.cluster.request("GET", f"{path}/a")[0] == 200
