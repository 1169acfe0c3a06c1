"""Brings the embedded stack up and down.

    python -m infra.local.stack up | down | status | run

There is no supervising process: `up` starts what is missing and leaves it running, `down` stops what `up`
started. `run` is `up`, then waits for Ctrl-C, then `down`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from infra.local import config, ministack, processes, tokens
from infra.local.config import BadConfig, Local
from infra.local.ministack import DeployFailed
from infra.local.processes import Component

UP_TOKEN_TTL_SECONDS = 24 * 3600
# What writes stops first, what is written to last: the outbox is read to its end before its stream is lost,
# and the logs of what the cluster ended last are shipped.
STOP_ORDER = ("gateway", "terminal", "pump", "kubernetes", "shipper", "ministack")
Say = Callable[[str], None]
STOP_SECONDS = {
    "ministack": 60.0,
    "shipper": 30.0,
    "kubernetes": 60.0,
    "pump": 30.0,
    "terminal": 30.0,
    "gateway": 10.0,
}
# What whoever wants the embedded cluster otherwise may set.
CLUSTER_SECONDS = {
    "--orphan-grace": "TRAINYARD_ORPHAN_GRACE_SECONDS",
    "--hollow": "TRAINYARD_HOLLOW_SECONDS",
    "--event-ttl": "TRAINYARD_EVENT_TTL_SECONDS",
}


def tell(text: str) -> None:
    """Progress is for people: what programs read goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class StackFailed(RuntimeError):
    """The stack could not be brought up; the message says what to do."""


def up(local: Local, environ: Mapping[str, str] = os.environ, say: Say = tell) -> dict[str, str]:
    """Start what is not running and return the variables that clients need. Raises StackFailed."""
    with _alone(local):
        started: list[str] = []
        try:
            _start_all(local, environ, started, say)
        except BaseException as error:  # Ctrl-C too leaves nothing half up
            for name in STOP_ORDER:
                if name in started:
                    processes.stop(local.run, name, STOP_SECONDS[name])
            if isinstance(error, DeployFailed):
                raise StackFailed(str(error)) from error
            raise
        return _write_variables(local)


def down(local: Local, say: Say = tell) -> list[str]:
    """Stop everything, keep the data; returns the names of what had been running."""
    with _alone(local):
        return [name for name in STOP_ORDER if _stop(local, name, say)]


def status(local: Local) -> dict[str, int | None]:
    """The pid of each component, None for one that is not running."""
    found = {name: processes.find(local.run, name) for name in _names(local)}
    return {name: process.pid if process else None for name, process in found.items()}


def variables(local: Local) -> dict[str, str]:
    """What `up` wrote last."""
    lines = local.env_file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _start_all(local: Local, environ: Mapping[str, str], started: list[str], say: Say) -> None:
    if not local.ministack_python.exists():
        raise StackFailed(f"no MiniStack at {local.ministack_python}: run `make up`, which installs it")
    tokens.ensure_keys(local)
    ministack.prepare(local)
    foundation = [ministack.component(local, environ)]
    if local.embedded_cluster:
        foundation.append(_kubernetes(local, environ))
    # The table's name is not known before the first deploy; only the ports matter here.
    _check_ports(local, [*foundation, *_services(local, environ, "")])
    _bring_up(local, foundation, started, say)
    deployed = ministack.deploy(local)
    _bring_up(local, _services(local, environ, deployed.jobs_table), started, say)


def _bring_up(local: Local, components: Sequence[Component], started: list[str], say: Say) -> None:
    """Start them side by side, then wait for each."""
    for component in components:
        process = processes.find(local.run, component.name)
        if process is not None and process.fingerprint == component.fingerprint:
            say(f"{component.name}: running already (pid {process.pid})")
            continue
        if process is not None:
            say(f"{component.name}: its configuration changed, starting it anew")
            processes.stop(local.run, component.name, STOP_SECONDS[component.name])
        started.append(component.name)
        say(f"{component.name}: starting")
        processes.start(component, local.run, local.logs)
    for component in components:
        _await(local, component)


def _await(local: Local, component: Component) -> None:
    def settled() -> bool:
        return component.is_ready() or processes.find(local.run, component.name) is None

    in_time = processes.wait_until(settled, component.ready_seconds)
    if in_time and processes.find(local.run, component.name) is not None:
        return
    what = "ended" if in_time else f"is not ready after {component.ready_seconds:g} s"
    log = local.logs / f"{component.name}.log"
    raise StackFailed(f"{component.name} {what}; the end of {log}:\n{processes.tail(log)}")


def _kubernetes(local: Local, environ: Mapping[str, str]) -> Component:
    argv = [
        *(sys.executable, "-m", "infra.local.kubernetes"),
        *("--state", str(local.kubernetes_state)),
        *("--port", str(local.kubernetes_port)),
        *("--node-cpu", local.node_cpu),
        *("--node-memory", local.node_memory),
        *("--node-gpu", local.node_gpu),
        *("--volumes", str(local.volumes)),
        *("--image-path", config.image_path()),
        *("--user", f"{config.SERVICE_USER}={config.SERVICE_USER}"),
        *("--user", f"{config.READER_USER}={config.READER_USER}"),
        *("--user", f"{config.TERMINAL_USER}={config.TERMINAL_USER}"),
    ]
    for flag, variable in CLUSTER_SECONDS.items():
        if seconds := environ.get(variable):
            argv += [flag, seconds]
    local.volumes.mkdir(parents=True, exist_ok=True)
    # Its pods inherit nothing of the stack's own settings.
    kept = {k: v for k, v in environ.items() if not k.startswith(("AWS_", "TRAINYARD_", "KUBECONFIG"))}
    return Component(
        name="kubernetes",
        argv=tuple(argv),
        env=kept | {"PYTHONUNBUFFERED": "1"},
        is_ready=lambda: _said_ready(local, "kubernetes"),
        port=local.kubernetes_port,
        port_variable="TRAINYARD_KUBERNETES_PORT",
    )


