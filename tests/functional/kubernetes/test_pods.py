"""Pods and their containers: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from kubernetes import client

from tests.functional.kubernetes.clusters import Cluster, Obj, Space, Watch, mounted, wait_for


def gpu(count: int) -> Obj:
    return {"resources": {"limits": {"nvidia.com/gpu": str(count)}}}


def scheduled(pod: Any) -> Any:
    found = (c for c in pod.status.conditions or [] if c.type == "PodScheduled")
    return next(found, None)


def test_a_volume_is_where_the_manifest_says_and_read_only_means_it(space: Space) -> None:
    (space.claim("code") / "train.py").write_text(
        "import pathlib, os; print('trained', os.getcwd())\npathlib.Path('/workspace/made').touch()\n"
    )
    pod, container = mounted("code", "/workspace")
    space.run(
        "train", "python", "/workspace/train.py", pod=pod, container={**container, "workingDir": "/workspace"}
    )
    assert space.ended("train").type == "Complete", space.log(space.pod("train"))
    assert space.log(space.pod("train")) == "trained /workspace\n"
    assert (space.cluster.volumes / space.name / "code" / "made").exists()
    pod, container = mounted("code", "/workspace", readOnly=True)
    space.run("reader", "touch", "/workspace/other", pod=pod, container=container)
    assert space.ended("reader").type == "Failed"
    assert "Read-only file system" in space.log(space.pod("reader"))


def test_a_folder_that_exists_satisfies_its_claim(space: Space) -> None:
    folder = space.cluster.volumes / space.name / "static"
    folder.mkdir(parents=True)
    (folder / "x").write_text("there")
    pod, container = mounted("static", "/dataset")
    space.run("reads", "cat", "/dataset/x", pod=pod, container=container)
    assert space.ended("reads").type == "Complete"
    assert space.core.read_namespaced_persistent_volume_claim("static", space.name).status.phase == "Bound"


def test_a_missing_claim_keeps_the_pod_pending_and_says_so(space: Space) -> None:
    pod, container = mounted("workspace-9", "/workspace")
    space.run("waits", "true", pod=pod, container=container)
    found = wait_for(lambda: scheduled(space.pod("waits")))
    assert 'persistentvolumeclaim "workspace-9" not found' in found.message
    space.claim("workspace-9")
    assert space.ended("waits").type == "Complete"


def test_shared_memory_config_maps_secrets_and_scratch_are_mounted(space: Space) -> None:
    space.core.create_namespaced_config_map(
        space.name, {"metadata": {"name": "c"}, "data": {"k": "from-map"}}
    )
    space.core.create_namespaced_secret(space.name, {"metadata": {"name": "s"}, "data": {"p": "c2VjcmV0"}})
    volumes = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Mi"}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "c"}},
        {"name": "s", "secret": {"secretName": "s"}},
    ]
    mounts = [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "tmp", "mountPath": "/scratch/deep"},
        {"name": "c", "mountPath": "/etc/conf"},
        {"name": "s", "mountPath": "/var/run/secret"},
    ]
    script = (
        "df -m /dev/shm | tail -1 | awk '{print $2}'; touch /scratch/deep/x; "
        "cat /etc/conf/k /var/run/secret/p"
    )
    space.run("vol", "sh", "-c", script, pod={"volumes": volumes}, container={"volumeMounts": mounts})
    space.ended("vol")
    assert space.log(space.pod("vol")) == "32\nfrom-mapsecret\n"


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


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (["sh", "-c", "exit 3"], 3, "Error"),
        (["sh", "-c", "kill -SEGV $$$$"], 139, "Error"),
        (["no-such-command"], 128, "StartError"),
        (["/no/such/file"], 128, "StartError"),
        (["true"], 0, "Completed"),
    ],
)
def test_exit_codes_and_reasons_are_told(space: Space, command: list[str], code: int, reason: str) -> None:
    space.run("exits", *command)
    ended = space.exit(space.pod("exits"))
    assert (ended.exit_code, ended.reason) == (code, reason)
    if reason == "StartError":
        assert command[0] in ended.message


def test_a_container_over_its_memory_limit_is_killed(space: Space) -> None:
    hog = "import time; data = bytearray(200 * 1024 * 1024); time.sleep(100)"
    space.run("hog", "python", "-c", hog, container={"resources": {"limits": {"memory": "64Mi"}}})
    ended = space.exit(space.pod("hog"))
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)


def test_the_termination_message_is_what_the_container_wrote(space: Space) -> None:
    space.run("says", "sh", "-c", "echo '{\"model_id\": 456}' > /dev/termination-log")
    assert json.loads(space.exit(space.pod("says")).message) == {"model_id": 456}
    space.run(
        "logs",
        "sh",
        "-c",
        "echo why it broke; exit 1",
        container={"terminationMessagePolicy": "FallbackToLogsOnError"},
    )
    assert space.exit(space.pod("logs")).message == "why it broke"


def test_deleting_a_pod_sends_term_and_kills_after_the_grace_period(space: Space) -> None:
    stubborn = "trap 'echo asked' TERM; echo up; while true; do sleep 0.1; done"
    space.run(
        "stubborn", "sh", "-c", stubborn, spec={"backoffLimit": 5}, pod={"terminationGracePeriodSeconds": 1}
    )
    pod = space.running("stubborn")
    wait_for(lambda: "up" in space.log(pod))
    ends: list[int] = []

    def follow() -> None:
        for event in watched(space, pod):
            states = event["object"]["status"].get("containerStatuses") or [{"state": {}}]
            if "terminated" in states[0]["state"]:
                ends.append(states[0]["state"]["terminated"]["exitCode"])

    follower = threading.Thread(target=follow)
    follower.start()
    began = time.monotonic()
    space.batch.delete_namespaced_job("stubborn", space.name, propagation_policy="Background")
    wait_for(lambda: not space.pods("stubborn"), what="the pod to go")
    assert 0.9 < time.monotonic() - began < 3
    follower.join(timeout=10)
    assert ends[-1] == 137
    assert space.events("Killing")


def watched(space: Space, pod: Any) -> list[Obj]:
    stream = Watch().stream(
        space.core.list_namespaced_pod,
        space.name,
        timeout_seconds=3,
        field_selector=f"metadata.name={pod.metadata.name}",
    )
    return [{"type": e["type"], "object": e["raw_object"]} for e in stream]


def test_a_polite_process_ends_with_143(space: Space) -> None:
    space.run("polite", "sleep", "100", spec={"backoffLimit": 5, "activeDeadlineSeconds": 60})
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


def test_children_that_left_the_group_die_with_their_container(space: Space) -> None:
    folder = space.claim("work")
    pod, container = mounted("work", "/work")
    escape = "setsid sh -c 'while true; do date +%s%N > /work/beat; sleep 0.05; done' & sleep 0.4; exit 0"
    space.run("escape", "sh", "-c", escape, pod=pod, container=container)
    assert space.ended("escape").type == "Complete"
    last = (folder / "beat").read_text()
    time.sleep(0.2)  # long enough for four more beats, were it alive
    assert (folder / "beat").read_text() == last


def test_an_image_that_cannot_be_pulled_is_told(space: Space) -> None:
    space.run("image", "true", container={"image": "registry.invalid/missing:1"})

    def waiting() -> Any:
        states = space.pod("image").status.container_statuses
        found = states[0].state.waiting if states else None
        return found if found and found.reason == "ImagePullBackOff" else None

    assert "registry.invalid/missing:1" in wait_for(waiting).message
    with pytest.raises(client.ApiException) as caught:
        space.log(space.pod("image"))
    assert "is trying and failing to pull image" in json.loads(str(caught.value.body))["message"]


def test_init_containers_run_first_and_their_failure_is_the_pods(space: Space) -> None:
    init = {
        "name": "setup",
        "image": "busybox",
        "command": ["sh", "-c", "echo ready > /scratch/x"],
        "volumeMounts": [{"name": "s", "mountPath": "/scratch"}],
    }
    pod = {"initContainers": [init], "volumes": [{"name": "s", "emptyDir": {}}]}
    space.run("init", "cat", "/scratch/x", pod=pod, container={"volumeMounts": init["volumeMounts"]})
    assert space.ended("init").type == "Complete"
    assert space.log(space.pod("init"), container="main") == "ready\n"
    space.run("broken", "true", pod={"initContainers": [{**init, "command": ["false"], "volumeMounts": []}]})
    assert space.ended("broken").type == "Failed"


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


def test_a_node_selector_that_no_node_has_keeps_the_pod_pending(space: Space) -> None:
    space.run("picky", "true", pod={"nodeSelector": {"zone": "moon"}})
    condition = wait_for(lambda: scheduled(space.pod("picky")))
    assert (
        condition.message == "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    )


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


def test_logs_come_by_tail_time_bytes_and_with_timestamps(space: Space) -> None:
    script = "for i in $(seq 1000); do echo line $i; done; sleep 1.2; echo late"
    space.run("talks", "sh", "-c", script)
    space.ended("talks")
    pod = space.pod("talks")
    assert space.log(pod, tail_lines=2) == "line 1000\nlate\n"
    assert space.log(pod, tail_lines=0) == ""
    assert space.log(pod, limit_bytes=6) == "line 1"
    assert space.log(pod, since_seconds=1) in ("late\n", "")
    stamped = space.log(pod, tail_lines=1, timestamps=True)
    assert stamped.split(" ", 1)[1] == "late\n" and stamped.split(" ")[0].endswith("Z")


def test_a_line_longer_than_a_log_record_is_read_back_whole(space: Space) -> None:
    space.run("long", "python", "-c", "print('x' * 50000); print('end')")
    space.ended("long")
    assert space.log(space.pod("long")) == "x" * 50000 + "\nend\n"
    assert space.log(space.pod("long"), tail_lines=2) == "x" * 50000 + "\nend\n"


def test_following_a_log_ends_with_its_container(space: Space) -> None:
    space.run("slow", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    pod = space.running("slow")
    stream = space.core.read_namespaced_pod_log(
        pod.metadata.name, space.name, follow=True, _preload_content=False
    )
    assert stream.read() == b"1\n2\n3\n"
