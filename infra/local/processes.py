"""Starts, finds and stops the stack's processes without a daemon that has to stay alive.

A pid file names the process together with the moment it started, so that a pid that the system gave to
somebody else in the meantime is never taken for ours, and never killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.local.config import HOST, REPO


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process of the stack and how to tell that it is up."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    is_ready: Callable[[], bool]
    port: int | None = None
    port_variable: str = ""
    ready_seconds: float = 30.0
    stop_seconds: float = 15.0

    @property
    def fingerprint(self) -> str:
        """Changes when the process would have to be started anew to follow its configuration."""
        told = {k: v for k, v in self.env.items() if k.startswith(("TRAINYARD_", "AWS_", "KUBECONFIG"))}
        text = json.dumps([self.argv, sorted(told.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Process:
    """A process as its pid file tells it."""

    pid: int
    started: str
    fingerprint: str

    @property
    def is_alive(self) -> bool:
        return start_time(self.pid) == self.started


def start(component: Component, run: Path, logs: Path) -> Process:
    """Start it detached from this terminal, its output in `logs/NAME.log` (the last run's in `.log.1`)."""
    logs.mkdir(parents=True, exist_ok=True)
    run.mkdir(parents=True, exist_ok=True)
    log = logs / f"{component.name}.log"
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        popen = subprocess.Popen(
            component.argv,
            env=dict(component.env),
            cwd=REPO,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = Process(popen.pid, start_time(popen.pid) or "", component.fingerprint)
    popen.returncode = 0  # it outlives us on purpose: no 'still running' warning when the handle goes
    file = _pid_file(run, component.name)
    file.with_suffix(".tmp").write_text(
        json.dumps({"pid": process.pid, "started": process.started, "fingerprint": process.fingerprint})
    )
    file.with_suffix(".tmp").replace(file)
    return process


def find(run: Path, name: str) -> Process | None:
    """The component's process if it is alive."""
    try:
        record = json.loads(_pid_file(run, name).read_text())
        process = Process(record["pid"], record["started"], record["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return process if process.is_alive else None


def stop(run: Path, name: str, seconds: float) -> bool:
    """SIGTERM, wait, SIGKILL when it does not go. Returns whether it had to be killed."""
    process = find(run, name)
    killed = False
    if process is not None:
        _send(process, signal.SIGTERM)
        if not wait_until(lambda: not process.is_alive, seconds):
            killed = True
            _send(process, signal.SIGKILL)
            wait_until(lambda: not process.is_alive, 5)
    _pid_file(run, name).unlink(missing_ok=True)
    return killed


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def start_time(pid: int) -> str | None:
    """When the process started, as the system says it; None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_by_ps(pid)
    if fields[0] in "ZX":
        return None
    return f"{_boot_id()}/{fields[19]}"


def port_is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def owner_of(port: int) -> str | None:
    """Who listens on a port, where the system lets us see it: `python3 (pid 123)`."""
    inodes = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for fields in (line.split() for line in Path(table).read_text().splitlines()[1:])
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(link.readlink()) in sockets for link in (folder / "fd").iterdir()):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return f"{' '.join(words)[:100].strip()} (pid {folder.name})"
    return None


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log file."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or "(the log is empty)"


def _send(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if process.is_alive:
            os.kill(process.pid, number)


def _pid_file(run: Path, name: str) -> Path:
    return run / f"{name}.pid"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


def _start_time_by_ps(pid: int) -> str | None:
    """macOS has no /proc."""
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, started = shown.partition(" ")
    return started.strip() if started and not state.startswith("Z") else None
