"""Resource pools: where jobs may run. Pools are configuration; this is their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.job import Resources

GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A cluster, a namespace pattern (`{tenant}` is filled in) and how pods ask for its nodes and GPUs.

    `queues` are the Kueue LocalQueues of the namespace; the first is the default; none means no Kueue.
    `run_as` is the numeric user and group of the containers; None leaves it to the image.
    """

    id: str
    cluster: str
    namespace: str = "trainyard-{tenant}"
    queues: tuple[str, ...] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    gpu_resource: str = "nvidia.com/gpu"
    default_resources: Resources = field(default_factory=lambda: Resources(cpu=1, memory=2 * GIB, gpu=0))
    images: Mapping[str, str] = field(default_factory=dict)  # framework → image, over the stage's own
    workspace_claim: str = "workspace-{id}"
    dataset_claim: str = "dataset-{id}"
    priority_classes: bool = True
    run_as: int | None = 1000
    service_account: str = ""  # whose AWS role its pods have; empty: the namespace's default

    def namespace_of(self, tenant: str) -> str:
        return self.namespace.format(tenant=tenant)

    @property
    def spans_tenants(self) -> bool:
        """Whether its jobs live in one namespace per tenant, so that lists go over all namespaces."""
        return "{tenant}" in self.namespace
