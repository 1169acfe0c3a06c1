"""What happens to jobs when the cluster itself dies, stops, or never comes back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.stream import stream

from infra.local.kubernetes.procinfo import start_of
from tests.functional.kubernetes.clusters import ROOT, EmbeddedCluster, Space, Watch, mounted, wait_for

Fresh = Callable[..., EmbeddedCluster]
ONCE = "echo run >> /data/runs; while [ ! -e /data/go ]; do sleep 0.05; done; echo done"


def test_a_job_goes_on_through_a_kill_and_runs_once(fresh: Fresh) -> None:
    cluster = fresh()
    space = Space(cluster)
    folder = space.claim("work")
    pod, container = mounted("work", "/data")
    for name in ("outlives", "ends-alone"):
        space.run(
            name,
            "sh",
            "-c",
            ONCE.replace("runs", name).replace("/go", f"/go-{name}"),
            pod=pod,
            container=container,
        )
        space.running(name)
    version = int(space.job("outlives").metadata.resource_version)
    cluster.end(signal.SIGKILL)
    (folder / "go-ends-alone").touch()
    cluster.start()
    space.core, space.batch = cluster.core, cluster.batch
    assert space.ended("ends-alone").type == "Complete"
    assert space.running("outlives")
    (folder / "go-outlives").touch()
    assert space.ended("outlives").type == "Complete"
    for name in ("outlives", "ends-alone"):
        assert (folder / name).read_text() == "run\n"
        assert space.log(space.pod(name)) == "done\n"
        assert len(space.pods(name)) == 1
        assert (space.job(name).status.succeeded, space.job(name).status.failed) == (1, None)
    assert int(space.job("outlives").metadata.resource_version) > version


def test_room_that_was_taken_before_a_kill_is_taken_after_it_and_given_on_once_it_is_left(
    fresh: Fresh,
) -> None:
    cluster = fresh()
    space = Space(cluster)
    all_of_it = {"resources": {"limits": {"nvidia.com/gpu": "8"}}}
    for name in ("over", "holder"):
        seconds = "0" if name == "over" else "100"
        space.run(name, "sleep", seconds, pod={"terminationGracePeriodSeconds": 0}, container=all_of_it)
        assert space.ended(name) if name == "over" else space.running(name)
    cluster.end(signal.SIGKILL)
    cluster.start()
    space.core, space.batch = cluster.core, cluster.batch
    space.run("waiter", "true", container=all_of_it)
    assert "Insufficient nvidia.com/gpu" in wait_for(lambda: space.events("FailedScheduling"))[0].message
    space.batch.delete_namespaced_job("holder", space.name, propagation_policy="Background")
    assert space.ended("waiter").type == "Complete"


def test_kills_in_the_middle_of_many_starts_lose_and_double_nothing(fresh: Fresh) -> None:
    cluster = fresh()
    space = Space(cluster)
    folder = space.claim("work")
    pod, container = mounted("work", "/data")
    space.run(
        "many",
        "sh",
        "-c",
        "echo $JOB_COMPLETION_INDEX >> /data/runs; sleep 0.1",
        pod=pod,
        container=container,
        spec={"completionMode": "Indexed", "completions": 30, "parallelism": 10},
    )

    def ran() -> list[int]:
        runs = folder / "runs"
        return list(map(int, runs.read_text().split())) if runs.exists() else []

    def at_least(count: int) -> Callable[[], bool]:
        return lambda: len(ran()) >= count

    for least in (1, 8, 16):
        wait_for(at_least(least))
        cluster.end(signal.SIGKILL)
        cluster.start()
    space.batch, space.core = cluster.batch, cluster.core
    assert space.ended("many", 30).type == "Complete"
    assert sorted(ran()) == list(range(30))
    status = space.job("many").status
    assert (status.succeeded, status.failed, status.active) == (30, None, None)


def test_containers_end_when_their_cluster_stays_away(fresh: Fresh) -> None:
    cluster = fresh("--orphan-grace", "0.5")
    space = Space(cluster)
    space.claim("work")
    pod, container = mounted("work", "/data")
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    space.run(
        "left",
        "sh",
        "-c",
        "echo run >> /data/runs; [ $(wc -l < /data/runs) -gt 1 ] || { setsid sleep 100 & sleep 100; }",
        pod=pod,
        container=container,
        spec={"podFailurePolicy": {"rules": [rule]}},
    )
    first = space.running("left")
    wait_for(lambda: len(cluster.processes(first)) == 3)
    processes = cluster.processes(first)
    cluster.end(signal.SIGKILL)
    ended = cluster.state / "pods" / first.metadata.uid / "containers" / "main" / "0" / "exit.json"
    wait_for(ended.exists, what="the orphan to end")
    assert not any(map(start_of, processes))
    cluster.start()
    space.core, space.batch = cluster.core, cluster.batch
    assert space.ended("left").type == "Complete"  # replaced, since it was no fault of its own
    assert space.job("left").status.failed is None


@pytest.mark.parametrize(
    "wait",
    ["exec sleep 100", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
    ids=["killed in the end", "took its leave with 0"],
)
def test_a_clean_stop_ends_all_processes_and_the_job_is_run_again(fresh: Fresh, wait: str) -> None:
    cluster = fresh()
    space = Space(cluster)
    folder = space.claim("work")
    pod, container = mounted("work", "/data")
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    script = f"echo run >> /data/runs; [ $(wc -l < /data/runs) -gt 1 ] && exit; {wait}"
    space.run(
        "stopped",
        "sh",
        "-c",
        script,
        pod=pod,
        container=container,
        spec={"podFailurePolicy": {"rules": [rule]}},
    )
    processes = cluster.processes(space.running("stopped"))
    wait_for(lambda: (folder / "runs").exists())
    assert cluster.end() == 0
    assert processes and not any(map(start_of, processes))
    cluster.start()
    space.core, space.batch = cluster.core, cluster.batch
    assert space.ended("stopped").type == "Complete"
    first = next(p for p in space.pods("stopped") if p.status.phase == "Failed")
    assert first.status.reason == "NodeShutdown"
    assert any(c.type == "DisruptionTarget" for c in first.status.conditions)


def test_a_killed_shim_fails_its_container_and_leaves_no_process(fresh: Fresh) -> None:
    cluster = fresh()
    space = Space(cluster)
    space.run("shimless", "sh", "-c", "setsid sleep 100 & exec sleep 100")
    pod = space.running("shimless")
    attempt = cluster.state / "pods" / pod.metadata.uid / "containers" / "main" / "0"
    wait_for(lambda: len(cluster.processes(pod)) == 2)
    processes = cluster.processes(pod)
    shim = int((attempt / "started").read_text().split(":")[1].split(",")[0])
    os.kill(shim, signal.SIGKILL)
    assert space.exit(space.pod("shimless")).reason == "ContainerStatusUnknown"
    wait_for(lambda: not any(map(start_of, processes)), what="the processes to end")


def test_what_exec_started_ends_when_the_cluster_is_killed(fresh: Fresh) -> None:
    cluster = fresh()
    space = Space(cluster)
    space.run("up", "sleep", "100")
    pod = space.running("up")
    before = cluster.processes(pod)
    command = ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]
    connect = space.core.connect_get_namespaced_pod_exec
    stream(connect, pod.metadata.name, space.name, command=command, stdout=True, _preload_content=False)
    wait_for(lambda: len(cluster.processes(pod)) == len(before) + 2)
    processes = set(cluster.processes(pod)) - set(before)
    cluster.end(signal.SIGKILL)
    wait_for(lambda: not any(map(start_of, processes)), what="the processes to end")
    cluster.start()  # and ends the container with it


def test_a_watch_from_before_a_restart_is_gone(fresh: Fresh) -> None:
    cluster = fresh()
    cluster.end(signal.SIGKILL)
    cluster.start()
    with pytest.raises(client.ApiException) as caught:
        list(Watch().stream(cluster.core.list_namespace, resource_version="1", timeout_seconds=1))
    assert caught.value.status == 410


def test_further_users_have_kubeconfigs_that_outlive_a_restart(fresh: Fresh) -> None:
    cluster = fresh("--user", "ann=trainyard,ops")
    before = (cluster.state / "kubeconfig-ann").read_text()
    cluster.kubectl("create", "clusterrole", "ops", "--verb=list", "--resource=nodes")
    cluster.kubectl("create", "clusterrolebinding", "ops", "--clusterrole=ops", "--group=ops")
    cluster.end()
    cluster.start()
    assert (cluster.state / "kubeconfig-ann").read_text() == before
    cluster.kubeconfig = str(cluster.state / "kubeconfig-ann")
    assert "trainyard" in cluster.kubectl("get", "nodes")
    assert 'User "ann" cannot list resource "pods"' in cluster.kubectl("get", "pods", check=False)


def test_hollow_pods_go_through_their_phases_and_run_nothing(fresh: Fresh) -> None:
    cluster = fresh("--hollow", "0.3")
    space = Space(cluster)
    space.run("many", "no-such-command", spec={"completions": 20, "parallelism": 20})
    assert space.ended("many").type == "Complete"
    assert {space.exit(pod).exit_code for pod in space.pods("many")} == {0}
    for reason in ("Scheduled", "Pulled", "Created", "Started"):
        assert len(space.events(reason)) == 20
    assert not list((cluster.state / "pods").iterdir())


def test_events_go_when_their_time_is_over(fresh: Fresh) -> None:
    cluster = fresh("--hollow", "0.3")
    space = Space(cluster)
    space.run("short", "true")
    space.ended("short")
    assert space.events("SuccessfulCreate")
    cluster.end()
    cluster.flags = ("--event-ttl", "1")
    cluster.start()
    space.batch, space.core = cluster.batch, cluster.core
    wait_for(lambda: not space.events("SuccessfulCreate"))


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "infra.local.kubernetes", "--state", str(tmp_path), "--port", str(port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == f"error: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_second_cluster_on_the_same_state_is_refused(fresh: Fresh) -> None:
    cluster = fresh()
    done = subprocess.run(
        [sys.executable, "-m", "infra.local.kubernetes", "--state", str(cluster.state), "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "another cluster is running" in done.stderr


def test_without_private_file_trees_paths_are_mapped_and_a_warning_says_so(fresh: Fresh) -> None:
    cluster = fresh("--no-sandbox")
    space = Space(cluster)
    (space.claim("code") / "train.py").write_text("print('mapped')")
    pod, container = mounted("code", "/workspace")
    space.run("train", "python", "/workspace/train.py", pod=pod, container=container)
    assert space.ended("train").type == "Complete"
    assert space.log(space.pod("train")) == "mapped\n"
    assert space.events("PathMapping")
