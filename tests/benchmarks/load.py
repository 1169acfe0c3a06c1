"""A steady load on a stack for some minutes: creates, lists, details and logs, while jobs run.

    python -m tests.benchmarks.load [--per-second 50] [--minutes 10]

Requests leave at their appointed times, answered or not ("open loop"), so that a slow answer delays no other
and its wait is counted. Each minute is a line: a load that a stack cannot bear shows as growth from one to
the next. On a stack of its own, on loopback, which is gone afterwards. Exits with 1 if any request failed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.benchmarks.member import Member, member
from tests.benchmarks.memory import held, running, told
from tests.benchmarks.results import machine
from tests.benchmarks.timing import quantile

WORKERS = 32  # requests that may be under way at once; what is more waits, and its wait is counted
# Of 50 requests a second 5 create a job that prints and ends after two seconds: ten run at any time.
MIX = (*["create"] * 2, *["list"] * 6, *["detail"] * 8, *["logs"] * 4)
SCRIPT = "import time; print('begun', flush=True); time.sleep(2); print('done')"


@dataclass
class Minute:
    """What was asked in one minute; seconds from the appointed time to the answer."""

    times: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)


class Load:
    """Asks, and notes how it went."""

    def __init__(self, one: Member) -> None:
        self._one = one
        self._jobs = [one.run(SCRIPT)]
        self._lock = threading.Lock()
        self.minutes: dict[int, Minute] = {}
        self._asks: Mapping[str, Callable[[], object]] = {
            "create": self._create,
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
                pool.submit(self._ask, kind, due, int((due - begin) // 60))

    def _create(self) -> None:
        self._jobs.append(self._one.run(SCRIPT))

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
    given = parser.parse_args(arguments)
    failures: Counter[str] = Counter()
    kinds = sorted(set(MIX))
    with member({}) as one:
        load = Load(one)
        print(f"| minute | {' | '.join(f'{kind}, p50 / p99 ms' for kind in kinds)} | errors | memory, MB |")
        print(f"|---|{'---|' * len(kinds)}---|---|")
        load.run(given.per_second, min(5.0, given.minutes * 60))  # opens connections, builds clients
        load.minutes.clear()
        asking = threading.Thread(target=load.run, args=(given.per_second, given.minutes * 60))
        asking.start()
        for minute in itertools.count():
            asking.join(60)
            noted = load.minutes.get(minute, Minute())
            failures += noted.errors
            cells = [_cell(noted.times.get(kind, [])) for kind in kinds]
            memory = told(held(running(one)))
            print(f"| {minute + 1} | {' | '.join(cells)} | {noted.errors.total()} | {memory} |", flush=True)
            if not asking.is_alive():
                break
    print(f"\n{given.per_second} requests a second; {machine()}")
    for error, count in failures.most_common(10):
        print(f"{count} × {error}")
    return int(bool(failures))


def _cell(times: Sequence[float]) -> str:
    return f"{quantile(times, 0.5) * 1000:.0f} / {quantile(times, 0.99) * 1000:.0f}" if times else ""


if __name__ == "__main__":
    sys.exit(main())
