"""How much of everything a run measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    requests: int = 300  # of one client
    created: int = 2000  # by several clients
    lives: int = 100  # jobs, from create to end, one after the other
    listed: Sequence[int] = (100, 10_000, 100_000)
    tailed: int = 1_000_000  # lines
    followed: int = 300  # lines
    uploaded: int = 1000  # jobs in one file
    active: int = 10_000  # jobs that a pass goes over
    imports: int = 7  # of each function
    idle_seconds: float = 20.0


QUICK = Sizes(
    requests=30,
    created=200,
    lives=10,
    listed=(100, 1000, 3000),
    tailed=20_000,
    followed=40,
    uploaded=100,
    active=300,
    imports=2,
    idle_seconds=5.0,
)
