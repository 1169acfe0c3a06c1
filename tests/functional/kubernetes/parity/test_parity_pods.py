"""Pods and their containers: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kubernetes import client

from tests.functional.kubernetes.clusters import Obj, Space, Watch, wait_for

STUBBORN = "trap 'echo asked' TERM; echo up; while true; do sleep 0.1; done"


def scheduled(pod: Any) -> Any:
    found = (c for c in pod.status.conditions or [] if c.type == "PodScheduled")
    return next(found, None)


def scratch(name: str, path: str, **source: Any) -> tuple[Obj, Obj]:
    volume = {"name": name, **(source or {"emptyDir": {}})}
    return volume, {"name": name, "mountPath": path}


def test_config_maps_secrets_and_scratch_are_mounted(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/storage/volumes/"""
    body = {"metadata": {"name": "c"}, "data": {"k": "from-map", "unused": "x"}}
    space.core.create_namespaced_config_map(space.name, body)
    space.core.create_namespaced_secret(space.name, {"metadata": {"name": "s"}, "data": {"p": "c2VjcmV0"}})
    pairs = [
        scratch("shm", "/dev/shm", emptyDir={"medium": "Memory"}),
        scratch("tmp", "/scratch/deep"),
        scratch("c", "/etc/conf", configMap={"name": "c", "items": [{"key": "k", "path": "sub/name"}]}),
        scratch("s", "/var/run/secret", secret={"secretName": "s"}),
        scratch("no", "/none", configMap={"name": "none", "optional": True}),
    ]
    script = (
        "df -T /dev/shm | tail -1 | awk '{print $2}'; touch /scratch/deep/x; ls /none; ls /etc/conf; "
        "cat /etc/conf/sub/name /var/run/secret/p; touch /etc/conf/x 2> /dev/null || echo ' refused'"
    )
    mounts = {"volumeMounts": [mount for _, mount in pairs]}
    space.run("vol", "sh", "-c", script, pod={"volumes": [v for v, _ in pairs]}, container=mounts)
    space.ended("vol")
    assert space.log(space.pod("vol")) == "tmpfs\nsub\nfrom-mapsecret refused\n"


def test_variables_are_expanded(space: Space) -> None:
    """https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/"""
    env = [
        {"name": "A", "value": "one"},
        {"name": "B", "value": "$(A)-two $$(A) $(NONE)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "JOB", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    space.run("env", "sh", "-c", 'echo "$(A) $B"; echo $NAME $JOB $IP', container={"env": env})
    space.ended("env")
    pod = space.pod("env")
    first, second = space.log(pod).splitlines()
    assert first == "one one-two $(A) $(NONE)"
    assert second == f"{pod.metadata.name} env {pod.status.pod_ip}"


def test_variables_come_from_maps_and_secrets_and_wait_for_them(space: Space) -> None:
    """https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/#define-container-environment-variables-using-configmap-data"""
    reference = {"configMapKeyRef": {"name": "late", "key": "k"}}
    optional = {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}
    env = [{"name": "V", "valueFrom": reference}, {"name": "W", "valueFrom": optional}]
    space.run("waits", "sh", "-c", "echo $V${W-unset}", container={"env": env})

    def waiting() -> Any:
        states = space.pod("waits").status.container_statuses
        return states and states[0].state.waiting and states[0].state.waiting.reason

    wait_for(lambda: waiting() == "CreateContainerConfigError", what="the container to wait")
    body = {"metadata": {"name": "late"}, "data": {"k": "come"}}
    space.core.create_namespaced_config_map(space.name, body)
    assert space.ended("waits").type == "Complete"
    assert space.log(space.pod("waits")) == "comeunset\n"


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        (["sh", "-c", "exit 3"], 3, "Error"),
        (["sh", "-c", "sh -c 'kill -SEGV $$$$'; exit $?"], 139, "Error"),
        (["no-such-command"], 128, "StartError"),
        (["/no/such/file"], 128, "StartError"),
        (["true"], 0, "Completed"),
    ],
)
def test_exit_codes_and_reasons_are_told(space: Space, command: list[str], code: int, reason: str) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-state-terminated"""
    space.run("exits", *command)
    ended = space.exit(space.pod("exits"))
    assert (ended.exit_code, ended.reason) == (code, reason)
    if reason == "StartError":
        assert command[0] in ended.message


def test_a_container_over_its_memory_limit_is_killed(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/"""
    hog = "import time; data = bytearray(200 * 1024 * 1024); time.sleep(100)"
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    space.run("hog", "python3", "-c", hog, container=limits)
    ended = space.exit(space.pod("hog"))
    assert (ended.reason, ended.exit_code) == ("OOMKilled", 137)


