"""`python -m infra.local.kubernetes`: one process that is the whole control plane and the node."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from infra.local.kubernetes import sandbox
from infra.local.kubernetes.access import BUILT_IN
from infra.local.kubernetes.admission import Admission
from infra.local.kubernetes.api import Api
from infra.local.kubernetes.controller import Controller
from infra.local.kubernetes.gc import GarbageCollector
from infra.local.kubernetes.jobs import JobController
from infra.local.kubernetes.node import Node
from infra.local.kubernetes.pki import Pki
from infra.local.kubernetes.recorder import expire
from infra.local.kubernetes.registry import Registry, key_of
from infra.local.kubernetes.resources import (
    ACCOUNTS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    NAMESPACES,
    PRIORITIES,
    Resource,
)
from infra.local.kubernetes.scheduler import Scheduler
from infra.local.kubernetes.settings import NodeShape, Settings
from infra.local.kubernetes.store import Store
from infra.local.kubernetes.watching import CLOSING, OPEN_WATCHES

HOST = "127.0.0.1"
LOCK_PATIENCE = 3.0  # a shim that asks whether its cluster lives holds the lock for an instant
EVENTS_SWEEP = 60.0  # seconds at most, and one at least: the shorter they live, the oftener, so that few go
TOGETHER = 0.01  # seconds whose writes are one transaction of the database, unless somebody asks before


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = parse(arguments)
    for folder in (settings.state, settings.state / "pods", settings.pod_logs, settings.volumes):
        folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(settings.lock)
    if lock is None:
        print(f"error: another cluster is running on {settings.state}", file=sys.stderr)
        return 1
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())  # the default of 3.11 is a thread per child
    return asyncio.run(serve(settings))


def parse(arguments: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m infra.local.kubernetes", description=__doc__)
    add_flags(parser)
    given = vars(parser.parse_args(arguments))
    labels = dict(text.split("=", 1) for text in given.pop("node_label"))
    taints = tuple(map(parse_taint, given.pop("node_taint")))
    sizes = (given.pop("node_cpu"), given.pop("node_memory"), given.pop("node_gpu"), labels, taints)
    count = given.pop("node_count")
    names = ["trainyard"] if count == 1 else [f"trainyard-{number}" for number in range(count)]
    state = given.pop("state").resolve()
    state.mkdir(parents=True, exist_ok=True)
    volumes, users = given.pop("volumes") or state / "volumes", given.pop("user")
    return Settings(
        state=state,
        volumes=volumes.resolve(),
        nodes=tuple(NodeShape(name, *sizes) for name in names),
        missing_images=tuple(filter(None, given.pop("missing_images").split(","))),
        sandbox=not given.pop("no_sandbox") and sandbox.supported(str(state)),
        users={name: groups.split(",") for name, _, groups in (text.partition("=") for text in users)},
        **given,
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """README.md says more of each."""
    add = parser.add_argument
    add("--state", type=Path, required=True, help="folder for the database, keys, kubeconfig and pods")
    add("--port", type=int, default=6443)
    add("--volumes", type=Path, help="claim C of namespace N is VOLUMES/N/C (default STATE/volumes)")
    add("--node-count", type=int, default=1)
    add("--node-cpu", default="32")
    add("--node-memory", default="128Gi")
    add("--node-gpu", type=int, default=8, help="pretend GPUs (nvidia.com/gpu) on each node")
    add("--node-label", action="append", default=[], metavar="KEY=VALUE")
    add("--node-taint", action="append", default=[], metavar="KEY=VALUE:EFFECT")
    add("--user", action="append", default=[], metavar="NAME=GROUP,…", help="writes STATE/kubeconfig-NAME")
    add("--hollow", type=float, metavar="SECONDS", help="pods run nothing, and succeed after this long")
    add("--image-path", default="", help="goes before the PATH of every container")
    add("--missing-images", default="*missing*,*.invalid/*,invalid/*", help="images that cannot be pulled")
    add("--orphan-grace", type=float, default=60.0, help="seconds that containers outlive a killed cluster")
    add("--retry-backoff", type=float, default=10.0, help="seconds before a Job's first retry; doubles")
    add("--shutdown-grace", type=float, default=5.0, help="seconds to SIGKILL at most, on a clean stop")
    add("--event-ttl", type=float, default=3600.0, help="seconds that an Event outlives its last write")
    add("--log-keep", type=float, default=60.0, help="seconds that a deleted pod's logs stay")
    add("--no-sandbox", action="store_true", help="map paths, as where mounts are not allowed")


def parse_taint(text: str) -> dict[str, str]:
    pair, _, effect = text.partition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect or "NoSchedule"}


def take_lock(path: Path) -> IO[bytes] | None:
    """Held for as long as this process lives; shims watch it."""
    file = path.open("ab")
    until = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > until:
                return None
            time.sleep(0.02)


async def serve(settings: Settings) -> int:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pki = Pki(settings.state / "pki")
    later = partial(asyncio.get_running_loop().call_later, TOGETHER)
    store = Store(settings.state / "kubernetes.db", later=later)
    registry = Registry(store, Admission(store, settings.volumes))
    node = Node(registry, settings)
    application = Api(registry, node, pki).application()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, settings.port, ssl_context=pki.server_context()).start()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        print(f"error: cannot listen on {HOST}:{settings.port}: {why}", file=sys.stderr)
        return 1
    install(registry)
    controllers = start_controllers(registry, node, settings)
    url = f"https://{HOST}:{runner.addresses[0][1]}"
    pki.write_kubeconfig(settings.state / "kubeconfig", url)
    for user, groups in settings.users.items():
        pki.write_kubeconfig(settings.state / f"kubeconfig-{user}", url, pki.token_for(user, groups))
    print(f"ready {url}", flush=True)
    await stopping.wait()
    for stop in controllers:
        stop()
    await node.shut_down()
    application[CLOSING].set()
    for watch in application[OPEN_WATCHES]:
        watch.wake()
    await runner.cleanup()
    store.close()
    return 0


def install(registry: Registry) -> None:
    """What every cluster has from its first moment."""

    def ensure(resource: Resource, namespace: str, name: str, **body: Any) -> None:
        if registry.store.get(key_of(resource, namespace, name)) is None:
            registry.create(resource, namespace, {"metadata": {"name": name}, **body})

    for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
        ensure(NAMESPACES, "", name)
        ensure(ACCOUNTS, name, "default")
    ensure(PRIORITIES, "", "system-cluster-critical", value=2_000_000_000)
    ensure(PRIORITIES, "", "system-node-critical", value=2_000_001_000)
    for name, group, rules in BUILT_IN:
        shared = {"apiGroup": CLUSTER_ROLES.group}
        role = {"kind": "ClusterRole", "name": name, **shared}
        ensure(CLUSTER_ROLES, "", name, rules=rules)
        ensure(
            CLUSTER_BINDINGS, "", name, roleRef=role, subjects=[{"kind": "Group", "name": group, **shared}]
        )
    registry.store.forget()


def start_controllers(registry: Registry, node: Node, settings: Settings) -> list[Callable[[], None]]:
    def sweep(_: str) -> float:
        expire(registry, settings.event_ttl)
        return min(EVENTS_SWEEP, max(1.0, settings.event_ttl / 6))

    node.start()
    sweeper: Controller[str] = Controller("events", sweep)
    sweeper.start()
    sweeper.enqueue("all")
    jobs = JobController(registry, settings.retry_backoff)
    parts = (jobs, Scheduler(registry), GarbageCollector(registry))
    for part in parts:
        part.start()
    return [sweeper.stop, *(part.controller.stop for part in parts)]


if __name__ == "__main__":
    sys.exit(main())
