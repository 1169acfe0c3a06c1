"""A steady load on a stack for some minutes: creates, lists, details and logs, while jobs run.

    python -m tests.benchmarks.load [--per-second 50] [--minutes 10] [--kept 300]

Requests leave at their appointed times, answered or not ("open loop"), so that a slow answer delays no other
and its wait is counted. Each minute is a line, and at the end the first whole minutes with all jobs stand
beside the last ones: what a stack cannot bear shows as growth. On a stack of its own, on loopback, which is
gone afterwards. Exits with 1 if any request failed.

The number of jobs is the same all the time, as where a platform cleans up: beside the requests, each create
deletes the oldest job. With more jobs each minute MiniStack alone grows slower, whose Query goes over the
whole partition; DynamoDB's reads what it returns. MiniStack's memory stands for AWS' disks: what it grew by
is told for each job that came and went, and does not count as growth.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.benchmarks.member import Member, member
from tests.benchmarks.memory import held, running, told
from tests.benchmarks.results import machine
from tests.benchmarks.timing import quantile

WORKERS = 32  # requests that may be under way at once; what is more waits, and its wait is counted
# Of 50 requests a second 5 create a job that prints and ends after two seconds: ten run at any time.
MIX = (*["create"] * 2, *["list"] * 6, *["detail"] * 8, *["logs"] * 4)
KINDS = ("create", "delete", "detail", "list", "logs")
SCRIPT = "import time; print('begun', flush=True); time.sleep(2); print('done')"
# What a cluster keeps for an hour, it keeps for a minute: else it fills for the whole of the load.
SETTINGS = {"TRAINYARD_EVENT_TTL_SECONDS": "60"}
STORAGE = "ministack"
EARLY, LATE = slice(1, 3), slice(-2, None)  # minutes that are compared
# How far the late ones may be above the early ones: by that share and so many ms or MB. A p99 is of few.
P50, P99, MEMORY = (0.1, 5), (0.5, 50), (0.1, 10)


@dataclass
class Minute:
    """What was asked in one minute; seconds from the appointed time to the answer. And what each of the
    stack's components held at its end, without the jobs."""

    times: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    memory: Mapping[str, float] = field(default_factory=dict)


class Load:
    """Asks, and notes how it went."""

    def __init__(self, one: Member, kept: int) -> None:
        self._one = one
        self._kept = kept
        self._jobs = deque([one.run(SCRIPT)])
        self._lock = threading.Lock()
        self.minutes: dict[int, Minute] = {}
        self._asks: Mapping[str, Callable[[], object]] = {
            "create": lambda: self._jobs.append(one.run(SCRIPT)),
            "delete": lambda: one.call("DELETE", f"/api/jobs/{self._jobs.popleft()}"),
            "list": lambda: one.call("GET", "/api/v1/training/jobs?page_size=20"),
            "detail": lambda: one.call("GET", f"/api/jobs/{self._jobs[-1]}"),
            "logs": lambda: one.call(
                "GET", f"/api/v1/training/jobs/{self._jobs[max(-50, -len(self._jobs))]}/logs"
            ),
        }

    def run(self, per_second: int, seconds: float) -> None:
        begin = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            for number, kind in zip(range(int(per_second * seconds)), itertools.cycle(MIX), strict=False):
                due = begin + number / per_second
                time.sleep(max(0.0, due - time.monotonic()))
                minute = int((due - begin) // 60)
                pool.submit(self._ask, kind, due, minute)
                if kind == "create" and len(self._jobs) > self._kept:
                    pool.submit(self._ask, "delete", due, minute)

    def _ask(self, kind: str, due: float, minute: int) -> None:
        error = ""
        try:
            self._asks[kind]()
        except Exception as failure:  # noqa: BLE001 (whatever it is, it is counted)
            error = f"{kind}: {failure}"[:200]
        took = time.monotonic() - due
        with self._lock:
            noted = self.minutes.setdefault(minute, Minute())
            noted.times.setdefault(kind, []).append(took)
            noted.errors.update([error] if error else [])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--per-second", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kept", type=int, default=300, help="jobs that are there at any time")
    given = parser.parse_args(arguments)
    if min(given.per_second, given.minutes, given.kept) <= 0:
        parser.error("--per-second, --minutes and --kept are above 0")
    minutes: list[Minute] = []
    with member(SETTINGS) as one:
        print(f"| minute | {' | '.join(f'{kind}, p50 / p99 ms' for kind in KINDS)} | errors | memory, MB |")
        print(f"|---|{'---|' * len(KINDS)}---|---|")
        for minute in _minutes(one, given.per_second, given.minutes * 60, given.kept):
            minutes.append(minute)
            cells = [_cell(minute.times.get(kind, [])) for kind in KINDS]
            row = [len(minutes), *cells, minute.errors.total(), told(minute.memory)]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    print(f"\n{given.per_second} requests a second, {given.kept} jobs; {machine()}")
    failures = sum((minute.errors for minute in minutes), Counter[str]())
    for error, count in failures.most_common(10):
        print(f"{count} × {error}")
    print("\n".join(_comparison(minutes)))
    return int(bool(failures))


