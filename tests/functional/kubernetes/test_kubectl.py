"""kubectl is the judge: what people type must work and print what it prints on a real cluster."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.functional.kubernetes.clusters import Cluster, Obj, Space, wait_for


def kubectl(space: Space, *words: str, **options: Any) -> str:
    return space.cluster.kubectl("-n", space.name, *words, **options)


def manifest(name: str, *command: str) -> str:
    container = {"name": "main", "image": "busybox", "command": list(command)}
    body: Obj = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
    return json.dumps(body)


def test_create_get_wait_logs_delete(space: Space) -> None:
    assert (
        kubectl(space, "create", "-f", "-", stdin=manifest("main", "sh", "-c", "echo hi; sleep 0.5"))
        == "job.batch/main created\n"
    )
    space.running("main")
    assert kubectl(space, "logs", "-f", "job/main") == "hi\n"
    assert (
        kubectl(space, "wait", "--for=condition=complete", "job/main", "--timeout=10s")
        == "job.batch/main condition met\n"
    )
    table = kubectl(space, "get", "jobs")
    assert re.search(r"NAME +STATUS +COMPLETIONS +DURATION +AGE\nmain +Complete +1/1", table)
    wide = kubectl(space, "get", "pods", "-o", "wide", "-l", "job-name=main")
    assert re.search(r"main-\w{5} +0/1 +Completed +0 .*127\..* trainyard", wide)
    assert kubectl(space, "delete", "job", "main") == 'job.batch "main" deleted\n'
    wait_for(lambda: "No resources found" in kubectl(space, "get", "pods"))


def test_imperative_create_which_speaks_protobuf(space: Space) -> None:
    kubectl(space, "create", "job", "quick", "--image=busybox", "--", "sh", "-c", "echo $0 $1", "zero", "one")
    kubectl(space, "wait", "--for=condition=complete", "job/quick", "--timeout=10s")
    assert kubectl(space, "logs", "job/quick") == "zero one\n"
    kubectl(space, "create", "configmap", "c", "--from-literal=k=v")
    assert kubectl(space, "get", "configmap", "c", "-o", "jsonpath={.data.k}") == "v"
    kubectl(space, "create", "secret", "generic", "s", "--from-literal=k=v")
    assert kubectl(space, "get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="


def test_apply_twice_patch_and_edit_conflicts(space: Space) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
    assert kubectl(space, "apply", "-f", "-", stdin=json.dumps(body)) == "configmap/c created\n"
    assert kubectl(space, "apply", "-f", "-", stdin=json.dumps(body)) == "configmap/c unchanged\n"
    del body["data"]["b"]  # type: ignore[attr-defined]
    assert kubectl(space, "apply", "-f", "-", stdin=json.dumps(body)) == "configmap/c configured\n"
    assert json.loads(kubectl(space, "get", "cm", "c", "-o", "json"))["data"] == {"a": "1"}
    kubectl(space, "patch", "cm", "c", "-p", '{"data": {"a": null, "z": "9"}}')
    assert json.loads(kubectl(space, "get", "cm", "c", "-o", "json"))["data"] == {"z": "9"}


def test_describe_shows_state_and_events(space: Space) -> None:
    space.run("fails", "sh", "-c", "exit 3")
    space.ended("fails")
    pod = kubectl(space, "describe", "pod", "-l", "job-name=fails")
    for words in (
        r"Status: +Failed",
        r"Exit Code: +3",
        r"Reason: +Error",
        r"Controlled By: +Job/fails",
        "Scheduled",
    ):
        assert re.search(words, pod), words
    assert re.search(r"BackoffLimitExceeded", kubectl(space, "describe", "job", "fails"))
    assert "Successfully assigned" in kubectl(space, "events")
    assert "Created pod: fails-" in kubectl(
        space, "get", "events", "--field-selector", "involvedObject.kind=Job"
    )


def test_a_watched_list_prints_each_change(space: Space) -> None:
    space.run("walks", "sleep", "0.3")
    output = kubectl(space, "get", "pods", "-w", "--request-timeout=3s", check=False)
    assert "Running" in output and "Completed" in output


def test_server_and_resources_are_discovered(cluster: Cluster) -> None:
    assert "Server Version: v1.32" in cluster.kubectl("version")
    listed = cluster.kubectl("api-resources", "--no-headers")
    assert re.search(r"^jobs +batch/v1 +true +Job$", listed, re.M)
    assert "doesn't have a resource type" in cluster.kubectl("get", "deployments", check=False)
    described = cluster.kubectl("describe", "node", "trainyard")
    assert re.search(r"nvidia.com/gpu: +8", described)


def test_strange_fields_are_refused_not_ignored(space: Space) -> None:
    body = json.loads(manifest("strange", "true"))
    body["spec"]["template"]["spec"]["hostPID"] = True
    told = kubectl(space, "create", "-f", "-", stdin=json.dumps(body), check=False)
    assert 'unknown or unsupported field "spec.template.spec.hostPID"' in told


def test_a_follower_sees_lines_as_they_are_written(space: Space) -> None:
    space.run("talks", "sh", "-c", "echo one; sleep 0.5; echo two")
    space.running("talks")
    assert kubectl(space, "logs", "-f", "job/talks", "--timestamps").count("Z ") == 2


def test_force_deletes_at_once(space: Space) -> None:
    space.run("stays", "sh", "-c", "trap '' TERM; while true; do sleep 0.1; done", spec={"backoffLimit": 3})
    pod = space.running("stays").metadata.name
    kubectl(space, "delete", "job", "stays", "--cascade=orphan")
    kubectl(space, "delete", "pod", pod, "--grace-period=0", "--force")
    assert not space.pods("stays")