def test_the_termination_message_is_what_the_container_wrote(space: Space) -> None:
    """https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/"""
    space.run("says", "sh", "-c", "echo '{\"model_id\": 456}' > /dev/termination-log")
    assert json.loads(space.exit(space.pod("says")).message) == {"model_id": 456}
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    space.run("logs", "sh", "-c", "echo why it broke; exit 1", container=policy)
    assert space.exit(space.pod("logs")).message.strip() == "why it broke"


def test_deleting_a_pod_sends_term_and_kills_after_the_grace_period(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination"""
    space.run("stubborn", "sh", "-c", STUBBORN, pod={"terminationGracePeriodSeconds": 2})
    pod = space.running("stubborn")
    wait_for(lambda: "up" in space.log(pod))
    with space.core.read_namespaced_pod_log(
        pod.metadata.name, space.name, follow=True, _preload_content=False
    ) as follower:
        space.batch.delete_namespaced_job("stubborn", space.name, propagation_policy="Background")
        assert follower.read().startswith(b"up\nasked\n")
    wait_for(lambda: not space.pods("stubborn"), what="the pod to go")
    assert wait_for(lambda: space.events("Killing"))


def test_the_first_process_is_number_one_and_sees_its_own_only(space: Space) -> None:
    """https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/"""
    space.run("first", "sh", "-c", "echo $$$$ $PPID; cd /proc; echo [0-9]*")
    space.ended("first")
    assert space.log(space.pod("first")) == "1 0\n1\n"


def test_a_first_process_that_does_not_heed_term_lives_until_the_grace_period_is_over(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow"""
    space.run("deaf", "sleep", "100", pod={"terminationGracePeriodSeconds": 2})
    space.running("deaf")
    began = time.monotonic()
    space.batch.delete_namespaced_job("deaf", space.name, propagation_policy="Background")
    wait_for(lambda: not space.pods("deaf"), what="the pod to go")
    assert time.monotonic() - began >= 2


def test_an_image_that_cannot_be_pulled_is_told(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff"""
    space.run("image", "true", container={"image": "registry.invalid/missing:1"})

    def waiting() -> Any:
        states = space.pod("image").status.container_statuses
        found = states[0].state.waiting if states else None
        return found if found and found.reason == "ImagePullBackOff" else None

    assert "registry.invalid/missing:1" in wait_for(waiting).message
    with pytest.raises(client.ApiException) as caught:
        space.log(space.pod("image"))
    assert caught.value.status == 400
    told = json.loads(str(caught.value.body))["message"]
    assert "is waiting to start: trying and failing to pull image" in told


def test_init_containers_run_first_and_their_failure_is_the_pods(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/init-containers/"""
    volume, mount = scratch("s", "/scratch")
    image = {"image": space.cluster.image, "imagePullPolicy": "IfNotPresent"}
    init = {"name": "setup", **image, "command": ["sh", "-c", "echo ready > /scratch/x"]}
    pod = {"initContainers": [{**init, "volumeMounts": [mount]}], "volumes": [volume]}
    space.run("init", "cat", "/scratch/x", pod=pod, container={"volumeMounts": [mount]})
    assert space.ended("init").type == "Complete"
    assert space.log(space.pod("init"), container="main") == "ready\n"
    space.run("broken", "true", pod={"initContainers": [{**init, "command": ["false"]}]})
    assert space.ended("broken").type == "Failed"
    statuses = space.pod("broken").status
    assert statuses.init_container_statuses[0].state.terminated.exit_code == 1
    assert statuses.container_statuses[0].state.waiting.reason == "PodInitializing"


def test_a_pod_that_does_not_fit_is_told_in_the_schedulers_words(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/"""
    space.run("big", "true", container={"resources": {"limits": {"nvidia.com/gpu": "99"}}})
    condition = wait_for(lambda: scheduled(space.pod("big")))
    assert (condition.status, condition.reason) == ("False", "Unschedulable")
    assert condition.message.startswith("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert wait_for(lambda: space.events("FailedScheduling"))[0].message == condition.message


def test_a_node_selector_that_no_node_has_keeps_the_pod_pending(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodeselector"""
    space.run("picky", "true", pod={"nodeSelector": {"zone": "moon"}})
    condition = wait_for(lambda: scheduled(space.pod("picky")))
    assert condition.message.startswith("0/1 nodes are available: 1 node(s) didn't match")


def test_an_unknown_priority_class_is_refused(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/"""
    space.run("rank", "true", pod={"priorityClassName": "none-such"})
    event = wait_for(lambda: space.events("FailedCreate"))[0]
    assert "no PriorityClass with name none-such was found" in event.message


def test_a_missing_claim_keeps_the_pod_pending_and_says_so(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/storage/persistent-volumes/"""
    volume, mount = scratch("w", "/workspace", persistentVolumeClaim={"claimName": "workspace-9"})
    space.run("waits", "true", pod={"volumes": [volume]}, container={"volumeMounts": [mount]})
    found = wait_for(lambda: scheduled(space.pod("waits")))
    assert 'persistentvolumeclaim "workspace-9" not found' in found.message


def test_logs_come_by_tail_bytes_and_with_timestamps(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs/"""
    script = "for i in $(seq 1000); do echo line $i; done; sleep 2.5; echo late"
    space.run("talks", "sh", "-c", script)
    space.ended("talks")
    pod = space.pod("talks")
    assert space.log(pod, tail_lines=2) == "line 1000\nlate\n"
    assert space.log(pod, tail_lines=0) == ""
    assert space.log(pod, limit_bytes=6) == "line 1"
    assert space.log(pod, since_seconds=100).startswith("line 1\n")
    assert space.log(pod, since_seconds=1) in ("late\n", "")
    stamped = space.log(pod, tail_lines=1, timestamps=True)
    assert stamped.split(" ", 1)[1] == "late\n" and stamped.split(" ")[0].endswith("Z")


def test_a_line_longer_than_a_log_record_is_read_back_whole(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation"""
    space.run("long", "python3", "-c", "print('x' * 50000); print('end')")
    space.ended("long")
    assert space.log(space.pod("long")) == "x" * 50000 + "\nend\n"


def test_following_a_log_ends_with_its_container(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs/"""
    space.run("slow", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
    pod = space.running("slow")
    stream = space.core.read_namespaced_pod_log(
        pod.metadata.name, space.name, follow=True, _preload_content=False
    )
    assert stream.read() == b"1\n2\n3\n"


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("container=other", 400, "container other is not valid for pod"),
        ("tailLines=-1", 422, "must be greater than or equal to 0"),
        (
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            422,
            "at most one of `sinceTime`",
        ),
        ("previous=true", 400, 'previous terminated container "main" in pod'),
    ],
)
def test_a_log_that_cannot_be_had_is_refused(space: Space, query: str, code: int, words: str) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod"""
    space.run("talks", "true")
    space.ended("talks")
    path = f"/api/v1/namespaces/{space.name}/pods/{space.pod('talks').metadata.name}/log?{query}"
    answered, status = space.cluster.request("GET", path)
    assert (answered, words in status["message"]) == (code, True), status


def test_a_pods_own_deadline_ends_it(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#lifecycle"""
    pod = {"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 1}
    space.run("late", "sh", "-c", STUBBORN, pod=pod)
    assert space.ended("late").type == "Failed"
    status = space.pod("late").status
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")


def test_a_pods_conditions_follow_its_containers(space: Space) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions"""
    space.run("short", "sleep", "1")
    name = space.pod("short").metadata.name
    seen = []
    for event in Watch().stream(
        space.core.list_namespaced_pod, space.name, field_selector=f"metadata.name={name}", timeout_seconds=30
    ):
        conditions = {c.type: (c.status, c.reason) for c in event["object"].status.conditions or []}
        seen.append((event["object"].status.phase, conditions.get("Ready", ("", ""))[0]))
        if seen[-1][0] == "Succeeded":
            break
    order = list(dict.fromkeys(phase for phase, _ in seen))
    assert order == ["Pending", "Running", "Succeeded"]
    assert ("Running", "True") in seen and seen[-1] == ("Succeeded", "False")
    assert conditions["Ready"] == ("False", "PodCompleted")
    assert conditions["PodScheduled"][0] == conditions["Initialized"][0] == "True"
