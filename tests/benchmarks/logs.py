"""How fast logs are, beside kubectl's own: the end of a long one, and a line's way to whoever follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tests.benchmarks.member import PATIENCE_SECONDS, Member, member
from tests.benchmarks.results import Result
from tests.benchmarks.sizes import Sizes
from tests.benchmarks.timing import in_turns, milliseconds, quantile, wait_until

TAILED = 100
TURNS = 20
GOAL_TAIL = 1.5
GOAL_P50, GOAL_P99 = 0.1, 0.5
NEVER_ENDS = "sys.stdout.flush()\ntime.sleep(3600)"
PRINTS = """
import random, time
time.sleep(3)
for _ in range({lines}):
    print(time.time_ns(), flush=True)
    time.sleep(0.1 + random.random() / 5)
"""


def tail(sizes: Sizes) -> Sequence[Result]:
    """The same lines by kubectl, and by one raw request to the cluster."""
    script = (
        f"import sys, time\nfor n in range({sizes.tailed}): sys.stdout.write(f'line {{n}} of the log\\n')\n"
    )
    with member() as one:
        job_id = one.run(script + NEVER_ENDS)
        pod = _pod(one, job_id)
        namespace = f"trainyard-{one.tenant}"
        ours = f"/api/jobs/{job_id}/pods/{pod}/logs?tailLines={TAILED}"
        raw = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        last = f"line {sizes.tailed - 1} of the log"
        wait_until(lambda: str(one.call("GET", ours)["logs"]).endswith(last), 300, "the last line", 0.5)
        words = ("-n", namespace, "logs", f"--tail={TAILED}", pod)
        api, kubectl, got = in_turns(
            [
                lambda: one.call("GET", ours),
                lambda: one.kubectl(*words).communicate(),
                lambda: one.cluster.open(raw, {"tailLines": TAILED}).read(),
            ],
            TURNS,
        )
        one.call("POST", f"/api/jobs/{job_id}/stop")
    ratio = api.p50 / kubectl.p50
    return [
        Result(
            what=f"tail {TAILED} of {sizes.tailed:,} lines, p50",
            figure=str(api),
            raw=f"{kubectl}, `kubectl logs --tail={TAILED}`",
            ratio=ratio,
            goal=f"≤ {GOAL_TAIL:g}×",
            met=ratio <= GOAL_TAIL,
            notes=[f"one raw GET of the log over an open connection: {got} (ratio {api.p50 / got.p50:.2f})"],
        )
    ]


def follow(sizes: Sizes) -> Sequence[Result]:
    """A job prints the time now and then; Trainyard and kubectl follow it side by side."""
    ours: list[float] = []
    theirs: list[float] = []
    with member() as one:
        job_id = one.run(PRINTS.format(lines=sizes.followed))
        pod = _pod(one, job_id)
        readers = [
            threading.Thread(target=_follow, args=(one, job_id, ours)),
            threading.Thread(target=_follow_by_kubectl, args=(one, pod, theirs, sizes.followed)),
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    if len(ours) != sizes.followed:
        raise RuntimeError(f"{sizes.followed} lines were printed, {len(ours)} received")
    p50, p99, their_p50 = quantile(ours, 0.5), quantile(ours, 0.99), quantile(theirs, 0.5)
    return [
        Result(
            what="follow: printed → received, p50 / p99",
            figure=f"{milliseconds(p50)} / {milliseconds(p99)}",
            raw=f"{milliseconds(their_p50)} / {milliseconds(quantile(theirs, 0.99))}, `kubectl logs -f`",
            ratio=p50 / their_p50,
            goal=f"≤ {GOAL_P50:g} / {GOAL_P99:g} s",
            met=p50 <= GOAL_P50 and p99 <= GOAL_P99,
            notes=[f"{len(ours)} lines, by long poll"],
        )
    ]


def _pod(one: Member, job_id: str) -> str:
    detail = f"/api/jobs/{job_id}"
    wait_until(lambda: bool(one.call("GET", detail)["pods"]), PATIENCE_SECONDS, "a pod")
    return str(one.call("GET", detail)["pods"][0])


def _follow(one: Member, job_id: str, seen: list[float]) -> None:
    cursor, finished = "start", False
    while not finished:
        page = one.call("GET", f"/api/v1/training/jobs/{job_id}/logs?follow=true&cursor={cursor}")
        _note(page["logs"], seen)
        cursor, finished = page["cursor"], page["finished"]


def _follow_by_kubectl(one: Member, pod: str, seen: list[float], lines: int) -> None:
    while len(seen) < lines:  # it refuses to follow a pod that has not started
        process = one.kubectl("-n", f"trainyard-{one.tenant}", "logs", "-f", pod)
        assert process.stdout is not None
        for line in process.stdout:
            _note([line], seen)
        process.wait()


def _note(lines: Sequence[str], seen: list[float]) -> None:
    now = time.time_ns()
    seen += [(now - int(line)) / 1e9 for line in lines]