def _services(local: Local, environ: Mapping[str, str], jobs_table: str) -> list[Component]:
    env = config.service_environment(local, jobs_table, environ)
    env["TRAINYARD_TERMINAL_SECRET"] = tokens.terminal_secret(local)
    services = [
        Component(
            name="gateway",
            argv=(sys.executable, "-m", "infra.local.gateway"),
            env=config.gateway_environment(local, env, environ),
            is_ready=lambda: _said_ready(local, "gateway"),
            port=local.port,
            port_variable="TRAINYARD_PORT",
        ),
        Component(
            name="pump",
            argv=(sys.executable, "-m", "infra.local.pump"),
            env=env,
            is_ready=lambda: _said_ready(local, "pump"),
        ),
        Component(
            name="shipper",
            argv=(sys.executable, "-m", "infra.local.log_shipper"),
            env=env,
            is_ready=lambda: _said_ready(local, "shipper"),
        ),
        Component(
            name="terminal",
            argv=(sys.executable, "-m", "infra.terminal"),
            env=config.terminal_environment(local, env, environ),
            is_ready=lambda: _said_ready(local, "terminal"),
            port=local.terminal_port,
            port_variable="TRAINYARD_TERMINAL_PORT",
        ),
    ]
    return [service for service in services if service.name in _names(local)]


def _check_ports(local: Local, components: Sequence[Component]) -> None:
    """Before anything is started, so that a taken port leaves nothing half up."""
    for component in components:
        if component.port is None or processes.port_is_free(component.port):
            continue
        owner = processes.owner_of(component.port)
        process = processes.find(local.run, component.name)
        if process is not None and (owner is None or f"(pid {process.pid})" in owner):
            continue
        # A killed process with threads is gone a moment before its sockets are.
        if owner is None and processes.wait_until(partial(processes.port_is_free, component.port), 2):
            continue
        raise StackFailed(
            f"port {component.port} (for {component.name}) is taken by {owner or 'another program'}; "
            f"stop that, or set {component.port_variable} to a free port"
        )


def _said_ready(local: Local, name: str) -> bool:
    log = local.logs / f"{name}.log"
    try:
        return any(line.startswith("ready ") for line in log.read_text(errors="replace").splitlines())
    except FileNotFoundError:
        return False


def _stop(local: Local, name: str, say: Say) -> bool:
    process = processes.find(local.run, name)
    if processes.stop(local.run, name, STOP_SECONDS[name]):
        say(f"{name}: did not stop in {STOP_SECONDS[name]:g} s and was killed")
    return process is not None


def _names(local: Local) -> list[str]:
    absent = {"kubernetes": not local.embedded_cluster, "shipper": local.node_logs is None}
    return [name for name in reversed(STOP_ORDER) if not absent.get(name)]


def _write_variables(local: Local) -> dict[str, str]:
    found = {
        "TRAINYARD_URL": local.url,
        "TRAINYARD_TOKEN": tokens.token(local, config.DEFAULT_TENANT, ["member"], UP_TOKEN_TTL_SECONDS),
        "KUBECONFIG": local.kubeconfig,
        "AWS_ENDPOINT_URL": local.aws_url,
        "AWS_ACCESS_KEY_ID": config.AWS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": config.AWS_SECRET,
        "AWS_DEFAULT_REGION": config.REGION,
    }
    temporary = local.env_file.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text("".join(f"{name}={value}\n" for name, value in found.items()))
    temporary.replace(local.env_file)
    return found


@contextmanager
def _alone(local: Local) -> Iterator[None]:
    """One `up` or `down` at a time for a folder."""
    local.home.mkdir(parents=True, exist_ok=True)
    local.home.chmod(0o700)  # jobs' environments, keys and logs are in it
    local.run.mkdir(parents=True, exist_ok=True)
    with Path(local.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(local: Local) -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    _print_variables(up(local))
    tell("running; Ctrl-C stops it")
    stop.wait()
    down(local)


def _print_variables(found: Mapping[str, str]) -> None:
    # In one piece: whoever reads only the first line does not break the rest.
    print("\n".join(f"{name}={value}" for name, value in found.items()), flush=True)


def _print_status(local: Local) -> int:
    pids = status(local)
    for name, pid in pids.items():
        print(f"{name:<11} {f'running (pid {pid})' if pid else 'stopped'}")
    return 0 if all(pids.values()) else 3


def main(arguments: Sequence[str]) -> int:
    try:
        local = config.load()
        match list(arguments):
            case ["up"]:
                _print_variables(up(local))
            case ["down"]:
                stopped = down(local)
                tell(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
            case ["status"]:
                return _print_status(local)
            case ["run"]:
                _run(local)
            case _:
                tell("usage: python -m infra.local.stack up | down | status | run")
                return 2
    except (BadConfig, StackFailed) as error:
        tell(f"trainyard: {error}")
        return 1
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
