"""Where a stored job lives: its pool, which the configuration may have lost since."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.pools import Pool
from chalicelib.errors import PoolMissing


def pool_of(pools: Mapping[str, Pool], pool_id: str) -> Pool:
    """The pool that a stored job names. Raises PoolMissing when it is no longer configured."""
    pool = pools.get(pool_id)
    if pool is None:
        raise PoolMissing(pool_id)
    return pool
