"""What the whole embedded stack holds in memory while it has nothing to do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from infra.local import stack
from tests.benchmarks.member import PATIENCE_SECONDS, Member, member
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import wait_until

GOAL_MB = 300


def idle(sizes: Sizes) -> Sequence[Result]:
    """The proportional set size of all processes: what several share is counted once among them. On a machine
    where others share the same libraries it is a little low; `resident` counts shared pages in each."""
    with member({}) as one:
        one.call("POST", "/api/jobs", {})  # the API has built what it needs
        time.sleep(sizes.idle_seconds)
        processes = [child for pid in running(one).values() for child in _family(pid)]
        resident = sum(_memory(pid, "Rss") for pid in processes)
        parts = held(running(one))
        _work(one)
        time.sleep(sizes.idle_seconds)
        worked = held(running(one))
    total = sum(parts.values())
    return [
        Result(
            what="idle memory of the embedded stack",
            figure=f"{total:.0f} MB",
            raw=f"{parts['ministack']:.0f} MB, MiniStack alone",
            ratio=total / parts["ministack"],
            goal=f"≤ {GOAL_MB} MB",
            met=total <= GOAL_MB,
            notes=[
                f"PSS, of {len(processes)} processes: {told(parts)}; resident {resident:.0f} MB",
                f"idle again after a job has run and its log was read: {told(worked)}",
            ],
        )
    ]


def running(one: Member) -> dict[str, int]:
    """The stack's components that run, by name, with their process ids."""
    return {name: pid for name, pid in stack.status(one.stack.local).items() if pid}


def held(pids: Mapping[str, int], *, alone: bool = False) -> dict[str, float]:
    """The proportional set size of each, in MB, the largest first: with all that it started, or `alone`."""
    families = {name: [pid] if alone else _family(pid) for name, pid in pids.items()}
    sizes = {name: sum(_memory(pid, "Pss") for pid in family) for name, family in families.items()}
    return dict(sorted(sizes.items(), key=lambda part: -part[1]))


def told(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {mb:.0f}" for name, mb in parts.items()) + f"; {sum(parts.values()):.0f} MB"


def _work(one: Member) -> None:
    """A job, and its log: whatever is made on first use is made."""
    job = one.run("print('done')")
    path = f"/api/jobs/{job}"
    wait_until(
        lambda: one.call("GET", path)["status"] == "Succeeded", PATIENCE_SECONDS, f"{job} to succeed", 0.1
    )
    (pod,) = one.call("GET", path)["pods"]
    one.call("GET", f"{path}/pods/{pod}/logs")


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
