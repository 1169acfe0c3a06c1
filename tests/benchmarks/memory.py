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
        parts = _parts(one)
        _work(one)
        time.sleep(sizes.idle_seconds)
        worked = _told(_held(_parts(one)))
    held = _held(parts)
    count = sum(map(len, parts.values()))
    resident = sum(rss for processes in parts.values() for _, rss in processes)
    total = sum(held.values())
    return [
        Result(
            what="idle memory of the embedded stack",
            figure=f"{total:.0f} MB",
            raw=f"{held['ministack']:.0f} MB, MiniStack alone",
            ratio=total / held["ministack"],
            goal=f"≤ {GOAL_MB} MB",
            met=total <= GOAL_MB,
            notes=[
                f"PSS, of {count} processes: {_told(held)}; resident {resident:.0f} MB",
                f"idle again after a job has run and its log was read: {worked}",
            ],
        )
    ]


def _work(one: Member) -> None:
    """A job, and its log: whatever is made on first use is made."""
    job = one.run("print('done')")
    path = f"/api/jobs/{job}"
    wait_until(
        lambda: one.call("GET", path)["status"] == "Succeeded", PATIENCE_SECONDS, f"{job} to succeed", 0.1
    )
    (pod,) = one.call("GET", path)["pods"]
    one.call("GET", f"{path}/pods/{pod}/logs")


def _parts(one: Member) -> dict[str, list[tuple[float, float]]]:
    """What the processes of each component hold."""
    pids = stack.status(one.stack.local)
    return {name: [_memory(each) for each in _family(pid)] for name, pid in pids.items() if pid}


def _held(parts: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, float]:
    return {name: sum(pss for pss, _ in processes) for name, processes in parts.items()}


def _told(held: Mapping[str, float]) -> str:
    each = sorted(held.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {mb:.0f}" for name, mb in each) + f"; {sum(held.values()):.0f} MB in all"


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
