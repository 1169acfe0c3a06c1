"""Everything that can be set about the cluster, in one frozen place, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class NodeShape:
    name: str
    cpu: str
    memory: str
    gpu: int
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Settings:
    state: Path
    port: int
    volumes: Path
    nodes: tuple[NodeShape, ...]
    image_path: str = ""  # goes before the container's PATH
    missing_images: tuple[str, ...] = ()
    orphan_grace: float = 60.0  # seconds that a container lives on without its cluster
    retry_backoff: float = 10.0  # seconds before a Job's first retry, doubled for each further one
    shutdown_grace: float = 5.0  # seconds at most between SIGTERM and SIGKILL when the cluster stops
    event_ttl: float = 3600.0  # seconds that an Event outlives its last write
    log_keep: float = 60.0  # seconds that a deleted pod's logs stay for whoever ships them
    sandbox: bool = False  # whether containers get a private file tree
    hollow: float | None = None  # seconds that pods pretend to run; None for real processes
    users: dict[str, list[str]] = field(default_factory=dict)  # besides the admin, and their groups

    @property
    def lock(self) -> Path:
        return self.state / "lock"

    @property
    def pod_logs(self) -> Path:
        return self.state / "log" / "pods"
