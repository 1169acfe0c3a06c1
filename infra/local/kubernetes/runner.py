"""The life of one pod on the node: the same steps whether it is new or was found running after a restart."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from infra.local.kubernetes.environment import Unready, prepare_volumes
from infra.local.kubernetes.launch import Launch, hosts_lines, termination_message
from infra.local.kubernetes.podstatus import SHUTDOWN_MESSAGE, ContainerState, status_of
from infra.local.kubernetes.process import HollowProcess, Process, remove_tree
from infra.local.kubernetes.resources import CONFIGMAPS, PODS, SECRETS
from infra.local.kubernetes.sandbox import Mount
from infra.local.kubernetes.store import Key, renewed
from infra.local.kubernetes.values import now, parse_time

if TYPE_CHECKING:
    from infra.local.kubernetes.node import Node

Obj = dict[str, Any]
CRASH_BACKOFF, IMAGE_BACKOFF, LONGEST_BACKOFF = 10.0, 10.0, 300.0
EVICTION_GRACE = 1.0


class PodRunner:
    def __init__(self, host: Node, pod: Obj, address: str) -> None:
        self._host = host
        self.pod = pod
        self._spec: Obj = pod["spec"]
        self.address = address
        self.folder = host.settings.state / "pods" / pod["metadata"]["uid"]
        self._init = [ContainerState(c["name"], c["image"]) for c in self._spec.get("initContainers") or []]
        self._main = [ContainerState(c["name"], c["image"]) for c in self._spec["containers"]]
        for state in self._main if self._init else []:
            state.wait("PodInitializing")
        status = pod["status"]
        known = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        by_name = {one["name"]: one for one in known}
        for state in (*self._init, *self._main):
            if state.name in by_name:
                state.restore(by_name[state.name])
        self._live: dict[str, Process] = {}
        self._hollow: dict[tuple[str, int], Process] = {}
        self._stopping: float | None = None  # the grace period, once asked to stop
        self._reason = self._message = ""
        self.lost = False  # its node is out of reach, so it tells nothing any more
        self._poke = asyncio.Event()
        self._volumes: dict[str, Mount] = {}

    def poke(self) -> None:
        """Something changed that this pod may be waiting for."""
        self._poke.set()

    def stop(self, grace: float, reason: str = "", message: str = "") -> None:
        if self._stopping is not None and grace >= self._stopping:
            return
        self._host.registry.store.settle()
        if self._stopping is None:
            if self._live or reason != "NodeShutdown":
                self._reason, self._message = reason, message
            for name in self._live:
                self._event("Killing", f"Stopping container {name}", name)
        self._stopping = grace
        for process in self._live.values():
            process.stop(grace)
        self._poke.set()

    def shut_down(self, grace: float) -> None:
        own = self._spec["terminationGracePeriodSeconds"]
        self.stop(min(grace, own), "NodeShutdown", SHUTDOWN_MESSAGE)

    def evict(self) -> None:
        message = "The node was low on resource: memory. "
        self._event("Evicted", message, warning=True)
        self.stop(EVICTION_GRACE, "Evicted", message)

    def lose(self) -> None:
        self.lost = True
        self.stop(0)

    async def run(self) -> None:
        deadline = self._spec.get("activeDeadlineSeconds")
        loop = asyncio.get_running_loop()
        since = self.pod["status"].get("startTime")
        spent = (now() - parse_time(since)).total_seconds() if since else 0.0
        timer = loop.call_later(max(0.0, deadline - spent), self._expire) if deadline is not None else None
        try:
            if not self.pod["status"].get("startTime"):
                self._publish()
            if await self._mount_volumes() and await self._initialize():
                pairs = zip(self._spec["containers"], self._main, strict=True)
                await asyncio.gather(*(self._keep_running(c, s, init=False) for c, s in pairs))
        finally:
            if timer:
                timer.cancel()
        started = any(s.terminated for s in (*self._init, *self._main))
        if started or self._reason != "NodeShutdown":
            self._publish(over=True)

    def _expire(self) -> None:
        words = "Pod was active on the node longer than the specified deadline"
        self.stop(self._spec["terminationGracePeriodSeconds"], "DeadlineExceeded", words)

    async def _initialize(self) -> bool:
        for container, state in zip(self._spec.get("initContainers") or [], self._init, strict=True):
            await self._keep_running(container, state, init=True)
            if not state.terminated or state.terminated["exitCode"]:
                return False
        return self._stopping is None

    async def _mount_volumes(self) -> bool:
        namespace = self.pod["metadata"]["namespace"]
        while self._stopping is None and self._host.settings.hollow is None:
            self._poke.clear()
            try:
                folder_of = partial(self._host.registry.admission.claim_folder, namespace)
                self._volumes = prepare_volumes(self.pod, self.folder, folder_of, self._lookup)
                return True
            except Unready as error:
                self._event("FailedMount", f"MountVolume.SetUp failed for volume: {error}", warning=True)
                await self._poke.wait()
        return self._stopping is None

    async def _keep_running(self, container: Obj, state: ContainerState, *, init: bool) -> None:
        """Run, and run again as the restart policy says, until there is nothing left to run."""
        state.restarts = self._last_attempt(container["name"])
        while self._stopping is None or self._attempt(container["name"], state.restarts).recorded:
            if not await self._image_is_there(container, state):
                return
            try:
                await self._run_once(container, state)
            except Unready as error:
                state.wait("CreateContainerConfigError", str(error))
                self._publish()
                await self._pause(None)
                continue
            code = (state.terminated or {}).get("exitCode")
            policy = self._spec["restartPolicy"]
            again = (policy == "OnFailure" and code) or (policy == "Always" and (not init or code))
            if not again or self._stopping is not None:
                return
            await self._back_off(container, state)
            if self._stopping is None:
                state.restarts += 1

    async def _run_once(self, container: Obj, state: ContainerState) -> None:
        name, process = container["name"], self._attempt(container["name"], state.restarts)
        fresh = not process.recorded
        run = {} if not fresh else self._prepare(container, process)
        if fresh:
            self._event("Created", f"Created container: {name}", name)
        self._live[name] = process
        await process.start(run)
        state.identity = f"trainyard://{self.pod['metadata']['uid']}-{name}-{state.restarts}"
        if process.running:
            if fresh:
                self._event("Started", f"Started container {name}", name)
            if not process.exit:
                state.run(process.running["startedAt"])
                self._publish()
        if self._stopping is not None:
            process.stop(self._stopping)
        result = await process.wait()
        self._live.pop(name, None)
        state.end(result, termination_message(container, process.directory, result))
        if result["reason"] == "StartError" and fresh:
            self._event("Failed", f"Error: {result['message']}", name, warning=True)
        self._publish()

    async def _image_is_there(self, container: Obj, state: ContainerState) -> bool:
        """Nothing is ever pulled; an image on the missing list never comes."""
        name, image = container["name"], container["image"]
        if not self._host.image_is_missing(image):
            if not self._attempt(name, state.restarts).recorded:
                self._event("Pulled", f'Container image "{image}" already present on machine', name)
            return True
        delay, why = IMAGE_BACKOFF, f'failed to resolve reference "{image}": not found'
        failure = f'Failed to pull image "{image}": {why}'
        while self._stopping is None and self._host.image_is_missing(image):
            self._event("Pulling", f'Pulling image "{image}"', name)
            self._event("Failed", failure, name, warning=True)
            self._event("Failed", "Error: ErrImagePull", name, warning=True)
            state.wait("ErrImagePull", why)
            self._publish()
            await self._pause(1.0)
            self._event("BackOff", f'Back-off pulling image "{image}"', name)
            self._event("Failed", "Error: ImagePullBackOff", name, warning=True)
            state.wait("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {why}')
            self._publish()
            await self._pause(delay, or_poke=True)
            delay = min(delay * 2, LONGEST_BACKOFF)
        return self._stopping is None

    async def _back_off(self, container: Obj, state: ContainerState) -> None:
        if not state.restarts:
            return
        delay = min(CRASH_BACKOFF * 2 ** (state.restarts - 1), LONGEST_BACKOFF)
        name, pod = container["name"], self.pod["metadata"]
        where = f"{pod['name']}_{pod['namespace']}({pod['uid']})"
        words = f"Back-off restarting failed container {name} in pod {where}"
        self._event("BackOff", words, name, warning=True)
        words = f"back-off {int(delay)}s restarting failed container={name} pod={where}"
        state.wait("CrashLoopBackOff", words)
        self._publish()
        await self._pause(delay)

    async def _pause(self, seconds: float | None, *, or_poke: bool = False) -> None:
        """Until asked to stop or the time is over; without a time, or if told so, until poked."""
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while self._stopping is None:
            self._poke.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._poke.wait()
            except TimeoutError:
                return
            if until is None or or_poke:
                return

    def _prepare(self, container: Obj, process: Process) -> Obj:
        settings = self._host.settings
        if settings.hollow is not None:
            return {}
        self._host.registry.store.settle()
        if not settings.sandbox and container.get("volumeMounts"):
            message = (
                "this machine allows no private file tree: mount paths in the command, arguments, "
                "variables and working directory are rewritten to host folders"
            )
            self._event("PathMapping", message, container["name"], warning=True)
        pod = self._current() or self.pod
        launch = Launch(settings, pod, self._volumes, self.folder, self._lookup)
        return launch.record(container, process.directory)

    def write_hosts(self, peers: list[str]) -> None:
        """In place, since it is mounted: names of this pod, and of its peers as they come and go."""
        if self._host.settings.hollow is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        own = hosts_lines(self.pod, self.address, service=False)
        text = "\n".join(["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost", *(peers or own), ""])
        (self.folder / "hosts").write_text(text)

    def _lookup(self, kind: str, name: str) -> Obj | None:
        resource = CONFIGMAPS if kind == "configmap" else SECRETS
        return self._host.registry.store.get(Key(resource, self.pod["metadata"]["namespace"], name))

    def _attempt(self, name: str, number: int) -> Process:
        directory = self.folder / "containers" / name / str(number)
        seconds = self._host.settings.hollow
        if seconds is None:
            return Process(directory)
        return self._hollow.setdefault((name, number), HollowProcess(directory, seconds))

    def _last_attempt(self, name: str) -> int:
        try:
            return max((int(n.name) for n in (self.folder / "containers" / name).iterdir()), default=0)
        except FileNotFoundError:
            return 0

    def _current(self) -> Obj | None:
        metadata = self.pod["metadata"]
        found = self._host.registry.store.get(Key(PODS, metadata["namespace"], metadata["name"]))
        return found if found and found["metadata"]["uid"] == metadata["uid"] else None

    def _publish(self, *, over: bool = False) -> None:
        pod = self._current()
        if pod is None or self.lost:
            return  # removed by force, or out of reach
        why = (self._reason, self._message)
        status = status_of(pod, self._init, self._main, over=over, address=self.address, why=why)
        self._host.registry.write(PODS, renewed(pod, status=status))

    def _event(self, reason: str, message: str, container: str = "", *, warning: bool = False) -> None:
        if self.lost:
            return
        group = "containers" if any(s.name == container for s in self._main) else "initContainers"
        field = f"spec.{group}{{{container}}}" if container else ""
        where = {"host": self._spec["nodeName"], "field": field}
        self._host.recorder.record(self.pod, reason, message, warning=warning, **where)

    def remove(self) -> None:
        self._host.registry.store.settle()
        remove_tree(self.folder)
