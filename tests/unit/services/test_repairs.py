"""What drifts apart is brought together and told of, once; what is carried out in time is never told of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from jsonschema import Draft202012Validator

from chalicelib.aws import REPAIR_DETAIL_TYPE, SOURCE, EventBridge, client
from chalicelib.domain.observed import Outcome
from chalicelib.domain.repair import IN_TIME, STUCK, Repair, Repaired
from chalicelib.errors import BusUnavailable, ClusterForbids, ClusterUnavailable
from chalicelib.services.repairs import PATIENCE, PAUSE, Repairs
from tests.builders import NOW, ended_pod, later, running_pod
from tests.unit.services.conftest import ADA, Yard
from tests.unit.services.test_outbox import Crash, crash
from tests.unit.store.support import client_error

SCHEMA = Path(__file__).parents[3] / "docs/events/training-job-repair.schema.json"
VALIDATOR = Draft202012Validator(
    json.loads(SCHEMA.read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def runs(yard: Yard) -> str:
    """A job that runs."""
    job_id = yard.run()
    yard.cluster.show(job_id, running_pod())
    settle(yard)
    return job_id


def settle(yard: Yard, holder: str = "a pass", seconds: float = 15) -> None:
    """A pass that begins now, looks at all clusters, and ends after some sweeps."""
    yard.another_sync(holder).run(yard.seconds(seconds), whole=True)


def end_deletions(yard: Yard) -> None:
    yard.cluster.finish_deletions()
    settle(yard)


def too_late(yard: Yard) -> None:
    yard.clock.move(IN_TIME.total_seconds())


def not_submitted(yard: Yard) -> str:
    job_id = yard.submit()
    too_late(yard)
    return job_id


def not_stopped(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.stop(ADA, job_id)
    too_late(yard)
    return job_id


def not_cleaned_up(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.delete(ADA, job_id)
    too_late(yard)
    return job_id


def deleted_by_hand(yard: Yard) -> str:
    job_id = runs(yard)
    del yard.cluster.jobs[job_id]
    return job_id


def without_a_record(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.delete(ADA, job_id)
    tombstone = yard.store.get(job_id)
    assert tombstone is not None
    yard.store.remove(tombstone)
    return job_id


def going_on_after_its_end(yard: Yard) -> str:
    job_id = runs(yard)
    before = yard.cluster.jobs[job_id]
    yard.cluster.show(job_id, ended_pod(0), outcome=Outcome.COMPLETE, finished_at=later(9))
    settle(yard)
    yard.cluster.jobs[job_id] = before
    return job_id


def stuck(yard: Yard) -> str:
    """Its node has been dead since before it was stopped."""
    job_id = runs(yard)
    yard.jobs.stop(ADA, job_id)
    yard.outbox.deliver([job_id])
    yard.cluster.show(job_id, running_pod(ends_by=yard.clock()))
    settle(yard)
    yard.clock.move(STUCK.total_seconds())
    return job_id


def deleted_and_stuck(yard: Yard) -> str:
    job_id = runs(yard)
    yard.jobs.delete(ADA, job_id)
    yard.outbox.deliver([job_id])
    yard.cluster.show(job_id, running_pod(ends_by=yard.clock()))
    yard.clock.move(STUCK.total_seconds())
    return job_id


@dataclass(frozen=True)
class Drift:
    """How it comes about, what it is called, and where it ends: the record's state, and its reason."""

    happens: Callable[[Yard], str]
    kind: Repair
    ends: tuple[str, str] | None  # None: no caller has such a job any more


DRIFTS = [
    Drift(not_submitted, Repair.LATE_SUBMISSION, ("pending", "Submitted")),
    Drift(not_stopped, Repair.LATE_STOP, ("stopped", "Stopped")),
    Drift(not_cleaned_up, Repair.LATE_DELETION, None),
    Drift(deleted_by_hand, Repair.JOB_DELETED, ("failed", "JobDeleted")),
    Drift(without_a_record, Repair.JOB_WITHOUT_RECORD, None),
    Drift(going_on_after_its_end, Repair.JOB_AFTER_END, ("succeeded", "Completed")),
    Drift(stuck, Repair.STUCK_PODS, ("stopped", "Stopped")),
    Drift(deleted_and_stuck, Repair.STUCK_PODS, None),
]
every_drift = pytest.mark.parametrize("drift", DRIFTS, ids=[drift.happens.__name__ for drift in DRIFTS])


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


def told(yard: Yard, job_id: str) -> list[str]:
    """What the job's callers are told of repairs."""
    return [event.message for event in yard.store.events(job_id, 100).items if event.reason == "Repaired"]


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


# ---- the bus


def test_a_bus_that_does_not_answer_holds_no_repair_up_and_is_told_later(yard: Yard) -> None:
    job_id = not_stopped(yard)
    yard.bus_is_down = True
    yard.sync.run(yard.seconds(15))
    assert yard.cluster.jobs[job_id].deleting
    assert len(yard.metered) == 1
    assert len(told(yard, job_id)) == 1
    yard.bus_is_down = False
    yard.sync.run(yard.seconds(PAUSE.total_seconds() + 15))
    assert yard.published == yard.metered


