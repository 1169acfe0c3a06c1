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

from infra.local.kubernetes import child, procinfo, sandbox

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
    wake = child.adopt()
    if run["sandbox"]:
        sandbox.join_pids(container)
    if asked["tty"]:
        run["env"].setdefault("TERM", "xterm")

    def enter() -> None:
        if asked["tty"]:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if run["sandbox"]:
            sandbox.join(container)

    main, said = child.spawn({**run, "argv": asked["command"]}, (0, 1, 2), enter)
    status = _wait(main, container, cluster, wake)
    child.kill_tree(main)
    # A shell's background jobs are the container's first process's by now.
    for pid in procinfo.members(main):
        child.send(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    result = {"failure": said} if said else {"exitCode": 128 - code if code < 0 else code}
    try:
        cluster.sendall(json.dumps(result).encode())
    except OSError:
        return  # nobody listens any more


def _wait(main: int, container: int, cluster: socket.socket, wake: int) -> int:
    born = procinfo.start_of(container)
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(cluster, select.POLLIN | select.POLLHUP)
    while True:
        ready = [fd for fd, _ in poll.poll(LOOK_EVERY)]
        if cluster.fileno() in ready or not born or procinfo.start_of(container) != born:
            child.kill_tree(main)
        if wake in ready:
            os.read(wake, 512)
        for pid, status in child.ended():
            if pid == main:
                return status
