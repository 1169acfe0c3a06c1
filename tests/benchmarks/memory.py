"""What the whole embedded stack holds in memory while it has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.local import stack
from tests.benchmarks.member import member
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes

GOAL_MB = 300


def idle(sizes: Sizes) -> Sequence[Result]:
    """The proportional set size of all processes: what several share is counted once among them. On a machine
    where others share the same libraries it is a little low; `resident` counts shared pages in each."""
    with member({}) as one:
        one.call("POST", "/api/jobs", {})  # the API has built what it needs
        time.sleep(sizes.idle_seconds)
        parts = {
            name: [_memory(pid) for pid in _family(pid)]
            for name, pid in stack.status(one.stack.local).items()
            if pid
        }
    held = {name: sum(pss for pss, _ in processes) for name, processes in parts.items()}
    resident = sum(rss for processes in parts.values() for _, rss in processes)
    total = sum(held.values())
    each = ", ".join(f"{name} {mb:.0f}" for name, mb in sorted(held.items(), key=lambda part: -part[1]))
    return [
        Result(
            what="idle memory of the embedded stack",
            figure=f"{total:.0f} MB",
            raw=f"{held['ministack']:.0f} MB, MiniStack alone",
            ratio=total / held["ministack"],
            goal=f"≤ {GOAL_MB} MB",
            met=total <= GOAL_MB,
            notes=[f"PSS, of {sum(map(len, parts.values()))} processes: {each}; resident {resident:.0f} MB"],
        )
    ]


def _family(pid: int) -> Iterator[int]:
    """The process and all that it started, as far as they live."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _memory(pid: int) -> tuple[float, float]:
    """Proportional and resident set size, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return sizes["Pss"] * 1024 / 1e6, sizes["Rss"] * 1024 / 1e6
