"""How much is going on: the active jobs of each pool and tenant, and what they hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.domain.job import Job
from chalicelib.domain.states import Status

# Each (pool, tenant) is a metric that is paid for; beyond these, tenants only count in their pool.
MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Of a tenant in a pool; `tenant` None: of the pool; `pool` None too: of all."""

    pool: str | None = None
    tenant: str | None = None
    active: int = 0
    pending: int = 0
    gpus: int = 0  # of the jobs that have started


def census(jobs: Iterable[Job], most: int = MOST) -> Sequence[Load]:
    """The loads of all, of each pool, and of the `most` greatest tenants in a pool. None without a job."""
    sums: defaultdict[tuple[str | None, str | None], list[int]] = defaultdict(lambda: [0, 0, 0])
    for job in jobs:
        if job.is_terminal:
            continue
        is_pending = job.status == Status.PENDING
        gpus = 0 if is_pending else job.spec.resources.gpu * job.spec.nodes
        for scope in ((None, None), (job.spec.pool, None), (job.spec.pool, job.tenant)):
            for place, amount in enumerate((1, int(is_pending), gpus)):
                sums[scope][place] += amount
    loads = [
        Load(pool=pool, tenant=tenant, active=active, pending=pending, gpus=gpus)
        for (pool, tenant), (active, pending, gpus) in sums.items()
    ]
    of_tenants = sorted((load for load in loads if load.tenant), key=lambda load: (-load.gpus, -load.active))
    return [load for load in loads if not load.tenant] + of_tenants[:most]
