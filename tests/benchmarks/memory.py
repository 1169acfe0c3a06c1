"""What the whole embedded stack holds in memory while it has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
        pids = {name: pid for name, pid in stack.status(one.stack.local).items() if pid}
        processes = [child for pid in pids.values() for child in _family(pid)]
        resident = sum(_memory(pid, "Rss") for pid in processes)
        parts = held(pids)
    total = sum(parts.values())
    each = ", ".join(f"{name} {mb:.0f}" for name, mb in parts.items())
    return [
        Result(
            what="idle memory of the embedded stack",
            figure=f"{total:.0f} MB",
            raw=f"{parts['ministack']:.0f} MB, MiniStack alone",
            ratio=total / parts["ministack"],
            goal=f"≤ {GOAL_MB} MB",
            met=total <= GOAL_MB,
            notes=[f"PSS, of {len(processes)} processes: {each}; resident {resident:.0f} MB"],
        )
    ]


def held(pids: Mapping[str, int]) -> dict[str, float]:
    """The proportional set size of each with all that it started, in MB, the largest first."""
    sizes = {name: sum(_memory(child, "Pss") for child in _family(pid)) for name, pid in pids.items()}
    return dict(sorted(sizes.items(), key=lambda part: -part[1]))


def _family(pid: int) -> Iterator[int]:
    """The process and all that it started, as far as they live."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _memory(pid: int, kind: str) -> float:
    """In MB, by the kernel's name for it: Pss, Rss, …; 0 of a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return sizes.get(kind, 0) * 1024 / 1e6
