"""Kills a worker before and after each side effect of each scenario, and lets the system run on.

    python -m tests.proof.crashes

The side effects are found by a run in which nothing dies; the simulation is the same each time, so that the
one with a number is the same one when it is to be killed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from tests.proof import ledger
from tests.proof.scenarios import GONE, SCENARIOS, Scenario
from tests.proof.wire import Call, Trouble
from tests.proof.world import World

MOMENTS = (Trouble.KILLED_BEFORE, Trouble.KILLED_AFTER)


@dataclass
class Count:
    """What a scenario's runs came to."""

    scenario: str
    effects: Counter[str] = field(default_factory=Counter)  # by service
    kills: int = 0
    jobs: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0


@dataclass(frozen=True)
class Death:
    """One run of a scenario with one kill, and what was wrong in the end."""

    call: Call
    moment: Trouble
    wrong: Sequence[str]

    def __str__(self) -> str:
        return f"{self.moment} effect {self.call.number}, {self.call}"


def effects(scenario: Scenario) -> list[Call]:
    """The side effects of a run in which nothing dies."""
    with closing(World()) as world:
        wrong = play(scenario, world)
        assert not wrong, f"{scenario.name}, and nothing was killed: {wrong}"
        return world.wire.effects


def deaths(scenario: Scenario, count: Count) -> Iterator[Death]:
    """Every way to die once in that scenario."""
    found = effects(scenario)
    count.effects.update(call.service for call in found)
    for call in found:
        for moment in MOMENTS:
            yield _die(scenario, call, moment, count)


def _die(scenario: Scenario, call: Call, moment: Trouble, count: Count) -> Death:
    with closing(World()) as world:
        world.wire.plans.append(lambda now: (moment, 0.0) if now.number == call.number else None)
        wrong = play(scenario, world)
        if world.wire.effects[call.number - 1] != call or not world.wire.met:
            wrong.append(f"the run was another one: {world.wire.effects[call.number - 1]}")
        count.kills += 1
        count.jobs += len(world.ledger.history)
        count.lost += sum(1 for what in wrong if "lost" in what or "0 Kubernetes Jobs" in what)
        made = world.cluster.made - world.cluster.made_late
        count.twice += sum(number - 1 for number in made.values())
        count.wrong += bool(wrong)
        return Death(call, moment, wrong)


def play(scenario: Scenario, world: World) -> list[str]:
    """Act, let the system come to rest, and look at everything; what is wrong."""
    try:
        scenario.act(world)
        world.converge()
    except AssertionError as error:
        return [str(error), *ledger.always(world)]
    return [*ledger.at_rest(world), *_other_ends(scenario, world)]


def _other_ends(scenario: Scenario, world: World) -> Iterable[str]:
    least, most = scenario.jobs
    if not least <= len(world.ledger.history) <= most:
        yield f"{len(world.ledger.history)} jobs came of it: lost or doubled"
    for job_id in world.ledger.history:
        job = world.job(job_id)
        end = job.status.value if job else GONE
        if end != scenario.ends:
            yield f"{job_id} is {end} in the end, not {scenario.ends}"


def table(counts: Sequence[Count]) -> list[str]:
    """For people."""
    services = sorted({service for count in counts for service in count.effects})
    heads = [*services, "kills", "jobs", "lost", "twice", "wrong"]
    rows = {
        count.scenario: [
            *(count.effects[service] for service in services),
            *(count.kills, count.jobs, count.lost, count.twice, count.wrong),
        ]
        for count in counts
    }
    rows["together"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    wide = max(map(len, rows))
    lines = [" ".join(["".ljust(wide), *(head.rjust(12) for head in heads)])]
    return lines + [" ".join([name.ljust(wide), *(f"{n:12}" for n in row)]) for name, row in rows.items()]


def main() -> int:
    counts = []
    for scenario in SCENARIOS:
        count = Count(scenario.name)
        for death in deaths(scenario, count):
            if death.wrong:
                print(f"{scenario.name}: {death}:\n    " + "\n    ".join(death.wrong))
        counts.append(count)
    print("\n".join(table(counts)))
    return 1 if any(count.wrong for count in counts) else 0


if __name__ == "__main__":
    sys.exit(main())
