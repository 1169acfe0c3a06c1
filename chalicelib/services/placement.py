"""Where a stored job lives: its pool, which the configuration may have lost since."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.pools import Pool
from chalicelib.errors import ClusterUnavailable


def pool_of(pools: Mapping[str, Pool], pool_id: str) -> Pool:
    """The pool that a stored job names. Raises ClusterUnavailable when it is no longer configured."""
    pool = pools.get(pool_id)
    if pool is None:
        raise ClusterUnavailable(f"resource pool {pool_id!r} is no longer configured")
    return pool
