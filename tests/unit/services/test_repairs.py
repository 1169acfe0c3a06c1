"""What drifts apart is brought together and told of, once; what is carried out in time is never told of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.domain.observed import Outcome
from chalicelib.domain.repair import IN_TIME, Repair
from chalicelib.errors import ClusterForbids, ClusterUnavailable
from tests.builders import ended_pod, later
from tests.unit.services.conftest import ADA, Yard
from tests.unit.services.drifts import (
    Drift,
    end_deletions,
    every_drift,
    going_on_after_its_end,
    not_cleaned_up,
    not_stopped,
    not_submitted,
    runs,
    settle,
    stuck,
    told,
    too_late,
    without_a_record,
)
from tests.unit.services.test_outbox import Crash, crash


@every_drift
def test_a_drift_is_repaired_and_told_of_once(yard: Yard, drift: Drift) -> None:
    job_id = drift.happens(yard)
    owner = None if drift.happens is without_a_record else "acme"
    assert yard.metered == []
    settle(yard)
    settle(yard, "while its Job is being deleted")
    end_deletions(yard)
    assert [(one.kind, one.job_id, one.tenant, one.pool) for one in yard.metered] == [
        (drift.kind, job_id, owner, "default")
    ]
    assert yard.published == yard.metered
    if drift.ends is None:
        assert yard.store.get(job_id) is None
    else:
        assert yard.says(job_id) == drift.ends
    alive = drift.kind == Repair.LATE_SUBMISSION
    assert (job_id in yard.cluster.jobs) == alive
    assert told(yard, job_id) == ([yard.metered[0].event.message] if drift.ends else [])


@every_drift
def test_a_drift_that_is_found_by_the_idle_look_is_told_by_its_end(yard: Yard, drift: Drift) -> None:
    drift.happens(yard)
    yard.sync.run(yard.seconds(1), whole=True)
    assert [one.kind for one in yard.published] == [drift.kind]


def test_a_drift_that_shows_while_a_run_watches_is_told_while_it_does(yard: Yard) -> None:
    runs(yard)
    job_id = runs(yard)
    told: list[int] = []

    def delete_by_hand() -> None:
        yard.cluster.jobs.pop(job_id, None)
        told.append(len(yard.published))

    yard.cluster.before["watch"] = delete_by_hand
    yard.sync.run(yard.seconds(40))
    assert (told[0], told[-1]) == (0, 1)


# ---- quiet


def test_a_yard_in_step_tells_of_nothing(yard: Yard) -> None:
    finished, stopped, deleted, kept = (runs(yard) for _ in range(4))
    yard.cluster.show(finished, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    yard.jobs.stop(ADA, stopped)
    yard.jobs.delete(ADA, deleted)
    yard.outbox.deliver([stopped, deleted])
    for _ in range(8):
        yard.clock.move(IN_TIME.total_seconds())
        settle(yard)
    end_deletions(yard)
    assert [yard.says(job_id)[0] for job_id in (finished, stopped, kept)] == [
        "succeeded",
        "stopped",
        "running",
    ]
    assert (yard.metered, yard.published) == ([], [])


def test_what_a_sweep_carries_out_in_time_is_no_repair(yard: Yard) -> None:
    job_id = yard.submit()
    settle(yard)
    assert yard.says(job_id) == ("pending", "Submitted")
    yard.jobs.stop(ADA, job_id)
    settle(yard)
    assert yard.cluster.jobs[job_id].deleting
    assert yard.metered == []


@pytest.mark.parametrize("who_tried", ["the outbox", "the pass"])
def test_what_waited_for_its_cluster_is_no_repair(yard: Yard, who_tried: str) -> None:
    stopped, deleted = (runs(yard) for _ in range(2))
    new, newer = (yard.submit() for _ in range(2))
    yard.jobs.stop(ADA, stopped)
    yard.jobs.delete(ADA, deleted)

    def down() -> None:
        raise ClusterUnavailable("no answer")

    yard.cluster.before = dict.fromkeys(("submit", "workload", "workloads", "delete"), down)
    if who_tried == "the outbox":
        yard.outbox.deliver([new, newer, stopped, deleted])
    else:
        settle(yard)
    for job_id in (new, newer, stopped):
        assert yard.says(job_id)[1] == "ClusterUnavailable"
    too_late(yard)
    yard.cluster.before = {}
    settle(yard)
    end_deletions(yard)
    assert yard.says(stopped) == ("stopped", "Stopped")
    assert yard.says(new) == yard.says(newer) == ("pending", "Submitted")
    assert yard.store.get(deleted) is None
    assert yard.metered == []


@pytest.mark.parametrize("happens", [without_a_record, going_on_after_its_end, not_stopped, not_cleaned_up])
def test_a_drift_that_was_over_before_it_was_looked_at_again_is_none(
    yard: Yard, happens: Callable[[Yard], str]
) -> None:
    happens(yard)
    yard.cluster.before["workload"] = yard.cluster.jobs.clear
    deletions = yard.cluster.calls["delete"]
    yard.sync.look()
    assert yard.cluster.calls["delete"] == deletions
    assert yard.metered == []


# ---- pods that never end


def test_a_stop_that_is_stuck_says_what_was_done_and_what_that_means(yard: Yard) -> None:
    job_id = stuck(yard)
    yard.sync.run(yard.seconds(1))
    assert yard.says(job_id) == ("stopping", "PodsStuck")
    end_deletions(yard)
    message = yard.jobs.get(ADA, job_id).message
    assert "on node node1" in message
    assert "it may go on" in message
    reasons = [event.reason for event in yard.store.events(job_id, 100).items]
    assert {reason: reasons.count(reason) for reason in ("PodsStuck", "Repaired", "Stopped")} == {
        "PodsStuck": 1,
        "Repaired": 1,
        "Stopped": 1,
    }


def test_a_cluster_that_does_not_allow_it_is_said_and_nothing_is_claimed(yard: Yard) -> None:
    job_id = stuck(yard)

    def forbid() -> None:
        raise ClusterForbids("pods is forbidden")

    yard.cluster.before["force_delete"] = forbid
    settle(yard)
    assert yard.says(job_id) == ("stopping", "ClusterForbids")
    assert yard.metered == []
    yard.cluster.before.clear()
    settle(yard)
    assert [one.kind for one in yard.metered] == [Repair.STUCK_PODS]


# ---- whoever dies, and whenever


@pytest.mark.parametrize(
    ("happens", "call"),
    [
        (not_submitted, "submit"),
        (not_stopped, "delete"),
        (not_cleaned_up, "delete"),
        (without_a_record, "delete"),
        (going_on_after_its_end, "delete"),
        (stuck, "force_delete"),
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_around_a_repair_leaves_it_to_the_next_pass_and_tells_of_it_once_at_most(
    yard: Yard, happens: Callable[[Yard], str], call: str, moment: str
) -> None:
    happens(yard)
    getattr(yard.cluster, moment)[call] = crash
    with pytest.raises(Crash):
        yard.sync.look()
    assert yard.metered == []
    getattr(yard.cluster, moment).clear()
    yard.clock.move(20)  # the dead one's lease
    settle(yard)
    end_deletions(yard)
    assert len(yard.metered) <= 1
    assert yard.published == yard.metered
    if moment == "before":
        assert len(yard.metered) == 1
    assert len(yard.cluster.created) == 1
    assert not any(seen.deleting for seen in yard.cluster.jobs.values())