def _minutes(one: Member, per_second: int, seconds: float, kept: int) -> Iterator[Minute]:
    """The load, a minute at a time, as each has ended."""
    load = Load(one, kept)
    load.run(per_second, min(5.0, seconds))  # opens connections, builds clients
    load.minutes.clear()
    begin = time.monotonic()
    asking = threading.Thread(target=load.run, args=(per_second, seconds))
    asking.start()
    for number in range(max(1, round(seconds / 60))):
        asking.join(begin + 60 * (number + 1) - time.monotonic())
        minute = load.minutes.setdefault(number, Minute())
        minute.memory = held(running(one), alone=True)
        yield minute
    asking.join()


def _comparison(minutes: Sequence[Minute]) -> Iterator[str]:
    """Whether the load was borne without growth."""
    early, late = minutes[EARLY], minutes[LATE]
    if len(minutes) < EARLY.stop + 2:
        yield "flat: too short a load to say"
        return
    grown: list[str] = []
    yield "\n| | minutes 2 and 3 | the last two | grown |\n|---|---|---|---|"
    for kind in KINDS:
        before, after = (
            [took for minute in part for took in minute.times.get(kind, [])] for part in (early, late)
        )
        if not (before and after):
            continue
        is_grown = any(
            _has_grown(quantile(before, share) * 1000, quantile(after, share) * 1000, limit)
            for share, limit in ((0.5, P50), (0.99, P99))
        )
        grown += [kind] if is_grown else []
        yield f"| {kind}, p50 / p99 ms | {_cell(before)} | {_cell(after)} | {_said(is_grown)} |"
    for name in minutes[-1].memory:
        held_before, held_after = (max(one.memory.get(name, 0.0) for one in part) for part in (early, late))
        is_grown = name != STORAGE and _has_grown(held_before, held_after, MEMORY)
        grown += [name] if is_grown else []
        said = _stored(minutes) if name == STORAGE else _said(is_grown)
        yield f"| {name}, MB | {held_before:.0f} | {held_after:.0f} | {said} |"
    yield f"\nflat: {'no, grown: ' + ', '.join(grown) if grown else 'yes'}"


def _stored(minutes: Sequence[Minute]) -> str:
    """What MiniStack keeps of a job, from the end of the first minute to that of the last."""
    grown = minutes[-1].memory[STORAGE] - minutes[0].memory[STORAGE]
    jobs = sum(len(minute.times.get("create", [])) for minute in minutes[1:])
    return f"{grown * 1000 / jobs:.0f} KB a job" if jobs else ""


def _has_grown(before: float, after: float, limit: tuple[float, float]) -> bool:
    share, slack = limit
    return after > before * (1 + share) + slack


def _said(is_grown: bool) -> str:
    return "**yes**" if is_grown else "no"


def _cell(times: Sequence[float]) -> str:
    return f"{quantile(times, 0.5) * 1000:.0f} / {quantile(times, 0.99) * 1000:.0f}" if times else ""


if __name__ == "__main__":
    sys.exit(main())
