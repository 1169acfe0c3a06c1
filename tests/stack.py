"""Starts an embedded stack of its own for a test: real processes, free ports, a folder of the test's."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.local import config, ministack, processes, stack, tokens
from infra.local.config import HOST, Local

OURS = ("AWS_", "TRAINYARD_", "KUBECONFIG")


@dataclass
class RunningStack:
    """A stack that is up. `env` holds the variables that `make up` prints."""

    local: Local
    environ: Mapping[str, str]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.local.url

    @property
    def kubeconfig(self) -> str:
        return self.local.kubeconfig

    @property
    def volumes(self) -> Path:
        """Claim `C` of namespace `N` is the folder `volumes/N/C`."""
        return self.local.volumes

    def token(self, tenant: str = "demo", roles: Sequence[str] = ("member",), ttl_seconds: int = 3600) -> str:
        return tokens.token(self.local, tenant, roles, ttl_seconds)

    def pid(self, component: str) -> int | None:
        return stack.status(self.local)[component]

    def log(self, component: str) -> str:
        """The component's output since its last start."""
        return (self.local.logs / f"{component}.log").read_text(errors="replace")

    def kill(self, component: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the component a signal and wait until it is gone."""
        process = processes.find(self.local.run, component)
        assert process is not None, f"{component} is not running"
        os.kill(process.pid, number)
        assert processes.wait_until(lambda: not process.is_alive, 60), f"{component} did not end"

    def start(self, component: str | None = None) -> None:
        """Start what is missing, as a second `make up` does."""
        self.env = stack.up(self.local, self.environ, say=_hush)
        assert component is None or self.pid(component) is not None

    def stop(self) -> list[str]:
        return stack.down(self.local, say=_hush)


def start_stack(home: Path, environ: Mapping[str, str] | None = None) -> RunningStack:
    """A stack with its data in `home`, on free ports; `environ` adds settings (`TRAINYARD_…`)."""
    ports = free_ports(4)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    if python := os.environ.get("TRAINYARD_MINISTACK_PYTHON"):
        clean["TRAINYARD_MINISTACK_PYTHON"] = python
    settings = clean | {
        "TRAINYARD_HOME": str(home),
        "TRAINYARD_PORT": str(ports[0]),
        "TRAINYARD_AWS_PORT": str(ports[1]),
        "TRAINYARD_KUBERNETES_PORT": str(ports[2]),
        "TRAINYARD_TERMINAL_PORT": str(ports[3]),
        **(environ or {}),
    }
    running = RunningStack(config.load(settings), settings)
    running.start()
    return running


def start_ministack(local: Local, **variables: str) -> None:
    """MiniStack alone; end it with `stop_ministack`. Its functions inherit `variables`."""
    ministack.prepare(local)
    server = ministack.component(local)
    server = replace(server, env={**server.env, **variables})
    processes.start(server, local.run, local.logs)
    if not processes.wait_until(server.is_ready, server.ready_seconds):
        stop_ministack(local)
        raise AssertionError(f"MiniStack did not start:\n{processes.tail(local.logs / 'ministack.log')}")


def stop_ministack(local: Local) -> None:
    """Let it save its state and end."""
    processes.stop(local.run, "ministack", 60)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below the range that the system gives to outgoing connections."""
    sockets: list[socket.socket] = []
    try:
        for port in range(20000 + os.getpid() * 7 % 10000, 32000):
            candidate = socket.socket()
            try:
                candidate.bind((HOST, port))
            except OSError:
                candidate.close()
                continue
            sockets.append(candidate)
            if len(sockets) == count:
                return [each.getsockname()[1] for each in sockets]
        raise RuntimeError("no free ports")
    finally:
        for each in sockets:
            each.close()


def _hush(_: str) -> None:
    """Tests read no progress."""