def repaired(number: int = 0, **changes: Any) -> Repaired:
    values: dict[str, Any] = {
        "kind": Repair.LATE_STOP,
        "job_id": f"job-{number:026}",
        "tenant": "acme",
        "pool": "default",
        "why": "a stop was requested, and nobody carried it out in time",
        "at": NOW,
    }
    return Repaired(**(values | changes))


class Bus:
    """Keeps what it takes. `refused` are the jobs that it does not take, `troubles` how its next calls fail:
    before they take anything, or after."""

    def __init__(self, refused: Sequence[str] = (), troubles: Sequence[str] = ()) -> None:
        self.kept: list[str] = []
        self.calls = 0
        self.refused, self.troubles = list(refused), list(troubles)

    def __call__(self, repairs: Sequence[Repaired]) -> Sequence[bool]:
        self.calls += 1
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "before":
            raise BusUnavailable("no answer")
        self.kept += [one.job_id for one in repairs if one.job_id not in self.refused]
        if trouble == "after":
            raise BusUnavailable("the answer is lost")
        return [one.job_id not in self.refused for one in repairs]


def noted(yard: Yard, bus: Bus, *repairs: Repaired) -> Repairs:
    """They were made, and nothing was published yet."""
    yard.clock.now = NOW
    notes = Repairs(yard.store, yard.metered.append, bus, yard.clock)
    for one in repairs:
        notes.note(one, has_callers=False)
    return notes


def test_nothing_to_tell_asks_nothing_of_the_bus(yard: Yard) -> None:
    bus = Bus()
    noted(yard, bus).publish()
    assert bus.calls == 0


def test_repairs_are_published_ten_at_a_time_and_once(yard: Yard) -> None:
    bus = Bus()
    twelve = [repaired(number) for number in range(12)]
    notes = noted(yard, bus, *twelve)
    notes.publish()
    notes.publish()
    assert bus.kept == [one.job_id for one in twelve]
    assert bus.calls == 2


@pytest.mark.parametrize(("trouble", "times"), [("before", 1), ("after", 2)])
def test_a_bus_in_trouble_is_left_alone_for_a_while_and_then_told_again(
    yard: Yard, trouble: str, times: int
) -> None:
    bus = Bus(troubles=[trouble])
    notes = noted(yard, bus, repaired())
    notes.publish()
    notes.publish()
    assert bus.calls == 1
    yard.clock.move(PAUSE.total_seconds())
    notes.publish()
    assert bus.kept == [repaired().job_id] * times


def test_what_the_bus_refuses_is_told_again(yard: Yard) -> None:
    throttled = repaired()
    bus = Bus(refused=[throttled.job_id])
    notes = noted(yard, bus, throttled)
    notes.publish()
    bus.refused.clear()
    yard.clock.move(PAUSE.total_seconds())
    notes.publish()
    assert bus.kept == [throttled.job_id]


def test_what_the_bus_refuses_holds_no_other_back_and_is_given_up_in_the_end(yard: Yard) -> None:
    bad, good = repaired(0), repaired(1)
    bus = Bus(refused=[bad.job_id])
    notes = noted(yard, bus, bad, good)
    notes.publish()
    assert bus.kept == [good.job_id]
    yard.clock.move(PATIENCE.total_seconds())
    notes.publish()
    calls = bus.calls
    yard.clock.move(PAUSE.total_seconds())
    notes.publish()
    assert bus.calls == calls


def test_a_store_that_does_not_answer_leaves_the_bus_and_the_metric_told(yard: Yard) -> None:
    bus = Bus()
    notes = noted(yard, bus)
    yard.bench.spy.fail("batch_get_item", client_error("InternalServerError"))
    notes.note(repaired(), has_callers=True)
    notes.publish()
    assert (len(yard.metered), len(bus.kept)) == (1, 1)


# ---- what an event says


def event(one: Repaired) -> dict[str, Any]:
    """As a rule's target gets it."""
    time = one.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    detail = json.loads(json.dumps(one.detail))
    return {"source": SOURCE, "detail-type": REPAIR_DETAIL_TYPE, "time": time, "detail": detail}


@every_drift
def test_an_event_is_as_its_schema_says(yard: Yard, drift: Drift) -> None:
    drift.happens(yard)
    settle(yard)
    VALIDATOR.validate(event(yard.published[0]))


def test_the_schema_knows_every_kind_and_refuses_what_is_not_an_event_of_ours() -> None:
    for kind in Repair:
        VALIDATOR.validate(event(repaired(kind=kind)))
    right = event(repaired())
    for field in right["detail"]:
        without = {key: value for key, value in right["detail"].items() if key != field}
        assert not VALIDATOR.is_valid({**right, "detail": without}), field
    for field, wrong in {"kind": "Miracle", "id": "", "tenant": 1, "at": "now", "why": ""}.items():
        assert not VALIDATOR.is_valid({**right, "detail": {**right["detail"], field: wrong}}), field


def test_the_bus_gets_each_repair_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    events = client("events")
    entry = {
        "EventBusName": "changes",
        "Source": "trainyard",
        "DetailType": "Training Job Repair",
        "Time": NOW,
        "Detail": json.dumps(repaired().detail),
    }
    with Stubber(events) as stub:
        stub.add_response("put_events", {"FailedEntryCount": 0, "Entries": [{}]}, {"Entries": [entry]})
        assert EventBridge("changes", events).repairs([repaired()]) == [True]
