"""kubectl is the judge: what people type must work and print what it prints on a real cluster."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.functional.kubernetes.clusters import Cluster, Obj, Space, wait_for


def kubectl(space: Space, *words: str, **options: Any) -> str:
    return space.cluster.kubectl("-n", space.name, *words, **options)


def manifest(space: Space, name: str, *command: str) -> str:
    image = {"image": space.cluster.image, "imagePullPolicy": "IfNotPresent"}
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", **image, "command": list(command)}]}
    body: Obj = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    return json.dumps({**body, "spec": {"backoffLimit": 0, "template": {"spec": spec}}})


def test_create_get_wait_logs_delete(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_wait/"""
    body = manifest(space, "main", "sh", "-c", "echo hi; sleep 1")
    assert kubectl(space, "create", "-f", "-", stdin=body) == "job.batch/main created\n"
    space.running("main")
    assert kubectl(space, "logs", "-f", "job/main") == "hi\n"
    waited = kubectl(space, "wait", "--for=condition=complete", "job/main", "--timeout=30s")
    assert waited == "job.batch/main condition met\n"
    table = kubectl(space, "get", "jobs")
    assert re.search(r"NAME +(STATUS +)?COMPLETIONS +DURATION +AGE\nmain +(Complete +)?1/1", table)
    wide = kubectl(space, "get", "pods", "-o", "wide", "-l", "job-name=main")
    assert re.search(r"READY +STATUS +RESTARTS +AGE +IP +NODE", wide)
    assert re.search(r"main-\w{5} +0/1 +Completed +0 ", wide)
    assert kubectl(space, "delete", "job", "main").startswith('job.batch "main" deleted')
    wait_for(lambda: "No resources found" in kubectl(space, "get", "pods"))


def test_imperative_create_which_speaks_protobuf(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_create/kubectl_create_job/"""
    words = ["create", "job", "quick", f"--image={space.cluster.image}"]
    kubectl(space, *words, "--", "sh", "-c", "echo $0 $1", "zero", "one")
    kubectl(space, "wait", "--for=condition=complete", "job/quick", "--timeout=30s")
    assert kubectl(space, "logs", "job/quick") == "zero one\n"
    kubectl(space, "create", "configmap", "c", "--from-literal=k=v")
    assert kubectl(space, "get", "configmap", "c", "-o", "jsonpath={.data.k}") == "v"
    kubectl(space, "create", "secret", "generic", "s", "--from-literal=k=v")
    assert kubectl(space, "get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="


def test_apply_twice_and_patch(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_apply/"""
    body: Obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    body["data"] = {"a": "1", "b": "2"}
    assert kubectl(space, "apply", "-f", "-", stdin=json.dumps(body)) == "configmap/c created\n"
    assert kubectl(space, "apply", "-f", "-", stdin=json.dumps(body)) == "configmap/c unchanged\n"
    del body["data"]["b"]
    assert kubectl(space, "apply", "-f", "-", stdin=json.dumps(body)) == "configmap/c configured\n"
    assert json.loads(kubectl(space, "get", "cm", "c", "-o", "json"))["data"] == {"a": "1"}
    assert (
        kubectl(space, "patch", "cm", "c", "-p", '{"data": {"a": null, "z": "9"}}') == "configmap/c patched\n"
    )
    assert 'z: "9"' in kubectl(space, "get", "cm", "c", "-o", "yaml")


def test_describe_shows_state_and_events(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_describe/"""
    space.run("fails", "sh", "-c", "exit 3")
    space.ended("fails")
    pod = kubectl(space, "describe", "pod", "-l", "job-name=fails")
    for words in (r"Status: +Failed", r"Exit Code: +3", r"Reason: +Error", r"Controlled By: +Job/fails"):
        assert re.search(words, pod), words
    wait_for(lambda: "BackoffLimitExceeded" in kubectl(space, "describe", "job", "fails"))
    assert "Successfully assigned" in kubectl(space, "events")
    selector = ["--field-selector", "involvedObject.kind=Job"]
    assert "Created pod: fails-" in kubectl(space, "get", "events", *selector)


def test_logs_of_the_run_before(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs/"""
    space.run_twice("again")

    def previous() -> bool:
        return kubectl(space, "logs", "job/again", "--previous", "-c", "main", check=False) == "run\n"

    wait_for(previous, what="the log of the first run")


def test_logs_by_tail_and_time(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs/"""
    space.run("talks", "sh", "-c", "for i in 1 2 3; do echo $i; done")
    space.ended("talks")
    assert kubectl(space, "logs", "job/talks", "--tail=1", "--since=1h") == "3\n"
    assert kubectl(space, "logs", "job/talks", "--timestamps").count("Z ") == 3


def test_a_watched_list_prints_each_change(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_get/"""
    space.run("walks", "sleep", "1")
    output = kubectl(space, "get", "pods", "-w", "--request-timeout=5s", check=False)
    assert "Running" in output and "Completed" in output


def test_server_and_resources_are_discovered(cluster: Cluster) -> None:
    """https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api"""
    assert "Server Version: v1." in cluster.kubectl("version")
    listed = cluster.kubectl("api-resources", "--no-headers")
    assert re.search(r"^jobs +batch/v1 +true +Job$", listed, re.M)
    assert "doesn't have a resource type" in cluster.kubectl("get", "locomotives", check=False)
    assert re.search(r"nvidia.com/gpu: +8", cluster.kubectl("describe", "nodes"))


def test_force_deletes_at_once(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-forced"""
    script = "trap '' TERM; while true; do sleep 0.1; done"
    space.run("stays", "sh", "-c", script, spec={"backoffLimit": 3})
    pod = space.running("stays").metadata.name
    kubectl(space, "delete", "job", "stays", "--cascade=orphan")
    kubectl(space, "delete", "pod", pod, "--grace-period=0", "--force")
    assert not space.pods("stays")
