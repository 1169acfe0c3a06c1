"""What only the embedded cluster can show of pods: its folders, its processes, its own sizes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from kubernetes import client

from infra.local.kubernetes.procinfo import start_of
from tests.functional.kubernetes.clusters import (
    Cluster,
    EmbeddedCluster,
    Obj,
    Space,
    Watch,
    mounted,
    wait_for,
)


def gpu(count: int) -> Obj:
    return {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}


def scheduled(pod: Any) -> Any:
    found = (c for c in pod.status.conditions or [] if c.type == "PodScheduled")
    return next(found, None)


def test_a_volume_is_where_the_manifest_says_and_read_only_means_it(space: Space) -> None:
    folder = space.claim("code")
    (folder / "train.py").write_text(
        "import pathlib, os; print('trained', os.getcwd())\npathlib.Path('/workspace/made').touch()\n"
    )
    pod, container = mounted("code", "/workspace")
    space.run(
        "train", "python", "/workspace/train.py", pod=pod, container={**container, "workingDir": "/workspace"}
    )
    assert space.ended("train").type == "Complete", space.log(space.pod("train"))
    assert space.log(space.pod("train")) == "trained /workspace\n"
    assert (folder / "made").exists()
    pod, container = mounted("code", "/workspace", readOnly=True)
    space.run("reader", "touch", "/workspace/other", pod=pod, container=container)
    assert space.ended("reader").type == "Failed"
    assert "Read-only file system" in space.log(space.pod("reader"))


def test_a_folder_that_exists_satisfies_its_claim(embedded: EmbeddedCluster, space: Space) -> None:
    folder = embedded.volumes / space.name / "static"
    folder.mkdir(parents=True)
    (folder / "x").write_text("there")
    pod, container = mounted("static", "/dataset")
    space.run("reads", "cat", "/dataset/x", pod=pod, container=container)
    assert space.ended("reads").type == "Complete"
    assert space.core.read_namespaced_persistent_volume_claim("static", space.name).status.phase == "Bound"


def test_variables_are_expanded_and_nothing_of_the_host_leaks(
    space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_ONLY", "leak")
    env = [
        {"name": "A", "value": "one"},
        {"name": "B", "value": "$(A)-two $$(A) $(NONE)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "TIER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    space.run("env", "env", container={"env": env})
    space.ended("env")
    seen = dict(line.split("=", 1) for line in space.log(space.pod("env")).splitlines())
    assert (seen["A"], seen["B"], seen["NODE"], seen["TIER"]) == (
        "one",
        "one-two $(A) $(NONE)",
        "trainyard",
        "",
    )
    assert seen["IP"].startswith("127.")
    assert set(seen) - {"A", "B", "NODE", "TIER", "IP"} == {
        "PATH",
        "HOME",
        "HOSTNAME",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "KUBERNETES_SERVICE_PORT_HTTPS",
    }


def watched(space: Space, pod: Any) -> list[Obj]:
    stream = Watch().stream(
        space.core.list_namespaced_pod,
        space.name,
        timeout_seconds=3,
        field_selector=f"metadata.name={pod.metadata.name}",
    )
    return [{"type": e["type"], "object": e["raw_object"]} for e in stream]


def test_a_polite_process_ends_as_it_chooses(space: Space) -> None:
    script = "trap 'kill $!; wait $!; exit $?' TERM; sleep 100 & wait"
    space.run("polite", "sh", "-c", script, spec={"backoffLimit": 5, "activeDeadlineSeconds": 60})
    pod = space.running("polite")
    seen: list[int] = []
    follower = threading.Thread(
        target=lambda: seen.extend(
            s["state"]["terminated"]["exitCode"]
            for e in watched(space, pod)
            for s in e["object"]["status"].get("containerStatuses") or []
            if "terminated" in s["state"]
        )
    )
    follower.start()
    space.batch.patch_namespaced_job("polite", space.name, {"spec": {"suspend": True}})
    follower.join(timeout=10)
    assert seen and set(seen) == {143}


def test_children_that_left_the_group_die_with_their_container(
    embedded: EmbeddedCluster, space: Space
) -> None:
    folder = space.claim("work")
    pod, container = mounted("work", "/data")
    escape = "setsid sleep 100 & while [ ! -e /data/go ]; do :; done"
    space.run("escape", "sh", "-c", escape, pod=pod, container=container)
    running = space.running("escape")
    wait_for(lambda: len(embedded.processes(running)) == 2)
    processes = embedded.processes(running)
    (folder / "go").touch()
    assert space.ended("escape").type == "Complete"
    assert not any(map(start_of, processes))


def test_pods_of_a_headless_service_find_each_other_by_name(space: Space) -> None:
    space.core.create_namespaced_service(
        space.name,
        {"metadata": {"name": "ring"}, "spec": {"clusterIP": "None", "selector": {"job-name": "ring"}}},
    )
    script = (
        "import os, socket, time\n"
        "if os.environ['JOB_COMPLETION_INDEX'] == '0':\n"
        "    server = socket.create_server(('0.0.0.0', 29511)); server.accept()[0].sendall(b'hello')\n"
        "else:\n"
        "    until = time.monotonic() + 10\n"
        "    while time.monotonic() < until:\n"
        "        try:\n"
        "            print(socket.create_connection(('ring-0.ring', 29511)).recv(5).decode()); break\n"
        "        except OSError: time.sleep(0.05)\n"
        "socket.getaddrinfo(socket.gethostname(), None)\n"
    )
    space.run(
        "ring",
        "python",
        "-c",
        script,
        pod={"subdomain": "ring"},
        spec={"completionMode": "Indexed", "completions": 2, "parallelism": 2},
    )
    assert space.ended("ring").type == "Complete"
    assert "".join(space.log(p) for p in space.pods("ring")) == "hello\n"


def test_a_container_without_a_command_says_why_it_cannot_run(space: Space) -> None:
    space.run("bare")
    assert "no command specified" in space.exit(space.pod("bare")).message


def test_gpus_are_counted_and_their_lack_is_told_in_the_schedulers_words(space: Space) -> None:
    space.run("holder", "sleep", "100", pod={"terminationGracePeriodSeconds": 0}, container=gpu(8))
    space.running("holder")
    space.run("waiter", "true", container=gpu(1))
    condition = wait_for(lambda: scheduled(space.pod("waiter")))
    assert (condition.status, condition.reason) == ("False", "Unschedulable")
    assert condition.message == "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    assert wait_for(lambda: space.events("FailedScheduling"))[0].message == condition.message
    space.batch.delete_namespaced_job("holder", space.name, propagation_policy="Background")
    assert space.ended("waiter").type == "Complete"


def test_the_higher_priority_goes_first(cluster: Cluster, space: Space) -> None:
    name = f"high-{space.name}"
    scheduling: Any = client.SchedulingV1Api(cluster.api)
    scheduling.create_priority_class({"metadata": {"name": name}, "value": 1000})
    space.run("holder", "sleep", "100", pod={"terminationGracePeriodSeconds": 0}, container=gpu(8))
    space.running("holder")
    space.run("low", "sleep", "0.1", container=gpu(8))
    wait_for(lambda: scheduled(space.pod("low")))
    space.run("high", "sleep", "0.1", pod={"priorityClassName": name}, container=gpu(8))
    wait_for(lambda: scheduled(space.pod("high")))
    space.batch.delete_namespaced_job("holder", space.name, propagation_policy="Background")
    space.ended("low"), space.ended("high")
    high, low = (space.exit(space.pod(n)) for n in ("high", "low"))
    assert high.finished_at <= low.started_at
