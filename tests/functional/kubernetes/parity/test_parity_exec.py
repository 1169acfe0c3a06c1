"""kubectl exec and the Python client's stream: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from typing import Any

import pytest
from kubernetes import client
from kubernetes.stream import stream

from tests.functional.kubernetes.clusters import Space, wait_for

RESIZE = 4


@pytest.fixture
def pod(space: Space) -> str:
    script = "trap 'exit 0' TERM; touch /scratch/made; while true; do sleep 0.1; done"
    mount = {"volumeMounts": [{"name": "s", "mountPath": "/scratch"}], "workingDir": "/tmp"}
    env = {"env": [{"name": "A", "value": "b c"}]}
    volumes = {"volumes": [{"name": "s", "emptyDir": {}}]}
    space.run("up", "sh", "-c", script, pod=volumes, container={**mount, **env})
    return str(space.running("up").metadata.name)


def execute(space: Space, pod: str, *words: str, stdin: str = "") -> tuple[int, str, str]:
    options = ["-i"] if stdin else []
    done = space.cluster.kubectl_run("-n", space.name, "exec", *options, pod, "--", *words, stdin=stdin)
    told = [line for line in done.stderr.splitlines() if not line.startswith("WARNING: version")]
    return done.returncode, done.stdout, "\n".join(told)


def connect(space: Space, pod: str, *command: str, **options: Any) -> Any:
    streams = {"stdin": True, "stdout": True, "stderr": True, "tty": False, **options}
    return stream(
        space.core.connect_get_namespaced_pod_exec,
        pod,
        space.name,
        command=list(command),
        _preload_content=False,
        **streams,
    )


def test_a_command_runs_where_the_container_does(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    code, out, _ = execute(space, pod, "sh", "-c", "pwd; echo $A; ls /scratch; tty; hostname")
    assert (code, out.splitlines()) == (0, ["/tmp", "b c", "made", "not a tty", pod])


def test_its_exit_code_and_its_two_streams_come_back(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    code, out, err = execute(space, pod, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (code, out, err) == (3, "out\n", "err\ncommand terminated with exit code 3")


def test_input_is_read_to_its_end(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    text = "x" * 100_000 + "\n"
    assert execute(space, pod, "wc", "-c", stdin=text)[1].strip() == "100001"


def test_much_output_comes_whole(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    code, out, _ = execute(space, pod, "head", "-c", "2000000", "/dev/zero")
    assert (code, len(out)) == (0, 2_000_000)


def test_a_terminal_is_a_real_one(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/tasks/debug/debug-application/get-shell-running-container/"""
    ours, theirs = pty.openpty()
    command = ["kubectl", "-n", space.name, "exec", "-it", pod, "--", "sh"]
    environment = {**os.environ, "KUBECONFIG": space.cluster.kubeconfig}
    shell = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""

    def read_until(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            assert select.select([ours], [], [], 30)[0], seen
            seen += os.read(ours, 1024)

    os.write(ours, b"tty; echo at=$((40+2))\n")
    read_until(b"at=42")
    assert b"/dev/pts/" in seen
    # It says so itself: between the shell's own word and its child's start an interrupt is nobody's.
    os.write(ours, b"sh -c 'echo sleeps=$((40+1)); exec sleep 100'\n")
    read_until(b"sleeps=41")
    os.write(ours, b"\x03")  # the terminal turns it into SIGINT
    os.write(ours, b"echo still=$((40+3)); exit 7\n")
    read_until(b"still=43")
    assert shell.wait(timeout=20) == 7
    os.close(ours)


def test_the_python_client_sees_streams_and_exit_code(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/"""
    session = connect(space, pod, "sh", "-c", "read line; echo got $line; echo err >&2; exit 5")
    session.write_stdin("hello\n")
    session.run_forever(timeout=20)
    assert session.read_stdout() == "got hello\n"
    assert session.read_stderr() == "err\n"
    assert session.returncode == 5


def test_a_terminal_takes_the_size_it_is_told(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/tasks/debug/debug-application/get-shell-running-container/"""
    session = connect(space, pod, "sh", tty=True)
    session.write_channel(RESIZE, '{"Width": 123, "Height": 45}')

    def size() -> bool:
        session.write_stdin("stty size\n")
        session.update(timeout=0.2)
        return "45 123" in (session.read_stdout(timeout=1) or "")

    wait_for(size, what="the size")
    session.write_stdin("exit 6\n")
    session.run_forever(timeout=20)
    assert session.returncode == 6


def test_a_terminal_ends_with_its_shell_whatever_that_left_running(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/tasks/debug/debug-application/get-shell-running-container/"""
    session = connect(space, pod, "sh", "-c", "set -m; sleep 1000 & echo up; exit 3", tty=True)
    session.run_forever(timeout=20)
    assert session.returncode == 3


def test_a_command_that_is_not_there_is_told(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    code, _, err = execute(space, pod, "no-such-command")
    assert code == 1
    assert 'exec: "no-such-command": executable file not found in $PATH' in err


@pytest.mark.parametrize(
    ("name", "container", "words"),
    [("none", None, 'pods "none" not found'), ("", "other", "container other is not valid for pod")],
)
def test_where_there_is_nothing_to_enter_it_is_refused(
    space: Space, pod: str, name: str, container: str | None, words: str
) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    options = {"container": container} if container else {}
    with pytest.raises(client.ApiException) as caught:
        connect(space, name or pod, "true", **options)
    assert words in str(caught.value).replace('\\"', '"')


def test_an_ended_container_cannot_be_entered(space: Space) -> None:
    """https://kubernetes.io/docs/reference/kubectl/generated/kubectl_exec/"""
    space.run("over", "true")
    space.ended("over")
    with pytest.raises(client.ApiException) as caught:
        connect(space, space.pod("over").metadata.name, "true")
    assert 'container not found ("main")' in str(caught.value).replace('\\"', '"')


def test_what_was_started_ends_with_its_container(space: Space, pod: str) -> None:
    """https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination"""
    session = connect(space, pod, "sh", "-c", "echo up; exec sleep 1000")
    wait_for(lambda: "up" in session.read_stdout(timeout=1))
    space.core.delete_namespaced_pod(pod, space.name, grace_period_seconds=0)
    session.run_forever(timeout=30)
    assert not session.is_open()
