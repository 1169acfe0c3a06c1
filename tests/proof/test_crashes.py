"""Whatever dies, before or after whichever side effect: each job runs once and ends as it should."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.proof.crashes import Count, deaths, effects
from tests.proof.scenarios import SCENARIOS, Scenario, run_while_a_sync_sleeps_through_its_lease
from tests.proof.world import World

by_name = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@by_name
def test_a_worker_that_dies_loses_nothing_and_does_nothing_twice(
    scenario: Scenario, subtests: pytest.Subtests, counts: list[Count]
) -> None:
    count = Count(scenario.name)
    counts.append(count)
    for death in deaths(scenario, count):
        if death.wrong:
            with subtests.test(str(death)):
                pytest.fail("\n".join(death.wrong))


def test_side_effects_of_every_kind_are_found() -> None:
    found = {str(call) for scenario in SCENARIOS for call in effects(scenario)}
    assert found >= {
        "api: dynamodb transact_write_items JOB IDEM COUNTS-ALL COUNTS EVENT",
        "outbox: kubernetes POST jobs",
        "outbox: kubernetes POST services",
        "outbox: kubernetes PATCH services",
        "outbox: kubernetes DELETE jobs",
        "outbox: lambda invoke sync",
        "state_changes: eventbridge put_events",
        "sync: dynamodb update_item LEASE",
        "sync: dynamodb transact_write_items FEED LEASE",
        "uploads: dynamodb put_item UPLOAD",
        "uploads: s3 put_object",
        "upload_status: s3 put_object",
    }, sorted(found)


def test_a_run_is_the_same_each_time() -> None:
    scenario = SCENARIOS[-1]
    assert effects(scenario) == effects(scenario)


def test_the_sync_that_slept_through_its_lease_is_refused_when_it_wakes() -> None:
    with closing(World()) as world:
        run_while_a_sync_sleeps_through_its_lease(world)
        world.converge()
        assert world.table.refused["LEASE"]
