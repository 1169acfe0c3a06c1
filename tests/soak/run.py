"""One soak: a stack of its own, clients, and somebody who kills its processes meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM

from tests.soak.checks import Fault, Inspection
from tests.soak.clients import Clients, Witness
from tests.soak.plan import SCRIPT, File, Submission, Wanted, draw
from tests.stack import RunningStack, start_stack

# MiniStack is asked to end: killed it loses what it had in memory, which AWS does not (docs/uploads.md).
VICTIMS = ("pump", "kubernetes", "gateway", "pump", "kubernetes", "gateway", "shipper", "ministack")
AT_LARGE_SECONDS = 1.5  # at most, between what is submitted and a kill, and between that and the repair
SETTLES_SECONDS = 240.0
SETTINGS = {
    "TRAINYARD_STOP_GRACE_SECONDS": "2",
    "TRAINYARD_NODE_CPU": "1000",
    "TRAINYARD_NODE_MEMORY": "1Ti",
    # A container is handed over to the next cluster, however slow this machine is to start it.
    "TRAINYARD_ORPHAN_GRACE_SECONDS": "300",
}


@dataclass
class Report:
    """What a soak did and found."""

    jobs: int
    uploaded: int
    files: int
    kills: Counter[str]
    retries: int
    starts: int
    told_in_full: int
    seconds: float
    faults: Sequence[Fault]

    def count(self, kind: str) -> int:
        return sum(fault.kind == kind for fault in self.faults)


@dataclass
class Trouble:
    """Kills one process after the other, each brought back before the next."""

    stack: RunningStack
    clients: Clients
    random: Random
    kills: Counter[str] = field(default_factory=Counter)
    restarts: list[tuple[float, float]] = field(default_factory=list)  # of MiniStack: from when to when
    _deck: list[str] = field(default_factory=list)

    def strike(self) -> None:
        if not self._deck:
            self._deck = self.random.sample(VICTIMS, len(VICTIMS))
        victim = self._deck.pop()
        time.sleep(self.random.uniform(0, AT_LARGE_SECONDS))
        with self.clients.quiet if victim == "ministack" else nullcontext():
            began = time.time()
            self.stack.kill(victim, SIGTERM if victim == "ministack" else SIGKILL)
            self.kills[victim] += 1
            time.sleep(self.random.uniform(0, AT_LARGE_SECONDS))
            self.stack.start(victim)
            if victim == "ministack":
                self.restarts.append((began, time.time()))


def soak(
    home: Path, jobs: int, kills: int, seed: int, say: Callable[[str], None], at_once: bool = True
) -> Report:
    """Submit the jobs a slice at a time, a kill with each; then let all of it settle, and look. plan.draw
    says what `at_once` is."""
    began = time.monotonic()
    (marks := home / "marks").mkdir(parents=True)
    Path(f"{marks}.py").write_text(SCRIPT)
    stack = start_stack(home, SETTINGS)
    try:
        clients = Clients(stack, marks)
        moves = Witness(stack, "soak-moves", "trainyard", {"detail-type": ["Training Job State Change"]})
        trouble = Trouble(stack, clients, Random(seed))
        submissions = draw(jobs, seed, at_once)
        faults = _submit(submissions, clients, trouble, kills, say)
        inspection = Inspection(stack, clients, submissions, moves, trouble.restarts)
        say("waiting until all is settled")
        inspection.await_settled(SETTLES_SECONDS)
        faults += inspection.faults()
    finally:
        stack.stop()
    files = [each for each in submissions if isinstance(each, File)]
    return Report(
        jobs=jobs,
        uploaded=sum(len(file.jobs) for file in files),
        files=len(files),
        kills=trouble.kills,
        retries=clients.retries,
        starts=inspection.starts,
        told_in_full=inspection.told_in_full,
        seconds=time.monotonic() - began,
        faults=faults,
    )


def _submit(
    submissions: Sequence[Submission],
    clients: Clients,
    trouble: Trouble,
    kills: int,
    say: Callable[[str], None],
) -> list[Fault]:
    """What no client could get done is a fault."""
    futures: list[tuple[str, Future[None]]] = []
    with ThreadPoolExecutor(4) as callers, ThreadPoolExecutor(8) as uploaders, ThreadPoolExecutor(8) as hands:

        def act(wanted: Wanted) -> None:
            futures.append((wanted.name, hands.submit(clients.act, wanted)))

        def submit(wanted: Wanted) -> None:
            clients.submit(wanted)
            act(wanted)

        def upload(file: File) -> None:
            clients.upload(file)
            for wanted in file.jobs:
                act(wanted)

        for number in range(kills):
            for each in submissions[number::kills]:
                if isinstance(each, File):
                    futures.append((each.name, uploaders.submit(upload, each)))
                else:
                    futures.append((each.name, callers.submit(submit, each)))
            trouble.strike()
            say(f"{number + 1} of {kills} kills, {len(clients.accepted)} jobs accepted")
        faults = []
        for name, future in futures:  # which grows until the last submission is done
            if error := future.exception():
                faults.append(Fault("wrong", f"{name}: {error!r}"))
    return faults
