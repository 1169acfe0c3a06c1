"""The works, each done in the same way on every system: a figure for each row of the table."""

from __future__ import annotations

import shlex
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.peers import sandbox
from tests.benchmarks.peers.system import FAILURES, Client, NotAvailable, System
from tests.benchmarks.timing import quantile, wait_until

PATIENCE_SECONDS = 120.0
REST_SECONDS = 40.0  # Ray is never quite quiet
LISTING_SECONDS = 15.0
CLIENTS = 8
TAIL = 100
LINE = "line {} of the log"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work; the defaults are those of the documentation."""

    starts: int = 15
    creates: int = 200
    creates_together: int = 400
    few_jobs: int = 500
    many_jobs: int = 10_000
    lists: int = 20
    lines: int = 1_000_000
    tails: int = 20
    followed: int = 100


QUICK = Sizes(
    starts=3,
    creates=20,
    creates_together=40,
    few_jobs=20,
    many_jobs=100,
    lists=5,
    lines=10_000,
    tails=3,
    followed=10,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A cell: its text, and the number that a ratio is made of, if it has one."""

    text: str
    value: float | None = None


Figures = dict[str, Figure]
Say = Callable[[str], None]


def rows(sizes: Sizes) -> dict[str, str]:
    """What each row is called, in the table's order."""
    return {
        "create": "create, one client, p50",
        "together": f"created per second, {CLIENTS} clients",
        "running": "create → the API says running, p50",
        "process": "create → its process runs, p50",
        "few": f"list 20 (peers: all) of {sizes.few_jobs:,} jobs, p50",
        "many": f"list 20 (peers: all) of {sizes.many_jobs:,} jobs, p50",
        "tail": f"the last {TAIL} of {sizes.lines:,} lines, p50",
        "follow": "a line is printed → a follower has it, p50",
        "follow99": "the same, p99",
        "memory": "idle memory of the whole (PSS)",
    }


def measure(system: System, folder: Path, sizes: Sizes, say: Say) -> Figures:
    """The system is at rest before each work. What it cannot do is said in the cell."""
    connect, figures = system.connect, Figures()
    works: Mapping[tuple[str, ...], Callable[[], Sequence[Figure]]] = {
        ("memory",): lambda: [_in_megabytes(sandbox.memory())],
        ("running", "process"): lambda: _starts(connect(), folder, sizes.starts),
        ("follow", "follow99"): lambda: _follow(connect(), sizes.followed),
        ("tail",): lambda: [_tail(connect(), sizes)],
        ("few",): lambda: [_list(system, sizes.few_jobs, sizes.lists)],
        ("create",): lambda: [_create(connect(), sizes.creates)],
        ("together",): lambda: [_create_together(system, sizes.creates_together)],
        ("many",): lambda: [_list(system, sizes.many_jobs, sizes.lists)],
    }
    for names, work in works.items():
        sandbox.await_quiet(REST_SECONDS)
        try:
            figures |= zip(names, work(), strict=True)
        except (NotAvailable, *FAILURES) as error:  # a TimeoutError is among them
            figures |= dict.fromkeys(names, Figure(f"– ({error})"))
        for name in names:
            say(f"{system.name}: {rows(sizes)[name]}: {figures[name].text}")
    return figures


def _starts(client: Client, folder: Path, number: int) -> Sequence[Figure]:
    told: list[float] = []
    ran: list[float] = []
    for turn in range(number + 1):
        mark = folder / f"ran-{turn}"
        began = time.time()
        job_id = client.create(f"date +%s.%N > {mark}; sleep 1")
        _await_start(client, job_id)
        told.append(time.time() - began)
        wait_until(partial(client.has_ended, job_id), PATIENCE_SECONDS, "the end", pause=0.1)
        ran.append(float(mark.read_text()) - began)
    # The first one of each warms things up.
    return _in_ms(_p50(told[1:])), _in_ms(_p50(ran[1:]))


def _follow(client: Client, number: int) -> Sequence[Figure]:
    script = (
        f"import random, time\ntime.sleep(3)\nfor _ in range({number}):\n"
        "    print(time.time_ns(), flush=True)\n    time.sleep(0.1 + random.random() / 5)\n"
    )
    job_id = client.create(_python(script))
    late: list[float] = []
    for line in client.follow(job_id):
        if line.strip().isdigit():
            late.append((time.time_ns() - int(line)) / 1e9)
        if len(late) == number:
            break
    return _in_ms(_p50(late)), _in_ms(quantile(late, 0.99))


def _tail(client: Client, sizes: Sizes) -> Figure:
    script = (
        f"import sys, time\nfor n in range({sizes.lines}): sys.stdout.write('{LINE}\\n'.format(n))\n"
        "sys.stdout.flush()\ntime.sleep(600)\n"
    )
    job_id = client.create(_python(script))
    _await_start(client, job_id)
    last = LINE.format(sizes.lines - 1)
    wait_until(lambda: client.tail(job_id, TAIL)[0][-1:] == [last], PATIENCE_SECONDS, "the lines", pause=0.5)
    sandbox.await_quiet(REST_SECONDS)
    read = 0

    def work() -> None:
        nonlocal read
        lines, read = client.tail(job_id, TAIL)
        assert len(lines) == TAIL, f"{len(lines)} lines"

    times = [_timed(work) for _ in range(sizes.tails)]
    client.stop(job_id)
    return _with_bytes(_p50(times), read)


def _list(system: System, jobs: int, number: int) -> Figure:
    system.fill(jobs)
    sandbox.await_quiet(REST_SECONDS)
    client, times = system.connect(), list[float]()
    read = client.list_newest()  # the first one warms things up
    until = time.monotonic() + LISTING_SECONDS
    while len(times) < number and (not times or time.monotonic() < until):
        times.append(_timed(client.list_newest))
    return _with_bytes(_p50(times), read)


def _create(client: Client, number: int) -> Figure:
    client.create_waiting()
    return _in_ms(_p50([_timed(client.create_waiting) for _ in range(number)]))


def _create_together(system: System, number: int) -> Figure:
    share = number // CLIENTS
    errors: list[str] = []
    clients = [system.connect() for _ in range(CLIENTS)]
    for client in clients:
        client.create_waiting()

    def create(client: Client) -> None:
        for _ in range(share):
            try:
                client.create_waiting()
            except FAILURES as error:
                errors.append(str(error))

    threads = [threading.Thread(target=create, args=(client,)) for client in clients]

    def work() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seconds = _timed(work)
    rate = (share * CLIENTS - len(errors)) / seconds
    return Figure(f"{rate:.0f}, {len(errors)} errors" if errors else f"{rate:.0f}, no errors", rate)


def _await_start(client: Client, job_id: str) -> None:
    wait_until(lambda: not client.is_pending(job_id), PATIENCE_SECONDS, "the start", pause=0.02)


def _python(script: str) -> str:
    return shlex.join([sys.executable, "-c", script])


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _p50(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)


def _in_ms(seconds: float) -> Figure:
    text = f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"
    return Figure(text, seconds)


def _in_megabytes(amount: int) -> Figure:
    return Figure(f"{amount / 1e6:.0f} MB", amount)


def _with_bytes(seconds: float, read: int) -> Figure:
    size = f"{read / 1000:.0f} kB" if read < 1_000_000 else f"{read / 1e6:.1f} MB"
    return Figure(f"{_in_ms(seconds).text}, {size}", seconds)
