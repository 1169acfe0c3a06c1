"""Two sides of a comparison, measured in turns, so that a noisy moment of the machine hits both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

WARM_UP = 5  # turns that fill caches and open connections
LEAST = 5


@dataclass
class Side:
    """One side's times, in seconds."""

    times: list[float] = field(default_factory=list)

    def time(self, work: Callable[[], object]) -> None:
        begin = time.perf_counter()
        work()
        self.times.append(time.perf_counter() - begin)

    @property
    def p50(self) -> float:
        return quantile(self.times, 0.5)

    @property
    def p99(self) -> float:
        return quantile(self.times, 0.99)

    def __str__(self) -> str:
        return milliseconds(self.p50)


def in_turns(
    works: Sequence[Callable[[], object]], turns: int, seconds: float = 120.0, warm_up: int = WARM_UP
) -> list[Side]:
    """Time each of `works`, one after the other, `turns` times: or as often as `seconds` allow, but a few."""
    until = time.monotonic() + seconds
    for _ in range(warm_up):
        for work in works:
            work()
        if time.monotonic() > until - seconds * 0.8:
            break
    sides = [Side() for _ in works]
    for turn in range(turns):
        if turn >= LEAST and time.monotonic() > until:
            break
        for side, work in zip(sides, works, strict=True):
            side.time(work)
    return sides


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def wait_until(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.05) -> None:
    """Raises TimeoutError when it does not come true."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(pause)
