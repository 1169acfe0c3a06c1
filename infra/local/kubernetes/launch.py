"""What the shim is told to run, and what a container that ended had to say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.kubernetes.environment import BASE_PATH, Lookup, expand, map_paths, variables_of
from infra.local.kubernetes.sandbox import Mount
from infra.local.kubernetes.settings import Settings
from infra.local.kubernetes.values import quantity

Obj = dict[str, Any]


def hostname_of(pod: Obj) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def hosts_lines(pod: Obj, address: str, service: bool) -> list[str]:
    """The names under which a pod is found; with its headless Service, by the other pods too."""
    name, subdomain = hostname_of(pod), pod["spec"].get("subdomain")
    names = [name]
    if service and subdomain:
        space = f".{pod['metadata']['namespace']}"
        names = [
            f"{name}.{subdomain}{more}" for more in (f"{space}.svc.cluster.local", f"{space}.svc", space, "")
        ]
        names.append(name)
    return [f"{address}\t{' '.join(names)}"]


@dataclass(frozen=True)
class Launch:
    """Of the containers of one pod, whose folder this is."""

    settings: Settings
    pod: Obj
    volumes: dict[str, Mount]
    folder: Path
    lookup: Lookup

    def record(self, container: Obj, directory: Path) -> Obj:
        """`directory` is the run's own. Raises Unready when a reference leads nowhere."""
        directory.mkdir(parents=True, exist_ok=True)
        (self.folder / "home").mkdir(exist_ok=True)
        expose_log(log_folder(self.settings, self.pod) / container["name"], directory)
        mounts, env = self._mounts(container, directory), self._environment(container)
        argv = [expand(word, env) for key in ("command", "args") for word in container.get(key) or []]
        cwd = container.get("workingDir") or ("/" if self.settings.sandbox else env["HOME"])
        if not self.settings.sandbox:
            argv, cwd = [map_paths(word, mounts) for word in argv], map_paths(cwd, mounts)
            env = {k: v if k == "PATH" else map_paths(v, mounts) for k, v in env.items()}
        limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
        return {
            "argv": argv,
            "env": env,
            "cwd": cwd,
            "sandbox": self.settings.sandbox,
            "mounts": mounts,
            "hostname": hostname_of(self.pod),
            "lock": str(self.settings.lock),
            "orphanGrace": self.settings.orphan_grace,
            "grace": self.pod["spec"]["terminationGracePeriodSeconds"],
            "memory": int(quantity(limit)) if limit else 0,
        }

    def _environment(self, container: Obj) -> dict[str, str]:
        port = str(self.settings.port)
        base = {
            "PATH": f"{self.settings.image_path}:{BASE_PATH}".lstrip(":"),
            "HOME": str(self.folder / "home"),
            "HOSTNAME": hostname_of(self.pod),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": port,
            "KUBERNETES_SERVICE_PORT_HTTPS": port,
        }
        return variables_of(self.pod, container, base, self.lookup)

    def _mounts(self, container: Obj, directory: Path) -> list[Mount]:
        mounts: list[Mount] = []
        for mount in container.get("volumeMounts") or []:
            volume = self.volumes[mount["name"]]
            readonly = volume["readonly"] or bool(mount.get("readOnly"))
            mounts.append({**volume, "path": mount["mountPath"], "readonly": readonly})
        said, hosts = directory / "termination-log", self.folder / "hosts"
        said.touch()
        for path, source in ((container["terminationMessagePath"], said), ("/etc/hosts", hosts)):
            if path not in {mount["path"] for mount in mounts}:
                mounts.append({"path": path, "source": str(source), "readonly": False, "size": 0})
        return mounts


def log_folder(settings: Settings, pod: Obj) -> Path:
    """Where a kubelet would keep the pod's logs, and a log shipper looks for them."""
    metadata = pod["metadata"]
    return settings.pod_logs / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def expose_log(folder: Path, directory: Path) -> None:
    """This run's log is a second time in the kubelet's layout, where it outlives the run's folder."""
    log, exposed = directory / "log", folder / f"{directory.name}.log"
    log.touch(0o600)
    folder.mkdir(parents=True, exist_ok=True)
    exposed.unlink(missing_ok=True)  # of a life of the cluster that ended right here
    exposed.hardlink_to(log)


def termination_message(container: Obj, directory: Path, result: Obj) -> str:
    if result.get("message"):
        return str(result["message"])
    said = _tail_of(directory / "termination-log", 4096)
    if said or container["terminationMessagePolicy"] == "File" or result["exitCode"] == 0:
        return said
    lines = _tail_of(directory / "log", 65536).splitlines()[-80:]
    return "\n".join(line.split(" ", 3)[3] for line in lines if line.count(" ") >= 3)[-2048:]


def _tail_of(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
