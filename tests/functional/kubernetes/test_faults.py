"""Faults on demand: each does what it says, to those it is meant for, and goes away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from kubernetes import client

from tests.functional.kubernetes.clusters import EmbeddedCluster, Space, Watch, wait_for

PATH = "/control/faults"


class Faulty:
    def __init__(self, cluster: EmbeddedCluster) -> None:
        self.cluster = cluster

    def add(self, fault: str, **fields: Any) -> Any:
        code, body = self.cluster.request("POST", PATH, {"fault": fault, **fields})
        assert code == 200, body
        return body

    def clear(self) -> None:
        _, body = self.cluster.request("DELETE", PATH)
        assert body == {"rules": [], "lostNodes": [], "unpullableImages": []}


@pytest.fixture
def faults(embedded: EmbeddedCluster) -> Iterator[Faulty]:
    made = Faulty(embedded)
    yield made
    made.clear()


@pytest.mark.parametrize(("code", "reason"), [(429, "TooManyRequests"), (500, "InternalError")])
def test_the_next_requests_of_a_kind_fail(faults: Faulty, space: Space, code: int, reason: str) -> None:
    faults.add("error", code=code, method="GET", path=f"/api/v1/namespaces/{space.name}/pods*", count=1)
    path = f"/api/v1/namespaces/{space.name}/pods"
    assert space.cluster.request("GET", "/api/v1/nodes")[0] == 200
    answered, status = space.cluster.request("GET", path)
    assert (answered, status["reason"]) == (code, reason)
    assert space.cluster.request("GET", path)[0] == 200


def test_an_answer_is_late(faults: Faulty, space: Space) -> None:
    faults.add("latency", seconds=0.5, count=1)
    began = time.monotonic()
    space.pods()
    assert time.monotonic() - began >= 0.5


def test_an_answer_is_lost_though_the_effect_is_there(faults: Faulty, space: Space) -> None:
    faults.add("timeout", method="POST", path="*/configmaps*", count=1)
    path = f"/api/v1/namespaces/{space.name}/configmaps"
    with pytest.raises(requests.ConnectionError):
        space.cluster.request("POST", path, {"metadata": {"name": "made"}})
    assert space.cluster.request("GET", f"{path}/made")[0] == 200


def test_watches_break_off_and_old_versions_are_gone(faults: Faulty, space: Space) -> None:
    version = space.core.list_namespaced_config_map(space.name).metadata.resource_version
    path = f"/api/v1/namespaces/{space.name}/configmaps?watch=1&resourceVersion={version}"
    settings: Any = space.cluster.api.configuration
    certificate = (settings.cert_file, settings.key_file)
    with requests.get(
        settings.host + path, stream=True, cert=certificate, verify=settings.ssl_ca_cert, timeout=20
    ) as answer:
        space.core.create_namespaced_config_map(space.name, {"metadata": {"name": "new"}})
        faults.add("expire")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            list(answer.iter_lines())
    with pytest.raises(client.ApiException) as caught:
        listing = space.core.list_namespaced_config_map
        list(Watch().stream(listing, space.name, resource_version=version, timeout_seconds=1))
    assert caught.value.status == 410


def test_a_lost_node_takes_its_pods_with_it_and_comes_back(faults: Faulty, space: Space) -> None:
    space.run(
        "job", "sh", "-c", "sleep 1000", spec={"backoffLimit": 3}, pod={"terminationGracePeriodSeconds": 1}
    )
    first = space.running("job")
    faults.add("node-loss", node="trainyard")
    assert "NotReady" in space.cluster.kubectl("get", "nodes")
    told = space.core.read_namespaced_pod(first.metadata.name, space.name)
    assert told.metadata.deletion_timestamp and told.status.phase == "Running"
    assert any(c.type == "DisruptionTarget" for c in told.status.conditions)

    def other() -> Any:
        return next((p for p in space.pods("job") if p.metadata.uid != first.metadata.uid), None)

    def unschedulable() -> bool:
        return any(c.reason == "Unschedulable" for c in wait_for(other).status.conditions or [])

    wait_for(unschedulable, what="a second pod that has no place")
    faults.clear()
    wait_for(lambda: wait_for(other).status.phase == "Running", what="the second pod to run")
    wait_for(lambda: len(space.pods("job")) == 1, what="the first pod to go")


def test_an_evicted_pod_says_so_and_need_not_count(faults: Faulty, space: Space) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    spec = {"backoffLimit": 0, "podFailurePolicy": {"rules": [rule]}}
    space.run("job", "sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done", spec=spec)
    first = space.running("job").metadata.name
    faults.add("eviction", namespace=space.name, pod=first)

    def evicted() -> bool:
        status = space.core.read_namespaced_pod(first, space.name).status
        return (status.phase, status.reason) == ("Failed", "Evicted")

    wait_for(evicted)
    assert space.events("Evicted")
    space.running("job")


def test_images_cannot_be_pulled_until_they_can(faults: Faulty, space: Space) -> None:
    faults.add("image-pull", image="python:*")
    space.run("job", "true")

    def waiting() -> bool:
        states = space.pod("job").status.container_statuses
        return bool(states and states[0].state.waiting.reason == "ImagePullBackOff")

    wait_for(waiting)
    faults.clear()
    assert space.ended("job").type == "Complete"


def test_only_admins_cause_faults_and_unknown_ones_are_refused(embedded: EmbeddedCluster) -> None:
    body = {"fault": "error", "code": 500}
    assert embedded.request("POST", PATH, body, headers={"Impersonate-User": "guest"})[0] == 403
    wrongs: list[Any] = [{"fault": "fire"}, {"fault": "error", "colour": "red"}, [], {"fault": "node-loss"}]
    for wrong in wrongs:
        assert embedded.request("POST", PATH, wrong)[0] == 400
    assert embedded.request("POST", PATH, {"fault": "node-loss", "node": "none"})[0] == 404
