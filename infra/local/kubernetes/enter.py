"""The helper of one `kubectl exec`: runs a command within a running container, and ends all that it started.

Standard library only, as the shim's.
"""

# Part of every exec's start, so nothing slow is imported.
# ruff: noqa: PTH123
from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import termios
from typing import Any

from infra.local.kubernetes import procinfo, sandbox
from infra.local.kubernetes.shim import PR_SET_CHILD_SUBREAPER, execute, kill_tree, prctl

LOOK_EVERY = 500  # milliseconds, for the container's end


def main(directory: str, control: str, told: str) -> None:
    """Answers on the socket `control` how the command ended; its other end closing ends the command."""
    asked = json.loads(told)
    with open(f"{directory}/run.json") as file:
        run: dict[str, Any] = json.load(file)
    with open(f"{directory}/running.json") as file:
        container = json.load(file)["pid"]
    cluster = socket.socket(fileno=int(control))
    cluster.set_inheritable(False)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake, waker = os.pipe()
    for fd in (wake, waker):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if run["sandbox"]:
        sandbox.join_pids(container)
    failure, told_fd = os.pipe()
    child = os.fork()
    if child == 0:
        _become({**run, "argv": asked["command"]}, container, told_fd, tty=asked["tty"])
    os.close(told_fd)
    for fd in (0, 1, 2):
        os.close(fd)
    with os.fdopen(failure, "rb") as file_of_failure:
        said = file_of_failure.read().decode(errors="replace")
    status = _wait(child, container, cluster, wake)
    kill_tree(child)
    code = os.waitstatus_to_exitcode(status)
    result = {"failure": said} if said else {"exitCode": 128 - code if code < 0 else code}
    try:
        cluster.sendall(json.dumps(result).encode())
    except OSError:
        return  # nobody listens any more


def _become(run: dict[str, Any], container: int, failure: int, *, tty: bool) -> None:
    def enter() -> None:
        if tty:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if run["sandbox"]:
            sandbox.join(container)

    if tty:
        run["env"].setdefault("TERM", "xterm")
    execute(run, (0, 1, 2), failure, enter)


def _wait(child: int, container: int, cluster: socket.socket, wake: int) -> int:
    born = procinfo.start_of(container)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(cluster, select.POLLIN | select.POLLHUP)
    while True:
        ready = [fd for fd, _ in poll.poll(LOOK_EVERY)]
        if cluster.fileno() in ready or not born or procinfo.start_of(container) != born:
            kill_tree(child)
        if wake in ready:
            os.read(wake, 512)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return status
            if pid == 0:
                break
